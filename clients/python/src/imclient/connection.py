"""One WebSocket connection: requests paired with their replies, and pushes.

It knows the frames and nothing of conversations, and its end is its end: for a few requests, as scripts make them. What
a client must do across connections (holes, acknowledgements, reconnecting) is in `session`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Self, TypeAlias

from imclient.errors import ConnectionLostError, NoReplyError
from imclient.frames import JsonObject, Push, Reply, decode, encode_request
from imclient.socket import FrameListener, Socket

REPLY_TIMEOUT_SECONDS = 5.0
RESENDS = 2

PushHandler: TypeAlias = Callable[[Push, float], None]


class Connection:
    """An open connection. Make one with `Connection.open`, and close it, or use it in `async with`.

    Pushes go to `on_push(push, received_at)`, in the order in which they come, when it was given; otherwise they wait
    in memory for `pushes()`. `received_at` is on the clock of `time.perf_counter`, in seconds. `on_push` must not block
    and must not raise.
    """

    def __init__(self, socket: Socket, *, on_push: PushHandler | None = None) -> None:
        self._socket = socket
        self._on_push = on_push
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._pushes: deque[Push] = deque()
        self._push_came = asyncio.Event()
        self._last_id = 0
        self._lost: ConnectionLostError | None = None
        self._kicked: str | None = None
        self.frames_resent = 0
        self.messages_ignored = 0
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
        socket = await Socket.open(websocket, token=token, device=device, platform=platform, listener=listener)
        return cls(socket, on_push=on_push)

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
        self._socket.abort()

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
        try:
            await self._socket.send(frame)
        except ConnectionLostError as error:
            raise self._loss() from error

    def _loss(self) -> ConnectionLostError:
        return ConnectionLostError(code=self._socket.close_code, kicked=self._kicked)

    async def _read(self) -> None:
        try:
            async with aclosing(self._socket.messages()) as messages:
                async for message in messages:
                    self._receive(message, time.perf_counter())
                    if self._kicked is not None:
                        break  # the server closes next; not waiting for it spares a client from one that does not
            await self._socket.close()
        finally:
            self._lost = self._loss()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._lost)
            self._push_came.set()

    def _receive(self, message: str | bytes, received_at: float) -> None:
        match decode(message):
            case Reply() as reply:
                self._answer(reply)
            case Push() as push:
                if push.name == "kicked":
                    self._kicked = str(push.data.get("reason", "unknown"))
                self._take(push, received_at)
            case None:
                self.messages_ignored += 1

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
