"""Which parts of a group's log somebody may see, when a group is large, and who is what in it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.group import (
    MAX_SPANS,
    REQUEST_LIFE_MS,
    WHOLE,
    JoinRequest,
    Span,
    Spans,
    large_since,
    spans_after_joining,
    spans_after_leaving,
    visible,
)
from im.domain.ids import Seq, UserId
from tests.unit.heads import head_of


def span(first: int, last: int | None) -> Span:
    return Span(Seq(first), None if last is None else Seq(last))


# ---- spans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "inside", "outside"),
    [(3, 5, [3, 4, 5], [1, 2, 6, 100]), (3, 3, [3], [2, 4]), (3, None, [3, 4, 10**12], [1, 2]), (1, None, [1], [0])],
)
def test_a_span_has_both_its_ends(first: int, last: int | None, inside: list[int], outside: list[int]) -> None:
    assert all(seq in span(first, last) for seq in inside)
    assert not any(seq in span(first, last) for seq in outside)


def test_what_lies_in_any_span_is_visible_and_nothing_else() -> None:
    spans = (span(2, 3), span(6, 6), span(9, None))

    assert [seq for seq in range(12) if visible(spans, seq)] == [2, 3, 6, 9, 10, 11]
    assert not visible((), 1)


def test_the_whole_log_is_visible_from_its_first_entry_on() -> None:
    assert [seq for seq in range(4) if visible(WHOLE, seq)] == [1, 2, 3]


def test_who_joins_sees_the_entry_that_says_so_and_what_follows() -> None:
    assert spans_after_joining((), Seq(7), history=False) == (span(7, None),)


def test_who_joins_a_group_that_shows_its_history_sees_all_of_it() -> None:
    assert spans_after_joining((), Seq(7), history=True) == WHOLE
    assert spans_after_joining((span(2, 4),), Seq(7), history=True) == WHOLE


def test_who_leaves_sees_the_entry_that_says_so_as_their_last() -> None:
    assert spans_after_leaving((span(2, 4), span(7, None)), Seq(9)) == (span(2, 4), span(7, 9))
    assert spans_after_leaving(WHOLE, Seq(9)) == (span(1, 9),)


def test_who_comes_back_sees_both_stays_and_nothing_of_the_time_between() -> None:
    stay = spans_after_leaving(spans_after_joining((), Seq(2), history=False), Seq(4))

    spans = spans_after_joining(stay, Seq(8), history=False)

    assert [seq for seq in range(12) if visible(spans, seq)] == [2, 3, 4, 8, 9, 10, 11]


def test_who_comes_too_often_loses_sight_of_their_first_stays() -> None:
    spans: Spans = ()
    for i in range(MAX_SPANS + 5):
        spans = spans_after_leaving(spans_after_joining(spans, Seq(10 * i), history=False), Seq(10 * i + 3))

    assert spans == tuple(span(10 * i, 10 * i + 3) for i in range(5, MAX_SPANS + 5))


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([False, False, False, True])), max_size=70))
def test_however_often_somebody_comes_and_goes_they_see_their_last_stays_and_nothing_else(
    steps: list[tuple[int, bool]],
) -> None:
    """They join, leave, join … each some entries after the other; at times the group shows its history to them."""
    spans: Spans = ()
    stays: list[tuple[int, int | None]] = []
    seq = 0
    for i, (later, history) in enumerate(steps):
        seq += later
        if i % 2 == 0:
            spans = spans_after_joining(spans, Seq(seq), history=history)
            stays = [(1, None)] if history else [*stays, (seq, None)]
        else:
            spans = spans_after_leaving(spans, Seq(seq))
            stays = [*stays[:-1], (stays[-1][0], seq)]

        kept = stays[-MAX_SPANS:]
        for each in range(seq + 3):
            assert visible(spans, each) == any(a <= each and (b is None or each <= b) for a, b in kept)
        assert len(spans) <= MAX_SPANS
        assert [s.last is None for s in spans] == [False] * (len(spans) - 1) + [i % 2 == 0]
        assert all(before.last is not None and before.last < after.first for before, after in pairwise(spans))


# ---- large groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "members", "before", "since"),
    [
        (200, 200, 0, 0),
        (200, 201, 0, 9),  # it becomes large with this change
        (200, 202, 3, 3),  # and stays so since then
        (200, 200, 3, 3),  # also at the limit
        (200, 161, 3, 3),  # and below
        (200, 160, 3, 0),  # until it is a fifth below
        (200, 161, 0, 0),
        (200, 1, 3, 0),
        (2, 3, 0, 9),
        (2, 2, 3, 0),  # a fifth of little is nothing
        (5, 5, 3, 3),
        (5, 4, 3, 0),
    ],
)
def test_a_group_is_large_above_the_limit_and_small_again_a_fifth_below(
    limit: int, members: int, before: int, since: int
) -> None:
    assert large_since(limit, members, Seq(before), Seq(9)) == since


@given(st.integers(2, 60), st.lists(st.integers(-24, 24), max_size=60))
def test_a_group_that_moves_around_its_limit_does_not_cross_it_with_every_change(limit: int, steps: list[int]) -> None:
    members, since = 1, Seq(0)
    at_crossing: int | None = None
    for seq, step in enumerate(steps, start=2):
        members = max(1, members + step)
        before, since = since, large_since(limit, members, since, Seq(seq))

        assert since in (0, before, seq)
        assert (since > 0) or members <= limit
        assert (since == 0) or members > limit - limit // 5
        if bool(before) != bool(since):
            assert at_crossing is None or abs(members - at_crossing) > limit // 5
            at_crossing = members


# ---- requests to join ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "waits"), [(0, True), (REQUEST_LIFE_MS - 1, True), (REQUEST_LIFE_MS, False)])
def test_a_request_to_join_waits_thirty_days(age: int, *, waits: bool) -> None:
    assert REQUEST_LIFE_MS == 30 * 24 * 60 * 60 * 1000
    assert JoinRequest(UserId("dave"), "", asked_at=1000).waits(1000 + age) is waits


# ---- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "role"), [("alice", "owner"), ("bob", "admin"), ("carol", "admin"), ("x", "member")])
def test_the_head_says_who_is_what(user: str, role: str) -> None:
    head = head_of(admins=(UserId("bob"), UserId("carol")), member_count=4, created_by=UserId("x"))

    assert head.role_of(UserId(user)) == role
