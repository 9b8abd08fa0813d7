"""A transcript ends up the same whatever the order, the repetitions and the holes in which entries came."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from imclient.transcript import Gap, Transcript

CONV = ConvId("g:team")


def entry(seq: int, text: str = "") -> Entry:
    return Entry(CONV, seq, seq, "text", UserId("alice"), 0, {"text": text or f"message {seq}"})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("settle"), st.integers(1, 45), st.integers(0, 45)),
        st.tuples(st.just("expect"), st.integers(0, 45), st.just(0)),
    )
)


@given(STEPS, st.integers(0, 20))
def test_what_is_missing_is_exactly_what_neither_came_nor_was_settled(
    steps: list[tuple[str, int, int]], floor: int
) -> None:
    transcript = Transcript(CONV, floor=floor)
    held: set[int] = set()
    settled: set[int] = set()
    new = []
    horizon = floor

    for step, seq, last in steps:
        match step:
            case "insert":
                new.append(transcript.insert(entry(seq)))
                held.add(seq)
                horizon = max(horizon, seq)
            case "settle":
                transcript.settle(seq, last)
                settled.update(range(seq, last + 1))
                horizon = max(horizon, last) if seq <= last else horizon
            case _:
                transcript.expect(seq)
                horizon = max(horizon, seq)

    lacking = set(range(floor + 1, horizon + 1)) - held - settled
    gaps = transcript.missing()
    assert {seq for gap in gaps for seq in range(gap.first, gap.last + 1)} == lacking
    assert sum(len(gap) for gap in gaps) == len(lacking)
    assert all(earlier.last + 1 < later.first for earlier, later in pairwise(gaps))
    assert transcript.horizon == horizon
    assert transcript.watermark == min(lacking, default=horizon + 1) - 1
    assert transcript.complete == (not lacking)
    assert sum(new) == len(transcript) == len(held)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n)))), st.randoms())
def test_any_order_with_duplicates_and_holes_converges(case: tuple[int, list[int]], random: object) -> None:
    last_seq, arrivals = case
    transcript = Transcript(CONV)
    for seq in arrivals:
        transcript.insert(entry(seq))
    transcript.expect(last_seq)

    fetched = [seq for gap in transcript.missing() for seq in range(gap.first, gap.last + 1)]
    random.shuffle(fetched)  # type: ignore[attr-defined]
    assert all(transcript.insert(entry(seq)) for seq in fetched)

    assert transcript.complete
    assert [kept.seq for kept in transcript.entries()] == list(range(1, last_seq + 1))


def test_the_first_of_two_entries_with_one_seq_stays() -> None:
    transcript = Transcript(CONV)

    assert transcript.insert(entry(1, "first"))
    assert not transcript.insert(entry(1, "second"))

    assert transcript[1].body == {"text": "first"}


def test_what_is_closed_is_passed_over_and_what_was_held_stays() -> None:
    transcript = Transcript(CONV)
    for seq in (1, 2, 20, 25):
        transcript.insert(entry(seq))

    transcript.settle(3, 20)

    assert transcript.watermark == 20
    assert transcript.missing() == [Gap(21, 24)]
    assert 7 not in transcript
    assert [kept.seq for kept in transcript.entries()] == [1, 2, 20, 25]


def test_what_was_settled_above_a_hole_counts_when_the_hole_is_filled() -> None:
    transcript = Transcript(CONV)
    for first, last in ((8, 9), (4, 5), (6, 7), (3, 2)):  # the last one is no range
        transcript.settle(first, last)
    assert transcript.missing() == [Gap(1, 3)]
    assert transcript.watermark == 0

    for seq in (3, 1, 2):
        transcript.insert(entry(seq))

    assert transcript.complete
    assert transcript.watermark == 9


def test_settling_up_to_a_seq_says_that_the_log_goes_that_far() -> None:
    transcript = Transcript(CONV)
    transcript.settle(1, 30)
    assert (transcript.watermark, transcript.horizon) == (30, 30)


def test_an_entry_that_opened_later_is_kept_where_it_was_closed() -> None:
    transcript = Transcript(CONV)
    transcript.settle(1, 5)

    assert transcript.insert(entry(3))

    assert transcript[3].seq == 3
    assert transcript.complete


def test_missing_can_be_asked_for_up_to_an_earlier_horizon() -> None:
    transcript = Transcript(CONV)
    for seq in (1, 4, 9):
        transcript.insert(entry(seq))

    assert transcript.missing() == [Gap(2, 3), Gap(5, 8)]
    assert transcript.missing(up_to=4) == [Gap(2, 3)]
    assert transcript.missing(up_to=6) == [Gap(2, 3), Gap(5, 6)]


def test_what_lies_below_the_floor_is_kept_but_never_missing() -> None:
    transcript = Transcript(CONV, floor=10)

    assert transcript.insert(entry(3))

    assert transcript.complete
    assert 3 in transcript
    assert transcript.watermark == 10


def test_entries_of_another_conversation_and_impossible_numbers_are_refused() -> None:
    transcript = Transcript(ConvId("g:other"))
    with pytest.raises(ValueError, match="does not belong"):
        transcript.insert(entry(1))
    with pytest.raises(ValueError, match="starts at 1"):
        Transcript(CONV).insert(entry(0))
    with pytest.raises(ValueError, match="floor"):
        Transcript(CONV, floor=-1)


def test_who_comes_back_has_what_they_saw_before_given_anew() -> None:
    transcript = Transcript(CONV)
    for seq in (1, 2, 3, 4):
        transcript.insert(entry(seq))
    transcript.insert(entry(9))
    transcript.reopen(9)

    assert transcript.missing() == [Gap(1, 8)]
    assert [held.seq for held in transcript.entries()] == [1, 2, 3, 4, 9]
    recalled = replace(entry(2), body={}, recalled_by=UserId("alice"))
    assert [transcript.insert(one, as_of=9) for one in (entry(1), recalled, entry(3))] == [False] * 3
    transcript.settle(1, 9)

    assert transcript.complete
    assert transcript[2] == recalled
    assert [held.seq for held in transcript.entries()] == [1, 2, 3, 9], "4 is closed by now"


def test_what_was_fetched_after_the_user_came_back_is_not_fetched_again() -> None:
    transcript = Transcript(CONV)
    for seq in (1, 2, 3):
        transcript.insert(entry(seq), as_of=3)
    transcript.reopen(2)

    assert transcript.complete
    assert transcript.era == 1


def test_what_came_twice_is_kept_as_it_was_later() -> None:
    transcript = Transcript(CONV)
    edited = entry(2, "edited")
    transcript.insert(entry(2, "as it was sent"))

    assert not transcript.insert(edited, as_of=5)
    assert not transcript.insert(entry(2, "as it was sent"), as_of=4)
    assert not transcript.insert(entry(2, "as it was sent"))
    assert transcript[2] == edited


def test_a_page_that_says_that_the_user_has_come_settles_nothing_away_that_is_in_it() -> None:
    transcript = Transcript(CONV)
    transcript.insert(entry(2))
    for seq in (1, 2, 3):
        transcript.insert(entry(seq), as_of=3)
    transcript.reopen(3)
    transcript.settle(1, 3)

    assert [held.seq for held in transcript.entries()] == [1, 2, 3]
    assert transcript.complete


def test_what_was_asked_for_before_the_user_came_back_brings_nothing_up_to_date() -> None:
    transcript = Transcript(CONV)
    for seq in (1, 2):
        transcript.insert(entry(seq))
    transcript.reopen(5)
    transcript.insert(entry(1), as_of=3)
    transcript.insert(entry(2))

    assert transcript.missing(up_to=2) == [Gap(1, 2)]
