"""A transcript ends up the same whatever the order, the repetitions and the holes in which entries came."""

from __future__ import annotations

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


@given(st.lists(st.integers(1, 40)), st.integers(0, 45), st.integers(0, 20))
def test_what_is_missing_is_exactly_what_never_came(arrivals: list[int], last_seq: int, floor: int) -> None:
    transcript = Transcript(CONV, floor=floor)
    transcript.expect(last_seq)

    new = [transcript.insert(entry(seq)) for seq in arrivals]

    held, horizon = set(arrivals), max([floor, last_seq, *arrivals])
    lacking = {seq for seq in range(floor + 1, horizon + 1) if seq not in held}
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
