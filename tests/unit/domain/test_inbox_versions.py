"""Rows of watermarks, and the version that tells whether an inbox has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.ids import ConvId, Seq
from im.domain.inbox import SKEW_MS, InboxVersion, Row, changed_since, parse_version, version_of

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
