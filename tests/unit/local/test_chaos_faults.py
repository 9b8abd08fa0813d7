"""The dice of chaos: the same for the same seed, at the rate that was asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from local.chaos.faults import LONGEST_DELAY_S, PUSH, SHORTEST_DELAY_S, Call, Fault, Kind, Storm

PUT = Call("dynamodb.PutItem")


def played(storm: Storm, call: Call, *, seconds: int, calls_a_second: int = 20) -> list[Fault]:
    """What happens to calls that come evenly."""
    times = (i / calls_a_second for i in range(seconds * calls_a_second))
    return [fault for fault in (storm.fault(call, now) for now in times) if fault is not None]


def test_the_same_seed_means_the_same_faults_and_another_one_others() -> None:
    runs = [played(Storm(seed, 60, 0.0), PUT, seconds=60) for seed in (7, 7, 8)]

    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("rate", [6, 60, 300])
def test_faults_come_at_the_rate_that_was_asked_for(rate: int) -> None:
    count = len(played(Storm(1, rate, 0.0), PUT, seconds=3600))

    assert count == pytest.approx(rate * 60, rel=0.2)


def test_without_a_rate_nothing_happens() -> None:
    assert played(Storm(1, 0, 0.0), PUT, seconds=3600) == []


def test_only_pushes_are_dropped_or_said_to_be_gone() -> None:
    of_calls = Counter(fault.kind for fault in played(Storm(1, 300, 0.0), PUT, seconds=600))
    of_pushes = Counter(fault.kind for fault in played(Storm(1, 300, 0.0), Call(PUSH), seconds=600))

    assert set(of_calls) == set(Kind) - {Kind.DROPPED, Kind.GONE}
    assert set(of_pushes) == set(Kind)


def test_a_delay_has_a_length_and_nothing_else_has() -> None:
    faults = played(Storm(1, 300, 0.0), PUT, seconds=600)

    for fault in faults:
        if fault.kind is Kind.DELAY:
            assert SHORTEST_DELAY_S <= fault.delay_s <= LONGEST_DELAY_S
        else:
            assert fault.delay_s == 0.0


def test_some_faults_meet_all_attempts_of_a_call_and_some_the_first_alone() -> None:
    storm, seen = Storm(3, 60, 0.0), Counter[tuple[bool, Kind]]()
    for i in range(1, 401):
        call, now = Call("sqs.SendMessage", None, f"call-{i}"), i * 1000.0
        first = storm.fault(call, now)
        assert first is not None, "one is due by then"
        # At the same moment no other one is due.
        second = storm.fault(call, now)
        assert second in {None, first}
        assert storm.fault(Call("sqs.SendMessage", None, "another"), now) is None
        seen[second is not None, first.kind] += 1

    lasting = {kind for kind in Kind if seen[True, kind]}
    assert lasting == {Kind.ERROR, Kind.THROTTLED, Kind.RESET_BEFORE, Kind.RESET_AFTER}
    assert all(seen[False, kind] for kind in lasting), "an SDK gets over some of each kind"
