"""The bill of what functions do to tables, queues and connections, checked against AWS's examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bench.meter import Bill, Meter, stored
from im.aws.clients import POOL
from tests.integration.house import House, built_house

TABLE = "ConversationTable"
KB = 1024


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The backend on moto, empty."""
    with built_house(monkeypatch) as built:
        yield built


@pytest.fixture
def meter(house: House, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Its meter."""
    return Meter(house, monkeypatch)


def key(name: str) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"S": name}}


def item(name: str, size: float) -> dict[str, Any]:
    """An item of exactly `size` bytes."""
    frame = len("pk") + len("p") + len("sk") + len(name) + len("text")
    return {**key(name), "text": {"S": "x" * (int(size) - frame)}}


def bill_of(house: House, meter: Meter, *calls: Callable[[Any], Any]) -> Bill:
    """The bill of these calls to DynamoDB."""
    client = house.client("dynamodb")
    with meter.measured() as bill:
        for call in calls:
            with suppress(ClientError):
                call(client)
    return bill


def put(name: str, size: float, **options: Any) -> Callable[[Any], Any]:
    return lambda client: client.put_item(TableName=TABLE, Item=item(name, size), **options)


def test_writes_cost_the_larger_of_what_was_and_what_is(house: House, meter: Meter) -> None:
    def update(text: str) -> Callable[[Any], Any]:
        return lambda client: client.update_item(
            TableName=TABLE,
            Key=key("a"),
            UpdateExpression="SET #text = :text",
            ExpressionAttributeNames={"#text": "text"},
            ExpressionAttributeValues={":text": {"S": text}},
        )

    costs = [
        bill_of(house, meter, call)
        for call in (
            put("a", 1.5 * KB),
            put("a", 3.5 * KB),
            update("x"),
            update("x" * 1100),
            lambda client: client.delete_item(TableName=TABLE, Key=key("a")),
            lambda client: client.delete_item(TableName=TABLE, Key=key("a")),
        )
    ]

    assert [bill.writes for bill in costs] == [2, 4, 4, 2, 2, 1]
    assert [bill.reads for bill in costs] == [0] * 6


def test_a_write_whose_condition_fails_costs_as_much(house: House, meter: Meter) -> None:
    house.dynamodb.put_item(TableName=TABLE, Item=item("a", 2.5 * KB))
    there = {"ConditionExpression": "attribute_exists(pk)"}
    not_there = {"ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    update = {"TableName": TABLE, "UpdateExpression": "REMOVE gone"}

    costs = [
        bill_of(house, meter, call)
        for call in (
            put("a", 100, **not_there),
            put("a", 4.5 * KB, **not_there),
            lambda client: client.update_item(Key=key("a"), **update, **not_there),
            lambda client: client.update_item(Key=key("b"), **update, **there),
            lambda client: client.delete_item(TableName=TABLE, Key=key("a"), **not_there),
        )
    ]

    assert [bill.writes for bill in costs] == [3, 5, 3, 1, 3]
    assert stored(TABLE, key("a")) == item("a", 2.5 * KB)


def test_a_transaction_costs_twice_whether_it_is_made_or_not(house: House, meter: Meter) -> None:
    puts = [{"Put": {"TableName": TABLE, "Item": item(name, 500)}} for name in "abc"]
    check = {"TableName": TABLE, "Key": key("d"), "ConditionExpression": "attribute_exists(pk)"}
    gets = [{"Get": {"TableName": TABLE, "Key": key(name)}} for name in "abcd"]

    made, cancelled, read = (
        bill_of(house, meter, call)
        for call in (
            lambda client: client.transact_write_items(TransactItems=puts),
            lambda client: client.transact_write_items(TransactItems=[*puts, {"ConditionCheck": check}]),
            lambda client: client.transact_get_items(TransactItems=gets),
        )
    )

    assert (made.writes, cancelled.writes) == (6, 8)
    assert (read.reads, read.writes) == (8, 0)


def test_one_item_is_read_by_4_kib_and_costs_when_it_is_not_there(house: House, meter: Meter) -> None:
    house.dynamodb.put_item(TableName=TABLE, Item=item("a", 3.5 * KB))
    house.dynamodb.put_item(TableName=TABLE, Item=item("b", 4.5 * KB))

    costs = [
        bill_of(house, meter, lambda client: client.get_item(TableName=TABLE, Key=key(name), ConsistentRead=sure))  # noqa: B023 - called at once
        for sure in (False, True)
        for name in ("a", "b", "not there")
    ]

    assert [bill.reads for bill in costs] == [0.5, 1, 0.5, 1, 2, 1]


def test_a_batch_rounds_each_of_its_items_up(house: House, meter: Meter) -> None:
    house.dynamodb.put_item(TableName=TABLE, Item=item("a", 1.5 * KB))
    house.dynamodb.put_item(TableName=TABLE, Item=item("b", 6.5 * KB))

    def batch(names: str, *, sure: bool) -> Callable[[Any], Any]:
        wanted = {TABLE: {"Keys": [key(name) for name in names], "ConsistentRead": sure}}
        return lambda client: client.batch_get_item(RequestItems=wanted)

    assert bill_of(house, meter, batch("ab", sure=True)).reads == 3  # «12 KB (4 KB + 8 KB), not 8 KB»
    assert bill_of(house, meter, batch("ab", sure=False)).reads == 1.5
    assert bill_of(house, meter, batch("abcd", sure=False)).reads == 2.5


def test_a_query_costs_the_sum_of_what_it_looked_at_filtered_or_not(house: House, meter: Meter) -> None:
    for i in range(10):
        house.dynamodb.put_item(TableName=TABLE, Item=item(f"MSG#{i}", 4.08 * KB))

    def query(prefix: str, **options: Any) -> Callable[[Any], Any]:
        values = {":p": {"S": "p"}, ":prefix": {"S": prefix}} | options.pop("values", {})
        return lambda client: client.query(
            TableName=TABLE,
            KeyConditionExpression="pk = :p AND begins_with(sk, :prefix)",
            ExpressionAttributeValues=values,
            **options,
        )

    nothing_left = {
        "FilterExpression": "#text = :none",
        "ExpressionAttributeNames": {"#text": "text"},
        "values": {":none": {"S": "?"}},
    }
    assert bill_of(house, meter, query("MSG#", ConsistentRead=True)).reads == 11  # «40.8 KB … to 44 KB»
    assert bill_of(house, meter, query("MSG#")).reads == 5.5
    assert bill_of(house, meter, query("MSG#", Limit=1)).reads == 1
    assert bill_of(house, meter, query("MSG#", **nothing_left)).reads == 5.5
    assert bill_of(house, meter, query("NONE#")).reads == 0.5


def test_an_item_is_looked_up_as_it_is_stored(house: House) -> None:
    made = {
        **key("a"),
        "n": {"N": "12.50"},
        "spans": {"L": [{"L": [{"N": "1"}, {"N": "0"}]}]},
        "newest": {"M": {"kind": {"S": "text"}, "more": {"M": {"ts": {"N": "5"}}}}},
        "groups": {"SS": ["g:a"]},
        "yes": {"BOOL": True},
    }
    house.dynamodb.put_item(TableName=TABLE, Item=made)

    assert stored(TABLE, key("a")) == house.dynamodb.get_item(TableName=TABLE, Key=key("a"))["Item"]
    assert stored(TABLE, key("b")) is None


def test_what_nobody_has_a_rule_for_is_not_counted_as_nothing(house: House, meter: Meter) -> None:
    with pytest.raises(ValueError, match="Scan"):
        bill_of(house, meter, lambda client: client.scan(TableName=TABLE))
    with pytest.raises(ValueError, match="GetSecretValue"), meter.measured():
        house.client("secretsmanager").get_secret_value(SecretId="JwtSecret")


def test_a_batch_of_messages_is_one_request_and_64_kib_another(house: House, meter: Meter) -> None:
    queue = house.client("sqs")

    def entries(size: int) -> list[dict[str, Any]]:
        return [
            {"Id": str(i), "MessageBody": "x" * size, "MessageGroupId": "g", "MessageDeduplicationId": f"{size} {i}"}
            for i in range(10)
        ]

    with meter.measured() as small:
        queue.send_message_batch(QueueUrl=house.queue_url, Entries=entries(6 * KB))
    with meter.measured() as large:
        queue.send_message_batch(QueueUrl=house.queue_url, Entries=entries(7 * KB))
    with meter.measured() as single:
        queue.send_message(
            QueueUrl=house.queue_url, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="one more"
        )
    with meter.measured() as polled:
        meter.polled(["x" * 7 * KB] * 10)

    assert (small.queue, large.queue, single.queue) == (1, 2, 1)
    assert polled.queue == 2 + 1


def test_a_message_is_billed_with_its_request_reply_functions_and_pushes(house: House, meter: Meter) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    bob.say("Hello?", "c0", to="alice")
    house.fan_out()

    with meter.measured() as bill:
        alice.say("Hello, Bob.", "c1", to="bob")
        house.fan_out()

    assert bob.seen() == [2]
    assert (bill.writes, bill.reads) == (4, 1.5)
    assert (bill.queue, bill.pushes, bill.frames) == (2, 1, 2), "the entry, and the check whether it has arrived"
    assert [one.function for one in bill.invocations] == ["message", "fanout"]
    assert bill.dollars > bill.database_dollars == pytest.approx((4 * 0.625 + 1.5 * 0.125) / 1_000_000)


def test_nothing_is_billed_outside(house: House, meter: Meter) -> None:
    with meter.measured() as first:
        house.connect("alice")
    house.connect("bob")

    assert (first.writes, first.functions) == (1, 1)


@pytest.mark.parametrize(
    ("tasks", "calls_each", "rounds"),
    [(0, 1, 0), (1, 1, 1), (POOL, 1, 1), (POOL + 1, 1, 2), (3 * POOL, 2, 6)],
)
def test_what_runs_at_once_takes_as_many_rounds_as_there_are_threads_for(
    house: House, meter: Meter, tasks: int, calls_each: int, rounds: int
) -> None:
    client = house.client("dynamodb")
    app: Any = house.apps["broadcast"]

    def ask(_: int) -> None:
        for _ in range(calls_each):
            client.get_item(TableName=TABLE, Key=key("a"))

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        ask(0)
        list(app.broadcast.threads.map(ask, range(tasks)))
        return {}

    app.handler = handler
    with meter.measured() as bill:
        house.call("broadcast", {})

    assert bill.rounds_of("broadcast") == calls_each + rounds
    assert [one.calls for one in bill.invocations] == [calls_each * (tasks + 1)]
