"""Changes of messages at once, in many orders of their AWS calls: they come to the same as one after the other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from im.domain.message_rules import MAX_PINNED
from im.flows.crowds import DEADLINE_MS
from tests.integration.group_state import code_of, everything, log_of, undone
from tests.integration.house import Call, Device, House
from tests.integration.message_state import (
    DIRECT,
    GROUP,
    Data,
    chat,
    check_messages,
    edit,
    group,
    message,
    pin,
    pins_of,
    react,
    recall,
    said_by,
    settle,
)
from tests.integration.turns import Turns, all_orders

Frame = Callable[[], Data]
TURNS = 4
"""Calls of a change in a direct conversation: the log's end, the message, the write, the queue."""


def frame(device: Device, op: str, seq: int = 1, conv: str = DIRECT, **more: Any) -> Frame:
    return partial(device.ask, f"message.{op}", {"conv": conv, "seq": seq} | more)


def saying(device: Device, said: str, conv: str = DIRECT) -> Frame:
    data = {"conv": conv, "cmid": said, "kind": "text", "body": {"text": said}}
    return partial(device.ask, "message.send", data)


def outcomes(house: House, *frames: Frame, turns: int = TURNS, some: int = 5) -> Iterator[tuple[list[int], list[Data]]]:
    """The replies in `some` orders of the frames' calls, one after the other and the other way round among them.
    Whatever they have done is taken back after each."""
    orders = list(all_orders(turns))
    chosen = [orders[0], orders[-1], *random.Random(1).sample(orders[1:-1], some - 2)]
    for order in chosen:
        with undone(house):
            yield order, Turns(house).run(frames, order)


def told_everything(house: House, *devices: Device, conv: str = DIRECT) -> bool:
    """Whether each has been pushed every change, or made it."""
    house.fan_out()
    changes = {int(entry["seq"]) for entry in log_of(conv) if entry["kind"] in {"edit", "recall", "reaction", "pin"}}
    return all(set(device.seen(conv)) >= changes for device in devices)


# ---- two of one message ----------------------------------------------------------------------------------------------


def test_two_edits_at_once_are_two_versions(house: House) -> None:
    alice, bob = chat(house, "first")
    phone = house.connect("alice", "phone", "ios")
    said = [frame(device, "edit", body={"text": words}) for device, words in ((alice, "a"), (phone, "b"))]

    lasts = set()
    for order, replies in outcomes(house, *said):
        assert sorted(reply["data"]["seq"] for reply in replies) == [2, 3], order
        assert not any(reply["data"]["duplicate"] for reply in replies)
        newest = ["a", "b"][replies[1]["data"]["seq"] - 2]
        assert message(bob, 1)["body"]["text"] == newest
        assert sorted(said_by(bob, 1)) == ["a", "b", "first"]
        assert told_everything(house, bob)
        check_messages()
        lasts.add(newest)
    assert lasts == {"a", "b"}


@pytest.mark.parametrize("cmid", [{}, {"cmid": "k1"}], ids=["without a cmid", "with one"])
@pytest.mark.parametrize("op", ["edit", "recall", "react", "pin"])
def test_one_change_on_two_devices_at_once_is_one(house: House, op: str, cmid: Data) -> None:
    alice, bob = chat(house, "first")
    phone = house.connect("alice", "phone", "ios")
    more: Data = {"edit": {"body": {"text": "x"}}, "react": {"emoji": "👍", "on": True}, "pin": {"on": True}}.get(
        op, {}
    )

    for order, replies in outcomes(house, *(frame(device, op, **more, **cmid) for device in (alice, phone))):
        assert [reply["data"]["seq"] for reply in replies] == [2, 2], order
        assert sorted(reply["data"]["duplicate"] for reply in replies) == [False, True], order
        assert len(log_of(DIRECT)) == 2
        assert told_everything(house, bob)
        check_messages()


@pytest.mark.parametrize("by", ["alice", "adam"])
def test_an_edit_and_a_recall_at_once_leave_nothing_of_either_text(house: House, by: str) -> None:
    """By the sender's other device, or by an admin."""
    people = group(house, "alice adam bob")
    people["alice"].ok("group.role", {"conv": GROUP, "user": "adam", "role": "admin"})
    seq = people["alice"].say("secret", "s", conv=GROUP)["seq"]
    settle(house)
    takes_back = people["adam"] if by == "adam" else house.connect("alice", "phone", "ios")
    editing = frame(people["alice"], "edit", seq, GROUP, body={"text": "secret too"})

    words = set()
    for order, (edited, recalled) in outcomes(house, editing, frame(takes_back, "recall", seq, GROUP), some=14):
        assert recalled["ok"], (order, recalled)
        words.add(code_of(edited))
        copy = message(people["bob"], seq, GROUP)
        assert (copy["body"], copy["recalled"]["by"]) == ({}, by), order
        check_messages()
        settle(house)
        assert "secret" not in json.dumps(everything(house)), order
    assert words == {"ok", "conflict"}


def test_two_who_react_at_once_are_two(house: House) -> None:
    alice, bob = chat(house, "first")

    for order, replies in outcomes(house, *(frame(d, "react", emoji="👍", on=True) for d in (alice, bob))):
        assert all(reply["ok"] for reply in replies), order
        shown = message(alice, 1)["reactions"]["👍"]
        assert (shown["count"], set(shown["users"])) == (2, {"alice", "bob"}), order
        check_messages()


def test_two_emoji_of_one_user_at_once_are_both_on(house: House) -> None:
    alice, bob = chat(house, "first")
    phone = house.connect("bob", "phone", "ios")

    both = [frame(device, "react", emoji=emoji, on=True) for device, emoji in ((bob, "👍"), (phone, "🎉"))]
    for order, replies in outcomes(house, *both):
        assert all(reply["ok"] for reply in replies), order
        assert message(alice, 1)["reactions"].keys() == {"👍", "🎉"}, order
        check_messages()


def test_on_and_off_at_once_end_as_one_of_them(house: House) -> None:
    alice, bob = chat(house, "first")
    phone = house.connect("bob", "phone", "ios")
    react(alice, 1)
    react(bob, 1)
    settle(house)

    ends = set()
    both = [frame(device, "react", emoji="👍", on=on) for device, on in ((bob, False), (phone, True))]
    for order, replies in outcomes(house, *both):
        assert all(reply["ok"] for reply in replies), order
        count = message(alice, 1)["reactions"]["👍"]["count"]
        assert count == 1 + sum(json.loads(e["body"])["on"] * 2 - 1 for e in log_of(DIRECT)[2:] if e["from"] == "bob")
        ends.add(count)
        check_messages()
    assert ends == {1, 2}


def test_a_crowd_that_reacts_at_once_is_counted(house: House) -> None:
    names = [f"u{i}" for i in range(8)]
    people = group(house, " ".join(names), "first")
    rng = random.Random(5)

    for emoji in ("👍", "🎉"):
        frames = [frame(device, "react", 2, GROUP, emoji=emoji, on=True) for device in people.values()]
        replies = Turns(house).run(frames, [rng.randrange(8) for _ in range(200)])
        assert all(reply["ok"] for reply in replies)
        assert message(people["u0"], 2, GROUP)["reactions"][emoji]["count"] == 8
    check_messages()
    off = [frame(device, "react", 2, GROUP, emoji="👍", on=False) for device in people.values()]
    Turns(house).run(off, [rng.randrange(8) for _ in range(200)])
    assert set(message(people["u0"], 2, GROUP)["reactions"]) == {"🎉"}
    check_messages()


@pytest.mark.parametrize("op", ["edit", "react", "pin"])
def test_whatever_is_changed_while_it_is_recalled_stays_recalled(house: House, op: str) -> None:
    alice, bob = chat(house, "first")
    more: Data = {"edit": {"body": {"text": "x"}}, "react": {"emoji": "👍", "on": True}, "pin": {"on": True}}[op]
    phone = house.connect("alice", "phone", "ios")

    words = set()
    both = frame(phone, op, **more), frame(alice, "recall")
    for order, (changed, recalled) in outcomes(house, *both, some=20 if op == "edit" else 5):
        assert recalled["ok"], (order, recalled)
        words.add(code_of(changed))
        copy = message(bob, 1)
        assert copy.keys() == {"kind", "body", "changed", "recalled"}
        assert pins_of(bob) == []
        check_messages()
    assert words == {"ok", "conflict"}


# ---- two of one conversation -----------------------------------------------------------------------------------------


def test_two_pins_at_once_where_one_place_is_left_are_one(house: House) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(MAX_PINNED + 1)))
    for seq in range(1, MAX_PINNED):
        pin(alice, seq)
    settle(house)
    both = [frame(device, "pin", MAX_PINNED + i, on=True) for i, device in enumerate((alice, bob))]

    for order, replies in outcomes(house, *both, some=5):
        assert sorted(map(code_of, replies)) == ["ok", "too_large"], order
        assert len(pins_of(alice)) == MAX_PINNED
        check_messages()


def test_a_pin_finds_the_place_that_another_leaves_at_the_same_time_or_does_not(house: House) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(MAX_PINNED + 1)))
    for seq in range(1, MAX_PINNED + 1):
        pin(alice, seq)
    settle(house)
    both = [frame(alice, "pin", 1, on=False), frame(bob, "pin", MAX_PINNED + 1, on=True)]

    words = set()
    for order, (off, on) in outcomes(house, *both, some=5):
        assert off["ok"], order
        words.add(code_of(on))
        assert len(pins_of(alice)) == MAX_PINNED - 1 + on["ok"]
        check_messages()
    assert words == {"ok", "too_large"}


@pytest.mark.parametrize("op", ["edit", "recall", "react", "pin"])
def test_a_change_and_a_message_at_once_get_two_places(house: House, op: str) -> None:
    alice, bob = chat(house, "first")
    more: Data = {"edit": {"body": {"text": "x"}}, "react": {"emoji": "👍", "on": True}, "pin": {"on": True}}.get(
        op, {}
    )

    for order, replies in outcomes(house, frame(alice, op, **more), saying(bob, "hello")):
        assert sorted(reply["data"]["seq"] for reply in replies) == [2, 3], order
        assert replies[1]["data"]["n"] == 2
        check_messages()


def test_changes_of_two_messages_at_once_are_both_made(house: House) -> None:
    alice, bob = chat(house, "first", "second")

    for order, replies in outcomes(house, frame(alice, "edit", 1, body={"text": "x"}), frame(bob, "pin", 2, on=True)):
        assert all(reply["ok"] for reply in replies), order
        assert message(bob, 1)["body"]["text"] == "x"
        assert pins_of(alice) == [2]
        check_messages()


def test_what_is_forwarded_and_recalled_at_the_same_time_is_a_copy_or_none(house: House) -> None:
    alice, bob = chat(house, "first")
    copy = {"source": DIRECT, "seqs": [1], "cmid": "f1", "to": "carol"}

    words = set()
    both = partial(bob.ask, "message.forward", copy), frame(alice, "recall")
    for order, (copied, recalled) in outcomes(house, *both):
        assert recalled["ok"], order
        words.add(code_of(copied))
        if copied["ok"]:
            assert message(bob, 1, "d:bob:carol")["body"] == {"text": "first"}, "or half of it was copied"
        assert message(alice, 1)["body"] == {}
        check_messages()
    assert words == {"ok", "conflict"}


def test_what_is_answered_and_recalled_at_the_same_time_is_quoted_as_recalled(house: House) -> None:
    alice, bob = chat(house, "first")
    answer = {"conv": DIRECT, "cmid": "b1", "kind": "text", "body": {"text": "re"}, "reply_to": 1}

    for order, replies in outcomes(house, partial(bob.ask, "message.send", answer), frame(alice, "recall")):
        assert all(reply["ok"] for reply in replies), order
        quote = message(alice, replies[0]["data"]["seq"])["quote"]
        assert (quote["preview"], quote["recalled"]) == ("", True)
        check_messages()


# ---- others are faster -----------------------------------------------------------------------------------------------


def at_the_write(house: House, op: str, act: Callable[[], object], times: int = 1) -> Any:
    """`act` happens right before the change `op` is written, the first `times` times."""
    left = times

    def before(call: Call) -> None:
        nonlocal left
        items = call.params.get("TransactItems", []) if call.operation == "TransactWriteItems" else []
        if left and items and items[0].get("Put", {}).get("Item", {}).get("kind") == {"S": op}:
            left -= 1
            act()

    return house.watched(before=before)


REFUSALS = {
    "removed": ("not_member", lambda people: people["alice"].ok("group.remove", {"conv": GROUP, "users": ["bob"]})),
    "left": ("not_member", lambda people: people["bob"].ok("group.leave", {"conv": GROUP})),
    "muted": (
        "muted",
        lambda people: people["alice"].ok("group.mute", {"conv": GROUP, "user": "bob", "until": 10**13}),
    ),
    "all muted": ("muted", lambda people: people["alice"].ok("group.mute", {"conv": GROUP, "until": 10**13})),
    "dissolved": ("not_member", lambda people: people["alice"].ok("group.dissolve", {"conv": GROUP})),
    "recalled": ("conflict", lambda people: recall(people["alice"], 2, GROUP)),
}


@pytest.mark.parametrize("what", REFUSALS)
@pytest.mark.parametrize("op", ["edit", "reaction"])
def test_nobody_changes_a_message_who_may_not_any_more_when_it_is_written(house: House, op: str, what: str) -> None:
    """Also when it happens between the check and the write."""
    people = group(house, "alice bob")
    people["bob"].say("bob's", "b1", conv=GROUP)
    code, act = REFUSALS[what]
    data = {"conv": GROUP, "seq": 2} | ({"body": {"text": "x"}} if op == "edit" else {"emoji": "👍", "on": True})

    with at_the_write(house, op, lambda: act(people)):
        reply = people["bob"].ask("message.edit" if op == "edit" else "message.react", data)

    assert code_of(reply) == code
    assert op not in {entry["kind"] for entry in log_of(GROUP)}
    check_messages()


def test_an_admin_who_is_one_no_more_pins_and_recalls_nothing(house: House) -> None:
    people = group(house, "alice adam", "first")
    demote = partial(people["alice"].ok, "group.role", {"conv": GROUP, "user": "adam", "role": "member"})

    for op, kind, more in (("pin", "pin", {"on": True}), ("recall", "recall", {})):
        people["alice"].ok("group.role", {"conv": GROUP, "user": "adam", "role": "admin"})
        with at_the_write(house, kind, demote):
            reply = people["adam"].ask(f"message.{op}", {"conv": GROUP, "seq": 2} | more)
        assert code_of(reply) == "forbidden"
    assert message(people["alice"], 2, GROUP)["body"] == {"text": "first"}


def test_whom_others_beat_to_the_place_again_and_again_gets_the_next(house: House) -> None:
    alice, bob = chat(house, "first")
    numbers = iter(range(100))

    with at_the_write(house, "edit", lambda: bob.say("x", f"b{next(numbers)}", to="alice"), times=12):
        reply = edit(alice, 1, "second")

    assert (reply["seq"], reply["n"], reply["duplicate"]) == (14, 13, False)
    assert said_by(bob, 1) == ["first", "second"]
    check_messages()


def test_who_never_gets_a_place_is_told_to_come_again_and_may(house: House) -> None:
    alice, bob = chat(house, "first")
    numbers = iter(range(1000))

    def beat() -> None:
        house.now += DEADLINE_MS // 4
        bob.say("x", f"b{next(numbers)}", to="alice")

    with at_the_write(house, "pin", beat, times=1000):
        error = alice.error("message.pin", {"conv": DIRECT, "seq": 1, "on": True})

    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert error["retry_after_ms"] > 0
    assert next(numbers) < 10
    assert pins_of(alice) == []
    assert pin(alice, 1)["duplicate"] is False
    check_messages()


def test_a_log_s_end_from_a_replica_that_is_behind_does_no_harm(house: House) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(6)))
    lags = cycle([3, 1, 0, 5])

    def lag(call: Call, answer: dict[str, Any]) -> None:
        if call.operation == "Query" and call.params.get("Limit") == 1 and not call.params.get("ConsistentRead"):
            answer["Items"] = [
                house.dynamodb.get_item(
                    TableName="ConversationTable",
                    Key={"pk": {"S": DIRECT}, "sk": {"S": f"MSG#{len(log_of(DIRECT)) - next(lags):012d}"}},
                )["Item"]
            ]

    with house.watched(after=lag):
        for i in range(5):
            assert edit(alice, 1, f"edit {i}")["duplicate"] is False
            assert react(bob, 2, f"{i}")["duplicate"] is False
        recall(alice, 1)

    assert len(log_of(DIRECT)) == 17
    check_messages()
