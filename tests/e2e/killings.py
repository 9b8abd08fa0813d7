"""Processes of functions that end at any moment, as a crash ends them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local import Stack
from local.chaos.workers import Worker, functions_of, kill, workers_of


@contextmanager
def killing(
    stack: Stack, functions: Collection[str], *, every_s: float, at_most: int, dice: random.Random
) -> Iterator[Counter[str]]:
    """SIGKILL to a process of these functions, again and again, at random: idle or in the middle of its work, but never
    to more than half of a function's at a time, for they start slowly here. How often each was hit."""
    names = functions_of(stack.cloud, stack.name).names
    killed: Counter[str] = Counter()
    most: Counter[str] = Counter()
    over = threading.Event()

    def keep_killing() -> None:
        while killed.total() < at_most and not over.wait(dice.expovariate(1 / every_s)):
            workers = [w for w in workers_of(stack.cloud.process.pid) if names.get(w.function) in functions]
            at_work = [worker for worker in workers if _has_worked(worker)]
            there = Counter(names[worker.function] for worker in at_work)
            for function, number in there.items():
                most[function] = max(most[function], number)
            victims = [worker for worker in at_work if 2 * there[name := names[worker.function]] > most[name]]
            if victims:
                victim = dice.choice(victims)
                kill(victim)
                killed[names[victim.function]] += 1

    killer = threading.Thread(target=keep_killing, daemon=True)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def _has_worked(worker: Worker) -> bool:
    """Whether a process has made an AWS call yet. When one dies before, while it starts, MiniStack ends all instances
    of its function."""
    descriptors = Path(f"/proc/{worker.process_id}/fd")
    if not descriptors.is_dir():
        return not descriptors.parent.parent.is_dir()  # where nobody can tell, all have
    with suppress(OSError):
        return any(str(descriptor.readlink()).startswith("socket:") for descriptor in descriptors.iterdir())
    return False


def instances_of(stack: Stack, function: str) -> int:
    """How many instances of a function there are."""
    names = functions_of(stack.cloud, stack.name).names
    return sum(names.get(worker.function) == function for worker in workers_of(stack.cloud.process.pid))
