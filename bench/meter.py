"""Reads the bill of what the functions do: every AWS call of theirs, by the sizes of the items that it touched.

It sits on a House (tests/integration/house.py) and counts on the real functions: what they ask for, what is stored
before and after each write, what comes back. Nothing here knows what a message ought to cost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from bench import prices
from bench.units import (
    Item,
    gateway_messages,
    item_size,
    queue_requests,
    read_units,
    total_size,
    write_units,
)
from im.aws.clients import POOL
from tests.integration import house as house_module
from tests.integration.house import FUNCTIONS, REGION, Call, House, template

Stored = Callable[[str, Item], Item | None]
"""The item that a table holds under a key."""


@dataclass
class Invocation:
    """One call of a function."""

    function: str
    calls: int = 0
    """AWS calls made by it."""
    rounds: int = 0
    """How many of them follow one another: as many at once as there are threads."""

    @property
    def memory_mb(self) -> int:
        """As the template says."""
        properties = template()["Resources"][f"{self.function.title()}Function"]["Properties"]
        return int(properties.get("MemorySize") or template()["Globals"]["Function"]["MemorySize"])

    @property
    def ms(self) -> float:
        """How long it takes, an estimate: waiting for answers, or its share of a processor, whichever is longer."""
        share = min(1.0, self.memory_mb / prices.MB_OF_A_PROCESSOR)
        return max(self.rounds * prices.ROUND_MS, self.calls * prices.CPU_MS / share)


@dataclass
class Bill:
    """What was used."""

    writes: float = 0
    reads: float = 0
    queue: float = 0
    """Requests to SQS, receiving and deleting included."""
    pushes: float = 0
    """Messages of API Gateway to connections that did not ask."""
    frames: float = 0
    """Messages of API Gateway that ask or answer."""
    invocations: list[Invocation] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    """AWS calls by function and operation."""

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.writes + other.writes,
            self.reads + other.reads,
            self.queue + other.queue,
            self.pushes + other.pushes,
            self.frames + other.frames,
            self.invocations + other.invocations,
            self.operations + other.operations,
        )

    @property
    def functions(self) -> int:
        """Calls of functions."""
        return len(self.invocations)

    @property
    def database_dollars(self) -> float:
        """DynamoDB alone."""
        return self.writes * prices.WRITE_UNIT + self.reads * prices.READ_UNIT

    @property
    def compute_dollars(self) -> float:
        """Lambda: calls, and their estimated time."""
        gb_seconds = sum(one.ms / 1000 * one.memory_mb / 1024 for one in self.invocations)
        return self.functions * prices.FUNCTION_CALL + gb_seconds * prices.GB_SECOND

    @property
    def dollars(self) -> float:
        """Everything."""
        queue = self.queue * prices.QUEUE_REQUEST
        return (
            self.database_dollars + self.compute_dollars + queue + (self.pushes + self.frames) * prices.GATEWAY_MESSAGE
        )

    def rounds_of(self, function: str) -> int:
        """The rounds of the longest call of a function; 0 when it was not called."""
        return max((one.rounds for one in self.invocations if one.function == function), default=0)

    def ms_of(self, function: str) -> float:
        """The estimated time of the longest call of a function; 0 when it was not called."""
        return max((one.ms for one in self.invocations if one.function == function), default=0.0)


class Meter:
    """Counts what a house's functions do."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house = house
        self.bill = Bill()
        self._before: list[Mapping[str, int]] = []
        self._invocation: Invocation | None = None
        self._task: _Task | None = None
        # The house gives functions its threads when it loads them, so they must be loaded again.
        monkeypatch.setattr(house_module, "_OneByOne", lambda: _CountedThreads(self))
        monkeypatch.setattr(house, "call", self._counted(house.call))
        for function in FUNCTIONS:
            house.load(function)

    @contextmanager
    def measured(self) -> Iterator[Bill]:
        """The bill of what is done inside."""
        bill, outer = Bill(), self.bill
        self.bill = bill
        try:
            with self.house.watched(before=self._begin, after=self._end):
                yield bill
        finally:
            self.bill = outer

    def polled(self, bodies: Iterable[str]) -> None:
        """Count what the event source does for one batch: it receives the messages, and deletes them at once."""
        self.bill.queue += queue_requests(sum(len(body.encode()) for body in bodies)) + 1

    def task(self) -> _Task:
        """Whatever is called from now on belongs to one task of several at once, until `end_task`."""
        self._task = _Task()
        return self._task

    def end_tasks(self, tasks: Sequence[_Task]) -> None:
        """Tasks that ran at once are done: as many rounds as the threads need for them."""
        self._task = None
        if self._invocation is not None and tasks:
            self._invocation.rounds += -(-len(tasks) // POOL) * max(task.calls for task in tasks)

    def _counted(self, call: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
        def counted(function: str, event: dict[str, Any]) -> dict[str, Any]:
            invocation = Invocation(function)
            self.bill.invocations.append(invocation)
            self._invocation = invocation
            try:
                response = call(function, event)
            finally:
                self._invocation = None
            frames = [event["body"], response["body"]] if event.get("body") else []
            self.bill.frames += sum(gateway_messages(len(frame.encode())) for frame in frames)
            return response

        return counted

    def _begin(self, call: Call) -> None:
        self._before.append(
            {_name(table, key): _size(stored(table, key)) for table, key, _ in written(call)}
            if call.service == "dynamodb"
            else {}
        )

    def _end(self, call: Call, answer: dict[str, Any]) -> None:
        before = self._before.pop()
        self.bill.operations[f"{call.function} {call.operation}"] += 1
        if self._invocation is not None:
            self._invocation.calls += 1
            if self._task is not None:
                self._task.calls += 1
            else:
                self._invocation.rounds += 1
        match call.service:
            case "dynamodb":
                self.bill.writes += units_written(call, before, stored)
                self.bill.reads += units_read(call, answer, self._unfiltered)
            case "sqs":
                self.bill.queue += queue_requests(_payload(call.params))
            case "execute-api":
                if call.operation == "PostToConnection":
                    self.bill.pushes += gateway_messages(len(call.params["Data"]))
            case _:
                raise ValueError(f"nobody knows what {call.action} costs")

    def _unfiltered(self, params: Mapping[str, Any]) -> Sequence[Item]:
        """What a Query looked at, what its filter and its projection left out included."""
        asked = {
            name: value for name, value in params.items() if name not in {"FilterExpression", "ProjectionExpression"}
        }
        for part in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            used = set(re.findall(r"[#:]\w+", asked["KeyConditionExpression"]))
            asked[part] = {name: value for name, value in asked.get(part, {}).items() if name in used}
            if not asked[part]:
                del asked[part]
        items: list[Item] = self.house.dynamodb.query(**asked)["Items"]
        return items


@dataclass
class _Task:
    """One of several things that a function does at once."""

    calls: int = 0


class _CountedThreads(Executor):
    """Runs tasks one after the other, and notes that they could have run at once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise NotImplementedError("the product maps")

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        """As an executor does it, but at once."""
        tasks: list[_Task] = []
        out: list[Any] = []
        try:
            for arguments in zip(*iterables, strict=False):
                tasks.append(self._meter.task())
                out.append(fn(*arguments))
        finally:
            self._meter.end_tasks(tasks)
        return iter(out)


# ---- DynamoDB, call by call ------------------------------------------------------------------------------------------


def units_read(
    call: Call, answer: Mapping[str, Any], unfiltered: Callable[[Mapping[str, Any]], Sequence[Item]]
) -> float:
    """The read units of a call; 0 for a write, and for a read that was refused."""
    params = call.params
    if "Error" in answer:
        return 0
    match call.operation:
        case "GetItem":
            return read_units(_size(answer.get("Item")), consistent=bool(params.get("ConsistentRead")))
        case "BatchGetItem":
            return sum(
                _batch_units(
                    answer.get("Responses", {}).get(table, []),
                    len(asked["Keys"]) - len(answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])),
                    consistent=bool(asked.get("ConsistentRead")),
                )
                for table, asked in params["RequestItems"].items()
            )
        case "Query":
            whole = answer["Count"] == answer["ScannedCount"] and "ProjectionExpression" not in params
            items = answer["Items"] if whole else unfiltered(params)
            return read_units(total_size(items), consistent=bool(params.get("ConsistentRead")))
        case "TransactGetItems":
            return sum(read_units(_size(response.get("Item")), transactional=True) for response in answer["Responses"])
        case "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems":
            return 0
        case _:
            raise ValueError(f"nobody knows what {call.action} costs")


def _batch_units(found: Sequence[Item], asked: int, *, consistent: bool) -> float:
    """Each item by itself; one that is not there is read, too."""
    missing = (asked - len(found)) * read_units(0, consistent=consistent)
    return missing + sum(read_units(item_size(item), consistent=consistent) for item in found)


def units_written(call: Call, before: Mapping[str, int], look: Stored) -> int:
    """The write units of a call that has been made, whether its conditions held or not; 0 for a read.

    `before` has the sizes of what it writes as they were, `look` finds what is stored now.
    """
    transactional = call.operation == "TransactWriteItems"
    return sum(
        write_units(
            before[_name(table, key)],
            max(_size(put), _size(look(table, key))),
            transactional=transactional,
        )
        for table, key, put in written(call)
    )


def written(call: Call) -> list[tuple[str, Item, Item | None]]:
    """Table and key of everything that a call writes or checks, and the whole item where it says that."""
    params = call.params
    match call.operation:
        case "PutItem":
            return [(params["TableName"], _key_in(params["Item"]), params["Item"])]
        case "UpdateItem" | "DeleteItem":
            return [(params["TableName"], params["Key"], None)]
        case "TransactWriteItems":
            actions = [action for item in params["TransactItems"] for action in item.values()]
            return [
                (action["TableName"], action.get("Key") or _key_in(action["Item"]), action.get("Item"))
                for action in actions
            ]
        case _:
            return []


def stored(table: str, key: Item) -> Item | None:
    """What moto's table holds, looked up without the 1.5 ms of a call."""
    item = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_item(table, dict(key))
    return item.to_json()["Attributes"] if item is not None else None


def _key_in(item: Item) -> Item:
    return {name: item[name] for name in ("pk", "sk") if name in item}


def _name(table: str, key: Item) -> str:
    return "\n".join([table, *(value["S"] for value in key.values())])


def _size(item: Item | None) -> int:
    return item_size(item) if item is not None else 0


def _payload(params: Mapping[str, Any]) -> int:
    """The bytes of what is sent to a queue, in one message or several."""
    messages = params.get("Entries") or [params]
    return sum(len(message["MessageBody"].encode()) for message in messages)
