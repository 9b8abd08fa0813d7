"""An event loop on which time is a number: it jumps to the next timer, and nothing ever waits.

Code that does not know of asyncio runs on it too, as long as it waits by `sleep`: each such piece of work has a stack
of its own (a greenlet), and all of them share the one thread, so that the same timers give the same run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class NothingLeftToDo(Exception):
    """Everything waits for something that cannot come: no timer is left."""


class _Jump:
    """In place of a selector, which waits for sockets: there are none."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise NothingLeftToDo
        self._loop.now += timeout
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """Starts at 0; `now` is in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """The virtual time."""
        return self.now

    def _process_events(self, event_list: object) -> None:
        """No events come from outside."""

    def _write_to_self(self) -> None:
        """Nobody waits who would have to be woken."""

    def work(self, what: Callable[[], T]) -> asyncio.Future[T]:
        """Begin `what` on a stack of its own. It may `sleep`. The future has what it returns or raises."""
        done: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                result = what()
            except BaseException as e:  # noqa: BLE001 - the caller has it
                outcome: BaseException | None = e
            else:
                outcome = None
            if done.done():
                return
            if outcome is None:
                done.set_result(result)
            else:
                done.set_exception(outcome)

        greenlet(run).switch()
        return done

    def sleep(self, seconds: float) -> None:
        """Let time pass for the work that calls this. Only for what `work` has begun."""
        here = getcurrent()
        assert here.parent is not None, "not on a stack of its own"
        self.call_later(seconds, here.switch)
        here.parent.switch()


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run `main` to its end, and cancel what it has left behind."""
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()
