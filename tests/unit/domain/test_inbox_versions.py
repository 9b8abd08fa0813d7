"""Rows of watermarks, and the version that tells whether an inbox has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.ids import ConvId, Seq
from im.domain.inbox import Inbox, Row, Shown
from im.domain.inbox_version import (
    DIGEST_BYTES,
    FEWEST_BUCKETS,
    MOST_BUCKETS,
    InboxVersion,
    changed_since,
    parse_version,
    version_of,
)
from im.wire import requests

NOW = 1_795_253_400_000


def row(conv: str, updated: int = NOW, version: int = 1, **marks: int) -> Row:
    numbers = {"last_seq": 0, "last_n": 0, "read_seq": 0, "read_n": 0, "ack_seq": 0, "mention_seq": 0} | marks
    return Row(conv=ConvId(conv), shown=None, updated=updated, version=version, **numbers)  # type: ignore[arg-type]


def inbox(*rows: Row) -> Inbox:
    return Inbox(list(rows))


@pytest.mark.parametrize(
    ("last_n", "read_n", "unread"),
    [(0, 0, 0), (5, 0, 5), (5, 5, 0), (5, 3, 2), (3, 5, 0)],  # the last: the reader is ahead of the fan-out
)
def test_unread_is_the_difference_of_the_marks_and_never_negative(last_n: int, read_n: int, unread: int) -> None:
    assert row("g:a", last_n=last_n, read_n=read_n).unread == unread


@pytest.mark.parametrize(("mention", "read", "shown"), [(0, 0, 0), (7, 6, 7), (7, 7, 0), (7, 9, 0)])
def test_a_mention_is_open_until_it_is_read(mention: int, read: int, shown: int) -> None:
    assert row("g:a", mention_seq=mention, read_seq=read).open_mention == shown


def test_the_list_is_ordered_by_the_time_of_what_it_shows() -> None:
    """Changes of messages, marks and settings move `updated` alone."""
    shown = replace(row("g:a", updated=NOW + 9), shown=Shown(Seq(3), NOW))

    assert shown.at == NOW
    assert row("g:a", updated=NOW + 9).at == NOW + 9


@pytest.mark.parametrize(
    ("hidden_n", "hidden_at"),
    [(None, []), (0, [0]), (5, [0, 4, 5])],
)
def test_a_row_is_hidden_until_the_next_message(hidden_n: int | None, hidden_at: list[int]) -> None:
    """Whatever else there is: what does not count (a change, a notice) leaves `last_n` alone."""
    rows = [replace(row("g:a", last_n=n, last_seq=9), hidden_n=hidden_n) for n in (0, 4, 5, 6, 7)]

    assert [row.last_n for row in rows if row.hidden] == hidden_at


versions = st.builds(
    InboxVersion,
    st.integers(0, 2**32 - 1),
    st.sampled_from([4, 8, 16, 32, 64, 128, 256]).flatmap(
        lambda count: st.lists(st.integers(0, 2 ** (8 * DIGEST_BYTES) - 1), min_size=count, max_size=count).map(tuple)
    ),
)


@given(versions)
def test_a_version_comes_back_from_its_text(version: InboxVersion) -> None:
    assert parse_version(str(version)) == version
    assert len(str(version)) <= 2_048  # as the protocol says
    requests.parse(requests.Inbox, {"since": str(version)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "0.0",
        "1.1",
        "hello",
        "é",
        "\ud800",
        "A" * 31,
        "A" * 33,
        "A" * 40,
        "!" * 32,
        " " + "A" * 31,
    ],
)
def test_a_version_that_is_not_ours_is_none(text: str) -> None:
    assert parse_version("A" * 32) is not None
    assert parse_version(text) is None


@given(st.text(max_size=64))
def test_no_text_breaks_the_reading_of_a_version(text: str) -> None:
    version = parse_version(text)

    assert version is None or isinstance(version, InboxVersion)


def test_an_empty_inbox_has_a_version_too() -> None:
    assert parse_version(str(version_of(inbox()))) == InboxVersion(0, (0,) * FEWEST_BUCKETS)
    assert changed_since(inbox(), version_of(inbox())) == []


@pytest.mark.parametrize(
    ("rows", "buckets"),
    [(0, 4), (32, 4), (33, 8), (64, 8), (65, 16), (1024, 128), (1025, 256), (2048, 256), (3000, MOST_BUCKETS)],
)
def test_a_version_grows_with_the_inbox_up_to_its_limit(rows: int, buckets: int) -> None:
    version = version_of(inbox(*(row(f"g:{i}") for i in range(rows))))

    assert len(version.buckets) == buckets
    assert parse_version(str(version)) == version


def test_without_a_version_everything_is_new() -> None:
    everything = inbox(row("g:a"), row("g:b", updated=1))

    assert changed_since(everything, None) == everything.rows


def test_an_unchanged_inbox_tells_nothing() -> None:
    everything = Inbox([row("g:a"), row("g:b")], frozenset({"receipts"}), version=3)

    assert changed_since(everything, version_of(everything)) == []


writes = st.lists(st.tuples(st.integers(0, 40), st.integers(-(10**9), 10**9)), max_size=60)


@given(st.integers(0, 40), writes, st.data())
def test_a_client_that_syncs_now_and_then_misses_no_row(
    first: int, steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Each step writes one of many rows, by a clock that says whatever; at times the client syncs."""
    stored = {i: row(f"g:{i}") for i in range(first)}
    client: dict[ConvId, Row] = {}
    since: InboxVersion | None = None
    for which, late in steps:
        old = stored.get(which, row(f"g:{which}", version=0))
        stored[which] = replace(old, updated=NOW + late, version=old.version + 1, last_seq=Seq(old.last_seq + 1))

        now = inbox(*stored.values())
        assert since is None or version_of(now) != since, "a write did not change the version"
        if data.draw(st.booleans()):
            client |= {r.conv: r for r in changed_since(now, since)}
            since = version_of(now)
            assert client == {r.conv: r for r in now.rows}


def test_rows_of_buckets_that_nothing_was_written_to_are_not_told_again() -> None:
    rows = [row(f"g:{i}") for i in range(100)]
    since = version_of(inbox(*rows))

    told = {}
    for i in range(100):
        written = [*rows[:i], replace(rows[i], version=2), *rows[i + 1 :]]
        told[i] = {r.conv for r in changed_since(inbox(*written), since)}

    assert all(f"g:{i}" in convs for i, convs in told.items())
    assert len({frozenset(convs) for convs in told.values()}) == len(since.buckets) == 16
    assert {conv for convs in told.values() for conv in convs} == {r.conv for r in rows}
    assert max(map(len, told.values())) < 20


def test_what_concerns_all_of_an_inbox_makes_its_version_too() -> None:
    """A device that has been away learns from its ping that the user shows less than before."""
    rows = [row("g:a"), row("g:b")]
    versions = {str(version_of(Inbox(rows, version=version))) for version in range(4)}

    assert len(versions) == 4
    assert version_of(Inbox([], version=1)) != version_of(Inbox([]))
    assert version_of(Inbox(rows, frozenset({"receipts"}), 1)) == version_of(Inbox(rows, frozenset(), 1))


def test_a_setting_of_all_of_an_inbox_is_not_taken_for_a_write_of_a_row() -> None:
    assert version_of(Inbox([row("g:a", version=2)], version=1)) != version_of(
        Inbox([row("g:a", version=1)], version=2)
    )


# ---- rows of large groups --------------------------------------------------------------------------------------------

OWN = row("g:a", updated=NOW, version=3, last_seq=5, last_n=4, read_seq=4, read_n=3, ack_seq=2, mention_seq=3)
SHARED = row("g:a", updated=NOW + 7, version=9, last_seq=8, last_n=6, mention_seq=7)
NEWS = Shown(Seq(8), NOW)
OLDS = Shown(Seq(5), NOW - 5)


def test_a_row_is_completed_by_what_all_members_share() -> None:
    completed = replace(OWN, shown=OLDS).completed_by(replace(SHARED, shown=NEWS))

    assert completed == replace(
        OWN,
        last_seq=Seq(8),
        last_n=6,
        shown=NEWS,
        mention_seq=Seq(7),
        updated=NOW + 7,
        shared_version=9,
    )
    assert (completed.unread, completed.open_mention) == (3, 7)


def test_a_row_that_is_ahead_of_what_all_share_stays_ahead() -> None:
    """It has been written for a sender, or when somebody joined."""
    own = replace(OWN, last_seq=Seq(9), last_n=7, shown=NEWS, mention_seq=Seq(9), updated=NOW + 8)

    completed = own.completed_by(replace(SHARED, shown=OLDS))

    assert completed == replace(own, shared_version=9)


def test_a_row_as_far_as_what_all_share_is_its_own() -> None:
    own = replace(OWN, last_seq=Seq(8), last_n=6, shown=NEWS)

    assert own.completed_by(SHARED).shown == NEWS


@pytest.mark.parametrize(
    ("own", "shared", "shown"),
    [(None, None, None), (OLDS, None, OLDS), (None, NEWS, NEWS), (OLDS, NEWS, NEWS), (NEWS, OLDS, NEWS)],
)
def test_of_two_that_are_shown_the_newer_one_is(own: Shown | None, shared: Shown | None, shown: Shown | None) -> None:
    """Whichever row is further: the batch that moved it may hold nothing but changes."""
    completed = replace(OWN, shown=own).completed_by(replace(SHARED, shown=shared))

    assert completed.shown == shown
    assert completed.last_seq == 8


def test_nothing_that_is_a_member_s_own_comes_from_what_all_share() -> None:
    theirs = {"muted": True, "pinned": True, "draft": "to be", "hidden_n": 9, "rev": 4, "deleted": 2}
    own = replace(OWN, **theirs)  # type: ignore[arg-type]
    shared = replace(SHARED, read_seq=Seq(8), read_n=6, ack_seq=Seq(8), version=1, rev=9, deleted=9)

    completed = own.completed_by(shared)

    assert (completed.read_seq, completed.read_n, completed.ack_seq, completed.version) == (4, 3, 2, 3)
    assert {name: getattr(completed, name) for name in theirs} == theirs


@pytest.mark.parametrize(("own", "shared", "left"), [(0, 0, 0), (0, 8, 8), (5, 0, 5), (5, 8, 5)])
def test_a_dissolved_group_ends_for_all_and_for_who_left_before_then(own: int, shared: int, left: int) -> None:
    completed = replace(OWN, left_seq=Seq(own)).completed_by(replace(SHARED, left_seq=Seq(shared)))

    assert completed.left_seq == left


@pytest.mark.parametrize("which", ["own", "shared"])
def test_every_write_of_either_row_changes_the_version_of_the_inbox(which: str) -> None:
    """Whatever the clocks say, and whatever else it changes."""
    others = [row("g:b"), row("d:alice:bob")]
    before = version_of(inbox(*others, OWN.completed_by(SHARED)))
    own = replace(OWN, version=4) if which == "own" else OWN
    shared = replace(SHARED, version=10) if which == "shared" else SHARED

    assert version_of(inbox(*others, own.completed_by(shared))) != before


def test_a_write_of_one_row_is_not_taken_for_one_of_the_other() -> None:
    versions = [(1, 2), (2, 1), (3, 33), (33, 3), (12, 0), (1, 20)]
    rows = [replace(OWN, version=own).completed_by(replace(SHARED, version=shared)) for own, shared in versions]

    assert len({version_of(inbox(row)) for row in rows}) == len(versions)


def test_the_version_of_an_inbox_does_not_depend_on_the_order_of_its_rows() -> None:
    rows = [row("g:b"), row("g:a", version=2), row("d:alice:bob")]

    assert version_of(inbox(*rows)) == version_of(inbox(*rows[::-1]))


def test_which_row_was_written_how_often_makes_the_version() -> None:
    """The same number of writes in other places is another version."""
    assert version_of(inbox(row("g:a", version=2), row("g:b"))) != version_of(inbox(row("g:a"), row("g:b", version=2)))
    assert version_of(inbox(row("g:a"))) != version_of(inbox(row("g:b")))
    assert version_of(inbox(row("g:a", version=11))) != version_of(inbox(row("g:a1", version=1)))


def test_what_all_share_is_told_to_a_client_that_has_the_row_from_before() -> None:
    since = version_of(inbox(OWN.completed_by(SHARED)))
    moved = OWN.completed_by(replace(SHARED, version=10, last_seq=Seq(9), updated=NOW + 9))

    assert changed_since(inbox(moved), since) == [moved]
