"""One WebSocket: text out, text in, and its end. What the text says is not its business."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from imclient.errors import ConnectionLostError, UnreachableError, UpgradeRefusedError
from imclient.frames import MAX_INCOMING_BYTES, PROTOCOL_VERSION

OPEN_TIMEOUT_SECONDS = 20.0
CLOSE_TIMEOUT_SECONDS = 2.0

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class FrameListener(Protocol):
    """Told of everything that one connection sends and receives, in order. It must not block and must not raise."""

    def opened(self) -> None:
        """The connection is open."""

    def sent(self, frame: str) -> None:
        """A frame is about to leave; whether it got away is not known."""

    def received(self, message: str | bytes) -> None:
        """A message has come; nothing has been made of it yet."""

    def closed(self) -> None:
        """The connection is closed, by whomever."""


def connection_url(websocket: str, *, token: str, device: str, platform: str) -> str:
    """The address to connect to: `websocket` with the query that the protocol asks for."""
    parts = urlsplit(websocket)
    query = dict(parse_qsl(parts.query))
    query |= {"token": token, "device": device, "platform": platform, "v": str(PROTOCOL_VERSION)}
    return urlunsplit(parts._replace(query=urlencode(query)))


class Socket:
    """An open WebSocket. Make one with `Socket.open`, iterate over its `messages`, and close it."""

    def __init__(self, connection: ClientConnection, *, listener: FrameListener | None = None) -> None:
        self._connection = connection
        self._listener = listener
        self._told = False
        if listener is not None:
            listener.opened()

    @classmethod
    async def open(
        cls,
        websocket: str,
        *,
        token: str,
        device: str,
        platform: str = "desktop",
        listener: FrameListener | None = None,
    ) -> Self:
        """Connect to `websocket` (`ws://` or `wss://`, without the protocol's own query).

        Raises UpgradeRefusedError when the server answered with another status than 101, UnreachableError otherwise.
        """
        url = connection_url(websocket, token=token, device=device, platform=platform)
        try:
            connection = await connect(
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
        return cls(connection, listener=listener)

    @property
    def close_code(self) -> int | None:
        """Why it is closed; None while it is open, and when there was no close frame."""
        return self._connection.close_code

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed yet, as far as this side knows."""
        return self._connection.close_code is None

    async def send(self, text: str) -> None:
        """Send a frame. Raises ConnectionLostError."""
        if self._listener is not None:
            self._listener.sent(text)
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise ConnectionLostError(code=self.close_code) from error

    async def messages(self) -> AsyncGenerator[str | bytes, None]:
        """What comes, until it is closed, by whomever."""
        try:
            async for message in self._connection:
                if self._listener is not None:
                    self._listener.received(message)
                yield message
        except ConnectionClosed:
            pass  # without, or with another than, a normal close frame: `close_code` tells
        finally:
            self._tell_end()

    async def close(self) -> None:
        """Close it, if it is open still."""
        await self._connection.close()
        self._tell_end()

    def abort(self) -> None:
        """Drop it without a word, as a phone does that loses its signal."""
        self._connection.transport.abort()

    def _tell_end(self) -> None:
        if self._listener is not None and not self._told:
            self._told = True
            self._listener.closed()
