"""DynamoDB in memory: as much of it as the product uses, a hundred times as fast as moto.

It reads the expressions that the product writes and fails at any other. tests/integration/test_group_histories.py plays
the same histories on these tables and on moto.
"""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, Any]
Condition = Callable[[Item, Mapping[str, str], Mapping[str, Any]], Any]


class Parser:
    """Reads the expressions that the product writes, and fails at any other."""

    def __init__(self, text: str) -> None:
        self.tokens = re.findall(r"[#:]?\w+|<=|>=|[=<>(),.]", text)
        assert "".join(self.tokens) == "".join(text.split()), text

    def take(self, *wanted: str) -> str:
        token: str = self.tokens.pop(0)
        assert not wanted or token in wanted, (token, wanted)
        return token

    def next_is(self, token: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == token

    def any_of(self) -> Condition:
        tests = [self.all_of()]
        while self.next_is("OR"):
            self.take()
            tests.append(self.all_of())
        return lambda *at: any(test(*at) for test in tests)

    def all_of(self) -> Condition:
        tests = [self.test()]
        while self.next_is("AND"):
            self.take()
            tests.append(self.test())
        return lambda *at: all(test(*at) for test in tests)

    def test(self) -> Condition:
        if self.next_is("("):
            self.take()
            inner = self.any_of()
            self.take(")")
            return inner
        if self.tokens[1] == "(" and not self.next_is("size"):
            there = self.take("attribute_exists", "attribute_not_exists") == "attribute_exists"
            self.take("(")
            what = self.operand()
            self.take(")")
            return lambda *at: (what(*at) is not None) == there
        left, op, right = self.operand(), self.take("=", "<", "<=", ">=", ">"), self.operand()
        return lambda *at: compare(left(*at), op, right(*at))

    def operand(self) -> Condition:
        path = [self.take()]
        if path == ["size"]:
            self.take("(")
            what = self.operand()
            self.take(")")
            return lambda *at: size(what(*at))
        while self.next_is("."):
            self.take()
            path.append(self.take())
        if path[0].startswith(":"):
            return lambda _item, _names, values: values[path[0]]

        def found(item: Item, names: Mapping[str, str], _: Mapping[str, Any]) -> Any:
            value: Any = {"M": item}
            for name in path:
                value = value["M"].get(names[name] if name.startswith("#") else name) if value is not None else None
            return value

        return found

    def updates(self) -> list[tuple[str, str, str]]:
        """(clause, attribute, value) of an update expression."""
        out: list[tuple[str, str, str]] = []
        clause = ""
        while self.tokens:
            if self.tokens[0] in {"SET", "REMOVE", "ADD", "DELETE"}:
                clause = self.take()
            name = self.take()
            if clause == "SET":
                self.take("=")
            value = "" if clause == "REMOVE" else self.take()
            assert value.startswith(":") == (clause != "REMOVE")
            out.append((clause, name, value))
            if self.next_is(","):
                self.take()
        return out


@cache
def condition(text: str) -> Condition:
    """A condition, to be asked of an item."""
    parser = Parser(text)
    test = parser.any_of()
    assert not parser.tokens, text
    return test


@cache
def updates(text: str) -> list[tuple[str, str, str]]:
    """An update expression."""
    return Parser(text).updates()


def compare(left: Any, op: str, right: Any) -> bool:
    """As DynamoDB compares: nothing with what is not there, no number with a text."""
    if left is None or right is None or left.keys() != right.keys():
        return False
    ((kind, a),), (b,) = left.items(), right.values()
    assert kind in {"N", "S"}
    if kind == "N":
        a, b = int(a), int(b)
    return bool({"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[op](a, b))


def size(value: Any) -> Any:
    """How many are in a set; nothing of what is not there."""
    return None if value is None else {"N": str(len(next(iter(value.values()))))}


KEYS_WANTED = re.compile(r"pk = (:\w+)(?: AND (?:sk BETWEEN (:\w+) AND (:\w+)|begins_with\(sk, (:\w+)\)))?")
"""The key conditions of queries: of a partition all, those between two keys, or those that start with some text."""


class ConditionFailed(ClientError):
    """One write was refused."""


class TransactionCancelled(ClientError):
    """One write of several was refused, so none was made."""


class Tables:
    """A DynamoDB client: as much of it as the product uses, always consistent, one call at a time."""

    exceptions = SimpleNamespace(
        ConditionalCheckFailedException=ConditionFailed, TransactionCanceledException=TransactionCancelled
    )

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, dict[str, Item]]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.tables.clear()

    def partition(self, table: str, key: Item) -> dict[str, Item]:
        return self.tables.setdefault(table, {}).setdefault(key["pk"]["S"], {})

    def at(self, table: str, key: Item) -> Item | None:
        return self.partition(table, key).get(key.get("sk", {"S": ""})["S"])

    def put(self, table: str, item: Item) -> None:
        self.partition(table, item)[item.get("sk", {"S": ""})["S"]] = item

    def get_item(self, *, TableName: str, Key: Item, **_: bool) -> Item:  # noqa: N803
        return _one(self.at(TableName, Key))

    def put_item(self, *, TableName: str, Item: Item, **request: Any) -> Item:  # noqa: N803
        return self.write({"Put": {"TableName": TableName, "Item": Item, **request}})

    def delete_item(self, *, ReturnValues: str = "NONE", **request: Any) -> Item:  # noqa: N803
        old = self.at(request["TableName"], request["Key"])
        self.write({"Delete": request})
        return {"Attributes": old} if ReturnValues == "ALL_OLD" and old is not None else {}

    def update_item(self, *, ReturnValues: str = "NONE", **request: Any) -> Item:  # noqa: N803
        old = self.at(request["TableName"], request["Key"])
        self.write({"Update": request})
        new = self.at(request["TableName"], request["Key"])
        told = {"ALL_OLD": old, "ALL_NEW": new, "NONE": None}[ReturnValues]
        return {"Attributes": told} if told is not None else {}

    def write(self, write: Item) -> Item:
        reason = self.refusal(write)
        if reason is not None:
            raise ConditionFailed({"Error": {"Code": "ConditionalCheckFailedException"}, **reason}, "write")  # type: ignore[typeddict-item]
        self.make(write)
        return {}

    def refusal(self, write: Item) -> Item | None:
        """Why a write must not be made: None when it may."""
        ((op, request),) = write.items()
        old = self.at(request["TableName"], request["Item"] if op == "Put" else request["Key"])
        text = request.get("ConditionExpression", "")
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        if not text or condition(text)(old or {}, names, values):
            return None
        return _one(old if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None)

    def make(self, write: Item) -> None:
        ((op, request),) = write.items()
        table = request["TableName"]
        if op == "Put":
            self.put(table, dict(request["Item"]))
        elif op == "Delete":
            self.partition(table, request["Key"]).pop(request["Key"].get("sk", {"S": ""})["S"], None)
        elif op == "Update":
            self.put(table, _updated(self.at(table, request["Key"]) or dict(request["Key"]), request))

    def transact_write_items(self, *, TransactItems: Sequence[Item]) -> None:  # noqa: N803
        assert len(TransactItems) <= 100
        reached = Counter(
            (request["TableName"], json.dumps(_key(request), sort_keys=True))
            for write in TransactItems
            for request in write.values()
        )
        assert max(reached.values()) == 1, "one transaction, one item twice"
        reasons = [self.refusal(write) for write in TransactItems]
        if any(reason is not None for reason in reasons):
            told = [{"Code": "None"} if r is None else {"Code": "ConditionalCheckFailed", **r} for r in reasons]
            raise TransactionCancelled({"CancellationReasons": told}, "write")  # type: ignore[typeddict-item]
        for write in TransactItems:
            self.make(write)

    def transact_get_items(self, *, TransactItems: Sequence[Item]) -> Item:  # noqa: N803
        return {"Responses": [self.get_item(**get["Get"]) for get in TransactItems]}

    def batch_get_item(self, *, RequestItems: Item) -> Item:  # noqa: N803
        ((table, wanted),) = RequestItems.items()
        assert 0 < len({json.dumps(key) for key in wanted["Keys"]}) == len(wanted["Keys"]) <= 100
        found = (self.at(table, key) for key in wanted["Keys"])
        return {"Responses": {table: [item for item in found if item is not None]}}

    def query(self, **request: Any) -> Item:
        names, values = request.get("ExpressionAttributeNames", {}), request["ExpressionAttributeValues"]
        wanted = KEYS_WANTED.fullmatch(request["KeyConditionExpression"])
        assert wanted is not None
        pk, low, high, start = (values[name]["S"] if name else "" for name in wanted.groups())
        partition = self.partition(request["TableName"], {"pk": {"S": pk}})
        forward: bool = request.get("ScanIndexForward", True)
        found = sorted(sk for sk in partition if sk.startswith(start) and (not high or low <= sk <= high))
        if after := request.get("ExclusiveStartKey"):
            found = [sk for sk in found if (sk > after["sk"]["S"] if forward else sk < after["sk"]["S"])]
        page = (found if forward else found[::-1])[: request.get("Limit")]
        passes = condition(request.get("FilterExpression", "attribute_exists(pk)"))
        out: Item = {"Items": [partition[sk] for sk in page if passes(partition[sk], names, values)]}
        if len(page) == request.get("Limit"):  # DynamoDB does not look whether anything comes after
            out["LastEvaluatedKey"] = {"pk": {"S": pk}, "sk": {"S": page[-1]}}
        return out


def _one(item: Item | None) -> Item:
    return {} if item is None else {"Item": item}


def _key(request: Item) -> Item:
    source = request.get("Key") or request["Item"]
    return {name: source[name] for name in ("pk", "sk") if name in source}


def _updated(item: Item, request: Item) -> Item:
    item = dict(item)
    for clause, token, wanted in updates(request["UpdateExpression"]):
        name = request["ExpressionAttributeNames"][token] if token.startswith("#") else token
        value: Any = request["ExpressionAttributeValues"][wanted] if wanted else None
        if clause == "SET":
            item[name] = value
        elif clause == "REMOVE":
            item.pop(name, None)
        elif "N" in value:
            assert clause == "ADD"
            item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + int(value["N"]))}
        else:
            ((kind, some),) = value.items()
            assert kind in {"SS", "NS"}
            before = set(item.get(name, {kind: []})[kind])
            item[name] = {kind: sorted(before | set(some) if clause == "ADD" else before - set(some))}
            if not item[name][kind]:
                del item[name]
    return item
