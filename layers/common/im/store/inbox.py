"""The Inbox table: one row a user and conversation, made of watermarks (domain/inbox.py).

Every write moves a watermark forward under the condition that it is behind, so repeats change nothing and the order
of arrival does not matter. Every write but an ack also adds one to `ver`, the row's part of the inbox version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from im.domain.entries import Entry, preview
from im.domain.ids import ConvId, Seq, UserId
from im.domain.inbox import Last, Row
from im.store import keys

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]

LAST: Final = "last_seq"
READ: Final = "read_seq"
MENTION: Final = "mention_seq"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a batch of entries does to the row of one member."""

    newest: Entry
    own: Entry | None
    """The newest entry of the batch that the member sent: they have read everything up to it."""
    mention: Seq
    """The newest entry of the batch that mentions the member; 0 without one."""
    start_seq: Seq
    start_n: int
    """Where the member's read mark starts when they have no row yet: just before they joined."""


@dataclass(frozen=True, slots=True)
class InboxStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def deliver(self, user: UserId, conv: ConvId, delivery: Delivery, now: int) -> bool:
        """Move the row's marks up to the batch. False when nothing was left to move. 1 W; rarely 2 or 3.

        Up to three marks in one write: `last`, `read` when the member sent something in the batch, `mention` when
        somebody mentioned them. When one of them is already further (a reader was faster, or the batch comes late), the
        condition fails and the row that it returns says which; the others are moved without it. Marks never move
        back, so each failure leaves fewer of them to move.
        """
        marks = {LAST: delivery.newest.seq}
        if delivery.own is not None:
            marks[READ] = delivery.own.seq
        if delivery.mention:
            marks[MENTION] = delivery.mention
        while marks:
            found = self._move(user, conv, delivery, now, marks)
            if found is None:
                return True
            at = {LAST: found.last_seq, READ: found.read_seq, MENTION: found.mention_seq}
            marks = {mark: seq for mark, seq in marks.items() if at[mark] < seq}
        return False

    def _move(self, user: UserId, conv: ConvId, delivery: Delivery, now: int, marks: Mapping[str, Seq]) -> Row | None:
        """One conditional write of `marks`. None when it was done, else the row that forbade it."""
        mark_is_behind = "(attribute_not_exists({0}) OR {0} < :{0})"
        sets = ["updated = :now", *(f"{mark} = :{mark}" for mark in marks)]
        values: dict[str, Any] = {":now": {"N": str(now)}, ":one": {"N": "1"}}
        values |= {f":{mark}": {"N": str(seq)} for mark, seq in marks.items()}
        if LAST in marks:
            newest = delivery.newest
            sets += ["last_n = :last_n", "newest = :newest"]
            values[":last_n"] = {"N": str(newest.n)}
            values[":newest"] = {
                "M": {
                    "kind": {"S": newest.kind},
                    "from": {"S": newest.sender},
                    "ts": {"N": str(newest.ts)},
                    "preview": {"S": preview(newest.kind, newest.body)},
                }
            }
        if READ in marks and delivery.own is not None:
            sets.append("read_n = :read_n")
            values[":read_n"] = {"N": str(delivery.own.n)}
        else:
            sets += ["read_seq = if_not_exists(read_seq, :start_seq)", "read_n = if_not_exists(read_n, :start_n)"]
            values |= {":start_seq": {"N": str(delivery.start_seq)}, ":start_n": {"N": str(delivery.start_n)}}
        try:
            self.client.update_item(
                TableName=self.table,
                Key=keys.row(user, conv),
                UpdateExpression=f"SET {', '.join(sets)} ADD ver :one",
                ConditionExpression=" AND ".join(mark_is_behind.format(mark) for mark in marks),
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return _row_from(e.response["Item"])  # type: ignore[typeddict-item]
        return None

    def mark_read(self, user: UserId, conv: ConvId, seq: Seq, n: int, now: int) -> bool:
        """Move the read mark up to the entry `seq`, whose count is `n`. False when it was there or further. 1 W."""
        read_is_behind = "attribute_not_exists(read_seq) OR read_seq < :seq"
        try:
            self.client.update_item(
                TableName=self.table,
                Key=keys.row(user, conv),
                UpdateExpression="SET read_seq = :seq, read_n = :n, updated = :now ADD ver :one",
                ConditionExpression=read_is_behind,
                ExpressionAttributeValues={
                    ":seq": {"N": str(seq)},
                    ":n": {"N": str(n)},
                    ":now": {"N": str(now)},
                    ":one": {"N": "1"},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def mark_received(self, user: UserId, conv: ConvId, seq: Seq, *, must_be_delivered: bool) -> bool | None:
        """Move the ack mark up to `seq`. False when it was there or further. 1 W.

        With `must_be_delivered`, None when the row has not come that far: then nothing is written. An ack is no news
        for the user's other devices, so it leaves the version of the inbox alone.
        """
        ack_is_behind = "(attribute_not_exists(ack_seq) OR ack_seq < :seq)"
        delivered = "last_seq >= :seq"
        try:
            self.client.update_item(
                TableName=self.table,
                Key=keys.row(user, conv),
                UpdateExpression="SET ack_seq = :seq",
                ConditionExpression=f"{ack_is_behind} AND {delivered}" if must_be_delivered else ack_is_behind,
                ExpressionAttributeValues={":seq": {"N": str(seq)}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            found: Item | None = e.response.get("Item")  # type: ignore[assignment]
            if must_be_delivered and (found is None or int(found.get("last_seq", {"N": "0"})["N"]) < seq):
                return None
            return False
        return True

    def rows(self, user: UserId, *, consistent: bool = False) -> Iterator[Row]:
        """All rows of a user's inbox, those included that no fan-out has reached. ½ R or 1 R a 4 KiB: about 12 rows."""
        start: dict[str, Any] = {}
        while True:
            out = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :user AND begins_with(sk, :rows)",
                ExpressionAttributeValues={":user": {"S": user}, ":rows": {"S": keys.ROW_PREFIX}},
                ConsistentRead=consistent,
                **start,
            )
            for item in out["Items"]:
                yield _row_from(item)
            if "LastEvaluatedKey" not in out:
                return
            start = {"ExclusiveStartKey": out["LastEvaluatedKey"]}


def _row_from(item: Item) -> Row:
    def number(name: str) -> int:
        return int(item[name]["N"]) if name in item else 0

    last = item["newest"]["M"] if "newest" in item else None
    return Row(
        conv=ConvId(cast("str", item["sk"]["S"])[len(keys.ROW_PREFIX) :]),
        last_seq=Seq(number("last_seq")),
        last_n=number("last_n"),
        last=last
        and Last(
            kind=last["kind"]["S"],
            sender=UserId(last["from"]["S"]),
            ts=int(last["ts"]["N"]),
            preview=last["preview"]["S"],
        ),
        read_seq=Seq(number("read_seq")),
        read_n=number("read_n"),
        ack_seq=Seq(number("ack_seq")),
        mention_seq=Seq(number("mention_seq")),
        updated=number("updated"),
        version=number("ver"),
    )
