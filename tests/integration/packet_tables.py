"""What red packets need of DynamoDB in memory (tables.py) besides: lists that grow, sums, an index by time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from tests.integration.tables import Condition, Item, Parser, Tables

Change = tuple[str, Condition]
"""An attribute, and what it becomes; None when it goes."""

DUE: Final = "due_shard = :shard AND due <= :now"
"""The key condition of the one query of an index."""


class PacketParser(Parser):
    """Reads the expressions of the stores of packets and wallets too."""

    def __init__(self, text: str) -> None:
        super().__init__(text.replace("+", ""))
        self.tokens = re.findall(r"[#:]?\w+|<=|>=|[=<>(),.+]", text)

    def test(self) -> Condition:
        """One condition."""
        if self.next_is("NOT"):
            self.take()
            inner = self.test()
            return lambda *at: not inner(*at)
        if self.next_is("contains"):
            held, wanted = self.pair()
            return lambda *at: (held(*at) or {"L": []})["L"].count(wanted(*at)) > 0
        return super().test()

    def pair(self) -> tuple[Condition, Condition]:
        """The two operands of a function."""
        self.take()
        self.take("(")
        first = self.operand()
        self.take(",")
        second = self.operand()
        self.take(")")
        return first, second

    def value(self) -> Condition:
        """What an attribute becomes."""
        if self.next_is("list_append"):
            old, new = self.pair()
            return lambda *at: {"L": old(*at)["L"] + new(*at)["L"]}
        left = self.operand()
        if not self.next_is("+"):
            return left
        self.take()
        right = self.operand()
        return lambda *at: {"N": str(int(left(*at)["N"]) + int(right(*at)["N"]))}

    def changes(self) -> list[Change]:
        """An update expression of SET and REMOVE."""
        out: list[Change] = []
        clause = ""
        while self.tokens:
            if self.tokens[0] in {"SET", "REMOVE"}:
                clause = self.take()
            name = self.take()
            if clause == "SET":
                self.take("=")
            out.append((name, self.value() if clause == "SET" else lambda *_: None))
            if self.next_is(","):
                self.take()
        return out


@cache
def _condition(text: str) -> Condition:
    parser = PacketParser(text)
    test = parser.any_of()
    assert not parser.tokens, text
    return test


@cache
def _changes(text: str) -> list[Change]:
    return PacketParser(text).changes()


class PacketTables(Tables):
    """Tables that hold red packets and wallets too."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        """How many items were written: nothing has changed where this has not."""
        self.indexed: list[Item] | None = None
        """What the index still says when it lags behind."""

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self.indexed = None

    def items(self, table: str) -> list[Item]:
        """Everything in a table."""
        return [item for partition in self.tables.get(table, {}).values() for item in partition.values()]

    def refusal(self, write: Item) -> Item | None:
        """Why a write must not be made: None when it may."""
        ((_, request),) = write.items()
        if "contains(" not in request.get("ConditionExpression", ""):
            return super().refusal(write)
        old = self.at(request["TableName"], request["Key"]) or {}
        names, values = request.get("ExpressionAttributeNames", {}), request["ExpressionAttributeValues"]
        if _condition(request["ConditionExpression"])(old, names, values):
            return None
        told = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old
        return {"Item": old} if told else {}

    def make(self, write: Item) -> None:
        """Make a write."""
        self.writes += 1
        request = write.get("Update", {})
        text = request.get("UpdateExpression", "")
        if "list_append(" not in text and " + " not in text:
            super().make(write)
            return
        names, values = request.get("ExpressionAttributeNames", {}), request["ExpressionAttributeValues"]
        old = self.at(request["TableName"], request["Key"]) or dict(request["Key"])
        new = dict(old)
        for token, value in _changes(text):
            made = value(old, names, values)
            name = names[token] if token.startswith("#") else token
            if made is None:
                new.pop(name, None)
            else:
                new[name] = made
        self.put(request["TableName"], new)

    def query(self, **request: Any) -> Item:
        """One page; of an index, of what it knows."""
        if "IndexName" not in request:
            return super().query(**request)
        assert request["KeyConditionExpression"] == DUE
        shard, now = request["ExpressionAttributeValues"][":shard"], request["ExpressionAttributeValues"][":now"]
        known = self.index_of(request["TableName"]) if self.indexed is None else self.indexed
        found = [item for item in known if item["due_shard"] == shard and int(item["due"]["N"]) <= int(now["N"])]
        found.sort(key=_place)
        if after := request.get("ExclusiveStartKey"):
            found = [item for item in found if _place(item) > _place(after)]
        page = found[: request["Limit"]]
        return {"Items": page} | ({"LastEvaluatedKey": page[-1]} if len(page) == request["Limit"] else {})

    def index_of(self, table: str) -> list[Item]:
        """What an index says that does not lag behind."""
        names: Sequence[str] = ("pk", "sk", "due_shard", "due")
        return [{name: item[name] for name in names} for item in self.items(table) if "due_shard" in item]


def _place(item: Item) -> tuple[int, str]:
    return int(item["due"]["N"]), item["pk"]["S"]
