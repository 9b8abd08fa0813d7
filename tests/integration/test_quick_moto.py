"""moto answers the same with its own parts and with the quick ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration import quick_moto
from tests.integration.house import House, built_house

Data = dict[str, Any]

RANDOM = {"RequestId", "x-amzn-requestid", "date", "MessageId", "ReceiptHandle", "SentTimestamp"}
RANDOM |= {"ApproximateFirstReceiveTimestamp", "SequenceNumber", "CreatedTimestamp", "LastModifiedTimestamp"}


def item(pk: str, sk: str, **more: Any) -> Data:
    return {"pk": {"S": pk}, "sk": {"S": sk}, **more}


KINDS: Data = {
    "text": {"S": "ä 中 😀"},
    "number": {"N": "10"},
    "truth": {"BOOL": False},
    "nothing": {"NULL": True},
    "bytes": {"B": b"\x00\xff"},
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["1", "10", "9"]},
    "map": {"M": {"S": {"S": "in a map"}, "deep": {"M": {"n": {"N": "1"}, "l": {"L": [{"N": "2"}]}}}}},
    "list": {"L": [{"S": "a"}, {"M": {"x": {"N": "3"}}}]},
    "empty": {"M": {}},
}


def put(pk: str, sk: str, **more: Any) -> tuple[str, Data]:
    return "put_item", {"TableName": "InboxTable", "Item": item(pk, sk, **more)}


def change(
    expression: str, values: Data | None = None, *, pk: str = "a", sk: str = "1", **more: Any
) -> tuple[str, Data]:
    request = {"TableName": "InboxTable", "Key": item(pk, sk), "UpdateExpression": expression, **more}
    return "update_item", request | ({"ExpressionAttributeValues": values} if values else {})


def query(condition: str, values: Data, **more: Any) -> tuple[str, Data]:
    values = {name: {"S": value} for name, value in values.items()}
    request = {"TableName": "InboxTable", "KeyConditionExpression": condition, "ExpressionAttributeValues": values}
    return "query", request | more


ONE: Data = {":one": {"N": "1"}}
NEW = "attribute_not_exists(pk)"
NAMES: Data = {"ExpressionAttributeNames": {"#n": "number"}}

TABLES: list[tuple[str, Data]] = [
    *(put(pk, sk) for pk in ("b", "a", "Z", "ä") for sk in ("2", "10", "1", "é", "B")),
    put("a", "1", **KINDS),
    put("a", "9", number={"N": "2"}, x={"N": "10"}),
    ("get_item", {"TableName": "InboxTable", "Key": item("a", "1")}),
    ("get_item", {"TableName": "InboxTable", "Key": item("a", "1"), "ProjectionExpression": "number, map.deep"}),
    ("get_item", {"TableName": "InboxTable", "Key": item("nobody", "1")}),
    ("get_item", {"TableName": "NoTable", "Key": item("a", "1")}),
    ("put_item", {"TableName": "InboxTable", "Item": {"pk": {"S": "a"}}}),
    ("put_item", {"TableName": "InboxTable", "Item": item("a", "1"), "ConditionExpression": NEW}),
    (
        "put_item",
        {
            "TableName": "InboxTable",
            "Item": item("a", "1"),
            "ConditionExpression": NEW,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    ),
    change("SET x = :one, #n = #n + :one", ONE, **NAMES, ReturnValues="ALL_NEW"),
    change("SET #n = if_not_exists(#n, :one)", ONE, **NAMES, ReturnValues="UPDATED_NEW"),
    change("SET y = if_not_exists(y, :one)", ONE, ReturnValues="UPDATED_OLD"),
    change("SET l = list_append(list, :l)", {":l": {"L": [{"S": "b"}]}}, ReturnValues="ALL_NEW"),
    change("SET map.deep.n = :one, map.S = :s REMOVE truth", ONE | {":s": {"S": "s"}}, ReturnValues="ALL_NEW"),
    change(
        "ADD texts :t, x :one DELETE numbers :n REMOVE list[0], list[1]",
        ONE | {":t": {"SS": ["c"]}, ":n": {"NS": ["9"]}},
    ),
    change("SET x = :one", ONE, pk="new", ReturnValues="ALL_OLD", ConditionExpression=NEW),
    change("SET x = :one", ONE, pk="new", ConditionExpression=NEW, ReturnValuesOnConditionCheckFailure="ALL_OLD"),
    change("SET x = :one", ONE, ConditionExpression="x < :one OR (size(texts) > :one AND x = :one)"),
    # what is wrong with an expression
    change("SET x = :one SET y = :one", ONE),
    change("ADD x :one ADD y :one", ONE),
    change("SET x = :one, x = :one", ONE),
    change("SET map.deep = :one, map.deep.n = :one", ONE),
    change("SET pk = :one", ONE),
    change("SET nothing_here.x = :one", ONE),
    change("SET x = :two", ONE),
    change("SET #who = :one", ONE),
    change("SET x = y_is_not_there", None),
    change("SET size = :one", ONE),
    change("SET x = text + :one", ONE),
    change("ADD text :one", ONE),
    change("SET x = = :one", ONE),
    change("", ONE),
    *(query("pk = :a", {":a": pk}, ScanIndexForward=forward) for pk in ("a", "ä", "-") for forward in (True, False)),
    query("pk = :a AND sk BETWEEN :b AND :c", {":a": "a", ":b": "1", ":c": "2"}),
    query("pk = :a AND begins_with(sk, :b)", {":a": "a", ":b": "1"}, Limit=1),
    query("pk = :a", {":a": "a"}, Limit=2, ExclusiveStartKey=item("a", "10")),
    query("pk = :a", {":a": "a", ":b": "z"}, FilterExpression="x < :b"),
    ("scan", {"TableName": "InboxTable"}),
    ("scan", {"TableName": "ConnectionTable"}),
    ("batch_get_item", {"RequestItems": {"InboxTable": {"Keys": [item("a", "1"), item("b", "1"), item("c", "1")]}}}),
    (
        "transact_get_items",
        {"TransactItems": [{"Get": {"TableName": "InboxTable", "Key": item("a", sk)}} for sk in "19x"]},
    ),
    (
        "transact_write_items",
        {
            "TransactItems": [
                {"Put": {"TableName": "InboxTable", "Item": item("t", "1", **KINDS)}},
                {"Update": change("SET x = :one", ONE, pk="t", sk="2")[1]},
                {"Delete": {"TableName": "InboxTable", "Key": item("b", "2")}},
            ]
        },
    ),
    (
        "transact_write_items",
        {
            "TransactItems": [
                {"Put": {"TableName": "InboxTable", "Item": item("t", "3")}},
                {
                    "Update": change("SET x = :one", ONE, ConditionExpression=NEW)[1]
                    | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
                },
            ]
        },
    ),
    ("delete_item", {"TableName": "InboxTable", "Key": item("a", "1"), "ReturnValues": "ALL_OLD"}),
    ("put_item", {"TableName": "ConnectionTable", "Item": {"pk": {"S": "b"}}}),
    ("put_item", {"TableName": "ConnectionTable", "Item": {"pk": {"S": "a"}}}),
    ("scan", {"TableName": "ConnectionTable"}),
    ("scan", {"TableName": "InboxTable"}),
    ("describe_table", {"TableName": "NoTable"}),
]


def queues(house: House) -> list[tuple[str, Data]]:
    fifo: Data = {"QueueUrl": house.queue_url}
    sent: Data = {"MessageBody": '{"a=b": "ä&c"}', "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    told: Data = {"MessageAttributes": {"why": {"DataType": "String", "StringValue": "ä"}}}
    return [
        ("send_message", fifo | sent | told),
        ("send_message", fifo | sent),
        ("send_message", fifo | {"MessageBody": "no group"}),
        ("send_message_batch", fifo | {"Entries": [{"Id": i, **sent, "MessageDeduplicationId": i} for i in "23"]}),
        ("send_message", {"QueueUrl": f"{house.queue_url}x", "MessageBody": "x"}),
        (
            "receive_message",
            fifo | {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]},
        ),
        ("delete_message", fifo | {"ReceiptHandle": "none"}),
        ("get_queue_attributes", fifo | {"AttributeNames": ["All"]}),
        ("list_queues", {}),
        ("get_queue_url", {"QueueName": "dead.fifo"}),
        ("get_queue_url", {"QueueName": "none"}),
        ("purge_queue", fifo),
    ]


def steady(value: Any) -> Any:
    """Without what is another one each time."""
    if isinstance(value, dict):
        return {name: steady(one) for name, one in value.items() if name not in RANDOM}
    return [steady(one) for one in value] if isinstance(value, list) else value


def answers(client: Any, calls: Sequence[tuple[str, Data]]) -> list[Any]:
    out: list[Any] = []
    for operation, params in calls:
        try:
            answer = getattr(client, operation)(**params)
        except ClientError as e:
            answer = e.response
        except Exception as e:  # noqa: BLE001 - moto itself has failed: it must do so in the same way
            out.append((operation, repr(e), {"Error": type(e)}))
            continue
        if client.meta.service_model.service_name == "sqs":
            answer["ResponseMetadata"]["HTTPHeaders"].pop("content-length", None)
        out.append((operation, json.dumps(params, default=repr), steady(answer)))
    return out


def everything(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    with monkeypatch.context() as patch, built_house(patch) as house:
        return [*answers(house.dynamodb, TABLES), *answers(house.sqs, queues(house))]


def test_the_answers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = everything(monkeypatch)
    assert everything(monkeypatch) == ours  # what is kept between calls stays as it was
    for where, name, own in quick_moto.OWN:
        monkeypatch.setattr(where, name, own)

    assert everything(monkeypatch) == ours
    assert sum("Error" in answer for _, _, answer in ours) > 20


def test_all_of_it_is_in_use() -> None:
    for where, name, ours in quick_moto.PARTS:
        assert vars(where)[name] is ours
