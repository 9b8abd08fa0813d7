"""Queues and streams as Lambda reads them, on virtual time: at least once, in batches, late, and again after a failure.

As AWS documents them. SQS FIFO: ordered within a message group; while one of its messages is in flight, a group is
blocked; what was sent twice within five minutes is there once, also when it has been received since. SQS standard: in
any order. A DynamoDB stream: in order within a shard, a batch comes until its function has succeeded.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.virtual_time import VirtualLoop

Item = dict[str, Any]
Invoke = Callable[[str, Item], Awaitable[Item]]

FORGETS_S: Final = 300
BATCH: Final = 10
SHARDS: Final = 2


class Failed(Exception):
    """A function died, or raised; nobody knows how far it had come."""


@dataclass
class Delivery:
    """How messages find their functions: what all queues of a cloud share."""

    loop: VirtualLoop
    random: Random
    invoke: Invoke
    happened: Counter[str]
    note: Callable[[str], None]
    harsh: bool = True
    """Whether messages come late and twice."""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def later(self) -> float:
        """Seconds between a message and its delivery."""
        if self.harsh and self.random.random() < 0.06:
            self.happened["a queue message came late"] += 1
            return self.random.uniform(1, 15)
        return self.random.uniform(0.01, 0.08)

    def unlikely(self, probability: float) -> bool:
        """Whether something harsh happens now."""
        return self.harsh and self.random.random() < probability

    def begin(self, what: Callable[[], Awaitable[None]]) -> None:
        """Let a delivery take its time."""

        async def go() -> None:
            await what()

        task = self.loop.create_task(go())
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)


@dataclass
class Message:
    """One message of a queue."""

    id: str
    body: str
    group: str
    visible_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    received: int = 0


@dataclass
class Queue:
    """An SQS queue that a function is fed from."""

    delivery: Delivery
    name: str
    function: str
    source: str
    """Its ARN."""
    fifo: bool
    max_receive: int
    visibility_s: float = 180
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    had: dict[tuple[str, str], float] = field(default_factory=dict)
    loses: Callable[[Message], bool] = lambda _: False
    """Whether a message is lost, which SQS never does: to see that it would be noticed."""

    @property
    def busy(self) -> bool:
        """Whether it holds anything, in flight or not."""
        return bool(self.messages)

    def send(self, body: str, *, group: str = "", repeat: str = "", delay_s: float = 0) -> None:
        """Take a message. `repeat` is its deduplication id."""
        now = self.delivery.loop.now
        if self.fifo:
            if now - self.had.get((group, repeat), -FORGETS_S) < FORGETS_S:
                self.delivery.happened[f"{self.name}: the queue dropped a repeat"] += 1
                return
            self.had[group, repeat] = now
            if '"found":true' in body:
                self.delivery.happened["entries that nobody but the auditor queued"] += 1
        message = Message(f"m{next(self.delivery.numbers)}", body, group, now + delay_s)
        if self.loses(message):
            return
        self.messages.append(message)
        self.wake(delay_s + self.delivery.later())

    def wake(self, after: float) -> None:
        """Look for messages then."""
        self.delivery.loop.call_later(after, self._deliver_some)

    def set_visible(self, receipt: str, after: float) -> None:
        """ChangeMessageVisibility."""
        for message in self.messages:
            if message.id == receipt:
                message.visible_at = self.delivery.loop.now + after
                self.wake(after + 0.01)

    def redrive(self) -> None:
        """Move the dead letters back."""
        back, self.dead[:] = list(self.dead), []
        for message in back:
            self.messages.append(Message(message.id, message.body, message.group, self.delivery.loop.now))
            self.wake(0.01)

    def _deliver_some(self) -> None:
        batch = self._receive()
        if batch:
            self.delivery.begin(lambda: self._deliver(batch))
            self.wake(self.delivery.later())

    def _receive(self) -> list[Message]:
        now, random = self.delivery.loop.now, self.delivery.random
        blocked = {m.group for m in self.messages if m.visible_at > now} if self.fifo else set()
        there = [m for m in self.messages if m.visible_at <= now and m.group not in blocked]
        if not there:
            return []
        if self.fifo:
            groups = sorted({m.group for m in there})
            random.shuffle(groups)
            there = [m for group in groups for m in there if m.group == group]
        else:
            random.shuffle(there)
        some = there[: random.randint(1, BATCH)]
        for message in some:
            message.received += 1
            message.visible_at = now + self.visibility_s
        for message in [m for m in some if m.received > self.max_receive]:
            self.delivery.happened[f"{self.name}: dead letters"] += 1
            self.messages.remove(message)
            self.dead.append(message)
            some.remove(message)
        if len({m.group for m in some}) > 1:
            self.delivery.happened["one batch of several groups"] += 1
        return some

    async def _deliver(self, batch: Sequence[Message]) -> None:
        delivery = self.delivery
        delivery.happened[f"{self.name}: batches"] += 1
        try:
            result = await delivery.invoke(self.function, {"Records": [self._record(m) for m in batch]})
            failed = {item["itemIdentifier"] for item in result["batchItemFailures"]}
        except Failed:
            failed = {m.id for m in batch}
        for message in batch:
            if message.id in failed:
                delivery.happened[f"{self.name}: deliveries that failed"] += 1
            elif delivery.unlikely(0.02):
                delivery.happened[f"{self.name}: messages that came twice"] += 1  # done, but not deleted
                message.visible_at = min(message.visible_at, delivery.loop.now + delivery.random.uniform(0, 20))
            elif message in self.messages:
                self.messages.remove(message)
        now = delivery.loop.now
        for message in batch:
            if message in self.messages:
                self.wake(max(0.0, message.visible_at - now) + 0.01)
        self.wake(delivery.later())

    def _record(self, message: Message) -> Item:
        return {
            "messageId": message.id,
            "receiptHandle": message.id,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.received),
                "MessageGroupId": message.group,
                "SentTimestamp": "1795253400130",
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": self.source,
        }


@dataclass
class Stream:
    """The stream of a table: the images of new items, by shard."""

    delivery: Delivery
    function: str
    shards: list[list[Item]] = field(default_factory=lambda: [[] for _ in range(SHARDS)])
    reading: set[int] = field(default_factory=set)

    @property
    def busy(self) -> bool:
        """Whether something has not been read."""
        return any(self.shards)

    def insert(self, item: Item) -> None:
        """An item is new."""
        number = zlib.crc32(item["pk"]["S"].encode()) % SHARDS
        self.shards[number].append(dict(item))
        self._wake(number, self.delivery.later() + self.delivery.random.uniform(0, 10))

    def _wake(self, number: int, after: float) -> None:
        self.delivery.loop.call_later(after, self._read, number)

    def _read(self, number: int) -> None:
        if self.shards[number] and number not in self.reading:
            self.reading.add(number)
            self.delivery.begin(lambda: self._bring(number))

    async def _bring(self, number: int) -> None:
        random = self.delivery.random
        some = self.shards[number][: random.randint(1, 3 * BATCH)]
        self.delivery.happened["stream: batches"] += 1
        try:
            await self.delivery.invoke(self.function, {"Records": [_image(i, item) for i, item in enumerate(some)]})
        except Failed:
            self.delivery.happened["stream: batches that came again"] += 1
            wait = random.uniform(0.5, 3)
        else:
            wait = self.delivery.later()
            if not self.delivery.unlikely(0.02):
                del self.shards[number][: len(some)]
        self.reading.discard(number)
        if self.shards[number]:
            self._wake(number, wait)


def _image(number: int, item: Item) -> Item:
    return {
        "eventID": f"e{number}",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "Keys": {name: item[name] for name in ("pk", "sk")},
            "NewImage": item,
            "SequenceNumber": str(number),
            "StreamViewType": "NEW_IMAGE",
        },
    }
