"""Entries, rows and how many of them fit into a frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.entries import MAX_BODY_BYTES, MAX_TEXT_BYTES, Entry
from im.domain.group import WHOLE, GroupHead, JoinRequest, Member
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.inbox import Last, Row
from im.wire.entries import (
    entry_data,
    fitting,
    group_data,
    member_data,
    push_frames,
    request_data,
    row_data,
)
from im.wire.frames import MAX_FRAME_BYTES, dumps, encode_reply

LONGEST_USER = "u" * 64
LONGEST_CONV = f"d:{'a' * 64}:{'b' * 64}"
LONGEST_ID = "\x01" * 64
"""64 characters; as JSON 384 bytes."""


def entry(seq: int, body: str = '{"text":"x"}', **more: Any) -> Entry:
    fields: dict[str, Any] = {
        "conv": ConvId("d:alice:bob"),
        "seq": Seq(seq),
        "n": seq,
        "epoch": Seq(0),
        "kind": "text",
        "sender": UserId("alice"),
        "ts": 1_795_253_400_000,
        "body": body,
    }
    return Entry(**(fields | more))


def largest(seq: int) -> Entry:
    """An entry whose every field has the greatest length that the server takes."""
    return entry(
        seq,
        '{"type":"t","payload":"' + "x" * (MAX_BODY_BYTES - 25) + '"}',
        conv=ConvId(LONGEST_CONV),
        kind="custom",
        sender=UserId(LONGEST_USER),
        cmid=Cmid("\x01" * 64),
        mentions=tuple(f"{i:064d}" for i in range(50)),
        reply_to=Seq(2**53 - 1),
    )


def opened(frames: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The entries of each frame, its envelope checked."""
    out = []
    for frame in frames:
        assert len(frame.encode()) <= MAX_FRAME_BYTES
        push = json.loads(frame)
        assert set(push) == {"push", "data"}
        assert push["push"] == "entries"
        assert set(push["data"]) == {"conv", "entries"}
        assert {e["conv"] for e in push["data"]["entries"]} == {push["data"]["conv"]}
        out.append(push["data"]["entries"])
    return out


def test_an_entry_shows_what_it_has_and_nothing_internal() -> None:
    assert entry_data(entry(3)) == {
        "conv": "d:alice:bob",
        "seq": 3,
        "n": 3,
        "kind": "text",
        "from": "alice",
        "ts": 1_795_253_400_000,
        "body": {"text": "x"},
    }
    assert entry_data(entry(3, epoch=Seq(2), large=Seq(1), prior=Seq(1))) == entry_data(entry(3))
    full = entry_data(entry(3, cmid=Cmid("c1"), mentions=("bob",), reply_to=Seq(1)))
    assert {name: full[name] for name in ("cmid", "mentions", "reply_to")} == {
        "cmid": "c1",
        "mentions": ["bob"],
        "reply_to": 1,
    }


texts = st.sampled_from(["x", "é", "日", "😀", '"', "\\", "\x01", "\n"]).flatmap(
    lambda letter: st.integers(1, 4000).map(lambda length: letter * length)
)


@given(st.lists(st.tuples(st.integers(1, 3), texts), min_size=1, max_size=12))
def test_frames_fit_hold_consecutive_entries_and_lose_nothing(steps: list[tuple[int, str]]) -> None:
    entries, seq = [], 0
    for step, text in steps:
        seq += step  # a gap of one or two where the recipient's own entries were
        entries.append(entry(seq, dumps({"text": text})))

    frames = opened(list(push_frames(entries)))

    assert [e for frame in frames for e in frame] == [entry_data(e) for e in entries]
    for frame in frames:
        assert [e["seq"] for e in frame] == list(range(frame[0]["seq"], frame[0]["seq"] + len(frame)))


def test_what_fits_into_one_frame_goes_in_one_frame() -> None:
    assert len(list(push_frames([entry(seq) for seq in range(1, 11)]))) == 1


def test_ten_entries_of_16_kib_go_one_by_one() -> None:
    texts = [entry(seq, dumps({"text": "x" * MAX_TEXT_BYTES})) for seq in range(1, 11)]

    assert [len(frame) for frame in opened(list(push_frames(texts)))] == [1] * 10


def test_a_hole_starts_a_new_frame() -> None:
    frames = opened(list(push_frames([entry(1), entry(2), entry(4), entry(5), entry(9)])))

    assert [[e["seq"] for e in frame] for frame in frames] == [[1, 2], [4, 5], [9]]


def test_no_entries_are_no_frames() -> None:
    assert list(push_frames([])) == []


def test_the_largest_entry_fits_into_a_push_and_into_a_reply() -> None:
    entries = [largest(Seq(10**12 - 1))]

    (frame,) = opened(list(push_frames(entries)))
    reply = encode_reply(LONGEST_ID, {"entries": fitting(map(entry_data, entries)), "last_seq": 10**12, "more": True})

    assert len(frame) == 1
    assert len(reply.encode()) <= MAX_FRAME_BYTES


@given(st.lists(st.integers(1, 12_000), max_size=30))
def test_fitting_takes_the_longest_prefix_that_fits(sizes: list[int]) -> None:
    items = ["x" * size for size in sizes]

    taken = fitting(items, reserve=1000)

    assert taken == items[: len(taken)]
    assert len(dumps(taken)) <= MAX_FRAME_BYTES - 1000 + 1
    if len(taken) < len(items):
        assert len(dumps(items[: len(taken) + 1])) > MAX_FRAME_BYTES - 1000


def test_fitting_takes_one_item_at_least_and_of_nothing_nothing() -> None:
    assert fitting(["x" * MAX_FRAME_BYTES, "y"]) == ["x" * MAX_FRAME_BYTES]
    assert fitting([]) == []


@pytest.mark.parametrize("last", [None, Last("text", UserId("bob"), 5, "Hello.")])
def test_a_row_has_all_fields_of_the_protocol(last: Last | None) -> None:
    row = Row(ConvId("d:alice:bob"), Seq(9), 8, last, Seq(4), 4, Seq(7), Seq(6), updated=12, version=3)

    assert row_data(row) == {
        "conv": "d:alice:bob",
        "last_seq": 9,
        "last": last and {"kind": "text", "from": "bob", "ts": 5, "preview": "Hello."},
        "unread": 4,
        "read_seq": 4,
        "ack_seq": 7,
        "mention_seq": 6,
        "muted": False,
        "pinned": False,
        "draft": "",
        "hidden": False,
        "updated": 12,
    }


def test_a_row_of_somebody_who_has_left_says_up_to_where_they_may_see() -> None:
    row = Row(ConvId("g:a"), Seq(9), 8, None, Seq(4), 4, Seq(7), Seq(6), updated=12, version=3)
    left = replace(row, left_seq=Seq(9))

    assert row_data(left) == row_data(row) | {"left_seq": 9}


# ---- groups ----------------------------------------------------------------------------------------------------------

HEAD = GroupHead(
    conv=ConvId("g:a"),
    name="Friends",
    notice="Be kind.",
    avatar="https://pictures.example/1",
    custom='{"team":7}',
    owner=UserId("alice"),
    admins=(UserId("bob"),),
    member_count=3,
    join_mode="approval",
    history=True,
    who_invites="members",
    who_mentions_all="admins",
    muted_until=5,
    created_at=6,
    created_by=UserId("zoe"),
    epoch=Seq(7),
    large=Seq(0),
    pending=(UserId("dave"),),
)


def test_a_group_shows_what_it_has_and_nothing_internal() -> None:
    me = Member(UserId("bob"), joined_at=8, joined_seq=Seq(9), spans=WHOLE, muted_until=10)
    shown = {
        "conv": "g:a",
        "name": "Friends",
        "notice": "Be kind.",
        "avatar": "https://pictures.example/1",
        "custom": {"team": 7},
        "owner": "alice",
        "admins": ["bob"],
        "members": 3,
        "join_mode": "approval",
        "history": True,
        "who_invites": "members",
        "who_mentions_all": "admins",
        "muted_until": 5,
        "created": 6,
    }

    assert group_data(HEAD, me, me.user) == shown | {
        "me": {"role": "admin", "joined_seq": 9, "joined_at": 8, "muted_until": 10}
    }
    assert group_data(HEAD, None, UserId("alice")) == shown | {"me": {"role": "owner"}}


@pytest.mark.parametrize(("user", "role"), [("alice", "owner"), ("bob", "admin"), ("carol", "member")])
def test_a_member_shows_their_role_and_not_what_they_may_see(user: str, role: str) -> None:
    member = Member(UserId(user), joined_at=8, joined_seq=Seq(9), spans=WHOLE, muted_until=10)

    assert member_data(HEAD, member) == {"user": user, "role": role, "joined_at": 8, "muted_until": 10}


def test_a_request_to_join_shows_who_when_and_why() -> None:
    assert request_data(JoinRequest(UserId("dave"), "May I?", 11)) == {"user": "dave", "note": "May I?", "asked_at": 11}
