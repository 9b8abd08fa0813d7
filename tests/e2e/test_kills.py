"""The process that fans out is killed in the middle of it, again and again: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from imclient.frames import Entry
from local import Stack
from tests.e2e.crowd import Person, connect_all, queues_are_empty, visible_again_soon
from tests.e2e.group_log import GroupLog, Tables

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = int(os.environ.get("IM_SEED", "20"))
ROUNDS, KILLS_A_ROUND = 5, 4
"""Between the rounds all is delivered: a message that is received more than ten times goes to the dead-letter queue,
and here one batch may hold the messages of all conversations."""

CALLS = 24
"""At least as many as a fan-out to this group makes of a cold start: the kills come from before the first to after the
last of them, and in the batches after that."""

PEOPLE = [f"kill{i}" for i in range(6)]
GROUPS = ["g:kills-a", "g:kills-b"]
LARGE_ABOVE = 200


@dataclass
class Massacre:
    """Messages are sent, and whoever fans them out is killed at a moment that the dice choose."""

    stack: Stack
    people: Mapping[str, Person]
    dice: random.Random
    acked: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    """By conversation, sender and cmid, what the reply said."""
    moments: list[str] = field(default_factory=list)
    killed: int = 0

    async def kill_once(self) -> None:
        """Hold some call of the fan-out, kill its process, let the call go."""
        number, after = self.dice.randint(1, CALLS), self.dice.random() < 0.5
        with self.stack.chaos.trap("FanoutFunction", number=number, after=after) as trap:
            await self._something_is_said()
            # What was killed before comes again, too; nothing more is needed unless these calls were too few.
            while not await asyncio.to_thread(trap.wait_caught, 5):
                await self._something_is_said()
            self.killed += await asyncio.to_thread(self.stack.chaos.kill, "FanoutFunction")
        self.moments.append(f"{'after' if after else 'before'} call {number}")

    async def _something_is_said(self) -> None:
        async with asyncio.TaskGroup() as at_once:
            for conv in GROUPS:
                at_once.create_task(self._say(conv, self.dice.choice(PEOPLE)))

    async def _say(self, conv: str, sender: str) -> None:
        cmid = f"m{len(self.acked)}-{self.dice.random()}"
        entry, _ = await self.people[sender].say_until_taken(conv, f"{sender} says {cmid}", cmid)
        self.acked[conv, sender, cmid] = entry


def test_a_fan_out_that_is_killed_twenty_times_loses_nothing_and_shows_nothing_twice(chaos_stack: Stack) -> None:
    print(f"IM_SEED={SEED}")
    asyncio.run(_kills(chaos_stack))


async def _kills(stack: Stack) -> None:
    began = time.monotonic()
    people = {user: Person(stack, user) for user in PEOPLE}
    massacre = Massacre(stack, people, random.Random(SEED))
    async with AsyncExitStack() as at_the_end:
        at_the_end.enter_context(visible_again_soon(stack, 1))
        await connect_all(people.values(), at_the_end)
        for conv in GROUPS:
            request = {"gid": conv.removeprefix("g:"), "name": "K", "members": PEOPLE[1:]}
            await people[PEOPLE[0]].ask("group.create", request)
        for _ in range(ROUNDS):
            for _ in range(KILLS_A_ROUND):
                await massacre.kill_once()
            await queues_are_empty(stack, within_s=30)
        tables = Tables(stack)
        logs = [GroupLog(conv, tables.log(conv), large_above=LARGE_ABOVE) for conv in GROUPS]
        await _everybody_was_pushed(people.values(), logs, within_s=60)

        assert massacre.killed == ROUNDS * KILLS_A_ROUND
        assert [line for log in logs for line in log.wrong] == []
        stored = {(log.conv, *key): entry for log in logs for key, entry in log.by_cmid.items()}
        assert {key: entry.seq for key, entry in massacre.acked.items()} == {
            key: entry.seq for key, entry in stored.items()
        }
        assert [line for person in people.values() for log in logs for line in differences(person, log)] == []
        for person in people.values():
            rows, unread = await person.inbox()
            must = {log.conv: log.row(person.user) for log in logs}
            told = {conv: {name: row.get(name, 0) for name in must[conv]} for conv, row in rows.items()}
            assert told == must, person.user
            assert unread["total_unread"] == sum(row["unread"] for row in must.values()), person.user
        figures = {
            "kills": massacre.moments,
            "messages": len(massacre.acked),
            "pushed": sum(len(person.pushed) for person in people.values()),
            "pushed again": sum(_repeats(person) for person in people.values()),
            "seconds": round(time.monotonic() - began, 1),
        }
    print(json.dumps(figures))


async def _everybody_was_pushed(people: Collection[Person], logs: Collection[GroupLog], within_s: float) -> None:
    """Wait until all of them hold all there is, within reason. Nobody looks at their inbox for it."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if all(len(person.holds(log.conv)) == log.last_seq for person in people for log in logs):
            return
        await asyncio.sleep(0.2)


def differences(person: Person, log: GroupLog) -> list[str]:
    """What somebody holds or was shown that is not exactly what they must see, one line each."""
    must = {entry.seq: (entry.kind, entry.sender, entry.cmid, entry.body) for entry in log.visible(person.user)}
    held = {entry.seq: (entry.kind, entry.sender, entry.cmid, entry.body) for entry in person.holds(log.conv)}
    found = [f"{person.user} lacks {log.conv} {seq}" for seq in must.keys() - held.keys()]
    found += [f"{person.user} holds {log.conv} {seq}: {held[seq]}" for seq in held if held[seq] != must.get(seq)]
    shown = Counter(arrival.entry.seq for arrival in person.arrivals if arrival.new and arrival.entry.conv == log.conv)
    return found + [
        f"{person.user} was shown {log.conv} {seq} {times} times" for seq, times in shown.items() if times > 1
    ]


def _repeats(person: Person) -> int:
    return len(person.pushed) - len({(entry.conv, entry.seq) for entry in person.pushed})
