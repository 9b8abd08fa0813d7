"""Several frames at once, one AWS call at a time: a race that a test can choose, and repeat.

Each frame runs in a thread of its own, but only one thread runs at any moment: before each AWS call a frame waits for
its turn. So moto never sees two calls at once, and every order of the calls of several instances can be played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from threading import Semaphore, Thread, local
from typing import Any

from tests.integration.house import Call, House

Frame = Callable[[], Any]


@dataclass
class _Runner:
    frame: Frame
    go: Semaphore = field(default_factory=lambda: Semaphore(0))
    result: Any = None
    error: BaseException | None = None
    done: bool = False


class Turns:
    """Runs frames on a house in an order of turns."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._paused = Semaphore(0)
        self._mine = local()

    def run(self, frames: Sequence[Frame], order: Iterable[int]) -> list[Any]:
        """The results of `frames`. `order` names whose turn it is, by index; those who are done are passed over.

        When it ends, the others finish one after the other.
        """
        runners = [_Runner(frame) for frame in frames]
        threads = [Thread(target=self._live, args=(runner,)) for runner in runners]
        with self._house.watched(before=self._wait):
            for thread in threads:
                thread.start()
                self._paused.acquire()
            for i in self._whose_turn(runners, order):
                runners[i].go.release()
                self._paused.acquire()
            for thread in threads:
                thread.join()
        for runner in runners:
            if runner.error is not None:
                raise runner.error
        return [runner.result for runner in runners]

    def _whose_turn(self, runners: Sequence[_Runner], order: Iterable[int]) -> Iterator[int]:
        for i in order:
            if not runners[i].done:
                yield i
        for i, runner in enumerate(runners):
            while not runner.done:
                yield i

    def _live(self, runner: _Runner) -> None:
        self._mine.runner = runner
        self._wait(None)
        try:
            runner.result = runner.frame()
        except BaseException as e:  # noqa: BLE001 - raised where the results are
            runner.error = e
        runner.done = True
        self._paused.release()

    def _wait(self, _: Call | None) -> None:
        self._paused.release()
        self._mine.runner.go.acquire()


def all_orders(calls: int) -> Iterator[list[int]]:
    """Every order of the turns of two frames of at least so many turns each."""
    for places in combinations(range(2 * calls), calls):
        yield [0 if i in places else 1 for i in range(2 * calls)]
