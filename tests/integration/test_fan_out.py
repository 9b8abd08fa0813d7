"""Entries reach every inbox and every device, in batches that may repeat, come late, or fail."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError

from im.domain.entries import MAX_TEXT_BYTES
from im.flows.push_to import YOUNG_MS
from im.flows.row_writes import MAX_REPAIRS
from im.runtime import logs
from tests.integration.house import Before, Call, Context, Device, House, _response


def row(device: Device, conv: str = "d:alice:bob") -> dict[str, Any]:
    """A row of the device's inbox."""
    return next(r for r in device.ok("sync.inbox")["conversations"] if r["conv"] == conv)


def group(house: House, gid: str, *users: str) -> list[Device]:
    """A group that has been delivered; its people's devices, pushes forgotten."""
    devices = [house.connect(user) for user in users]
    devices[0].ok("group.create", {"gid": gid, "name": gid, "members": list(users[1:])})
    house.fan_out()
    for device in devices:
        device.pushes.clear()
    return devices


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_ten_entries_cost_one_row_write_a_member_and_one_push_a_connection(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    phone = house.connect("bob", "phone", "ios")
    for i in range(10):
        alice.say(f"{i}", f"c{i}", conv="g:g")

    with house.watched() as calls:
        house.deliver(house.take(10))

    assert Counter((call.operation, call.user) for call in calls if call.operation == "UpdateItem") == {
        ("UpdateItem", "alice"): 1,
        ("UpdateItem", "bob"): 1,
        ("UpdateItem", "carol"): 1,
    }
    assert Counter(call.params["ConnectionId"] for call in calls if call.operation == "PostToConnection") == {
        bob.connection: 1,
        phone.connection: 1,
        carol.connection: 1,
    }
    assert Counter(call.operation for call in calls) == {
        "UpdateItem": 3,
        "BatchGetItem": 1,
        "PostToConnection": 3,
        "SendMessage": 1,  # to look later who has not acknowledged
    }
    assert bob.seen() == phone.seen() == carol.seen() == list(range(2, 12))


def test_the_member_list_is_read_once_for_many_batches(house: House) -> None:
    (alice, *_) = group(house, "g", "alice", "bob")

    with house.watched() as calls:
        for i in range(5):
            alice.say(f"{i}", f"c{i}", conv="g:g")
            house.fan_out()

    queries = [call for call in calls if (call.function, call.operation) == ("fanout", "Query")]
    assert len(queries) <= 1


def test_a_message_goes_to_all_devices_but_the_one_that_sent_it(house: House) -> None:
    pc, phone = house.connect("alice", "pc", "desktop"), house.connect("alice", "phone", "ios")
    bobs = [house.connect("bob", "pc", "desktop"), house.connect("bob", "phone", "ios"), house.connect("bob")]
    stranger = house.connect("carol")

    pc.say("x", "c1", to="bob")
    phone.say("y", "c2", to="bob")
    house.fan_out()

    assert (pc.seen(), phone.seen()) == ([2], [1])
    assert [bob.seen() for bob in bobs] == [[1, 2]] * 3
    assert stranger.pushes == []


def test_a_device_that_sent_some_of_a_batch_gets_the_others_in_frames_without_holes(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i, sender in enumerate([bob, alice, bob, bob, alice, bob]):
        sender.say(f"{i}", f"c{i}", conv="d:alice:bob")

    house.fan_out()

    assert [[e["seq"] for e in push["entries"]] for push in alice.got("entries")] == [[1], [3, 4], [6]]
    assert [[e["seq"] for e in push["entries"]] for push in bob.got("entries")] == [[2], [5]]


def test_large_entries_come_in_several_frames_in_order(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(10):
        alice.say("x" * (MAX_TEXT_BYTES if i % 3 else 10), f"c{i}", to="bob")

    house.fan_out()

    assert bob.seen() == list(range(1, 11))
    assert len(bob.got("entries")) > 4


def test_one_batch_may_hold_many_conversations(house: House) -> None:
    alice = house.connect("alice")
    others = [house.connect(f"u{i}") for i in range(5)]
    for i in range(10):
        alice.say(f"{i}", f"c{i}", to=others[i % 5].user)
    records = house.take(10)

    assert house.deliver(records) == []

    for other in others:
        assert other.seen() == [1, 2]
        assert row(other, f"d:alice:{other.user}")["unread"] == 2


def test_more_members_than_one_lookup_takes_all_get_it(house: House) -> None:
    names = [f"u{i:03d}" for i in range(130)]
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "big", "name": "Big", "members": names})
    devices = [house.connect(name) for name in (names[0], names[99], names[100], names[129])]

    alice.say("x", "c1", conv="g:big")
    house.fan_out()

    log = house.log("g:big")
    joined = {user: int(e["seq"]) for e in log if e["kind"] == "members" for user in json.loads(e["body"])["added"]}
    assert sorted(joined) == sorted(["alice", *names])
    assert [device.seen() for device in devices] == [[*range(joined[d.user], len(log) + 1)] for d in devices]
    rows = [item for item in house.items("InboxTable") if item["sk"] == {"S": "CONV#g:big"}]
    assert len(rows) == 131
    assert {item["last_seq"]["N"] for item in rows} == {f"{len(log)}"}


# ---- repeats and late comers -----------------------------------------------------------------------------------------


def test_a_batch_that_comes_again_changes_nothing(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    for i in range(4):
        (alice if i % 2 else bob).say(f"{i}", f"c{i}", conv="g:g", mentions=["carol"])
    records = house.take()
    house.deliver(records)
    rows = house.items("InboxTable")
    versions = [device.ok("connect.ping")["inbox"] for device in (alice, bob, carol)]

    house.now += 1000
    for again in (records, records[1:3], records[-1:], list(reversed(records))):
        assert house.call("fanout", {"Records": again}) == {"batchItemFailures": []}

    assert house.items("InboxTable") == rows
    assert [device.ok("connect.ping")["inbox"] for device in (alice, bob, carol)] == versions


@pytest.mark.parametrize("seed", range(8))
def test_batches_in_any_order_and_any_number_of_times_end_alike(house: House, seed: int) -> None:
    rng = random.Random(seed)
    devices = group(house, "g", "alice", "bob", "carol")
    for i in range(12):
        mentions = rng.sample(["alice", "bob", "carol"], rng.randrange(3))
        rng.choice(devices).say(f"{i}", f"c{i}", conv="g:g", mentions=mentions)
    records: list[dict[str, Any]] = []
    while taken := house.take():
        records += taken
        for record in taken:
            house.sqs.delete_message(QueueUrl=house.queue_url, ReceiptHandle=record["receiptHandle"])
    todo = [*records, *rng.choices(records, k=6)]
    rng.shuffle(todo)

    while todo:
        size = rng.randint(1, 5)
        batch, todo = todo[:size], todo[size:]
        assert house.call("fanout", {"Records": batch}) == {"batchItemFailures": []}

    log = house.log("g:g")
    for device in devices:
        own = [int(entry["seq"]) for entry in log if entry["from"] == device.user and entry["kind"] == "text"]
        told = [int(e["seq"]) for e in log if device.user in e.get("mentions", "") and e["from"] != device.user]
        read = max(own, default=1 if device.user == "alice" else 0)
        got = row(device, "g:g")
        assert got["last_seq"] == 13
        assert got["last"]["preview"] == "11"
        assert got["read_seq"] == read
        assert got["unread"] == sum(int(e["seq"]) > read and e["kind"] == "text" for e in log)
        assert got["mention_seq"] == max([seq for seq in told if seq > read], default=0)
        assert set(device.seen("g:g")) == set(range(2, 14)) - set(own)


def test_a_late_batch_does_not_turn_back_the_preview(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("first", "c1", to="bob")
    early = house.take()
    house.sqs.delete_message(QueueUrl=house.queue_url, ReceiptHandle=early[0]["receiptHandle"])
    alice.say("second", "c2", to="bob")
    house.fan_out()

    house.call("fanout", {"Records": early})

    assert row(bob)["last"]["preview"] == "second"
    assert row(bob)["unread"] == 2


def test_a_mention_counts_however_late_it_comes_until_it_is_read(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("@bob", "c1", to="bob", mentions=["bob"])
    early = house.take()
    house.sqs.delete_message(QueueUrl=house.queue_url, ReceiptHandle=early[0]["receiptHandle"])
    alice.say("more", "c2", to="bob")
    house.fan_out()

    house.call("fanout", {"Records": early})

    assert row(bob)["mention_seq"] == 1
    bob.ok("sync.read", {"conv": "d:alice:bob", "seq": 1})
    assert row(bob)["mention_seq"] == 0


# ---- failures --------------------------------------------------------------------------------------------------------


def test_one_conversation_that_fails_does_not_hold_up_the_others(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    members = house.connect("carol"), house.connect("dave")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol", "dave"]})
    alice.say("x", "c1", conv="g:g")
    alice.say("y", "c2", to="bob")
    records = house.take(10)

    def fail(call: Call) -> None:
        if call.operation == "Query" and call.params["TableName"] == "ConversationTable":
            raise refusal(call)

    with house.watched(before=fail):
        failed = house.deliver(records)

    theirs = [r["messageId"] for r in records if '"g:g"' in r["body"]]
    assert sorted(failed) == sorted(theirs)
    assert len(theirs) == 2
    assert (bob.seen(), [member.seen() for member in members]) == ([1], [[], []])
    house.fan_out()
    assert [sorted(member.seen()) for member in members] == [[1, 2]] * 2  # moto does not keep the order of repeats
    assert row(members[0], "g:g")["unread"] == 1


@pytest.mark.parametrize("user", ["alice", "bob", "carol"])
def test_one_member_whose_row_fails_is_served_later_and_keeps_nothing_from_the_others(house: House, user: str) -> None:
    devices = group(house, "g", "alice", "bob", "carol")
    alice = devices[0]
    for i in range(3):
        alice.say(f"{i}", f"c{i}", conv="g:g", mentions=["bob", "carol"])

    with house.watched(before=rows_fail({user})):
        assert house.deliver(house.take()) == [], "the conversation waits for one of its members"

    for device in devices[1:]:
        assert device.seen() == ([] if device.user == user else [2, 3, 4])
    alice.say("3", "c3", conv="g:g")
    house.fan_out()
    for device, unread in zip(devices, (0, 4, 4), strict=True):
        got = row(device, "g:g")
        assert (got["last_seq"], got["unread"]) == (5, unread)
        assert got["mention_seq"] == (4 if device is not alice else 0)
        assert set(device.seen()) == (set() if device is alice else {2, 3, 4, 5})
    assert house.take() == []


def test_a_member_whose_row_fails_again_comes_again_and_nobody_else_hears_of_it(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    alice.say("x", "c1", conv="g:g")
    with house.watched(before=rows_fail({"bob"})):
        house.deliver(house.take())
        records = house.take()
        assert len(records) == 1
        carol.pushes.clear()

        with house.watched(before=rows_fail({"bob"})) as calls:
            assert house.deliver(records) == [records[0]["messageId"]]

    assert {call.user for call in calls if call.operation == "UpdateItem"} == {"bob"}
    assert carol.pushes == []
    house.fan_out()
    assert bob.seen() == [2]
    assert carol.pushes == []


def test_a_repair_and_a_later_entry_in_one_batch_both_end_right(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    alice.say("x", "c1", conv="g:g")
    with house.watched(before=rows_fail({"bob"})):
        house.deliver(house.take())
    alice.say("y", "c2", conv="g:g")
    records = house.take()
    assert len(records) == 2

    for batch in (records, records[::-1]):
        assert house.call("fanout", {"Records": batch}) == {"batchItemFailures": []}
        for member in (bob, carol):
            assert (row(member, "g:g")["last_seq"], row(member, "g:g")["unread"]) == (3, 2)
            assert set(member.seen()) == {2, 3}


@pytest.mark.parametrize(("failing", "comes_again"), [(MAX_REPAIRS, False), (MAX_REPAIRS + 1, True)])
def test_when_many_rows_fail_the_batch_comes_again(house: House, failing: int, *, comes_again: bool) -> None:
    names = [f"u{i:02d}" for i in range(MAX_REPAIRS + 5)]
    (alice, *others) = group(house, "g", "alice", *names)
    alice.say("x", "c1", conv="g:g")
    records = house.take()

    with house.watched(before=rows_fail(set(names[:failing]))):
        assert house.deliver(records) == ([records[0]["messageId"]] if comes_again else [])

    house.fan_out()
    assert [other.seen()[-1:] for other in others] == [[2]] * len(others)
    assert [row(other, "g:g")["unread"] for other in others] == [1] * len(others)


def test_a_repair_that_cannot_be_queued_brings_the_batch_again(house: House) -> None:
    alice, bob, _ = group(house, "g", "alice", "bob", "carol")
    alice.say("x", "c1", conv="g:g")
    records = house.take()

    def fail(call: Call) -> None:
        rows_fail({"bob"})(call)
        if call.service == "sqs":
            raise refusal(call)

    with house.watched(before=fail):
        assert house.deliver(records) == [records[0]["messageId"]]

    house.fan_out()
    assert (bob.seen(), row(bob, "g:g")["unread"]) == ([2], 1)


def refusal(call: Call) -> ClientError:
    return ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, call.operation)


def rows_fail(users: set[str]) -> Before:
    """The rows of these users cannot be written."""

    def fail(call: Call) -> None:
        if call.user in users and call.sort_key.startswith("CONV#"):
            raise refusal(call)

    return fail


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "InternalServerErrorException"}}, "PostToConnection"),
        ClientError({"Error": {"Code": "LimitExceededException"}}, "PostToConnection"),
        ClientError({"Error": {"Code": "PayloadTooLargeException"}}, "PostToConnection"),
        EndpointConnectionError(endpoint_url="https://api"),
    ],
)
def test_a_push_that_fails_does_not_fail_the_batch(house: House, failure: Exception) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    alice.say("x", "c1", conv="g:g")

    def fail(call: Call) -> None:
        if call.params.get("ConnectionId") == bob.connection:
            raise failure

    with house.watched(before=fail):
        assert house.deliver(house.take()) == []

    assert (bob.seen(), carol.seen()) == ([], [2])
    assert row(bob, "g:g")["unread"] == 1
    alice.say("y", "c2", conv="g:g")
    house.fan_out()
    assert bob.seen() == [3], "the connection has lost its slot"


def test_a_push_is_tried_again_after_an_error_of_the_server_and_then_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    tried: list[str] = []

    def broken(request: Any) -> AWSResponse:
        tried.append(request.url)
        return _response(request.url, 500, {"Content-Type": "application/json"}, b"{}")

    monkeypatch.setattr(house, "answer_push", broken)
    monkeypatch.setattr("time.sleep", lambda _: None)
    alice.say("x", "c1", to="bob")

    assert house.deliver(house.take()) == []
    assert len(tried) == 2
    assert row(bob)["unread"] == 1


def test_a_batch_stops_at_the_first_frame_that_does_not_arrive(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(4):
        alice.say("x" * MAX_TEXT_BYTES, f"c{i}", to="bob")
    tried = 0

    def fail_the_second(call: Call) -> None:
        nonlocal tried
        tried += call.operation == "PostToConnection"
        if tried == 2:
            raise ClientError({"Error": {"Code": "LimitExceededException"}}, call.operation)

    with house.watched(before=fail_the_second):
        house.fan_out()

    assert bob.seen() == [1], "a later frame without the earlier one"


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("ForbiddenException", "ERROR"),
        ("AccessDeniedException", "ERROR"),
        ("AccessDenied", "ERROR"),
        ("LimitExceededException", "WARNING"),
    ],
)
def test_a_push_that_the_policy_forbids_is_an_error_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch, code: str, level: str
) -> None:
    alice = house.connect("alice")
    house.connect("bob")
    alice.say("x", "c1", to="bob")
    written = io.StringIO()
    monkeypatch.setattr(logs.log.registered_handler, "stream", written)

    def forbid(call: Call) -> None:
        if call.service == "execute-api":
            raise ClientError({"Error": {"Code": code}}, call.operation)

    with house.watched(before=forbid):
        assert house.deliver(house.take()) == []

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["level"] for line in lines if line.get("error") == code] == [level]
    assert [line["failed"] for line in lines if line["message"] == "delivered"] == [1]


def test_pushes_end_before_the_function_does_and_the_rows_are_written(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    phone, pc = house.connect("bob", "phone", "ios"), house.connect("bob", "pc", "desktop")
    alice.say("x", "c1", to="bob")

    def slow(call: Call) -> None:
        if call.operation == "PostToConnection":
            house.now += Context().remaining

    with house.watched(before=slow) as calls:
        assert house.deliver(house.take()) == []

    assert [call.operation for call in calls].count("PostToConnection") == 1
    assert sorted(len(device.seen()) for device in (bob, phone, pc)) == [0, 0, 1]
    assert row(bob)["unread"] == 1


@pytest.mark.parametrize("operation", ["BatchGetItem", "PostToConnection"])
def test_nothing_that_goes_wrong_with_pushes_brings_the_batch_again(house: House, operation: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("x", "c1", to="bob")

    def fail(call: Call) -> None:
        if call.operation == operation:
            raise RuntimeError("anything")

    with house.watched(before=fail):
        assert house.deliver(house.take()) == []

    assert bob.seen() == []
    assert row(bob)["unread"] == 1


def test_a_dead_slot_that_cannot_be_dropped_brings_no_batch_again(house: House) -> None:
    alice, dead = house.connect("alice"), house.connect("bob", "phone", "ios")
    bob = house.connect("bob")
    house.devices.pop(dead.connection)
    house.now += YOUNG_MS + 1
    alice.say("x", "c1", to="bob")

    def fail(call: Call) -> None:
        if call.operation == "UpdateItem" and call.params["TableName"] == "ConnectionTable":
            raise refusal(call)

    with house.watched(before=fail):
        assert house.deliver(house.take()) == []

    assert bob.seen() == [1]


def test_reads_that_dynamodb_leaves_undone_are_asked_for_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    monkeypatch.setattr("time.sleep", lambda _: None)
    alice.say("x", "c1", to="bob")
    left = 3

    def leave(call: Call, answer: dict[str, Any]) -> None:
        nonlocal left
        if call.operation == "BatchGetItem" and left:
            left -= 1
            answer["Responses"] = {}
            answer["UnprocessedKeys"] = call.params["RequestItems"]

    with house.watched(after=leave):
        assert house.deliver(house.take()) == []

    assert left == 0
    assert bob.seen() == [1]


# ---- who sees what ---------------------------------------------------------------------------------------------------


def test_a_later_member_gets_what_came_after_they_joined(house: House) -> None:
    alice, bob = group(house, "g", "alice", "bob")
    late = house.connect("late")
    for i in range(3):
        alice.say(f"{i}", f"c{i}", conv="g:g")
    alice.ok("group.invite", {"conv": "g:g", "users": ["late"]})

    house.fan_out()
    alice.say("3", "c3", conv="g:g")
    house.fan_out()

    assert late.seen() == [5, 6]
    assert alice.seen() == [5]
    assert bob.seen() == [2, 3, 4, 5, 6]
    assert (row(late, "g:g")["unread"], row(late, "g:g")["read_seq"]) == (1, 4)
    assert [e["seq"] for e in late.ok("sync.entries", {"conv": "g:g", "after": 0})["entries"]] == [5, 6]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_batch_from_before_a_member_joined_leaves_their_inbox_alone(house: House, *, fresh: bool) -> None:
    """Whether or not the function has read the list of members before."""
    alice, bob = group(house, "g", "alice", "bob")
    late = house.connect("late")
    alice.say("x", "c1", conv="g:g")
    early = house.take()
    alice.ok("group.invite", {"conv": "g:g", "users": ["late"]})
    joined = row(late, "g:g")
    if fresh:
        house.load("fanout")

    house.now += 1000
    assert house.deliver(early) == []

    assert (bob.seen(), late.pushes) == ([2], [])
    assert row(late, "g:g") == joined
    house.fan_out()
    assert (late.seen(), row(late, "g:g")["unread"]) == ([3], 0)


@pytest.mark.parametrize("before", [False, True])
def test_who_is_removed_gets_all_up_to_that_and_nothing_after_it(house: House, *, before: bool) -> None:
    """Whether they are removed before or after the fan-out of what they were sent."""
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    alice.say("x", "c1", conv="g:g", mentions=["bob"])
    if not before:
        house.fan_out()
    alice.ok("group.remove", {"conv": "g:g", "users": ["bob"]})
    alice.say("y", "c2", conv="g:g", mentions=["bob"])

    house.fan_out()

    assert carol.seen() == [2, 3, 4]
    assert bob.seen() == [2, 3]
    left = row(bob, "g:g")
    assert (left["last_seq"], left["left_seq"], left["unread"], left["mention_seq"]) == (3, 3, 1, 2)
    assert [e["seq"] for e in bob.ok("sync.entries", {"conv": "g:g", "after": 0})["entries"]] == [1, 2, 3]
