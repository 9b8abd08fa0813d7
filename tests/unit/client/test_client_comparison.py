"""The comparison finds every way in which what members hold can differ from the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imclient.comparison import (
    Said,
    inbox_differences,
    shown_twice,
    transcript_differences,
    unread_differences,
    unread_expected,
)
from imclient.core.outputs import Source
from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from imclient.session import Arrival

CONV = ConvId("g:t")
A, B, C = UserId("a"), UserId("b"), UserId("c")
SAID = [Said(A, "one"), Said(B, "two"), Said(A, "three")]


def text(seq: int, sender: UserId, said: str) -> Entry:
    return Entry(CONV, seq, seq - 1, "text", sender, 100 + seq, {"text": said}, cmid=f"c{seq}")


NOTICE = Entry(CONV, 1, 0, "members", A, 100, {"added": [A, B], "removed": [], "by": A})
ENTRIES = [NOTICE, text(2, A, "one"), text(3, B, "two"), text(4, A, "three")]


def test_equal_is_equal() -> None:
    assert transcript_differences("x", SAID, ENTRIES, 4) == []


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (ENTRIES[:-1], "seq 4 is missing"),
        ([NOTICE, *ENTRIES[2:]], "seq 2 is missing"),
        ([], "seq 1 is missing"),
        ([*ENTRIES, ENTRIES[-1]], "seq 4 is there 2 times"),
        ([*ENTRIES, text(5, A, "three")], "seq 5 is outside"),
        ([NOTICE, ENTRIES[2], ENTRIES[1], ENTRIES[3]], "not in ascending order"),
        ([NOTICE, text(2, B, "two"), text(3, A, "one"), ENTRIES[3]], "message 1 must be"),
        ([NOTICE, text(2, B, "one"), *ENTRIES[2:]], "message 1 must be a 'one'"),
        ([NOTICE, text(2, A, "One"), *ENTRIES[2:]], "message 1 must be a 'one'"),
        ([NOTICE, replace(ENTRIES[1], kind="image"), *ENTRIES[2:]], "is image"),
        ([NOTICE, replace(ENTRIES[1], n=7), *ENTRIES[2:]], "has n 7"),
        ([replace(NOTICE, kind="edit"), *ENTRIES[1:]], "unexpected 'edit'"),
    ],
)
def test_each_kind_of_difference_is_found(entries: list[Entry], said: str) -> None:
    assert any(said in difference for difference in transcript_differences("x", SAID, entries, 4))


def test_unread_is_what_came_after_ones_own_last_message() -> None:
    assert [unread_expected(SAID, user) for user in (A, B, C)] == [0, 1, 3]


@pytest.mark.parametrize(
    ("unread", "expected", "right"),
    [
        ({"total_unread": 2, "conversations": {CONV: 2}}, 2, True),
        ({"total_unread": 0, "conversations": {}}, 0, True),
        ({"total_unread": 0, "conversations": {CONV: 0}}, 0, True),
        ({"total_unread": 2, "conversations": {CONV: 2}}, 1, False),
        ({"total_unread": 3, "conversations": {CONV: 2}}, 2, False),
        ({"total_unread": 2, "conversations": {CONV: 1, "g:other": 1}}, 2, False),
        ({}, 0, False),
    ],
)
def test_unread_counts_and_their_total(unread: dict[str, object], expected: int, right: bool) -> None:  # noqa: FBT001
    assert (unread_differences("x", unread, CONV, expected) == []) is right


ROW = {
    "conv": CONV,
    "last_seq": 4,
    "last_n": 3,
    "last": {"seq": 4, "kind": "text", "from": A, "ts": 104, "preview": "three"},
    "unread": 1,
    "read_seq": 3,
    "read_n": 2,
}


def test_an_inbox_row_that_agrees() -> None:
    assert inbox_differences(B, [ROW], CONV, ENTRIES[1:], 1) == []
    # Where own messages end, the read position may stand behind them too.
    assert inbox_differences(B, [{**ROW, "read_seq": 2}], CONV, ENTRIES[1:], 1) == []
    assert inbox_differences(A, [{**ROW, "unread": 0, "read_seq": 4, "read_n": 3}], CONV, ENTRIES[1:], 0) == []


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ROW, ROW],
        [{**ROW, "conv": "g:other"}],
        [{**ROW, "last_seq": 3}],
        [{**ROW, "unread": 2}],
        [{**ROW, "read_seq": 4}],
        [{**ROW, "read_seq": None}],
        [{**ROW, "last": {**ROW["last"], "from": B}}],  # type: ignore[dict-item]
        [{**ROW, "last": {**ROW["last"], "seq": 3}}],  # type: ignore[dict-item]
        [{**ROW, "last": None}],
        [{**ROW, "last_n": 2}],
        [{**ROW, "last_n": None}],
        [{**ROW, "read_n": 1}],
        [{**ROW, "read_n": None}],
    ],
)
def test_an_inbox_row_that_does_not(rows: list[dict[str, object]]) -> None:
    assert inbox_differences(B, rows, CONV, ENTRIES[1:], 1) != []


def test_an_entry_that_is_new_again_was_shown_twice() -> None:
    arrivals = [Arrival(entry, Source.PUSH, 0.0, new=True) for entry in ENTRIES]
    assert shown_twice(arrivals) == 0
    assert shown_twice([*arrivals, Arrival(ENTRIES[1], Source.PUSH, 0.0, new=False)]) == 0
    assert shown_twice([*arrivals, Arrival(ENTRIES[1], Source.PUSH, 0.0, new=True)]) == 1
    stored_again = replace(ENTRIES[1], seq=5)
    assert shown_twice([*arrivals, Arrival(stored_again, Source.PUSH, 0.0, new=True)]) == 1
