"""A reverse proxy between the functions and the emulated cloud, which lets faults happen to their calls.

It runs in a thread of its own. While it is calm it only passes on what it gets. Each call has a connection of its own
to the cloud, so that a fault of one meets no other.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from local.chaos.faults import Call, Kind, Storm
from local.chaos.messages import Message, NotHttpError, read_request, read_response
from local.chaos.operations import call_of, refusal
from local.processes import LOOPBACK

LOGGED = 100_000
"""Of what was done, the last so many remain in the log."""

_REFUSED = frozenset({Kind.ERROR, Kind.THROTTLED, Kind.DROPPED, Kind.GONE})


@dataclass(frozen=True, slots=True)
class Injected:
    """Something that was done to a function."""

    at: int
    """Milliseconds since the epoch."""
    kind: str
    operation: str
    """Empty for the end of a process."""
    function: str | None


class Trap:
    """Holds one call, from when it comes until the trap is opened. Safe to share between threads."""

    def __init__(self, fits: Callable[[Call], bool], number: int, *, after: bool) -> None:
        self.after = after
        """Whether the call has taken effect when it is held: its answer is what is held then."""
        self._fits = fits
        self._left = number
        self._caught = threading.Event()
        self._opened = threading.Event()

    def takes(self, call: Call) -> bool:
        """Whether `call` is the one to hold."""
        if self._left and self._fits(call):
            self._left -= 1
            return not self._left
        return False

    async def hold(self) -> None:
        """Keep a call until the trap is opened."""
        self._caught.set()
        while not self._opened.is_set():
            await asyncio.sleep(0.005)

    def wait_caught(self, timeout_s: float) -> bool:
        """Wait until the call has come; False when it has not within so many seconds."""
        return self._caught.wait(timeout_s)

    def open(self) -> None:
        """Let the call go, and all others."""
        self._left = 0
        self._opened.set()


class FaultyProxy:
    """Passes calls on to the cloud at `target_port`. Its methods may be called from any thread."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.functions: Mapping[str, str] = {}
        """Names of the functions, by their access keys."""
        self.storm: Storm | None = None
        """None while it is calm."""
        self._target_port = target_port
        self._log: deque[Injected] = deque(maxlen=LOGGED)
        self._traps: list[Trap] = []

    @property
    def endpoint(self) -> str:
        """What the functions take for the cloud's."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def log(self) -> list[Injected]:
        """What was done so far."""
        return list(self._log)

    def note(self, kind: str, function: str | None, operation: str = "") -> None:
        """Put something into the log."""
        self._log.append(Injected(time.time_ns() // 1_000_000, kind, operation, function))

    @contextlib.contextmanager
    def trap(self, fits: Callable[[Call], bool], number: int = 1, *, after: bool = False) -> Iterator[Trap]:
        """Hold the `number`-th of the calls that fit, until the end of the context at the latest.

        A call that is let go is passed on, unless its caller has ended meanwhile.
        """
        trap = Trap(fits, number, after=after)
        self._traps = [*self._traps, trap]
        try:
            yield trap
        finally:
            self._traps = [other for other in self._traps if other is not trap]
            trap.open()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while (request := await read_request(reader)) is not None:
                answer = await self._answer(request, reader)
                if answer is None:
                    break
                writer.write(Message(answer.start, answer.without("connection"), answer.body).encoded())
                await writer.drain()
                if not answer.has_an_end:
                    writer.close()
                    await writer.wait_closed()
                    return
        except (OSError, NotHttpError):
            pass  # the connection is of no use any more, whichever side it broke on
        finally:
            # Not closed in order: in the middle of a call that is what a broken connection looks like.
            writer.transport.abort()

    async def _answer(self, request: Message, reader: asyncio.StreamReader) -> Message | None:
        """What the caller gets; None for a connection that breaks."""
        call = call_of(request, self.functions)
        trap = next((trap for trap in self._traps if trap.takes(call)), None)
        if trap is not None and not trap.after:
            await trap.hold()
            if reader.at_eof():
                return None
        fault = self.storm.fault(call, time.monotonic()) if self.storm is not None else None
        if fault is not None:
            self.note(fault.kind, call.function, call.operation)
            if fault.kind is Kind.RESET_BEFORE:
                return None
            if fault.kind in _REFUSED:
                return refusal(call, fault.kind)
            await asyncio.sleep(fault.delay_s)
        answer = await self._passed_on(request)
        if trap is not None and trap.after:
            await trap.hold()
        return None if fault is not None and fault.kind is Kind.RESET_AFTER else answer

    async def _passed_on(self, request: Message) -> Message:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        try:
            # `Host` stays: it is part of what the signature signs.
            headers = [*request.without("connection", "expect"), ("Connection", "close")]
            writer.write(Message(request.start, headers, request.body).encoded())
            await writer.drain()
            return await read_response(reader)
        finally:
            writer.transport.abort()


async def _end_all_others() -> None:
    calls = asyncio.all_tasks() - {asyncio.current_task()}
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@contextlib.contextmanager
def running_proxy(port: int, target_port: int) -> Iterator[FaultyProxy]:
    """A proxy that serves while the context lasts. Raises OSError if the port is taken."""
    proxy = FaultyProxy(port, target_port)
    loop = asyncio.new_event_loop()
    try:
        server = loop.run_until_complete(asyncio.start_server(proxy.serve, LOOPBACK, port, backlog=512))
        thread = threading.Thread(target=loop.run_forever, name="chaos-proxy", daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            server.close()
            loop.run_until_complete(_end_all_others())
    finally:
        loop.close()
