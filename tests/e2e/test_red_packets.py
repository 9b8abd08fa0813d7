"""Red packets on the deployed stack: their life through real sockets, and everybody who claims one at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest

from local import Stack
from tests.e2e.books import settled
from tests.e2e.claimers import Answered, Instances, Members, through_its_socket, wrong_with_winners
from tests.e2e.short_lives import packets_live
from tests.e2e.talker import Talker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CLAIMERS, SHARES = 100, 20
AT_ONCE = 4
"""Instances of the claim function."""

FORGOTTEN_AFTER_S = 10
"""Long enough for two frames of a function that runs."""

TOLD_WITHIN_S = 60.0
ENDED_WITHIN_S = 120.0
"""The clock strikes once a minute."""


class Forgotten(NamedTuple):
    """A packet with an open share whose time is over soon, and its sender, who stays."""

    packet: str
    sender: Talker
    claimed: int
    """What somebody has taken from it."""


@pytest.fixture(scope="module", autouse=True)
def forgotten(stack: Stack) -> Iterator[Forgotten]:
    """Sent before all tests: the clock ends it while they run."""
    with Talker(stack, "absent") as sender, Talker(stack, "present") as other:
        conv = group(sender, other)
        with packets_live(stack, FORGOTTEN_AFTER_S):
            balance(sender)  # the function starts anew
            packet = send(sender, conv, count=3)["packet"]
            amount = other.ok("redpacket.claim", {"packet": packet})["amount"]
        yield Forgotten(packet, sender, amount)


def group(founder: Talker, *others: Talker) -> str:
    """A new group of these."""
    gid = f"money-{uuid.uuid4()}"
    founder.ok("group.create", {"gid": gid, "name": "Money", "members": [other.user for other in others]})
    return f"g:{gid}"


def send(sender: Talker, conv: str, total: int = 1000, **data: Any) -> dict[str, Any]:
    """A red packet, a lucky one unless `data` says otherwise."""
    asked = {"conv": conv, "cmid": str(uuid.uuid4()), "kind": "lucky", "total": total, **data}
    return sender.ok("redpacket.create", asked)


def balance(talker: Talker) -> int:
    """What somebody has."""
    return int(talker.ok("redpacket.wallet")["balance"])


def about(talker: Talker, packet: str, event: str) -> dict[str, Any]:
    """The next push of one event of a packet."""
    while True:
        push = talker.push("redpacket")
        if (push["packet"], push["event"]) == (packet, event):
            return push


def test_a_red_packet_is_seen_claimed_paid_and_finished(stack: Stack) -> None:
    with Talker(stack, "anna") as anna, Talker(stack, "ben") as ben, Talker(stack, "cleo") as cleo:
        conv = group(anna, ben, cleo)
        before = {talker: balance(talker) for talker in (anna, ben, cleo)}
        sent = send(anna, conv, count=2, greeting="Well done")
        packet = sent["packet"]
        for other in (ben, cleo):
            while (entry := other.entry())["kind"] != "redpacket":
                pass
            assert entry["body"] == {"packet": packet, "kind": "lucky", "greeting": "Well done"}
            assert (entry["conv"], entry["seq"]) == (conv, sent["seq"])
        assert balance(anna) == before[anna] - 1000

        amounts = {other: other.ok("redpacket.claim", {"packet": packet})["amount"] for other in (ben, cleo)}
        assert sum(amounts.values()) == 1000
        assert anna.ask("redpacket.claim", {"packet": packet})["error"]["code"] == "sold_out"
        for other in (ben, cleo):
            assert about(other, packet, "claimed")["amount"] == amounts[other]
        told: dict[str, tuple[int, int | None]] = {}
        while len(told) < len(amounts):
            push = about(anna, packet, "claimed")
            told[push["user"]] = (push["claimed"], push.get("amount"))
        assert told == {"ben": (1, None), "cleo": (2, None)}
        best = {about(talker, packet, "finished")["best"] for talker in (anna, ben, cleo)}
        assert best == {max(("ben", "cleo"), key=lambda user: amounts[ben if user == "ben" else cleo])}

        settled(stack, packet)
        assert {other: balance(other) - before[other] for other in (ben, cleo)} == amounts
        detail = anna.ok("redpacket.detail", {"packet": packet})
        assert (detail["state"], [claim["user"] for claim in detail["claims"]]) == ("finished", ["ben", "cleo"])
        (newest, *_) = ben.ok("redpacket.ledger")["postings"]
        assert (newest["kind"], newest["packet"], newest["amount"]) == ("received", packet, amounts[ben])


def test_a_hundred_claim_at_once_and_there_are_exactly_as_many_winners_as_shares(stack: Stack) -> None:
    async def storms() -> None:
        async with AsyncExitStack() as at_the_end:
            members = await Members.gather(stack, f"storm-{uuid.uuid4().hex[:8]}-", CLAIMERS, at_the_end)
            instances = Instances(stack, AT_ONCE)
            await asyncio.to_thread(instances.warm_up)
            for claim in (through_its_socket, instances.claim, instances.claim):
                sent = await members.send(total=SHARES * 100, count=SHARES)
                answered = await members.all_claim(sent["packet"], claim)
                await asyncio.to_thread(settled, stack, sent["packet"])
                assert wrong_with_winners(stack, sent["packet"], SHARES, answered) == []
            await asyncio.to_thread(told_what_they_have, members, sent["packet"], answered)

    asyncio.run(storms())


def test_what_nobody_has_claimed_goes_back_when_the_clock_strikes(stack: Stack, forgotten: Forgotten) -> None:
    packet, books = settled(stack, forgotten.packet, ENDED_WITHIN_S)

    assert (packet.state, packet.claimers) == ("closed", ("present",))
    refunded = about(forgotten.sender, packet.name, "refunded")
    assert refunded["amount"] == 1000 - forgotten.claimed
    assert books.lines[f"packet:{packet.name}"]["rest"].amount == forgotten.claimed - 1000
    assert forgotten.sender.ask("redpacket.claim", {"packet": packet.name})["error"]["code"] == "expired"
    detail = forgotten.sender.ok("redpacket.detail", {"packet": packet.name})
    assert (detail["state"], detail["refunded"]) == ("expired", refunded["amount"])


def told_what_they_have(members: Members, packet: str, answered: list[Answered]) -> None:
    """Everybody who has won was told so on their device, by a push, and that it is over."""
    won = {one.user: one.answer.amount for one in answered if one.answer.amount}
    deadline = time.monotonic() + TOLD_WITHIN_S
    for member in members.all:
        while member.user in won and not member.told(packet, "finished"):
            assert time.monotonic() < deadline, f"{member.user} was not told that {packet} is finished"
            time.sleep(0.05)
        own = {push["amount"] for push in member.told(packet, "claimed") if push["user"] == member.user}
        assert own == ({won[member.user]} if member.user in won else set()), member.user
