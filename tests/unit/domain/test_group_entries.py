"""What the entries of a group say about who comes and goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from im.domain.entries import Entry
from im.domain.group import Span
from im.domain.group_entries import added_by, ends_group, removed_by
from im.domain.ids import ConvId, Seq, UserId


def entry(seq: int, kind: str, **body: Any) -> Entry:
    return Entry(ConvId("g:a"), Seq(seq), 0, Seq(1), kind, UserId("alice"), 5, json.dumps(body))


def members(seq: int, added: list[str], removed: list[str], **more: Any) -> Entry:
    return entry(seq, "members", added=added, removed=removed, by="alice", **more)


LOG = [
    members(1, ["alice", "bob"], [], group={"name": "A"}),
    entry(2, "text", text="x", added=["nobody"], removed=["nobody"]),
    entry(3, "profile", name="B"),
    members(4, ["carol", "dave"], []),
    members(5, [], ["bob", "carol"]),
    members(6, [], [], roles={"dave": "admin"}),
    members(7, ["bob"], []),
    members(9, [], ["bob"]),
]


def test_entries_tell_who_has_come_in_their_order() -> None:
    assert added_by(LOG) == ["alice", "bob", "carol", "dave"]  # each once
    assert added_by(LOG[1:3]) == added_by([]) == []


def test_entries_tell_who_has_gone_and_show_them_only_that() -> None:
    assert removed_by(LOG) == {
        "bob": (Span(Seq(5), Seq(5)), Span(Seq(9), Seq(9))),
        "carol": (Span(Seq(5), Seq(5)),),
    }
    assert removed_by(LOG[:4]) == removed_by([]) == {}


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        (entry(2, "profile", dissolved=True), True),
        (members(2, [], ["alice"], dissolved=True), True),
        (members(2, [], ["alice"]), False),
        (entry(2, "profile", name="dissolved"), False),
        (entry(2, "profile", dissolved=False), False),
        (entry(2, "text", text="x", dissolved=True), False),
        (entry(2, "custom", type="t", payload=None, dissolved=True), False),
    ],
)
def test_a_group_ends_with_the_entry_that_dissolves_it(last: Entry, *, ends: bool) -> None:
    assert ends_group(last) is ends


@pytest.mark.parametrize("kind", ["text", "custom", "new"])
def test_other_entries_are_not_looked_into(kind: str) -> None:
    strange = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), kind, UserId("alice"), 5, "not even JSON")

    assert (added_by([strange]), removed_by([strange]), ends_group(strange)) == ([], {}, False)
