"""The Inbox table: one row a user and conversation, made of watermarks (domain/inbox.py).

Every write moves a watermark forward under the condition that it is behind, so repeats change nothing and the order
of arrival does not matter. Every write but an ack also adds one to `ver`, the row's part of the inbox version. What was
said stands in the log alone: docs/decisions/0009-changes-of-messages.md.

More kinds of items: what concerns all of a user's inbox (`USER`), what they have deleted for themself (`WITHOUT#`), and
for each large group the row that its members share (`SHARED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from im.domain.entries import Entry
from im.domain.ids import ConvId, Seq, UserId
from im.domain.inbox import NEVER, Inbox, Marks, Row, Shown
from im.store import keys
from im.store.batches import query_all, read_all

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]

LAST: Final = "last_seq"
READ: Final = "read_seq"
MENTION: Final = "mention_seq"
SHOWN: Final = "shown_seq"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a batch of entries does to the row of one member."""

    newest: Entry
    shown: Entry | None
    """The newest entry of the batch that a conversation list shows."""
    own: Entry | None
    """The newest message of the batch that the member sent: they have read everything up to it."""
    mention: Seq
    """The newest entry of the batch that mentions the member; 0 without one."""
    ends: bool = False
    """Whether the conversation ends with `newest`: its group is dissolved."""


@dataclass(frozen=True, slots=True)
class InboxStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def deliver(self, user: UserId, conv: ConvId, delivery: Delivery, now: int) -> bool:
        """Move a row's marks up to the batch. False when nothing was left to move. 1 W; rarely 2 or 3."""
        return self._deliver(keys.row(user, conv), delivery, now)

    def deliver_to_all(self, conv: ConvId, delivery: Delivery, now: int) -> bool:
        """Move the marks of the row that the members of a large group share. False when nothing was left. 1 W."""
        return self._deliver(keys.shared_row(conv), delivery, now)

    def _deliver(self, key: keys.Key, delivery: Delivery, now: int) -> bool:
        """Up to four marks in one write: `last`, `shown` when the batch has something to show, `read` when the member
        said something in it, `mention` when somebody mentioned them. When one of them is already further (a reader was
        faster, or the batch comes late), the condition fails and the row that it returns says which; the others are
        moved without it. Marks never move back, so each failure leaves fewer of them to move.
        """
        marks = {LAST: delivery.newest.seq}
        if delivery.shown is not None:
            marks[SHOWN] = delivery.shown.seq
        if delivery.own is not None:
            marks[READ] = delivery.own.seq
        if delivery.mention:
            marks[MENTION] = delivery.mention
        while marks:
            found = self._move(key, delivery, now, marks)
            if found is None:
                return True
            shown = found.shown.seq if found.shown is not None else NEVER
            at = {LAST: found.last_seq, SHOWN: shown, READ: found.read_seq, MENTION: found.mention_seq}
            marks = {mark: seq for mark, seq in marks.items() if at[mark] < seq}
        return False

    def _move(self, key: keys.Key, delivery: Delivery, now: int, marks: Mapping[str, Seq]) -> Row | None:
        """One conditional write of `marks`. None when it was done, else the row that forbade it."""
        mark_is_behind = "(attribute_not_exists({0}) OR {0} < :{0})"
        sets = ["updated = :now", *(f"{mark} = :{mark}" for mark in marks)]
        values: dict[str, Any] = {":now": {"N": str(now)}, ":one": {"N": "1"}}
        values |= {f":{mark}": {"N": str(seq)} for mark, seq in marks.items()}
        if LAST in marks:
            sets.append("last_n = :last_n")
            values[":last_n"] = {"N": str(delivery.newest.n)}
            if delivery.ends:
                sets.append("left_seq = :last_seq")
        if SHOWN in marks and delivery.shown is not None:
            sets.append("shown_ts = :shown_ts")
            values[":shown_ts"] = {"N": str(delivery.shown.ts)}
        if READ in marks and delivery.own is not None:
            sets.append("read_n = :read_n")
            values[":read_n"] = {"N": str(delivery.own.n)}
        try:
            self.client.update_item(
                TableName=self.table,
                Key=key,
                UpdateExpression=f"SET {', '.join(sets)} ADD ver :one",
                ConditionExpression=" AND ".join(mark_is_behind.format(mark) for mark in marks),
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return row_from(e.response["Item"])  # type: ignore[typeddict-item]
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

    def marks(self, users: Sequence[UserId], conv: ConvId) -> dict[UserId, Marks]:
        """Up to where some users have acknowledged and read a conversation; of those who have a row. ½ R a user."""
        wanted = [keys.row(user, conv) for user in users]
        rows = {item["pk"]["S"]: row_from(item) for item in read_all(self.client, self.table, wanted)}
        return {UserId(user): row.marks for user, row in rows.items()}

    def row(self, user: UserId, conv: ConvId) -> Row | None:
        """One row as of now, completed where its group is large. 2 R, and 1 R more for a large group."""
        wanted = [keys.row(user, conv), keys.user(user)]
        found = {item["sk"]["S"]: item for item in read_all(self.client, self.table, wanted, consistent=True)}
        if (item := found.get(keys.ROW_PREFIX + conv)) is None:
            return None
        row = row_from(item)
        is_shared = conv in large_from(found.get(keys.USER, {})) and not row.left_seq
        shared = self.shared_rows([conv], consistent=True) if is_shared else {}
        return row.completed_by(shared[conv]) if conv in shared else row

    def set_row(self, user: UserId, conv: ConvId, sets: Mapping[str, bool | str | int | None], now: int) -> None:
        """Set `muted`, `pinned`, `draft`, `hidden_n` of a conversation; what is false, empty or None goes.

        1 W (more for a draft of more than 800 bytes). Of two devices the later one wins, field by field.
        """
        values: dict[str, Any] = {":now": {"N": str(now)}, ":one": {"N": "1"}}
        changes, removes = ["updated = :now"], []
        for name, value in sets.items():
            if value is None or value is False or value == "":
                removes.append(name)
            else:
                changes.append(f"{name} = :{name}")
                values[f":{name}"] = {"BOOL": True} if value is True else {"S" if name == "draft" else "N": str(value)}
        removed = f" REMOVE {', '.join(removes)}" if removes else ""
        self.client.update_item(
            TableName=self.table,
            Key=keys.row(user, conv),
            UpdateExpression=f"SET {', '.join(changes)}{removed} ADD ver :one, rev :one",
            ExpressionAttributeValues=values,
        )

    def hides(self, user: UserId) -> frozenset[str]:
        """What a user does not show to others. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.user(user), ConsistentRead=True)
        return hides_from(out.get("Item", {}))

    def set_hidden(self, user: UserId, what: str, *, hidden: bool) -> frozenset[str]:
        """Show something to others, or do not; all that is not shown. 1 W."""
        out = self.client.update_item(
            TableName=self.table,
            Key=keys.user(user),
            UpdateExpression="ADD ver :one, hides :what" if hidden else "ADD ver :one DELETE hides :what",
            ExpressionAttributeValues={":one": {"N": "1"}, ":what": {"SS": [what]}},
            ReturnValues="ALL_NEW",
        )
        return hides_from(out["Attributes"])

    def rows(self, user: UserId, *, consistent: bool = False) -> list[Row]:
        """All rows of a user's inbox: see `whole`."""
        return self.whole(user, consistent=consistent).rows

    def whole(self, user: UserId, *, consistent: bool = False, versions_alone: bool = False) -> Inbox:
        """A user's inbox: all rows, those included that no fan-out has reached, completed where a group is large.

        ½ R or 1 R a 4 KiB: 17 to 30 rows, by the length of ids; and as much again for each large group. With
        `versions_alone` rows say nothing but how often they were written: as dear, and parsed in a third of the time.
        """
        projected: dict[str, Any] = {}
        if versions_alone:
            projected["ProjectionExpression"] = "sk, ver, left_seq, #large"
            projected["ExpressionAttributeNames"] = {"#large": "large"}
        own, about = self.own_rows(user, keys.ROW_PREFIX, consistent=consistent, **projected)
        # Whoever has left sees nothing that came later, so their row is what it was then.
        large = large_from(about)
        shared = self.shared_rows(
            [row.conv for row in own if row.conv in large and not row.left_seq], consistent=consistent
        )
        return Inbox(
            rows=[row.completed_by(shared[row.conv]) if row.conv in shared else row for row in own],
            hides=hides_from(about),
            version=int(about.get("ver", {"N": "0"})["N"]),
        )

    def own_rows(
        self, user: UserId, first: str, *, consistent: bool = False, **projected: Any
    ) -> tuple[list[Row], Item]:
        """A user's rows whose sort keys begin at `first`, as they are stored, and what concerns all of the inbox."""
        own: list[Row] = []
        about: Item = {}
        for item in query_all(
            self.client,
            TableName=self.table,
            KeyConditionExpression="pk = :user AND sk BETWEEN :first AND :user_item",
            ExpressionAttributeValues={
                ":user": {"S": user},
                ":first": {"S": first},
                ":user_item": {"S": keys.USER},
            },
            ConsistentRead=consistent,
            **projected,
        ):
            if item["sk"]["S"] == keys.USER:
                about = item
            else:
                own.append(row_from(item))
        return own, about

    def shared_rows(self, convs: Sequence[ConvId], *, consistent: bool) -> dict[ConvId, Row]:
        wanted = [keys.shared_row(conv) for conv in convs]
        found = read_all(self.client, self.table, wanted, consistent=consistent)
        return {ConvId(item["pk"]["S"]): row_from(item) for item in found}


def hides_from(item: Item) -> frozenset[str]:
    return frozenset(item.get("hides", {"SS": []})["SS"])


def large_from(item: Item) -> set[str]:
    return set(item.get("large", {"SS": []})["SS"])


def row_from(item: Item) -> Row:
    def number(name: str) -> int:
        return int(item[name]["N"]) if name in item else 0

    return Row(
        conv=ConvId(cast("str", item["sk"]["S"])[len(keys.ROW_PREFIX) :]),
        last_seq=Seq(number("last_seq")),
        last_n=number("last_n"),
        shown=Shown(Seq(number("shown_seq")), number("shown_ts")) if "shown_seq" in item else None,
        read_seq=Seq(number("read_seq")),
        read_n=number("read_n"),
        ack_seq=Seq(number("ack_seq")),
        mention_seq=Seq(max(number("mention_seq"), number("shared_mention"))),
        updated=number("updated"),
        version=number("ver"),
        left_seq=Seq(number("left_seq")),
        muted="muted" in item,
        pinned="pinned" in item,
        draft=item["draft"]["S"] if "draft" in item else "",
        hidden_n=number("hidden_n") if "hidden_n" in item else None,
        rev=number("rev"),
        deleted=number("deleted"),
    )
