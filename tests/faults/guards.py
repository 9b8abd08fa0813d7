"""Every guard of the promises, how it is broken, and the part of the proof that must notice.

A proof that notices nothing proves nothing. Here one guard at a time is taken away, in this process, and a small part
of the proof is run: some cases of the crash harness (play.py), some seeds of the simulation (simulation.py), or a test
of one race or failure. `python -m tests.faults.guards` prints what caught each.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / folder) for folder in ("layers/common", "clients/python/src")]

from im.aws.dead_letters import DeadLetters  # noqa: E402 - found by the line above
from im.aws.queue import FanoutQueue  # noqa: E402
from im.aws.settlement_queue import SettlementQueue  # noqa: E402
from im.flows.append import Appender  # noqa: E402
from im.flows.audit import Auditor  # noqa: E402
from im.flows.push_entries import Pushed  # noqa: E402
from im.flows.red_packets import RedPackets  # noqa: E402
from im.flows.redeliver import Redelivery  # noqa: E402
from im.store.connections import ConnectionStore  # noqa: E402
from im.store.conversations import ConversationStore  # noqa: E402
from im.store.inbox import InboxStore  # noqa: E402
from im.store.packets import PacketStore  # noqa: E402
from im.store.wallets import WalletStore  # noqa: E402
from tests.faults import simulation  # noqa: E402
from tests.faults.flows import FLOWS  # noqa: E402
from tests.faults.outcomes import Rest  # noqa: E402
from tests.faults.play import staged  # noqa: E402
from tests.faults.world import SMALL, built_world  # noqa: E402
from tests.integration import test_connections, test_group_races, test_poison, test_redelivery  # noqa: E402
from tests.integration.broken_guards import Break, Broken, all_of, condition, does, nothing  # noqa: E402
from tests.integration.house import built_house  # noqa: E402

MAX_SEEDS: Final = 40
"""The simulation is asked for no more: what it needs longer for, it does not notice."""


# ---- how guards are broken -------------------------------------------------------------------------------------------


def whatever_happens(original: Callable[..., Any], *args: Any, **named: Any) -> None:
    """Goes on when it fails, as though it had not."""
    with suppress(Exception):
        original(*args, **named)


def admitting_once(original: Callable[..., Any], self: Appender, draft: Any, admit: Any = lambda _: None) -> Any:
    """Asks about the state of a group once, whatever becomes of it."""
    asked = []

    def once(epoch: Any) -> None:
        if not asked:
            asked.append(epoch)
            admit(epoch)

    return original(self, draft, once)


def paid_at_last(original: Callable[..., Any], self: RedPackets, caller: Any, request: Any) -> Any:
    """Sends a packet first, and then takes its money."""
    later: list[Any] = []
    answer = original(replace(self, payments=_Later(self.payments, later)), caller, request)
    for held in later:
        self.payments.hold(*held)
    return answer


class _Later:
    """A payment system whose holds are noted, to be made later."""

    def __init__(self, payments: Any, noted: list[Any]) -> None:
        self._payments, self._noted = payments, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._payments, name)

    def hold(self, *args: Any) -> None:
        """Note it."""
        self._noted.append(args)


def out_of_reach(_original: Any, *_: Any) -> None:
    """Fails as long as anybody tries."""
    raise OSError("made by a test")


# ---- parts of the proof ----------------------------------------------------------------------------------------------


class Proofs:
    """The parts of the proof, each prepared once; one at a time, for each replaces the functions' clients."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._ready: tuple[str, Any] = ("", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def world(self) -> Any:
        """That of the crash harness, what lets its calls go wrong, and how it is at first."""
        return self._prepared("world", lambda: self._open.enter_context(built_world()))

    def stage(self) -> Any:
        """That of the simulation."""
        return self._prepared("stage", lambda: self._open.enter_context(simulation.stage()))

    def nothing(self) -> None:
        """For tests that prepare what they need."""
        self._prepared("nothing", lambda: None)

    def _prepared(self, name: str, prepare: Callable[[], Any]) -> Any:
        if self._ready[0] != name:
            self._open.close()
            self._ready = (name, prepare())
        return self._ready[1]


@dataclass(frozen=True)
class Cases:
    """Cases of the crash harness: a flow, and the faults at the calls that are meant."""

    flow: str
    call: str
    faults: Sequence[str]
    then: str

    def __str__(self) -> str:
        return f"crash harness: {self.flow}, {'/'.join(self.faults)} at {self.call}, then {self.then}"

    def prepare(self, proofs: Proofs) -> None:
        """Build what it needs."""
        proofs.world()

    def complaints(self, proofs: Proofs) -> Generator[str, None, None]:
        """What the harness says of them."""
        world, injector, base = proofs.world()
        with staged(world, injector, base, FLOWS[self.flow]) as stage:
            cases = [
                case
                for case in stage.cases()
                if case.call.startswith(self.call) and case.fault in self.faults and case.then == self.then
            ]
            assert cases, "there are no such cases"
            for case in cases:
                try:
                    broken: Sequence[str] = stage.play(case).broken
                except AssertionError as e:  # it does not even come to rest
                    broken = [str(e)]
                for line in broken:
                    yield f"{case}: {line}"


@dataclass(frozen=True)
class Seeds:
    """Seeds of the simulation, one after the other."""

    most: int = MAX_SEEDS

    def __str__(self) -> str:
        return "simulation"

    def prepare(self, proofs: Proofs) -> None:
        """Build what it needs."""
        proofs.stage()

    def complaints(self, proofs: Proofs) -> Generator[str, None, None]:
        """What their judge says."""
        stage = proofs.stage()
        for seed in range(self.most):
            for line in stage.play(seed).wrong:
                yield f"seed {seed}: {line}"


@dataclass(frozen=True)
class Test:
    """A test of one race or one failure."""

    function: Callable[..., None]
    named: Mapping[str, Any] = field(default_factory=dict)
    people: Sequence[str] = ()
    """Who is connected before, when the test asks for `people`."""

    __test__ = False

    def __str__(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}.py: {self.function.__name__}"

    def prepare(self, proofs: Proofs) -> None:
        """Build what it needs."""
        proofs.nothing()

    def complaints(self, proofs: Proofs) -> Generator[str, None, None]:
        """What it fails with."""
        proofs.nothing()
        with pytest.MonkeyPatch.context() as patch, built_house(patch) as house:
            named: dict[str, Any] = {"house": house, **self.named}
            if self.people:
                named["people"] = tuple(house.connect(name) for name in self.people)
            logging.disable(logging.CRITICAL)
            try:
                self.function(**named)
            except AssertionError as failed:
                where = traceback.extract_tb(failed.__traceback__)[-1]
                yield f"{where.line}: {' '.join(str(failed).split())}"
            finally:
                logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Late:
    """Entries of a group whose messages SQS brings in another order, and the judge of the crash harness."""

    order: Sequence[str]
    """Batches, one after the other; each letter is the entry of that name."""

    def __str__(self) -> str:
        return f"crash harness: entries fanned out in the order {', then '.join(self.order)}"

    def prepare(self, proofs: Proofs) -> None:
        """Build what it needs."""
        proofs.world()

    def complaints(self, proofs: Proofs) -> Generator[str, None, None]:
        """What the judge says when everything has been brought."""
        world, _, base = proofs.world()
        world.put_back(base)
        world.fresh()
        for name in sorted("".join(self.order)):
            who, op, data = SAID[name]
            assert world.ask(who, op, {"conv": SMALL} | data).ok
        records = dict(zip(sorted("".join(self.order)), world.house.take(), strict=True))
        for batch in self.order:
            assert not world.house.deliver([records[name] for name in batch])
        world.settle()
        rest = Rest(world, base)
        rest.what_is_stored_fits_its_log()
        try:
            rest.rows_say_what_the_log_says()
        except AssertionError as broken:
            yield str(broken)
        finally:
            world.put_back(base)


def _text(cmid: str, *mentions: str) -> dict[str, Any]:
    return {"cmid": cmid, "kind": "text", "body": {"text": cmid}, "mentions": list(mentions)}


SAID: Final[Mapping[str, tuple[str, str, dict[str, Any]]]] = {
    "a": ("bob", "message.send", _text("a", "carol")),
    "b": ("alice", "message.send", _text("b")),
    "c": ("bob", "message.send", _text("c", "carol")),
    "d": ("alice", "message.react", {"seq": 3, "emoji": "🎉", "on": True}),
    "e": ("alice", "message.send", _text("e")),
}
"""Messages, and a change, which no list shows."""

Proof = Cases | Seeds | Test | Late


# ---- the guards ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guard:
    """One guard."""

    name: str
    breaks: Break
    proof: Proof
    notices: str
    """What the proof must say, as a pattern."""


def mark_is_behind(mark: str) -> str:
    """The condition of each mark in `InboxStore._move`."""
    return f"(attribute_not_exists({mark}) OR {mark} < :{mark})"


ENDS: Final = {"end": "remove", "warm": False}
NO_AUDITOR: Final = does(Auditor, "audit", nothing)

GUARDS: Final = (
    Guard(
        "a cmid is noted before its entry is stored",
        condition(ConversationStore, "claim_cmid", "attribute_not_exists(pk)"),
        Cases("send direct", "PutItem Conversation MSG", ("timeout", "death after"), "repeat"),
        "cmid|not done|it says",
    ),
    Guard(
        "the auditor queues what was only stored",
        NO_AUDITOR,
        Cases("send to a group", "SendMessage", ("error", "death before"), "nobody"),
        "row|holds",
    ),
    Guard(
        "no reply before the entry is queued (without the auditor, who mends it)",
        all_of(does(FanoutQueue, "put", whatever_happens), NO_AUDITOR),
        Cases("send to a group", "SendMessage", ("error", "throttled"), "nobody"),
        "acked, and not done",
    ),
    # The marks of one write back each other: what is too late for one is mostly too late for all, and then the row that
    # comes back with the refusal says so. Here one mark alone is late.
    Guard(
        "the fan-out moves last_seq forward only",
        condition(InboxStore, "_move", mark_is_behind("last_seq")),
        Late(["abc", "e", "d"]),
        "row of g:small ends at",
    ),
    Guard(
        "the fan-out moves shown_seq forward only",
        condition(InboxStore, "_move", mark_is_behind("shown_seq")),
        Late(["bc", "ad"]),
        "row of g:small shows",
    ),
    Guard(
        "the fan-out moves mention_seq forward only",
        condition(InboxStore, "_move", mark_is_behind("mention_seq")),
        Late(["bc", "ae"]),
        "row of g:small mentions at",
    ),
    Guard(
        "the fan-out moves read_seq forward only",
        condition(InboxStore, "_move", mark_is_behind("read_seq")),
        Late(["bc", "ae"]),
        "bob's row of g:small has own messages unread",
    ),
    Guard(
        "a reader moves read_seq forward only",
        condition(InboxStore, "mark_read", "attribute_not_exists(read_seq) OR read_seq < :seq"),
        Seeds(),
        "unread|mark",
    ),
    Guard(
        "ack_seq moves forward only",
        condition(InboxStore, "mark_received", "(attribute_not_exists(ack_seq) OR ack_seq < :seq)"),
        Seeds(),
        "mark",
    ),
    Guard(
        "an entry is stored where there is none",
        condition(ConversationStore, "append", "attribute_not_exists(pk)"),
        Seeds(),
        "is at|has holes",
    ),
    Guard(
        "a sender is admitted in the very state of the group that the entry gets its place in",
        does(Appender, "append", admitting_once),
        Test(test_group_races.test_a_message_is_before_the_end_of_its_sender_s_right_to_send_or_refused, ENDS),
        "sent",
    ),
    Guard(
        "a slot is emptied by its own connection only",
        condition(ConnectionStore, "drop", "#slot.#connection = :connection"),
        Test(test_connections.test_the_late_end_of_a_replaced_connection_leaves_the_new_one),
        "slots",
    ),
    Guard(
        "what was pushed and not acknowledged is pushed again",
        does(Redelivery, "check", lambda *_: Pushed()),
        Test(test_redelivery.test_who_acknowledges_the_repeat_gets_no_other, people=("alice", "bob")),
        "bob.connection",
    ),
    Guard(
        "a message that nobody can read is put aside",
        does(DeadLetters, "park", out_of_reach),
        Test(
            test_poison.test_a_message_that_nobody_can_read_waits_for_a_human_and_nobody_for_it,
            {"body": "nonsense"},
            people=("alice", "bob"),
        ),
        "batchItemFailures",
    ),
    # Those of red packets are tried in full by histories: tests/integration/packet_guards.py. These show that the crash
    # harness looks at money.
    Guard(
        "nobody claims two shares of a packet",
        condition(PacketStore, "claim", "NOT contains(claimers, :user)"),
        Cases("claim the first", "UpdateItem RedPacket", ("timeout", "death after"), "repeat"),
        "claimed twice",
    ),
    Guard(
        "a movement of money is made once",
        condition(WalletStore, "_move", "attribute_not_exists(pk)"),
        Cases("settle a claim", "TransactWriteItems Wallet", ("timeout",), "repeat"),
        "money is where the packets say|given up",
    ),
    Guard(
        "money that was taken is not forgotten when its packet is given up",
        condition(WalletStore, "release", "attribute_not_exists(pk)"),
        Cases("settle what was never sent", "PutItem Wallet", ("timeout",), "nobody"),
        "money is where the packets say",
    ),
    Guard(
        "a packet is sent when its money is held",
        does(RedPackets, "create", paid_at_last),
        Cases("create a lucky packet", "SendMessage", ("death before", "error"), "nobody"),
        "money",
    ),
    Guard(
        "what cannot be settled at once is queued",
        does(SettlementQueue, "put", nothing),
        Cases("settle a claim", "TransactWriteItems Wallet", ("error", "throttled"), "nobody"),
        "not made",
    ),
    Guard(
        "a packet that nobody goes on with is given up",
        does(PacketStore, "cancel", lambda *_: False),
        Cases("create a lucky packet", "TransactWriteItems Conversation", ("death before",), "nobody"),
        "still new",
    ),
    Guard(
        "a packet that is over is closed",
        does(PacketStore, "close", lambda *_: False),
        Cases("claim the first", "UpdateItem RedPacket", ("error",), "nobody"),
        "still open",
    ),
)


def quiet(proof: Proof, proofs: Proofs, *, seeds: int) -> str | None:
    """What a part of the proof, of the simulation so many seeds, says when nothing is broken; None for nothing."""
    few = replace(proof, most=seeds) if isinstance(proof, Seeds) else proof
    with closing(few.complaints(proofs)) as lines:
        return next(lines, None)


def caught(guard: Guard, proofs: Proofs) -> str | None:
    """What the proof says first that it must, with the guard broken; None when it does not."""
    guard.proof.prepare(proofs)  # while nothing is broken
    with pytest.MonkeyPatch.context() as patch:
        broken = Broken(patch)
        guard.breaks(broken)
        with closing(guard.proof.complaints(proofs)) as lines:
            line = next((line for line in lines if re.search(guard.notices, line)), None)
        assert broken.times, "the guard was never missed"
    return line


def main() -> int:
    """Exit status 1 when nothing notices that a guard is broken."""
    wanted = sys.argv[1:]
    missed = 0
    with Proofs() as proofs:
        for guard in GUARDS:
            if wanted and not any(word in guard.name for word in wanted):
                continue
            started = time.process_time()
            line = caught(guard, proofs)
            missed += line is None
            print(
                f"{guard.name}\n    {guard.proof}, {time.process_time() - started:.1f} s\n    {line or 'NOT NOTICED'}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
