"""Of all processes only those are killed that run a function of this very stack."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.chaos import Chaos, FaultyProxy
from local.chaos.faults import Call
from local.chaos.workers import Functions, Worker, kill, workers_of
from local.processes import is_running

CHILDREN = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, path]) for path in sys.argv[1:]]
print(*(child.pid for child in children), flush=True)
sys.stdin.read()
for child in children:
    child.kill()
    child.wait()
"""
FUNCTION = "stack-FanoutFunction-0A1B"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """A process with two children that run functions, and one that runs something else."""
    scripts = [
        tmp_path / f"ministack-lambda-{FUNCTION}-ab_d3fgh/_worker.py",
        tmp_path / "ministack-lambda-stack-SyncFunction-2C3D-xy0zw_a1/_worker.py",
        tmp_path / "something/else.py",
    ]
    for script in scripts:
        script.parent.mkdir()
        script.write_text("import time\ntime.sleep(60)\n")
    command = [sys.executable, "-c", CHILDREN, *map(str, scripts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        yield parent.pid, [int(process_id) for process_id in parent.stdout.readline().split()]
        parent.communicate("")


def test_the_workers_are_the_children_that_run_a_function(family: tuple[int, list[int]], tmp_path: Path) -> None:
    parent, (fan_out, sync, _) = family

    found = workers_of(parent)

    assert {worker.process_id: worker for worker in found} == {
        fan_out: Worker(fan_out, FUNCTION, tmp_path / f"ministack-lambda-{FUNCTION}-ab_d3fgh"),
        sync: Worker(sync, "stack-SyncFunction-2C3D", tmp_path / "ministack-lambda-stack-SyncFunction-2C3D-xy0zw_a1"),
    }


def test_nobody_elses_children_are_workers(family: tuple[int, list[int]]) -> None:
    _, children = family

    assert workers_of(children[0]) == []


def test_a_killed_worker_is_gone_and_the_others_are_not(family: tuple[int, list[int]]) -> None:
    parent, (fan_out, sync, _) = family

    (worker,) = [worker for worker in workers_of(parent) if worker.process_id == fan_out]

    kill(worker)

    assert [worker.process_id for worker in workers_of(parent)] == [sync]
    kill(worker)  # once more is no error
    deadline = time.monotonic() + 10
    while worker.directory.exists():
        assert time.monotonic() < deadline, "its files stay"
        time.sleep(0.01)


def chaos_for(parent: int) -> Chaos:
    return Chaos(FaultyProxy(1, 1), parent, Functions({FUNCTION: "FanoutFunction"}, {}))


def test_a_function_is_killed_by_its_name_in_the_template(family: tuple[int, list[int]]) -> None:
    parent, (_, sync, other) = family
    chaos = chaos_for(parent)

    assert chaos.kill("Fanout") == 0
    assert chaos.kill("FanoutFunction") == 1

    assert [worker.process_id for worker in workers_of(parent)] == [sync]
    assert [(injected.kind, injected.function) for injected in chaos.log()] == [("kill", "FanoutFunction")]
    assert is_running(other)


def test_at_a_rate_all_of_them_are_killed_in_time_and_nothing_else_is(family: tuple[int, list[int]]) -> None:
    parent, (_, _, other) = family
    chaos = chaos_for(parent)

    chaos.start(seed=1, faults_per_minute=0, kills_per_minute=6000)
    deadline = time.monotonic() + 20
    while workers_of(parent) and time.monotonic() < deadline:
        time.sleep(0.05)
    chaos.stop()

    assert workers_of(parent) == []
    assert is_running(other)
    assert len(chaos.log()) == 2


def test_a_trap_is_for_one_function_and_one_operation() -> None:
    chaos = chaos_for(1)
    with chaos.trap("FanoutFunction", "dynamodb.UpdateItem", 2) as trap:
        others = [Call("dynamodb.UpdateItem", "SyncFunction"), Call("dynamodb.Query", "FanoutFunction")]
        assert not any(trap.takes(call) for call in others * 3)
        one = Call("dynamodb.UpdateItem", "FanoutFunction")
        assert [trap.takes(one) for _ in range(4)] == [False, True, False, False]
    with chaos.trap("FanoutFunction") as trap:
        assert trap.takes(Call("sqs.SendMessage", "FanoutFunction"))
    assert not trap.takes(Call("sqs.SendMessage", "FanoutFunction"))
