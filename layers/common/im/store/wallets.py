"""The built-in wallet: a double-entry ledger. One of the payment systems of flows/payments.py.

Every movement of money is one transaction of four items: the line and the balance of both accounts. A line is written
once and never changes; that of the packet bears the name of the movement, so a movement is made once whoever repeats
it. A balance is the sum of its account's lines; all balances together are 0; none but those of opening accounts, where
the money of new wallets comes from, is below 0. `im admin audit` proves all of it from the table alone.

Costs: W is a write unit (1 KiB), R a read unit (4 KiB).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from im.domain.errors import Conflict, InsufficientFunds, Unavailable
from im.domain.ids import UserId
from im.domain.red_packet import PacketId
from im.store import keys
from im.store.batches import read_all, transact

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PostingKind = Literal["opening", "sent", "received", "refund"]

HOLD: Final = "hold"
REST: Final = "rest"
"""The names of a packet's movements; the payment of a share is named by its number."""

ROUNDS: Final = 4


class Posting(NamedTuple):
    """One line of a user's account."""

    id: str
    """Unique in the account; later ones are greater."""
    ts: int
    amount: int
    """What it adds to the balance."""
    kind: PostingKind
    packet: PacketId | None


@dataclass(frozen=True, slots=True)
class WalletStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str
    opening: int
    """What a new wallet starts with."""
    clock: Callable[[], int]

    # ---- the payment system ------------------------------------------------------------------------------------------

    def check(self, sender: UserId, amount: int) -> None:
        """Raises InsufficientFunds when somebody has less than `amount`. 1 R."""
        if self.balance(sender) < amount:
            raise InsufficientFunds(amount)

    def hold(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Take the money of a packet from its sender. 8 W; 8 W more for who had no wallet yet; 2 R for a repeat.

        Raises InsufficientFunds, and Conflict for a packet that was released before.
        """
        for _ in range(ROUNDS):
            unmet = self._move(packet, HOLD, sender, "sent", -amount)
            if not unmet:
                return
            if unmet.line_exists:
                if self._is_released(packet):
                    raise Conflict("this red packet was given up")
                return
            # Too little, or no wallet yet; perhaps somebody else has just opened it, or the same request on another
            # device has opened it and has held the money: then it is not there because it is held.
            if not self._open(sender) and self.balance(sender) < amount and not self._has_hold(packet):
                raise InsufficientFunds(amount)
        raise Unavailable("the wallet is busy", 1000)

    def pay(self, packet: PacketId, share: int, user: UserId, amount: int) -> None:
        """Give a share of a packet's money to who has claimed it. 8 W; 8 W more for who had no wallet yet."""
        self._give(packet, str(share), user, "received", amount)

    def refund(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back what nobody has claimed. 8 W."""
        self._give(packet, REST, sender, "refund", amount)

    def release(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back the money of a packet that never came to be, or see to it that it is not taken any more.
        1 W, and 1 R and 8 W when it was taken.

        Closes the race with `hold`: both write the line of that name, and one of them is first.
        """
        void: dict[str, Any] = {**keys.packet_line(packet, HOLD), "void": {"BOOL": True}, "ts": _number(self.clock())}
        try:
            self.client.put_item(TableName=self.table, Item=void, ConditionExpression="attribute_not_exists(pk)")
        except self.client.exceptions.ConditionalCheckFailedException:
            if not self._is_void(packet):
                self.refund(packet, sender, amount)

    # ---- what users see ----------------------------------------------------------------------------------------------

    def balance(self, user: UserId) -> int:
        """What a user has. 1 R; 8 W more for who had no wallet yet: it is opened."""
        for _ in range(ROUNDS):
            key = keys.balance(keys.user_account(user))
            out = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
            if "Item" in out:
                return int(out["Item"]["balance"]["N"])
            self._open(user)
        raise Unavailable("the wallet is busy", 1000)

    def postings(self, user: UserId, before: str | None, limit: int) -> tuple[list[Posting], str | None]:
        """The lines of a user's account, the newest first, and where the next page begins. 1 R a 4 KiB."""
        account = keys.user_account(user)
        start = {"pk": {"S": account}, "sk": {"S": keys.USER_LINE_PREFIX + before}} if before is not None else None
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :account AND begins_with(sk, :lines)",
            ExpressionAttributeValues={":account": {"S": account}, ":lines": {"S": keys.USER_LINE_PREFIX}},
            ScanIndexForward=False,
            Limit=limit,
            ConsistentRead=True,
            **({"ExclusiveStartKey": start} if start is not None else {}),  # type: ignore[arg-type]
        )
        found = [
            Posting(
                id=item["sk"]["S"][len(keys.USER_LINE_PREFIX) :],
                ts=int(item["ts"]["N"]),
                amount=int(item["amount"]["N"]),
                kind=item["kind"]["S"],  # type: ignore[arg-type]
                packet=PacketId(item["packet"]["S"]) if "packet" in item else None,
            )
            for item in out["Items"]
        ]
        return found, found[-1].id if "LastEvaluatedKey" in out and found else None

    # ---- movements ---------------------------------------------------------------------------------------------------

    def _give(self, packet: PacketId, name: str, user: UserId, kind: PostingKind, amount: int) -> None:
        for _ in range(ROUNDS):
            unmet = self._move(packet, name, user, kind, amount)
            if not unmet or unmet.line_exists:
                return
            if unmet.packet_lacks:
                raise PacketEmpty(packet, name)
            self._open(user)
        raise Unavailable("the wallet is busy", 1000)

    def _move(self, packet: PacketId, name: str, user: UserId, kind: PostingKind, amount: int) -> _Unmet:
        """Move `amount` from a packet to a user; less than 0 from the user to the packet. 8 W.

        The packet's line is not there: the movement is made once. Neither the packet nor the user has less than nothing
        afterwards; both balances are there, for who has none has no opening line either.
        """
        once = "attribute_not_exists(pk)"
        ts = self.clock()
        about = {"ts": _number(ts), "kind": {"S": kind}}
        line = {**keys.packet_line(packet, name), **about, "amount": _number(-amount), "user": {"S": user}}
        own = {
            **keys.user_line(user, ts, f"{packet}#{name}"),
            **about,
            "amount": _number(amount),
            "packet": {"S": packet},
        }
        writes = [
            {"Put": {"TableName": self.table, "Item": line, "ConditionExpression": once}},
            self._hold_balance(packet, -amount) if amount < 0 else self._change(keys.packet_account(packet), -amount),
            self._change(keys.user_account(user), amount),
            {"Put": {"TableName": self.table, "Item": own, "ConditionExpression": once}},
        ]
        unmet = transact(self.client, writes)
        return _Unmet(*unmet[:3]) if unmet else _Unmet()

    def _hold_balance(self, packet: PacketId, amount: int) -> dict[str, Any]:
        item = {**keys.balance(keys.packet_account(packet)), "balance": _number(amount)}
        return {"Put": {"TableName": self.table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}

    def _change(self, account: str, amount: int) -> dict[str, Any]:
        enough = "balance >= :taken" if amount < 0 else "attribute_exists(pk)"
        values = {":amount": _number(amount)} | ({":taken": _number(-amount)} if amount < 0 else {})
        return {
            "Update": {
                "TableName": self.table,
                "Key": keys.balance(account),
                "UpdateExpression": "SET balance = balance + :amount",
                "ConditionExpression": enough,
                "ExpressionAttributeValues": values,
            }
        }

    def _open(self, user: UserId) -> bool:
        """Give somebody a wallet; False who has one. 8 W, or 2 W where wallets start with nothing."""
        once = "attribute_not_exists(pk)"
        account, source = keys.user_account(user), keys.opening_account(user)
        ts = self.clock()
        items: list[dict[str, Any]] = [{**keys.balance(account), "balance": _number(self.opening)}]
        if self.opening:
            about = {"ts": _number(ts), "kind": {"S": "opening"}}
            items += [
                {**keys.user_line(user, ts, "opening"), **about, "amount": _number(self.opening)},
                {**keys.balance(source), "balance": _number(-self.opening)},
                {**keys.line_of(source, "opening"), **about, "amount": _number(-self.opening)},
            ]
        writes = [{"Put": {"TableName": self.table, "Item": item, "ConditionExpression": once}} for item in items]
        return not transact(self.client, writes)

    def _has_hold(self, packet: PacketId) -> bool:
        """Whether a packet was held, or released before. 1 R."""
        key = keys.packet_line(packet, HOLD)
        return "Item" in self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)

    def _is_void(self, packet: PacketId) -> bool:
        """Whether a packet was released before its money was taken. 1 R."""
        key = keys.packet_line(packet, HOLD)
        out = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        return "void" in out["Item"]

    def _is_released(self, packet: PacketId) -> bool:
        """Whether a packet whose line of that name is there was released, before its money was taken or after. 2 R."""
        wanted = [keys.packet_line(packet, name) for name in (HOLD, REST)]
        found = list(read_all(self.client, self.table, wanted, consistent=True))
        return len(found) > 1 or "void" in found[0]


class PacketEmpty(Exception):
    """A packet holds less than is to be given from it: a defect, or its money was never taken."""

    def __init__(self, packet: PacketId, name: str) -> None:
        super().__init__(f"{packet} holds too little for {name}")


class _Unmet(NamedTuple):
    """Which conditions of a movement did not hold; all false when it was made."""

    line_exists: bool = False
    packet_lacks: bool = False
    user_lacks: bool = False

    def __bool__(self) -> bool:
        return any(self)


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
