"""Entries as items of the Conversation table: what goes in comes out, and what is not there takes no room."""

from __future__ import annotations

from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from bench.units import item_size
from im.domain.entries import CHANGES, COUNTABLE, GROUP_CHANGES, MAX_BODY_BYTES, Entry, Forwarded
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_rules import MAX_EDITS, MAX_EMOJI, NAMED_REACTIONS
from im.domain.message_state import UNCHANGED, Edited, Reaction, Recalled, State
from im.store.conversations import entry_from, entry_item
from im.store.keys import MAX_SEQ

MAX_ITEM_BYTES = 400 * 1024
"""DynamoDB: nothing larger is stored."""

STATE_NAMES = {"changed", "edited", "edits", "original", "recalled", "reactions", "pinned"}

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
users = st.sampled_from(["alice", "bob", "carol", "x" * 64]).map(UserId)
seqs = st.integers(1, MAX_SEQ).map(Seq)
times = st.integers(0, 2**53)

reactions = st.dictionaries(
    texts, st.builds(Reaction, st.integers(1, 10**6), st.lists(users, max_size=3).map(tuple)), max_size=4
)
never_edited = st.builds(State, changed=seqs, reactions=reactions, pinned=seqs | st.just(Seq(0)))
edited = st.builds(
    State,
    changed=seqs,
    edits=st.lists(seqs, min_size=1, max_size=MAX_EDITS).map(tuple),
    edited=st.builds(Edited, seqs, times),
    original=texts,
    reactions=reactions,
    pinned=seqs | st.just(Seq(0)),
)
recalled = st.builds(State, changed=seqs, recalled=st.builds(Recalled, seqs, users, times))
states = st.just(UNCHANGED) | never_edited | edited | recalled

entries = st.builds(
    Entry,
    conv=st.sampled_from(["g:a", "d:alice:bob"]).map(ConvId),
    seq=seqs,
    n=st.integers(0, MAX_SEQ),
    epoch=st.integers(0, MAX_SEQ).map(Seq),
    kind=st.sampled_from(sorted(COUNTABLE | CHANGES | GROUP_CHANGES)),
    sender=users,
    ts=times,
    body=texts,
    cmid=st.none() | texts.map(Cmid),
    mentions=st.lists(users | st.just("@all"), max_size=3).map(tuple),
    reply_to=st.none() | seqs,
    large=st.integers(0, MAX_SEQ).map(Seq),
    prior=st.integers(0, MAX_SEQ).map(Seq),
    forwarded=st.none() | st.builds(Forwarded, users, times),
    state=states,
)


@given(entries)
def test_an_entry_comes_out_of_its_item_as_it_went_in(entry: Entry) -> None:
    item = entry_item(entry)

    assert entry_from(item) == entry


@given(entries)
def test_an_item_has_the_types_that_dynamodb_knows(entry: Entry) -> None:
    """The reader of AWS's own library takes each attribute, and no set, number or name is empty."""
    reader = TypeDeserializer()
    for name, value in entry_item(entry).items():
        assert name
        reader.deserialize(value)
        for kind, inner in parts(value):
            assert isinstance(inner, str if kind in {"S", "N"} else dict if kind == "M" else list)
            assert kind in {"S", "N", "M", "L"}


def parts(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """An attribute value and all that it holds."""
    ((kind, inner),) = value.items()
    inside = {"M": dict.values, "L": list}.get(kind, lambda _: [])(inner)
    return [(kind, inner), *(part for one in inside for part in parts(one))]


def entry_of(**more: Any) -> Entry:
    fields: dict[str, Any] = {"n": 1, "epoch": Seq(0), "kind": "text", "sender": UserId("alice"), "ts": 5, "body": "{}"}
    return Entry(ConvId("g:a"), Seq(1), **(fields | more))


def test_an_entry_that_nothing_has_happened_to_takes_no_room_for_it() -> None:
    assert set(entry_item(entry_of())) == {"pk", "sk", "seq", "n", "epoch", "kind", "from", "ts", "body"}


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (State(Seq(9)), {"changed"}),
        (State(Seq(9), pinned=Seq(8)), {"changed", "pinned"}),
        (State(Seq(9), reactions={"👍": Reaction(1, ())}), {"changed", "reactions"}),
        (State(Seq(9), (Seq(9),), Edited(Seq(9), 6), "{}"), {"changed", "edited", "edits", "original"}),
        (State(Seq(9), recalled=Recalled(Seq(9), UserId("bob"), 6)), {"changed", "recalled"}),
    ],
)
def test_an_item_says_what_has_happened_and_nothing_else(state: State, names: set[str]) -> None:
    """A change that is over leaves `changed` alone: it is what the next change of the message must have seen."""
    item = entry_item(entry_of(state=state))

    assert set(item) & STATE_NAMES == names
    assert item["changed"] == {"N": "9"}


def test_the_largest_message_is_far_below_what_an_item_may_hold() -> None:
    named = tuple(UserId(f"{i:064d}") for i in range(NAMED_REACTIONS))
    state = State(
        changed=Seq(MAX_SEQ),
        edits=tuple(Seq(MAX_SEQ - i) for i in range(MAX_EDITS)),
        edited=Edited(Seq(MAX_SEQ), 2**53),
        original="x" * MAX_BODY_BYTES,
        reactions={f"{i:048d}": Reaction(10**6, named) for i in range(MAX_EMOJI)},
        pinned=Seq(MAX_SEQ),
    )
    largest = entry_of(
        body="x" * MAX_BODY_BYTES,
        cmid=Cmid("😀" * 64),
        mentions=tuple(f"{i:064d}" for i in range(50)),
        reply_to=Seq(MAX_SEQ),
        forwarded=Forwarded(UserId("x" * 64), 2**53),
        state=state,
    )

    assert 2 * MAX_BODY_BYTES < item_size(entry_item(largest)) < MAX_ITEM_BYTES / 4
