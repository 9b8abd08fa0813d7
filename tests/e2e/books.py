"""What the tables say about red packets and about money, and what of it is wrong.

Read from the tables as they are stored, when nothing moves any more; no code of the product has a part in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from local import Stack

Item = Mapping[str, Any]

SETTLED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Packet:
    """A red packet as it is stored."""

    name: str
    state: str
    sender: str
    total: int
    count: int
    claimers: tuple[str, ...]
    shares: tuple[int, ...]
    head: Item
    """The item that holds its claims."""

    @property
    def won(self) -> dict[str, int]:
        """What each claimer has."""
        return dict(zip(self.claimers, self.shares, strict=False))

    @property
    def last_claim(self) -> int:
        """When it was claimed last, milliseconds since the epoch."""
        return int(self.head["opened"]["N"]) + max(int(time["N"]) for time in self.head["times"]["L"])

    @property
    def movements(self) -> dict[str, tuple[str, int]]:
        """All that must have happened to its money: by name, whose it was or is, and what the packet got by it."""
        must = {"hold": (self.sender, self.total)}
        must |= {
            str(i): (user, -share) for i, (user, share) in enumerate(zip(self.claimers, self.shares, strict=False))
        }
        rest = sum(self.shares[len(self.claimers) :])
        return must | ({"rest": (self.sender, -rest)} if self.state == "closed" and rest else {})

    @property
    def wrong(self) -> Iterator[str]:
        """What is wrong with it, one line each, before any money has moved."""
        if sum(self.shares) != self.total or len(self.shares) != self.count or min(self.shares) < 1:
            yield f"{self.name}: its shares are {self.shares}, of {self.total} for {self.count}"
        if len(self.claimers) > self.count or len(set(self.claimers)) < len(self.claimers):
            yield f"{self.name}: claimed by {self.claimers}, for {self.count}"


@dataclass(frozen=True, slots=True)
class Line:
    """One movement of money, on one of the two accounts."""

    amount: int
    user: str | None
    ts: int


@dataclass(frozen=True, slots=True)
class Books:
    """The table of wallets."""

    balances: Mapping[str, int]
    """By account."""
    lines: Mapping[str, Mapping[str, Line]]
    """By account and name; the name of a user's line says of which packet it is, and the name of the movement."""

    @classmethod
    def read(cls, stack: Stack) -> Self:
        """The books as they are now."""
        balances: dict[str, int] = {}
        lines: dict[str, dict[str, Line]] = {}
        dynamodb, table = stack.cloud.client("dynamodb"), stack.outputs["WalletTableName"]
        for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            for item in page["Items"]:
                account, place = item["pk"]["S"], item["sk"]["S"]
                if place == "BALANCE":
                    balances[account] = int(item["balance"]["N"])
                    continue
                if "void" in item:
                    continue  # of a packet whose money was never taken
                kind, _, name = place.partition("#")
                if kind == "L":  # of a user, who reads them by their time
                    _, _, name = name.partition("#")
                user = item["user"]["S"] if "user" in item else None
                line = Line(int(item["amount"]["N"]), user, int(item["ts"]["N"]))
                assert name not in lines.setdefault(account, {}), (account, name)
                lines[account][name] = line
        return cls(balances, lines)

    @property
    def wrong(self) -> Iterator[str]:
        """Why they do not balance, one line each."""
        for account in sorted(self.balances.keys() | self.lines.keys()):
            balance = self.balances.get(account)
            should = sum(line.amount for line in self.lines.get(account, {}).values())
            if balance != should:
                yield f"{account} has {balance}, and its lines make {should}"
            if should < 0 and not account.startswith("opening:"):
                yield f"{account} has {should}"
        if sum(self.balances.values()):
            yield f"all balances together are {sum(self.balances.values())}"

    def wrong_with(self, packet: Packet) -> Iterator[str]:
        """What of a packet's money is not where the packet says, one line each."""
        account = f"packet:{packet.name}"
        lines = self.lines.get(account, {})
        found = {name: (line.user, line.amount) for name, line in lines.items()}
        for name in sorted(found.keys() | packet.movements.keys()):
            if found.get(name) != packet.movements.get(name):
                yield f"{account} {name} is {found.get(name)}, and should be {packet.movements.get(name)}"
        for name, (user, amount) in packet.movements.items():
            own = self.lines.get(f"user:{user}", {}).get(f"{packet.name}#{name}")
            if own is None or own.amount != -amount:
                yield f"user:{user} {packet.name}#{name} is {own}, and should be {-amount}"

    def last_movement(self, packet: Packet) -> int:
        """When money of a packet has moved last, milliseconds since the epoch."""
        return max(line.ts for line in self.lines[f"packet:{packet.name}"].values())


def stored_packet(stack: Stack, name: str) -> Packet:
    """A red packet as it is now."""
    dynamodb, table = stack.cloud.client("dynamodb"), stack.outputs["RedPacketTableName"]

    def item(place: str) -> dict[str, Any]:
        out = dynamodb.get_item(TableName=table, Key={"pk": {"S": name}, "sk": {"S": place}}, ConsistentRead=True)
        return dict(out["Item"])

    head = item("META")
    return Packet(
        name=name,
        state=head["state"]["S"],
        sender=head["sender"]["S"],
        total=int(head["total"]["N"]),
        count=int(head["count"]["N"]),
        claimers=tuple(claimer["S"] for claimer in head["claimers"]["L"]),
        shares=tuple(int(share["N"]) for share in item("SHARES")["shares"]["L"]),
        head=head,
    )


def money_left(stack: Stack, name: str) -> int:
    """What a packet still holds."""
    key = {"pk": {"S": f"packet:{name}"}, "sk": {"S": "BALANCE"}}
    dynamodb, table = stack.cloud.client("dynamodb"), stack.outputs["WalletTableName"]
    return int(dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["balance"]["N"])


def settled(stack: Stack, name: str, within_s: float = SETTLED_WITHIN_S) -> tuple[Packet, Books]:
    """A packet and the books when it holds no money any more. Nothing of either may be wrong."""
    deadline = time.monotonic() + within_s
    while left := money_left(stack, name):
        assert time.monotonic() < deadline, f"{name} still holds {left} after {within_s:g} s"
        time.sleep(0.2)
    packet, books = stored_packet(stack, name), Books.read(stack)
    assert [*packet.wrong, *books.wrong, *books.wrong_with(packet)] == []
    return packet, books
