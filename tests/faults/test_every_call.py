"""Every AWS call of every flow goes wrong in every way: what was promised holds all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.faults import FAULTS, Injector
from tests.faults.figures import take_down
from tests.faults.flows import FLOWS
from tests.faults.play import THEN, staged
from tests.faults.world import Start, World, built_world
from tests.integration.house import FUNCTIONS

Built = tuple[World, Injector, Start]


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    """One world for all: it is put back after each case."""
    with built_world() as made:
        yield made


@pytest.mark.parametrize("name", FLOWS)
def test_the_promises_hold_whatever_goes_wrong_at_whichever_call(built: Built, name: str) -> None:
    world, injector, base = built
    with staged(world, injector, base, FLOWS[name]) as stage:
        assert not stage.nothing.broken + stage.done.broken, "without a fault"
        broken = {}
        cases = list(stage.cases())
        for case in cases:
            played = stage.play(case)
            if played.broken:
                broken[str(case)] = played.broken
    outcomes = Counter({"promises kept": len(cases) - len(broken), "broken": len(broken)})
    take_down(f"every call of {name}", "failing calls", +outcomes)
    assert not broken
    assert len(cases) >= len(stage.calls["cold"]) * len(FAULTS) * len(THEN) > 0


def test_every_operation_and_every_function_has_a_flow(built: Built) -> None:
    world, _, _ = built
    covered = {flow.covers for flow in FLOWS.values()}

    routers = [app.router for app in world.house.apps.values() if hasattr(app, "router")]
    operations = {f"{router.route}.{op}" for router in routers for op in router.operations}
    assert len(operations) > 30
    assert operations <= covered, "an operation is never tried"
    functions = {flow.function for flow in FLOWS.values()}
    assert functions == set(FUNCTIONS), "a function is never tried"
    assert functions == set(world.house.apps)


def test_a_flow_is_covered_only_by_what_it_does(built: Built) -> None:
    """What a flow says that it covers is the operation that it sends."""
    world, injector, base = built
    asked: set[str] = set()
    for name in ("send direct", "typing", "leave", "ack"):
        with staged(world, injector, base, FLOWS[name]) as stage:
            world.put_back(stage.start)
            FLOWS[name].act(world)
            asked |= {op for _, op, _, _ in world.adopted}
    assert asked == {"message.send", "message.typing", "group.leave", "sync.ack"}
