"""The figures of bench/group_costs.py, where they can be told beforehand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.crowds import PART_BATCH_SIZE
from bench.group_costs import Cost, Reading, Report, break_even, crossing, markdown, message_costs, readings
from bench.prices import MILLION
from im.flows.broadcast import parts_for


def test_a_message_to_a_small_group_costs_a_write_a_member_and_two() -> None:
    one, in_one_batch, one_and_nine = message_costs(6, 0.5, 100, burst=True)

    assert (one.members, one.online, one.large) == (6, 3, False)
    # The audit, and the check: put, taken, deleted.
    assert (one.writes, one.pushes, one.queue_requests, one.function_calls) == (6 + 2, 2, 3 + 1 + 3, 2 + 2)
    assert one.reads == 0.5 + 6 * 0.5 + 2 * 0.5, "the check reads the rows of those who were pushed to"
    assert one.reads_when_cold == one.reads + 4 + 4  # who may send; the list of members, and the head around it
    assert in_one_batch.reads == (10 * 0.5 + 6 * 0.5 + 3 * 0.5) / 10
    assert one_and_nine.reads == (10 * 0.5 + 12 * 0.5 + 5 * 0.5) / 10
    assert (in_one_batch.writes, one_and_nine.writes) == ((20 + 6) / 10, (20 + 12) / 10)
    assert (in_one_batch.function_calls, one_and_nine.function_calls) == (1.3, 1.6)


def test_a_message_to_a_large_group_costs_the_same_writes_whatever_its_size() -> None:
    (small,), (larger,) = (message_costs(size, 0.25, 2, burst=False) for size in (4, 16))

    assert small.large
    assert larger.large
    assert small.writes == larger.writes == 4
    assert (small.pushes, larger.pushes) == (0, 3)
    # Who may send; the sender, then the three others online, each time with the head.
    assert larger.reads_when_cold == larger.reads + 4 + 2 * (1 + 1) + 2 * (1 + 3)


def test_the_parts_of_a_very_large_group_are_billed_too() -> None:
    (cost,) = message_costs(5_000, 0.001, 200, burst=False)

    assert (cost.members, cost.online, cost.pushes) == (5_000, 5, 4)
    assert cost.writes == 4
    batches = -(-parts_for(5_000) // PART_BATCH_SIZE)
    assert cost.function_calls == 2 + batches + 1
    assert cost.queue_requests == 1 + 2 + 1 + 2 * batches + 1


def test_a_report_shows_what_was_measured() -> None:
    read = [*readings(1, large=False), *readings(1, large=True)]
    (small,), (large,) = (message_costs(12, 0.5, limit, burst=False) for limit in (1000, 2))
    crossed = crossing(5, 0.5)

    even = break_even(small, large, read)
    shown = markdown(Report([large], [small], read, crossed, [even], 1.0, 2.0))

    by = {(r.what, r.large): r for r in read}
    assert by["connect", True].writes == by["connect", False].writes + 1
    assert by["ping", True].reads == by["ping", False].reads + 0.5
    assert by["sync.read", True].reads == by["sync.read", False].reads + 1
    assert crossed.writes == 5 + crossed.online + 3
    assert even.messages is not None
    assert even.messages > 0
    assert "| 12 | 6 | large | one | 4 |" in shown
    assert "| 12 | 6 | small | one | 14 |" in shown
    assert "5 members" in shown


def test_the_break_even_weighs_what_a_message_saves_against_what_members_ask_for() -> None:
    used = {"connect": (1, 1), "disconnect": (1, 1), "ping": (0, 1.5), "sync.inbox": (0, 0.5), "sync.read": (1, 3)}
    more = {"connect": (1, 0), "disconnect": (1, 0), "ping": (0, 0.5), "sync.inbox": (0, 0.5), "sync.read": (0, 1)}
    read = [
        Reading(
            groups=1, large=large, what=what, writes=w + large * more[what][0], reads=r + large * more[what][1], calls=1
        )
        for large in (False, True)
        for what, (w, r) in used.items()
    ]
    small = Cost(
        members=100,
        online=10,
        large=False,
        case="one",
        writes=102,
        reads=55,
        reads_when_cold=None,
        queue_requests=3,
        function_calls=2,
        pushes=9,
        rounds=8,
        ms=70,
        database_dollars=70 / MILLION,
        dollars=100 / MILLION,
    )

    even = break_even(small, replace(small, large=True, dollars=40 / MILLION), read)
    never = break_even(small, replace(small, large=True, dollars=100 / MILLION), read)

    assert even.spent_in_a_day == pytest.approx(10 * (360 * 0.125 + 12 * 2 * 0.625 + 100 * 0.125) / MILLION)
    assert even.saved_by_a_message == pytest.approx((60 - 0.2 * 10 * 0.125) / MILLION)
    assert even.messages == pytest.approx(even.spent_in_a_day / even.saved_by_a_message)
    assert never.messages is None
