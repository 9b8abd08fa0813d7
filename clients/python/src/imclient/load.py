"""Open-loop load: messages begin when they are due, however slow the server is, and are timed from then.

Who waits for one answer before the next question measures a slow server too kindly: while it is slow, few ask. (That is
called coordinated omission.) Here the schedule is drawn beforehand, from a seed: each message has its moment, its
sender and its conversation. Its latency counts from that moment, with what it waited for in the client.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imclient.core.outputs import Source
from imclient.core.settings import Settings
from imclient.dialing import dialer
from imclient.errors import ImClientError, ReplyError
from imclient.frames import JsonObject
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.latency import percentile
from imclient.session import Arrival, Session
from imclient.stack import Stack

TOGETHER = 8
"""So many connect at a time."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `rate` is of all together, in messages a second; `group_size` 2 stands for direct conversations.

    `patience`: so many seconds after the last message is due, what has not come by then has not come.
    """

    run: str
    users: int
    rate: float
    seconds: float
    group_size: int = 2
    text: int = 40
    seed: int = 1
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class Due:
    """A message of the schedule; `at` is in seconds after the start."""

    at: float
    group: int
    sender: int


def schedule(plan: Plan) -> list[Due]:
    """The messages, at exponentially distributed distances, as those of independent people are."""
    dice = random.Random(plan.seed)  # noqa: S311 - a schedule, repeatable by its seed
    groups = groups_of(plan)
    due: list[Due] = []
    at = dice.expovariate(plan.rate)
    while at < plan.seconds:
        group = dice.randrange(len(groups))
        due.append(Due(at, group, dice.choice(groups[group])))
        at += dice.expovariate(plan.rate)
    return due


def groups_of(plan: Plan) -> list[list[int]]:
    """Who is with whom: everybody in one conversation; those who are left over join the last one."""
    size = max(2, min(plan.group_size, plan.users))
    groups = [list(range(first, first + size)) for first in range(0, plan.users - size + 1, size)]
    groups[-1] += range(groups[-1][-1] + 1, plan.users)
    return groups


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds; None without values."""

    count: int
    percentiles: dict[str, float | None]
    most: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latencies:
        """Of measured times."""
        found = {
            f"p{percent:g}": _rounded(percentile(seconds, percent)) if seconds else None for percent in PERCENTILES
        }
        return cls(len(seconds), found, _rounded(max(seconds)) if seconds else None)

    def to_json(self) -> JsonObject:
        """As one object."""
        return {"count": self.count, **self.percentiles, "max": self.most}


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `ack` and `push` count from when a message was due, `service` from when its frame first left."""

    users: int
    conversations: int
    due: int
    acked: int
    refused: dict[str, int]
    rate: float
    achieved: float
    ack: Latencies
    service: Latencies
    push: Latencies
    pushes_missing: int
    shown_twice: int
    reconnects: int
    frames_resent: int

    @property
    def passed(self) -> bool:
        """Whether every message was taken, and came once to everybody."""
        return self.acked == self.due and not self.pushes_missing and not self.shown_twice

    def to_json(self) -> JsonObject:
        """All figures as one object; times in milliseconds."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        latencies = {name: value.to_json() for name, value in plain.items() if isinstance(value, Latencies)}
        return plain | latencies | {"passed": self.passed}


@dataclass
class _Message:
    """One that is under way. Times are on the clock of `time.perf_counter`."""

    due: float
    to: frozenset[UserId]
    acked: float | None = None
    left: float | None = None
    came: dict[UserId, float] = field(default_factory=dict)


class Load:
    """One run. Make it inside a running event loop, and `run` it once. `on_progress(phase, done, total)`."""

    def __init__(self, stack: Stack, plan: Plan, *, on_progress: Callable[[str, int, int], None]) -> None:
        if plan.users < 2:
            raise ValueError(f"at least two users, not {plan.users}")
        self._stack, self._plan, self._progress = stack, plan, on_progress
        self._users = [UserId(f"{plan.run}-{number}") for number in range(plan.users)]
        self._sessions = [self._session(user) for user in self._users]
        self._messages: dict[str, _Message] = {}
        self._refused: Counter[str] = Counter()
        self._shown: Counter[tuple[UserId, str]] = Counter()

    async def run(self) -> Report:
        """Connect everybody, send, wait for what comes. Raises UnreachableError or UpgradeRefusedError when somebody
        cannot connect, ReplyError when a group is not made."""
        try:
            await self._connect()
            convs = [await self._conversation(members, number) for number, members in enumerate(groups_of(self._plan))]
            due = schedule(self._plan)
            began = time.perf_counter()
            async with asyncio.TaskGroup() as sending:
                for number, message in enumerate(due):
                    await asyncio.sleep(began + message.at - time.perf_counter())
                    sending.create_task(self._send(number, message, convs[message.group], began))
                    self._progress("send", number + 1, len(due))
                await self._wait_for_all(time.perf_counter() + self._plan.patience)
            return self._report(len(convs), len(due), time.perf_counter() - began)
        finally:
            await asyncio.gather(*(session.close() for session in self._sessions), return_exceptions=True)

    def _session(self, user: UserId) -> Session:
        def arrived(arrival: Arrival) -> None:
            self._arrived(user, arrival)

        return Session(dialer(self._stack, user, "load"), user, settings=Settings(backlog=0), on_arrival=arrived)

    async def _connect(self) -> None:
        room, done = asyncio.Semaphore(TOGETHER), 0

        async def one(session: Session) -> None:
            nonlocal done
            async with room:
                await session.start()
            done += 1
            self._progress("connect", done, len(self._sessions))

        first, *others = self._sessions  # functions that nobody has called yet take seconds to start
        await one(first)
        try:
            async with asyncio.TaskGroup() as group:
                for session in others:
                    group.create_task(one(session))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _conversation(self, members: list[int], number: int) -> ConvId:
        if self._plan.group_size <= 2 and len(members) == 2:
            return direct_conversation(self._users[members[0]], self._users[members[1]])
        first, *others = members
        wanted = [self._users[other] for other in others]
        data = {"gid": f"{self._plan.run}-g{number}", "name": f"load {number}", "members": wanted[:100]}
        info = await self._sessions[first].call("group", "create", data)
        for begin in range(100, len(wanted), 100):
            more = {"conv": info["conv"], "users": wanted[begin : begin + 100]}
            await self._sessions[first].call("group", "invite", more)
        return ConvId(str(info["conv"]))

    async def _send(self, number: int, due: Due, conv: ConvId, began: float) -> None:
        cmid = f"{self._plan.run}-{number}"
        members = frozenset(self._users[one] for one in groups_of(self._plan)[due.group])
        message = self._messages[cmid] = _Message(began + due.at, members - {self._users[due.sender]})
        text = f"{number} ".ljust(self._plan.text, ".")[: self._plan.text]
        try:
            async with asyncio.timeout(self._plan.seconds + self._plan.patience - due.at):
                sent = await self._sessions[due.sender].send(conv, {"text": text}, cmid=cmid)
        except ReplyError as error:
            self._refused[error.code] += 1
        except (TimeoutError, ImClientError) as error:
            self._refused[type(error).__name__] += 1
        else:
            message.acked, message.left = sent.acked_at, sent.sent_at

    def _arrived(self, user: UserId, arrival: Arrival) -> None:
        message = self._messages.get(arrival.entry.cmid or "")
        if message is None or user not in message.to or not arrival.new:
            return
        self._shown[user, arrival.entry.cmid or ""] += 1
        if arrival.source is Source.PUSH:
            message.came.setdefault(user, arrival.at)

    async def _wait_for_all(self, end: float) -> None:
        while time.perf_counter() < end:
            done = sum(m.acked is not None and self._has_come(cmid, m) for cmid, m in self._messages.items())
            self._progress("receive", done, len(self._messages))
            if done == len(self._messages):
                return
            await asyncio.sleep(0.1)

    def _has_come(self, cmid: str, message: _Message) -> bool:
        return all(self._shown[user, cmid] for user in message.to)

    def _report(self, conversations: int, due: int, seconds: float) -> Report:
        messages = self._messages.values()
        acked = [message for message in messages if message.acked is not None]
        return Report(
            users=len(self._users),
            conversations=conversations,
            due=due,
            acked=len(acked),
            refused=dict(self._refused),
            rate=self._plan.rate,
            achieved=round(len(acked) / max(seconds, self._plan.seconds), 1),
            ack=Latencies.of([message.acked - message.due for message in acked if message.acked is not None]),
            service=Latencies.of([m.acked - m.left for m in acked if m.acked is not None and m.left is not None]),
            push=Latencies.of([at - message.due for message in messages for at in message.came.values()]),
            pushes_missing=sum(not self._shown[user, cmid] for cmid, m in self._messages.items() for user in m.to),
            shown_twice=sum(count > 1 for count in self._shown.values()),
            reconnects=sum(session.reconnects for session in self._sessions),
            frames_resent=sum(session.frames_resent for session in self._sessions),
        )


def _rounded(seconds: float) -> float:
    return round(1000 * seconds, 1)
