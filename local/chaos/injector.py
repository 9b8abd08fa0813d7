"""Chaos for one stack: faults of its functions' calls and ends of their processes, at a rate or one by one."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from local.chaos.faults import Call, Storm
from local.chaos.proxy import FaultyProxy, Injected, Trap
from local.chaos.workers import Functions, Worker, functions_of, kill, workers_of
from local.cloud import Cloud

KILLED = "kill"


@dataclass(slots=True)
class Chaos:
    """What can be done to a stack whose functions call the cloud through `proxy`. Safe to share between threads."""

    proxy: FaultyProxy
    cloud_process: int
    functions: Functions
    url: str = ""
    """Where the control service is."""
    _calm: threading.Event = field(default_factory=threading.Event, repr=False)
    _killer: threading.Thread | None = field(default=None, repr=False)
    _changing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self, *, seed: int, faults_per_minute: float = 60.0, kills_per_minute: float = 0.0) -> None:
        """Begin. What went on before ends."""
        self.stop()
        with self._changing:
            self._calm = threading.Event()
            self.proxy.storm = Storm(seed, faults_per_minute, time.monotonic())
            if kills_per_minute:
                self._killer = threading.Thread(
                    target=self._keep_killing, args=(seed, kills_per_minute, self._calm), daemon=True
                )
                self._killer.start()

    def stop(self) -> None:
        """Be calm from now on. A call that is delayed already still is, for at most 3 s."""
        with self._changing:
            self.proxy.storm = None
            self._calm.set()
            if self._killer is not None:
                self._killer.join()
                self._killer = None

    def log(self) -> list[Injected]:
        """What was done so far, oldest first."""
        return self.proxy.log

    def kill(self, function: str) -> int:
        """End the processes of a function, by its name in the template, with SIGKILL; how many there were."""
        those = [worker for worker in workers_of(self.cloud_process) if self._name(worker) == function]
        for worker in those:
            self._kill(worker)
        return len(those)

    @contextlib.contextmanager
    def trap(self, function: str, operation: str = "", number: int = 1, *, after: bool = False) -> Iterator[Trap]:
        """Hold a function's `number`-th call from now on (of that operation, as in `dynamodb.PutItem`, or of any).

        With `after`, when it has taken effect already. Let go, it is passed on unless its caller has ended meanwhile.
        """

        def fits(call: Call) -> bool:
            return call.function == function and operation in {"", call.operation}

        with self.proxy.trap(fits, number, after=after) as trap:
            yield trap

    def _keep_killing(self, seed: int, kills_per_minute: float, calm: threading.Event) -> None:
        dice = random.Random(f"kills {seed}")  # noqa: S311 - must be the same each time
        while not calm.wait(dice.expovariate(kills_per_minute / 60)):
            # In the order of their names, so that the same dice mean the same function where the same ones run.
            workers = sorted(workers_of(self.cloud_process), key=lambda worker: (worker.function, worker.process_id))
            chosen = dice.random()
            if workers:
                self._kill(workers[int(chosen * len(workers))])

    def _kill(self, worker: Worker) -> None:
        kill(worker)
        self.proxy.note(KILLED, self._name(worker))

    def _name(self, worker: Worker) -> str:
        return self.functions.names.get(worker.function, worker.function)


def chaos_of(proxy: FaultyProxy, cloud: Cloud, stack: str) -> Chaos:
    """For a stack that is deployed to `cloud`, whose functions call it through `proxy`."""
    functions = functions_of(cloud, stack)
    proxy.functions = functions.access_keys
    return Chaos(proxy, cloud.process.pid, functions)
