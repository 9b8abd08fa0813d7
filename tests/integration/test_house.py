"""The house itself, where it is not moto."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.house import House


def item(pk: str, sk: str, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}, **more}


WRITES: list[dict[str, Any]] = [
    {"Put": {"TableName": "InboxTable", "Item": item("new", "a")}},
    {"Put": {"TableName": "InboxTable", "Item": item("there", "put", x={"N": "2"})}},
    {"Delete": {"TableName": "InboxTable", "Key": item("there", "deleted")}},
    {"Delete": {"TableName": "InboxTable", "Key": item("nobody", "deleted")}},
    {
        "Update": {
            "TableName": "InboxTable",
            "Key": item("there", "updated"),
            "UpdateExpression": "SET y = :one ADD x :one, who :who",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":who": {"SS": ["b"]}},
        }
    },
    {
        "Update": {
            "TableName": "AudienceTable",
            "Key": item("made", "updated"),
            "UpdateExpression": "ADD x :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    },
]


def fails(table: str) -> dict[str, Any]:
    key = item("nobody", "checked")
    return {"ConditionCheck": {"TableName": table, "Key": key, "ConditionExpression": "attribute_exists(pk)"}}


def furnish(house: House) -> None:
    for there in (item("there", "put"), item("there", "deleted"), item("there", "updated", who={"SS": ["a"]})):
        house.dynamodb.put_item(TableName="InboxTable", Item=there)
    house.dynamodb.put_item(TableName="InboxTable", Item=item("other", "a"))


@pytest.mark.parametrize("table", ["InboxTable", "AudienceTable", "ConversationTable"])
@pytest.mark.parametrize("place", [0, 3, len(WRITES)])
def test_a_transaction_that_fails_leaves_every_table_as_it_was(house: House, place: int, table: str) -> None:
    furnish(house)
    before = [house.items(name) for name in ("InboxTable", "AudienceTable")]

    with pytest.raises(house.dynamodb.exceptions.TransactionCanceledException) as refused:
        house.dynamodb.transact_write_items(TransactItems=[*WRITES[:place], fails(table), *WRITES[place:]])

    reasons = [reason["Code"] for reason in refused.value.response["CancellationReasons"]]
    assert [i for i, code in enumerate(reasons) if code != "None"] == [place]
    assert [house.items(name) for name in ("InboxTable", "AudienceTable")] == before


def test_a_transaction_makes_all_its_writes(house: House) -> None:
    furnish(house)

    house.dynamodb.transact_write_items(TransactItems=WRITES)

    inbox = {(found["pk"]["S"], found["sk"]["S"]): found for found in house.items("InboxTable")}
    assert set(inbox) == {("new", "a"), ("there", "put"), ("there", "updated"), ("other", "a")}
    assert inbox["there", "put"]["x"] == {"N": "2"}
    updated = inbox["there", "updated"]
    assert (updated["x"], updated["y"], set(updated["who"]["SS"])) == ({"N": "1"}, {"N": "1"}, {"a", "b"})
    assert house.items("AudienceTable") == [item("made", "updated", x={"N": "1"})]
