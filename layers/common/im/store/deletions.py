"""What users have deleted for themself: one item a user and conversation in the Inbox table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from im.domain.deletions import Deletions
from im.domain.ids import ConvId, UserId
from im.store import keys
from im.store.batches import chunks, read_all, transact

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class DeletionStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def of(self, user: UserId, conv: ConvId) -> Deletions:
        """What a user has deleted of a conversation. 1 R a 4 KiB: about 400 ranges."""
        out = self.client.get_item(TableName=self.table, Key=keys.deleted(user, conv), ConsistentRead=True)
        return _deletions_from(out["Item"]) if "Item" in out else Deletions()

    def of_all(self, user: UserId, convs: Sequence[ConvId]) -> dict[ConvId, Deletions]:
        """What a user has deleted of those of `convs` of which they have deleted anything. ½ R each."""
        found = read_all(self.client, self.table, [keys.deleted(user, conv) for conv in convs])
        return {ConvId(item["sk"]["S"][len(keys.DELETED_PREFIX) :]): _deletions_from(item) for item in found}

    def grow(self, user: UserId, conv: ConvId, grown: Deletions, now: int) -> bool:
        """Store `grown`, and its version in the row, which tells the user's other devices. 4 W, and 2 W a KiB more.

        False, and nothing is written, when `is_the_one_before` is not met: another device was faster.
        """
        is_the_one_before = "attribute_not_exists(pk)" if grown.version == 1 else "version = :before"
        values: dict[str, Any] = {} if grown.version == 1 else {":before": {"N": str(grown.version - 1)}}
        item = {
            **keys.deleted(user, conv),
            "version": {"N": str(grown.version)},
            "ranges": {"L": [{"N": str(seq)} for pair in grown.ranges for seq in pair]},
        }
        put = {"TableName": self.table, "Item": item, "ConditionExpression": is_the_one_before}
        row = {
            "TableName": self.table,
            "Key": keys.row(user, conv),
            "UpdateExpression": "SET deleted = :version, updated = :now ADD ver :one",
            "ExpressionAttributeValues": {
                ":version": {"N": str(grown.version)},
                ":now": {"N": str(now)},
                ":one": {"N": "1"},
            },
        }
        put |= {"ExpressionAttributeValues": values} if values else {}
        return not transact(self.client, [{"Put": put}, {"Update": row}])


def _deletions_from(item: Mapping[str, Any]) -> Deletions:
    seqs = [int(seq["N"]) for seq in item["ranges"]["L"]]
    return Deletions(int(item["version"]["N"]), tuple((first, last) for first, last in chunks(seqs, 2)))
