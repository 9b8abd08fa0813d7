"""Plays a chat log through a deployed stack, with one signed-in person for each nickname, and compares the outcome.

Every person is an own connection with an own transcript, as on an own phone. The order of messages from different
senders is fixed only by the server's replies, so a message is sent when the one before it has been acknowledged.

All people live in this one process and on its one event loop: with many of them the times it reports include waiting
for each other here. They are upper bounds of the server's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from imclient.chatlog import Line, user_ids
from imclient.comparison import (
    Said,
    inbox_differences,
    shown_twice,
    transcript_differences,
    unread_differences,
    unread_expected,
)
from imclient.core.outputs import Source
from imclient.core.settings import Settings
from imclient.dialing import dialer
from imclient.errors import ChatLogError, ImClientError, ReplayStoppedError
from imclient.frames import Entry, JsonObject
from imclient.ids import ConvId, UserId
from imclient.latency import percentile
from imclient.session import Arrival, Sent, Session
from imclient.stack import Stack
from imclient.transcript import Gap

MAX_PEOPLE = 200
LISTENER = "listener"

Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to play. All times are in seconds.

    - `run`: goes into every user id and the group's id, so that runs do not meet.
    - `listeners`: how many more people join who never write.
    - `window`: how many messages the senders may be ahead of the slowest member; None for no limit.
    - `together`: how many connections are opened, or members checked, at a time.
    - `patience`: how long to wait without any progress before giving up.
    - `tail`: after so long without any push the members ask for what they lack at the end, where no hole shows it.
    - `settle`: after the last entry, so long without any push ends the wait for duplicates; also the time between two
      looks at counters that do not agree yet.
    - `seed`: chooses the member whose history is read again besides the first and the last one.
    """

    run: str
    group_name: str
    listeners: int = 0
    window: int | None = None
    together: int = 8
    patience: float = 120.0
    tail: float = 2.0
    settle: float = 1.0
    counter_looks: int = 10
    seed: int = 1
    settings: Settings = field(default_factory=lambda: Settings(backlog=None, acknowledges=False))


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured and found. Times in milliseconds where the name says so; percentiles are None without values.

    `by_push` and `only_by_fetch` count entries over all members; `late_pushes` came by push after they were fetched,
    and are part of `by_push`. `counters_late` is how many members' unread counts agreed only at a later look.
    """

    conv: ConvId
    group_name: str
    people: int
    messages: int
    notices: int
    seconds: float
    messages_per_second: float
    ack_p50_ms: float | None
    ack_p99_ms: float | None
    push_p50_ms: float | None
    push_p99_ms: float | None
    push_deliveries: int
    by_push: int
    only_by_fetch: int
    late_pushes: int
    duplicate_pushes: int
    duplicates_shown: int
    duplicate_replies: int
    frames_resent: int
    reconnects: int
    counters_late: int
    histories_read_again: list[str]
    differences: list[str]

    @property
    def passed(self) -> bool:
        """Whether everything was as it must be."""
        return not self.differences

    def to_json(self, *, differences: int = 100) -> JsonObject:
        """All figures as one JSON object, with the first `differences` of the differences and how many there are."""
        return {
            **asdict(self),
            "passed": self.passed,
            "differences": self.differences[:differences],
            "differences_total": len(self.differences),
        }


class Member:
    """One person, signed in on one device, and everything that arrived there, in the order in which it did."""

    def __init__(self, user: UserId, stack: Stack, settings: Settings, on_arrival: Callable[[], None]) -> None:
        self.user = user
        self.arrivals: list[Arrival] = []
        self._on_arrival = on_arrival
        self.session = Session(dialer(stack, user, "replay"), user, settings=settings, on_arrival=self._record)

    def entries(self, conv: ConvId) -> list[Entry]:
        """What they hold of the conversation, ascending."""
        return self.session.transcript(conv).entries()

    def holds(self, conv: ConvId, seq: int) -> bool:
        """Whether they hold everything up to `seq`."""
        return self.session.transcript(conv).watermark >= seq

    def _record(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        self._on_arrival()


@dataclass(frozen=True, slots=True)
class Deliveries:
    """How entries came to one member. `pushed` has, by seq, when the first push of an entry came."""

    pushed: dict[int, float]
    duplicate_pushes: int
    late_pushes: int
    only_by_fetch: int


def count_deliveries(arrivals: Iterable[Arrival]) -> Deliveries:
    """Tell pushes, duplicates of them, and entries that came only because they were asked for, apart."""
    pushed: dict[int, float] = {}
    fetched: set[int] = set()
    duplicates = late = 0
    for arrival in arrivals:
        seq = arrival.entry.seq
        if arrival.source is Source.PUSH and seq in pushed:
            duplicates += 1
        elif arrival.source is Source.PUSH:
            pushed[seq] = arrival.at
            late += seq in fetched
        elif arrival.source is Source.FETCH and arrival.new:
            fetched.add(seq)
    return Deliveries(pushed, duplicates, late, len(fetched - pushed.keys()))


class Replay:
    """One run. Make it inside a running event loop, and `run` it once."""

    def __init__(self, stack: Stack, lines: Sequence[Line], plan: Plan, *, on_progress: Progress | None = None) -> None:
        """`lines` is the log. Raises ChatLogError for an empty one, and for one with more people than a group takes."""
        if not lines:
            raise ChatLogError("a log without any message")
        ids = user_ids([*(line.nickname for line in lines), *_listeners(plan.listeners)], prefix=plan.run)
        if len(ids) > MAX_PEOPLE:
            raise ChatLogError(f"{len(ids)} people; a group takes {MAX_PEOPLE} when it is made: play fewer messages")
        self._plan = plan
        self._on_progress = on_progress or (lambda *_: None)
        self._said = [Said(ids[line.nickname], line.text) for line in lines]
        self._sent: list[Sent] = []
        self._arrivals = 0
        self._arrived = asyncio.Event()
        self._members = {user: Member(user, stack, plan.settings, self._count) for user in ids.values()}

    async def run(self) -> Report:
        """Play the log and compare.

        Raises UnreachableError or UpgradeRefusedError when not everybody could connect, ReplayStoppedError when the
        server did not take a request, or a member lost its session for good.
        """
        try:
            await self._for_everybody("connect", lambda member: member.session.start())
            conv = await self._create_group()
            await self._play(conv)
            differences = await self._complete(conv)
            await self._settle()
            return await self._compare(conv, differences)
        finally:
            await asyncio.gather(*(member.session.close() for member in self._members.values()))

    def _count(self) -> None:
        self._arrivals += 1
        self._arrived.set()

    async def _create_group(self) -> ConvId:
        creator, *others = self._members.values()
        request = {
            "gid": f"{self._plan.run}-group",
            "name": self._plan.group_name,
            "members": [member.user for member in others],
            # The server adds many members by several entries: whoever comes with a later one sees the first ones too.
            "history": True,
        }
        with _stops("the group was not made"):
            async with asyncio.timeout(self._plan.patience):
                info = await creator.session.call("group", "create", request)
        return ConvId(str(info.get("conv")))

    async def _play(self, conv: ConvId) -> None:
        for number, said in enumerate(self._said, start=1):
            # The cmid names the message in this run: a second sending of it can only be the same message.
            cmid = f"{self._plan.run}-{number}"
            with _stops(f"message {number}, of {said.sender}, was not taken"):
                async with asyncio.timeout(self._plan.patience):
                    sent = await self._members[said.sender].session.send(conv, {"text": said.text}, cmid=cmid)
            self._sent.append(sent)
            self._on_progress("send", number, len(self._said))
            if self._plan.window is not None and number > self._plan.window:
                seq = self._sent[number - 1 - self._plan.window].entry.seq
                if not await self._wait_for_all(conv, seq):
                    raise ReplayStoppedError(f"no progress for {self._plan.patience:g} s: not everybody has seq {seq}")

    def _last_seq(self) -> int:
        return max(sent.entry.seq for sent in self._sent)

    async def _complete(self, conv: ConvId) -> list[str]:
        """Wait until every member holds every entry; the difference to that as a line, if there is one."""
        last_seq = self._last_seq()
        if await self._wait_for_all(conv, last_seq, phase="receive"):
            return []
        short = sum(not member.holds(conv, last_seq) for member in self._members.values())
        people = len(self._members)
        return [f"no progress for {self._plan.patience:g} s, and {short} of {people} members lack entries"]

    async def _wait_for_all(self, conv: ConvId, seq: int, *, phase: str | None = None) -> bool:
        """Wait until everybody holds everything up to `seq`; False when nothing arrived for as long as patience lasts.

        A hole at the very end shows by no later push. After `tail` seconds of silence everybody is told how far the
        conversation goes, as their next ping would tell them.
        """
        members = list(self._members.values())
        clock = asyncio.get_running_loop().time
        quiet_since = clock()
        while True:
            self._check_sessions()
            members = [member for member in members if not member.holds(conv, seq)]
            if phase is not None:
                self._on_progress(phase, len(self._members) - len(members), len(self._members))
            if not members:
                return True
            if await self._something_arrives(min(self._plan.tail, self._plan.patience)):
                quiet_since = clock()
                continue
            if clock() - quiet_since >= self._plan.patience:
                return False
            for member in members:
                member.session.expect(conv, self._last_seq())

    async def _settle(self) -> None:
        """Give duplicates the time to arrive, within reason."""
        for _ in range(10):
            if not await self._something_arrives(self._plan.settle):
                return

    async def _something_arrives(self, timeout: float) -> bool:
        before = self._arrivals
        self._arrived.clear()
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout)
        except TimeoutError:
            return self._arrivals > before
        return True

    def _check_sessions(self) -> None:
        for member in self._members.values():
            if member.session.failure is not None:
                raise ReplayStoppedError(f"{member.user} lost the session: {member.session.failure}")

    async def _compare(self, conv: ConvId, differences: list[str]) -> Report:
        last_seq = self._last_seq()
        for member in self._members.values():
            differences += transcript_differences(member.user, self._said, member.entries(conv), last_seq)
        again = {member.user: shown_twice(member.arrivals) for member in self._members.values()}
        differences += [f"{user}: {times} entries shown twice" for user, times in again.items() if times]

        read_again = self._members_to_read_again()
        for member in read_again:
            with _stops(f"{member.user} could not read the history"):
                history = await member.session.fetch(conv, Gap(1, last_seq))
            differences += transcript_differences(f"{member.user}, history", self._said, history, last_seq)

        late: set[UserId] = set()
        by_user: dict[UserId, list[str]] = {}

        async def count(member: Member) -> None:
            by_user[member.user], looks = await self._counter_differences(member, conv)
            if looks > 1 and not by_user[member.user]:
                late.add(member.user)

        with _stops("unread counts could not be read"):
            await self._for_everybody("check", count)
        for user in self._members:
            differences += by_user[user]
        return self._report(conv, differences, sum(again.values()), len(late), [m.user for m in read_again])

    def _members_to_read_again(self) -> list[Member]:
        members = list(self._members.values())
        chosen = [members[0], *members[1:][-1:]]
        if between := members[1:-1]:
            chosen.append(random.Random(self._plan.seed).choice(between))  # noqa: S311 - a sample, repeatable by its seed
        return chosen

    async def _counter_differences(self, member: Member, conv: ConvId) -> tuple[list[str], int]:
        """What is wrong with a member's unread counts and inbox, and how many looks that took.

        Inbox rows may be written a moment after the pushes; what still differs at the last look is wrong.
        """
        expected = unread_expected(self._said, member.user)
        accepted = [sent.entry for sent in self._sent]
        differences: list[str] = []
        for look in range(1, self._plan.counter_looks + 1):
            unread = await member.session.call("sync", "unread", {})
            rows: list[JsonObject] = []
            page: JsonObject = {}
            while True:
                reply = await member.session.call("sync", "inbox", page)
                rows += reply.get("conversations", [])
                if reply.get("cursor") is None:
                    break
                page = {"cursor": reply["cursor"]}
            differences = unread_differences(member.user, unread, conv, expected)
            differences += inbox_differences(member.user, rows, conv, accepted, expected)
            if not differences:
                return [], look
            if look < self._plan.counter_looks:
                await asyncio.sleep(self._plan.settle)
        return differences, self._plan.counter_looks

    def _report(
        self, conv: ConvId, differences: list[str], shown_again: int, counters_late: int, read_again: list[UserId]
    ) -> Report:
        acks = [1000 * (sent.acked_at - sent.sent_at) for sent in self._sent]
        senders = {sent.entry.seq: sent for sent in self._sent}
        pushes: list[float] = []
        by_push = only_by_fetch = late_pushes = duplicate_pushes = 0
        for member in self._members.values():
            deliveries = count_deliveries(member.arrivals)
            by_push += len(deliveries.pushed)
            only_by_fetch += deliveries.only_by_fetch
            late_pushes += deliveries.late_pushes
            duplicate_pushes += deliveries.duplicate_pushes
            pushes += [
                1000 * (at - senders[seq].sent_at)
                for seq, at in deliveries.pushed.items()
                if seq in senders and senders[seq].entry.sender != member.user
            ]
        sessions = [member.session for member in self._members.values()]
        seconds = self._sent[-1].acked_at - self._sent[0].sent_at
        return Report(
            conv=conv,
            group_name=self._plan.group_name,
            people=len(self._members),
            messages=len(self._said),
            notices=self._last_seq() - len({sent.entry.seq for sent in self._sent}),
            seconds=round(seconds, 3),
            messages_per_second=round(len(self._sent) / seconds, 1),
            ack_p50_ms=_rounded_percentile(acks, 50),
            ack_p99_ms=_rounded_percentile(acks, 99),
            push_p50_ms=_rounded_percentile(pushes, 50),
            push_p99_ms=_rounded_percentile(pushes, 99),
            push_deliveries=len(pushes),
            by_push=by_push,
            only_by_fetch=only_by_fetch,
            late_pushes=late_pushes,
            duplicate_pushes=duplicate_pushes,
            duplicates_shown=shown_again,
            duplicate_replies=sum(sent.duplicate for sent in self._sent),
            frames_resent=sum(session.frames_resent for session in sessions),
            reconnects=sum(session.reconnects for session in sessions),
            counters_late=counters_late,
            histories_read_again=list(read_again),
            differences=differences,
        )

    async def _for_everybody(self, phase: str, work: Callable[[Member], Awaitable[None]]) -> None:
        """Do `work` for every member, `together` at a time. Raises the first error; the others are cancelled."""
        room = asyncio.Semaphore(self._plan.together)
        done = 0

        async def one(member: Member) -> None:
            nonlocal done
            async with room:
                await work(member)
            done += 1
            self._on_progress(phase, done, len(self._members))

        try:
            async with asyncio.TaskGroup() as group:
                for member in self._members.values():
                    group.create_task(one(member))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors


@contextmanager
def _stops(what: str) -> Iterator[None]:
    """Turn an error of the client, or a timeout, into the one that ends a replay."""
    try:
        yield
    except (ImClientError, TimeoutError) as error:
        raise ReplayStoppedError(f"{what}: {str(error) or 'no answer in time'}") from error


def _listeners(number: int) -> list[str]:
    # With a blank, which no nickname of a chat has: a person of that name is not taken for the listener.
    return [f"{LISTENER} {count}" for count in range(1, number + 1)]


def _rounded_percentile(milliseconds: list[float], percent: float) -> float | None:
    return round(percentile(milliseconds, percent), 1) if milliseconds else None
