"""message.delete: entries hidden for one user, on all of their devices, and for nobody else."""

from __future__ import annotations

import json
import random
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from im.domain.deletions import MAX_RANGES
from im.domain.entries import Draft, Tail
from im.domain.ids import ConvId, Seq, UserId
from im.store.conversations import entry_item
from tests.integration.group_state import everything, row, undone
from tests.integration.house import START, Device, House, built_house
from tests.integration.message_state import (
    DIRECT,
    FROM_THE_END,
    GROUP,
    chat,
    edit,
    entries_of,
    group,
    message,
    pin,
    pins_of,
    recall,
    settle,
)
from tests.integration.turns import Turns, all_orders


def delete(device: Device, *seqs: int, conv: str = DIRECT) -> list[list[int]]:
    """Delete some; the ranges that are deleted then."""
    reply = device.ok("message.delete", {"conv": conv, "seqs": list(seqs)})
    assert reply == device.ok("sync.deleted", {"conv": conv})
    assert reply["conv"] == conv
    return list(reply["ranges"])


def shown(device: Device, conv: str = DIRECT) -> list[int]:
    """The seqs of what is no void."""
    return [seq for seq, entry in entries_of(device, conv).items() if entry["kind"] != "void"]


def void(entry: dict[str, Any]) -> dict[str, Any]:
    """What is left of an entry."""
    kept = {name: entry[name] for name in ("conv", "seq", "n", "from", "ts")}
    return kept | {"kind": "void", "body": {}}


def told_last(device: Device, conv: str = DIRECT) -> str | None:
    last = row(device, conv)["last"]
    return None if last is None else str(last["preview"])


# ---- what is deleted -------------------------------------------------------------------------------------------------


def test_deleted_entries_are_void_for_who_deleted_them_and_nobody_else(house: House) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(1, 7)))
    whole = entries_of(alice)

    assert delete(bob, 2, 5) == [[2, 2], [5, 5]]

    for limit in (1, 2, 3, 100):
        seen = entries_of(bob, limit=limit)
        assert list(seen) == list(whole)
        assert seen == {seq: void(entry) if seq in {2, 5} else entry for seq, entry in whole.items()}
        assert entries_of(alice, limit=limit) == whole
    assert row(bob, DIRECT)["unread"] == row(bob, DIRECT)["last_n"] == 6, "it counts what was sent"


def test_a_page_in_the_middle_of_what_is_deleted_is_a_page_of_voids(house: House) -> None:
    _, bob = chat(house, *(f"{i}" for i in range(10)))
    delete(bob, *range(2, 10))

    up = bob.ok("sync.entries", {"conv": DIRECT, "after": 3, "limit": 3})
    down = bob.ok("sync.entries", {"conv": DIRECT, "before": 7, "limit": 3})

    assert [(entry["seq"], entry["kind"]) for entry in up["entries"]] == [(4, "void"), (5, "void"), (6, "void")]
    assert up["more"] is down["more"] is True
    assert up["last_seq"] == 10
    assert [entry["seq"] for entry in down["entries"]] == [6, 5, 4]


@pytest.mark.parametrize(
    ("steps", "ranges"),
    [
        ([[3], [5], [4]], [[3, 5]]),
        ([[1, 2, 3]], [[1, 3]]),
        ([[9, 1, 5, 5]], [[1, 1], [5, 5], [9, 9]]),
        ([[1], [2], [3], [10], [9]], [[1, 3], [9, 10]]),
        ([[2, 4, 6, 8], [3, 5, 7]], [[2, 8]]),
        ([3, [7]], [[1, 3], [7, 7]]),
        ([[2, 6], 4], [[1, 4], [6, 6]]),
        ([[5], 4], [[1, 5]]),
        ([[2, 9], 10], [[1, 10]]),
        ([7, 3], [[1, 7]]),
        ([[1], 1], [[1, 1]]),
    ],
)
def test_ranges_that_touch_are_one(house: House, steps: list[Any], ranges: list[list[int]]) -> None:
    """A list names seqs, a number is `up_to`."""
    _, bob = chat(house, *(f"{i}" for i in range(10)))

    for step in steps:
        if isinstance(step, int):
            reply = bob.ok("message.delete", {"conv": DIRECT, "up_to": step})
        else:
            reply = bob.ok("message.delete", {"conv": DIRECT, "seqs": step})

    assert reply["ranges"] == ranges
    gone = {seq for first, last in ranges for seq in range(first, last + 1)}
    assert shown(bob) == [seq for seq in range(1, 11) if seq not in gone]


def test_what_is_deleted_at_random_is_what_is_deleted(house: House) -> None:
    _, bob = chat(house, *(f"{i}" for i in range(30)))
    rng, gone = random.Random(4), set[int]()
    for _ in range(25):
        some = rng.sample(range(1, 31), rng.randint(1, 3))
        gone |= set(some)
        ranges = delete(bob, *some)
        assert {seq for first, last in ranges for seq in range(first, last + 1)} == gone
        assert all(first <= last for first, last in ranges)
        assert all(one[1] + 1 < other[0] for one, other in pairwise(ranges))
    assert shown(bob) == sorted(set(range(1, 31)) - gone)


def test_deleting_again_changes_nothing(house: House) -> None:
    _, bob = chat(house, "one", "two", "three")
    phone = house.connect("bob", "phone", "ios")
    delete(bob, 1, 2)
    phone.pushes.clear()
    before = everything(house)

    for data in ({"seqs": [1]}, {"seqs": [2, 1]}, {"up_to": 2}, {"up_to": 1}):
        reply = bob.ok("message.delete", {"conv": DIRECT} | data)
        assert (reply["deleted"], reply["ranges"]) == (1, [[1, 2]])

    assert everything(house) == before
    assert phone.pushes == []


def test_what_is_deleted_stays_so_when_more_comes(house: House) -> None:
    alice, bob = chat(house, "one")
    bob.ok("message.delete", {"conv": DIRECT, "up_to": 1})

    alice.say("two", "a9", to="bob")
    house.fan_out()

    assert shown(bob) == [2]
    assert (told_last(bob), row(bob, DIRECT)["deleted"]) == ("two", 1)


# ---- who is told -----------------------------------------------------------------------------------------------------


def test_the_other_devices_are_told_and_nobody_else(house: House) -> None:
    alice, bob = chat(house, "one", "two", "three")
    phone, pc = house.connect("bob", "phone", "ios"), house.connect("bob", "pc", "desktop")
    versions = [device.ok("connect.ping")["inbox"] for device in (alice, bob)]

    first = bob.ok("message.delete", {"conv": DIRECT, "seqs": [1]})
    second = phone.ok("message.delete", {"conv": DIRECT, "up_to": 2})

    assert first == {"conv": DIRECT, "deleted": 1, "ranges": [[1, 1]]}
    assert second == {"conv": DIRECT, "deleted": 2, "ranges": [[1, 2]]}
    assert pc.pushes == [{"push": "deleted", "data": first}, {"push": "deleted", "data": second}]
    assert phone.pushes == [{"push": "deleted", "data": first}]
    assert bob.pushes == [{"push": "deleted", "data": second}]
    assert alice.pushes == []
    assert row(bob, DIRECT)["deleted"] == 2
    assert row(alice, DIRECT)["deleted"] == 0
    assert alice.ok("sync.deleted", {"conv": DIRECT}) == {"conv": DIRECT, "deleted": 0, "ranges": []}
    assert [device.ok("connect.ping")["inbox"] == old for device, old in zip((alice, bob), versions, strict=True)] == [
        True,
        False,
    ]


def test_a_device_that_was_away_is_told_by_its_next_sync(house: House) -> None:
    _, bob = chat(house, "one", "two")
    phone = house.connect("bob", "phone", "ios")
    since = phone.ok("sync.inbox")["inbox"]
    phone.hang_up()
    house.now += 600_000

    delete(bob, 2)

    phone = house.connect("bob", "phone", "ios")
    (changed,) = phone.ok("sync.inbox", {"since": since})["conversations"]
    assert (changed["deleted"], changed["last"]["preview"]) == (1, "one")
    assert phone.ok("sync.deleted", {"conv": DIRECT})["ranges"] == [[2, 2]]


# ---- how it shows elsewhere ------------------------------------------------------------------------------------------


def test_the_list_looks_behind_what_is_deleted(house: House) -> None:
    alice, bob = chat(house, "one", "two", "three")
    edit(alice, 2, "two again")
    settle(house)
    before = row(alice, DIRECT)

    for gone, last in ((3, "two again"), (4, "two again"), (2, "one"), (1, None)):
        delete(bob, gone)
        assert told_last(bob) == last
    assert row(alice, DIRECT) == before
    assert row(bob, DIRECT)["unread"] == 3
    bob.say("four", "b1", to="alice")
    house.fan_out()
    assert told_last(bob) == "four"
    recall(bob, 5)
    assert row(bob, DIRECT)["last"]["recalled"] is True


@pytest.mark.parametrize(("changes", "last"), [(99, "first"), (100, None)])
def test_the_list_looks_through_a_hundred_entries(house: House, changes: int, last: str | None) -> None:
    alice, bob = chat(house, "first")
    tail, put = Tail(Seq(1), 1, Seq(0), Seq(0)), partial(house.dynamodb.put_item, TableName="ConversationTable")
    for i in range(changes):
        draft = Draft(ConvId(DIRECT), "pin", UserId("bob"), json.dumps({"target": 1, "on": i % 2 == 0}))
        put(Item=entry_item(draft.following(tail, START)))
        tail = Tail(Seq(tail.seq + 1), 1, Seq(0), Seq(0))
    newest = alice.say("newest", "a9", to="bob")["seq"]
    house.fan_out()

    delete(bob, newest)

    assert told_last(bob) == last


def test_the_list_is_in_the_order_of_what_was_said(house: House) -> None:
    _, bob = chat(house, "old")
    house.now += 1000
    house.connect("carol").say("new", "c1", to="bob")
    house.fan_out()
    house.now += 1000

    delete(bob, 1)

    assert [there["conv"] for there in bob.ok("sync.inbox")["conversations"]] == ["d:bob:carol", DIRECT]


def test_a_deleted_message_is_not_quoted_and_not_among_the_pinned(house: House) -> None:
    alice, bob = chat(house, "one", "two")
    answer = {"conv": DIRECT, "cmid": "a9", "kind": "text", "body": {"text": "re"}, "reply_to": 1}
    alice.ok("message.send", answer)
    for seq in (1, 2, 3):
        pin(alice, seq)

    delete(bob, 1)

    assert "quote" not in message(bob, 3)
    assert message(alice, 3)["quote"]["preview"] == "one"
    assert (pins_of(bob), pins_of(alice)) == ([2, 3], [1, 2, 3])
    assert "one" not in json.dumps(bob.ok("sync.pins", {"conv": DIRECT}))


def test_what_changes_a_deleted_message_is_void_too(house: House) -> None:
    alice, bob = chat(house, "first", "second")
    for words in ("before", "after"):
        edit(alice, 1, words)
        pin(alice, 1, on=words == "before")
        edit(alice, 2, "other " + words)
        delete(bob, 1)
    house.fan_out()

    assert [entry["kind"] for entry in entries_of(bob).values()] == [
        *["void", "text"],
        *["void", "void", "edit"] * 2,
    ]
    assert {entry["kind"] for entry in entries_of(alice).values()} == {"text", "edit", "pin"}


def test_a_change_that_is_deleted_itself_stays(house: House) -> None:
    """Without it, devices that have the message would never learn what became of it."""
    alice, bob = chat(house, "first")
    edit(alice, 1, "second")
    whole = entries_of(alice)

    assert delete(bob, 2) == [[2, 2]]

    assert entries_of(bob) == whole


# ---- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
def test_members_delete_what_they_see(monkeypatch: pytest.MonkeyPatch, *, large: bool) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="1" if large else "200") as house:
        people = group(house, "alice bob", "early")
        people["carol"] = house.connect("carol")
        people["alice"].ok("group.invite", {"conv": GROUP, "users": ["carol"]})
        for words in ("one", "two"):
            people["alice"].say(words, words, conv=GROUP)
        house.fan_out()
        carol = people["carol"]

        assert delete(carol, 5, conv=GROUP) == [[5, 5]]
        assert told_last(carol, GROUP) == "one"
        assert told_last(people["bob"], GROUP) == "two"
        assert carol.error("message.delete", {"conv": GROUP, "seqs": [4, 2]})["code"] == "not_found"
        assert carol.error("message.delete", {"conv": GROUP, "up_to": 2})["code"] == "not_found"
        assert carol.error("message.delete", {"conv": GROUP, "up_to": 6})["code"] == "not_found"
        reply = carol.ok("message.delete", {"conv": GROUP, "up_to": 3})
        assert reply["ranges"][0][1] == 3
        assert shown(carol, GROUP) == [4]
        delete(carol, 4, conv=GROUP)
        assert row(carol, GROUP)["last"] is None
        people["alice"].say("three", "three", conv=GROUP)
        house.fan_out()
        assert told_last(carol, GROUP) == "three"


def test_who_has_left_deletes_what_they_saw(house: House) -> None:
    people = group(house, "alice bob", "one", "two")
    bob = people["bob"]
    bob.ok("group.leave", {"conv": GROUP})
    people["alice"].say("later", "a9", conv=GROUP)
    settle(house)

    assert bob.error("message.delete", {"conv": GROUP, "seqs": [5]})["code"] == "not_found"
    delete(bob, 4, 3, conv=GROUP)
    assert told_last(bob, GROUP) == "one"
    assert row(bob, GROUP)["left_seq"] == 4
    people["alice"].ok("group.invite", {"conv": GROUP, "users": ["bob"]})
    house.fan_out()
    assert shown(bob, GROUP) == [1, 2, 6]
    assert bob.ok("sync.deleted", {"conv": GROUP})["ranges"] == [[3, 4]]


def test_what_is_yet_to_come_cannot_be_deleted(house: House) -> None:
    _, bob = chat(house, "one", "two")
    before = everything(house)

    for data in ({"seqs": [3]}, {"seqs": [1, 3]}, {"up_to": 3}, {"up_to": FROM_THE_END}, {"seqs": [10**12]}):
        assert bob.error("message.delete", {"conv": DIRECT} | data)["code"] == "not_found"
    empty = {"conv": "d:bob:zoe", "up_to": 1}
    assert bob.error("message.delete", empty)["code"] == "not_found"
    assert everything(house) == before


def test_deleting_before_the_fan_out_has_come_makes_no_row_that_shows(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("one", "a1", to="bob")

    delete(bob, 1)
    assert bob.ok("sync.inbox")["conversations"] == []
    house.fan_out()

    assert (told_last(bob), row(bob, DIRECT)["unread"], row(bob, DIRECT)["deleted"]) == (None, 1, 1)


# ---- how much --------------------------------------------------------------------------------------------------------


def test_a_hundred_entries_are_deleted_at_once_and_500_ranges_are_kept(house: House) -> None:
    """Of seqs as long as they may become: the ranges still fit into a frame."""
    _, bob = chat(house, "one", "two")
    phone = house.connect("bob", "phone", "ios")
    newest = Tail(Seq(10**12 - 2), 10**12 - 2, Seq(0), Seq(0))
    entry = Draft(ConvId(DIRECT), "text", UserId("alice"), '{"text":"x"}').following(newest, START)
    house.dynamodb.put_item(TableName="ConversationTable", Item=entry_item(entry))
    first = 10**12 - 2 * MAX_RANGES
    some = [first + 2 * i for i in range(MAX_RANGES)]
    for at in range(0, MAX_RANGES, 100):
        whole = bob.ok("message.delete", {"conv": DIRECT, "seqs": some[at : at + 100]})
    before = everything(house)

    assert whole == {"conv": DIRECT, "deleted": 5, "ranges": [[seq, seq] for seq in some]}
    assert phone.got("deleted")[-1] == whole == phone.ok("sync.deleted", {"conv": DIRECT})
    assert bob.error("message.delete", {"conv": DIRECT, "seqs": [1]})["code"] == "too_large"
    assert bob.error("message.delete", {"conv": DIRECT, "seqs": some[:100] + some[:1]})["code"] == "bad_request"
    assert everything(house) == before
    assert len(delete(bob, first + 1)) == MAX_RANGES - 1, "what closes a gap makes room"
    assert len(delete(bob, 1)) == MAX_RANGES
    assert bob.error("message.delete", {"conv": DIRECT, "seqs": [first - 2]})["code"] == "too_large"
    assert bob.ok("message.delete", {"conv": DIRECT, "up_to": some[-1]})["ranges"] == [[1, some[-1]]]


@pytest.mark.parametrize(
    "wrong", [{}, {"seqs": []}, {"seqs": [1], "up_to": 1}, {"seqs": 1}, {"up_to": [1]}, {"up_to": 0}]
)
def test_a_deletion_of_the_wrong_form_is_refused(house: House, wrong: dict[str, Any]) -> None:
    _, bob = chat(house, "one")
    before = everything(house)

    assert bob.error("message.delete", {"conv": DIRECT} | wrong)["code"] == "bad_request"
    assert everything(house) == before


# ---- two devices at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "some"),
    [([], {"seqs": [4]}, 2), ([1], {"seqs": [4]}, 2), ([], {"seqs": [2]}, 5), ([1], {"up_to": 3}, 5)],
)
def test_two_devices_that_delete_at_once_have_deleted_both(
    house: House, first: list[int], second: dict[str, Any], some: int
) -> None:
    """Also when it is not the first time."""
    _, bob = chat(house, *(f"{i}" for i in range(4)))
    phone = house.connect("bob", "phone", "ios")
    if first:
        delete(bob, *first)
    frames = [
        partial(device.ok, "message.delete", {"conv": DIRECT} | data)
        for device, data in ((bob, {"seqs": [2]}), (phone, second))
    ]
    for order in list(all_orders(3))[::some]:
        with undone(house):
            replies = Turns(house).run(frames, order)

            stored = bob.ok("sync.deleted", {"conv": DIRECT})
            gone = {seq for start, end in stored["ranges"] for seq in range(start, end + 1)}
            assert gone == {2} | set(first) | set(second.get("seqs", range(1, 4))), order
            assert stored in replies
            assert row(bob, DIRECT)["deleted"] == stored["deleted"]
            for device, reply in zip((bob, phone), replies, strict=True):
                told = [reply, *device.got("deleted")]
                assert max(one["deleted"] for one in told) == stored["deleted"], order
