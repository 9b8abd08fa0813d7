"""What a client must do, over one connection after another: keep transcripts whole, acknowledge, ping, reconnect.

The rules are those of the protocol's section "What a client must do"; the comments quote them by number.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from imclient.connection import REPLY_TIMEOUT_SECONDS, RESENDS, Connection, PushHandler
from imclient.errors import (
    ConnectionLostError,
    ImClientError,
    MalformedEntryError,
    NoReplyError,
    ReplyError,
    UnreachableError,
    UpgradeRefusedError,
)
from imclient.frames import Entry, JsonObject, Page, Push
from imclient.ids import ConvId, UserId, peer_in
from imclient.transcript import Gap, Transcript

ENTRIES_PAGE = 100
ACKS_A_FRAME = 50


@dataclass(frozen=True, slots=True)
class Timing:
    """Every wait of a session, in seconds; the defaults are the protocol's. Tests make them short."""

    reply: float = REPLY_TIMEOUT_SECONDS
    hole: float = 0.3
    hole_longest: float = 5.0
    acknowledge: float = 1.0
    ping_every: float = 240.0
    ping_deadline: float = 10.0
    backoff_first: float = 0.5
    backoff_longest: float = 30.0


class Source(StrEnum):
    """How an entry came to this client."""

    PUSH = "push"
    REPLY = "reply"  # its own message, known from the reply
    FETCH = "fetch"  # asked for, to fill a hole


@dataclass(frozen=True, slots=True)
class Arrival:
    """An entry that came. `at` is in seconds on the clock of `time.perf_counter`; `new` is False for a duplicate."""

    entry: Entry
    source: Source
    at: float
    new: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """A message the server has accepted. The times are in seconds on the clock of `time.perf_counter`.

    `sent_at` is when the first frame left, also when it had to be sent again. `duplicate` is the server's word that it
    had the message already.
    """

    entry: Entry
    duplicate: bool
    sent_at: float
    acked_at: float


Dial: TypeAlias = Callable[[PushHandler], Awaitable[Connection]]


def _ignore(_: object) -> None:
    return None


class Session:
    """One user on one device. `start` it, then `call` and `send`; `close` it at the end.

    - `dial` opens a connection whose pushes go to the handler it is given; it is called again after each loss.
    - `on_arrival` gets every entry that comes, duplicates too; `on_push` every push other than `entries`;
      `on_settled` a conversation after a page of it was fetched, also when all of that page is closed to the user;
      `on_state` a line for a person when the connection is lost or is back.
    - `backlog` is how many entries before the first one seen of a conversation are needed: None for all of them.
    - `acknowledges`: whether the session tells the server what it has received (rule 3).

    The handlers run on the event loop; they must not block and must not raise.
    """

    def __init__(
        self,
        dial: Dial,
        user: UserId,
        *,
        timing: Timing | None = None,
        backlog: int | None = None,
        acknowledges: bool = False,
        tries: int = 8,
        on_arrival: Callable[[Arrival], None] = _ignore,
        on_push: Callable[[Push], None] = _ignore,
        on_settled: Callable[[ConvId], None] = _ignore,
        on_state: Callable[[str], None] = _ignore,
    ) -> None:
        self.user = user
        self.transcripts: dict[ConvId, Transcript] = {}
        self.rows: dict[ConvId, JsonObject] = {}
        self.reconnects = 0
        self._timing = timing or Timing()
        self._dial = dial
        self._backlog = backlog
        self._acknowledges = acknowledges
        self._tries = tries
        self._on_arrival = on_arrival
        self._on_push = on_push
        self._on_settled = on_settled
        self._on_state = on_state
        self._connection: Connection | None = None
        self._up = asyncio.Event()  # set while there is a connection, and for good once the session has ended
        self._ended = asyncio.Event()
        self._closing = False
        self._failure: BaseException | None = None
        self._inbox: object = None
        self._catching_up = asyncio.Lock()
        self._mending: set[ConvId] = set()
        self._sending: dict[ConvId, asyncio.Lock] = {}
        self._acknowledged: dict[ConvId, int] = {}
        self._to_read: dict[ConvId, int] = {}
        self._stale_inbox = False
        self._resent_before = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def frames_resent(self) -> int:
        """How many frames were sent again because no reply came."""
        return self._resent_before + (self._connection.frames_resent if self._connection else 0)

    @property
    def failure(self) -> BaseException | None:
        """Why the session ended by itself: kicked, refused, or a defect. None while it runs and after `close`."""
        return self._failure

    async def start(self) -> None:
        """Connect and read the inbox (rule 4).

        Raises what `dial` raises for the first connection, and what `call` raises.
        """
        self._connection = await self._dial(self._receive)
        self._up.set()
        self._spawn(self._keep_connected())
        try:
            await self.catch_up()
        except ImClientError:
            await self.close()
            raise
        self._spawn(self._keep_alive())
        self._spawn(self._keep_told())

    async def close(self) -> None:
        """Tell the server what is still to be told, close the connection and stop every task.

        It does not connect again for it: the next session of this device may be there already, and would be kicked.
        """
        self._closing = True
        if not self._ended.is_set() and self._connection is not None and self._connection.lost is None:
            # What cannot be told now, the next session learns from the inbox and tells then.
            with suppress(ImClientError, TimeoutError):
                async with asyncio.timeout(self._timing.reply):
                    await self._tell()
        self._end(None)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def wait_ended(self) -> None:
        """Wait until the session ends, by `close` or by itself; then see `failure`."""
        await self._ended.wait()

    async def call(self, route: str, op: str, data: Mapping[str, Any]) -> JsonObject:
        """Make a request and return the reply's data; over the next connection if need be, and again when the server
        says that it may succeed later.

        Raises ReplyError for an error that will not go away, or stayed for `tries` tries; NoReplyError;
        ConnectionLostError or UpgradeRefusedError when the session has ended.
        """
        for left in range(self._tries - 1, -1, -1):
            connection = await self._connected()
            try:
                return await connection.request(route, op, data, timeout=self._timing.reply, resends=RESENDS)
            except ReplyError as error:
                if not error.retryable or not left:
                    raise
                tried = self._tries - 1 - left
                wait = self._backoff(tried) if error.retry_after_ms is None else error.retry_after_ms / 1000
                await asyncio.sleep(wait)
            except NoReplyError:
                if not left:
                    raise
                await connection.close()  # it may be half open: the next connection tells
                self._up_unless(connection)
            except ConnectionLostError:
                if not left:
                    raise
                await connection.wait_lost()
                self._up_unless(connection)
        raise AssertionError("unreachable: the last try returns or raises")

    async def send(self, conv: ConvId, body: JsonObject, *, kind: str = "text", cmid: str | None = None) -> Sent:
        """Send a message and return it as the server accepted it; it is in the transcript then.

        Rule 1: the cmid stays the same across retries, and one conversation has one message on its way at a time.
        Raises what `call` raises; the message may or may not be stored then, and the same `cmid` may be sent again.
        """
        cmid = cmid or str(uuid.uuid4())
        peer = peer_in(conv, self.user)
        target = {"conv": conv} if peer is None else {"to": peer}
        async with self._sending.setdefault(conv, asyncio.Lock()):
            sent_at = time.perf_counter()
            reply = await self.call("message", "send", {**target, "cmid": cmid, "kind": kind, "body": body})
            acked_at = time.perf_counter()
            entry = Entry.from_wire({**reply, "kind": kind, "from": self.user, "cmid": cmid, "body": body})
        self._take(entry, Source.REPLY, acked_at)
        self._mend(entry.conv)
        return Sent(entry, reply.get("duplicate") is True, sent_at, acked_at)

    async def edit(self, conv: ConvId, seq: int, body: JsonObject) -> int:
        """Replace what an own message says; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "edit", {"seq": seq, "body": body})

    async def recall(self, conv: ConvId, seq: int) -> int:
        """Take a message back; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "recall", {"seq": seq})

    async def react(self, conv: ConvId, seq: int, emoji: str, *, on: bool = True) -> int:
        """Put a reaction on a message, or take it off; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "react", {"seq": seq, "emoji": emoji, "on": on})

    async def _change(self, conv: ConvId, op: str, data: JsonObject) -> int:
        """One at a time in a conversation. The entry itself is fetched: nobody pushes it to who has made it."""
        async with self._sending.setdefault(conv, asyncio.Lock()):
            reply = await self.call("message", op, {"conv": conv, **data, "cmid": str(uuid.uuid4())})
        seq = int(reply["seq"])
        self.expect(conv, seq)
        return seq

    def transcript(self, conv: ConvId, first_seen: int = 1) -> Transcript:
        """The transcript of a conversation; a new one starts `backlog` entries before the seq `first_seen`."""
        known = self.transcripts.get(conv)
        if known is None:
            floor = 0 if self._backlog is None else max(0, first_seen - 1 - self._backlog)
            known = self.transcripts[conv] = Transcript(conv, floor=floor)
        return known

    def expect(self, conv: ConvId, last_seq: int) -> None:
        """Learn that a conversation has entries up to `last_seq`; what is missing is fetched, after the usual wait."""
        self.transcript(conv, last_seq + 1).expect(last_seq)
        self._mend(conv)

    def mark_read(self, conv: ConvId, seq: int) -> None:
        """Note that the user has read up to `seq`; the server is told within a second, together with what follows."""
        self._to_read[conv] = max(seq, self._to_read.get(conv, 0))

    async def catch_up(self) -> None:
        """Read what changed in the inbox since the last time (all of it the first time) into `rows`, then the holes.

        Raises what `call` raises; the session then tries again by itself.
        """
        async with self._catching_up:
            self._stale_inbox = False
            try:
                await self._read_inbox_since()
            except ImClientError:
                self._stale_inbox = True
                raise

    async def _read_inbox_since(self) -> None:
        try:
            await self._read_inbox()
        except ReplyError as error:
            # The server does not know this value of `inbox` any more: read all of it.
            if self._inbox is None or error.code not in {"expired", "bad_request"}:
                raise
            self._inbox = None
            await self._read_inbox()

    async def _read_inbox(self) -> None:
        query: JsonObject = {} if self._inbox is None else {"since": self._inbox}
        inbox = None
        while True:
            reply = await self.call("sync", "inbox", query)
            # The first page's value: what changes while the others are read is then read again, and not missed.
            inbox = reply.get("inbox") if inbox is None else inbox
            for row in reply.get("conversations", []):
                match row:
                    case {"conv": str(name), "last_seq": int(last_seq)}:
                        conv = ConvId(name)
                        self.rows[conv] = row
                        if conv in self.transcripts or self._backlog is None:
                            self.expect(conv, last_seq)
            if reply.get("cursor") is None:
                self._inbox = inbox
                return
            query = {**query, "cursor": reply["cursor"]}

    async def fetch(self, conv: ConvId, gap: Gap) -> list[Entry]:
        """The entries of a conversation from `gap.first` to `gap.last` as the server has them now, ascending.

        Fewer when the server gives fewer. Keeps nothing. Raises what `call` raises.
        """
        found: list[Entry] = []
        async for page in self._pages(conv, gap):
            found += [entry for entry in page.entries if gap.first <= entry.seq <= gap.last]
        return found

    async def _pages(self, conv: ConvId, gap: Gap) -> AsyncIterator[Page]:
        """Ascending pages, until they settle `gap` or the server has no more. The last one may go beyond the gap."""
        after = gap.first - 1
        while after < gap.last:
            query = {"conv": conv, "after": after, "limit": min(ENTRIES_PAGE, gap.last - after)}
            page = Page.from_wire(await self.call("sync", "entries", query), after=after)
            yield page
            if not page.more or page.last == after:
                return
            after = page.last

    def _receive(self, push: Push, at: float) -> None:
        match push:
            case Push(name="entries", data={"entries": list(wires)}):
                for wire in wires:
                    try:
                        entry = Entry.from_wire(wire)
                    except MalformedEntryError:
                        continue  # its seq stays a hole, and is fetched
                    self._take(entry, Source.PUSH, at)
                    self._mend(entry.conv)
            case Push(name="inbox", data=data):
                self._stale_inbox = self._stale_inbox or data.get("inbox") != self._inbox
            case _:
                self._on_push(push)

    def _take(self, entry: Entry, source: Source, at: float, as_of: int = 0) -> None:
        transcript = self.transcript(entry.conv, entry.seq)
        new = transcript.insert(entry, as_of)
        if new and entry.kind == "members" and self.user in entry.body.get("added", ()):
            # Whoever comes back may see all of a group that shows its history, and was not told of recalls.
            transcript.reopen(entry.seq)
        self._on_arrival(Arrival(entry, source, at, new))

    def _mend(self, conv: ConvId) -> None:
        if conv not in self._mending and not self.transcripts[conv].complete:
            self._mending.add(conv)
            self._spawn(self._fill(conv))

    async def _fill(self, conv: ConvId) -> None:
        """Rule 2: fetch a hole 300 ms after it was seen, unless pushes have filled it by then.

        What the server leaves out is closed to the user, and no hole. One that it refuses, or that lies above all that
        they may see, is not asked for again before something else of the conversation comes. A server that is busy or
        out of reach is asked until it answers: nothing else might ever tell of the hole again.
        """
        transcript = self.transcripts[conv]
        wait = self._timing.hole
        try:
            while not transcript.complete:
                # Holes below today's horizon are as old as this wait when it ends; the younger ones wait their turn.
                seen = transcript.horizon
                await asyncio.sleep(wait)
                before, more = (transcript.watermark, len(transcript)), True
                era = transcript.era
                try:
                    for gap in transcript.missing(up_to=seen):
                        async for page in self._pages(conv, gap):
                            self._take_page(transcript, page, era)
                            more = page.more
                except ImClientError as error:
                    if not self._passes(error):
                        raise
                    self._on_state(f"cannot fetch what is missing of {conv} now: {error}")
                    more = True
                if not more and transcript.horizon == seen and transcript.era == era:
                    return
                progress = (transcript.watermark, len(transcript)) != before or transcript.watermark >= seen
                wait = self._timing.hole if progress else min(2 * wait, self._timing.hole_longest)
        except ReplyError as error:
            # Removed from the group, for one: the rest of the inbox lives on.
            self._on_state(f"cannot fetch what is missing of {conv}: {error}")
        finally:
            self._mending.discard(conv)

    def _take_page(self, transcript: Transcript, page: Page, era: int) -> None:
        """Take in a page that was asked for in `era`: what has become open since then, it cannot settle."""
        at, settles = time.perf_counter(), transcript.era == era
        for entry in page.entries:
            self._take(entry, Source.FETCH, at, page.newest)
        if settles:
            transcript.settle(page.first, page.last)
        self._on_settled(transcript.conv)

    async def _keep_connected(self) -> None:
        """Rule 4: reconnect with full-jitter backoff, then catch up. A client that was kicked stays away."""
        while True:
            connection = await self._connected()
            lost = await connection.wait_lost()
            self._up_unless(connection)
            self._resent_before += connection.frames_resent
            self._connection = None
            if lost.kicked is not None:
                self._end(lost)
                return
            if self._closing:
                self._end(None)
                return
            self._on_state(f"{lost}; connecting again")
            attempt = 0
            while self._connection is None:
                await asyncio.sleep(self._backoff(attempt))
                attempt += 1
                try:
                    self._connection = await self._dial(self._receive)
                except UnreachableError:
                    continue
                except UpgradeRefusedError as refused:
                    if refused.status in {401, 403}:
                        self._end(refused)
                        return
            self.reconnects += 1
            self._up.set()
            self._on_state("connected again")
            self._spawn(self._refresh())

    async def _keep_alive(self) -> None:
        """Rule 4: ping every few minutes, idle or busy: the pong tells of what a lost push would have told.

        A ping without an answer means that the connection is dead.
        """
        while True:
            await asyncio.sleep(self._timing.ping_every)
            connection = await self._connected()
            try:
                reply = await connection.request("connect", "ping", {}, timeout=self._timing.ping_deadline, resends=0)
            except NoReplyError:
                await connection.close()
                self._up_unless(connection)
            except ConnectionLostError:
                await connection.wait_lost()
                self._up_unless(connection)
            except ReplyError as error:
                if not error.retryable:
                    raise
            else:
                if reply.get("inbox") != self._inbox:
                    await self._refresh()

    async def _keep_told(self) -> None:
        """Rule 3: acknowledge at most once a second; read positions go the same way, and so does a changed inbox."""
        while True:
            await asyncio.sleep(self._timing.acknowledge)
            try:
                await self._tell()
            except ImClientError as error:
                if not (isinstance(error, ReplyError) or self._passes(error)):
                    raise
                self._on_state(f"the server did not take what was received or read: {error}")
            if self._stale_inbox:
                await self._refresh()

    async def _refresh(self) -> None:
        """Catch up in the background; what cannot be read now is read within the next second or later."""
        try:
            await self.catch_up()
        except ImClientError as error:
            if not self._passes(error):
                raise
            self._on_state(f"cannot read the inbox now: {error}")

    async def _tell(self) -> None:
        """Tell what has not been told. What the server refuses is not told again; what did not reach it is."""
        if self._acknowledges:
            due = (
                (conv, transcript.watermark)
                for conv, transcript in self.transcripts.items()
                if transcript.watermark > self._acknowledged.get(conv, transcript.floor)
            )
            if acks := dict(islice(due, ACKS_A_FRAME)):  # the others go with the next ones
                wire = [{"conv": conv, "seq": seq} for conv, seq in acks.items()]
                with self._unless_it_passes(lambda: self._acknowledged.update(acks)):
                    await self.call("sync", "ack", {"acks": wire})
        for conv, seq in list(self._to_read.items()):
            with self._unless_it_passes(partial(self._has_read, conv, seq)):
                await self.call("sync", "read", {"conv": conv, "seq": seq})

    def _has_read(self, conv: ConvId, seq: int) -> None:
        if self._to_read.get(conv) == seq:
            del self._to_read[conv]

    @contextmanager
    def _unless_it_passes(self, done: Callable[[], None]) -> Iterator[None]:
        """Call `done` after what is inside, unless that raises something after which it may still succeed."""
        try:
            yield
        except ReplyError as error:
            if not error.retryable:
                done()
            raise
        done()

    def _passes(self, error: ImClientError) -> bool:
        """Whether the same may succeed later, on this session: the server was busy, or out of reach."""
        if self._ended.is_set():
            return False
        return (
            error.retryable if isinstance(error, ReplyError) else isinstance(error, NoReplyError | ConnectionLostError)
        )

    async def _connected(self) -> Connection:
        while True:
            await self._up.wait()
            if self._ended.is_set():
                raise self._failure or ConnectionLostError()
            if self._connection is not None:
                return self._connection
            self._up.clear()

    def _up_unless(self, lost: Connection) -> None:
        """Nobody may get the connection that was lost; if it was replaced already, all is well."""
        if not self._ended.is_set() and (self._connection is None or self._connection is lost):
            self._up.clear()

    def _backoff(self, attempt: int) -> float:
        longest = min(self._timing.backoff_longest, self._timing.backoff_first * 2**attempt)
        return random.uniform(0, longest)  # noqa: S311 - spreads load, protects nothing

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)

    def _end(self, failure: BaseException | None) -> None:
        if not self._ended.is_set():
            self._failure = failure
            self._ended.set()
            self._up.set()
