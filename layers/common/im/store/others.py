"""What the Inbox table says of users to others: how far they have read, whom they meet, and what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from im.domain.conversation import direct_conversation
from im.domain.ids import ConvId, UserId
from im.domain.inbox import UNMARKED, Hideable, Marks
from im.store import keys
from im.store.batches import read_all
from im.store.inbox import InboxStore, hides_from, large_from, row_from

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Company:
    """Whom a user can meet."""

    groups: frozenset[ConvId]
    """The groups that they are in, as far as their own rows say: a large one may be dissolved (`ended`)."""
    large: frozenset[ConvId]
    """Those that are completed by a shared row, and maybe some that they have left."""
    hides: frozenset[str]
    """What they do not show to others, of Hideable."""


@dataclass(frozen=True, slots=True)
class OthersStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str
    inbox: InboxStore
    """The same table's."""

    def marks(self, conv: ConvId, users: Sequence[UserId]) -> dict[UserId, Marks]:
        """How far each of `users` has received and read a conversation, and whether they show it. 1 R each."""
        wanted = [key for user in users for key in (keys.row(user, conv), keys.user(user))]
        found = {(item["pk"]["S"], item["sk"]["S"]): item for item in read_all(self.client, self.table, wanted)}
        out: dict[UserId, Marks] = {}
        for user in users:
            item, about = found.get((user, keys.ROW_PREFIX + conv)), found.get((user, keys.USER), {})
            row = row_from(item) if item is not None else None
            marks = UNMARKED if row is None else row.marks
            out[user] = marks._replace(shown="receipts" not in hides_from(about))
        return out

    def talks_to(self, user: UserId, others: Sequence[UserId]) -> set[UserId]:
        """Those of `others` with whom a user has a direct conversation that has an entry. ½ R each."""
        by_conv = {direct_conversation(user, other).conv: other for other in others}
        found = read_all(self.client, self.table, [keys.row(user, conv) for conv in by_conv])
        return {by_conv[row.conv] for row in map(row_from, found) if row.last_seq}

    def hiding(self, users: Sequence[UserId], what: Hideable) -> set[UserId]:
        """Those of `users` who do not show `what`. ½ R each."""
        found = read_all(self.client, self.table, [keys.user(user) for user in users])
        return {UserId(item["pk"]["S"]) for item in found if what in hides_from(item)}

    def company(self, user: UserId) -> Company:
        """The groups that a user is in, and what they do not show. ½ R a 17 to 30 groups."""
        own, about = self.inbox.own_rows(
            user,
            keys.GROUP_ROW_PREFIX,
            ProjectionExpression="sk, left_seq, hides, #large",
            ExpressionAttributeNames={"#large": "large"},
        )
        return Company(
            groups=frozenset(row.conv for row in own if not row.left_seq),
            large=frozenset(ConvId(conv) for conv in large_from(about)),
            hides=hides_from(about),
        )

    def ended(self, convs: Sequence[ConvId]) -> set[ConvId]:
        """Those large groups of `convs` that are dissolved: their members' own rows need not say so. ½ R each."""
        return {conv for conv, row in self.inbox.shared_rows(convs, consistent=False).items() if row.left_seq}
