"""What the Inbox table says of users to others: how far they have read, whom they meet, and what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from im.domain.ids import ConvId, UserId
from im.domain.inbox import UNMARKED, Marks
from im.store import keys
from im.store.batches import read_all
from im.store.inbox import hides_from, row_from

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class OthersStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def marks(self, conv: ConvId, users: Sequence[UserId]) -> dict[UserId, Marks]:
        """How far each of `users` has received and read a conversation, and whether they show it. 1 R each."""
        wanted = [key for user in users for key in (keys.row(user, conv), keys.user(user))]
        found = {(item["pk"]["S"], item["sk"]["S"]): item for item in read_all(self.client, self.table, wanted)}
        out: dict[UserId, Marks] = {}
        for user in users:
            item, about = found.get((user, keys.ROW_PREFIX + conv)), found.get((user, keys.USER), {})
            row = row_from(item) if item is not None else None
            marks = UNMARKED if row is None else Marks(row.read_seq, row.ack_seq, shown=True)
            out[user] = marks._replace(shown="receipts" not in hides_from(about))
        return out
