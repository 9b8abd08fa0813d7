"""Whatever is stored is fanned out, also when the function that stored it has died and nobody sends the frame again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from im.aws.failures import NotQueued
from im.aws.queue import MAX_BATCH_BYTES
from tests.integration.house import Call, Crash, Device, House, built_house, sample

CONV = "d:alice:bob"


def no_queue(call: Call) -> None:
    """The function dies when it wants to queue."""
    if call.service == "sqs":
        raise Crash


def dies_before_queueing(house: House, device: Device, op: str, data: dict[str, Any]) -> None:
    with house.watched(before=no_queue), pytest.raises(Crash):
        device.ask(op, data)


def say(device: Device, text: str, cmid: str, **where: Any) -> tuple[Device, str, dict[str, Any]]:
    return device, "message.send", {"cmid": cmid, "kind": "text", "body": {"text": text}, **where}


def queued(house: House) -> list[dict[str, Any]]:
    return [json.loads(r["body"]) for r in house.take()]


def test_a_message_that_nobody_has_queued_reaches_everybody(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, *say(alice, "Hello.", "c1", to="bob"))
    house.fan_out()
    assert bob.seen() == []

    house.audit()
    house.fan_out()

    assert bob.seen() == [1]
    assert bob.ok("sync.unread") == {"total_unread": 1, "conversations": {CONV: 1}}
    assert alice.seen() == [1], "its connection had no reply: the entry tells it that the message is stored"
    assert alice.ok("sync.unread")["total_unread"] == 0


def test_a_mention_and_one_s_own_read_mark_are_found_though_newer_entries_came_first(house: House) -> None:
    """The rows have moved over the entry: what only its own fan-out can tell would be lost."""
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, *say(alice, "@bob", "c1", to="bob", mentions=["bob"]))
    bob.say("Are you there?", "b1", to="alice")
    house.fan_out()
    assert alice.ok("sync.unread")["total_unread"] == 2, "her own message counts, until its own fan-out"

    house.audit()
    house.fan_out()

    assert bob.ok("sync.inbox")["conversations"][0]["mention_seq"] == 0, "he has read it by answering"
    assert alice.ok("sync.unread")["total_unread"] == 1


def test_a_mention_that_nobody_has_queued_is_one(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, *say(alice, "@bob", "c1", to="bob", mentions=["bob"]))
    alice.say("And more.", "c2", to="bob")
    house.fan_out()
    assert bob.ok("sync.inbox")["conversations"][0]["mention_seq"] == 0

    house.audit()
    house.fan_out()

    assert bob.ok("sync.inbox")["conversations"][0]["mention_seq"] == 1


@pytest.mark.parametrize(
    ("op", "data"),
    [
        ("message.edit", {"seq": 1, "body": {"text": "Other."}}),
        ("message.recall", {"seq": 1}),
        ("message.react", {"seq": 1, "emoji": "👍", "on": True}),
        ("message.pin", {"seq": 1, "on": True}),
    ],
)
def test_so_is_a_change_of_a_message(house: House, op: str, data: dict[str, Any]) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("Hello.", "c1", to="bob")
    house.fan_out()
    dies_before_queueing(house, alice, op, {"conv": CONV} | data)
    house.audit()
    house.fan_out()

    assert bob.seen() == [1, 2]


def test_so_is_a_change_of_a_group(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, alice, "group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    house.audit()
    house.fan_out()

    assert bob.seen("g:g") == [1]


def test_what_is_queued_is_not_fanned_out_twice(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(25):
        alice.say(f"{i}", f"c{i}", to="bob")
    house.fan_out()
    with house.watched() as calls:
        house.audit()
        house.fan_out()

    assert [call.action for call in calls] == ["sqs:SendMessageBatch"] * 3
    assert bob.seen() == list(range(1, 26))


def test_what_is_still_in_the_queue_is_not_queued_twice(house: House) -> None:
    alice, _ = house.connect("alice"), house.connect("bob")
    alice.say("x", "c1", to="bob")
    house.audit()

    assert [message["found"] for message in queued(house)] == [False]


def test_what_was_recalled_meanwhile_is_not_pushed_as_it_was(house: House) -> None:
    """However young it is: the stream has it as it was stored."""
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, *say(alice, "secret", "c1", to="bob"))
    alice.ok("message.recall", {"conv": CONV, "seq": 1})
    house.audit()
    house.fan_out()

    assert set(bob.seen()) == {1, 2}
    assert "secret" not in json.dumps(bob.pushes)


def test_when_the_queue_takes_nothing_the_batch_comes_again(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    dies_before_queueing(house, *say(alice, "x", "c1", to="bob"))

    def refused(call: Call) -> None:
        raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, call.operation)

    with house.watched(before=refused), pytest.raises(ClientError):
        house.audit()
    house.audit()
    house.fan_out()

    assert bob.seen() == [1]


@pytest.mark.parametrize(
    ("code", "comes_again"),
    [("InternalError", True), ("RequestThrottled", True), ("AccessDenied", True), ("InvalidMessageContents", False)],
)
def test_one_entry_that_sqs_refuses_comes_again_unless_it_always_will(
    house: House, code: str, *, comes_again: bool
) -> None:
    """Whose fault it is says nothing: a throttled request is the sender's, too."""
    alice = house.connect("alice")
    for i in range(2):
        dies_before_queueing(house, *say(alice, f"{i}", f"c{i}", to="bob"))

    def refuses(call: Call, answer: dict[str, Any]) -> None:
        answer["Failed"] = [{"Id": "0", "SenderFault": True, "Code": code}]

    with house.watched(after=refuses):
        if comes_again:
            with pytest.raises(NotQueued, match=code):
                house.audit()
        else:
            house.audit()

    assert bool(house.stream) == comes_again


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"eventID": 1},
        {"eventName": "INSERT"},
        {"eventName": "INSERT", "dynamodb": {}},
        {"eventName": "INSERT", "dynamodb": {"NewImage": {"pk": {"S": "d:alice:bob"}}}},
        {"eventName": "INSERT", "dynamodb": {"NewImage": {"pk": {"N": "1"}, "sk": {"S": "MSG#1"}}}},
    ],
)
def test_a_record_that_nobody_can_read_stops_none_of_the_others(house: House, bad: Any) -> None:
    good = sample("audit")["Records"][0]

    house.call("audit", {"Records": [bad, good, bad]})

    assert [message["entry"]["seq"] for message in queued(house)] == [1]


def test_records_of_what_is_no_new_entry_are_left_alone(house: House) -> None:
    changed = sample("audit")["Records"][0] | {"eventName": "MODIFY"}

    house.call("audit", {"Records": [changed]})

    assert queued(house) == []


def test_an_entry_that_spoils_a_request_spoils_no_other(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(5):
        dies_before_queueing(house, *say(alice, f"{i}", f"c{i}", to="bob"))

    def refused(call: Call) -> None:
        if any('\\"2\\"' in e["MessageBody"] for e in call.params["Entries"]):
            raise ClientError({"Error": {"Code": "InvalidMessageContents"}}, call.operation)

    with house.watched(before=refused):
        house.audit()
    house.fan_out()

    assert bob.seen() == [1, 2, 4, 5]


def test_an_entry_that_is_no_text_spoils_no_other(house: House) -> None:
    """Half a surrogate pair: no frame with one is accepted, and the table would take it."""
    good = sample("audit")["Records"][0]
    bad = sample("audit")["Records"][0]
    bad["dynamodb"]["NewImage"]["body"] = {"S": '{"text":"\ud800"}'}

    house.call("audit", {"Records": [bad, good]})

    assert len(queued(house)) == 1


def test_a_stream_that_is_late_tells_nobody_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS has forgotten what it has had: everything comes again, and everybody has it."""
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(3):
        alice.say(f"{i}", f"c{i}", to="bob")
    house.fan_out()
    house.checks.clear()
    house.now += 6 * 60_000
    house.audit()
    house.fan_out()

    assert bob.seen() == [1, 2, 3]
    assert house.checks == []


def test_a_stream_that_is_late_tells_nobody_in_a_large_group_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as house:
        alice, bob = house.connect("alice"), house.connect("bob")
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
        alice.say("x", "c1", conv="g:g")
        house.fan_out()
        seen = bob.seen()
        house.now += 6 * 60_000
        house.audit()
        house.fan_out()

        assert bob.seen() == seen == [1, 2]


def test_entries_of_the_largest_size_are_queued_in_as_many_requests_as_sqs_asks_for(house: House) -> None:
    alice, _ = house.connect("alice"), house.connect("bob")
    text = "\u0001" * 4_000  # six characters of JSON each, and seven in the queue's: the body is 24 KiB
    for i in range(20):
        dies_before_queueing(house, *say(alice, text, f"c{i}", to="bob"))

    with house.watched() as calls:
        house.audit()

    sizes = [sum(len(e["MessageBody"].encode()) for e in call.params["Entries"]) for call in calls]
    assert max(sizes) <= MAX_BATCH_BYTES
    assert sum(len(call.params["Entries"]) for call in calls) == 20
    assert len(sizes) > 2, "too small to be a test"
