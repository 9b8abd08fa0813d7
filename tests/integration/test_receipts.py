"""sync.read and sync.ack: marks that only go forward, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.house import Call, Device, House

CONV = "d:alice:bob"


def row(device: Device, conv: str = CONV) -> dict[str, Any]:
    """A row of the device's inbox."""
    return next(r for r in device.ok("sync.inbox")["conversations"] if r["conv"] == conv)


def chat(house: House, *, deliver: bool = True) -> tuple[Device, Device]:
    """Alice has sent Bob three messages; the pushes forgotten."""
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(3):
        alice.say(f"{i}", f"c{i}", to="bob")
    if deliver:
        house.fan_out()
    alice.pushes.clear()
    bob.pushes.clear()
    return alice, bob


def read(device: Device, seq: int, conv: str = CONV) -> dict[str, Any]:
    return device.ok("sync.read", {"conv": conv, "seq": seq})


def ack(device: Device, seq: int, conv: str = CONV) -> None:
    assert device.ok("sync.ack", {"acks": [{"conv": conv, "seq": seq}]}) == {}


# ---- read ------------------------------------------------------------------------------------------------------------


def test_reading_moves_the_mark_and_tells_the_counts(house: House) -> None:
    _, bob = chat(house)
    house.connect("carol").say("x", "c1", to="bob")
    house.fan_out()

    assert read(bob, 2) == {"conv": CONV, "read_seq": 2, "unread": 1, "total_unread": 2}
    assert read(bob, 3) == {"conv": CONV, "read_seq": 3, "unread": 0, "total_unread": 1}
    assert bob.ok("sync.unread") == {"total_unread": 1, "conversations": {"d:bob:carol": 1}}


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_read_mark_never_moves_back(house: House, seq: int) -> None:
    alice, bob = chat(house)
    read(bob, 3)
    alice.pushes.clear()
    version = bob.ok("connect.ping")["inbox"]

    assert read(bob, seq) == {"conv": CONV, "read_seq": 3, "unread": 0, "total_unread": 0}
    assert row(bob)["read_seq"] == 3
    assert alice.pushes == [], "nothing moved, and somebody was told"
    assert bob.ok("connect.ping")["inbox"] == version


@pytest.mark.parametrize("seq", [4, 100, 10**12, 2**53 - 1])
def test_what_does_not_exist_cannot_be_read(house: House, seq: int) -> None:
    _, bob = chat(house)

    assert bob.error("sync.read", {"conv": CONV, "seq": seq})["code"] == "not_found"
    assert row(bob)["read_seq"] == 0


def test_reading_tells_the_peer_and_the_reader_s_other_devices(house: House) -> None:
    alice, bob = chat(house)
    phone = house.connect("bob", "phone", "ios")
    alices_phone = house.connect("alice", "phone", "ios")

    read(bob, 2)

    mark = {"conv": CONV, "user": "bob", "seq": 2}
    assert alice.pushes == alices_phone.pushes == [{"push": "read", "data": mark}]
    assert phone.pushes == [{"push": "read", "data": mark | {"n": 2, "unread": 1, "total_unread": 1}}]
    assert bob.pushes == []


def test_the_peer_is_not_told_the_reader_s_counts(house: House) -> None:
    alice, bob = chat(house)

    read(bob, 1)

    assert alice.got("read") == [{"conv": CONV, "user": "bob", "seq": 1}]


def test_reading_in_a_group_tells_the_reader_s_other_devices_alone(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    phone = house.connect("bob", "phone", "ios")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    alice.say("x", "c1", conv="g:g")
    house.fan_out()
    for device in (alice, bob, phone):
        device.pushes.clear()

    assert read(bob, 2, "g:g") == {"conv": "g:g", "read_seq": 2, "unread": 0, "total_unread": 0}

    mark = {"conv": "g:g", "user": "bob", "seq": 2}
    assert phone.got("read") == [mark | {"n": 1, "unread": 0, "total_unread": 0}]
    assert alice.pushes == bob.pushes == []


def test_a_reader_who_is_faster_than_the_fan_out_has_read(house: House) -> None:
    alice, bob = chat(house, deliver=False)

    assert read(bob, 2) == {"conv": CONV, "read_seq": 2, "unread": 0, "total_unread": 0}
    house.fan_out()

    assert (row(bob)["read_seq"], row(bob)["unread"]) == (2, 1)
    assert read(bob, 3)["unread"] == 0
    alice.say("3", "c3", to="bob")
    house.fan_out()
    assert row(bob)["unread"] == 1


def test_reading_survives_a_fan_out_that_comes_late_and_again(house: House) -> None:
    _, bob = chat(house, deliver=False)
    records = house.take()
    house.deliver(records)
    read(bob, 3)

    house.call("fanout", {"Records": records})

    assert (row(bob)["read_seq"], row(bob)["unread"]) == (3, 0)


def test_the_counts_of_a_read_hold_what_it_has_just_written_even_when_replicas_lag(house: House) -> None:
    _, bob = chat(house)
    before = house.items("InboxTable")

    def lag(call: Call, answer: dict[str, Any]) -> None:
        if call.operation == "Query" and call.params["TableName"] == "InboxTable" and not call.params["ConsistentRead"]:
            answer["Items"] = [item for item in before if item["pk"] == {"S": "bob"}]

    with house.watched(after=lag):
        assert read(bob, 2) == {"conv": CONV, "read_seq": 2, "unread": 1, "total_unread": 1}


def test_what_one_sends_reads_what_came_before_and_no_later_read_takes_it_back(house: House) -> None:
    _, bob = chat(house)
    bob.say("answer", "b1", to="alice")
    house.fan_out()

    assert read(bob, 2) == {"conv": CONV, "read_seq": 4, "unread": 0, "total_unread": 0}


def test_counts_are_right_when_one_reads_before_the_own_message_is_delivered(house: House) -> None:
    alice, bob = chat(house)
    bob.say("answer", "b1", to="alice")
    alice.say("and?", "c9", to="bob")

    assert read(bob, 1)["unread"] == 2
    house.fan_out()

    assert (row(bob)["read_seq"], row(bob)["unread"]) == (4, 1)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"conv": CONV},
        {"conv": CONV, "seq": 0},
        {"conv": CONV, "seq": -1},
        {"conv": CONV, "seq": "1"},
        {"conv": CONV, "seq": 1.0},
        {"conv": CONV, "seq": True},
        {"conv": "d:bob:alice", "seq": 1},
        {"conv": 5, "seq": 1},
    ],
)
def test_a_mark_of_the_wrong_form_is_refused(house: House, data: dict[str, Any]) -> None:
    _, bob = chat(house)

    assert bob.error("sync.read", data)["code"] == "bad_request"
    assert bob.error("sync.ack", {"acks": [{"conv": CONV, "seq": 1}, data]})["code"] == "bad_request"
    assert (row(bob)["read_seq"], row(bob)["ack_seq"]) == (0, 0), "some of a refused request was done"


# ---- ack -------------------------------------------------------------------------------------------------------------


def test_acknowledging_tells_the_sender_s_devices_once(house: House) -> None:
    alice, bob = chat(house)
    alices_phone, bobs_phone = house.connect("alice", "phone", "ios"), house.connect("bob", "phone", "ios")

    ack(bob, 2)
    ack(bob, 2)
    ack(bobs_phone, 2)

    told = [{"push": "delivered", "data": {"conv": CONV, "user": "bob", "seq": 2}}]
    assert alice.pushes == alices_phone.pushes == told
    assert bob.pushes == bobs_phone.pushes == []
    assert row(bob)["ack_seq"] == 2


@pytest.mark.parametrize("seq", [1, 2])
def test_an_ack_mark_never_moves_back(house: House, seq: int) -> None:
    alice, bob = chat(house)
    ack(bob, 3)
    alice.pushes.clear()

    ack(bob, seq)

    assert row(bob)["ack_seq"] == 3
    assert alice.pushes == []


@pytest.mark.parametrize("deliver", [True, False])
@pytest.mark.parametrize("seq", [4, 10**12, 2**53 - 1])
def test_what_does_not_exist_cannot_be_acknowledged(house: House, seq: int, *, deliver: bool) -> None:
    alice, bob = chat(house, deliver=deliver)

    assert bob.error("sync.ack", {"acks": [{"conv": CONV, "seq": seq}]})["code"] == "not_found"
    assert alice.pushes == []


def test_an_ack_before_the_fan_out_counts(house: House) -> None:
    """The client has the entry from a push to another device's sync, or from sync.entries."""
    alice, bob = chat(house, deliver=False)

    ack(bob, 2)
    ack(bob, 2)
    assert alice.got("delivered") == [{"conv": CONV, "user": "bob", "seq": 2}]
    house.fan_out()

    assert (row(bob)["ack_seq"], row(bob)["unread"], row(bob)["last_seq"]) == (2, 3, 3)


def test_an_ack_between_two_fan_outs_counts(house: House) -> None:
    alice, bob = chat(house)
    alice.say("3", "c3", to="bob")

    ack(bob, 4)
    assert row(bob)["ack_seq"] == 4
    house.fan_out()

    assert (row(bob)["ack_seq"], row(bob)["last_seq"]) == (4, 4)


def test_many_acks_in_one_request(house: House) -> None:
    alice, bob = chat(house)
    carol = house.connect("carol")
    carol.say("x", "c1", to="bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    house.fan_out()
    alice.pushes.clear()
    carol.pushes.clear()

    acks = [{"conv": CONV, "seq": 3}, {"conv": "d:bob:carol", "seq": 1}, {"conv": "g:g", "seq": 1}]
    assert bob.ok("sync.ack", {"acks": acks}) == {}

    assert alice.pushes == [{"push": "delivered", "data": {"conv": CONV, "user": "bob", "seq": 3}}]
    assert carol.pushes == [{"push": "delivered", "data": {"conv": "d:bob:carol", "user": "bob", "seq": 1}}]
    assert {r["conv"]: r["ack_seq"] for r in bob.ok("sync.inbox")["conversations"]} == {
        CONV: 3,
        "d:bob:carol": 1,
        "g:g": 1,
    }


def test_acks_of_strangers_conversations_are_refused_before_anything_is_done(house: House) -> None:
    alice, bob = chat(house)
    acks = [{"conv": CONV, "seq": 3}, {"conv": "d:alice:carol", "seq": 1}]

    assert bob.error("sync.ack", {"acks": acks})["code"] == "not_member"

    assert row(bob)["ack_seq"] == 0
    assert alice.pushes == []


@pytest.mark.parametrize("bad", [{"conv": CONV, "seq": 9}, {"conv": "g:nowhere", "seq": 1}])
def test_an_ack_of_nothing_stops_none_of_the_others_and_is_what_the_reply_says(
    house: House, bad: dict[str, Any]
) -> None:
    alice, bob = chat(house)
    carol = house.connect("carol")
    carol.say("x", "c1", to="bob")
    house.fan_out()

    acks = [{"conv": CONV, "seq": 2}, bad, {"conv": "d:bob:carol", "seq": 1}]
    error = bob.error("sync.ack", {"acks": acks})

    assert error["code"] == ("not_found" if bad["conv"] == CONV else "not_member")
    assert (row(bob)["ack_seq"], row(bob, "d:bob:carol")["ack_seq"]) == (2, 1)
    assert (len(alice.got("delivered")), len(carol.got("delivered"))) == (1, 1)


@pytest.mark.parametrize("operation", ["BatchGetItem", "PostToConnection"])
def test_a_mark_is_set_whatever_becomes_of_its_pushes(house: House, operation: str) -> None:
    alice, bob = chat(house)

    def fail(call: Call) -> None:
        if call.operation == operation:
            raise RuntimeError("no push")

    with house.watched(before=fail):
        ack(bob, 3)
        assert read(bob, 3)["unread"] == 0

    assert (row(bob)["ack_seq"], row(bob)["read_seq"]) == (3, 3)
    assert alice.pushes == []


def test_a_sender_may_acknowledge_their_own(house: House) -> None:
    alice, bob = chat(house)

    ack(alice, 3)

    assert row(alice)["ack_seq"] == 3
    assert bob.got("delivered") == [{"conv": CONV, "user": "alice", "seq": 3}]


def test_marks_do_not_wait_for_a_dead_connection(house: House) -> None:
    alice, bob = chat(house)
    house.devices.pop(alice.connection)
    house.now += 60_000

    ack(bob, 3)
    assert read(bob, 3)["unread"] == 0

    assert [
        item for item in house.items("ConnectionTable") if item["pk"] == {"S": "alice"} and "slot:web" in item
    ] == []
