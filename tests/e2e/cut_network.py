"""A network between clients and the stack that breaks: a TCP proxy on loopback, whose connections end in every way.

`cut` ends one of those it forwards, perhaps in the middle of a frame: with a reset, with an ordinary end, or by silence
that ends some time later. What was on its way is lost, or has arrived; nobody is told which.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PIECE = 4096


@dataclass(eq=False)
class _Pipe:
    """One client's connection and its other half."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    silent: bool = False

    def end(self, *, reset: bool) -> None:
        for writer in (self.near, self.far):
            if reset:
                # Closing with this option set sends a reset instead of an end.
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


@dataclass
class CutNetwork:
    """Forwards connections to `port`. `address` is where clients connect instead."""

    port: int
    dice: random.Random
    pipes: set[_Pipe] = field(default_factory=set)
    cuts: Counter[str] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def address(self, websocket: str) -> str:
        """The same address, by way of this network."""
        assert self._server is not None
        near = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(websocket)
        return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{near}"))

    def cut(self) -> bool:
        """Break one of the connections. False when there is none."""
        pipes = [pipe for pipe in self.pipes if not pipe.silent]
        if not pipes:
            return False
        pipe, how = self.dice.choice(pipes), self.dice.choice(("reset", "end", "silence"))
        self.cuts[how] += 1
        if how == "silence":
            pipe.silent = True
            self._begin(self._end_later(pipe, self.dice.uniform(0.5, 3)))
        else:
            pipe.end(reset=how == "reset")
        return True

    async def _end_later(self, pipe: _Pipe, seconds: float) -> None:
        await asyncio.sleep(seconds)
        pipe.end(reset=True)

    async def _accept(self, near_in: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        far_in, far = await asyncio.open_connection("localhost", self.port)
        pipe = _Pipe(near, far)
        self.pipes.add(pipe)
        ways = [asyncio.create_task(self._forward(pipe, *way)) for way in ((near_in, far), (far_in, near))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.pipes.discard(pipe)
            pipe.end(reset=False)

    async def _forward(self, pipe: _Pipe, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await source.read(PIECE):
                if not pipe.silent:
                    sink.write(piece)
                    await sink.drain()

    def _begin(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CutNetwork]:
        """Forward as long as the context lasts."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            while self.pipes:  # each goes when its forwarding has ended
                for pipe in list(self.pipes):
                    pipe.end(reset=True)
                await asyncio.sleep(0.01)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
