"""What a client tells, as types, and who is told: callbacks, and iterators with a bounded queue."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeGuard, TypeVar
from weakref import WeakSet

from imclient.core.outputs import State
from imclient.errors import ImClientError
from imclient.frames import JsonObject
from imclient.ids import ConvId, UserId
from imclient.timeline import Message

if TYPE_CHECKING:
    from imclient.client import Conversation, Outgoing

log = logging.getLogger("imclient")

QUEUE = 1_000
"""So many events wait for the reader of an iterator."""


class Event:
    """Anything that a client tells."""

    __slots__ = ()


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class MessageCame(Event):
    """A message or notice that is new here, in order of seq in its conversation, each once. `own`: by this user, from
    whatever device."""

    message: Message
    own: bool


@dataclass(frozen=True, slots=True)
class MessageChanged(Event):
    """A message as it is now, after a `change` (`edit`, `recall`, `reaction`, `pin`) by somebody: entry `seq`."""

    message: Message
    change: str
    by: UserId
    seq: int


@dataclass(frozen=True, slots=True)
class MessageQueued(Event):
    """A message is to be sent, or to be sent again: show it."""

    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class MessageSent(Event):
    """The server has it: `message` takes the place of what was shown under its `cmid`."""

    outgoing: Outgoing
    message: Message


@dataclass(frozen=True, slots=True)
class MessageFailed(Event):
    """The server, or the limit of a frame, has refused it. It stays until `retry` or `discard`."""

    outgoing: Outgoing
    error: ImClientError | None


@dataclass(frozen=True, slots=True)
class MessageDiscarded(Event):
    """It will not be sent: show it no more."""

    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class ConversationChanged(Event):
    """A row of the conversation list, as it is now."""

    conversation: Conversation


@dataclass(frozen=True, slots=True)
class HistoryChanged(Event):
    """What there is of a conversation has changed otherwise: deleted by the user, or begun anew. Read it again."""

    conv: ConvId


@dataclass(frozen=True, slots=True)
class ConnectionChanged(Event):
    """How the client is connected. `why` of an end: `kicked`, `refused`, `stopped`; `error` is what went wrong."""

    state: State
    why: str = ""
    error: ImClientError | None = None


@dataclass(frozen=True, slots=True)
class Kicked(Event):
    """The server has ended this session, and says why: `replaced`, `logout`, … The client stays away."""

    reason: str


@dataclass(frozen=True, slots=True)
class Typing(Event):
    """Somebody writes, or has stopped: that is told after 6 s at the latest."""

    conv: ConvId
    user: UserId
    on: bool


@dataclass(frozen=True, slots=True)
class ReadByPeer(Event):
    """The other one of a direct conversation has read up to `seq`."""

    conv: ConvId
    user: UserId
    seq: int


@dataclass(frozen=True, slots=True)
class DeliveredToPeer(Event):
    """The other one of a direct conversation has received everything up to `seq`."""

    conv: ConvId
    user: UserId
    seq: int


@dataclass(frozen=True, slots=True)
class RedPacketChanged(Event):
    """News of a red packet: `event` is `claimed`, `finished` or `refunded`; `data` as the protocol has it. May come
    twice."""

    packet: str
    conv: ConvId
    seq: int
    event: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class JoinRequested(Event):
    """Somebody wants to join a group (`state` is `requested`), or this user was refused (`refused`)."""

    conv: ConvId
    user: UserId
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class PrivacyChanged(Event):
    """What others are told of this user."""

    receipts: bool
    presence: bool


@dataclass(frozen=True, slots=True)
class OtherPush(Event):
    """A push that this version does not know."""

    name: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """Something could not be kept. It is tried again with what is to be kept next; until then it would not outlive this
    process, and `messages` may lack it."""

    error: ImClientError


@dataclass(frozen=True, slots=True)
class EventsMissed(Event):
    """This reader was too slow: here, so many events were left out. No message is lost: `since` says for each
    conversation from which seq on to read again."""

    count: int
    since: Mapping[ConvId, int]


class EventStream:
    """An iterator of events, from when it was made until the client is closed."""

    def __init__(self, limit: int = QUEUE) -> None:
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._missed = 0
        self._since: dict[ConvId, int] = {}

    def put(self, event: Event) -> None:
        """One more. When there is no room, it is counted, and so are those after it until the queue was read."""
        if self._closed:
            return
        if self._missed or len(self._queue) >= self._limit:
            self._missed += 1
            match event:
                case MessageCame(message):
                    self._since[message.conv] = min(message.seq, self._since.get(message.conv, message.seq))
                case MessageChanged(message, _, _, seq):
                    self._since[message.conv] = min(seq, self._since.get(message.conv, seq))
        else:
            self._queue.append(event)
        self._news.set()

    def close(self) -> None:
        """There will be no more; what waits is given still."""
        self._closed = True
        self._news.set()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Event:
        """The next one."""
        while True:
            if self._queue:
                return self._queue.popleft()
            if self._missed:
                missed = EventsMissed(self._missed, self._since)
                self._missed, self._since = 0, {}
                return missed
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()


def _is_async(handler: Callable[[Any], object]) -> TypeGuard[Callable[[Any], Awaitable[object]]]:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class Dispatcher:
    """Tells all who listen. A handler that raises is logged, and stops nobody."""

    def __init__(self) -> None:
        self._streams: WeakSet[EventStream] = WeakSet()
        self._handlers: dict[object, tuple[type[Event], Callable[[Any], object]]] = {}
        self._waiting: list[tuple[EventStream, type[Event], Callable[[Any], Awaitable[object]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    def start(self) -> None:
        """On the loop from now on."""
        self._running = True
        for stream, kind, handler in self._waiting:
            self._serve(stream, kind, handler)
        self._waiting.clear()

    def stream(self, limit: int = QUEUE) -> EventStream:
        """A new iterator."""
        stream = EventStream(limit)
        self._streams.add(stream)
        return stream

    def on(self, kind: type[E], handler: Callable[[E], object]) -> Callable[[], None]:
        """Let `handler` be called with every event of this type; what is returned ends that.

        A function is called at once and must not block; a coroutine function with one event after the other, in order.
        """
        if _is_async(handler):
            stream = self.stream()
            if self._running:
                self._serve(stream, kind, handler)
            else:
                self._waiting.append((stream, kind, handler))
            return stream.close
        key = object()
        self._handlers[key] = (kind, handler)

        def off() -> None:
            self._handlers.pop(key, None)

        return off

    def tell(self, event: Event) -> None:
        """Tell everybody."""
        for stream in list(self._streams):
            stream.put(event)
        for kind, handler in list(self._handlers.values()):
            if isinstance(event, kind):
                try:
                    handler(event)
                except Exception:
                    log.exception("a handler of %s has failed", type(event).__name__)

    async def close(self, patience: float) -> None:
        """There is nothing more to tell. Handlers have so many seconds for what they have not done yet."""
        for stream in list(self._streams):
            stream.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()

    def _serve(self, stream: EventStream, kind: type[Event], handler: Callable[[Any], Awaitable[object]]) -> None:
        async def serve() -> None:
            async for event in stream:
                if isinstance(event, EventsMissed) and not issubclass(EventsMissed, kind):
                    log.warning("a handler of %s is too slow: %d events were left out", kind.__name__, event.count)
                if isinstance(event, kind):
                    try:
                        await handler(event)
                    except Exception:
                        log.exception("a handler of %s has failed", type(event).__name__)

        task = asyncio.get_running_loop().create_task(serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
