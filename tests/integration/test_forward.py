"""message.forward: one message as it is, several as one; a copy stands by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.group_state import drop_queued, everything, log_of, row
from tests.integration.house import START, Device, House
from tests.integration.message_state import (
    DIRECT,
    GROUP,
    Data,
    chat,
    check_messages,
    edit,
    entries_of,
    forward,
    group,
    message,
    pin,
    pushed,
    react,
    recall,
    settle,
)

CAROL = "d:alice:carol"


def refusal(device: Device, seqs: Any, source: str = DIRECT, **more: Any) -> str:
    data = {"to": "carol", "source": source, "seqs": seqs, "cmid": "f"} | more
    return str(device.error("message.forward", data)["code"])


def merged(conv_entry: Data) -> list[str]:
    """The texts of a merged message."""
    return [one["body"]["text"] for one in conv_entry["body"]["messages"]]


# ---- what it is ------------------------------------------------------------------------------------------------------


def test_one_message_is_copied_and_says_who_said_it_first(house: House) -> None:
    alice, bob = chat(house)
    carol = house.connect("carol")
    house.now += 5
    bob.say("hello", "b1", to="alice")
    house.now += 5

    reply = forward(alice, DIRECT, [1], "f1", to="carol")
    house.fan_out()

    assert reply == {"conv": CAROL, "seq": 1, "n": 1, "ts": START + 10, "duplicate": False}
    copy = {
        "conv": CAROL,
        "seq": 1,
        "n": 1,
        "kind": "text",
        "from": "alice",
        "ts": START + 10,
        "body": {"text": "hello"},
        "cmid": "f1",
        "forwarded": {"from": "bob", "ts": START + 5},
    }
    assert pushed(carol, CAROL) == [copy]
    assert entries_of(carol, CAROL) == {1: copy}
    assert row(carol, CAROL)["unread"] == 1
    assert row(carol, CAROL)["last"]["preview"] == "hello"
    check_messages()


def test_a_custom_message_is_copied_as_it_is(house: House) -> None:
    alice, _ = chat(house)
    body = {"type": "poll", "payload": {"a": [1, 2.50, None, "é"]}}
    alice.ok("message.send", {"cmid": "c1", "conv": DIRECT, "kind": "custom", "body": body})

    forward(alice, DIRECT, [1], "f1", to="carol")

    assert message(alice, 1, CAROL)["body"] == body
    assert log_of(CAROL)[0]["body"] == log_of(DIRECT)[0]["body"]


def test_several_messages_are_one_in_order_of_seq(house: House) -> None:
    alice, bob = chat(house, "one", "two")
    carol = house.connect("carol")
    house.now += 5
    bob.ok("message.send", {"cmid": "b1", "conv": DIRECT, "kind": "custom", "body": {"type": "t", "payload": 3}})

    reply = forward(alice, DIRECT, [3, 1, 2, 1], "f1", to="carol", title="A talk")
    house.fan_out()

    (copy,) = pushed(carol, CAROL)
    assert copy["kind"] == "merged"
    assert copy["body"] == {
        "title": "A talk",
        "messages": [
            {"from": "alice", "ts": START, "kind": "text", "body": {"text": "one"}},
            {"from": "alice", "ts": START, "kind": "text", "body": {"text": "two"}},
            {"from": "bob", "ts": START + 5, "kind": "custom", "body": {"type": "t", "payload": 3}},
        ],
    }
    assert "forwarded" not in copy
    assert (reply["n"], row(carol, CAROL)["unread"]) == (1, 1), "it is one message"
    assert row(carol, CAROL)["last"]["preview"] == "A talk"
    check_messages()


def test_one_named_twice_is_one(house: House) -> None:
    alice, _ = chat(house, "one")

    forward(alice, DIRECT, [1, 1], "f1", to="carol")

    assert (message(alice, 1, CAROL)["kind"], message(alice, 1, CAROL)["body"]) == ("text", {"text": "one"})


def test_what_is_forwarded_again_still_says_who_said_it_first(house: House) -> None:
    alice, bob = chat(house)
    bob.say("hello", "b1", to="alice")
    house.now += 5
    forward(alice, DIRECT, [1], "f1", to="carol")
    house.now += 5

    forward(house.connect("carol"), CAROL, [1], "f2", to="dave")

    assert message(house.connect("dave"), 1, "d:carol:dave")["forwarded"] == {"from": "bob", "ts": START}


def test_a_merged_message_is_forwarded_whole_alone_and_among_others(house: House) -> None:
    alice, _ = chat(house, "one", "two")
    first = forward(alice, DIRECT, [1, 2], "f1", to="bob")["seq"]

    alone = forward(alice, DIRECT, [first], "f2", to="carol")["seq"]
    among = forward(alice, DIRECT, [1, first], "f3", to="carol")["seq"]

    assert message(alice, alone, CAROL)["body"] == message(alice, first)["body"]
    assert message(alice, alone, CAROL)["forwarded"] == {"from": "alice", "ts": START}
    inner = message(alice, among, CAROL)["body"]["messages"]
    assert [one["kind"] for one in inner] == ["text", "merged"]
    assert inner[1]["body"] == message(alice, first)["body"]


def test_what_is_merged_again_and_again_stays_readable_until_it_is_too_large(house: House) -> None:
    alice, bob = house.connect("a"), house.connect("b")
    conv, newest, asked = "d:a:b", 1, Data()
    alice.say("x", "0", conv=conv)
    for i in range(2, 1000):
        data = {"conv": conv, "source": conv, "seqs": [1, newest], "cmid": f"{i}"}
        reply = alice.ask("message.forward", data if newest > 1 else data | {"seqs": [1, 1]})
        if not reply["ok"]:
            break
        newest, asked = i, data
    drop_queued(house)
    assert reply["error"]["code"] == "too_large"
    assert newest > 100, "as deep as they go"

    alice.ok("message.forward", asked)
    house.fan_out()

    assert bob.seen(conv) == [newest]
    assert bob.ok("sync.entries", {"conv": conv, "after": newest - 1})["entries"][0]["kind"] == "merged"


def test_mentions_answers_reactions_and_pins_are_not_copied(house: House) -> None:
    alice, bob = chat(house, "first")
    sent = {"conv": DIRECT, "cmid": "b1", "kind": "text", "body": {"text": "@alice"}}
    seq = bob.ok("message.send", sent | {"mentions": ["alice", "carol"], "reply_to": 1})["seq"]
    react(alice, seq)
    pin(alice, seq)

    forward(alice, DIRECT, [seq], "f1", to="carol")
    forward(alice, DIRECT, [1, seq], "f2", to="carol")
    house.fan_out()

    carol = house.connect("carol")
    assert message(carol, 1, CAROL).keys() == {"kind", "body", "forwarded"}
    assert message(carol, 2, CAROL).keys() == {"kind", "body"}
    assert message(carol, 2, CAROL)["body"]["messages"][1].keys() == {"from", "ts", "kind", "body"}
    assert row(carol, CAROL)["mention_seq"] == 0


def test_an_edited_message_is_forwarded_as_it_is_now_and_the_copy_does_not_change(house: House) -> None:
    alice, _ = chat(house, "first")
    edit(alice, 1, "second")

    forward(alice, DIRECT, [1], "f1", to="carol")
    edit(alice, 1, "third")
    recall(alice, 1)

    copy = message(house.connect("carol"), 1, CAROL)
    assert copy == {"kind": "text", "body": {"text": "second"}, "forwarded": {"from": "alice", "ts": START}}


# ---- how much --------------------------------------------------------------------------------------------------------


def test_thirty_messages_are_forwarded_at_once(house: House) -> None:
    alice, _ = chat(house, *(f"{i}" for i in range(31)))

    assert refusal(alice, list(range(1, 32))) == "bad_request"
    assert refusal(alice, []) == "bad_request"
    forward(alice, DIRECT, list(range(30, 0, -1)), "f1", to="carol")

    assert merged(message(alice, 1, CAROL)) == [f"{i}" for i in range(30)]


@pytest.mark.parametrize(("longer", "code"), [(0, "ok"), (1, "too_large")])
def test_a_merged_message_is_at_most_24_kib(house: House, longer: int, code: str) -> None:
    alice, _ = chat(house)
    frame = {"title": "é", "messages": [{"from": "alice", "ts": START, "kind": "text", "body": {"text": ""}}] * 2}
    room = 24 * 1024 - len(json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode())
    for i, size in enumerate((16000, room - 16000 + longer)):
        alice.say("x" * size, f"{i}", to="bob")
    settle(house)
    before = everything(house)

    if code == "ok":
        forward(alice, DIRECT, [1, 2], "f1", to="carol", title="é")
        house.fan_out()
        assert merged(message(house.connect("carol"), 1, CAROL))[0] == "x" * 16000
    else:
        assert refusal(alice, [1, 2], title="é") == code
        assert everything(house) == before


def test_the_longest_message_is_forwarded(house: House) -> None:
    alice, _ = chat(house)
    alice.say("\x01" * 4000, "a", to="bob")
    alice.say("é" * 8192, "b", to="bob")

    for seq in (1, 2):
        forward(alice, DIRECT, [seq], f"f{seq}", to="carol")
        assert message(alice, seq, CAROL)["body"] == message(alice, seq)["body"]


@pytest.mark.parametrize(("title", "code"), [("x" * 100, "ok"), ("x" * 101, "bad_request"), (5, "bad_request")])
def test_a_title_is_short(house: House, title: Any, code: str) -> None:
    alice, _ = chat(house, "one", "two")

    reply = alice.ask("message.forward", {"to": "carol", "source": DIRECT, "seqs": [1, 2], "cmid": "f", "title": title})

    assert ("ok" if reply["ok"] else reply["error"]["code"]) == code


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": None},
        {"source": "x"},
        {"source": "d:bob:alice"},
        {"to": None},
        {"conv": CAROL},
        {"cmid": ""},
        {"cmid": "x" * 65},
        {"seqs": 1},
        {"seqs": ["1"]},
        {"seqs": [0]},
    ],
)
def test_a_forward_of_the_wrong_form_is_refused(house: House, wrong: Data) -> None:
    alice, _ = chat(house, "one")
    before = everything(house)

    assert refusal(alice, **({"seqs": [1]} | wrong)) == "bad_request"
    assert everything(house) == before


# ---- from where, and to where ----------------------------------------------------------------------------------------


def test_only_what_one_sees_is_forwarded(house: House) -> None:
    people = group(house, "alice bob", "first")
    people["carol"] = house.connect("carol")
    people["alice"].ok("group.invite", {"conv": GROUP, "users": ["carol"]})

    for seqs in ([2], [2, 3], [4]):
        assert refusal(people["carol"], seqs, GROUP, to="dave") == "not_found"
    assert refusal(house.connect("sam"), [2], GROUP) == "not_member"
    assert refusal(people["carol"], [1], "d:alice:bob", to="dave") == "not_member"
    assert refusal(people["alice"], [1], GROUP) == "bad_request", "a notice"
    assert refusal(people["alice"], [2, 3], GROUP) == "bad_request"


def test_who_has_left_forwards_what_they_saw_as_it_was_then(house: House) -> None:
    people = group(house, "alice bob", "first", "second")
    edit(people["alice"], 2, "seen", GROUP)
    people["bob"].ok("group.leave", {"conv": GROUP})
    edit(people["alice"], 2, "not seen", GROUP)
    edit(people["alice"], 3, "not seen", GROUP)
    later = people["alice"].say("later", "a9", conv=GROUP)["seq"]

    forward(people["bob"], GROUP, [3], "f1", to="carol")
    assert message(people["bob"], 1, "d:bob:carol")["body"] == {"text": "second"}
    forward(people["bob"], GROUP, [2, 3], "f2", to="carol")
    assert "not seen" not in json.dumps(log_of("d:bob:carol"))
    assert refusal(people["bob"], [later], GROUP) == "not_found"
    assert refusal(people["bob"], [2], GROUP, to=None, conv=GROUP) == "not_member"
    recall(people["alice"], 3, GROUP)
    assert refusal(people["bob"], [3], GROUP) == "conflict", "recalled it is for everybody"


def test_a_forward_to_a_group_follows_its_rules(house: House) -> None:
    people = group(house, "alice bob", "first")
    people["bob"].say("x", "x", to="carol")
    here = {"to": None, "conv": GROUP}

    people["alice"].ok("group.mute", {"conv": GROUP, "user": "bob", "until": START + 1000})
    assert refusal(people["bob"], [1], "d:bob:carol", **here) == "muted"
    house.now += 1000
    reply = forward(people["bob"], "d:bob:carol", [1], "f1", conv=GROUP)
    assert message(people["alice"], reply["seq"], GROUP)["body"] == {"text": "x"}
    assert refusal(house.connect("carol"), [1], "d:bob:carol", **here) == "not_member"
    people["alice"].ok("group.remove", {"conv": GROUP, "users": ["bob"]})
    assert refusal(people["bob"], [1], "d:bob:carol", **here) == "not_member"


def test_within_one_conversation_a_message_is_forwarded_too(house: House) -> None:
    alice, bob = chat(house, "first")

    reply = forward(bob, DIRECT, [1], "f1", conv=DIRECT)

    assert reply["seq"] == 2
    assert message(alice, 2)["forwarded"] == {"from": "alice", "ts": START}


def test_nobody_is_told_of_it_where_it_comes_from(house: House) -> None:
    alice, bob = chat(house, "first")
    before = log_of(DIRECT)

    forward(alice, DIRECT, [1], "f1", to="carol")
    house.fan_out()

    assert bob.pushes == []
    assert log_of(DIRECT) == before


# ---- again -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seqs", [[1], [1, 2]])
def test_a_repeat_of_a_forward_is_the_first_one(house: House, seqs: list[int]) -> None:
    """Also when what it copied is recalled since, or out of sight."""
    people = group(house, "alice bob")
    for name in ("alice", "bob"):
        people[name].say(name, name, conv=GROUP)
    shifted = [seq + 1 for seq in seqs]
    first = forward(people["bob"], GROUP, shifted, "f1", to="carol")
    settle(house)
    before = everything(house)

    assert forward(people["bob"], GROUP, shifted, "f1", to="carol") == first | {"duplicate": True}
    assert forward(people["bob"], GROUP, [3], "f1", conv="d:bob:carol") == first | {"duplicate": True}
    assert everything(house) | {"queue": []} == before
    recall(people["alice"], 2, GROUP)
    assert forward(people["bob"], GROUP, shifted, "f1", to="carol") == first | {"duplicate": True}
    assert refusal(people["bob"], shifted, GROUP, cmid="f2") == "conflict"
    people["alice"].ok("group.remove", {"conv": GROUP, "users": ["bob"]})
    assert forward(people["bob"], GROUP, [99], "f1", to="carol") == first | {"duplicate": True}
    assert len(log_of("d:bob:carol")) == 1
    check_messages()


def test_one_of_several_that_is_recalled_stops_them_all(house: House) -> None:
    alice, bob = chat(house, "one", "two", "three")
    recall(alice, 2)
    settle(house)
    before = everything(house)

    assert refusal(bob, [1, 2, 3]) == "conflict"
    assert everything(house) == before
    assert log_of("d:bob:carol") == []
