"""How often somebody may tell that they are writing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from im.domain.errors import RateLimited
from im.domain.ids import ConvId, UserId
from im.flows.typing import GAP_MS, MAX_PACED, TypingPace

ALICE, CONV = UserId("alice"), ConvId("d:alice:bob")
NOW = 1_763_717_400_000


def allowed(pace: TypingPace, at: int, *, on: bool, conv: str = CONV) -> bool:
    try:
        pace.check(ALICE, ConvId(conv), on=on, now=NOW + at)
    except RateLimited:
        return False
    return True


@pytest.mark.parametrize(
    "steps",
    [
        "0+ 1-",
        "0+ 1+! 1999+! 2000+",
        "0+ 0- 0+! 0-!",
        "0+ 500- 600-! 1999+! 2000+ 2001- 3999+! 4000+",
        "0+ 2100- 2200+ 2300- 2400+!",
        "0- 1-! 1999-! 2000-",
        "0- 1+ 2- 3-!",
        "0+ 1999+! 2000+ 2001+! 3999+! 4000+",
        "0+ 60000- 60001-!",
    ],
)
def test_one_on_in_two_seconds_and_the_off_that_follows_it(steps: str) -> None:
    """A step is a time in milliseconds, + for on and - for off, ! when it is refused."""
    pace = TypingPace()

    for step in steps.split():
        refused, step_now = step.endswith("!"), step.rstrip("!")
        assert allowed(pace, int(step_now[:-1]), on=step_now[-1] == "+") is not refused, step


def test_it_says_when_it_may_be_done_again() -> None:
    pace = TypingPace()
    pace.check(ALICE, CONV, on=True, now=NOW)

    with pytest.raises(RateLimited) as refused:
        pace.check(ALICE, CONV, on=True, now=NOW + 700)

    assert refused.value.retry_after_ms == GAP_MS - 700
    pace.check(ALICE, CONV, on=True, now=NOW + 700 + refused.value.retry_after_ms)


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    pace = TypingPace()
    assert allowed(pace, 0, on=True)

    assert allowed(pace, -3_600_000, on=True)
    assert not allowed(pace, -3_600_000, on=True)


def test_memory_is_bounded_and_the_oldest_are_forgotten() -> None:
    pace = TypingPace()
    convs = [f"g:{i}" for i in range(MAX_PACED + 1)]
    for conv in convs[:MAX_PACED]:
        assert allowed(pace, 0, on=True, conv=conv)
    assert not allowed(pace, 1, on=True, conv=convs[0]), "all are remembered up to the limit"

    assert allowed(pace, 1, on=True, conv=convs[MAX_PACED])

    assert len(pace._told) == MAX_PACED
    assert allowed(pace, 2, on=True, conv=convs[0])
    assert not allowed(pace, 2, on=True, conv=convs[MAX_PACED])


def test_who_goes_on_writing_is_forgotten_after_who_has_stopped() -> None:
    pace = TypingPace()
    for i in range(MAX_PACED):
        assert allowed(pace, 0, on=True, conv=f"g:{i}")
    assert allowed(pace, GAP_MS, on=True, conv="g:0")

    assert allowed(pace, GAP_MS, on=True, conv="g:new")

    assert not allowed(pace, GAP_MS, on=True, conv="g:0")


def test_of_many_threads_at_once_one_is_allowed() -> None:
    threads = 16
    for _ in range(50):
        pace, start = TypingPace(), Barrier(threads)

        def tell(pace: TypingPace = pace, start: Barrier = start) -> bool:
            start.wait()
            return allowed(pace, 0, on=True)

        with ThreadPoolExecutor(threads) as pool:
            outcomes = [future.result() for future in [pool.submit(tell) for _ in range(threads)]]
        assert outcomes.count(True) == 1
