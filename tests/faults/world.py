"""The small world that every flow is played in, and how it is put back.

Alice (two devices), Bob (two), Carol, Erin and Frank are connected; Dave and the others have no connection. Alice talks
to Bob; she has made a small group with Bob (admin) and Carol, and a large one with everybody but Frank and Gus.
There are messages, reactions, an edit, pins and mentions; everything is delivered, and every client holds all of it.
Alice and Bob have wallets.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.sqs.models import sqs_backends

from im.flows import broadcast
from im.runtime import packet_wiring
from im.store import audience
from tests.faults.faults import Injector
from tests.faults.memory import memory_of
from tests.integration.devices import Device as Client
from tests.integration.devices import Log
from tests.integration.house import FUNCTIONS, REGION, Call, Crash, Device, House, built_house

Data = dict[str, Any]
Key = tuple[str, str, str]
"""Table, partition key, sort key."""

DIRECT = "d:alice:bob"
SMALL = "g:small"
LARGE = "g:large"
SMALL_MEMBERS = ("alice", "bob", "carol")
LARGE_MEMBERS = (*SMALL_MEMBERS, "dave", "erin", "u1")
SETTINGS = {"LARGE_GROUP_ABOVE": "5", "RECALL_WINDOW_SECONDS": "3600", "REDELIVER_AFTER_SECONDS": "0"}
PAUSE_MS = 60_000
"""Between what was before a flow and the flow."""

LOST = "the reply was lost"

READS = frozenset({"GetItem", "BatchGetItem", "Query", "TransactGetItems"})
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})


@dataclass(frozen=True)
class Said:
    """What the caller of a function was told by one try: a reply, or nothing when it died."""

    reply: Data | None
    refused: str = ""
    """What the function raised instead of a reply, where an event has none."""

    @property
    def ok(self) -> bool:
        return self.reply is not None and bool(self.reply["ok"])


@dataclass(frozen=True)
class Start:
    """Everything that is put back before a case."""

    items: dict[Key, Any]
    clients: bytes
    devices: dict[str, Device]
    pushes: dict[str, tuple[list[Data], bool]]
    queues: dict[str, list[Any]]
    lists: dict[str, list[Any]]
    packets: tuple[list[Any], dict[str, Any]]
    """The stream of red packets: its records, and what it knows of each packet."""
    queued: Any
    now: int
    notes: Data
    connections: int


@dataclass
class World:
    """The house and its clients."""

    house: House
    clients: dict[str, Client] = field(default_factory=dict)
    notes: Data = field(default_factory=dict)
    """What a preparation leaves for its action."""
    adopted: list[tuple[str, str, Data, Data]] = field(default_factory=list)
    """Requests of clients that had a reply that they need not ask again for: client, operation, data, reply."""
    written: set[Key] = field(default_factory=set)
    _noted: int = 0
    _used: set[str] = field(default_factory=set)
    """Functions that have called AWS."""
    _stage: Start | None = None
    """What was made or put back last."""
    _prepared: set[Key] = field(default_factory=set)
    """What was written before that, since what was put back before it."""

    # ---- people ------------------------------------------------------------------------------------------------------

    def client(self, name: str) -> Client:
        """A client by the name of its user, or that and ` phone`; connected and synced when it was not there."""
        if name not in self.clients:
            made = Client(self.house, name.partition(" ")[0], name.replace(" ", "-"), _platform(name))
            made.connect()
            made.sync(100)
            self.clients[name] = made
        return self.clients[name]

    def link(self, name: str) -> Device:
        """The connection of a client."""
        link = self.client(name).link
        assert link is not None
        return link

    def ask(self, name: str, op: str, data: Data) -> Said:
        """A client sends a frame; whatever the function does is caught. A closed connection takes none."""
        link = self.link(name)
        if link.closed:
            return Said(None, "closed")
        try:
            reply = link.ask(op, data)
        except Crash:
            assert len(_take_replies(link)) <= 1, "a frame has had two replies"
            return Said(None)
        except ValueError:  # a reply that went as a push, and was lost or came twice on its way
            replies = _take_replies(link)
            if not replies:
                return Said(None, LOST)
            reply = replies[0]
            assert all(one == reply for one in replies), "a frame has had two replies"
        reply = {name: value for name, value in reply.items() if name != "id"}
        if reply["ok"] or not reply["error"]["retryable"]:
            self.adopted.append((name, op, data, reply))
        return Said(reply)

    def call(self, action: Callable[[], Data]) -> Said:
        """Anything but a frame: what it returns, or what it raised."""
        try:
            return Said({"ok": True, "data": action()})
        except Crash:
            return Said(None)
        except AssertionError:
            raise
        except Exception as e:  # noqa: BLE001 - as Lambda does: whatever it is, the invocation has failed
            return Said(None, type(e).__name__)

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """The ends of logs are read from a replica that does not know their newest entries yet."""
        house, begin, end = self.house, self.house.begin, self.house.end

        def is_of_a_tail(call: Call) -> bool:
            return call.operation == "Query" and not call.params.get("ScanIndexForward", True)

        def begin_behind(call: Call) -> None:
            if is_of_a_tail(call) and not call.params["ConsistentRead"]:
                call.params["Limit"] = 2
            begin(call)

        def end_behind(call: Call, answer: Data) -> None:
            if is_of_a_tail(call) and call.params["Limit"] == 2:
                answer["Items"] = answer["Items"][1:]
            end(call, answer)

        house.begin, house.end = begin_behind, end_behind  # type: ignore[method-assign]
        try:
            yield
        finally:
            house.begin, house.end = begin, end  # type: ignore[method-assign]

    # ---- settling ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Nobody does anything any more but to acknowledge: the machinery runs until there is nothing left to do."""
        self.house.audit()
        self.house.fan_out()
        self.house.packets.settle()
        self._let_the_clock_strike()
        if self.house.checks:
            self._acknowledge()
            self.house.redeliver()
        assert not self.house.stream
        assert not self.house.packets.records
        assert not self.house.dead(), "a message was given up"

    def _let_the_clock_strike(self) -> None:
        """Red packets that are over end. One that is new waits in vain: nobody goes on with it."""
        due = [item for item in plain_items("RedPacketTable").values() if "due" in item]
        self.house.now = max([self.house.now, *(item["due"] for item in due if item["state"] == "new")])
        if any(item["due"] <= self.house.now for item in due):
            self.house.packets.sweep()
            self.house.packets.settle()

    def _acknowledge(self) -> None:
        """As clients do with what was pushed to them."""
        for link in self.house.devices.values():
            newest: dict[str, int] = {}
            for push in link.pushes:
                if push.get("push") == "entries" and not link.closed:
                    data = push["data"]
                    newest[data["conv"]] = max(newest.get(data["conv"], 0), data["entries"][-1]["seq"])
            if newest:
                link.ok("sync.ack", {"acks": [{"conv": conv, "seq": seq} for conv, seq in sorted(newest.items())]})

    def fresh(self, *functions: str) -> None:
        """The next instances of functions know nothing."""
        for name in functions or FUNCTIONS:
            self.house.load(name)

    def fresh_again(self, function: str) -> None:
        """As `fresh` for all, when only this function may have been used without a call to AWS."""
        self.fresh(*({function} | self._used))
        self._used = set()

    # ---- put back ----------------------------------------------------------------------------------------------------

    def start(self) -> Start:
        """Everything as it is now."""
        self._note_written()
        self._prepared |= self.written
        self._forget_written()
        made = Start(
            items={key: copy.deepcopy(item) for key, item in stored_items()},
            clients=pickle.dumps([_kept(name, client) for name, client in self.clients.items()]),
            devices=dict(self.house.devices),
            pushes={name: (list(d.pushes), d.closed) for name, d in self.house.devices.items()},
            queues={name: [copy.copy(m) for m in queue._messages] for name, queue in _queues().items()},
            lists={name: list(getattr(self.house, name)) for name in ("stream", "checks")},
            packets=(list(self.house.packets.records), dict(self.house.packets.newest)),
            queued=dict(self.house.queued),
            now=self.house.now,
            notes=copy.deepcopy(self.notes),
            connections=next(self.house._numbers),
        )
        self._stage = made
        return made

    def put_back(self, start: Start) -> None:
        """Everything is again as it was then: of the tables, what has been written since."""
        self._note_written()
        if start is not self._stage:  # back to before what was prepared
            self.written |= self._prepared
            self._stage, self._prepared = start, set()
        for key in self.written:
            _put(key, copy.deepcopy(start.items.get(key)))
        self._forget_written()
        self.house.devices.clear()
        self.house.devices.update(start.devices)
        for name, (pushes, closed) in start.pushes.items():
            device = start.devices[name]
            device.pushes[:] = pushes
            device.closed = closed
        self.clients = {}
        for kept in pickle.loads(start.clients):  # noqa: S301 - our own
            name, connection = kept.pop("name"), kept.pop("connection")
            self.clients[name] = client = Client(
                self.house, name.partition(" ")[0], name.replace(" ", "-"), _platform(name)
            )
            client.link = start.devices[connection]
            for attribute, value in kept.items():
                setattr(client, attribute, value)
        for name, queue in _queues().items():
            queue._messages = [copy.copy(message) for message in start.queues[name]]
            queue._pending_messages, queue.deleted_messages = set(), set()
        for name, kept in start.lists.items():
            getattr(self.house, name)[:] = kept
        self.house.packets.records[:] = start.packets[0]
        self.house.packets.newest = dict(start.packets[1])
        self.house.retries.clear()
        self.house.queued = dict(start.queued)
        self.house.now = start.now
        self.house._numbers = itertools.count(start.connections)
        self.notes = copy.deepcopy(start.notes)
        self.adopted = []
        random.seed(0)  # waits are drawn: every case is the same each time

    # ---- what there is -----------------------------------------------------------------------------------------------

    def changed(self, start: Start) -> dict[Key, Any]:
        """The items that are not as they were then, as plain values; None for one that has gone."""
        self._note_written()
        out = {}
        for key in self.written:
            now = plain(_get(key))
            if now != plain(start.items.get(key)):
                out[key] = now
        return out

    def fingerprint(self, start: Start, *, told: bool = True) -> str:
        """Two moments of the same flow that look alike here go on alike; what was `told` to clients matters to them."""
        queues = {
            name: [(m.body, m.group_id, m.deduplication_id) for m in queue._messages]
            for name, queue in _queues().items()
        }
        links = {name: (d.user, d.closed, d.pushes if told else ()) for name, d in self.house.devices.items()}
        lists = [*(getattr(self.house, name) for name in start.lists), self.house.packets.records]
        memory = {name: memory_of(app) for name, app in self.house.apps.items()}
        moment = repr(
            (
                sorted(self.changed(start).items()),
                queues,
                links,
                lists,
                self.house.queued,
                self.house.now,
                memory,
                self.adopted if told else (),
            )
        )
        return hashlib.sha256(moment.encode()).hexdigest()

    def _note_written(self) -> None:
        for call in self.house.calls[self._noted :]:
            if call.service != "dynamodb" or call.operation in READS:
                continue
            assert call.operation in WRITES, f"what does {call.operation} write?"
            writes = [call.params]
            if call.operation == "TransactWriteItems":
                writes = [write for item in call.params["TransactItems"] for write in item.values()]
            for write in writes:
                key = write.get("Key") or write["Item"]
                self.written.add((write["TableName"], key["pk"]["S"], key.get("sk", {"S": ""})["S"]))
        self._noted = len(self.house.calls)

    def _forget_written(self) -> None:
        self._used |= {call.function for call in self.house.calls}
        del self.house.calls[:]
        self._noted = 0
        self.written = set()


def _take_replies(link: Device) -> list[Data]:
    """The replies among what has been pushed; they are no pushes."""
    replies = [push for push in link.pushes if "id" in push]
    link.pushes[:] = [push for push in link.pushes if "id" not in push]
    return replies


def plain(item: Any) -> Any:
    """What moto keeps as an item or a value, as plain Python; None for none."""
    if item is None:
        return None
    if not isinstance(item, DynamoType):
        return {name: plain(value) for name, value in item.attrs.items()}
    if item.type == "M":
        return {name: plain(value) for name, value in item.value.items()}
    if item.type == "L":
        return [plain(value) for value in item.value]
    if item.type in {"SS", "NS"}:
        return sorted(item.value)
    return int(item.value) if item.type == "N" else item.value


def plain_items(*tables: str) -> dict[Key, Data]:
    """All items of these tables, or of all."""
    return {key: plain(item) for key, item in stored_items(*tables)}


def stored_items(*tables: str) -> Iterator[tuple[Key, Any]]:
    """All items of these tables, or of all, as moto keeps them."""
    for name, table in _tables().items():
        if not tables or name in tables:
            for item in table.all_items():
                yield (name, item.hash_key.value, item.range_key.value if item.range_key is not None else ""), item


def _tables() -> dict[str, Any]:
    return dict(dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables)


def _queues() -> dict[str, Any]:
    return dict(sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues)


def _get(key: Key) -> Any:
    name, pk, sk = key
    table = _tables()[name]
    found = table.items.get(DynamoType({"S": pk}))
    return found.get(DynamoType({"S": sk})) if found is not None and table.has_range_key else found


def _put(key: Key, item: Any) -> None:
    name, pk, sk = key
    table = _tables()[name]
    place, at = (table.items[DynamoType({"S": pk})], sk) if table.has_range_key else (table.items, pk)
    if item is None:
        place.pop(DynamoType({"S": at}), None)
    else:
        place[DynamoType({"S": at})] = item


def _platform(name: str) -> str:
    return "ios" if name.endswith("phone") else "web"


def _kept(name: str, client: Client) -> Data:
    assert client.link is not None
    held = {name: getattr(client, name) for name in ("inbox", "privacy", "rows", "logs", "deleted", "peers")}
    return {"name": name, "connection": client.link.connection} | held


# ---- how it is made --------------------------------------------------------------------------------------------------


@contextmanager
def built_world() -> Iterator[tuple[World, Injector, Start]]:
    """The world, ready, with what lets its calls go wrong, and with how it is at first."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (audience, broadcast):
            monkeypatch.setattr(module, "SHARDS", 2)
        # Dice would make each case another one: who is asked how often decides how a packet is split.
        monkeypatch.setattr(packet_wiring, "secrets", SimpleNamespace(randbelow=lambda below: below // 3))
        with built_house(monkeypatch, **SETTINGS) as house:
            logging.disable(logging.CRITICAL)  # thousands of tracebacks of what is made to fail
            world, injector = World(house), Injector(house, monkeypatch)
            try:
                _live(world)
                yield world, injector, world.start()
            finally:
                logging.disable(logging.NOTSET)


def _live(world: World) -> None:
    for name in ("alice", "alice phone", "bob", "bob phone", "carol", "erin", "frank"):
        world.client(name)
    alice, bob, carol, erin = (world.link(name) for name in ("alice", "bob", "carol", "erin"))
    alice.say("Hello, Bob.", "d1", to="bob")
    bob.say("Hello, Alice.", "d2", to="alice")
    alice.say("How are you?", "d3", to="bob")
    _do(bob, "react", DIRECT, 3, emoji="👍", on=True)
    _do(alice, "react", DIRECT, 2, emoji="🎉", on=True)
    _do(alice, "edit", DIRECT, 1, body={"text": "Hello!"})
    _do(alice, "pin", DIRECT, 1, on=True)
    alice.ok("group.create", {"gid": "small", "name": "Small", "members": list(SMALL_MEMBERS[1:])})
    alice.ok("group.role", {"conv": SMALL, "user": "bob", "role": "admin"})
    alice.say("One.", "s1", conv=SMALL)
    carol.say("Two.", "s2", conv=SMALL, mentions=["bob"])
    _do(bob, "react", SMALL, 3, emoji="👍", on=True)
    alice.ok("group.create", {"gid": "large", "name": "Large", "members": list(LARGE_MEMBERS[1:])})
    alice.say("Everybody.", "l1", conv=LARGE)
    erin.say("Bob?", "l2", conv=LARGE, mentions=["bob"])
    world.settle()
    bob.ok("sync.read", {"conv": DIRECT, "seq": 1})
    bob.ok("sync.ack", {"acks": [{"conv": DIRECT, "seq": 1}]})
    carol.ok("sync.read", {"conv": SMALL, "seq": 3})
    for link in (alice, bob):
        link.ok("redpacket.wallet")
    be_done(world)


def be_done(world: World) -> None:
    """Everything is delivered, a minute goes by, and every client holds everything."""
    world.settle()
    world.house.now += PAUSE_MS
    for client in world.clients.values():
        if client.online:
            client.receive()
            catch_up(client)
    for link in world.house.devices.values():
        link.pushes.clear()


def catch_up(client: Client) -> None:
    """A client asks whether there is news, and for all of it; one whose connection has ended comes again."""
    if client.online:
        pong = client.ok("connect.ping", {})
        if client.online and pong["inbox"] == client.inbox:
            return
    if not client.online:
        client.connect()
    left = {conv for conv, row in client.rows.items() if "left_seq" in row}
    client.sync(100)
    for conv, row in client.rows.items():
        if ("left_seq" in row) != (conv in left):
            client.logs[conv] = Log(row["last_seq"] + 1, row["last_seq"])
        while not client.logs[conv].whole:
            client.scroll_back(conv, 100)


def _do(link: Device, op: str, conv: str, seq: int, **more: Any) -> None:
    link.ok(f"message.{op}", {"conv": conv, "seq": seq} | more)
