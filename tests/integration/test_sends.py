"""message.send: stored, in order, once."""

from __future__ import annotations

import random
from typing import Any

import pytest

from im.domain.entries import MAX_BODY_BYTES, MAX_TEXT_BYTES
from im.store.conversations import CMID_LIFE_S
from tests.integration.house import START, Call, House

TEXT = {"kind": "text", "body": {"text": "x"}}
SEVEN_DAYS_S = 7 * 24 * 60 * 60
CUSTOM = {"kind": "custom", "body": {"type": "poll", "payload": {"q": "Tea?", "a": [1, 2.5, None, True, {"é": "日"}]}}}


def test_a_direct_message_has_one_address_by_either_name(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    replies = [
        alice.say("one", "c1", to="bob"),
        bob.say("two", "c1", to="alice"),
        alice.say("three", "c2", conv="d:alice:bob"),
    ]

    assert [(r["conv"], r["seq"], r["n"], r["duplicate"]) for r in replies] == [
        ("d:alice:bob", 1, 1, False),
        ("d:alice:bob", 2, 2, False),
        ("d:alice:bob", 3, 3, False),
    ]
    assert house.texts("d:alice:bob") == ["one", "two", "three"]


def test_a_custom_message_comes_out_as_it_went_in(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    alice.say("Tea?", "c0", to="bob")
    alice.ok("message.send", CUSTOM | {"to": "bob", "cmid": "c1", "mentions": ["bob", "bob"], "reply_to": 1})
    house.fan_out()

    stored = bob.ok("sync.entries", {"conv": "d:alice:bob", "after": 0})["entries"]
    pushed = bob.got("entries")[0]["entries"]
    assert stored == pushed
    assert stored[1]["body"] == CUSTOM["body"]
    assert (stored[1]["mentions"], stored[1]["reply_to"]) == (["bob"], 1)
    assert stored[1]["quote"] == {"seq": 1, "kind": "text", "from": "alice", "ts": START, "preview": "Tea?"}


def test_an_answer_quotes_a_message_of_its_own_conversation(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("Elsewhere.", "c1", to="carol")
    alice.say("Here.", "c2", to="bob")
    bob.ok("message.send", TEXT | {"to": "alice", "cmid": "c3", "reply_to": 1})
    house.fan_out()

    (pushed,) = alice.got("entries")[-1]["entries"]
    assert (pushed["conv"], pushed["quote"]["preview"]) == ("d:alice:bob", "Here.")


@pytest.mark.parametrize("text", ["\ufffe\uffff", "\0\x1f\x7f", '"\\', "👩‍👩‍👧", "\u2028", "\u202eabc", " ", "\n"])
def test_a_text_is_the_same_in_push_and_history(house: House, text: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    alice.say(text, text[:64], to="bob")
    house.fan_out()

    (stored,) = bob.ok("sync.entries", {"conv": "d:alice:bob", "after": 0})["entries"]
    (pushed,) = bob.got("entries")[0]["entries"]
    assert stored == pushed
    assert stored["body"] == {"text": text}
    assert stored["cmid"] == text


def test_unknown_fields_of_a_body_are_not_stored(house: House) -> None:
    alice = house.connect("alice")

    alice.ok("message.send", TEXT | {"to": "bob", "cmid": "c1", "body": {"text": "x", "html": "<script>", "seq": 5}})

    (entry,) = alice.ok("sync.entries", {"conv": "d:alice:bob", "after": 0})["entries"]
    assert entry["body"] == {"text": "x"}


@pytest.mark.parametrize(
    ("data", "code", "names"),
    [
        ({"to": "alice"}, "bad_request", "data.to"),  # with oneself
        ({"to": "b b"}, "bad_request", "data.to"),
        ({"conv": ""}, "bad_request", "data.conv"),
        ({"conv": "nonsense"}, "bad_request", "data.conv"),
        ({"conv": "d:bob:alice"}, "bad_request", "data.conv"),
        ({"conv": "d:bob:carol"}, "not_member", "d:bob:carol"),
        ({"conv": "g:nowhere"}, "not_member", "g:nowhere"),
        ({"conv": "g:theirs"}, "not_member", "g:theirs"),
        ({}, "bad_request", "data"),
        ({"to": "bob", "cmid": ""}, "bad_request", "data.cmid"),
        ({"to": "bob", "kind": "recall"}, "bad_request", "data.kind"),
        ({"to": "bob", "body": {}}, "bad_request", "data.body.text"),
        ({"to": "bob", "body": {"text": ""}}, "bad_request", "data.body.text"),
        ({"to": "bob", "body": {"text": "x" * (MAX_TEXT_BYTES + 1)}}, "too_large", "data.body.text"),
        ({"to": "bob", "body": {"text": "日" * (MAX_TEXT_BYTES // 3 + 1)}}, "too_large", "data.body.text"),
        ({"to": "bob", "kind": "custom", "body": {}}, "bad_request", "data.body.type"),
        (
            {"to": "bob", "kind": "custom", "body": {"type": "t", "payload": "x" * (MAX_BODY_BYTES - 20)}},
            "too_large",
            "data.body",
        ),
        ({"to": "bob", "mentions": ["b b"]}, "bad_request", "data.mentions.0"),
        ({"to": "bob", "mentions": ["bob", "@ALL"]}, "bad_request", "data.mentions.1"),
        ({"to": "bob", "mentions": ["@all", "bob"]}, "bad_request", "data.mentions"),
        ({"to": "bob", "mentions": ["@all"]}, "forbidden", "mention"),
        ({"conv": "g:ours", "mentions": ["@all"]}, "forbidden", "mention"),
        ({"to": "bob", "reply_to": 0}, "bad_request", "data.reply_to"),
        ({"to": "bob", "reply_to": 1}, "not_found", "d:alice:bob has no entry 1"),
        ({"conv": "g:ours", "reply_to": 2}, "not_found", "g:ours has no entry 2"),
        ({"conv": "g:ours", "reply_to": 1}, "bad_request", "data.reply_to"),  # a notice
    ],
)
def test_what_may_not_be_sent_is_refused_and_leaves_nothing(
    house: House, data: dict[str, Any], code: str, names: str
) -> None:
    house.connect("bob").ok("group.create", {"gid": "ours", "name": "Ours", "members": ["alice"]})
    house.connect("carol").ok("group.create", {"gid": "theirs", "name": "Theirs"})
    house.fan_out()
    alice = house.connect("alice")
    before = house.items("ConversationTable")

    error = alice.error("message.send", {"cmid": "c1"} | TEXT | data)

    assert error["code"] == code
    assert names in error["message"]
    assert error["retryable"] is False
    assert house.items("ConversationTable") == before
    assert house.take() == []


def test_the_largest_text_is_taken_and_delivered(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    alice.say("x" * MAX_TEXT_BYTES, "c1", to="bob")
    house.fan_out()

    assert bob.got("entries")[0]["entries"][0]["body"] == {"text": "x" * MAX_TEXT_BYTES}


def test_the_owner_of_a_group_may_mention_everybody(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "ours", "name": "Ours", "members": ["bob"]})

    alice.ok("message.send", TEXT | {"conv": "g:ours", "cmid": "c1", "mentions": ["@all"]})
    house.fan_out()

    assert bob.ok("sync.inbox")["conversations"][0]["mention_seq"] == 2
    assert alice.ok("sync.inbox")["conversations"][0]["mention_seq"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_whoever_writes_when_the_log_is_one_to_n_without_holes(house: House, seed: int) -> None:
    rng = random.Random(seed)
    people = {name: house.connect(name) for name in ("alice", "bob", "carol")}
    people["alice"].ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    frames: list[tuple[str, dict[str, Any]]] = []
    replies: dict[str, dict[str, Any]] = {}

    for i in range(60):
        name = rng.choice(list(people))
        if frames and rng.random() < 0.3:
            name, data = rng.choice(frames)
        else:
            where = "g:g" if rng.random() < 0.6 else "d:alice:bob" if name != "carol" else "d:alice:carol"
            data = {"conv": where, "cmid": f"c{i}"} | rng.choice([TEXT, CUSTOM])
            frames.append((name, data))
        reply = people[name].ok("message.send", data)
        first = replies.setdefault(data["cmid"], reply)
        assert reply == first | {"duplicate": reply is not first}
        if rng.random() < 0.1:
            house.fan_out(rng.randint(1, 10))

    assert sum(len(house.log(conv)) for conv in ("g:g", "d:alice:bob", "d:alice:carol")) == len(frames) + 1
    for data in (data for _, data in frames):
        assert house.log(data["conv"])[replies[data["cmid"]]["seq"] - 1]["cmid"] == data["cmid"]


# ---- one cmid, one entry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fanned_out", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_repeat_has_the_first_reply_and_nothing_happens_twice(
    house: House, *, fanned_out: bool, elsewhere: bool
) -> None:
    alice, bob = house.connect("alice", "pc", "desktop"), house.connect("bob")
    phone = house.connect("alice", "phone", "ios")
    first = alice.say("Hello.", "c1", to="bob")
    bob.say("Between.", "b1", to="alice")
    if fanned_out:
        house.fan_out()

    house.now += 60_000
    again = (phone if elsewhere else alice).say("Hello.", "c1", to="bob")
    house.fan_out()

    assert again == first | {"duplicate": True}
    assert house.texts("d:alice:bob") == ["Hello.", "Between."]
    assert sorted(set(bob.seen())) == [1]
    assert bob.ok("sync.unread")["total_unread"] == 0
    assert alice.ok("sync.unread")["total_unread"] == 1


def test_a_repeat_with_another_body_keeps_the_first(house: House) -> None:
    alice = house.connect("alice")
    first = alice.say("Hello.", "c1", to="bob")

    again = alice.ok("message.send", CUSTOM | {"to": "bob", "cmid": "c1"})

    assert again == first | {"duplicate": True}
    assert house.texts("d:alice:bob") == ["Hello."]


def test_the_same_cmid_of_another_sender_or_in_another_conversation_is_another_message(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})

    replies = [
        alice.say("1", "c", to="bob"),
        bob.say("2", "c", to="alice"),
        alice.say("3", "c", to="carol"),
        alice.say("4", "c", conv="g:g"),
        bob.say("5", "c", conv="g:g"),
        alice.say("6", "C", to="bob"),
        alice.say("7", "c#", to="bob"),
        alice.say("8", " c", to="bob"),
    ]

    assert not any(reply["duplicate"] for reply in replies)
    assert house.texts("d:alice:bob") == ["1", "2", "6", "7", "8"]
    assert house.texts("g:g") == ["4", "5"]


def test_a_repeat_is_found_behind_a_hundred_entries(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    def fall_silent(call: Any) -> None:
        if call.sort_key.startswith("MSG#"):
            raise RuntimeError("before the entry is stored")

    with house.watched(before=fall_silent):
        assert alice.error("message.send", TEXT | {"to": "bob", "cmid": "late"})["code"] == "internal"
    for i in range(120):
        bob.say(f"{i}", f"b{i}", to="alice")

    first = alice.say("late", "late", to="bob")
    again = alice.say("late", "late", to="bob")

    assert (first["seq"], first["duplicate"]) == (121, False)
    assert again == first | {"duplicate": True}
    assert house.log("d:alice:bob")[-1]["cmid"] == "late"


@pytest.mark.parametrize(("age_s", "duplicate"), [(SEVEN_DAYS_S, True), (CMID_LIFE_S, True), (CMID_LIFE_S + 1, False)])
def test_a_cmid_is_remembered_for_seven_days_at_least(house: House, age_s: int, *, duplicate: bool) -> None:
    alice = house.connect("alice")
    alice.say("x", "c1", to="bob")

    house.now = START + age_s * 1000
    again = alice.say("x", "c1", to="bob")

    assert again["duplicate"] is duplicate
    assert again["seq"] == (1 if duplicate else 2)


def test_the_seven_days_begin_with_the_entry_and_not_with_a_try_that_failed(house: House) -> None:
    alice = house.connect("alice")

    def fail(call: Call) -> None:
        if call.sort_key.startswith("MSG#"):
            raise RuntimeError("before the entry is stored")

    with house.watched(before=fail):
        alice.error("message.send", TEXT | {"to": "bob", "cmid": "c1"})
    house.now += (SEVEN_DAYS_S - 60) * 1000
    first = alice.say("x", "c1", to="bob")
    house.now += (SEVEN_DAYS_S - 60) * 1000
    again = alice.say("x", "c1", to="bob")

    assert again == first | {"duplicate": True}


def test_a_cmid_that_was_used_again_after_its_time_is_remembered_again(house: House) -> None:
    alice = house.connect("alice")
    alice.say("x", "c1", to="bob")
    house.now += (CMID_LIFE_S + 1) * 1000
    alice.say("y", "c1", to="bob")

    house.now += 60_000
    again = alice.say("y", "c1", to="bob")

    assert (again["seq"], again["duplicate"]) == (2, True)
