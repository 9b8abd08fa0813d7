"""What AWS refuses of a request, and the emulators take: checked before they see it.

DynamoDB, as its developer guide says under "Constraints" and in the messages of its ValidationException: sizes of keys
and items, empty keys and sets, numbers, names and values of expressions that are not used or not there, bounds the
wrong way round, pages that begin outside of them, one item twice in one request, one attribute twice in one update,
items a request, what a write may return, consistent reads of an index. SQS, under "Message quotas": characters, sizes,
ids. The connection API: frames of 32 KiB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Request = Mapping[str, Any]

MAX_PARTITION_KEY: Final = 2048
MAX_SORT_KEY: Final = 1024
MAX_ITEM: Final = 400 * 1024
MAX_EXPRESSION: Final = 4 * 1024
MAX_NESTING: Final = 32
MAX_READ: Final = 100
MAX_WRITTEN: Final = 25
MAX_TRANSACTION: Final = 100
MAX_MESSAGE: Final = 256 * 1024
"""1 MiB since 2025; what keeps to the older limit may be deployed anywhere."""
MAX_FRAME: Final = 32 * 1024

BATCH_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
GROUP: Final = re.compile(r"[!-~]{1,128}")
NO_SQS_CHARACTER: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
EXPRESSIONS: Final = (
    "KeyConditionExpression",
    "ConditionExpression",
    "UpdateExpression",
    "ProjectionExpression",
    "FilterExpression",
)


class Refused(AssertionError):
    """AWS would answer with ValidationException, or what the service calls it."""


def require(holds: bool, why: object) -> None:  # noqa: FBT001 - it is what is required
    """Raises Refused."""
    if not holds:
        raise Refused(why)


class Strict:
    """A client that refuses what AWS does, before `client` sees it."""

    def __init__(self, client: Any, rule: Callable[[str, Request], None]) -> None:
        self._client = client
        self._rule = rule

    def __getattr__(self, name: str) -> Any:
        served = getattr(self._client, name)
        if not callable(served):
            return served

        def call(**request: Any) -> Any:
            self._rule(name, request)
            return served(**request)

        return call


# ---- DynamoDB --------------------------------------------------------------------------------------------------------


def dynamodb(operation: str, request: Request) -> None:
    """Whether DynamoDB takes a request. Raises Refused."""
    match operation:
        case "batch_get_item":
            keys = [key for wanted in request["RequestItems"].values() for key in wanted["Keys"]]
            _several(keys, MAX_READ)
        case "batch_write_item":
            writes = [write for some in request["RequestItems"].values() for write in some]
            _several([next(iter(write.values())) for write in writes], MAX_WRITTEN)
        case "transact_write_items" | "transact_get_items":
            parts = [part for item in request["TransactItems"] for part in item.values()]
            _several([{"of": {"S": part["TableName"]}} | _key_of(part) for part in parts], MAX_TRANSACTION)
            for part in parts:
                _one(part)
        case "put_item" | "delete_item":
            require(request.get("ReturnValues", "NONE") in {"NONE", "ALL_OLD"}, "a value that only an update returns")
            _one(request)
        case "query" if "IndexName" in request:
            require(not request.get("ConsistentRead"), "a consistent read of a global index")
            _one(request)
        case _:
            _one(request)


def _several(keys: Sequence[Request], limit: int) -> None:
    require(1 <= len(keys) <= limit, f"{len(keys)} items in one request")
    names = [json.dumps(key, sort_keys=True) for key in keys]
    require(len(set(names)) == len(names), "one item twice in one request")
    for key in keys:
        _check_key({name: value for name, value in key.items() if name in {"pk", "sk"}})


def _key_of(request: Request) -> Request:
    source = request.get("Key") or request.get("Item") or {}
    return {name: value for name, value in source.items() if name in {"pk", "sk"}}


def _one(request: Request) -> None:
    if key := _key_of(request):
        _check_key(key)
    if "Item" in request:
        require(_size({"M": request["Item"]}) <= MAX_ITEM, "an item above 400 KB")
        _check_value({"M": request["Item"]}, 0)
    if "Limit" in request:
        require(request["Limit"] >= 1, "Limit below 1")
    names = dict(request.get("ExpressionAttributeNames", {}))
    values = dict(request.get("ExpressionAttributeValues", {}))
    text = " ".join(request.get(name, "") for name in EXPRESSIONS)
    require(all(len(request.get(name, "").encode()) <= MAX_EXPRESSION for name in EXPRESSIONS), "a long expression")
    used = set(re.findall(r"[#:]\w+", text))
    require(used == set(names) | set(values), f"names and values {sorted(used ^ (set(names) | set(values)))}")
    for value in values.values():
        _check_value(value, 0)
    start = request.get("ExclusiveStartKey")
    if start is not None:
        _check_key(start)
    _check_bounds(request.get("KeyConditionExpression", ""), values, start)
    _check_update(request.get("UpdateExpression", ""), names)


def _check_update(expression: str, names: Request) -> None:
    clauses = re.split(r"\b(SET|REMOVE|ADD|DELETE)\b", expression)
    changed = [
        names.get(path, path)
        for clause, part in zip(clauses[1::2], clauses[2::2], strict=True)
        for path in re.findall(r"([#\w.]+) = " if clause == "SET" else r"(?<![#:\w.])[#\w.]+", part)
    ]
    require(len(set(changed)) == len(changed), f"one attribute twice in {expression}")
    require(not {"pk", "sk"} & set(changed), f"a key is changed by {expression}")


def _check_bounds(condition: str, values: Request, start: Request | None) -> None:
    for key, low in re.findall(r"(pk|sk) = (:\w+)", condition):
        _check_key({key: values[low]})
    if (begins := re.search(r"begins_with\(sk, (:\w+)\)", condition)) and start is not None:
        require(
            start["sk"]["S"].startswith(values[begins.group(1)]["S"]), f"a page from {start}, outside of its bounds"
        )
    if start is not None and (of := re.search(r"pk = (:\w+)", condition)):
        require(start["pk"] == values[of.group(1)], f"a page from {start}, outside of its bounds")
    if between := re.search(r"sk BETWEEN (:\w+) AND (:\w+)", condition):
        low, high = (values[name]["S"].encode() for name in between.groups())
        require(low <= high, f"BETWEEN {low!r} AND {high!r}")
        require(max(len(low), len(high)) <= MAX_SORT_KEY, "a long sort key")


def _check_key(key: Request) -> None:
    for name, value in key.items():
        ((kind, text),) = value.items()
        require(kind == "S" and isinstance(text, str), f"key {name} of the type {kind}")
        limit = MAX_PARTITION_KEY if name == "pk" else MAX_SORT_KEY
        require(1 <= len(_utf8(text)) <= limit, f"key {name} of {len(_utf8(text))} bytes")


def _check_value(value: Request, depth: int) -> None:
    require(depth <= MAX_NESTING, "nested too deep")
    ((kind, content),) = value.items()
    match kind:
        case "S":
            _utf8(content)
        case "N":
            _number(content)
        case "M":
            for name, inner in content.items():
                require(bool(name), "an attribute without a name")
                _check_value(inner, depth + 1)
        case "L":
            for inner in content:
                _check_value(inner, depth + 1)
        case "SS" | "NS":
            require(bool(content) and len(set(content)) == len(content), f"a set {content!r}")
        case "BOOL" | "NULL":
            require(isinstance(content, bool), f"{kind} {content!r}")
        case _:
            require(holds=False, why=f"a value of the type {kind}")


def _number(text: Any) -> None:
    require(isinstance(text, str), f"the number {text!r} is no text")
    found = re.fullmatch(r"-?(\d+)(?:\.(\d+))?", text)
    require(found is not None, f"the number {text!r}")
    digits = "".join(part or "" for part in found.groups()) if found else ""
    require(len(digits.strip("0")) <= 38, f"a number of {len(digits)} digits")


def _utf8(text: Any) -> bytes:
    require(isinstance(text, str), f"{text!r} is no text")
    try:
        return bytes(text.encode())
    except UnicodeEncodeError as e:
        raise Refused("half a surrogate pair") from e


def _size(value: Request) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + sum(len(name.encode()) + 1 + _size(inner) for name, inner in content.items())
    if kind == "L":
        return 3 + sum(1 + _size(inner) for inner in content)
    if kind in {"SS", "NS"}:
        return sum(len(inner.encode()) for inner in content)
    return len(content.encode()) if isinstance(content, str) else 1


# ---- SQS and the connection API --------------------------------------------------------------------------------------


def sqs(operation: str, request: Request) -> None:
    """Whether SQS takes a request. Raises Refused; for a batch when SQS takes none of it."""
    if operation == "send_message":
        message(request)
    elif operation == "send_message_batch":
        entries, ids = request["Entries"], [entry["Id"] for entry in request["Entries"]]
        require(1 <= len(entries) <= 10, f"{len(entries)} messages in one request")
        require(len(set(ids)) == len(ids) and all(BATCH_ID.fullmatch(one) for one in ids), f"ids {ids}")
        require(sum(len(_utf8(entry["MessageBody"])) for entry in entries) <= MAX_MESSAGE, "a request above 256 KiB")


def message(request: Request) -> None:
    """Whether SQS takes a message. Raises Refused."""
    body = request["MessageBody"]
    require(len(_utf8(body)) <= MAX_MESSAGE, "a message above 256 KiB")
    require(bool(body) and NO_SQS_CHARACTER.search(body) is None, "a character that SQS does not take")
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        if name in request:
            require(GROUP.fullmatch(request[name]) is not None, f"{name} {request[name]!r}")
    require(0 <= request.get("DelaySeconds", 0) <= 900, "a delay above 15 minutes")


def connection_api(operation: str, request: Request) -> None:
    """Whether the connection API takes a request. Raises Refused."""
    require(bool(request["ConnectionId"]), "no connection")
    if operation == "post_to_connection":
        require(len(request["Data"]) <= MAX_FRAME, f"a push of {len(request['Data'])} bytes")
