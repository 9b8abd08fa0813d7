"""The functions in a cloud on virtual time: each AWS call takes its time and may go wrong, in a seeded way.

Every invocation is work of its own (virtual_time.py) that waits at each AWS call, so those that run at the same time
interleave call by call. An instance of a function serves one invocation at a time and remembers what the product lets
it remember; a busy one, or chance, brings a new one.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from greenlet import getcurrent

from im.aws import clients
from im.aws.queue_messages import queue_name
from im.flows.append import Appender
from im.flows.changes import Changes
from im.flows.message_changes import MessageChanges
from im.runtime import wiring
from im.store import batches
from tests.faults.queues import Delivery, Failed, Item, Queue, Stream
from tests.faults.virtual_time import VirtualLoop
from tests.integration.house import REGION, START, Context, Crash, House, built_house, template
from tests.integration.tables import Tables

FUNCTION_TIMEOUT_S: Final = 25
QUIET: Final = 0.0
KINDS: Final = ("error", "throttled", "timeout", "repeated", "death before", "death after")

FED: Final = {
    "fanout": ("fanout", "FanoutQueue"),
    "broadcast": ("broadcast", "BroadcastQueue"),
    "express": ("express", "ExpressQueue"),
    "express parts": ("express", "ExpressPartsQueue"),
    "redelivery": ("redelivery", "RedeliveryQueue"),
}
"""The queues, each with the function that is fed from it and its name in the template."""

SETTINGS: Final = {
    "LARGE_GROUP_ABOVE": "4",
    "MAX_GROUP_MEMBERS": "50",
    "RECALL_WINDOW_SECONDS": "120",
}


class _StreamedTables(Tables):
    """Tables whose new entries are told to a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.inserted: Callable[[Item], None] = lambda _: None

    def put(self, table: str, item: Item) -> None:
        """Store an item."""
        is_new = table == "ConversationTable" and self.at(table, item) is None
        super().put(table, item)
        if is_new and item["sk"]["S"].startswith("MSG#"):
            self.inserted(item)


class Client:
    """A client of one function for one service."""

    def __init__(self, cloud: Cloud, function: str, service: str, target: Any) -> None:
        self._cloud, self._function, self._service, self._target = cloud, function, service, target
        self.exceptions = target.exceptions

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._target, operation)
        made = partial(self._cloud.call, f"{self._function} {self._service}:{operation}", method)
        setattr(self, operation, made)
        return made


@dataclass
class Cloud:
    """Tables, queues, functions. `gateway` is a client of the connection API."""

    loop: VirtualLoop
    random: Random
    happened: Counter[str]
    note: Callable[[str], None]
    house: House
    rate: float = QUIET
    """How probable a fault is at an AWS call."""
    gateway: Any = None
    tables: _StreamedTables = field(default_factory=_StreamedTables)
    idle: dict[str, list[ModuleType]] = field(default_factory=dict)
    invocations: int = 0
    ends: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Empty queues that feed the functions."""
        self.delivery = Delivery(self.loop, self.random, self.invoke, self.happened, self.note)
        house = self.house
        urls = {
            "fanout": house.queue_url,
            "broadcast": house.parts_url,
            "express": house.express_url,
            "express parts": house.express_parts_url,
            "redelivery": house.checks_url,
        }
        self.queues = {urls[name]: _queue(self.delivery, name, urls[name]) for name in FED}
        self.parked: list[Item] = []
        self.stream = Stream(self.delivery, "audit")
        self.tables.inserted = self.stream.insert
        self.targets = {"dynamodb": self.tables, "sqs": _Sqs(self)}

    @property
    def now_ms(self) -> int:
        """What the functions' clocks say."""
        return START + round(self.loop.now * 1000)

    @property
    def busy(self) -> bool:
        """Whether anything is queued or under way."""
        return bool(self.delivery.under_way) or self.stream.busy or any(q.busy for q in self.queues.values())

    def client(self, service: str) -> Client:
        """What a function that is being loaded gets."""
        target = self.gateway if service == "execute-api" else self.targets[service]
        return Client(self, self.loading, service, target)

    async def invoke(self, function: str, event: Item) -> Item:
        """What a function answers. Raises Failed when it raised, died, or took too long."""
        await asyncio.sleep(self.random.uniform(0.002, 0.03))
        instance = self._instance(function)
        self.invocations += 1
        context = Context(aws_request_id=f"q{self.invocations}", function_name=function)

        def handle() -> Item:
            self.ends[id(getcurrent())] = self.loop.now + FUNCTION_TIMEOUT_S
            try:
                return dict(instance.handler(event, context))
            finally:
                del self.ends[id(getcurrent())]

        try:
            result = await self.loop.work(handle)
        except Crash as e:
            self.note(f"{function} died")
            raise Failed from e
        except Exception as e:
            self.idle[function].append(instance)
            self.note(f"{function} raised {e!r}")
            raise Failed from e
        self.idle[function].append(instance)
        return result

    def _instance(self, function: str) -> ModuleType:
        waiting = self.idle.setdefault(function, [])
        if waiting and self.random.random() >= self.rate:
            return waiting.pop(self.random.randrange(len(waiting)))
        self.happened["new instances"] += 1
        self.loading = function
        instance: ModuleType = self.house.load(function)
        return instance

    def call(self, name: str, method: Callable[..., Item], **params: Any) -> Item:
        """One AWS call of the function that runs."""
        end = self.ends.get(id(getcurrent()))
        if end is None:
            return method(**params)  # at a cold start
        if self.loop.now > end:
            self.happened["functions that took too long"] += 1
            raise Crash
        self.loop.sleep(self._latency())
        if name == "redelivery execute-api:post_to_connection":
            self.happened["pushes made again"] += 1
        if self.random.random() >= self.rate:
            return method(**params)
        kind = self.random.choice(KINDS)
        if kind.startswith("death") and self.random.random() < 0.5:
            kind = "error"
        self.happened[kind] += 1
        self.note(f"{name}: {kind}")
        return self._fault(kind, name, method, params)

    def _latency(self) -> float:
        draw = self.random.random()
        return 0.002 + 0.01 * draw if draw < 0.98 else self.random.uniform(0.1, 2)

    def _fault(self, kind: str, name: str, method: Callable[..., Item], params: Item) -> Item:
        """What botocore makes of a fault, after it has tried again as often as it does."""
        operation = name.rpartition(":")[2]
        match kind:
            case "error":
                self.loop.sleep(self.random.uniform(0.1, 3))
                raise _refused("InternalServerError", 500, operation)
            case "throttled":
                self.loop.sleep(self.random.uniform(0.1, 3))
                raise _refused("ThrottlingException", 400, operation)
            case "timeout":
                method(**params)
                self.loop.sleep(9)
                raise ReadTimeoutError(endpoint_url=f"https://{operation}")
            case "repeated":
                answer = method(**params)
                self.loop.sleep(3)
                # The SDK gives a transaction a token, by which a repeat is known and answered alike.
                return answer if operation == "transact_write_items" else method(**params)
            case "death before":
                raise Crash
            case _:
                method(**params)
                raise Crash


def _queue(delivery: Delivery, name: str, url: str) -> Queue:
    """A queue as template.yaml has it."""
    function, resource = FED[name]
    made = template()["Resources"][resource]["Properties"]
    return Queue(
        delivery,
        name,
        function,
        source=f"arn:aws:sqs:{REGION}:123456789012:{queue_name(url)}",
        fifo=made.get("FifoQueue", False),
        max_receive=made.get("RedrivePolicy", {"maxReceiveCount": 1000})["maxReceiveCount"],
        visibility_s=made["VisibilityTimeout"],
    )


def _refused(code: str, status: int, operation: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


def overtakes(name: str) -> bool:
    """Whether a message goes the way of red packets: one in six, whoever queues it. Nobody here has money to send."""
    return zlib.crc32(name.encode()) % 6 == 0


@dataclass
class _Sqs:
    """An SQS client."""

    cloud: Cloud
    exceptions = SimpleNamespace()

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        DelaySeconds: int = 0,  # noqa: N803
        **_: Any,
    ) -> Item:
        if QueueUrl == self.cloud.house.dead_url:
            self.cloud.parked.append({"body": MessageBody, "group": MessageGroupId})
            return {"MessageId": "m"}
        if QueueUrl == self.cloud.house.queue_url and overtakes(MessageDeduplicationId):
            QueueUrl = self.cloud.house.express_url  # noqa: N806
            self.cloud.happened["messages that overtook others"] += 1
        queue = self.cloud.queues[QueueUrl]
        queue.send(MessageBody, group=MessageGroupId, repeat=MessageDeduplicationId, delay_s=DelaySeconds)
        return {"MessageId": "m"}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Item]) -> Item:  # noqa: N803
        done, failed = [], []
        for entry in Entries:
            if self.cloud.random.random() < self.cloud.rate:
                self.cloud.happened["messages that SQS could not take"] += 1
                failed.append({"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"})
            else:
                self.send_message(QueueUrl=QueueUrl, **entry)
                done.append({"Id": entry["Id"]})
        return {"Successful": done, "Failed": failed}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> Item:  # noqa: N803
        self.cloud.queues[QueueUrl].set_visible(ReceiptHandle, VisibilityTimeout)
        return {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[Item]) -> Item:  # noqa: N803
        for entry in Entries:
            self.cloud.queues[QueueUrl].set_visible(entry["ReceiptHandle"], entry["VisibilityTimeout"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}


in_use: list[Cloud] = []
"""The cloud whose functions run now, last."""


class Complaints(logging.Handler):
    """What the functions log as an error that is none of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, by what was raised."""
        error = record.exc_info[1] if record.exc_info else None
        self.last.append(f"{record.getMessage()}: {error!r}" if error is not None else record.getMessage())


@contextmanager
def ready(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[House, Complaints]]:
    """Everything that clouds share: the house's settings, and its functions in ours instead of its own."""
    with built_house(monkeypatch, **SETTINGS) as house:

        def pause(seconds: float) -> None:
            in_use[-1].loop.sleep(seconds)

        def mix(users: list[str]) -> None:
            in_use[-1].random.shuffle(users)

        monkeypatch.setattr(clients, "dynamodb", lambda: in_use[-1].client("dynamodb"))
        monkeypatch.setattr(clients, "sqs", lambda: in_use[-1].client("sqs"))
        monkeypatch.setattr(clients, "connections", lambda _: in_use[-1].client("execute-api"))
        monkeypatch.setattr(wiring, "now_ms", lambda: in_use[-1].now_ms)
        monkeypatch.setattr(wiring, "shuffle", mix)
        for flow in (Appender, Changes, MessageChanges):
            monkeypatch.setattr(wiring, flow.__name__, partial(flow, pause=pause))
        monkeypatch.setattr(batches, "time", SimpleNamespace(sleep=pause))
        log, complaints = logging.getLogger("im"), Complaints()
        monkeypatch.setattr(log, "handlers", [complaints])
        monkeypatch.setattr(log, "propagate", False)
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            yield house, complaints
        finally:
            log.setLevel(level)
