"""What groups do to the inboxes of their members: rows that begin and end with a membership, how many groups a user is
in and which of them are large, and up to where the shared row of a large group is prepared.

Part of the Inbox table, whose rows are otherwise those of store/inbox.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from im.domain.entries import Entry
from im.domain.ids import ConvId, Seq, UserId
from im.domain.inbox import NEVER, Row
from im.store import keys
from im.store.batches import read_all, transact
from im.store.inbox import large_from, row_from

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the fan-out of a large group can rely on (flows/fan_out_large.py)."""

    since: Seq
    """All members' rows are completed by the shared one since this change."""
    epoch: Seq
    """All members up to this change who were connected then are in the audience."""


@dataclass(frozen=True, slots=True)
class GroupRowStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def joining(self, user: UserId, entry: Entry, max_groups: int) -> list[dict[str, Any]]:
        """The part of a transaction that opens the row of somebody who joins with `entry`. 4 W.

        Its marks stand at the entry: everything before is read. `count_is_below` keeps a user's groups within their
        limit, whoever adds them to how many at once.
        """
        adds, values = "ADD #count :one", {":one": {"N": "1"}, ":max": {"N": str(max_groups)}}
        if entry.large:
            adds += ", #large :conv"
            values[":conv"] = cast("Any", {"SS": [entry.conv]})
        count_is_below = "attribute_not_exists(#count) OR #count < :max"
        return [
            self._row_update(user, entry, read=Seq(entry.seq if entry.sender == user else entry.seq - 1), left=False),
            {
                "Update": {
                    "TableName": self.table,
                    "Key": keys.user(user),
                    "UpdateExpression": adds,
                    "ConditionExpression": count_is_below,
                    "ExpressionAttributeNames": {"#count": "count"} | ({"#large": "large"} if entry.large else {}),
                    "ExpressionAttributeValues": values,
                }
            },
        ]

    def leaving(self, user: UserId, entry: Entry, shared_mention: Seq) -> list[dict[str, Any]]:
        """The part of a transaction that ends the row of somebody who leaves with `entry`. 4 W.

        Who goes by themself has read everything; who is removed has not, and can still do so. From then on the shared
        row of a large group completes theirs no more, so what it says of mentions goes along.
        """
        read = entry.seq if entry.sender == user else None
        return [
            self._row_update(user, entry, read=read, left=True, shared_mention=shared_mention),
            self._one_group_less(user, entry.conv),
        ]

    def _row_update(
        self, user: UserId, entry: Entry, *, read: Seq | None, left: bool, shared_mention: Seq = NEVER
    ) -> dict[str, Any]:
        sets = ["last_seq = :seq", "last_n = :n", "shown_seq = :seq", "shown_ts = :now", "updated = :now"]
        values: dict[str, Any] = {
            ":seq": {"N": str(entry.seq)},
            ":n": {"N": str(entry.n)},
            ":now": {"N": str(entry.ts)},
            ":one": {"N": "1"},
        }
        if read is not None:
            # `n` counts what is countable, and no change to a group is: it is the same just before the entry.
            sets += ["read_seq = :read", "read_n = :n"]
            values[":read"] = {"N": str(read)}
        if shared_mention:
            sets.append("shared_mention = :mention")  # beside the row's own mark, which other writers move
            values[":mention"] = {"N": str(shared_mention)}
        removes = "" if left else " REMOVE left_seq, uncounted"
        if left:
            sets += ["left_seq = :seq", "uncounted = :true"]
            values[":true"] = {"BOOL": True}
        return {
            "Update": {
                "TableName": self.table,
                "Key": keys.row(user, entry.conv),
                "UpdateExpression": f"SET {', '.join(sets)}{removes} ADD ver :one",
                "ExpressionAttributeValues": values,
            }
        }

    def group_counts(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """How many groups each of `users` is in. ½ R each."""
        found = read_all(self.client, self.table, [keys.user(user) for user in users])
        return {UserId(item["pk"]["S"]): int(item.get("count", {"N": "0"})["N"]) for item in found}

    def large_groups(self, user: UserId) -> list[ConvId]:
        """The large groups that a user is in, as of now; some that they have left may be among them. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.user(user), ConsistentRead=True)
        return sorted(ConvId(conv) for conv in large_from(out.get("Item", {})))

    def share_row(self, user: UserId, conv: ConvId) -> None:
        """From now on complete the user's row of `conv` by the shared one. 1 W."""
        self.client.update_item(
            TableName=self.table,
            Key=keys.user(user),
            UpdateExpression="ADD #large :conv",
            ExpressionAttributeNames={"#large": "large"},
            ExpressionAttributeValues={":conv": {"SS": [conv]}},
        )

    def prepared(self, conv: ConvId) -> Prepared:
        """Up to which state of a large group its fan-out is prepared. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.shared_row(conv), ConsistentRead=True)
        item = out.get("Item", {})
        zero = {"N": "0"}
        return Prepared(Seq(int(item.get("opened", zero)["N"])), Seq(int(item.get("prepared", zero)["N"])))

    def note_prepared(self, conv: ConvId, prepared: Prepared) -> None:
        """Note up to which state the fan-out is prepared. Who notes less does no harm: it is done again. 1 W."""
        self.client.update_item(
            TableName=self.table,
            Key=keys.shared_row(conv),
            UpdateExpression="SET opened = :since, prepared = :epoch",
            ExpressionAttributeValues={
                ":since": {"N": str(prepared.since)},
                ":epoch": {"N": str(prepared.epoch)},
            },
        )

    def shared_mention(self, conv: ConvId) -> Seq:
        """The newest entry that mentions everybody in a large group; 0 without one. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.shared_row(conv), ConsistentRead=True)
        return row_from(out["Item"]).mention_seq if "Item" in out else Seq(0)

    def uncount(self, user: UserId, row: Row) -> bool:
        """Take a dissolved group off a user's count. False when that was done already. 4 W.

        `row` is the user's as it is read: it is kept so, because nothing completes it from then on. (Its marks are
        final once it has a `left_seq`; before that the group stays on the user's list of large ones.)
        """
        not_taken_off = "attribute_exists(pk) AND attribute_not_exists(uncounted)"
        sets, values = ["uncounted = :true"], {":true": cast("Any", {"BOOL": True})}
        if row.left_seq and row.shown is not None:
            sets += [
                "last_seq = :seq",
                "last_n = :n",
                "left_seq = :left",
                "shown_seq = :shown_seq",
                "shown_ts = :shown_ts",
                "shared_mention = :mention",
            ]
            values |= {
                ":seq": {"N": str(row.last_seq)},
                ":n": {"N": str(row.last_n)},
                ":left": {"N": str(row.left_seq)},
                ":mention": {"N": str(row.mention_seq)},
                ":shown_seq": {"N": str(row.shown.seq)},
                ":shown_ts": {"N": str(row.shown.ts)},
            }
        writes: list[dict[str, Any]] = [
            {
                "Update": {
                    "TableName": self.table,
                    "Key": keys.row(user, row.conv),
                    "UpdateExpression": f"SET {', '.join(sets)} ADD ver :one",
                    "ConditionExpression": not_taken_off,
                    "ExpressionAttributeValues": values | {":one": {"N": "1"}},
                }
            },
            self._one_group_less(user, row.conv, still_large=not row.left_seq),
        ]
        return not transact(self.client, writes)

    def _one_group_less(self, user: UserId, conv: ConvId, *, still_large: bool = False) -> dict[str, Any]:
        names, values = {"#count": "count"}, {":less": cast("Any", {"N": "-1"})}
        if not still_large:
            names["#large"] = "large"
            values[":conv"] = {"SS": [conv]}
        return {
            "Update": {
                "TableName": self.table,
                "Key": keys.user(user),
                "UpdateExpression": "ADD #count :less" + ("" if still_large else " DELETE #large :conv"),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }
