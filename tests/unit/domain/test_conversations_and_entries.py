"""Ids, conversations, the order of entries, previews."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.conversation import (
    MAX_CONV_LENGTH,
    Direct,
    Group,
    direct_conversation,
    group_conversation,
    parse_conversation,
)
from im.domain.entries import (
    COUNTABLE,
    EMPTY,
    GROUP_CHANGES,
    PREVIEW_CHARACTERS,
    Draft,
    Tail,
    epoch_before,
    preview,
    tail_at,
)
from im.domain.errors import BadRequest
from im.domain.ids import Cmid, ConvId, Seq, UserId, device_id, user_id

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
users = st.text(ALPHABET, min_size=1, max_size=64).map(UserId)


@pytest.mark.parametrize("text", ["a", "A-Z_0", "-", "_", "x" * 64])
def test_user_ids(text: str) -> None:
    assert user_id(text) == text
    assert device_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "x" * 65, "a b", "a:b", "a#b", "a/b", "é", "٣", "a\n", "\na", "a\0", "@all", "a.b"]
)
def test_what_is_no_user_id(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        user_id(text, "data.user")

    assert refused.value.path == "data.user"


def test_a_device_id_may_hold_dots() -> None:
    assert device_id("Pixel-9.local_1") == "Pixel-9.local_1"


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a:b", "ü", "a\n"])
def test_what_is_no_device_id(text: str) -> None:
    with pytest.raises(BadRequest):
        device_id(text)


@given(users, users)
def test_a_direct_conversation_has_one_id_whoever_names_it(a: UserId, b: UserId) -> None:
    if a == b:
        with pytest.raises(BadRequest):
            direct_conversation(a, b)
        return

    conversation = direct_conversation(a, b)

    assert conversation == direct_conversation(b, a)
    assert parse_conversation(conversation.conv) == conversation
    assert set(conversation.peers) == {a, b}
    assert conversation.other(a) == b
    assert conversation.other(b) == a
    assert len(conversation.conv) <= MAX_CONV_LENGTH


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "d",
        "d:",
        "d::",
        "d:alice",
        "d:alice:",
        "d::bob",
        "d:bob:alice",  # not in ascending order
        "d:alice:alice",
        "d:alice:bob:carol",
        "d:alice:b b",
        " d:alice:bob",
        "d:alice:bob\n",
        "D:alice:bob",
        "g:",
        "g:a:b",
        "g:a b",
        "g:a\n",
        "g:" + "x" * 65,
        "G:a",
        "x:a",
        "alice",
        "g:é",
        "d:alice:" + "x" * 65,
    ],
)
def test_what_is_no_conversation(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_conversation(text, "data.acks.3.conv")

    assert refused.value.path == "data.acks.3.conv"


@given(st.text(max_size=140))
def test_a_text_is_a_conversation_or_a_bad_request(text: str) -> None:
    try:
        conversation = parse_conversation(text)
    except BadRequest:
        return

    assert conversation.conv == text


def test_groups_and_direct_conversations_are_told_apart() -> None:
    assert parse_conversation("g:alice") == group_conversation("alice") == Group(ConvId("g:alice"))
    assert isinstance(parse_conversation("d:alice:bob"), Direct)
    with pytest.raises(BadRequest):
        group_conversation("a:b")


kinds = st.sampled_from([*sorted(COUNTABLE), "members", "edit", "recall", "reaction", "pin", "profile", "void", "new"])


@given(st.lists(kinds, max_size=30))
def test_the_log_counts_from_one_without_holes_and_n_counts_the_countable(log: list[str]) -> None:
    tail = EMPTY
    for i, kind in enumerate(log):
        draft = Draft(ConvId("g:a"), kind, UserId("alice"), "{}")
        entry = draft.following(tail, ts=i)
        tail = tail_at(entry)

        so_far = log[: i + 1]
        assert entry.seq == i + 1
        assert entry.n == sum(k in COUNTABLE for k in so_far)
        assert entry.countable == (kind in COUNTABLE)
        changes = [j + 1 for j, k in enumerate(log[:i]) if k in {"members", "profile"}]
        before = max(changes, default=0)
        assert entry.prior == (before if kind in {"members", "profile"} else 0)
        assert epoch_before(entry) == before
        assert entry.epoch == max((j + 1 for j, k in enumerate(so_far) if k in {"members", "profile"}), default=0)


def test_what_changes_a_group_is_not_countable() -> None:
    assert {"members", "profile"} == GROUP_CHANGES
    assert not GROUP_CHANGES & COUNTABLE


@pytest.mark.parametrize("large", [0, 3])
def test_an_entry_is_in_a_large_group_when_the_one_before_is(large: int) -> None:
    draft = Draft(ConvId("g:a"), "text", UserId("alice"), "{}")

    entry = draft.following(Tail(Seq(7), 4, Seq(5), Seq(large)), ts=1)

    assert entry.large == tail_at(entry).large == large
    assert tail_at(entry) == Tail(Seq(8), 5, Seq(5), Seq(large))


def test_a_draft_keeps_what_its_sender_said() -> None:
    draft = Draft(ConvId("g:a"), "text", UserId("alice"), "{}", Cmid("c1"), ("bob",), Seq(2))

    entry = draft.following(EMPTY, ts=5)

    assert (entry.sender, entry.ts, entry.body, entry.kind) == ("alice", 5, "{}", "text")
    assert (entry.cmid, entry.mentions, entry.reply_to) == ("c1", ("bob",), 2)


def test_the_countable_kinds_are_those_of_the_protocol() -> None:
    assert {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket"} == COUNTABLE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello.", "Hello."),
        ("  two\n\nlines\t ", "two lines"),
        ("x" * 100, "x" * 80),
        ("\n" * 1000 + "late", ""),
        (" ", ""),
        ("日本" * 100, "日本" * 40),
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_a_preview_is_the_start_of_the_text_on_one_line(text: str, shown: str) -> None:
    assert preview("text", json.dumps({"text": text})) == shown


@given(st.text(min_size=1, max_size=400))
def test_a_preview_is_short_and_has_no_line_break(text: str) -> None:
    shown = preview("text", json.dumps({"text": text}))

    assert len(shown) <= PREVIEW_CHARACTERS
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize("kind", ["custom", "members", "image", "redpacket", "new"])
def test_other_kinds_have_no_preview_and_their_body_is_not_looked_into(kind: str) -> None:
    assert preview(kind, "not even JSON") == ""
