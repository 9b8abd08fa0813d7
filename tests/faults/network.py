"""API Gateway and the network before it: connections that break, stall, or look alive.

What a function posts to a connection is answered with 200 as long as API Gateway believes in the connection, and with
410 otherwise; whether it arrives is another matter. Frames of one connection may be served at the same time. The end of
a connection is told at once, late, or never.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, Final, cast

from botocore.exceptions import ClientError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError

from imclient.errors import UnreachableError, UpgradeRefusedError
from imclient.socket import FrameListener, Socket
from tests.faults.cloud import Cloud
from tests.faults.queues import Failed, Item
from tests.faults.virtual_time import VirtualLoop
from tests.integration.house import sample

OPEN_TIMEOUT_S: Final = 20
ROUTES: Final = frozenset({"message", "sync", "group"})
EVENTS: Final = {name: sample(name) for name in ("connect", "ping", "disconnect")}


class Gone(ClientError):
    """The connection API knows no such connection."""


@dataclass
class Link:
    """One connection, as API Gateway and the network know it."""

    id: str
    user: str
    device: str
    platform: str
    asked: int
    """When it was asked for, milliseconds since the epoch."""
    open: bool = False
    """Whether API Gateway believes in it."""
    silent: bool = False
    """Whether nothing gets through any more, and neither side has noticed."""
    stalled_until: float = 0
    up: float = 0
    """When the last frame from the client arrives."""
    down: float = 0
    told: bool = False
    """Whether its end has been told to `$disconnect`."""
    socket: Wire | None = None


class Wire:
    """In place of the WebSocket of a client: as much of it as a Socket uses."""

    def __init__(self, gateway: Gateway, link: Link) -> None:
        self.close_code: int | None = None
        self._gateway, self._link = gateway, link
        self._messages: deque[str] = deque()
        self._news = asyncio.Event()

    async def send(self, frame: str) -> None:
        """Let a frame leave. Raises ConnectionClosedError."""
        if self.close_code is not None:
            raise ConnectionClosedError(None, None)
        self._gateway.sent(self._link, frame)

    async def close(self) -> None:
        """Close from the client's side: on a dead connection that takes a while."""
        if self.close_code is None:
            if self._link.silent:
                await asyncio.sleep(2)
            self.end(1000)
            self._gateway.client_left(self._link)

    def end(self, code: int) -> None:
        """It is closed."""
        if self.close_code is None:
            self.close_code = code
            self._news.set()

    def feed(self, message: str) -> None:
        """A message has come."""
        if self.close_code is None:
            self._messages.append(message)
            self._news.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """What comes, until it is closed."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self.close_code == 1000:
                return
            if self.close_code is not None:
                raise ConnectionClosedError(None, None)
            self._news.clear()
            await self._news.wait()


@dataclass
class Gateway:
    """Connections to the functions of `cloud`; a client of the connection API as well."""

    cloud: Cloud
    random: Random
    happened: Counter[str]
    note: Callable[[str], None]
    harsh: bool = True
    """Whether what is not ordered by a person goes wrong too."""
    links: dict[str, Link] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    """Users who have no network."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    function_failed: Callable[[str, str], None] = lambda *_: None
    """Told of a user's device whose frame met a function that failed."""
    exceptions = SimpleNamespace(GoneException=Gone)

    @property
    def loop(self) -> VirtualLoop:
        """The time."""
        return self.cloud.loop

    # ---- the connection API

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> Item:  # noqa: N803
        """Push. Raises Gone."""
        link = self.links.get(ConnectionId)
        if link is None or not link.open:
            self.happened["pushes to connections that are gone"] += 1
            raise Gone({"Error": {"Code": "GoneException"}}, "push")
        self.to_client(link, Data.decode())
        return {}

    def delete_connection(self, *, ConnectionId: str) -> Item:  # noqa: N803
        """End a connection from the server's side. Raises Gone."""
        link = self.links.get(ConnectionId)
        if link is None or not link.open:
            raise Gone({"Error": {"Code": "GoneException"}}, "close")
        link.open = False
        self._tell_end(link, self._soon())
        if not link.silent and link.socket is not None:
            at = max(link.down, self.loop.now + self._soon())
            self.loop.call_at(at, link.socket.end, 1001)
        return {}

    # ---- what clients do

    async def dial(self, user: str, device: str, platform: str, listener: FrameListener | None) -> Socket:
        """Open a connection. Raises what `Socket.open` raises."""
        await asyncio.sleep(self._soon())
        if user in self.out:
            await asyncio.sleep(self.random.uniform(0, 3))
            raise UnreachableError("no network")
        if self.harsh and self.random.random() < 0.04:
            self.happened["connections refused"] += 1
            raise UpgradeRefusedError(self.random.choice((429, 500, 503)))
        link = Link(f"conn-{len(self.links)}=", user, device, platform, self.cloud.now_ms)
        self.links[link.id] = link
        opening = self._begin(self._open(link))
        try:
            await asyncio.wait([opening], timeout=OPEN_TIMEOUT_S)
        except asyncio.CancelledError:
            self._abandon(link)
            raise
        if not opening.done() or (self.harsh and self.random.random() < 0.02):
            self.happened["connections that opened for the server alone"] += 1
            self._abandon(link)
            raise UnreachableError("timed out")
        if not link.open:
            raise UpgradeRefusedError(500)
        link.socket = Wire(self, link)
        self.note(f"{user}/{device} has {link.id}")
        return Socket(cast("ClientConnection", link.socket), listener=listener)

    def sent(self, link: Link, text: str) -> None:
        """A client sends a frame."""
        self.note(f"{link.user}/{link.device} -> {text}")
        if link.silent:
            self.happened["frames lost"] += 1
            return
        link.up = max(link.up, link.stalled_until, self.loop.now + self._soon())
        # In order on the wire; but each frame is an invocation of its own.
        self.loop.call_at(link.up + self._soon(), lambda: self._begin(self._serve(link, text)))

    def client_left(self, link: Link) -> None:
        """A client has closed its side."""
        if link.silent:
            self._lose_touch(link)
        else:
            self.loop.call_later(self._soon(), self._end, link, self._soon())

    def to_client(self, link: Link, text: str) -> None:
        """A frame on its way to a client."""
        if link.silent or link.socket is None or link.socket.close_code is not None:
            self.happened["pushes that vanished"] += 1
            return
        link.down = max(link.down, link.stalled_until, self.loop.now + self._soon())
        self.loop.call_at(link.down, self._arrive, link, text)

    # ---- what goes wrong

    def links_of(self, user: str, device: str) -> list[Link]:
        """The connections that a device believes to be open."""
        return [
            link
            for link in self.links.values()
            if (link.user, link.device) == (user, device) and link.socket is not None and link.socket.close_code is None
        ]

    def cut(self, link: Link) -> None:
        """A connection breaks, and its client notices."""
        self.happened["connections that broke"] += 1
        self.note(f"{link.id} breaks")
        if link.socket is not None:
            link.socket.end(1006)
        self._lose_touch(link)

    def go_silent(self, link: Link) -> None:
        """A connection breaks, and nobody notices."""
        self.happened["connections that went silent"] += 1
        self.note(f"{link.id} goes silent")
        link.silent = True
        if self.random.random() < 0.5:
            self._lose_touch(link)

    def stall(self, link: Link, seconds: float) -> None:
        """Nothing gets through for a while, then all of it."""
        self.happened["connections that stalled"] += 1
        self.note(f"{link.id} stalls for {seconds:.1f} s")
        link.stalled_until = self.loop.now + seconds

    def _lose_touch(self, link: Link) -> None:
        """API Gateway notices sooner, later, or not at all; what it knows it tells, late or never."""
        link.silent = True
        draw = self.random.random()
        if draw < 0.4:
            self._end(link, self._soon())
        elif draw < 0.8:
            told = self.random.uniform(0, 40) if self.random.random() < 0.7 else None
            self.loop.call_later(self.random.uniform(0.1, 40), self._end, link, told)
        else:
            self.happened["connections whose end nobody noticed"] += 1

    def _abandon(self, link: Link) -> None:
        link.silent = True
        self.loop.call_later(self.random.uniform(0.1, 40), self._end, link, self._soon())

    def _end(self, link: Link, told_after: float | None) -> None:
        """API Gateway has noticed; it tells after so many seconds."""
        was_open, link.open = link.open, False
        if was_open and told_after is not None:
            self._tell_end(link, told_after)
        elif was_open:
            self.happened["ends that were never told"] += 1

    # ---- how

    def _soon(self) -> float:
        draw = self.random.random()
        return 0.005 + 0.04 * draw if draw < 0.97 or not self.harsh else self.random.uniform(0.2, 3)

    def _begin(self, what: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self.loop.create_task(what)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _event(self, name: str, link: Link, **more: Any) -> Item:
        identity = {"user": link.user, "device": link.device, "platform": link.platform, "principalId": link.user}
        context = EVENTS[name]["requestContext"]
        context = context | {"connectionId": link.id, "connectedAt": link.asked, "authorizer": identity}
        return EVENTS[name] | {"requestContext": context} | more

    async def _open(self, link: Link) -> None:
        if self.harsh and self.random.random() < 0.05:
            # So long a function may take to begin. API Gateway waits for 29 s, and this client for 20.
            await asyncio.sleep(self.random.uniform(1, 28))
        try:
            answer = await self.cloud.invoke("connect", self._event("connect", link))
        except Failed:
            return
        link.open = answer["statusCode"] == 200
        self.happened["connections that came too late"] += answer["statusCode"] == 409

    def _tell_end(self, link: Link, after: float) -> None:
        if not link.told:
            link.told = True
            self.loop.call_later(after, lambda: self._begin(self._disconnect(link)))

    async def _disconnect(self, link: Link) -> None:
        try:
            await self.cloud.invoke("connect", self._event("disconnect", link))
        except Failed:
            self.happened["ends that were never told"] += 1

    async def _serve(self, link: Link, text: str) -> None:
        if not link.open:
            return
        route = json.loads(text)["route"]
        event = self._event("ping", link, body=text)
        event["requestContext"]["routeKey"] = route
        try:
            answer = await self.cloud.invoke(route if route in ROUTES else "connect", event)
        except Failed:
            self.function_failed(link.user, link.device)
            reply = json.dumps({"message": "Internal server error", "connectionId": link.id, "requestId": "gw"})
        else:
            reply = answer["body"]
        if not reply:
            return
        if self.harsh and self.random.random() < 0.01:
            self.happened["replies lost"] += 1
            self.note(f"a reply to {link.id} is lost: {reply}")
            return
        self.loop.call_later(self._soon(), self.to_client, link, reply)

    def _arrive(self, link: Link, text: str) -> None:
        if link.silent or link.socket is None:
            self.happened["pushes that vanished"] += 1
        else:
            self.note(f"{link.user}/{link.device} <- {text}")
            link.socket.feed(text)
