"""The Connection table: one item a user, one attribute a slot (domain/signin.py).

An item outlives its slots by 30 days, because it also says when the last one was emptied. So slots whose connection
ended without a `$disconnect` stay in it too: whoever reads slots asks each whether it is alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from im.domain.ids import ConnectionId, DeviceId, UserId
from im.domain.presence import LAST_SEEN_LIFE_MS
from im.domain.signin import SLOT_LIFE_MS, Slot
from im.store import keys
from im.store.batches import read_all

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UserConnections:
    """What is known of a user's connections."""

    slots: list[Slot]
    opened: int
    """How many they have ever opened: tells a connection from those before it, whatever the clocks say."""
    last_end: int | None = None
    """When a slot was emptied last, milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ConnectionStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def register(self, user: UserId, slot: Slot) -> UserConnections | None:
        """Put `slot`, replacing what it held. Returns all slots as they were before, and how many connections the
        user has opened with this one; None when it holds one that was asked for later. 1 W.

        One write that answers with what it replaced: of two devices that come at once, one sees the other, whatever
        the order.
        """
        asked = {"N": str(slot.asked)}
        try:
            out = self.client.update_item(
                TableName=self.table,
                Key=keys.connections(user),
                UpdateExpression="SET #slot = :slot, #ttl = :ttl ADD opened :one",
                # Not there in slots that were taken under an earlier version.
                ConditionExpression="attribute_not_exists(#slot.asked) OR #slot.asked <= :asked",
                ExpressionAttributeNames={"#slot": keys.SLOT_PREFIX + slot.name, "#ttl": "ttl"},
                ExpressionAttributeValues={
                    ":slot": {
                        "M": {
                            "connection": {"S": slot.connection},
                            "device": {"S": slot.device},
                            "platform": {"S": slot.platform},
                            "since": {"N": str(slot.since)},
                            "asked": asked,
                        }
                    },
                    ":asked": asked,
                    ":ttl": {"N": str((slot.since + SLOT_LIFE_MS + LAST_SEEN_LIFE_MS) // 1000)},
                    ":one": {"N": "1"},
                },
                ReturnValues="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        before = _connections_from(out.get("Attributes", {}))
        return replace(before, opened=before.opened + 1)

    def drop(self, user: UserId, slot: str, connection: ConnectionId, now: int) -> UserConnections | None:
        """Empty a slot, if it still holds `connection`. Returns what is left; None when it does not hold it. 1 W.

        Each time notes when, though only the last slot's end is asked for: one write need not know which that is.

        Closes the race of an old connection's end with the same device's new one: the slot may be theirs by now.
        """
        still_holds_it = "#slot.#connection = :connection"
        try:
            out = self.client.update_item(
                TableName=self.table,
                Key=keys.connections(user),
                UpdateExpression="SET last_end = :now REMOVE #slot",
                ConditionExpression=still_holds_it,
                ExpressionAttributeNames={"#slot": keys.SLOT_PREFIX + slot, "#connection": "connection"},
                ExpressionAttributeValues={":connection": {"S": connection}, ":now": {"N": str(now)}},
                ReturnValues="ALL_NEW",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return _connections_from(out["Attributes"])

    def slots(self, user: UserId) -> list[Slot]:
        """The slots of one user, consistent. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.connections(user), ConsistentRead=True)
        return _connections_from(out.get("Item", {})).slots

    def of(self, users: Sequence[UserId], *, consistent: bool = False) -> dict[UserId, UserConnections]:
        """The connections of the users who have any. ½ R or 1 R a user, 100 users a call."""
        return {user: these for user, these in self._known(users, consistent=consistent) if these.slots}

    def known(self, users: Sequence[UserId]) -> dict[UserId, UserConnections]:
        """What is known of the users who have connections, or had some lately. ½ R a user, 100 users a call."""
        return dict(self._known(users, consistent=False))

    def _known(self, users: Sequence[UserId], *, consistent: bool) -> Iterator[tuple[UserId, UserConnections]]:
        found = read_all(self.client, self.table, [keys.connections(user) for user in users], consistent=consistent)
        return ((UserId(item["pk"]["S"]), _connections_from(item)) for item in found)


def _connections_from(item: Item) -> UserConnections:
    return UserConnections(
        slots=_slots_from(item),
        opened=int(item.get("opened", {"N": "0"})["N"]),
        last_end=int(item["last_end"]["N"]) if "last_end" in item else None,
    )


def _slots_from(item: Item) -> list[Slot]:
    return [
        Slot(
            name=name[len(keys.SLOT_PREFIX) :],
            connection=ConnectionId(value["M"]["connection"]["S"]),
            device=DeviceId(value["M"]["device"]["S"]),
            platform=value["M"]["platform"]["S"],
            since=int(value["M"]["since"]["N"]),
            asked=int(value["M"].get("asked", {"N": "0"})["N"]),
        )
        for name, value in item.items()
        if name.startswith(keys.SLOT_PREFIX)
    ]
