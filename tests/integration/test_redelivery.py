"""A push that never arrives is repeated while its user has not acknowledged it; not for ever, and not to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from botocore.exceptions import ConnectTimeoutError

from im.flows.redeliver import ACKNOWLEDGING, FAR, ROUNDS
from tests.integration.house import Call, Device, House, built_house

CONV = "d:alice:bob"


def ack(device: Device, conv: str, seq: int) -> None:
    device.ok("sync.ack", {"acks": [{"conv": conv, "seq": seq}]})


@contextmanager
def pushes_of(house: House) -> Iterator[list[tuple[str, int]]]:
    """The connections that are pushed to inside, and when: milliseconds from now."""
    start, pushed = house.now, list[tuple[str, int]]()

    def note(call: Call) -> None:
        if call.operation == "PostToConnection":
            pushed.append((call.params["ConnectionId"], house.now - start))

    with house.watched(before=note):
        yield pushed


@pytest.fixture
def people(house: House) -> tuple[Device, Device]:
    return house.connect("alice"), house.connect("bob")


def test_a_push_that_was_lost_comes_again_twice_and_then_no_more(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    bob.pushes.clear()  # API Gateway took it, and the phone never got it

    with pushes_of(house) as pushed:
        house.redeliver()

    assert pushed == [(bob.connection, 10_000), (bob.connection, 40_000)]
    assert len(pushed) == ROUNDS
    assert (bob.seen(), alice.seen()) == ([1, 1], [])


def test_who_has_acknowledged_is_left_alone(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    ack(bob, CONV, 1)

    with house.watched() as calls:
        house.redeliver()

    assert [call.operation for call in calls] == ["BatchGetItem"], "one look at the rows, and nothing else"


def test_who_acknowledges_the_repeat_gets_no_other(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    with pushes_of(house) as pushed:
        house.make_next_check()
        ack(bob, CONV, 1)
        house.redeliver()

    assert [connection for connection, _ in pushed if connection == bob.connection] == [bob.connection]


def test_an_ack_of_a_part_of_them_is_none_of_all(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    for i in range(3):
        alice.say(f"{i}", f"c{i}", to="bob")
    house.fan_out()
    ack(bob, CONV, 2)
    bob.pushes.clear()
    house.redeliver()

    assert bob.seen() == [1, 2, 3] * ROUNDS


def test_only_those_who_are_behind_are_pushed_to_and_not_the_sender(house: House) -> None:
    alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))
    tablet = house.connect("alice", "tablet", "ios")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    house.fan_out()
    house.checks.clear()
    alice.say("x", "c1", conv="g:g")
    house.fan_out()
    ack(bob, "g:g", 2)
    for device in (alice, bob, carol, tablet):
        device.pushes.clear()
    house.redeliver()

    assert carol.seen() == tablet.seen() == [2] * ROUNDS
    assert bob.seen() == alice.seen() == []


def test_who_has_sent_the_newest_one_themself_has_what_came_before(house: House, people: tuple[Device, Device]) -> None:
    """Acked, and their own message came right behind it in the same batch."""
    alice, bob = people
    bob.say("?", "b1", to="alice")
    alice.ok("sync.ack", {"acks": [{"conv": CONV, "seq": 1}]})
    alice.say("!", "a1", to="bob")
    house.fan_out()
    ack(bob, CONV, 2)
    alice.pushes.clear()
    house.redeliver()

    assert alice.seen() == []


def test_who_has_read_them_has_received_them(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    bob.ok("sync.read", {"conv": CONV, "seq": 1})
    bob.pushes.clear()
    house.redeliver()

    assert bob.seen() == []


def test_who_hears_nothing_is_told_little(house: House, people: tuple[Device, Device]) -> None:
    """A half-open connection, or a client that never acknowledges: the newest entry, once, makes the hole plain."""
    alice, bob = people
    for i in range(FAR + 2):
        alice.say(f"{i}", f"c{i}", to="bob")
    house.fan_out()
    house.checks.clear()
    for i in range(3):
        alice.say(f"{i}", f"d{i}", to="bob")
    house.fan_out()
    bob.pushes.clear()
    house.redeliver()

    assert bob.seen() == [FAR + 2 + 3]


def test_an_old_entry_and_a_new_one_are_two_and_not_all_between(house: House, people: tuple[Device, Device]) -> None:
    """One that was found, or redriven, comes in a batch with what is said now."""
    alice, bob = people
    alice.say("old", "c0", to="bob")
    (old,) = house.take()
    house.sqs.delete_message(QueueUrl=house.queue_url, ReceiptHandle=old["receiptHandle"])
    for i in range(30):
        alice.say(f"{i}", f"c{i + 1}", to="bob")
    house.fan_out()
    ack(bob, CONV, 31)
    house.redeliver()
    bob.pushes.clear()
    alice.say("new", "c99", to="bob")
    house.call("fanout", {"Records": [old, *house.take()]})
    house.make_next_check()

    assert set(bob.seen()) == {1, 32}


def test_what_was_edited_after_somebody_left_is_not_pushed_to_them(house: House) -> None:
    """The function knows them from before."""
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    house.fan_out()
    house.checks.clear()
    said = alice.say("before", "c1", conv="g:g")
    house.fan_out()
    house.make_next_check()  # who is in the group is known now
    alice.ok("group.remove", {"conv": "g:g", "users": ["bob"]})
    alice.ok("message.edit", {"conv": "g:g", "seq": said["seq"], "body": {"text": "secret"}})
    bob.pushes.clear()
    house.redeliver()

    assert said["seq"] in bob.seen()
    assert "secret" not in json.dumps(bob.pushes)


def test_when_the_next_check_cannot_be_queued_there_is_none(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    bob.pushes.clear()

    def fail(call: Call) -> None:
        if call.service == "sqs":
            raise ConnectTimeoutError(endpoint_url="x")

    with house.watched(before=fail):
        house.redeliver()

    assert bob.seen() == [1]


def test_a_batch_is_looked_at_once(house: House, people: tuple[Device, Device]) -> None:
    alice, _ = people
    for i in range(10):
        alice.say(f"{i}", f"c{i}", to="bob")
    house.fan_out()

    assert len(house.checks) == 1


def test_nobody_is_looked_at_who_was_not_pushed_to(house: House) -> None:
    alice = house.connect("alice")
    alice.say("x", "c1", to="bob")
    house.fan_out()

    assert house.checks == []


def test_a_push_that_failed_comes_again_too(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")

    def fail(call: Call) -> None:
        if call.operation == "PostToConnection":
            raise ConnectTimeoutError(endpoint_url="x")

    with house.watched(before=fail):
        house.fan_out()
    assert bob.seen() == []
    house.make_next_check()

    assert bob.seen() == [1]


def test_a_connection_that_is_gone_is_pushed_to_no_more(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    house.now += 60_000
    alice.say("x", "c1", to="bob")
    house.fan_out()
    house.devices.pop(bob.connection)
    house.redeliver()

    assert [item for item in house.items("ConnectionTable") if "bob" in item["pk"]["S"] and "slot#web" in item] == []
    alice.say("y", "c2", to="bob")
    house.fan_out()
    assert house.checks == []


def test_who_comes_back_meanwhile_is_pushed_to_where_they_are(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    house.devices.pop(bob.connection)
    again = house.connect("bob")
    house.make_next_check()

    assert again.seen() == [1]


def test_what_was_recalled_meanwhile_is_pushed_as_it_is(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("secret", "c1", to="bob")
    house.fan_out()
    bob.pushes.clear()
    alice.ok("message.recall", {"conv": CONV, "seq": 1})
    house.make_next_check()

    assert bob.seen() == [1]
    assert "secret" not in json.dumps(bob.pushes)


def test_who_was_removed_meanwhile_gets_what_they_could_see_and_no_more(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    house.fan_out()
    house.checks.clear()
    alice.say("x", "c1", conv="g:g")
    alice.ok("group.remove", {"conv": "g:g", "users": ["bob"]})
    alice.say("not for bob", "c2", conv="g:g")
    house.fan_out()
    bob.pushes.clear()
    house.load("redelivery")
    house.redeliver()

    assert set(bob.seen()) == {2, 3}
    assert "not for bob" not in json.dumps(bob.pushes)


def test_a_repair_of_one_member_is_no_small_group(house: House) -> None:
    names = [f"u{i}" for i in range(ACKNOWLEDGING)]
    alice, bob = house.connect("alice"), house.connect("u0")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names})
    house.fan_out()
    house.checks.clear()

    def fail(call: Call) -> None:
        if call.user == "u0" and call.sort_key.startswith("CONV#"):
            raise ConnectTimeoutError(endpoint_url="x")

    alice.say("x", "c1", conv="g:g")
    with house.watched(before=fail):
        house.deliver(house.take())
    house.fan_out()

    assert bob.seen()
    assert house.checks == []


def test_who_has_just_left_does_not_count(house: House) -> None:
    names = [f"u{i}" for i in range(ACKNOWLEDGING)]
    alice, _ = house.connect("alice"), house.connect("u0")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names})
    house.fan_out()
    house.checks.clear()
    alice.ok("group.remove", {"conv": "g:g", "users": ["u9"]})
    house.fan_out()

    assert len(house.checks) == 1


@pytest.mark.parametrize(("members", "checks"), [(ACKNOWLEDGING, 1), (ACKNOWLEDGING + 1, 0)])
def test_clients_acknowledge_in_small_groups_alone(house: House, members: int, checks: int) -> None:
    names = [f"u{i}" for i in range(members - 1)]
    alice, bob = house.connect("alice"), house.connect("u0")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names})
    house.fan_out()
    house.checks.clear()
    said = alice.say("x", "c1", conv="g:g")
    house.fan_out()

    assert bob.seen()[-1] == said["seq"]
    assert len(house.checks) == checks


def test_a_group_that_became_large_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="3") as house:
        alice, bob = house.connect("alice"), house.connect("bob")
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
        alice.say("x", "c1", conv="g:g")
        house.fan_out()
        alice.ok("group.invite", {"conv": "g:g", "users": ["carol", "dave"]})
        house.fan_out()
        house.load("redelivery")
        house.redeliver()

        assert set(bob.seen()) == {1, 2, 3}


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, REDELIVER_AFTER_SECONDS="0") as house:
        alice, bob = house.connect("alice"), house.connect("bob")
        alice.say("x", "c1", to="bob")
        house.fan_out()

        assert bob.seen() == [1]
        assert house.checks == []


def test_a_check_that_cannot_be_queued_fails_nothing(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")

    def fail(call: Call) -> None:
        if call.service == "sqs" and call.params["QueueUrl"] == house.checks_url:
            raise ConnectTimeoutError(endpoint_url="x")

    with house.watched(before=fail):
        assert house.deliver(house.take()) == []

    assert bob.seen() == [1]


def test_a_check_that_fails_is_made_again(house: House, people: tuple[Device, Device]) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    house.fan_out()
    bob.pushes.clear()

    def fail(call: Call) -> None:
        if call.service == "dynamodb":
            raise ConnectTimeoutError(endpoint_url="x")

    with house.watched(before=fail):
        house.make_next_check()
    assert (bob.seen(), len(house.checks)) == ([], 1)
    house.make_next_check()

    assert bob.seen() == [1]
