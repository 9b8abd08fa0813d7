"""The Audience table: which members of large groups may have open connections.

Hints, and nothing hangs on them but the cost of a push: an item too many costs a few reads, because who is a member
and which connections there are is asked elsewhere. An item too few would cost somebody their pushes, so one is written
whenever a connection opens (flows/connect.py), and for the members who are connected already when a group becomes
large and when they join it (flows/fan_out_large.py). Items end with their TTL, shortly after the last connection that
they can be about.

A group is cut into SHARDS partitions by user, so that no partition gets too hot and a fan-out can be cut into parts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from im.domain.ids import ConvId, UserId
from im.domain.signin import SLOT_LIFE_MS
from im.store import keys
from im.store.batches import query_all

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHARDS: Final = 16


def shard_of(user: UserId) -> int:
    """The part of an audience that a user belongs to."""
    return zlib.crc32(user.encode()) % SHARDS


@dataclass(frozen=True, slots=True)
class AudienceStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def add(self, conv: ConvId, user: UserId, opened: int, now: int) -> None:
        """Note that a user may be connected, whose newest connection is the one after `opened` - 1 others. 1 W.

        `not_newer` keeps a note that comes late from standing in for a newer one: `remove` goes by the number.
        """
        not_newer = "attribute_not_exists(opened) OR opened < :opened"
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(conv, user),
                UpdateExpression="SET opened = :opened, #ttl = :ttl",
                ConditionExpression=not_newer,
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues={
                    ":opened": {"N": str(opened)},
                    ":ttl": {"N": str((now + SLOT_LIFE_MS) // 1000)},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def remove(self, conv: ConvId, user: UserId, opened: int) -> None:
        """Forget a user whose last connection has ended. 1 W.

        `not_come_again` closes the race with a connection that opens meanwhile: it is the one after `opened`.
        """
        not_come_again = "opened <= :opened"
        try:
            self.client.delete_item(
                TableName=self.table,
                Key=self._key(conv, user),
                ConditionExpression=not_come_again,
                ExpressionAttributeValues={":opened": {"N": str(opened)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def users(self, conv: ConvId, shard: int, now: int) -> Iterator[UserId]:
        """The users of one shard who may be connected. ½ R for about 50 of them."""
        found = query_all(
            self.client,
            TableName=self.table,
            KeyConditionExpression="pk = :shard",
            # TTL deletes within days, not at once.
            FilterExpression="#ttl > :now",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={
                ":shard": {"S": keys.audience(conv, shard)},
                ":now": {"N": str(now // 1000)},
            },
        )
        return (UserId(item["sk"]["S"]) for item in found)

    @staticmethod
    def _key(conv: ConvId, user: UserId) -> keys.Key:
        return keys.audience_member(conv, shard_of(user), user)
