"""Entries, rows and how many of them fit into a frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.entries import COUNTABLE, MAX_BODY_BYTES, MAX_TEXT_BYTES, PREVIEW_CHARACTERS, Entry, Forwarded
from im.domain.group import WHOLE, GroupHead, JoinRequest, Member
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.inbox import Row, Shown
from im.domain.message_rules import MAX_EMOJI, NAMED_REACTIONS
from im.domain.message_state import Edited, Reaction, Recalled, State
from im.store.keys import MAX_SEQ
from im.wire.entries import (
    entry_data,
    fitting,
    group_data,
    member_data,
    push_frames,
    request_data,
    row_data,
)
from im.wire.frames import MAX_FRAME_BYTES, dumps, encode_push, encode_reply
from im.wire.requests import MAX_EMOJI_BYTES, React, Send, parse

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


LATE: Final = 9_999_999_999_999
"""A time of 13 digits: the year 2286."""
CONTROLS: Final = "\x01" * 64
WIDE: Final = "😀" * 64
LARGEST_GROUP: Final = 100_000


def emoji(number: int) -> str:
    """One of many of the greatest length that message.react takes."""
    text = f"{number:02d}".ljust(MAX_EMOJI_BYTES - 44, "x") + "😀" * 11
    assert len(text.encode()) == MAX_EMOJI_BYTES
    parse(React, {"conv": "g:a", "seq": 1, "emoji": text, "on": True})
    return text


def reactions() -> dict[str, Reaction]:
    """As many kinds as a message takes, each of all members, as many of them named as ever are."""
    named = tuple(UserId(f"{i:064d}") for i in range(NAMED_REACTIONS))
    return {emoji(i): Reaction(LARGEST_GROUP, named if i == 0 else ()) for i in range(MAX_EMOJI)}


def largest(cmid: str = CONTROLS, **more: Any) -> Entry:
    """A message whose every field has the greatest length that the server takes, also those that never come together
    (what is forwarded cannot be edited, and answers nothing)."""
    body = '{"type":"t","payload":"' + "x" * (MAX_BODY_BYTES - 25) + '"}'
    assert len(body) == MAX_BODY_BYTES
    mentions = [f"{i:064d}" for i in range(50)]
    parse(Send, {"conv": "g:a", "cmid": cmid, "kind": "custom", "body": {}, "mentions": mentions})
    state = State(
        changed=Seq(MAX_SEQ),
        edits=(Seq(MAX_SEQ),),
        edited=Edited(Seq(MAX_SEQ), LATE),
        original=body,
        reactions=reactions(),
        pinned=Seq(MAX_SEQ),
    )
    fields: dict[str, Any] = {
        "seq": MAX_SEQ,
        "body": body,
        "conv": ConvId(LONGEST_CONV),
        "n": MAX_SEQ,
        "ts": LATE,
        "kind": max(COUNTABLE, key=len),
        "sender": UserId(LONGEST_USER),
        "cmid": Cmid(cmid),
        "mentions": tuple(mentions),
        "reply_to": Seq(MAX_SEQ - 1),
        "forwarded": Forwarded(UserId(LONGEST_USER), LATE),
        "state": state,
    }
    return entry(**(fields | more))


def quoted_by_the_largest(letter: str) -> Entry:
    """A message with the largest preview, of which everything is told that a quote tells."""
    return entry(
        MAX_SEQ - 1,
        dumps({"title": letter * PREVIEW_CHARACTERS, "messages": []}),
        conv=ConvId(LONGEST_CONV),
        n=MAX_SEQ,
        ts=LATE,
        kind="merged",
        sender=UserId(LONGEST_USER),
        state=State(changed=Seq(MAX_SEQ)),
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
    full = entry(3, cmid=Cmid("c1"), mentions=("bob",), reply_to=Seq(1), forwarded=Forwarded(UserId("carol"), 5))
    assert entry_data(full) == entry_data(entry(3)) | {
        "cmid": "c1",
        "mentions": ["bob"],
        "reply_to": 1,
        "forwarded": {"from": "carol", "ts": 5},
    }


BOB, CAROL = UserId("bob"), UserId("carol")

STATES: Final = {
    "edited": (
        State(Seq(5), (Seq(4), Seq(5)), Edited(Seq(5), 9), '{"text":"first"}'),
        {"changed": 5, "edited": {"seq": 5, "ts": 9}},
    ),
    "recalled": (
        State(Seq(6), recalled=Recalled(Seq(6), BOB, 9)),
        {"changed": 6, "recalled": {"by": "bob", "ts": 9}},
    ),
    "reacted to": (
        State(Seq(7), reactions={"👍": Reaction(3, (BOB, CAROL)), "🎉": Reaction(1, ())}),
        {"changed": 7, "reactions": {"👍": {"count": 3, "users": ["bob", "carol"]}, "🎉": {"count": 1, "users": []}}},
    ),
    "not reacted to any more": (State(Seq(8)), {"changed": 8}),
    "pinned": (State(Seq(9), pinned=Seq(9)), {"changed": 9, "pinned": True}),
    "pinned before it was reacted to": (
        State(Seq(9), reactions={"👍": Reaction(1, (BOB,))}, pinned=Seq(8)),
        {"changed": 9, "reactions": {"👍": {"count": 1, "users": ["bob"]}}, "pinned": True},
    ),
}


@pytest.mark.parametrize(("state", "told"), STATES.values(), ids=STATES.keys())
def test_a_message_says_what_changes_have_made_of_it(state: State, told: dict[str, Any]) -> None:
    """And neither what it said first, nor by which changes: who needs that asks for it."""
    assert entry_data(entry(3, state=state)) == entry_data(entry(3)) | told


@pytest.mark.parametrize(
    ("quoted", "told"),
    [
        (entry(1, '{"text":"Hello,\\n Bob."}'), {"kind": "text", "preview": "Hello, Bob."}),
        (entry(1, "{}", kind="custom"), {"kind": "custom", "preview": ""}),
        (entry(1, '{"title":"Old","messages":[]}', kind="merged"), {"kind": "merged", "preview": "Old"}),
        (entry(1, state=State(Seq(4))), {"kind": "text", "preview": "x", "changed": 4}),
        (
            entry(1, "{}", state=State(Seq(6), recalled=Recalled(Seq(6), BOB, 9))),
            {"kind": "text", "preview": "", "recalled": True, "changed": 6},
        ),
    ],
    ids=["text", "custom", "merged", "changed", "recalled"],
)
def test_an_answer_quotes_what_it_answers_as_that_is_now(quoted: Entry, told: dict[str, Any]) -> None:
    answer = entry(3, reply_to=Seq(1))

    quote = {"seq": 1, "from": "alice", "ts": 1_795_253_400_000} | told
    assert entry_data(answer, quoted) == entry_data(answer) | {"quote": quote}


def test_pushed_answers_quote_those_messages_that_are_given() -> None:
    """Not given is what the reader may not see."""
    entries = [entry(5), entry(6, reply_to=Seq(1)), entry(7, reply_to=Seq(2)), entry(8, reply_to=Seq(1))]
    quoted = entry(1, '{"text":"the first"}')

    (frame,) = opened(list(push_frames(entries, {Seq(1): quoted, Seq(5): entries[0]})))

    assert frame == [entry_data(e, quoted if e.reply_to == 1 else None) for e in entries]
    assert ["quote" in e for e in frame] == [False, True, False, True]


texts = st.sampled_from(["x", "é", "日", "😀", '"', "\\", "\x01", "\n"]).flatmap(
    lambda letter: st.integers(1, 4000).map(lambda length: letter * length)
)


@given(st.lists(st.tuples(st.integers(1, 3), texts), min_size=1, max_size=12))
def test_frames_fit_hold_consecutive_entries_and_lose_nothing(steps: list[tuple[int, str]]) -> None:
    entries, seq = [], 0
    for step, text in steps:
        seq += step  # a gap of one or two where the recipient's own entries were
        entries.append(entry(seq, dumps({"text": text})))

    frames = opened(list(push_frames(entries, {})))

    assert [e for frame in frames for e in frame] == [entry_data(e) for e in entries]
    for frame in frames:
        assert [e["seq"] for e in frame] == list(range(frame[0]["seq"], frame[0]["seq"] + len(frame)))


def test_what_fits_into_one_frame_goes_in_one_frame() -> None:
    assert len(list(push_frames([entry(seq) for seq in range(1, 11)], {}))) == 1


def test_ten_entries_of_16_kib_go_one_by_one() -> None:
    texts = [entry(seq, dumps({"text": "x" * MAX_TEXT_BYTES})) for seq in range(1, 11)]

    assert [len(frame) for frame in opened(list(push_frames(texts, {})))] == [1] * 10


def test_a_hole_starts_a_new_frame() -> None:
    frames = opened(list(push_frames([entry(1), entry(2), entry(4), entry(5), entry(9)], {})))

    assert [[e["seq"] for e in frame] for frame in frames] == [[1, 2], [4, 5], [9]]


def test_no_entries_are_no_frames() -> None:
    assert list(push_frames([], {})) == []


@pytest.mark.parametrize("letter", ["😀", "\x01"], ids=["wide", "escaped"])
@pytest.mark.parametrize("cmid", [WIDE, CONTROLS], ids=["wide cmid", "escaped cmid"])
def test_the_largest_entry_fits_into_a_push_and_into_a_reply(letter: str, cmid: str) -> None:
    message = largest(cmid)
    quoted = quoted_by_the_largest(letter)
    told = entry_data(message, quoted)

    ((pushed,),) = opened(list(push_frames([message], {quoted.seq: quoted})))
    page = encode_reply(LONGEST_ID, {"entries": fitting([told, told]), "last_seq": MAX_SEQ, "more": False})

    assert pushed == told
    assert told["quote"]["preview"] == letter * PREVIEW_CHARACTERS
    assert len(told["reactions"]) == MAX_EMOJI
    assert json.loads(page)["data"]["entries"] == [told]
    assert len(page.encode()) <= MAX_FRAME_BYTES


def test_the_largest_changes_fit_into_a_push() -> None:
    """An edit carries a whole body and its target; what it does not have leaves more room than that takes."""
    message = largest()
    body = dumps({"target": MAX_SEQ, "body": json.loads(message.body)})
    edit = largest(kind="edit", body=body, mentions=(), reply_to=None, forwarded=None, state=State())
    react = replace(edit, kind="reaction", body=dumps({"target": MAX_SEQ, "emoji": emoji(0), "on": False}))

    for change in (edit, react):
        ((pushed,),) = opened(list(push_frames([change], {})))
        assert pushed == entry_data(change)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9_000)), min_size=1, max_size=8))
def test_frames_with_quotes_and_reactions_fit_too(some: list[tuple[bool, int]]) -> None:
    quoted = replace(quoted_by_the_largest("\x01"), seq=Seq(1))
    entries = [
        largest(seq=Seq(seq), body=dumps({"type": "t", "payload": "x" * size}))
        if full
        else entry(seq, dumps({"text": "é" * size}), conv=ConvId(LONGEST_CONV))
        for seq, (full, size) in enumerate(some, start=2)
    ]
    entries = [replace(e, reply_to=Seq(1)) for e in entries]

    frames = opened(list(push_frames(entries, {Seq(1): quoted})))

    assert [e for frame in frames for e in frame] == [entry_data(e, quoted) for e in entries]


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


def row(**more: Any) -> Row:
    shown = Shown(Seq(8), 11)
    usual = Row(ConvId("d:alice:bob"), Seq(9), 8, shown, Seq(4), 4, Seq(7), Seq(6), updated=12, version=3)
    return replace(usual, **more)


HELLO: Final = entry(8, '{"text":"Hello."}')
SHOWN_HELLO: Final = {"seq": 8, "kind": "text", "from": "alice", "ts": 1_795_253_400_000, "preview": "Hello."}


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (None, None),
        (HELLO, SHOWN_HELLO),
        (replace(HELLO, state=State(Seq(9), pinned=Seq(9))), SHOWN_HELLO | {"changed": 9}),
        (
            replace(HELLO, body="{}", state=State(Seq(9), recalled=Recalled(Seq(9), BOB, 9))),
            SHOWN_HELLO | {"preview": "", "changed": 9, "recalled": True},
        ),
    ],
    ids=["nothing", "a message", "a changed one", "a recalled one"],
)
def test_a_row_has_all_fields_of_the_protocol(last: Entry | None, told: dict[str, Any] | None) -> None:
    assert row_data(row(), last) == {
        "conv": "d:alice:bob",
        "last_seq": 9,
        "last_n": 8,
        "last": told,
        "unread": 4,
        "read_seq": 4,
        "read_n": 4,
        "ack_seq": 7,
        "mention_seq": 6,
        "muted": False,
        "pinned": False,
        "draft": "",
        "hidden": False,
        "rev": 0,
        "deleted": 0,
        "at": 11,
        "updated": 12,
    }


def test_a_row_has_what_its_user_has_set() -> None:
    mine = row(muted=True, pinned=True, draft="to be", hidden_n=8, rev=5, deleted=2)

    assert row_data(mine, None) == row_data(row(), None) | {
        "muted": True,
        "pinned": True,
        "draft": "to be",
        "hidden": True,
        "rev": 5,
        "deleted": 2,
    }


def test_a_row_that_no_fan_out_has_reached_stands_where_its_user_has_touched_it() -> None:
    assert row_data(row(shown=None), None)["at"] == 12


def test_a_row_of_somebody_who_has_left_says_up_to_where_they_may_see() -> None:
    assert row_data(row(left_seq=Seq(9)), HELLO) == row_data(row(), HELLO) | {"left_seq": 9}


@pytest.mark.parametrize("letter", ["\x01", "😀", "é"])
def test_the_largest_row_fits_into_a_push_and_into_a_reply(letter: str) -> None:
    """With the room that sync.inbox keeps for its cursor."""
    everything = row(
        conv=ConvId(LONGEST_CONV),
        last_seq=Seq(MAX_SEQ),
        last_n=MAX_SEQ,
        shown=Shown(Seq(MAX_SEQ), LATE),
        updated=LATE,
        draft=letter * 1000,
        rev=10**9,
        deleted=10**9,
        left_seq=Seq(MAX_SEQ),
    )
    told = row_data(everything, quoted_by_the_largest(letter))

    assert len(encode_push("row", told).encode()) <= MAX_FRAME_BYTES
    assert len(dumps(told).encode()) <= MAX_FRAME_BYTES - 2048


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
