"""What is to be done later: a heap of times and calls. The machine's owner says what time it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

Then: TypeAlias = Callable[[int], None]
"""Something to do. It is told what time it is: never before it was due, perhaps long after."""


@dataclass(order=True, slots=True)
class Timer:
    """Something that is due at `due`, in ms; of several, what was asked for first comes first."""

    due: int
    number: int
    then: Then | None = field(compare=False)

    def cancel(self) -> None:
        """It is not to be done any more."""
        self.then = None


class Timers:
    """All that is to be done later."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._made = 0

    def at(self, due: int, then: Then) -> Timer:
        """Let `then` be done at `due`."""
        self._made += 1
        timer = Timer(due, self._made, then)
        heapq.heappush(self._heap, timer)
        return timer

    @property
    def next(self) -> int | None:
        """When the next one is due; None when nothing is."""
        while self._heap and self._heap[0].then is None:
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def fire(self, now: int) -> None:
        """Do all that is due by now, in its order, also what becomes due by it."""
        while (due := self.next) is not None and due <= now:
            timer = heapq.heappop(self._heap)
            if timer.then is not None:
                timer.then(now)

    def clear(self) -> None:
        """Forget everything."""
        for timer in self._heap:
            timer.cancel()
        self._heap.clear()
