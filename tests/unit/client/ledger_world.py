"""Red packets in every state of their lives, made by the real functions, and ways to spoil their tables."""

from __future__ import annotations

import copy
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from imclient.admin.ledger_audit import Audit, Report
from imclient.admin.ledger_tables import LedgerTables
from tests.integration.house import REGION, Device, House, built_house
from tests.integration.tables import Tables

WALLETS, PACKETS = "WalletTable", "RedPacketTable"
GROUP = "g:team"
DAY_MS = 24 * 3_600_000
LATE_MS = 10 * 60_000
PEOPLE = ("alice", "bob", "carol", "dave")

Item = dict[str, Any]


class ScannedTables(Tables):
    """Tables in memory, with the pages that an auditor asks for."""

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **request: [getattr(self, operation)(**request)])

    def scan(self, *, TableName: str, ExpressionAttributeValues: Item | None = None, **_: Any) -> Item:  # noqa: N803
        wanted = (ExpressionAttributeValues or {}).values()
        partitions = self.tables.get(TableName, {}).values()
        items = [item for partition in partitions for item in partition.values()]
        return {"Items": [item for item in items if not wanted or item["sk"] in wanted]}


@dataclass
class Ledger:
    """The two tables of a stack."""

    client: Any
    now: int
    packets: dict[str, str] = field(default_factory=dict)
    """Their ids by the names that tests give them."""

    def all(self, table: str) -> dict[tuple[str, str], Item]:
        """Everything in a table by its keys."""
        pages = self.client.get_paginator("scan").paginate(TableName=table)
        return {(item["pk"]["S"], item["sk"]["S"]): dict(item) for page in pages for item in page["Items"]}

    def item(self, table: str, pk: str, sk: str) -> Item | None:
        """One item."""
        found: Item | None = self.client.get_item(TableName=table, Key=_key(pk, sk)).get("Item")
        return found

    @contextmanager
    def spoiled(self, *changes: Change) -> Iterator[None]:
        """The tables with some items changed; afterwards they are as before."""
        undo = []
        for change in changes:
            before = self.item(change.table, change.pk, change.sk)
            undo.append((change, before))
            self.store(change, change.to(copy.deepcopy(before)))
        try:
            yield
        finally:
            for change, before in reversed(undo):
                self.store(change, before)

    def store(self, change: Change, item: Item | None) -> None:
        """Let an item be another one, or nothing."""
        if item is None:
            self.client.delete_item(TableName=change.table, Key=_key(change.pk, change.sk))
        else:
            self.client.put_item(TableName=change.table, Item=_key(change.pk, change.sk) | item)

    def auditor(self, client: Any = None, *, gateway: bool = False, **more: Any) -> Audit:
        """An auditor. Nobody waits between two looks."""
        tables = LedgerTables(client or self.client, WALLETS, PACKETS, pause=lambda _: None)
        usual: dict[str, Any] = {"late_ms": LATE_MS, "clock": lambda: self.now + 1000, "pause": lambda _: None}
        return Audit(tables, gateway, **usual | more)

    def audit(self, **more: Any) -> Report:
        """What an auditor says now."""
        return self.auditor(**more).run()


@dataclass
class World:
    """A stack, its people and their packets by name."""

    house: House
    devices: dict[str, Device] = field(default_factory=dict)
    packets: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """Its tables as they are now."""
        client: Any = boto3.client("dynamodb", REGION)
        return Ledger(client, self.house.now, self.packets)

    def create(self, name: str, sender: str = "alice", **data: Any) -> str:
        """Make a packet; its id."""
        self.packets[name] = str(self.devices[sender].ok("redpacket.create", asked(name, **data))["packet"])
        return self.packets[name]

    def abandon(self, name: str, table: str) -> None:
        """Ask for a packet whose request ends when it comes to writing to a table."""
        before = self.ledger.all(PACKETS).keys()

        def ends(call: Any) -> None:
            if call.operation == "TransactWriteItems" and table in str(call.params):
                raise RuntimeError

        with self.house.watched(before=ends):
            self.devices["alice"].error("redpacket.create", asked(name))
        (self.packets[name],) = {pk for pk, sk in self.ledger.all(PACKETS).keys() - before if sk == "META"}

    def claim(self, name: str, *users: str) -> None:
        """Claim shares of a packet, one after the other."""
        for user in users:
            self.devices[user].ok("redpacket.claim", {"packet": self.packets[name]})

    def pass_ms(self, ms: int) -> None:
        """Time goes by, and what is due ends and is settled."""
        self.house.now += ms
        self.house.packets.sweep()
        self.house.packets.settle()

    def come_back(self) -> None:
        """Connections have ended meanwhile."""
        for name in PEOPLE:
            self.devices[name] = self.house.connect(name)


def asked(cmid: str, **data: Any) -> Item:
    """What makes a packet."""
    return {"conv": GROUP, "cmid": cmid, "kind": "lucky", "total": 1000, "count": 3} | data


@dataclass(frozen=True)
class Change:
    """What becomes of one item."""

    table: str
    pk: str
    sk: str
    to: Callable[[Item | None], Item | None]


def _key(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


@contextmanager
def world_with_people(**environment: str) -> Iterator[World]:
    """A stack with four people in a group. Its packets are split alike every time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(secrets, "randbelow", random.Random(5).randrange)
        yield from _world(monkeypatch, **environment)


def _world(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[World]:
    with built_house(monkeypatch, **environment) as house:
        world = World(house)
        world.come_back()
        world.devices["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": list(PEOPLE[1:])})
        house.fan_out()
        yield world


def live(world: World) -> None:
    """Packets come into every state: claimed by all, by some and by nobody; never published; given up; not settled."""
    world.create("finished")
    world.claim("finished", "bob", "alice", "carol")
    world.create("rest", kind="equal", total=900)
    world.claim("rest", "bob")
    world.create("nobody", sender="bob", total=777)
    world.create("direct", conv="d:alice:bob", kind="direct", total=500, count=1)
    world.claim("direct", "bob")
    world.abandon("released", "ConversationTable")
    world.abandon("given up", WALLETS)
    world.pass_ms(DAY_MS)
    world.come_back()
    world.create("open", count=5)
    world.claim("open", "bob", "carol")
    world.create("sold out", sender="carol", count=2)
    world.claim("sold out", "alice", "dave")
    world.create("fresh", sender="bob", to="carol", kind="direct", total=66, count=1)
    world.pass_ms(60_000)
    world.abandon("new", "ConversationTable")
    world.create("unpaid", count=2)
    world.claim("unpaid", "bob")


def honest_ledger() -> Ledger:
    """The tables after all that, in memory: an auditor is through with them in no time."""
    tables = ScannedTables()
    with world_with_people() as world:
        live(world)
        for table in (WALLETS, PACKETS):
            for item in world.ledger.all(table).values():
                tables.put(table, item)
        return Ledger(tables, world.house.now, world.packets)
