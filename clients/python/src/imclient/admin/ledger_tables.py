"""Reads the tables of red packets and wallets for the auditor, always consistently: 1 R for every 4 KiB.

A Scan of a table that is being written is no picture of one moment, nor are two reads. What tells more:
- `posting` reads both halves in one transaction: DynamoDB gives them as they were together.
- `balance` and `packet` read twice. Lines and claims are only ever added, and never changed, so when both readings are
  equal, all of it was so at the moment between them.
What stands in between is a transaction that DynamoDB is applying item by item: whoever asks, asks again after a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from imclient.admin.ledger_items import (
    PACKET_KEYS,
    Account,
    Balance,
    Item,
    Leg,
    LegKey,
    Whole,
    head_of,
    packet_keys,
    shares_of,
    wallet_item,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRIES: Final = 4
PAUSE_S: Final = 0.2

T = TypeVar("T")

_IN_MOTION: Final = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class InMotionError(Exception):
    """It changes from reading to reading: nothing can be said of it now."""


class Sum(NamedTuple):
    """An account, its lines added up."""

    balance: int | None
    total: int
    lines: int


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """The two tables of a stack. All methods raise what boto3 raises; those that look again UnreadableError, too."""

    client: DynamoDBClient
    wallets: str
    packets: str
    pause: Callable[[float], None] = time.sleep

    def scan_wallets(self) -> Iterator[list[Item]]:
        """All of the wallets' table, page by page of at most 1 MiB."""
        return self._pages("scan", TableName=self.wallets)

    def scan_packets(self) -> Iterator[list[Item]]:
        """All packets and their shares, page by page."""
        return self._pages(
            "scan",
            TableName=self.packets,
            FilterExpression="sk IN (:head, :shares)",
            ExpressionAttributeValues={":head": {"S": PACKET_KEYS[0]}, ":shares": {"S": PACKET_KEYS[1]}},
        )

    def posting(self, leg: LegKey, other: LegKey) -> tuple[Leg | None, Leg | None]:
        """Both halves of a posting as they were at one moment. 4 R. Raises InMotionError."""
        gets: Any = [
            {"Get": {"TableName": self.wallets, "Key": {"pk": {"S": key.account}, "sk": {"S": key.name}}}}
            for key in (leg, other)
        ]
        for _ in range(TRIES):
            try:
                out = self.client.transact_get_items(TransactItems=gets)
            except self.client.exceptions.TransactionCanceledException as error:
                reasons: Any = error.response["CancellationReasons"]
                if not {reason["Code"] for reason in reasons} <= _IN_MOTION:
                    raise
                self.pause(PAUSE_S)
            else:
                one, two = (_leg_or_none(response.get("Item")) for response in out["Responses"])
                return one, two
        raise InMotionError

    def balance(self, account: str) -> Sum:
        """An account as it was at one moment. Twice 1 R for every 4 KiB of it. Raises InMotionError."""
        return self._twice(lambda: self._sum(account))

    def packet(self, packet: str) -> Whole:
        """A packet and its money as they were at one moment. Some 6 R. Raises InMotionError."""
        return self._twice(lambda: self._whole(packet))

    def _sum(self, account: str) -> Sum:
        balance, total, lines = None, 0, 0
        for page in self._account_pages(account):
            for read in map(wallet_item, page):
                if isinstance(read, Balance):
                    balance = read.amount
                elif isinstance(read, Leg):
                    total, lines = total + read.amount, lines + 1
        return Sum(balance, total, lines)

    def _whole(self, packet: str) -> Whole:
        heads, shares = (self._item(key) for key in packet_keys(packet))
        name = f"packet:{packet}"
        read = [wallet_item(item) for page in self._account_pages(name) for item in page]
        balance = next((one.amount for one in read if isinstance(one, Balance)), None)
        legs = {one.key.name: one for one in read if isinstance(one, Leg)}
        void = len(read) > len(legs) + (balance is not None)
        return Whole(
            head_of(heads) if heads is not None else None,
            shares_of(shares) if shares is not None else None,
            Account(name, balance, legs, void) if read else None,
        )

    def _twice(self, look: Callable[[], T]) -> T:
        before = look()
        for _ in range(TRIES):
            after = look()
            if before == after:
                return after
            before = after
            self.pause(PAUSE_S)
        raise InMotionError

    def _item(self, key: Item) -> Item | None:
        out = self.client.get_item(TableName=self.packets, Key=key, ConsistentRead=True)
        return out.get("Item")

    def _account_pages(self, account: str) -> Iterator[list[Item]]:
        return self._pages(
            "query",
            TableName=self.wallets,
            KeyConditionExpression="pk = :account",
            ExpressionAttributeValues={":account": {"S": account}},
        )

    def _pages(self, operation: Any, **request: Any) -> Iterator[list[Item]]:
        paginator: Any = self.client.get_paginator(operation)
        for page in paginator.paginate(ConsistentRead=True, **request):
            yield page["Items"]


def _leg_or_none(item: Any) -> Leg | None:
    read = wallet_item(item) if item is not None else None
    return read if isinstance(read, Leg) else None
