"""People who write in a group while their network is cut again and again, and what each of them has seen in the end.

    PYTHONPATH=layers/common:clients/python/src:. .venv/bin/python -m tests.e2e.cut_chat [--js] [--messages 1000]

starts a stack of its own and prints what came of it. Exit status 1 when anything is missing, twice, or out of order.
With `--js` they have the JavaScript client, otherwise the Python one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from imclient.connection import Connection
from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.errors import UnreachableError
from imclient.ids import ConvId, UserId
from imclient.session import Arrival, Session
from imclient.socket import Socket
from local import Stack, running_stack
from tests.e2e.cut_network import CutNetwork
from tests.node import node

PEOPLE = 5
WAITS: Final[dict[str, Any]] = {"reply": 3_000, "ping_every": 20_000, "ping_deadline": 5_000, "backoff_longest": 2_000}
"""The protocol's waits made shorter: a connection that went silent is found out sooner."""
AT_REST_S = 120
TALKERS = Path(__file__).with_name("js_talkers.mjs")

Said: TypeAlias = tuple[int, str, str]
"""The seq, the cmid and the text of a message."""


@dataclass
class Person:
    """Somebody with one device."""

    user: UserId
    stack: Stack
    network: CutNetwork
    shown: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the session; it does not begin yet."""
        self.session = Session(
            self._dial, self.user, settings=Settings(backlog=None, **WAITS), on_arrival=self._arrived
        )

    async def _dial(self, _: Dial) -> Socket:
        address = self.network.address(self.stack.websocket)
        return await Socket.open(address, token=self.stack.token(self.user), device="d1")

    def held(self, conv: ConvId) -> list[Said]:
        """The messages that it has, in order."""
        entries = [entry for entry in self.session.transcript(conv).entries() if entry.countable]
        return [(entry.seq, entry.cmid or "", entry.body["text"]) for entry in entries]

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.new:
            self.shown[arrival.entry.conv, arrival.entry.seq] += 1


@dataclass
class Outcome:
    """What came of it."""

    seconds: float
    sent: list[Said]
    cuts: Counter[str]
    reconnects: int
    wrong: list[str]

    def __str__(self) -> str:
        """One line, and what is wrong."""
        said = (
            f"{len(self.sent)} messages in {self.seconds:.0f} s; {sum(self.cuts.values())} cuts {dict(self.cuts)},"
            f" {self.reconnects} reconnects;"
        )
        return "\n".join([f"{said} {len(self.wrong)} wrong", *self.wrong[:20]])


@dataclass
class Chat:
    """One run: people in a group, behind a network that is cut as often as messages are sent, in proportion."""

    stack: Stack
    messages: int
    cuts: int
    seed: int

    def __post_init__(self) -> None:
        """Nothing is sent yet."""
        self.dice = random.Random(self.seed)
        self.network = CutNetwork(self.stack.cloud.port, self.dice)
        self.users = [UserId(f"cut{self.seed}-{secrets.token_hex(2)}-{number}") for number in range(PEOPLE)]
        self.shares = [self.messages // PEOPLE + (number < self.messages % PEOPLE) for number in range(PEOPLE)]
        self.sent: list[Said] = []

    async def in_python(self) -> Outcome:
        """With the Python client."""
        async with self.network.running():
            conv = await self._group()
            people = [Person(user, self.stack, self.network) for user in self.users]
            try:
                for person in people:
                    await _started(person)
                began = time.monotonic()
                writing = [self._write(person, conv, share) for person, share in zip(people, self.shares, strict=True)]
                await asyncio.gather(self._cut(), *writing)
                seconds = time.monotonic() - began
                last = max(seq for seq, _, _ in self.sent)
                end = time.monotonic() + AT_REST_S
                while time.monotonic() < end and any(p.session.transcript(conv).watermark < last for p in people):
                    await asyncio.sleep(0.2)
            finally:
                await asyncio.gather(*(person.session.close() for person in people))
        wrong = [line for p in people for line in self._wrong(p.user, p.held(conv), p.shown)]
        return Outcome(seconds, self.sent, self.network.cuts, sum(p.session.reconnects for p in people), wrong)

    async def in_javascript(self) -> Outcome:
        """With the JavaScript client, under Node."""
        async with self.network.running():
            people = [
                {"user": user, "token": self.stack.token(user), "messages": share}
                for user, share in zip(self.users, self.shares, strict=True)
            ]
            settings = {"backlog": None} | {_in_js(name): value for name, value in WAITS.items()}
            url = self.network.address(self.stack.websocket)
            task = {"url": url, "conv": await self._group(), "settings": settings, "people": people}
            pipe = asyncio.subprocess.PIPE
            # Node 20 has its WebSocket behind an option.
            talkers = await asyncio.create_subprocess_exec(
                node(), "--experimental-websocket", TALKERS, stdin=pipe, stdout=pipe, limit=2**24
            )
            assert talkers.stdin is not None
            talkers.stdin.write(json.dumps(task).encode())
            talkers.stdin.close()
            began = time.monotonic()
            cutting = asyncio.create_task(self._cut())
            try:
                ends = await self._hear(talkers)
            finally:
                cutting.cancel()
                if talkers.returncode is None:
                    talkers.kill()
                await talkers.wait()
        wrong = [] if len(ends) == PEOPLE else [f"{len(ends)} of {PEOPLE} people came to the end"]
        for end in ends:
            shown = Counter({("", seq): times for seq, times in end["shown"]})
            wrong += self._wrong(end["user"], [(seq, cmid, text) for seq, cmid, text in end["held"]], shown)
        seconds = time.monotonic() - began
        return Outcome(seconds, self.sent, self.network.cuts, sum(end["reconnects"] for end in ends), wrong)

    async def _hear(self, talkers: asyncio.subprocess.Process) -> list[dict[str, Any]]:
        assert talkers.stdout is not None
        ends = []
        while line := await talkers.stdout.readline():
            told = json.loads(line)
            if "sent" in told:
                seq, cmid, text = told["sent"]
                self.sent.append((seq, cmid, text))
            else:
                ends.append(told)
        return ends

    async def _group(self) -> ConvId:
        """The group of all of them, made over a network that holds."""
        first, *others = self.users
        token = self.stack.token(first)
        async with await Connection.open(self.stack.websocket, token=token, device="maker") as connection:
            data = {"gid": f"{first}-all", "name": "Cut off", "members": others, "history": True}
            made = await connection.request("group", "create", data, timeout=30)
        return ConvId(made["conv"])

    async def _write(self, person: Person, conv: ConvId, number: int) -> None:
        for count in range(number):
            sent = await person.session.send(conv, {"text": f"{person.user} says {count}"})
            self.sent.append((sent.entry.seq, sent.entry.cmid or "", sent.entry.body["text"]))
            await asyncio.sleep(self.dice.uniform(0, 0.05))

    async def _cut(self) -> None:
        done = 0
        while done < self.cuts:
            await asyncio.sleep(self.dice.uniform(0, 0.05))
            if self.sent and len(self.sent) * self.cuts >= done * self.messages and self.network.cut():
                done += 1

    def _wrong(self, user: str, held: list[Said], shown: Counter[tuple[str, int]]) -> list[str]:
        """What is not as it must be at one of them: every message once, in the one order, with its text."""
        said = sorted(self.sent)
        wrong = [] if held == said else [f"{user} has {len(held)} messages, and {len(said)} were sent"]
        wrong += [f"{user} has not {one}" for one in said if one not in held]
        wrong += [f"{user} has {one}, which nobody sent so" for one in held if one not in said]
        return wrong + [f"{user} was shown {seq} {count} times" for (_, seq), count in shown.items() if count > 1]


def _in_js(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


async def _started(person: Person) -> None:
    for left in (4, 3, 2, 1, 0):
        try:
            return await person.session.start()
        except UnreachableError:  # functions that nobody has called yet take seconds to start
            if not left:
                raise
            person.__post_init__()
    raise AssertionError


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--js", action="store_true", help="the JavaScript client instead of the Python one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack ends with this program, whoever ends that
    with running_stack(parameters={"SignInPolicy": "multi"}) as stack:
        chat = Chat(stack, options.messages, options.cuts, options.seed)
        outcome = asyncio.run(chat.in_javascript() if options.js else chat.in_python())
    print(outcome)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
