"""Ids, conversations, the order of entries, previews."""

from __future__ import annotations

import json
from typing import Any

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
    CHANGES,
    COUNTABLE,
    EMPTY,
    GROUP_CHANGES,
    PREVIEW_CHARACTERS,
    Draft,
    Entry,
    Forwarded,
    Tail,
    epoch_before,
    newest_shown,
    preview,
    tail_at,
    target_of,
    void,
)
from im.domain.errors import BadRequest
from im.domain.ids import Cmid, ConvId, Seq, UserId, device_id, user_id
from im.domain.message_state import Recalled, State

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


def test_what_changes_a_group_or_a_message_is_not_countable() -> None:
    assert {"members", "profile"} == GROUP_CHANGES
    assert {"edit", "recall", "reaction", "pin"} == CHANGES
    assert not (GROUP_CHANGES | CHANGES) & COUNTABLE
    assert not GROUP_CHANGES & CHANGES


@pytest.mark.parametrize("large", [0, 3])
def test_an_entry_is_in_a_large_group_when_the_one_before_is(large: int) -> None:
    draft = Draft(ConvId("g:a"), "text", UserId("alice"), "{}")

    entry = draft.following(Tail(Seq(7), 4, Seq(5), Seq(large)), ts=1)

    assert entry.large == tail_at(entry).large == large
    assert tail_at(entry) == Tail(Seq(8), 5, Seq(5), Seq(large))


def test_a_draft_keeps_what_its_sender_said() -> None:
    first = Forwarded(UserId("carol"), 3)
    draft = Draft(ConvId("g:a"), "text", UserId("alice"), "{}", Cmid("c1"), ("bob",), Seq(2), first)

    entry = draft.following(EMPTY, ts=5)

    assert (entry.sender, entry.ts, entry.body, entry.kind) == ("alice", 5, "{}", "text")
    assert (entry.cmid, entry.mentions, entry.reply_to, entry.forwarded) == ("c1", ("bob",), 2, first)
    assert entry.state == State()


def test_the_countable_kinds_are_those_of_the_protocol() -> None:
    messages = {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged"}
    assert messages == COUNTABLE


# ---- what is shown ---------------------------------------------------------------------------------------------------


def entry_of(kind: str, body: str, seq: int = 7, **more: Any) -> Entry:
    return Entry(ConvId("g:a"), Seq(seq), 5, Seq(2), kind, UserId("alice"), 9, body, **more)


@given(st.lists(kinds, max_size=12))
def test_a_list_shows_the_newest_entry_that_changes_no_message(log: list[str]) -> None:
    entries = [entry_of(kind, "{}", seq=i + 1) for i, kind in enumerate(log)]

    shown = newest_shown(entries)

    others = [entry for entry in entries if entry.kind not in {"edit", "recall", "reaction", "pin"}]
    assert shown == (others[-1] if others else None)


def test_a_deleted_entry_leaves_its_place_and_nothing_of_what_it_said() -> None:
    said = entry_of(
        "text",
        '{"text":"secret"}',
        cmid=Cmid("c1"),
        mentions=("bob",),
        reply_to=Seq(3),
        large=Seq(2),
        prior=Seq(1),
        forwarded=Forwarded(UserId("carol"), 3),
        state=State(changed=Seq(8), pinned=Seq(8)),
    )

    assert void(said) == entry_of("void", "{}")


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_change_names_its_message(kind: str) -> None:
    assert target_of(entry_of(kind, '{"target":12,"on":true}')) == 12


ONE_LINE = [
    ("Hello.", "Hello."),
    ("  two\n\nlines\t ", "two lines"),
    ("x" * 100, "x" * 80),
    ("\n" * 1000 + "late", "late"),
    ("x" * 79 + "  yz", "x" * 79),
    ("x" * 78 + "  yz", "x" * 78 + " y"),
    (" ", ""),
    ("", ""),
    ("日本" * 100, "日本" * 40),
    ("👩\u200d👧", "👩\u200d👧"),
]


@pytest.mark.parametrize(("kind", "name"), [("text", "text"), ("merged", "title")])
@pytest.mark.parametrize(("text", "shown"), ONE_LINE)
def test_a_preview_is_the_start_of_the_text_or_the_title_on_one_line(
    kind: str, name: str, text: str, shown: str
) -> None:
    assert preview(entry_of(kind, json.dumps({name: text}))) == shown


@given(st.text(min_size=1, max_size=400))
def test_a_preview_is_short_and_has_no_line_break(text: str) -> None:
    shown = preview(entry_of("text", json.dumps({"text": text})))

    assert len(shown) <= PREVIEW_CHARACTERS
    assert len(shown.splitlines()) <= 1
    assert shown == shown.strip()
    assert " ".join(text.split()).startswith(shown)


@pytest.mark.parametrize("kind", ["custom", "members", "image", "redpacket", "void", "edit", "recall", "new"])
def test_other_kinds_have_no_preview_and_their_body_is_not_looked_into(kind: str) -> None:
    assert preview(entry_of(kind, "not even JSON")) == ""


@pytest.mark.parametrize("kind", ["text", "merged"])
def test_what_is_recalled_has_no_preview(kind: str) -> None:
    recalled = State(changed=Seq(8), recalled=Recalled(Seq(8), UserId("bob"), 10))

    assert preview(entry_of(kind, "{}", state=recalled)) == ""
