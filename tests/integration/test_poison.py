"""What no repeat can mend is put out of the way at once; what may pass comes again soon. Nothing waits for nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from im.flows import broadcast
from im.runtime.batches import DEFECT_AFTER, START_MS, STUCK_AFTER
from tests.integration.house import Before, Call, Context, Crash, Device, House, built_house, sample

CONV = "d:alice:bob"


def record(body: str, *, parts: bool = False) -> dict[str, Any]:
    shape = sample("broadcast" if parts else "fanout")["Records"][0]
    return shape | {"messageId": "bad", "body": body}


def received(records: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
    """The same messages, brought so often."""
    return [r | {"attributes": r["attributes"] | {"ApproximateReceiveCount": str(times)}} for r in records]


def reasons(house: House) -> list[tuple[str, str, str]]:
    """Source, reason and body of what is in the dead-letter queue."""
    out = []
    for letter in house.dead():
        source, parked = (letter["MessageAttributes"][name]["StringValue"] for name in ("source", "parked"))
        out.append((source, parked, letter["Body"]))
    return out


def broken_at(seq: int) -> Before:
    """A defect of the program that only one entry shows: its row cannot be made."""

    def fail(call: Call) -> None:
        mark = call.params.get("ExpressionAttributeValues", {}).get(":last_seq")
        if call.sort_key.startswith("CONV#") and mark == {"N": str(seq)}:
            raise KeyError("a defect")

    return fail


def dies(_: Call) -> None:
    raise Crash


def out_of_reach(call: Call) -> None:
    if call.service == "dynamodb":
        raise ConnectTimeoutError(endpoint_url="https://dynamodb")


@pytest.fixture
def people(house: House) -> tuple[Device, Device]:
    return house.connect("alice"), house.connect("bob")


@pytest.mark.parametrize("body", ["", "nonsense", "[]", '{"v":0}', '{"v":"99"}', "[" * 10_000, '{"v":1,"entry":{}}'])
def test_a_message_that_nobody_can_read_waits_for_a_human_and_nobody_for_it(
    house: House, people: tuple[Device, Device], body: str
) -> None:
    alice, bob = people
    alice.say("x", "c1", to="bob")
    alice.say("y", "c2", to="bob")
    first, second = house.take()

    assert house.call("fanout", {"Records": [first, record(body), second]}) == {"batchItemFailures": []}

    assert bob.seen() == [1, 2]
    ((source, reason, kept),) = reasons(house)
    assert (source, kept) == ("fanout", body)
    assert reason.startswith("UnreadableMessage")


def test_what_was_said_is_not_in_the_reason(house: House, people: tuple[Device, Device]) -> None:
    house.call("fanout", {"Records": [record('{"v":1,"entry":{"conv":"d:a:b","seq":"secret"}}')]})

    ((_, reason, _),) = reasons(house)
    assert "secret" not in reason


def test_a_poisoned_entry_does_not_hold_up_its_conversation(house: House) -> None:
    """Of a group of so many that their rows are not repaired one by one."""
    names = [f"u{i:02d}" for i in range(12)]
    alice, *others = [house.connect(name) for name in ("alice", *names)]
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names})
    house.fan_out()
    for i in range(3):
        alice.say(f"{i}", f"c{i}", conv="g:g")

    # The batch fails at its newest entry; tried one by one, it is the fourth entry alone.
    records = house.take()
    with house.watched(before=broken_at(4)):
        for receives in range(1, DEFECT_AFTER):
            again = house.deliver(received(records, receives))
            assert len(again) == 3, "perhaps the defect is mended soon"
        assert house.deliver(received(records, DEFECT_AFTER)) == []

    assert [other.seen()[-2:] for other in others] == [[2, 3]] * len(others)
    ((source, reason, body),) = reasons(house)
    assert source == "fanout"
    assert reason == "TooManyFailed by KeyError"
    assert json.loads(body)["entry"]["seq"] == 4
    alice.say("next", "c9", conv="g:g")
    house.fan_out()
    assert [other.seen()[-1] for other in others] == [5] * len(others)
    house.sqs.send_message(
        QueueUrl=house.queue_url, MessageBody=body, MessageGroupId="g:g", MessageDeduplicationId="redrive"
    )
    house.fan_out()
    assert all(set(other.seen()) == {1, 2, 3, 4, 5} for other in others)
    assert others[0].ok("sync.unread")["total_unread"] == 4


def test_what_may_pass_comes_again_and_nothing_of_its_conversation_before(
    house: House, people: tuple[Device, Device]
) -> None:
    alice, bob = people
    carol = house.connect("carol")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    alice.say("x", "c1", to="bob")
    alice.say("y", "c2", to="bob")
    house.load("fanout")  # it does not know the members of the group
    records = house.take()

    def fail(call: Call) -> None:
        if call.operation == "Query":
            out_of_reach(call)

    with house.watched(before=fail):
        failed = house.deliver(records)

    assert failed == sorted(r["messageId"] for r in records if '"g:g"' in r["body"])
    assert (bob.seen(), carol.seen()) == ([1, 2], [])
    assert house.dead() == []
    house.fan_out()
    assert carol.seen() == [1]


@pytest.mark.parametrize(("times", "seconds"), [(1, 2), (2, 4), (3, 8), (7, 128), (8, 180), (9, 180), (10**6, 180)])
def test_it_comes_again_in_seconds_and_each_time_later(
    house: House, people: tuple[Device, Device], times: int, seconds: int
) -> None:
    """And not when the queue's visibility timeout is over: its conversation waits for it."""
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    house.load("fanout")
    (message,) = house.take()
    message["attributes"]["ApproximateReceiveCount"] = str(times)

    with house.watched(before=out_of_reach):
        assert house.deliver([message]) == [message["messageId"]]

    assert house.retries == [(message["receiptHandle"], seconds)]


def test_a_queue_that_cannot_be_told_when_changes_nothing(house: House, people: tuple[Device, Device]) -> None:
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    house.load("fanout")
    (message,) = house.take()

    def fail(call: Call) -> None:
        raise ConnectTimeoutError(endpoint_url="x")

    with house.watched(before=fail):
        assert house.deliver([message]) == [message["messageId"]]


def test_what_cannot_be_put_aside_comes_again(house: House, people: tuple[Device, Device]) -> None:
    def no_queue(call: Call) -> None:
        if call.operation == "SendMessage":
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, call.operation)

    with house.watched(before=no_queue):
        answer = house.call("fanout", {"Records": [record("nonsense")]})

    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert house.dead() == []
    assert house.call("fanout", {"Records": [record("nonsense")]}) == {"batchItemFailures": []}
    assert len(house.dead()) == 1


def test_who_dies_after_putting_aside_does_not_do_it_twice(house: House, people: tuple[Device, Device]) -> None:
    for _ in range(2):
        house.call("fanout", {"Records": [record("nonsense")]})

    assert len(house.dead()) == 1


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "AccessDeniedException", "Unknown"])
def test_what_aws_may_allow_later_is_not_put_aside(house: House, people: tuple[Device, Device], code: str) -> None:
    """A policy that lacks an action is mended by a deployment, and then everything that waited is delivered."""
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    house.load("fanout")

    def fail(call: Call) -> None:
        if call.service == "dynamodb":
            raise ClientError({"Error": {"Code": code}}, call.operation)

    with house.watched(before=fail):
        assert len(house.deliver(house.take())) == 1

    assert house.dead() == []


def test_a_request_that_aws_finds_wrong_is_put_aside_in_the_end(house: House, people: tuple[Device, Device]) -> None:
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    house.load("fanout")

    def fail(call: Call) -> None:
        if call.service == "dynamodb":
            raise ClientError({"Error": {"Code": "ValidationException"}}, call.operation)

    with house.watched(before=fail):
        for _ in range(DEFECT_AFTER - 1):
            assert len(house.deliver(house.take())) == 1
        assert house.deliver(house.take()) == []

    assert [reason for _, reason, _ in reasons(house)] == ["ClientError"]


def test_a_message_of_a_newer_version_comes_again(house: House, people: tuple[Device, Device]) -> None:
    """Its sender's function was deployed first; or the deployment was rolled back."""
    answer = house.call("fanout", {"Records": [record('{"v":2,"entry":{}}')]})

    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert house.dead() == []


@pytest.mark.parametrize("failing", [False, True])
def test_what_there_is_no_time_for_comes_again(
    house: House, people: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch, *, failing: bool
) -> None:
    """A function that dies would leave all of it invisible for minutes."""
    alice, bob = people
    carol = house.connect("carol")
    for receiver in ("bob", "carol"):
        alice.say("x", "c1", to=receiver)
    started = house.now

    def slow(call: Call) -> None:
        house.now += 25_000 - START_MS + 1
        if failing:
            raise ConnectTimeoutError(endpoint_url="x")

    records = house.take()
    with house.watched(before=slow), monkeypatch.context() as patched:
        patched.setattr(Context, "get_remaining_time_in_millis", lambda _: 25_000 - (house.now - started))
        failed = house.deliver(records)

    assert len(failed) == (2 if failing else 1)
    assert house.dead() == []
    house.fan_out()
    assert [device.ok("sync.unread")["total_unread"] for device in (bob, carol)] == [1, 1]


def test_it_is_not_always_the_same_for_whom_there_is_no_time(
    house: House, people: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = people
    for i in range(3):
        alice.say("x", "c1", to=f"u{i}")
    began = house.now
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 25_000 - (house.now - began))

    def slow(call: Call) -> None:
        house.now = began + 25_000 - START_MS + 1
        raise ConnectTimeoutError(endpoint_url="x")

    served: list[set[str]] = []
    for _ in range(3):
        records = house.take()
        house.now = began
        with house.watched(before=slow) as calls:
            house.deliver(records)
        served.append({call.user for call in calls} - {"", "alice"})

    assert sorted(served, key=str) == [{"u0"}, {"u1"}, {"u2"}]


def test_a_conversation_that_stands_still_rings(
    house: House, people: tuple[Device, Device], caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    house.load("fanout")
    with house.watched(before=out_of_reach):
        for i in range(STUCK_AFTER):
            assert ("still failing" in caplog.text) is False, i
            house.deliver(house.take())

    assert "still failing" in caplog.text


def test_a_message_that_functions_die_of_rings_though_none_of_them_says_so(
    house: House, people: tuple[Device, Device], caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    (record,) = house.take()
    old = record | {"attributes": record["attributes"] | {"SentTimestamp": str(int((time.time() - 700) * 1000))}}
    for receives, rings in (("2", False), ("3", True)):
        old["attributes"]["ApproximateReceiveCount"] = receives
        with house.watched(before=dies), pytest.raises(Crash):
            house.deliver([old])
        assert ("still failing" in caplog.text) is rings


def test_all_of_a_group_waits_for_as_long(house: House, people: tuple[Device, Device]) -> None:
    """SQS brings none of them while one is invisible."""
    alice, _ = people
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["carol"]})
    alice.say("x", "c1", conv="g:g")
    house.load("fanout")
    first, second = house.take()
    first["attributes"]["ApproximateReceiveCount"] = "3"

    with house.watched(before=out_of_reach):
        house.deliver([first, second])

    assert [seconds for _, seconds in house.retries] == [8, 8]


def test_parts_are_put_aside_as_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.call("broadcast", {"Records": [record('{"v":1}', parts=True)]}) == {"batchItemFailures": []}

    assert [source for source, _, _ in reasons(house)] == ["broadcast"]


def test_a_part_that_may_pass_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "PART_MEMBERS", 2)
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as house:
        alice, bob, _ = (house.connect(name) for name in ("alice", "bob", "carol"))
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
        house.deliver(house.take())
        with house.watched(before=out_of_reach):
            records = house.take(parts=True)
            assert len(house.deliver(records, parts=True)) == len(records) > 0
        assert bob.seen() == []
        house.fan_out()
        assert bob.seen() == [1]


def test_a_check_that_nobody_can_read_is_forgotten(house: House) -> None:
    bad = sample("redelivery")["Records"][0] | {"body": "nonsense"}

    assert house.call("redelivery", {"Records": [bad]}) == {"batchItemFailures": []}
    assert house.dead() == []
