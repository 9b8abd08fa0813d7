"""The process that answers a claim is killed between its write and its answer, again and again: one share a claimer."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local import Stack
from tests.e2e.books import settled
from tests.e2e.claimers import AGAIN, CLAIMS, Instances, Member, Members, wrong_with_winners
from tests.e2e.talker import Talker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = int(os.environ.get("IM_SEED", "20"))
CLAIMERS, SHARES = 60, 15
AT_ONCE = 2
WRITE = "dynamodb.UpdateItem"
EVERY = 4
"""One in so many claims that are written, at least, is hit."""


def test_claims_whose_function_dies_with_the_answer_are_made_once_and_answered(chaos_stack: Stack) -> None:
    users = [f"killed{i:03d}" for i in range(CLAIMERS)]
    with Talker(chaos_stack, users[0]) as founder:
        gid = f"killed-{uuid.uuid4()}"
        founder.ok("group.create", {"gid": gid, "name": "Killed", "members": users[1:]})
        asked = {"conv": f"g:{gid}", "cmid": "c1", "kind": "lucky", "total": 100 * SHARES, "count": SHARES}
        packet = founder.ok("redpacket.create", asked)["packet"]
    members = Members(f"g:{gid}", [Member(chaos_stack, user) for user in users])
    instances = Instances(chaos_stack, AT_ONCE)
    instances.warm_up()
    with killed_at_its_write(chaos_stack, random.Random(SEED)) as kills:
        answered = asyncio.run(members.all_claim(packet, instances.claim))

    settled(chaos_stack, packet)
    assert wrong_with_winners(chaos_stack, packet, SHARES, answered) == []
    had_won = sum(one.answer.code == AGAIN for one in answered)
    print(f"IM_SEED={SEED}: killed {kills}, {had_won} had won before")
    assert had_won, "no answer was lost"


@contextmanager
def killed_at_its_write(stack: Stack, dice: random.Random) -> Iterator[list[str]]:
    """All processes that answer claims are killed, whenever one has written a claim, or is about to; which of them."""
    chaos = stack.chaos
    assert chaos is not None
    kills: list[str] = []
    over = threading.Event()

    def keep_killing() -> None:
        while not over.is_set():
            after = dice.random() < 0.7
            with chaos.trap(CLAIMS, WRITE, number=dice.randint(1, EVERY), after=after) as trap:
                while not over.is_set() and not trap.wait_caught(0.1):
                    pass
                if not over.is_set():
                    chaos.kill(CLAIMS)
                    kills.append("after" if after else "before")

    killer = threading.Thread(target=keep_killing, daemon=True)
    killer.start()
    try:
        yield kills
    finally:
        over.set()
        killer.join()
