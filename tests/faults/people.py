"""Users with their devices, who do what people do, in a seeded order and at seeded times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, Final

from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.errors import ConnectionLostError, ImClientError, NoReplyError, ReplyError
from imclient.frames import Entry
from imclient.history.recording import Recorder
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.session import Arrival, Session
from imclient.socket import Socket
from tests.faults.network import Gateway

EMOJI: Final = ("👍", "🎉", "👀")
SMALL, LARGE = ConvId("g:small"), ConvId("g:large")
REFUSALS: Final = frozenset(
    {"not_member", "forbidden", "conflict", "expired", "not_found", "too_large", "internal", "unavailable"}
)
"""What people may be told. Not that a frame was wrong: they send none."""


@dataclass(frozen=True, slots=True)
class Acked:
    """A message that its sender was told is stored."""

    user: str
    conv: str
    cmid: str
    seq: int


class App:
    """One device: a session at a time, each of which starts from nothing."""

    def __init__(self, gateway: Gateway, user: str, device: str, platform: str, settings: Settings) -> None:
        self.user, self.device, self.platform = UserId(user), device, platform
        self.session: Session | None = None
        self.recorder = Recorder(user, device, platform, clock=lambda: gateway.cloud.now_ms)
        self.shown_twice = 0
        self.ends: list[BaseException] = []
        self._gateway, self._settings = gateway, settings

    @property
    def name(self) -> str:
        """As traces name it."""
        return f"{self.user}/{self.device}"

    @property
    def running(self) -> bool:
        """Whether it has a session that has not ended by itself."""
        return self.session is not None and self.session.failure is None

    async def start(self) -> None:
        """Start anew, as often as it takes."""
        while True:
            session = Session(
                self._dial,
                self.user,
                settings=self._settings,
                on_arrival=partial(self._arrived, set()),
                on_state=lambda line: self._gateway.note(f"{self.name}: {line}"),
            )
            try:
                await session.start()
            except ConnectionLostError as lost:
                if lost.kicked is not None:
                    self.ends.append(lost)
                    self.session = None
                    return
            except ImClientError:
                pass
            else:
                self.session = session
                self._gateway.note(f"{self.name} is there")
                return
            await asyncio.sleep(2)

    async def stop(self) -> None:
        """Close the app."""
        session, self.session = self.session, None
        if session is not None:
            if session.failure is not None:
                self.ends.append(session.failure)
            await session.close()
            self._gateway.note(f"{self.name} has left")

    async def _dial(self, _: Dial) -> Socket:
        return await self._gateway.dial(self.user, self.device, self.platform, self.recorder.connection())

    def _arrived(self, shown: set[tuple[str, int]], arrival: Arrival) -> None:
        """What a session has shown is its own: the one before may still be closing."""
        if not arrival.new:
            self._gateway.happened["duplicates dropped"] += 1
            return
        self._gateway.happened[f"entries by {arrival.source}"] += 1
        where = (arrival.entry.conv, arrival.entry.seq)
        self.shown_twice += where in shown
        shown.add(where)


@dataclass
class People:
    """Everybody, and what they have been told."""

    gateway: Gateway
    random: Random
    happened: Counter[str]
    users: list[str]
    apps: list[App]
    acked: list[Acked] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What no client should have been told."""
    words: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Hear of frames that were not served."""
        self.gateway.function_failed = self.function_failed

    async def live(self, app: App, until: float) -> None:
        """What one device does until then."""
        loop = self.gateway.loop
        while loop.now < until:
            await asyncio.sleep(self.random.expovariate(1 / 6))
            await self._something(app)

    async def disturb(self, until: float) -> None:
        """What goes wrong with the network until then."""
        while self.gateway.loop.now < until:
            await asyncio.sleep(self.random.expovariate(1 / 5))
            app = self.random.choice(self.apps)
            for link in self.gateway.links_of(app.user, app.device)[:1]:
                draw = self.random.random()
                if draw < 0.4:
                    self.gateway.cut(link)
                elif draw < 0.7:
                    self.gateway.go_silent(link)
                else:
                    self.gateway.stall(link, self.random.uniform(1, 15))
            if self.random.random() < 0.15:
                self._begin(self._outage(app.user))
            if self.random.random() < 0.15:
                self._begin(self.kill(app))

    async def storm(self, until: float) -> None:
        """Most calls to AWS fail for a while."""
        loop, cloud = self.gateway.loop, self.gateway.cloud
        await asyncio.sleep(self.random.uniform(0, 0.7) * (until - loop.now))
        usual, cloud.rate = cloud.rate, self.random.uniform(0.3, 1)
        self.happened["storms"] += 1
        self.gateway.note(f"a storm: {cloud.rate:.2f}")
        await asyncio.sleep(self.random.uniform(5, 150))
        cloud.rate = usual
        self.gateway.note("the storm is over")

    def function_failed(self, user: str, device: str) -> None:
        """Somebody's frame met a function that died; they may have had enough, and the frame never comes again."""
        if self.gateway.harsh and self.random.random() < 0.3:
            for app in self.apps:
                if (app.user, app.device) == (user, device):
                    self._begin(self.kill(app))

    async def kill(self, app: App) -> None:
        """The app is gone, with what it had to say, and starts from nothing some time later."""
        if app.session is None:
            return
        self.happened["apps killed"] += 1
        for link in self.gateway.links_of(app.user, app.device):
            self.gateway.cut(link)
        await app.stop()

    def _begin(self, what: Coroutine[Any, Any, None]) -> None:
        task = self.gateway.loop.create_task(what)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _outage(self, user: str) -> None:
        self.happened["outages"] += 1
        self.gateway.out.add(user)
        for link in [link for link in self.gateway.links.values() if link.user == user and link.open]:
            self.gateway.cut(link)
        await asyncio.sleep(self.random.uniform(1, 20))
        self.gateway.out.discard(user)

    async def found_groups(self) -> None:
        """The first user founds both groups; not everybody is in the small one."""
        founder = next(app for app in self.apps if app.user == self.users[0])
        for conv, members in ((SMALL, self.users[1:3]), (LARGE, self.users[1:])):
            data = {"gid": conv[2:], "name": conv, "members": members, "join_mode": "open"}
            await self._asks(founder.session, "group", "create", data | {"history": self.random.random() < 0.5})

    async def _something(self, app: App) -> None:
        random = self.random
        if app.session is None:
            if random.random() < 0.5:
                await app.start()
            return
        if app.session.failure is not None:
            self.happened["sessions that were ended"] += 1
            await app.stop()
            return
        does = random.choices([does for does, _ in DOES], [weight for _, weight in DOES])[0]
        try:
            await does(self, app, app.session)
        except ReplyError as error:
            self.happened[f"refused: {error.code}"] += 1
            if error.code not in REFUSALS:
                self.wrong.append(f"{app.name} was told {error}")
        except (NoReplyError, ConnectionLostError) as error:
            self.happened[f"given up: {type(error).__name__}"] += 1

    # ---- what they do

    async def _says(self, app: App, session: Session) -> None:
        """Some at once, perhaps in several places."""
        await asyncio.gather(*(self._say(app, session) for _ in range(self.random.choice((1, 1, 1, 2, 3)))))

    async def _say(self, app: App, session: Session) -> None:
        conv, cmid = self._place(app), self._cmid()
        sent = await session.send(conv, {"text": f"{app.user} says {self.words}"}, cmid=cmid)
        self.acked.append(Acked(app.user, sent.entry.conv, cmid, sent.entry.seq))
        self.happened["sends that the server had already"] += sent.duplicate

    async def _answers(self, app: App, session: Session) -> None:
        if (said := self._message(app, session)) is not None:
            cmid = self._cmid()
            data = {"conv": said.conv, "cmid": cmid, "kind": "text", "body": {"text": f"answer {self.words}"}}
            mentions = {} if said.conv.startswith("d:") else {"mentions": [said.sender]}
            reply = await session.call("message", "send", {**data, **mentions, "reply_to": said.seq})
            self.acked.append(Acked(app.user, said.conv, cmid, reply["seq"]))
            session.expect(said.conv, reply["seq"])

    async def _edits(self, app: App, session: Session) -> None:
        if (said := self._message(app, session, own=True)) is not None:
            await session.edit(said.conv, said.seq, {"text": f"edited {self._cmid()}"})

    async def _recalls(self, app: App, session: Session) -> None:
        if (said := self._message(app, session, own=True)) is not None:
            await session.recall(said.conv, said.seq)

    async def _reacts(self, app: App, session: Session) -> None:
        if (said := self._message(app, session)) is not None:
            on = self.random.random() < 0.7
            await session.react(said.conv, said.seq, self.random.choice(EMOJI), on=on)

    async def _reads(self, app: App, session: Session) -> None:
        if (said := self._message(app, session)) is not None:
            session.mark_read(said.conv, said.seq)

    async def _reads_all(self, _: App, session: Session) -> None:
        await session.call("sync", "read_all", {})

    async def _sets(self, app: App, session: Session) -> None:
        sets = self.random.choice(
            (
                {"muted": True},
                {"pinned": self.random.random() < 0.5},
                {"draft": f"draft {self.words}"},
                {"hidden": True},
            )
        )
        await session.call("sync", "settings", {"conv": self._place(app), **sets})

    async def _deletes(self, app: App, session: Session) -> None:
        if (said := self._message(app, session)) is not None:
            await session.call("message", "delete", {"conv": said.conv, "seqs": [said.seq]})

    async def _invites(self, _: App, session: Session) -> None:
        await self._asks(session, "group", "invite", {"conv": self._group(), "users": [self.random.choice(self.users)]})

    async def _removes(self, app: App, session: Session) -> None:
        others = [user for user in self.users if user != app.user]
        await self._asks(session, "group", "remove", {"conv": self._group(), "users": [self.random.choice(others)]})

    async def _joins(self, _: App, session: Session) -> None:
        await self._asks(session, "group", "join", {"conv": self._group()})

    async def _leaves(self, _: App, session: Session) -> None:
        await self._asks(session, "group", "leave", {"conv": self._group()})

    async def _goes(self, app: App, _: Session) -> None:
        """Off for a while."""
        self.happened["apps closed"] += 1
        await app.stop()

    async def _asks(self, session: Session | None, route: str, op: str, data: dict[str, Any]) -> None:
        assert session is not None
        await session.call(route, op, data)
        self.happened[f"{route}.{op}"] += 1

    # ---- where, and what

    def _place(self, app: App) -> ConvId:
        other = self.random.choice([user for user in self.users if user != app.user])
        return self.random.choice((SMALL, LARGE, LARGE, direct_conversation(app.user, UserId(other))))

    def _group(self) -> ConvId:
        return self.random.choice((SMALL, LARGE))

    def _cmid(self) -> str:
        self.words += 1
        return f"c{self.words}"

    def _message(self, app: App, session: Session, *, own: bool = False) -> Entry | None:
        """One of the newest messages that it has of a conversation."""
        known = [transcript for _, transcript in sorted(session.transcripts.items()) if len(transcript)]
        if not known:
            return None
        entries = [entry for entry in self.random.choice(known).entries() if entry.countable]
        entries = [entry for entry in entries if entry.sender == app.user or not own][-6:]
        return self.random.choice(entries) if entries else None


Does = Callable[[People, App, Session], Awaitable[None]]
DOES: Final[tuple[tuple[Does, int], ...]] = (
    (People._says, 40),
    (People._answers, 8),
    (People._edits, 6),
    (People._recalls, 4),
    (People._reacts, 8),
    (People._reads, 8),
    (People._reads_all, 2),
    (People._sets, 4),
    (People._deletes, 3),
    (People._invites, 4),
    (People._removes, 2),
    (People._joins, 3),
    (People._leaves, 2),
    (People._goes, 4),
)
"""What somebody does next, and how often."""

SETTINGS: Final = Settings(backlog=None, acknowledge=2_000)


def settings(random: Random) -> Settings:
    """The waits of the protocol, but pings that come sooner, and acks that come later: both are allowed."""
    return replace(SETTINGS, ping_every=random.randrange(15_000, 30_000))
