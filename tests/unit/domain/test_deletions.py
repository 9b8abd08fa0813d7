"""What a user has deleted for themself: ranges that say the same as the set of all deleted seqs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.deletions import MAX_RANGES, Deletions, Range
from im.domain.errors import TooLarge
from im.store.keys import MAX_SEQ
from im.wire.frames import MAX_FRAME_BYTES

ranges = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def seqs(some: list[Range]) -> set[int]:
    return {seq for first, last in some for seq in range(first, last + 1)}


@given(st.lists(st.lists(ranges, max_size=4), max_size=8))
def test_ranges_are_the_set_of_what_was_deleted(steps: list[list[Range]]) -> None:
    deletions, model = Deletions(), set[int]()
    for more in steps:
        before = deletions
        deletions = before.with_more(more)
        grown = model | seqs(more)

        assert {seq for seq in range(80) if seq in deletions} == grown
        assert deletions.version == before.version + (1 if grown != model else 0)
        model = grown

        assert seqs(list(deletions.ranges)) == model
        assert all(first <= last for first, last in deletions.ranges)
        ends = [seq for pair in deletions.ranges for seq in pair]
        assert ends == sorted(ends)
        touching = zip(deletions.ranges, deletions.ranges[1:], strict=False)
        assert all(last + 1 < first for (_, last), (first, _) in touching)


@given(st.lists(ranges, max_size=8).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_the_order_in_which_things_are_deleted_does_not_matter(orders: tuple[list[Range], list[Range]]) -> None:
    """Two devices may do it at once."""
    at_once, others = orders
    one_by_one = Deletions()
    for pair in others:
        one_by_one = one_by_one.with_more([pair])

    assert one_by_one.ranges == Deletions().with_more(at_once).ranges


def test_nothing_new_is_no_new_version() -> None:
    deletions = Deletions().with_more([(1, 5), (9, 9)])

    assert deletions == Deletions(1, ((1, 5), (9, 9)))
    for known in ([], [(1, 5)], [(2, 3), (9, 9)], [(9, 9), (9, 9)]):
        assert deletions.with_more(known) is deletions


@pytest.mark.parametrize(
    ("more", "after"),
    [
        ((6, 6), ((1, 6), (9, 9))),
        ((8, 8), ((1, 5), (8, 9))),
        ((7, 7), ((1, 5), (7, 7), (9, 9))),
        ((6, 8), ((1, 9),)),
        ((1, 12), ((1, 12),)),
        ((10, 12), ((1, 5), (9, 12))),
    ],
)
def test_ranges_that_touch_become_one(more: Range, after: tuple[Range, ...]) -> None:
    assert Deletions(4, ((1, 5), (9, 9))).with_more([more]) == Deletions(5, after)


@given(st.lists(ranges, min_size=1, max_size=6))
def test_a_deleted_entry_knows_where_its_range_begins(some: list[Range]) -> None:
    """What is shown instead of it comes before that."""
    deletions, deleted = Deletions().with_more(some), seqs(some)

    for seq in deleted:
        start = deletions.start_of(seq)
        assert deleted >= set(range(start, seq + 1))
        assert start - 1 not in deletions


def test_no_entry_at_all_is_not_deleted() -> None:
    """What a message answers may be nothing."""
    assert None not in Deletions(1, ((1, MAX_SEQ),))
    assert 1 not in Deletions()


def test_there_are_at_most_500_ranges_and_one_more_is_refused_whole() -> None:
    full = Deletions().with_more([(2 * i, 2 * i) for i in range(1, MAX_RANGES + 1)])
    assert len(full.ranges) == MAX_RANGES == 500

    with pytest.raises(TooLarge) as refused:
        full.with_more([(3, 3), (2000, 2000), (2002, 2002)])

    assert (refused.value.size, refused.value.limit) == (MAX_RANGES + 1, MAX_RANGES)
    assert full.with_more([(3, 3), (2000, 2000)]).version == 2
    assert full.with_more([(1, MAX_SEQ)]).ranges == ((1, MAX_SEQ),)


def test_as_many_ranges_as_there_may_be_fit_into_a_frame() -> None:
    some = [(MAX_SEQ - 2 * i, MAX_SEQ - 2 * i) for i in range(MAX_RANGES)]

    assert len(json.dumps(Deletions().with_more(some).ranges)) < MAX_FRAME_BYTES - 512
