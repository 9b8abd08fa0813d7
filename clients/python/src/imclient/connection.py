"""One WebSocket connection: requests paired with their replies, and pushes.

It knows the frames and nothing of conversations. What a client must do across connections (holes, acknowledgements,
reconnecting) is in `session`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from imclient.errors import ConnectionLostError, NoReplyError, UnreachableError, UpgradeRefusedError
from imclient.frames import MAX_INCOMING_BYTES, PROTOCOL_VERSION, JsonObject, Push, Reply, decode, encode_request

REPLY_TIMEOUT_SECONDS = 5.0
RESENDS = 2
OPEN_TIMEOUT_SECONDS = 20.0
CLOSE_TIMEOUT_SECONDS = 2.0

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

PushHandler: TypeAlias = Callable[[Push, float], None]


class FrameListener(Protocol):
    """Told of everything that one connection sends and receives, in order. It must not block and must not raise."""

    def opened(self) -> None:
        """The connection is open."""

    def sent(self, frame: str) -> None:
        """A frame is about to leave; whether it got away is not known."""

    def received(self, message: str | bytes) -> None:
        """A message has come; nothing has been made of it yet."""

    def closed(self, kicked: str | None) -> None:
        """The connection is closed, by whomever. `kicked` is the reason that the server gave, if it gave one."""


def connection_url(websocket: str, *, token: str, device: str, platform: str) -> str:
    """The address to connect to: `websocket` with the query that the protocol asks for."""
    parts = urlsplit(websocket)
    query = dict(parse_qsl(parts.query))
    query |= {"token": token, "device": device, "platform": platform, "v": str(PROTOCOL_VERSION)}
    return urlunsplit(parts._replace(query=urlencode(query)))


class Connection:
    """An open connection. Make one with `Connection.open`, and close it, or use it in `async with`.

    Pushes go to `on_push(push, received_at)`, in the order in which they come, when it was given; otherwise they wait
    in memory for `pushes()`. `received_at` is on the clock of `time.perf_counter`, in seconds. `on_push` must not block
    and must not raise.
    """

    def __init__(
        self, socket: ClientConnection, *, on_push: PushHandler | None = None, listener: FrameListener | None = None
    ) -> None:
        self._socket = socket
        self._on_push = on_push
        self._listener = listener
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._pushes: deque[Push] = deque()
        self._push_came = asyncio.Event()
        self._last_id = 0
        self._lost: ConnectionLostError | None = None
        self._kicked: str | None = None
        self.frames_resent = 0
        self.messages_ignored = 0
        if listener is not None:
            listener.opened()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        websocket: str,
        *,
        token: str,
        device: str,
        platform: str = "desktop",
        on_push: PushHandler | None = None,
        listener: FrameListener | None = None,
    ) -> Self:
        """Connect to `websocket` (`ws://` or `wss://`, without the protocol's own query).

        Raises UpgradeRefusedError when the server answered with another status than 101, UnreachableError otherwise.
        """
        url = connection_url(websocket, token=token, device=device, platform=platform)
        try:
            socket = await connect(
                url,
                max_size=MAX_INCOMING_BYTES,
                open_timeout=OPEN_TIMEOUT_SECONDS,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                # API Gateway does not compress, and the protocol has its own ping, which also says what changed.
                compression=None,
                ping_interval=None,
                # A proxy meant for the internet cannot reach this machine's own stack.
                proxy=None if urlsplit(websocket).hostname in _LOOPBACK else True,
            )
        except InvalidStatus as error:
            raise UpgradeRefusedError(error.response.status_code) from error
        except (InvalidHandshake, InvalidURI) as error:
            raise UnreachableError(f"{websocket} does not answer as a WebSocket: {error}") from error
        except OSError as error:  # TimeoutError is one
            raise UnreachableError(f"{websocket} cannot be reached: {error or type(error).__name__}") from error
        return cls(socket, on_push=on_push, listener=listener)

    async def __aenter__(self) -> Self:
        """The connection itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    @property
    def lost(self) -> ConnectionLostError | None:
        """Why the connection is closed; None while it is open."""
        return self._lost

    async def close(self) -> None:
        """Close the connection, if it is open still. Requests that wait for a reply raise ConnectionLostError."""
        await self._socket.close()
        await self.wait_lost()

    def abort(self) -> None:
        """Drop the connection without a word, as a phone does that loses its signal."""
        self._socket.transport.abort()

    async def wait_lost(self) -> ConnectionLostError:
        """Wait until the connection is closed, by whomever, and tell why."""
        await asyncio.wait([self._reader])
        error = None if self._reader.cancelled() else self._reader.exception()
        if error is not None:
            raise error
        return self._lost or ConnectionLostError()

    async def request(
        self,
        route: str,
        op: str,
        data: Mapping[str, Any],
        *,
        timeout: float = REPLY_TIMEOUT_SECONDS,
        resends: int = RESENDS,
    ) -> JsonObject:
        """Send a request and return the `data` of its reply.

        When no reply comes within `timeout` seconds the same frame (same id, same cmid) is sent again, `resends` times
        at most; a late reply to any of the sendings counts.

        Raises ReplyError for an error reply, NoReplyError, ConnectionLostError when the connection closes before the
        reply, FrameTooLargeError.
        """
        self._last_id += 1
        request_id = f"r{self._last_id}"
        frame = encode_request(route, op, request_id, data)
        if self._lost is not None:
            raise self._lost
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiting
        try:
            for sending in range(resends + 1):
                self.frames_resent += 1 if sending else 0
                await self._send(frame)
                # Not wait_for: it would cancel the future, and a late reply to this sending is as good as any.
                await asyncio.wait([waiting], timeout=timeout)
                if waiting.done():
                    break
            else:
                raise NoReplyError(route, op, resends + 1)
            reply = waiting.result()
        finally:
            del self._waiting[request_id]
            # A connection that closed meanwhile has put its error here, and the one above may not have asked for it.
            if waiting.done() and not waiting.cancelled():
                waiting.exception()
        if reply.error is not None:
            raise reply.error
        return reply.data

    async def pushes(self) -> AsyncIterator[Push]:
        """Pushes as they come, for a connection that was opened without `on_push`. Ends when the connection closes."""
        while True:
            while self._pushes:
                yield self._pushes.popleft()
            if self._lost is not None:
                return
            self._push_came.clear()
            await self._push_came.wait()

    async def _send(self, frame: str) -> None:
        if self._listener is not None:
            self._listener.sent(frame)
        try:
            await self._socket.send(frame)
        except ConnectionClosed as error:
            raise self._loss() from error

    def _loss(self) -> ConnectionLostError:
        return ConnectionLostError(code=self._socket.close_code, kicked=self._kicked)

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                received_at = time.perf_counter()
                if self._listener is not None:
                    self._listener.received(message)
                match decode(message):
                    case Reply() as reply:
                        self._answer(reply)
                    case Push(name="kicked", data=data) as push:
                        self._kicked = str(data.get("reason", "unknown"))
                        self._take(push, received_at)
                        # The server closes next; not waiting for it spares a client from one that does not.
                        break
                    case Push() as push:
                        self._take(push, received_at)
                    case None:
                        self.messages_ignored += 1
            await self._socket.close()
        except ConnectionClosed:
            pass  # closed without, or with another than, a normal close frame: `_loss` carries the code
        finally:
            self._lost = self._loss()
            if self._listener is not None:
                self._listener.closed(self._kicked)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._lost)
            self._push_came.set()

    def _answer(self, reply: Reply) -> None:
        waiting = self._waiting.get(reply.id)
        if waiting is None or waiting.done():
            self.messages_ignored += 1  # the second of two replies to a frame that was sent twice
        else:
            waiting.set_result(reply)

    def _take(self, push: Push, received_at: float) -> None:
        if self._on_push is not None:
            self._on_push(push, received_at)
        else:
            self._pushes.append(push)
            self._push_came.set()
