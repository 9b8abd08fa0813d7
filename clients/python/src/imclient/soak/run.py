"""A soak: people talk over a deployed stack, faults may rage; then all must come to rest, and be right.

All people live in this one process. The local stack answers some ten requests a second in all, so they think long
enough for it to keep up; the report says what really happened.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imclient.core.settings import Settings
from imclient.errors import ImClientError, SoakError, UnreachableError, UpgradeRefusedError
from imclient.history import TABLES_FILE, Recorder, Tables, Verdict, check, file_name, write_tables
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.latency import percentile
from imclient.soak.chaos import ChaosControl
from imclient.soak.people import Device, Measures, Person
from imclient.stack import Stack

LARGER_GROUP: Final = 15
SMALL_GROUP: Final = 5
PARTNERS: Final = 2
LONGEST_OFFLINE_SECONDS: Final = 12.0
AT_WORK: Final = 5
"""How many of all people do something at a time, at least; a quarter of them when they are many."""
TOGETHER: Final = 3
"""How many ask for something at a time, before and after they talk. One by one they connect: the local stack starts its
authorizer anew, in seconds, for each who connects while others do."""

Tell = Callable[[str], None]
TablesNow = Callable[[], Mapping[str, Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to soak. Times in seconds.

    - `rate`: how many things all people together do a second, as long as the stack keeps up.
    - `faults_per_minute`, `kills_per_minute`: what the chaos service is asked for.
    - `patience`: how long everything may take to come to rest; `look_every`: between two looks whether it has.
    - `record`: the folder for the recordings and the final tables; None to keep them in memory.
    """

    users: int
    seconds: float
    seed: int
    rate: float = 2.0
    faults_per_minute: int = 60
    kills_per_minute: int = 10
    patience: float = 240.0
    look_every: float = 2.0
    record: Path | None = None

    @property
    def settings(self) -> Settings:
        """Of the clients. The local stack is slow: all of them together acknowledge about once a second and ping less
        often than that, and wait longer for an answer before they ask again, which would make it slower still."""
        return Settings(
            backlog=None,
            reply=15_000,
            acknowledge=1_000 * self.users,
            ping_every=min(240_000, max(30_000, 4_000 * self.users)),
            ping_deadline=30_000,
            backoff_longest=10_000,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What happened. Latencies in milliseconds, None without values; `verdict` is None when no tables were read."""

    users: int
    devices: int
    seconds: float
    messages_per_second: float
    given_up: int
    actions: Mapping[str, int]
    refusals: Mapping[str, int]
    reconnects: int
    frames_resent: int
    duplicates_dropped: int
    ack_p50_ms: float | None
    ack_p99_ms: float | None
    push_p50_ms: float | None
    push_p99_ms: float | None
    faults: Mapping[str, int]
    rest_seconds: float
    unrest: Sequence[str]
    ended: Sequence[str]
    verdict: Verdict | None

    @property
    def passed(self) -> bool:
        """Whether all came to rest, nobody's session ended, and no promise was broken."""
        return not self.unrest and not self.ended and (self.verdict is None or self.verdict.passed)


def milliseconds() -> int:
    """The one clock of all recordings. It never goes back, as the machine's own might."""
    return _EPOCH_MS + time.monotonic_ns() // 1_000_000


_EPOCH_MS: Final = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000


@dataclass
class Soak:
    """One run. Make it inside a running event loop, and `run` it once."""

    stack: Stack
    plan: Plan
    chaos: ChaosControl | None
    tables: TablesNow | None
    """Reads the final tables; None to leave that, and the verdict, for later."""
    tell: Tell
    measures: Measures = field(default_factory=Measures)
    people: list[Person] = field(default_factory=list)
    _members: dict[ConvId, list[Person]] = field(default_factory=dict)

    @property
    def devices(self) -> Iterator[Device]:
        """All of them."""
        return (device for person in self.people for device in person.devices)

    async def run(self) -> Report:
        """Soak, come to rest, judge.

        Raises SoakError when not everybody could connect or the groups were not made, when the chaos service does not
        answer, and when the tables cannot be read.
        """
        with ExitStack() as files:
            self._make_people(files)
            try:
                return await self._run()
            finally:
                await asyncio.gather(*(device.session.close() for device in self.devices), return_exceptions=True)

    async def _run(self) -> Report:
        plan = self.plan
        self.tell(f"connecting {sum(1 for _ in self.devices)} devices of {plan.users} people")
        for device in self.devices:
            await self._connect(device)
        await self._make_conversations()
        began, began_ms = time.monotonic(), time.time_ns() // 1_000_000
        faults: Counter[str] = Counter()
        if self.chaos is not None:
            rates = {"faults_per_minute": plan.faults_per_minute, "kills_per_minute": plan.kills_per_minute}
            await asyncio.to_thread(self.chaos.start, seed=plan.seed, **rates)
        try:
            self.tell(f"{len(self._members)} conversations; {plan.seconds:.0f} s of talk, seed {plan.seed}")
            gate, end = asyncio.Semaphore(max(AT_WORK, plan.users // 4)), began + plan.seconds
            lives = [asyncio.create_task(person.live(self._think, gate, end)) for person in self.people]
            ticker = asyncio.create_task(self._tick(began))
            # What is still under way ends when the faults have ended.
            await asyncio.wait(lives, timeout=plan.seconds)
        finally:
            if self.chaos is not None:
                await asyncio.to_thread(self.chaos.stop)
                faults = await asyncio.to_thread(self.chaos.injected, began_ms)
        talked = time.monotonic() - began
        self.tell("no more faults; everybody online, until all is at rest")
        rest_began = time.monotonic()
        for device in self.devices:
            device.find_signal()
        await self._finish(lives)
        ticker.cancel()
        unrest = await self._come_to_rest()
        rested = time.monotonic() - rest_began
        for device in self.devices:
            device.note_held()
        verdict = await asyncio.to_thread(self._judge)
        return self._report(talked, rested, faults, unrest, verdict)

    def _make_people(self, files: ExitStack) -> None:
        plan = self.plan
        if plan.record is not None:
            plan.record.mkdir(parents=True, exist_ok=True)
        for number in range(plan.users):
            user = UserId(f"soak-{plan.seed}-{number}")
            names = (("phone", "desktop"), ("phone",), ("desktop",), ("phone",))[number % 4]
            devices = []
            for name in names:
                sink = None
                if plan.record is not None:
                    path = plan.record / file_name(user, name)
                    sink = files.enter_context(path.open("w", encoding="utf-8", buffering=1))
                recorder = Recorder(user, name, "ios" if name == "phone" else "desktop", milliseconds, sink)
                devices.append(Device(self.stack, user, name, recorder, plan.settings, self.measures))
            dice = random.Random(f"{plan.seed} {number}")  # noqa: S311 - must be the same each time
            longest_offline = min(LONGEST_OFFLINE_SECONDS, plan.seconds / 5)
            self.people.append(Person(user, devices, dice, self.measures, longest_offline=longest_offline))

    async def _make_conversations(self) -> None:
        """Everybody talks to some others directly, and is in a small group; some are in a larger one."""
        dice = random.Random(f"{self.plan.seed} conversations")  # noqa: S311 - must be the same each time
        people = self.people
        for number, person in enumerate(people):
            for step in range(1, min(PARTNERS, len(people) - 1) + 1):
                other = people[(number + step) % len(people)]
                conv = direct_conversation(person.user, other.user)
                if conv not in self._members:
                    self._add(conv, [person, other])
        run = f"{milliseconds():x}"
        shuffled = dice.sample(people, len(people))
        groups = [shuffled[start : start + SMALL_GROUP] for start in range(0, len(shuffled), SMALL_GROUP)]
        groups.append(dice.sample(people, min(LARGER_GROUP, len(people))))
        work = [
            self._found(f"soak-{self.plan.seed}-{run}-{number}", some)
            for number, some in enumerate(groups)
            if len(some) > 1
        ]
        await self._some_at_a_time(work)

    async def _found(self, gid: str, members: Sequence[Person]) -> None:
        founder, *others = members
        request = {"gid": gid, "name": gid, "members": [person.user for person in others]}
        try:
            info = await founder.devices[0].session.call("group", "create", request)
        except ImClientError as error:
            raise SoakError(f"the group {gid} was not made: {error}") from error
        self._add(ConvId(str(info.get("conv"))), members)

    def _add(self, conv: ConvId, members: Sequence[Person]) -> None:
        self._members[conv] = list(members)
        for person in members:
            person.conversations.append(conv)

    async def _connect(self, device: Device) -> None:
        for left in (2, 1, 0):
            try:
                await device.session.start()
            except (UnreachableError, UpgradeRefusedError) as error:
                if not left:
                    raise SoakError(f"{device.user} cannot connect: {error}") from error
            else:
                return

    async def _some_at_a_time(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        gate = asyncio.Semaphore(TOGETHER)

        async def one(some: Coroutine[Any, Any, None]) -> None:
            async with gate:
                await some

        await asyncio.gather(*(one(some) for some in work))

    def _think(self, dice: random.Random) -> float:
        """How long somebody waits before the next thing, so that all of them together do `rate` things a second."""
        return dice.expovariate(self.plan.rate / len(self.people))

    async def _tick(self, began: float) -> None:
        while True:
            await asyncio.sleep(15)
            measures, gone = self.measures, time.monotonic() - began
            self.tell(f"{gone:4.0f} s: {measures.tried} messages tried, {measures.acked} acknowledged")

    # ---- rest

    async def _finish(self, lives: Iterable[asyncio.Task[None]]) -> None:
        """Let what people had begun end, within patience. Raises what went wrong in one of their lives."""
        _, late = await asyncio.wait(lives, timeout=self.plan.patience)
        self.measures.given_up += len(late)
        for life in late:
            life.cancel()
        for ended in await asyncio.gather(*lives, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _come_to_rest(self) -> list[str]:
        """Wait until every device holds what the logs hold and shows the same inbox; what differs when it takes longer
        than patience lasts."""
        deadline = time.monotonic() + self.plan.patience
        differences, quiet = ["nothing was looked at"], 0
        while quiet < 2:
            try:
                async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                    differences = await self._differences()
            except TimeoutError:
                return differences or ["they have not answered in time"]
            quiet = 0 if differences else quiet + 1
            if time.monotonic() > deadline:
                return differences
            await asyncio.sleep(self.plan.look_every)
        return []

    async def _differences(self) -> list[str]:
        found: list[str] = []
        ends: dict[ConvId, int] = {}

        async def look_at_end(conv: ConvId) -> None:
            device = self._members[conv][0].devices[0]
            after = device.session.transcript(conv).watermark
            page = await device.session.call("sync", "entries", {"conv": conv, "after": after, "limit": 1})
            ends[conv] = int(page["last_seq"])

        async def look_at_inbox(device: Device) -> None:
            if device.session.failure is not None:
                return  # told of apart: it will not come to rest
            await device.session.catch_up()
            for conv in self._conversations_of(device):
                transcript, row = device.session.transcript(conv), device.session.rows.get(conv, {})
                end = ends.get(conv, 0)
                if end and row.get("last_seq") != end:
                    found.append(
                        f"{device.user}/{device.name}: the row of {conv} ends at {row.get('last_seq')}, not {end}"
                    )
                if transcript.watermark != end:
                    found.append(f"{device.user}/{device.name} holds {conv} up to {transcript.watermark}, not {end}")

        try:
            await self._some_at_a_time(look_at_end(conv) for conv in self._members)
            await self._some_at_a_time(look_at_inbox(device) for device in self.devices)
        except ImClientError as error:
            return [str(error)]
        return found

    def _conversations_of(self, device: Device) -> Iterator[ConvId]:
        return (conv for person in self.people if device in person.devices for conv in person.conversations)

    # ---- the end

    def _judge(self) -> Verdict | None:
        if self.tables is None:
            return None
        items = self.tables()
        if self.plan.record is not None:
            write_tables(self.plan.record / TABLES_FILE, items)
        recordings = [device.recorder.recording for device in self.devices]
        return check(recordings, Tables.from_items(items), lagging_reads=not self.stack.endpoint)

    def _report(
        self, seconds: float, rest_seconds: float, faults: Counter[str], unrest: list[str], verdict: Verdict | None
    ) -> Report:
        measures, devices = self.measures, list(self.devices)
        pushes = measures.latencies()
        return Report(
            users=self.plan.users,
            devices=len(devices),
            seconds=seconds,
            messages_per_second=measures.acked / seconds if seconds else 0.0,
            given_up=measures.given_up,
            actions=dict(measures.actions),
            refusals=dict(measures.refusals),
            reconnects=sum(device.session.reconnects for device in devices),
            frames_resent=sum(device.session.frames_resent for device in devices),
            duplicates_dropped=measures.duplicates,
            ack_p50_ms=percentile(measures.ack_ms, 50) if measures.ack_ms else None,
            ack_p99_ms=percentile(measures.ack_ms, 99) if measures.ack_ms else None,
            push_p50_ms=percentile(pushes, 50) if pushes else None,
            push_p99_ms=percentile(pushes, 99) if pushes else None,
            faults=dict(faults),
            rest_seconds=rest_seconds,
            unrest=unrest,
            ended=[f"{d.user}/{d.name}: {d.session.failure}" for d in devices if d.session.failure is not None],
            verdict=verdict,
        )
