"""People who write in a group while their network is cut again and again, and what each of them has seen in the end.

    PYTHONPATH=layers/common:clients/python/src:. .venv/bin/python -m tests.e2e.cut_chat [--messages 1000] [--cuts 100]

starts a stack of its own and prints what came of it. Exit status 1 when anything is missing, twice, or out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.errors import UnreachableError
from imclient.ids import ConvId, UserId
from imclient.session import Arrival, Sent, Session
from imclient.socket import Socket
from local import Stack, running_stack
from tests.e2e.cut_network import CutNetwork

PEOPLE = 5
SETTINGS = Settings(backlog=None, reply=3_000, ping_every=20_000, ping_deadline=5_000, backoff_longest=2_000)
"""The protocol's waits made shorter: a connection that went silent is found out sooner."""
AT_REST_S = 120


@dataclass
class Person:
    """Somebody with one device."""

    user: UserId
    stack: Stack
    network: CutNetwork
    shown: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the session; it does not begin yet."""
        self.session = Session(self._dial, self.user, settings=SETTINGS, on_arrival=self._arrived)

    async def _dial(self, _: Dial) -> Socket:
        address = self.network.address(self.stack.websocket)
        return await Socket.open(address, token=self.stack.token(self.user), device="d1")

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.new:
            self.shown[arrival.entry.conv, arrival.entry.seq] += 1


@dataclass
class Outcome:
    """What came of it."""

    seconds: float
    sent: list[Sent]
    cuts: Counter[str]
    reconnects: int
    resent: int
    wrong: list[str]

    def __str__(self) -> str:
        """One line, and what is wrong."""
        duplicates = sum(sent.duplicate for sent in self.sent)
        said = (
            f"{len(self.sent)} messages in {self.seconds:.0f} s; {sum(self.cuts.values())} cuts {dict(self.cuts)},"
            f" {self.reconnects} reconnects, {self.resent} frames sent again, {duplicates} of them known already;"
        )
        return "\n".join([f"{said} {len(self.wrong)} wrong", *self.wrong[:20]])


async def chat(stack: Stack, messages: int, cuts: int, seed: int) -> Outcome:
    """Let them write `messages`, with `cuts` meanwhile, and look at what each of them has when all is quiet."""
    dice = random.Random(seed)
    network = CutNetwork(stack.cloud.port, dice)
    async with network.running():
        people = [Person(UserId(f"cut{seed}-{number}"), stack, network) for number in range(PEOPLE)]
        try:
            return await _chat(people, network, messages, cuts, dice)
        finally:
            await asyncio.gather(*(person.session.close() for person in people))


async def _chat(people: list[Person], network: CutNetwork, messages: int, cuts: int, dice: random.Random) -> Outcome:
    for person in people:
        await _started(person)
    first, *others = people
    made = {"gid": f"{first.user}-all", "name": "Cut off", "members": [other.user for other in others], "history": True}
    conv = ConvId((await first.session.call("group", "create", made))["conv"])
    began, sent = time.monotonic(), list[Sent]()

    async def write(person: Person, number: int) -> None:
        for count in range(number):
            sent.append(await person.session.send(conv, {"text": f"{person.user} says {count}"}))
            await asyncio.sleep(dice.uniform(0, 0.05))

    async def cut() -> None:
        """Spread over the messages: as many cuts are over as messages, in proportion."""
        done = 0
        while done < cuts:
            await asyncio.sleep(dice.uniform(0, 0.05))
            if len(sent) * cuts >= done * messages and network.cut():
                done += 1

    shares = [messages // PEOPLE + (number < messages % PEOPLE) for number in range(PEOPLE)]
    await asyncio.gather(cut(), *(write(person, share) for person, share in zip(people, shares, strict=True)))
    seconds = time.monotonic() - began
    last = max(one.entry.seq for one in sent)
    end = time.monotonic() + AT_REST_S
    while time.monotonic() < end and any(p.session.transcript(conv).watermark < last for p in people):
        await asyncio.sleep(0.2)
    return Outcome(
        seconds,
        sent,
        network.cuts,
        sum(person.session.reconnects for person in people),
        sum(person.session.frames_resent for person in people),
        [line for person in people for line in _wrong(person, conv, sent)],
    )


async def _started(person: Person) -> None:
    for left in (4, 3, 2, 1, 0):
        try:
            return await person.session.start()
        except UnreachableError:  # functions that nobody has called yet take seconds to start
            if not left:
                raise
            person.__post_init__()
    raise AssertionError


def _wrong(person: Person, conv: ConvId, sent: list[Sent]) -> list[str]:
    """What is not as it must be at one of them: every message once, in the one order, with its text."""
    held = [entry for entry in person.session.transcript(conv).entries() if entry.countable]
    said = [(one.entry.seq, one.entry.cmid, one.entry.body["text"]) for one in sorted(sent, key=lambda s: s.entry.seq)]
    seen = [(entry.seq, entry.cmid, entry.body["text"]) for entry in held]
    wrong = [] if seen == said else [f"{person.user} has {len(seen)} messages, and {len(said)} were sent"]
    wrong += [f"{person.user} has not {one}" for one in said if one not in seen]
    wrong += [f"{person.user} has {one}, which nobody sent so" for one in seen if one not in said]
    return wrong + [f"{person.user} was shown {at} {count} times" for at, count in person.shown.items() if count > 1]


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack ends with this program, whoever ends that
    with running_stack(parameters={"SignInPolicy": "multi"}) as stack:
        outcome = asyncio.run(chat(stack, options.messages, options.cuts, options.seed))
    print(outcome)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
