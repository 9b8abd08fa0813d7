"""Rows of watermarks, and the version that tells whether an inbox has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.ids import ConvId, Seq, UserId
from im.domain.inbox import SKEW_MS, InboxVersion, Last, Row, changed_since, parse_version, version_of

NOW = 1_795_253_400_000


def row(conv: str, updated: int = NOW, version: int = 1, **marks: int) -> Row:
    numbers = {"last_seq": 0, "last_n": 0, "read_seq": 0, "read_n": 0, "ack_seq": 0, "mention_seq": 0} | marks
    return Row(conv=ConvId(conv), last=None, updated=updated, version=version, **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last_n", "read_n", "unread"),
    [(0, 0, 0), (5, 0, 5), (5, 5, 0), (5, 3, 2), (3, 5, 0)],  # the last: the reader is ahead of the fan-out
)
def test_unread_is_the_difference_of_the_marks_and_never_negative(last_n: int, read_n: int, unread: int) -> None:
    assert row("g:a", last_n=last_n, read_n=read_n).unread == unread


@pytest.mark.parametrize(("mention", "read", "shown"), [(0, 0, 0), (7, 6, 7), (7, 7, 0), (7, 9, 0)])
def test_a_mention_is_open_until_it_is_read(mention: int, read: int, shown: int) -> None:
    assert row("g:a", mention_seq=mention, read_seq=read).open_mention == shown


@given(st.integers(0, 2**62), st.integers(0, 2**40))
def test_a_version_comes_back_from_its_text(newest: int, writes: int) -> None:
    version = InboxVersion(newest, writes)

    assert parse_version(str(version)) == version
    assert len(str(version)) <= 64


@pytest.mark.parametrize("text", ["", ".", "1", "1.", ".1", "x.1", "1.x", "1.2.3", "hello", "é.1"])
def test_a_version_that_is_not_ours_is_none(text: str) -> None:
    assert parse_version(text) is None


@given(st.text(max_size=64))
def test_no_text_breaks_the_reading_of_a_version(text: str) -> None:
    version = parse_version(text)

    assert version is None or isinstance(version, InboxVersion)


def test_an_empty_inbox_has_a_version_too() -> None:
    assert parse_version(str(version_of([]))) == InboxVersion(0, 0)
    assert changed_since([], version_of([])) == []


def test_without_a_version_everything_is_new() -> None:
    rows = [row("g:a"), row("g:b", updated=1)]

    assert changed_since(rows, None) == rows


def test_an_unchanged_inbox_tells_nothing() -> None:
    rows = [row("g:a"), row("g:b")]

    assert changed_since(rows, version_of(rows)) == []


writes = st.lists(st.tuples(st.integers(0, 4), st.integers(-SKEW_MS + 1, 10 * SKEW_MS)), max_size=30)


@given(writes, st.data())
def test_a_client_that_syncs_now_and_then_misses_no_row(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """Each step writes one of five rows, by a clock that may lag by almost SKEW_MS; at times the client syncs."""
    inbox: dict[int, Row] = {}
    client: dict[ConvId, Row] = {}
    since: InboxVersion | None = None
    newest = NOW
    for which, late in steps:
        old = inbox.get(which, row(f"g:{which}", version=0))
        at = newest + late
        newest = max(newest, at)
        inbox[which] = replace(old, updated=at, version=old.version + 1, last_seq=Seq(old.last_seq + 1))

        assert since is None or version_of(inbox.values()) != since, "a write did not change the version"
        if data.draw(st.booleans()):
            client |= {r.conv: r for r in changed_since(inbox.values(), since)}
            since = version_of(inbox.values())
            assert client == {r.conv: r for r in inbox.values()}


def test_rows_long_unchanged_are_not_told_again() -> None:
    rows = [row("g:old", updated=NOW - SKEW_MS - 1), row("g:new")]
    since = version_of(rows)
    rows[1] = replace(rows[1], updated=NOW + 1, version=2)

    assert [r.conv for r in changed_since(rows, since)] == ["g:new"]


# ---- rows of large groups --------------------------------------------------------------------------------------------

OWN = row("g:a", updated=NOW, version=3, last_seq=5, last_n=4, read_seq=4, read_n=3, ack_seq=2, mention_seq=3)
SHARED = row("g:a", updated=NOW + 7, version=9, last_seq=8, last_n=6, mention_seq=7)
NEWS = Last("text", UserId("bob"), NOW, "news")
OLDS = Last("text", UserId("bob"), NOW - 5, "olds")


def test_a_row_is_completed_by_what_all_members_share() -> None:
    completed = replace(OWN, last=OLDS).completed_by(replace(SHARED, last=NEWS))

    assert completed == replace(
        OWN,
        last_seq=Seq(8),
        last_n=6,
        last=NEWS,
        mention_seq=Seq(7),
        updated=NOW + 7,
        shared_version=9,
    )
    assert (completed.unread, completed.open_mention) == (3, 7)


def test_a_row_that_is_ahead_of_what_all_share_stays_ahead() -> None:
    """It has been written for a sender, or when somebody joined."""
    own = replace(OWN, last_seq=Seq(9), last_n=7, last=NEWS, mention_seq=Seq(9), updated=NOW + 8)

    completed = own.completed_by(replace(SHARED, last=OLDS))

    assert completed == replace(own, shared_version=9)


def test_a_row_as_far_as_what_all_share_is_its_own() -> None:
    own = replace(OWN, last_seq=Seq(8), last_n=6, last=NEWS)

    assert own.completed_by(SHARED).last == NEWS


def test_nothing_that_is_a_member_s_own_comes_from_what_all_share() -> None:
    shared = replace(SHARED, read_seq=Seq(8), read_n=6, ack_seq=Seq(8), version=1)

    completed = OWN.completed_by(shared)

    assert (completed.read_seq, completed.read_n, completed.ack_seq, completed.version) == (4, 3, 2, 3)


@pytest.mark.parametrize(("own", "shared", "left"), [(0, 0, 0), (0, 8, 8), (5, 0, 5), (5, 8, 5)])
def test_a_dissolved_group_ends_for_all_and_for_who_left_before_then(own: int, shared: int, left: int) -> None:
    completed = replace(OWN, left_seq=Seq(own)).completed_by(replace(SHARED, left_seq=Seq(shared)))

    assert completed.left_seq == left


@pytest.mark.parametrize("which", ["own", "shared"])
def test_every_write_of_either_row_changes_the_version_of_the_inbox(which: str) -> None:
    """Whatever the clocks say, and whatever else it changes."""
    others = [row("g:b"), row("d:alice:bob")]
    before = version_of([*others, OWN.completed_by(SHARED)])
    own = replace(OWN, version=4) if which == "own" else OWN
    shared = replace(SHARED, version=10) if which == "shared" else SHARED

    assert version_of([*others, own.completed_by(shared)]) != before


def test_a_write_of_one_row_is_not_taken_for_one_of_the_other() -> None:
    versions = [(1, 2), (2, 1), (3, 33), (33, 3), (12, 0), (1, 20)]
    rows = [replace(OWN, version=own).completed_by(replace(SHARED, version=shared)) for own, shared in versions]

    assert len({version_of([row]).digest for row in rows}) == len(versions)


def test_the_version_of_an_inbox_does_not_depend_on_the_order_of_its_rows() -> None:
    rows = [row("g:b"), row("g:a", version=2), row("d:alice:bob")]

    assert version_of(rows) == version_of(rows[::-1])


def test_which_row_was_written_how_often_makes_the_version() -> None:
    """The same number of writes in other places is another version."""
    assert version_of([row("g:a", version=2), row("g:b")]) != version_of([row("g:a"), row("g:b", version=2)])
    assert version_of([row("g:a")]) != version_of([row("g:b")])
    assert version_of([row("g:a", version=11)]) != version_of([row("g:a1", version=1)])


def test_what_all_share_is_told_to_a_client_that_has_the_row_from_before() -> None:
    since = version_of([OWN.completed_by(SHARED)])
    moved = OWN.completed_by(replace(SHARED, version=10, last_seq=Seq(9), updated=NOW + 9))

    assert changed_since([moved], since) == [moved]
