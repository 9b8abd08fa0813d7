"""A function dies before or after any of its AWS calls, and the client sends the frame again; or does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from tests.integration.group_state import drop_queued, everything, log_of, queued_seqs, row, undone
from tests.integration.house import Device, House
from tests.integration.message_state import (
    GROUP,
    chat,
    check_messages,
    edit,
    entries_of,
    group,
    pin,
    pins_of,
    pushed,
    react,
    said_by,
)
from tests.integration.test_crashes import MOMENTS, calls_of, dies

Data = dict[str, Any]

CHANGES: dict[str, Data] = {
    "edit": {"body": {"text": "other"}},
    "recall": {},
    "react": {"emoji": "👍", "on": True},
    "react off": {"emoji": "🎉", "on": False},
    "pin": {"on": True},
}


@dataclass
class Chat:
    """Four people, one of whom changes her message, which everybody has; all online."""

    house: House
    conv: str
    seq: int
    alice: Device
    others: list[Device]


def direct(house: House) -> Chat:
    alice, bob = chat(house, "first", "second")
    react(alice, 2, "🎉")
    house.fan_out()
    return Chat(house, "d:alice:bob", 2, alice, [bob, house.connect("alice", "phone", "ios")])


def in_group(house: House) -> Chat:
    people = group(house, "alice bob carol", "first")
    react(people["alice"], 2, "🎉", GROUP)
    house.fan_out()
    others = [people["bob"], people["carol"], house.connect("alice", "phone", "ios")]
    return Chat(house, GROUP, 2, people["alice"], others)


def steps_of(place: Chat, action: Callable[..., object], *args: Any) -> int:
    """How many AWS calls it makes when nothing is in its way, in a function that has just started."""
    with undone(place.house):
        place.house.load("message")
        return calls_of(place.house, action, *args)


@pytest.mark.parametrize(("where", "cmid"), [(direct, {}), (direct, {"cmid": "k1"}), (in_group, {})])
@pytest.mark.parametrize("op", CHANGES)
def test_a_change_that_died_anywhere_is_made_once_and_told_to_everybody(
    house: House, op: str, where: Callable[[House], Chat], cmid: Data
) -> None:
    place = where(house)
    name, data = f"message.{op.partition(' ')[0]}", {"conv": place.conv, "seq": place.seq} | CHANGES[op] | cmid
    length = len(log_of(place.conv))
    for device in house.devices.values():
        device.pushes.clear()
    steps = steps_of(place, place.alice.ok, name, data)
    committed = 0

    for at, moment in product(range(steps), MOMENTS):
        with undone(house):
            house.load("message")
            assert dies(house, at, moment, place.alice.ok, name, data)
            # Nobody repeats: what is stored is whole, or nothing.
            check_messages()
            stored = len(log_of(place.conv)) - length
            assert stored in {0, 1}
            assert len(queued_seqs(house)) <= stored, "somebody is told of what is not there"
            committed += stored

            reply = place.alice.ok(name, data)
            house.fan_out()

            assert (reply["seq"], reply["duplicate"]) == (length + 1, bool(stored))
            check_messages()
            log = log_of(place.conv)
            assert [json.loads(entry["body"])["target"] for entry in log[length:]] == [place.seq]
            for device in place.others:
                assert [entry["seq"] for entry in pushed(device, place.conv)] == [length + 1], (at, moment)
                assert row(device, place.conv)["last_seq"] == length + 1
            assert place.alice.ok(name, data) == reply | {"duplicate": True}
    assert 0 < committed < 2 * steps
    house.load("message")
    assert not dies(house, steps, "before", place.alice.ok, name, data), "there are more calls to die at"


def test_a_change_that_nobody_repeats_is_found_with_the_next_entry(house: House) -> None:
    place = direct(house)
    (bob, _) = place.others
    data = {"conv": place.conv, "seq": place.seq, "body": {"text": "other"}}
    last = steps_of(place, place.alice.ok, "message.edit", data) - 1
    assert dies(house, last, "before", place.alice.ok, "message.edit", data)
    seen = entries_of(bob)

    bob.say("next", "b1", to="alice")
    house.fan_out()

    assert seen[4]["kind"] == "edit", "its seq is a hole to whoever gets the next entry"
    assert [entry["seq"] for entry in pushed(place.others[1])][-1] == 5
    assert said_by(bob, 2) == ["second", "other"]


def test_a_recall_of_much_that_died_anywhere_leaves_all_of_it_or_nothing(house: House) -> None:
    """Edits, reactions, a pin: all are one write."""
    place = in_group(house)
    for i in range(3):
        edit(place.alice, 2, f"secret {i}", GROUP)
    react(place.others[0], 2, "👍", GROUP)
    pin(place.alice, 2, GROUP)
    drop_queued(house)
    data = {"conv": GROUP, "seq": 2}

    for at, moment in product(range(steps_of(place, place.alice.ok, "message.recall", data)), MOMENTS):
        with undone(house):
            house.load("message")
            before = everything(house)
            assert dies(house, at, moment, place.alice.ok, "message.recall", data)
            after = everything(house)
            assert ("secret" in json.dumps(after)) == (after["ConversationTable"] == before["ConversationTable"])
            place.alice.ok("message.recall", data)
            assert "secret" not in json.dumps(everything(house))
            assert pins_of(place.alice, GROUP) == []
            check_messages()


@pytest.mark.parametrize("cold", [False, True])
def test_a_deletion_that_died_anywhere_is_completed_by_its_repeat(house: House, *, cold: bool) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(6)))
    phone = house.connect("bob", "phone", "ios")
    data = {"conv": "d:alice:bob", "seqs": [2, 3, 5]}
    with undone(house):
        steps = calls_of(house, bob.ok, "message.delete", data)
    whole = {"conv": "d:alice:bob", "deleted": 1, "ranges": [[2, 3], [5, 5]]}

    for at, moment in product(range(steps), MOMENTS):
        with undone(house):
            house.load("message") if cold else None
            assert dies(house, at, moment, bob.ok, "message.delete", data)
            assert (ranges := bob.ok("sync.deleted", {"conv": "d:alice:bob"})["ranges"]) in ([], whole["ranges"])
            assert row(bob, "d:alice:bob")["deleted"] == (1 if ranges else 0), "the row tells the other devices"

            assert bob.ok("message.delete", data) == whole

            assert bob.ok("sync.deleted", {"conv": "d:alice:bob"}) == phone.ok("sync.deleted", {"conv": "d:alice:bob"})
            assert row(phone, "d:alice:bob")["deleted"] == 1
            assert phone.got("deleted") in ([], [whole]), "told, or found by the version in the row"
            assert alice.pushes == []


@pytest.mark.parametrize("seqs", [[2], [2, 3]])
def test_a_forward_that_died_anywhere_is_completed_by_its_repeat(house: House, seqs: list[int]) -> None:
    people = group(house, "alice bob", "first", "second")
    carol = house.connect("carol")
    data = {"to": "carol", "source": GROUP, "seqs": seqs, "cmid": "f1"}
    with undone(house):
        steps = calls_of(house, people["alice"].ok, "message.forward", data)
    assert steps > 5

    for at, moment in product(range(steps), MOMENTS):
        with undone(house):
            assert dies(house, at, moment, people["alice"].ok, "message.forward", data)
            reply = people["alice"].ok("message.forward", data)
            house.fan_out()

            assert reply["seq"] == 1
            assert [entry["seq"] for entry in pushed(carol, "d:alice:carol")] == [1]
            assert len(log_of("d:alice:carol")) == 1
            assert row(carol, "d:alice:carol")["unread"] == 1
            check_messages()


def test_a_forward_whose_source_is_recalled_before_its_repeat_stands(house: House) -> None:
    """Whatever it had come to: stored, it is found; not stored, it is refused."""
    alice, bob = chat(house, "first")
    data = {"to": "carol", "source": "d:alice:bob", "seqs": [1], "cmid": "f1"}
    with undone(house):
        steps = calls_of(house, bob.ok, "message.forward", data)

    stored = 0
    for at, moment in product(range(steps), MOMENTS):
        with undone(house):
            assert dies(house, at, moment, bob.ok, "message.forward", data)
            copies = len(log_of("d:bob:carol"))
            stored += copies
            alice.ok("message.recall", {"conv": "d:alice:bob", "seq": 1})

            again = bob.ask("message.forward", data)

            assert again["ok"] == bool(copies)
            assert len(log_of("d:bob:carol")) == copies
            if not copies:
                assert again["error"]["code"] == "conflict"
    assert 0 < stored < 2 * steps
