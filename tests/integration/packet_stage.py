"""Where histories of red packets are played: functions that die, that run at the same time, whose clocks disagree.

Two instances of each function that handles money, each with what it remembers and a clock of its own. An invocation is
served by one of them; before each AWS call it may stop while others go on, and at one of its calls something may go
wrong. The cloud is in memory (packet_tables.py), or moto.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any, Final, Literal

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from greenlet import greenlet
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from im.aws import clients
from im.flows import expire
from im.runtime import packet_wiring, wiring
from im.runtime.batches import START_MS
from im.store import batches
from tests.integration.doubles import LastError
from tests.integration.house import (
    FORGETS_REPEATS_MS,
    REGION,
    START,
    Call,
    Context,
    Crash,
    Device,
    House,
    built_house,
    timeout_ms,
)
from tests.integration.packet_books import Books, read
from tests.integration.packet_stream import PacketStream, change_record
from tests.integration.packet_tables import PacketTables
from tests.integration.samples import sample
from tests.integration.tables import Item, TransactionCancelled

ACCOUNT: Final = "123456789012"
OPENING: Final = 900
SHARES: Final = 6
AMOUNT: Final = 700
LIFE_MS: Final = 600_000
SETTINGS: Final = {
    "NEW_WALLET_AMOUNT": str(OPENING),
    "MAX_RED_PACKET_SHARES": str(SHARES),
    "MAX_RED_PACKET_AMOUNT": str(AMOUNT),
    "RED_PACKET_LIFE_SECONDS": str(LIFE_MS // 1000),
}

TWICE: Final = ("redpacket", "settlement", "expiry")
"""Functions with two instances."""
ONCE: Final = ("group", "message")

NO_TIME: Final = 0
"""Milliseconds that are left of a function that cannot begin anything more."""
LITTLE_TIME: Final = 3 * START_MS + 20
"""And of settlement where it soon cannot."""
PAGE: Final = 2
"""Of the index of what is due."""

Kind = Literal["death before", "death after", "error", "timeout", "repeated", "conflict"]
KINDS: Final[tuple[Kind, ...]] = ("death before", "death after", "error", "timeout", "repeated", "conflict")


@dataclass(frozen=True)
class Fault:
    """What goes wrong at one AWS call of an invocation."""

    call: int
    """Which, from 1."""
    kind: Kind


@dataclass
class Invocation:
    """One run of a function."""

    which: int
    """The instance."""
    job: Callable[[], Any]
    fault: Fault | None = None
    calls: int = 0
    first: int = 0
    """What its clock said at the beginning."""
    last: int = 0
    """And at the end."""
    hit: bool = False
    """Whether the fault has come."""
    died: bool = False
    raised: Exception | None = None
    result: Any = None


@dataclass
class Sqs:
    """An SQS client that knows settlement's queue; what goes to others is gone, but for dead letters."""

    house: House
    messages: list[Item] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    exceptions = SimpleNamespace()

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        **_: Any,
    ) -> Item:
        if QueueUrl == self.house.dead_url:
            self.dead.append(MessageBody)
        name = (MessageGroupId, MessageDeduplicationId)
        known = self.house.now - self.known.get(name, 0) < FORGETS_REPEATS_MS
        if QueueUrl == self.house.packets.queue_url and not known:
            self.known[name] = self.house.now
            number = f"m{next(self.numbers)}"
            attributes = {"ApproximateReceiveCount": "0", "MessageGroupId": MessageGroupId}
            self.messages.append(
                {"MessageId": number, "ReceiptHandle": number, "Body": MessageBody, "Attributes": attributes}
            )
        return {}

    def receive_message(self, **_: Any) -> Item:
        for message in self.messages[:1]:
            count = message["Attributes"]["ApproximateReceiveCount"]
            message["Attributes"]["ApproximateReceiveCount"] = str(int(count) + 1)
        return {"Messages": copy.deepcopy(self.messages[:1])}

    def delete_message(self, *, ReceiptHandle: str, **_: str) -> None:  # noqa: N803
        self.messages = [message for message in self.messages if message["ReceiptHandle"] != ReceiptHandle]

    def change_message_visibility_batch(self, *, Entries: list[Item], **_: str) -> Item:  # noqa: N803
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}


class _Client:
    """A client of one function, whose calls are told to the house."""

    def __init__(self, stage: Stage, function: str, service: str, target: Any) -> None:
        self._stage, self._function, self._service, self._target = stage, function, service, target
        self.exceptions = target.exceptions

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method, name = getattr(self._target, operation), operation.title().replace("_", "")

        def make(**params: Any) -> Any:
            house, call = self._stage.house, Call(self._function, self._service, name, params)
            house.begin(call)
            answer = self._made(method, call)
            if self._stage.answer_is_lost() and operation != "transact_write_items":  # which bears a token
                house.packets.note(call)
                answer = self._made(method, call)
            house.end(call, answer)
            return answer

        setattr(self, operation, make)
        return make

    def _made(self, method: Callable[..., Any], call: Call) -> Any:
        try:
            return method(**call.params) or {}
        except ClientError as e:
            self._stage.house.end(call, {"Error": {}} | dict(e.response))
            raise


def to_hold(call: Call) -> bool:
    """Whether a call takes the money of a packet."""
    return call.operation == "TransactWriteItems" and "P#hold" in str(call.params)


def to_publish(call: Call) -> bool:
    """Whether a call publishes a packet."""
    return call.operation == "TransactWriteItems" and "ConversationTable" in str(call.params)


class _Stream(PacketStream):
    """A stream that remembers."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.new: list[tuple[Item, Item]] = []
        """What has changed, and was not looked at yet."""

    def note(self, call: Call) -> None:
        """A call has had its effect."""
        known = len(self.records)
        super().note(call)
        self.new += self.records[known:]


@dataclass
class Stage:
    """A house whose tables are emptied between histories."""

    house: House
    errors: LastError
    tables: PacketTables | None
    """None on moto."""
    happened: Counter[str] = field(default_factory=Counter)
    """What the histories have come by."""
    instances: list[dict[str, Any]] = field(default_factory=list)
    ahead: Sequence[int] = (0, 0)
    """How far the clock of each instance is ahead, milliseconds."""
    call_ms: int = 0
    """How long an AWS call takes."""
    running: Invocation | None = None
    told: list[Item] = field(default_factory=list)
    """All records that settlement was ever given, and all messages."""
    dice: Random = field(default_factory=Random)
    """What shares are drawn with."""
    _books: tuple[int, Books] | None = None

    def begin(self, ahead: Sequence[int]) -> None:
        """Make it as if nothing had happened: instances as at a cold start."""
        house, url = self.house, self.house.packets.queue_url
        house.devices.clear()
        house.calls.clear()
        house.stream.clear()
        house.queued.clear()
        house.now = START
        house.packets = _Stream(house)
        house.packets.queue_url = url
        if self.tables is not None:
            self.tables.clear()
            house.sqs = Sqs(house)
        else:
            for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
                table.items.clear()
            for queue in sqs_backends[ACCOUNT][REGION].queues.values():
                queue._messages.clear()
        self.errors.error = self.running = self._books = None
        self.ahead, self.call_ms = ahead, 0
        self.dice.seed(0)
        self.told.clear()
        once = {name: house.load(name) for name in ONCE}
        self.instances = [once | {name: house.load(name) for name in TWICE} for _ in range(2)]
        house.apps |= self.instances[0]

    # ---- invocations

    def now_ms(self) -> int:
        """What the clock of the function says that runs."""
        return self.house.now + (self.ahead[self.running.which] if self.running is not None else 0)

    def serve(self, invocations: Sequence[Invocation], order: Sequence[tuple[int, int]] = ()) -> None:
        """Run them to their ends. `order` says whose turn it is, and how many times to go on up to the next AWS call.
        At a 6 and above two seconds pass before."""
        alive = [(one, greenlet(self._run)) for one in invocations]
        turns = itertools.chain.from_iterable([who, *[who % 6] * (calls - 1)] for who, calls in order)
        while alive:
            turn = next(turns, 0)
            if turn >= 6:
                self.house.now += 2000
            one, work = alive[turn % len(alive)]
            self.running = one
            self.house.apps = self.house.apps | self.instances[one.which]
            work.switch(one)
            self.running = None
            alive = [(it, doing) for it, doing in alive if not doing.dead]

    def _run(self, one: Invocation) -> None:
        one.first = self.now_ms()
        try:
            one.result = one.job()
        except Crash:
            one.died = True
        except Exception as e:  # noqa: BLE001 - the one who asked has it
            one.raised = e
        one.last = self.now_ms()

    def before_call(self, call: Call) -> None:
        """A function is about to call AWS."""
        self.house.now += self.call_ms
        one, here = self.running, greenlet.getcurrent()
        if one is None or here.parent is None:
            return
        here.parent.switch()
        one.calls += 1
        fault = one.fault
        if fault is None or fault.call != one.calls:
            return
        one.hit = True
        self.happened[fault.kind] += 1
        if fault.kind == "death before":
            raise Crash
        if fault.kind == "error":
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": ""}}, "call")
        if fault.kind == "conflict" and self.tables is not None and call.operation == "TransactWriteItems":
            # Whoever is in the way of one item says nothing about the others.
            unmet = [self.tables.refusal(write) is not None for write in call.params["TransactItems"]]
            if not all(unmet):
                codes = ["ConditionalCheckFailed" if refused else "None" for refused in unmet]
                codes[unmet.index(False)] = "TransactionConflict"
                told: Any = {"CancellationReasons": [{"Code": code} for code in codes]}
                raise TransactionCancelled(told, "call")

    def after_call(self) -> None:
        """AWS has answered."""
        one = self.running
        if one is None or one.fault is None or one.fault.call != one.calls:
            return
        if one.fault.kind == "death after":
            raise Crash
        if one.fault.kind == "timeout":
            raise ReadTimeoutError(endpoint_url="https://aws")

    def answer_is_lost(self) -> bool:
        """Whether the SDK makes the call again that was just made."""
        one = self.running
        fault = one.fault if one is not None else None
        return one is not None and fault is not None and fault.call == one.calls and fault.kind == "repeated"

    def dies(self, job: Callable[[], Any], before: Callable[[Call], bool]) -> None:
        """Run a function that dies before a call."""

        def end(call: Call) -> None:
            if before(call):
                raise Crash

        one = Invocation(0, job)
        with self.house.watched(before=end):
            self.serve([one])
        assert one.died

    # ---- what is done

    def device(self, user: str) -> Device:
        """How somebody asks without being connected."""
        return Device(self.house, user, "desk", "web", f"desk-of-{user}=")

    def settle(self, records: Sequence[tuple[Item, Item]], *, remaining: int | None = None) -> None:
        """Let settlement have some of the stream, which it then has had."""
        if not records:
            return
        stream = self.house.packets.records
        event = {"Records": [change_record(*images) for images in records]}
        self.told += event["Records"]
        self._settlement(event, remaining)
        for images in records:
            if any(images is waiting for waiting in stream):
                stream[:] = [waiting for waiting in stream if waiting is not images]

    def settle_again(self, records: Sequence[Item]) -> None:
        """Let settlement have records, or a message, that it has had before."""
        self._settlement({"Records": list(records)})

    def settle_message(self, *, remaining: int | None = None) -> None:
        """Let settlement have the next message of its queue; it stays there when it fails."""
        record = self.house.packets.take()
        if record is not None:
            self.told.append(record)
            if not self._settlement({"Records": [record]}, remaining)["batchItemFailures"]:
                url, handle = self.house.packets.queue_url, record["receiptHandle"]
                self.house.sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)

    def _settlement(self, event: Item, remaining: int | None = None) -> Item:
        handler = self.house.apps["settlement"].handler
        left = timeout_ms("settlement") if remaining is None else remaining
        return dict(handler(json.loads(json.dumps(event)), Context(remaining=left)))

    def sweep(self) -> None:
        """A minute is over."""
        self.house.call("expiry", _sample("expiry"))

    # ---- what there is

    def changes(self) -> list[tuple[Item, Item]]:
        """Every change of a packet since this was asked last: before, and after."""
        assert isinstance(self.house.packets, _Stream)
        out, self.house.packets.new = self.house.packets.new, []
        return out

    @property
    def queued(self) -> int:
        """Messages in settlement's queue."""
        if isinstance(self.house.sqs, Sqs):
            return len(self.house.sqs.messages)
        name = self.house.packets.queue_url.rpartition("/")[2]
        return len(sqs_backends[ACCOUNT][REGION].queues[name]._messages)

    @property
    def idle(self) -> bool:
        """Whether settlement has nothing to do."""
        return not self.house.packets.records and not self.queued

    @property
    def dead(self) -> int:
        """Dead letters."""
        return len(self.house.sqs.dead if isinstance(self.house.sqs, Sqs) else self.house.dead())

    def items(self, table: str) -> list[Item]:
        """Everything in a table."""
        return self.tables.items(table) if self.tables is not None else self.house.items(table)

    def books(self) -> Books:
        """What the tables say; the same as before where nothing was written."""
        writes = self.tables.writes if self.tables is not None else -1
        if self._books is None or writes < 0 or self._books[0] != writes:
            self._books = (writes, read(self.items("RedPacketTable"), self.items("WalletTable")))
        return self._books[1]


@cache
def _text(name: str) -> str:
    return json.dumps(sample(name))


def _sample(name: str) -> dict[str, Any]:
    """A fresh copy of events/<name>.json, read once."""
    return dict(json.loads(_text(name)))


@contextmanager
def stage(monkeypatch: pytest.MonkeyPatch, *, on_moto: bool = False) -> Iterator[Stage]:
    """A stage in a house of its own."""
    with built_house(monkeypatch, **SETTINGS) as house:
        errors = LastError(logging.ERROR)
        here = Stage(house, errors, None if on_moto else PacketTables())
        own_begin, own_end = house.begin, house.end

        def begin(call: Call) -> None:
            own_begin(call)
            here.before_call(call)

        def end(call: Call, answer: Item) -> None:
            own_end(call, answer)
            here.after_call()

        monkeypatch.setattr(house, "begin", begin)
        monkeypatch.setattr(house, "end", end)
        monkeypatch.setattr(wiring, "now_ms", here.now_ms)
        monkeypatch.setattr(packet_wiring, "secrets", SimpleNamespace(randbelow=here.dice.randrange))
        monkeypatch.setattr(expire, "PAGE", PAGE)
        monkeypatch.setattr(batches, "time", SimpleNamespace(sleep=lambda _: None))
        for module in ("house", "packet_stream"):
            monkeypatch.setattr(f"tests.integration.{module}.sample", _sample)
        if here.tables is not None:
            tables = here.tables
            monkeypatch.setattr(house, "dynamodb", tables)
            monkeypatch.setattr(clients, "dynamodb", lambda: _Client(here, house._loading, "dynamodb", tables))
            monkeypatch.setattr(clients, "sqs", lambda: _Client(here, house._loading, "sqs", _Queues(house)))
        log = logging.getLogger("im")
        monkeypatch.setattr(log, "handlers", [errors])
        monkeypatch.setattr(log, "propagate", False)
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            yield here
        finally:
            log.setLevel(level)


class _Queues:
    """The SQS client of the history that is played."""

    exceptions = Sqs.exceptions

    def __init__(self, house: House) -> None:
        self._house = house

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            return getattr(self._house.sqs, operation)(**params)

        return call
