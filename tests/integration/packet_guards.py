"""Every guard of the money of red packets, and whether it is noticed when it is taken away.

A proof that notices nothing proves nothing: `python -m tests.integration.packet_guards` breaks one guard at a time, in
this process, and prints how many histories (packet_histories.py) it took to notice, what the race said that is made for
it (test_refund_races.py), and what was wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "layers/common")]

from im.flows import red_packets  # noqa: E402 - found by the line above
from im.flows.claims import Claims  # noqa: E402
from im.flows.red_packets import RedPackets  # noqa: E402
from im.flows.settle import Settlement  # noqa: E402
from im.store.packets import PacketStore  # noqa: E402
from im.store.wallets import WalletStore  # noqa: E402
from tests.integration.broken_guards import Break, Broken, all_of, condition, does, nothing  # noqa: E402
from tests.integration.packet_histories import play  # noqa: E402
from tests.integration.packet_stage import stage  # noqa: E402
from tests.integration.test_refund_races import RACES, played  # noqa: E402

BLUNDER: Final = re.compile("TypeError|AttributeError|NameError")
"""What a guard says that was broken in a wrong way."""

MOST: Final = 400
"""Histories that are played for one guard: what they need longer for, they do not notice."""


@dataclass(frozen=True)
class Guard:
    """One guard."""

    name: str
    breaks: Break
    race: str | None = None
    """The one that notices (test_refund_races.py); all others, and most of these too, are noticed by histories."""


# ---- how guards are broken -------------------------------------------------------------------------------------------


def of_item(sort_key: str) -> Callable[[Mapping[str, Any]], bool]:
    """The writes of items whose sort key begins so."""
    return lambda write: str((write.get("Item") or write.get("Key") or {})["sk"]["S"]).startswith(sort_key)


def of_account(kind: str) -> Callable[[Mapping[str, Any]], bool]:
    """The writes of the balances of users, or of packets."""
    return lambda write: str((write.get("Item") or write["Key"])["pk"]["S"]).startswith(kind)


def only_refuses(_: Any, __: Any, ___: Any, ____: Any, refusal: Exception) -> None:
    """Refuses, and leaves the packet as it is."""
    raise refusal


def as_checked(original: Callable[..., Any], self: RedPackets, terms: Any) -> Any:
    """Believes the first look at the money."""
    self.payments.check(terms.sender, terms.total)
    return original(self, terms)


def published_first(original: Callable[..., Any], self: RedPackets, caller: Any, request: Any) -> Any:
    """Publishes before it holds."""
    held: list[Any] = []
    later: Any = _Later(self.payments, held)
    patched = replace(self, payments=later)
    answer = original(patched, caller, request)
    for args in held:
        self.payments.hold(*args)
    return answer


@dataclass
class _Later:
    payments: Any
    held: list[Any]

    def check(self, *_: Any) -> None:
        """Says nothing."""

    def hold(self, *args: Any) -> None:
        self.held.append(args)


def without_queue(original: Callable[..., Any], self: Settlement, *args: Any) -> Any:
    """What fails is not queued."""
    return original(replace(self, queue=_NoQueue()), *args)


class _NoQueue:
    def put(self, *_: Any) -> None:
        """Forget it."""


def last_claim_only(
    original: Callable[..., Any], self: Settlement, packet: Any, since: int, *args: Any, **named: Any
) -> Any:
    """Pays the newest claim, and not those before it."""
    return original(self, packet, max(since, len(packet.claimers) - 1), *args, **named)


def to_anybody(original: Callable[..., Any], self: Claims, packet: Any, user: Any) -> None:
    """Lets everybody claim who is in the conversation."""
    original(self, replace(packet, terms=replace(packet.terms, to=None)), user)


def to_newcomers(original: Callable[..., Any], self: Claims, packet: Any, user: Any) -> None:
    """Lets those claim who have come later."""
    original(self, replace(packet, seq=10**9), user)


def never_over(original: Callable[..., Any], self: Claims, *args: Any) -> Any:
    """Does not look at the time before it writes."""
    known: Any = _Endless(self.known)
    return original(replace(self, known=known), *args)


class _Endless:
    """What a function knows of packets, but for their ends."""

    def __init__(self, known: Any) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._known, name)

    def packet(self, name: Any) -> Any:
        packet = self._known.packet(name)
        return packet and replace(packet, expires=10**15)


ONCE: Final = "attribute_not_exists(pk)"

GUARDS: Final = (
    Guard(
        "claim: the packet is open",
        condition(PacketStore, "claim", "#state = :open"),
        "refund against the last claim",
    ),
    Guard(
        "claim: shares are left",
        condition(PacketStore, "claim", "size(claimers) < :count"),
        "two claims of the last share",
    ),
    Guard(
        "claim: the user has none",
        condition(PacketStore, "claim", "NOT contains(claimers, :user)"),
        "two claims of one user",
    ),
    # Each of the two is enough: what the function knows of a packet's end never changes.
    Guard(
        "claim: in time",
        all_of(condition(PacketStore, "claim", "expires > :now"), does(Claims, "claim", never_over)),
    ),
    Guard("claim: it is for the user", does(Claims, "_require_invited", to_anybody)),
    Guard(
        "claim: the user was there",
        does(Claims, "_require_invited", to_newcomers),
        "claim against coming to the group",
    ),
    Guard("close: the packet is open", condition(PacketStore, "_end", "#state = :open"), "two ends"),
    Guard(
        "close: its time is over",
        condition(PacketStore, "_end", "expires <= :now"),
        "giving up against publishing",
    ),
    Guard(
        "cancel: the packet is new",
        condition(PacketStore, "_end", "#state = :new"),
        "giving up against publishing",
    ),
    Guard("begin: one packet an id", condition(PacketStore, "begin", ONCE), "one request twice"),
    Guard(
        "publish: its place is free",
        condition(PacketStore, "publish", ONCE, of_item("MSG#")),
        "two packets of one group",
    ),
    Guard(
        "publish: no other has the cmid",
        condition(PacketStore, "publish", f"{ONCE} OR #ttl < :now"),
        "packet against message",
    ),
    Guard(
        "publish: the packet is new",
        condition(PacketStore, "publish", "#state = :new AND #total = :total"),
        "giving up against publishing",
    ),
    Guard("create: one cmid, one packet", does(red_packets, "_require_same", nothing), "one cmid, two totals"),
    Guard("create: the money first", does(RedPackets, "create", published_first)),
    Guard(
        "create: who is refused is given up",
        does(RedPackets, "_given_up", only_refuses),
        "packet against the removal of its sender",
    ),
    Guard("check: what a repeat has taken is not lacking", does(RedPackets, "_begun", as_checked), "one request twice"),
    Guard(
        "hold: once, and not after a release",
        condition(WalletStore, "_move", ONCE, of_item("P#hold")),
        "release against hold",
    ),
    Guard(
        "hold: what a repeat has taken is not lacking",
        does(WalletStore, "_has_hold", nothing),
        "money that comes between two tries",
    ),
    Guard(
        "hold: no more than there is",
        condition(WalletStore, "_move", "balance >= :taken", of_account("user:")),
        "money for one of two",
    ),
    Guard("pay: once", condition(WalletStore, "_move", ONCE, of_item("P#0")), "stream against queue"),
    Guard("refund: once", condition(WalletStore, "_move", ONCE, of_item("P#rest")), "stream against queue"),
    Guard("release: not what is held", condition(WalletStore, "release", ONCE), "giving up against publishing"),
    Guard("release: gives back what is held", does(WalletStore, "release", nothing)),
    Guard("wallet: opened once", condition(WalletStore, "_open", ONCE), "one request twice"),
    Guard("settlement: what fails is queued", does(Settlement, "_try", without_queue)),
    Guard("settlement: every claim", does(Settlement, "_move", last_claim_only)),
)


@dataclass
class Caught:
    """What was said of a broken guard."""

    by: str
    said: str = ""
    """Empty when nothing was."""
    histories: int = 0
    missed: int = 0
    """How often the guard was missed."""
    seconds: float = 0


def caught(guard: Guard, race: str | None, *, most: int = MOST, number: int = 0) -> Caught:
    """Play a race, or histories, with a broken guard, up to the first that fails."""
    out, started = Caught(race or "histories"), time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        broken = Broken(patch)
        guard.breaks(broken)
        with stage(patch) as here:
            try:
                if race is not None:
                    played(here, RACES[race], seeds=50, every=True)
                else:
                    play(here, most, number=number, quickly=True)
            except AssertionError as e:
                where = traceback.extract_tb(e.__traceback__)[-1]
                said = " ".join(str(e).split()) or f"{where.line} in {where.name}"
                assert not BLUNDER.search(said), said
                out.said = said
            out.histories = here.happened["begun"]
    out.missed, out.seconds = broken.times, time.process_time() - started
    return out


def main() -> int:
    """Exit status 1 when nothing notices that a guard is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.packet_guards", description=__doc__)
    parser.add_argument("--histories", type=int, default=MOST, help="how many for each, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs="*", help="only guards whose name has one of these")
    asked = parser.parse_args()
    unnoticed = 0
    for guard in GUARDS:
        if asked.words and not any(word in guard.name for word in asked.words):
            continue
        print(guard.name)
        noticed = 0
        for race in dict.fromkeys((guard.race, None)):
            found = caught(guard, race, most=asked.histories, number=asked.seed)
            noticed += bool(found.said)
            how = f"{found.histories} {found.by}" if race is None else found.by
            print(f"    {how}: missed {found.missed} times, {found.seconds:.1f} s")
            print(f"        {found.said[:240] or 'NOT NOTICED'}", flush=True)
        unnoticed += not noticed
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
