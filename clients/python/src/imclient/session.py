"""The machine of `core` on an event loop: sockets and timers for what it asks for, handlers for what it tells."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from imclient.core.logs import PAGE
from imclient.core.machine import Kept, Machine
from imclient.core.outputs import (
    Answer,
    Arrived,
    Change,
    Dial,
    Event,
    Hangup,
    Noted,
    OutgoingChanged,
    Output,
    Pushed,
    Save,
    Settled,
    Source,
    State,
    StateChanged,
    Transmit,
)
from imclient.core.settings import Settings
from imclient.errors import (
    ConnectionLostError,
    FrameTooLargeError,
    ImClientError,
    ReplyError,
    UnreachableError,
    UpgradeRefusedError,
)
from imclient.frames import Entry, JsonObject, Page, Push
from imclient.ids import ConvId, UserId
from imclient.socket import Socket
from imclient.transcript import Gap, Transcript

CLOSE_PATIENCE_SECONDS = 5.0


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


Dialer: TypeAlias = Callable[[Dial], Awaitable[Socket]]
"""Opens a connection, with a token that was not used yet when `fresh` is asked for."""


def _ignore(_: object) -> None:
    return None


def draw(below: int) -> int:
    """An integer from 0 to below `below`; 0 for 0. Spreads load, protects nothing."""
    return random.randrange(below) if below > 0 else 0  # noqa: S311


class Session:
    """One user on one device. `start` it, then `call` and `send`; `close` it at the end.

    - `dial` opens a connection; it is called again after each loss, and beside the old one before the server ends that.
    - `on_arrival` gets every entry that comes, duplicates too; `on_push` every push that the session has no use for;
      `on_settled` a conversation after a page of it was fetched, also when all of that page is closed to the user;
      `on_state` a line for a person when the connection is lost or is back; `on_event` all of that as it is.
    - `kept` and `save`: what an earlier session of this device has saved, and where this one does (see `store`).

    The handlers run on the event loop; they must not block and must not raise.
    """

    def __init__(
        self,
        dial: Dialer,
        user: UserId,
        *,
        settings: Settings | None = None,
        kept: Kept | None = None,
        save: Callable[[tuple[Change, ...]], None] = _ignore,
        on_arrival: Callable[[Arrival], None] = _ignore,
        on_push: Callable[[Push], None] = _ignore,
        on_settled: Callable[[ConvId], None] = _ignore,
        on_state: Callable[[str], None] = _ignore,
        on_event: Callable[[Event], None] = _ignore,
    ) -> None:
        self.user = user
        self.machine = Machine(user, settings or Settings(), draw, kept)
        self.reconnects = 0
        self._dial = dial
        self._save = save
        self._on_arrival = on_arrival
        self._on_push = on_push
        self._on_settled = on_settled
        self._on_state = on_state
        self._on_event = on_event
        self._sockets: dict[int, _Wire] = {}
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._answers: dict[int, asyncio.Future[JsonObject]] = {}
        self._sending: dict[str, _Sending] = {}
        self._settling: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._heard_at = 0.0
        self._opened = 0
        self._failure: BaseException | None = None
        self._first_failure: asyncio.Future[ImClientError] | None = None
        self._closing = False
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def transcripts(self) -> dict[ConvId, Transcript]:
        """What there is of each conversation."""
        return self.machine.transcripts

    @property
    def rows(self) -> dict[ConvId, JsonObject]:
        """The conversation list."""
        return self.machine.rows

    @property
    def state(self) -> State:
        """How it is connected."""
        return self.machine.state

    @property
    def frames_resent(self) -> int:
        """How many frames were sent again because no reply came."""
        return self.machine.requests.frames_resent

    @property
    def failure(self) -> BaseException | None:
        """Why the session ended by itself: kicked, refused, or a defect. None while it runs and after `close`."""
        return self._failure

    async def start(self) -> None:
        """Connect and read the inbox (rule 4).

        Raises what `dial` raises for the first connection, and what `call` raises.
        """
        failed = self._first_failure = asyncio.get_running_loop().create_future()
        self.begin()
        read = asyncio.ensure_future(self.catch_up())
        try:
            await asyncio.wait({read, failed}, return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                raise failed.result()
            await read
        except (ImClientError, asyncio.CancelledError):
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)
            await self.close()
            raise

    def begin(self) -> None:
        """Connect as soon as that is possible, and go on with what was kept. Waits for nothing."""
        self.machine.start(self._now())
        self._pump()

    async def close(self) -> None:
        """Tell the server what is still to be told, close the connection and stop every task."""
        self._closing = True
        if self.state is State.ONLINE and not self._ended.is_set():
            # What cannot be told now, the next session learns from the inbox and tells then.
            with suppress(ImClientError, TimeoutError):
                async with asyncio.timeout(CLOSE_PATIENCE_SECONDS):
                    await self._answer(self.machine.leave(self._now()))
        self._ended.set()
        wires = list(self._sockets.values())
        self.machine.stop(self._now())
        self._pump()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(wire.socket.close() for wire in wires), return_exceptions=True)
        self._sockets.clear()
        if self._timer is not None:
            self._timer.cancel()

    async def wait_ended(self) -> None:
        """Wait until the session ends, by `close` or by itself; then see `failure`."""
        await self._ended.wait()

    async def call(self, route: str, op: str, data: Mapping[str, Any]) -> JsonObject:
        """Make a request and return the reply's data; over the next connection if need be, and again when the server
        says that it may succeed later.

        Raises ReplyError for an error that will not go away, or stayed for `tries` tries; NoReplyError;
        ConnectionLostError or UpgradeRefusedError when the session has ended.
        """
        return await self._answer(self.machine.call(route, op, data, self._now()))

    async def send(self, conv: ConvId, body: JsonObject, *, cmid: str | None = None, **more: Any) -> Sent:
        """Send a message and return it as the server accepted it; `more` are its `kind`, `mentions`, `reply_to`.

        Rule 1: the cmid stays the same across retries, and one conversation has one message on its way at a time.
        It is sent until the server answers: while there is no connection, that waits for the next one.
        Raises ReplyError, FrameTooLargeError, and ConnectionLostError or UpgradeRefusedError when the session ends: the
        message may or may not be stored then. The same `cmid` may be sent again.
        """
        if self.machine.ended is not None:
            raise self.machine.ended
        cmid = cmid or str(uuid.uuid4())
        sending = self._sending[cmid] = _Sending(asyncio.get_running_loop().create_future())
        self.post(conv, body, cmid=cmid, **more)
        try:
            return await sending.done
        except (ReplyError, FrameTooLargeError):
            self.machine.discard(cmid)
            self._pump()
            raise
        finally:
            self._sending.pop(cmid, None)

    def post(
        self,
        conv: ConvId,
        body: JsonObject,
        *,
        cmid: str | None = None,
        kind: str = "text",
        mentions: list[str] | None = None,
        reply_to: int | None = None,
    ) -> str:
        """Send a message when that is possible, and return its cmid at once. `on_event` is told what becomes of it."""
        cmid = cmid or str(uuid.uuid4())
        item: JsonObject = {"cmid": cmid, "conv": conv, "kind": kind, "body": body, "ts": int(time.time() * 1000)}
        item |= {} if mentions is None else {"mentions": mentions}
        item |= {} if reply_to is None else {"reply_to": reply_to}
        self.machine.send(item, self._now())
        self._pump()
        return cmid

    def retry(self, cmid: str) -> None:
        """Send a message again that has failed."""
        self.machine.retry(cmid, self._now())
        self._pump()

    def discard(self, cmid: str) -> None:
        """Forget a message that has failed, or was not sent yet."""
        self.machine.discard(cmid)
        self._pump()

    async def edit(self, conv: ConvId, seq: int, body: JsonObject) -> int:
        """Replace what an own message says; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "edit", {"seq": seq, "body": body})

    async def recall(self, conv: ConvId, seq: int) -> int:
        """Take a message back; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "recall", {"seq": seq})

    async def react(self, conv: ConvId, seq: int, emoji: str, *, on: bool = True) -> int:
        """Put a reaction on a message, or take it off; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "react", {"seq": seq, "emoji": emoji, "on": on})

    async def pin(self, conv: ConvId, seq: int, *, on: bool = True) -> int:
        """Pin a message for everybody, or take it down; the seq of the change. Raises what `call` raises."""
        return await self._change(conv, "pin", {"seq": seq, "on": on})

    async def _change(self, conv: ConvId, op: str, data: JsonObject) -> int:
        reply = await self._answer(self.machine.change(conv, op, data, str(uuid.uuid4()), self._now()))
        return int(reply["seq"])

    def transcript(self, conv: ConvId, first_seen: int | None = None) -> Transcript:
        """The transcript of a conversation; a new one starts `backlog` entries before the seq `first_seen`."""
        return self.machine.logs.transcript(conv, first_seen)

    def expect(self, conv: ConvId, last_seq: int) -> None:
        """Learn that a conversation has entries up to `last_seq`; what is missing is fetched, after the usual wait."""
        self.machine.expect(conv, last_seq, self._now())
        self._pump()

    async def delete(self, conv: ConvId, *, seqs: list[int] | None = None, up_to: int | None = None) -> None:
        """Hide entries of a conversation from this user, on all of their devices. Raises what `call` raises."""
        which = {"up_to": up_to} if seqs is None else {"seqs": seqs}
        reply = await self.call("message", "delete", {"conv": conv, **which})
        self.machine.deletions.take({**reply, "conv": conv})
        self._pump()

    async def set_row(self, conv: ConvId, **settings: Any) -> JsonObject:
        """Set `muted`, `pinned`, `draft`, `hidden` of a conversation; its row. Raises what `call` raises."""
        row = await self.call("sync", "settings", {"conv": conv, **settings})
        self.machine.inbox.take(row, self._now())
        self._pump()
        return row

    def news(self) -> None:
        """Something in the inbox has changed: read it in a moment."""
        self.machine.inbox.soon(self._now())
        self._pump()

    def network(self, *, online: bool) -> None:
        """The machine's network has come or gone, as far as the program can tell."""
        self.machine.network(self._now(), online=online)
        self._pump()

    def resumed(self) -> None:
        """A person looks again: connect now, or find out whether the connection is alive."""
        self.machine.resumed(self._now())
        self._pump()

    def mark_read(self, conv: ConvId, seq: int) -> None:
        """Note that the user has read up to `seq`; the server is told within a second, together with what follows."""
        self.machine.read(conv, seq, self._now())
        self._pump()

    async def older(self, conv: ConvId, limit: int = PAGE) -> bool:
        """Fetch the page of history below what is here of a conversation, or wait for the one that is on its way.

        Whether there may be more below. A page that cannot be fetched is told as `Noted`, and changes nothing.
        Raises ConnectionLostError or UpgradeRefusedError when the session ends.
        """
        self.machine.older(conv, limit, self._now())
        self._pump()
        while self.machine.logs.loading(conv):
            if self.machine.ended is not None:
                raise self.machine.ended
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append(waiting)
            await waiting
        return self.transcript(conv).floor > 0

    async def catch_up(self) -> None:
        """Read what changed in the inbox since the last time (all of it the first time) into `rows`, then the holes.

        Raises what `call` raises; the session then tries again by itself.
        """
        await self._answer(self.machine.refresh(self._now()))

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
            query = {"conv": conv, "after": after, "limit": min(PAGE, gap.last - after)}
            page = Page.from_wire(await self.call("sync", "entries", query), after=after)
            yield page
            if not page.more or page.last == after:
                return
            after = page.last

    # ---- the machine's wishes

    def _now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def _pump(self) -> None:
        """Do what the machine asks for. A handler may ask it for more: that is done in its turn."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while outputs := self.machine.outputs():
                self._keep(outputs)
                for output in outputs:
                    self._do(output)
        finally:
            self._pumping = False
        self._set_timer()

    def _keep(self, outputs: list[Output]) -> None:
        """All that one step says is kept together."""
        changes = [change for output in outputs if isinstance(output, Save) for change in output.changes]
        if changes:
            self._save(tuple(changes))

    def _set_timer(self) -> None:
        due = self.machine.next_wake
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # A millisecond is whole when it is over.
            self._timer = asyncio.get_running_loop().call_at(due / 1000 + 0.000_5, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.machine.wake(self._now())
        self._pump()

    def _do(self, output: Output) -> None:
        match output:
            case Dial(link):
                self._dials[link] = self._spawn(self._open(link, output))
            case Transmit(link, frame):
                if (wire := self._sockets.get(link)) is not None:
                    wire.send(frame)
            case Hangup(link):
                if (dialing := self._dials.pop(link, None)) is not None:
                    dialing.cancel()
                if (wire := self._sockets.pop(link, None)) is not None:
                    self._spawn(wire.end())
            case Answer(call, data, error):
                self._settle_answer(call, data, error)
            case Save():
                pass  # done already, with all of its step
            case _:
                self._tell(output)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Settled | StateChanged):
            settling, self._settling = self._settling, []
            for waiting in settling:
                if not waiting.done():
                    waiting.set_result(None)
        match event:
            case Arrived(entry, source, new):
                self._on_arrival(Arrival(entry, source, self._heard_at, new))
            case Settled(conv):
                self._on_settled(conv)
            case Pushed(name, data):
                self._on_push(Push(name, data))
            case OutgoingChanged(item, error):
                self._outgoing(item, error)
            case StateChanged(state, _, error):
                self._has_state(state, error)
            case Noted(text):
                self._on_state(text)
        self._on_event(event)

    def _has_state(self, state: State, error: ImClientError | None) -> None:
        if state is State.ONLINE:
            self._opened += 1
            self.reconnects = self._opened - 1
            if self._opened > 1:
                self._on_state("connected again")
        elif state is State.WAITING and self._opened:
            self._on_state(f"{error}; connecting again")
        elif state is State.ENDED:
            self._end(None if self._closing else error)
            for sending in self._sending.values():
                if not sending.done.done():
                    sending.done.set_exception(error or ConnectionLostError())

    def _end(self, failure: BaseException | None) -> None:
        if failure is not None and self._failure is None:
            self._failure = failure
        if isinstance(failure, ImClientError):
            self._first_failed(failure)
        self._ended.set()

    def _settle_answer(self, call: int, data: JsonObject | None, error: ImClientError | None) -> None:
        future = self._answers.pop(call, None)
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(data or {})

    async def _answer(self, call: int) -> JsonObject:
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._answers[call] = future
        self._pump()
        return await future

    def _outgoing(self, item: JsonObject, error: ImClientError | None) -> None:
        sending = self._sending.get(item["cmid"])
        if sending is None or sending.done.done():
            return
        match item["state"]:
            case "sending":
                sending.sent_at = time.perf_counter()
            case "sent":
                wire = {"n": 0, "ts": item["ts"], **item, "from": self.user}
                now = time.perf_counter()
                sent = Sent(Entry.from_wire(wire), item.get("duplicate") is True, sending.sent_at or now, now)
                sending.done.set_result(sent)
            case "failed" if error is not None:
                sending.done.set_exception(error)

    # ---- connections

    async def _open(self, link: int, wanted: Dial) -> None:
        try:
            socket = await self._dial(wanted)
        except UpgradeRefusedError as refused:
            self._dials.pop(link, None)
            if refused.status not in {401, 403}:
                self._first_failed(refused)
            self.machine.failed(link, refused.status, self._now())
        except UnreachableError as unreachable:
            self._dials.pop(link, None)
            self._first_failed(unreachable)
            self.machine.failed(link, None, self._now())
        else:
            self._dials.pop(link, None)
            wire = self._sockets[link] = _Wire(socket)
            self._spawn(wire.write())
            self.machine.opened(link, self._now())
            self._spawn(self._read(link, wire))
        self._pump()

    def _first_failed(self, error: ImClientError) -> None:
        """Whoever waits in `start` is told. A token that is refused is no failure yet: a fresh one may be taken."""
        if not self._opened and self._first_failure is not None and not self._first_failure.done():
            self._first_failure.set_result(error)

    async def _read(self, link: int, wire: _Wire) -> None:
        async with aclosing(wire.socket.messages()) as messages:
            async for message in messages:
                self._heard_at = time.perf_counter()
                self.machine.received(link, message, self._now())
                self._pump()
        self._sockets.pop(link, None)
        wire.stop()
        self.machine.closed(link, wire.socket.close_code, self._now())
        self._pump()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)
            self.machine.stop(self._now())  # whoever waits is told
            self._pump()


@dataclass(slots=True)
class _Sending:
    """A message that somebody waits for."""

    done: asyncio.Future[Sent]
    sent_at: float | None = None


class _Wire:
    """A socket with what is to go out over it, in its order."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self._frames: deque[str] = deque()
        self._news = asyncio.Event()
        self._over = False

    def send(self, frame: str) -> None:
        """Send it after the others."""
        self._frames.append(frame)
        self._news.set()

    def stop(self) -> None:
        """Nothing more goes out."""
        self._over = True
        self._news.set()

    async def write(self) -> None:
        """Send what there is, until it is stopped. The reader tells when the socket is closed."""
        while True:
            while self._frames and not self._over:
                with suppress(ConnectionLostError):
                    await self.socket.send(self._frames.popleft())
            if self._over:
                return
            self._news.clear()
            await self._news.wait()

    async def end(self) -> None:
        """Close it."""
        self.stop()
        await self.socket.close()
