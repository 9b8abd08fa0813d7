"""Red packets: what they are, who has claimed them, who has sent and received which.

Costs: W is a write unit (1 KiB), R a read unit (4 KiB). An open packet is one item that holds its claims: some 0.4 KiB,
and some 7 bytes and the user's id for each claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from botocore.exceptions import ClientError

from im.domain.entries import Entry
from im.domain.errors import Unavailable
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.red_packet import Kind, Packet, PacketId, State, Terms
from im.store import keys
from im.store.batches import read_all, transact
from im.store.conversations import CMID_LIFE_S, entry_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DUE: Final = "due"
"""The index of packets by the time when something is to be done about them."""

DUE_SHARDS: Final = 4
"""Parts of that index: each takes 1,000 packets a second."""

THROTTLED: Final = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
"""One item takes 1,000 W a second. boto3 has tried three times by then; nothing was written."""

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim that was made."""

    packet: Packet
    place: int
    """Its share, from 0."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not made. Nothing was written."""

    packet: Packet
    """The packet that says why."""


class Published(NamedTuple):
    """What became of a packet's message. Nothing was written if one of these is true."""

    seq_taken: bool = False
    """Another entry stands where it was to stand."""
    cmid_known: bool = False
    """An entry of the sender has this `cmid`."""
    not_new: bool = False
    """The packet is not new any more."""

    @property
    def done(self) -> bool:
        """Whether it is written."""
        return not any(self)


class Reference(NamedTuple):
    """That a user has sent or received a packet."""

    packet: PacketId
    ts: int
    amount: int
    """What they received; of a sent packet its total."""

    @property
    def cursor(self) -> str:
        """Where a page begins that goes on after it."""
        return keys.place_of_packet(self.ts, self.packet)


@dataclass(frozen=True, slots=True)
class PacketStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    # ---- creation ----------------------------------------------------------------------------------------------------

    def begin(self, terms: Terms, shares: Sequence[int], due: int) -> bool:
        """Store a new packet with its shares; False when there is one of that id. 4 W and more by their size.

        One transaction: of two requests with one id, one decides both what the packet is and how it is split.
        """
        unknown = "attribute_not_exists(pk)"
        unmet = transact(
            self.client,
            [
                self._put(_packet_item(terms, due), unknown),
                self._put({**keys.shares(terms.packet), "shares": {"L": [_number(n) for n in shares]}}, unknown),
            ],
        )
        return not unmet

    def publish(self, terms: Terms, entry: Entry, conversations: str, expires: int) -> Published:
        """Give a new packet its message in the log, which makes it open. 8 W: a transaction of 1 KiB and three items.

        Three conditions decide. The entry's place in the log is free, as for any entry. The packet is *new*, and of the
        amount that was held: whoever repeats the request, or cancels the packet, finds one message or none. No entry of
        the sender has this `cmid`, which is noted as for any message (`ConversationStore.claim_cmid`).
        """
        now_s = entry.ts // 1000
        note = {
            **keys.cmid(entry.conv, entry.sender, terms.cmid),
            "first": _number(entry.seq),
            "ttl": _number(now_s + CMID_LIFE_S),
        }
        is_free = "attribute_not_exists(pk)"
        unknown_or_expired = "attribute_not_exists(pk) OR #ttl < :now"
        is_new = "#state = :new AND #total = :total"
        try:
            unmet = transact(
                self.client,
                [
                    {
                        "Put": {
                            "TableName": conversations,
                            "Item": entry_item(entry),
                            "ConditionExpression": is_free,
                        }
                    },
                    {
                        "Put": {
                            "TableName": conversations,
                            "Item": note,
                            "ConditionExpression": unknown_or_expired,
                            "ExpressionAttributeNames": {"#ttl": "ttl"},
                            "ExpressionAttributeValues": {":now": _number(now_s)},
                        }
                    },
                    {
                        "Update": {
                            "TableName": self.table,
                            "Key": keys.packet(terms.packet),
                            "UpdateExpression": (
                                "SET #state = :open, seq = :seq, opened = :opened, expires = :expires, due = :expires"
                            ),
                            "ConditionExpression": is_new,
                            "ExpressionAttributeNames": {"#state": "state", "#total": "total"},
                            "ExpressionAttributeValues": {
                                ":new": {"S": "new"},
                                ":total": _number(terms.total),
                                ":open": {"S": "open"},
                                ":seq": _number(entry.seq),
                                ":opened": _number(entry.ts),
                                ":expires": _number(expires),
                            },
                        }
                    },
                ],
                # Once: whoever is in the way writes to the log or ends the packet, so that the same write would fail.
                attempts=1,
            )
        except Unavailable:
            return Published(seq_taken=True)
        return Published(*unmet) if unmet else Published()

    # ---- claims ------------------------------------------------------------------------------------------------------

    def claim(self, packet: PacketId, count: int, user: UserId, opened: int, now: int) -> Claimed | Refused:
        """Claim the next share of an open packet for `user`. 1 W a KiB of the packet, claimed or refused.

        The one write that decides: DynamoDB makes the updates of one item one after the other. What its condition says,
        holds at that moment, so at most `count` claims are made, at most one a user, none after the end. No two
        requests wait for each other, and no transaction can conflict. Raises Unavailable when more claims come than one
        item takes.
        """
        is_open = "#state = :open"
        has_shares = "size(claimers) < :count"
        not_yet = "NOT contains(claimers, :user)"
        in_time = "expires > :now"
        try:
            out = self.client.update_item(
                TableName=self.table,
                Key=keys.packet(packet),
                UpdateExpression="SET claimers = list_append(claimers, :claimer), times = list_append(times, :time)",
                ConditionExpression=f"{is_open} AND {has_shares} AND {not_yet} AND {in_time}",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={
                    ":open": {"S": "open"},
                    ":count": _number(count),
                    ":user": {"S": user},
                    ":now": _number(now),
                    ":claimer": {"L": [{"S": user}]},
                    ":time": {"L": [_number(now - opened)]},
                },
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return Refused(packet_from(_old(e)))
        except ClientError as e:
            if e.response["Error"]["Code"] not in THROTTLED:
                raise
            raise Unavailable("many claim this red packet at once", 300) from e
        claimed = packet_from(out["Attributes"])
        return Claimed(claimed, claimed.claimers.index(user))

    # ---- ends --------------------------------------------------------------------------------------------------------

    def close(self, packet: PacketId, now: int) -> bool:
        """End a packet whose time is over. False when it is not open, or not over. 1 W a KiB, 1 W for the index.

        Closes the race with the last claim: both are updates of one item. A claim that comes first is in what the
        closed packet says, one that comes later is refused.
        """
        is_open = "#state = :open"
        is_over = "expires <= :now"
        return self._end(packet, "closed", now, f"{is_open} AND {is_over}", {":open": {"S": "open"}})

    def cancel(self, packet: PacketId, now: int) -> bool:
        """End a packet that has no message yet. False when it is not new. 1 W, 1 W for the index.

        Closes the race with `publish`: both are conditional on the packet's being new.
        """
        return self._end(packet, "cancelled", now, "#state = :new", {":new": {"S": "new"}})

    def _end(self, packet: PacketId, state: State, now: int, condition: str, values: dict[str, Any]) -> bool:
        used: dict[str, Any] = {":now": _number(now), ":state": {"S": state}}
        try:
            self.client.update_item(
                TableName=self.table,
                Key=keys.packet(packet),
                UpdateExpression="SET #state = :state, ended = :now REMOVE due_shard, due",
                ConditionExpression=condition,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=used | values,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def due(self, shard: int, now: int, limit: int, after: Item | None) -> tuple[list[PacketId], Item | None]:
        """Packets of one shard whose time is over, the oldest first, and after what the next page begins; None at the
        end. ½ R a 4 KiB. The index lags behind a little: it names packets that have ended."""
        start: Any = {"ExclusiveStartKey": after} if after is not None else {}
        out = self.client.query(
            TableName=self.table,
            IndexName=DUE,
            KeyConditionExpression="due_shard = :shard AND due <= :now",
            ExpressionAttributeValues={":shard": _number(shard), ":now": _number(now)},
            Limit=limit,
            **start,
        )
        return [PacketId(item["pk"]["S"]) for item in out["Items"]], out.get("LastEvaluatedKey")

    # ---- reads -------------------------------------------------------------------------------------------------------

    def packet(self, packet: PacketId) -> Packet | None:
        """A packet as of now. 1 R a 4 KiB."""
        out = self.client.get_item(TableName=self.table, Key=keys.packet(packet), ConsistentRead=True)
        return packet_from(out["Item"]) if "Item" in out else None

    def packets(self, packets: Sequence[PacketId]) -> dict[PacketId, Packet]:
        """Those of `packets` that there are. ½ R a 4 KiB each."""
        found = read_all(self.client, self.table, [keys.packet(packet) for packet in dict.fromkeys(packets)])
        return {packet.terms.packet: packet for packet in map(packet_from, found)}

    def shares(self, packet: PacketId) -> tuple[int, ...]:
        """The shares of a stored packet, which never change. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.shares(packet), ConsistentRead=True)
        return tuple(int(share["N"]) for share in out["Item"]["shares"]["L"])

    # ---- whose packets -----------------------------------------------------------------------------------------------

    def note(self, which: keys.Which, user: UserId, reference: Reference) -> None:
        """Note that a user has sent or received a packet. Repeats are one note. 1 W."""
        self.client.put_item(
            TableName=self.table,
            Item={
                **keys.of_user(which, user, reference.ts, reference.packet),
                "amount": _number(reference.amount),
            },
        )

    def noted(self, packet: Packet) -> set[UserId]:
        """Those of a packet's claimers of whom it is noted that they have received it. 1 R each."""
        opened, name = packet.opened, packet.terms.packet
        wanted = [
            keys.of_user("received", user, opened + time, name)
            for user, time in zip(packet.claimers, packet.times, strict=True)
        ]
        found = read_all(self.client, self.table, wanted, consistent=True)
        return {UserId(item["pk"]["S"]) for item in found}

    def of_user(
        self, which: keys.Which, user: UserId, before: str | None, limit: int
    ) -> tuple[list[Reference], str | None]:
        """What a user has sent or received, the newest first, and where the next page begins. ½ R a 4 KiB."""
        prefix = keys.PACKET_PREFIXES[which]
        start = {"ExclusiveStartKey": {"pk": {"S": user}, "sk": {"S": prefix + before}}} if before is not None else {}
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :user AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":user": {"S": user}, ":prefix": {"S": prefix}},
            ScanIndexForward=False,
            Limit=limit,
            **start,  # type: ignore[arg-type]
        )
        found = []
        for item in out["Items"]:
            ts, _, packet = item["sk"]["S"][len(prefix) :].partition("#")
            found.append(Reference(PacketId(packet), int(ts), int(item["amount"]["N"])))
        return found, found[-1].cursor if "LastEvaluatedKey" in out and found else None

    def _put(self, item: dict[str, Any], condition: str) -> dict[str, Any]:
        return {"Put": {"TableName": self.table, "Item": item, "ConditionExpression": condition}}


def due_shard(packet: PacketId) -> int:
    """The part of the index `due` that a packet is in."""
    return sum(packet.encode()) % DUE_SHARDS


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _old(error: ClientError) -> Item:
    return cast("Item", error.response["Item"])  # type: ignore[typeddict-item]


def _packet_item(terms: Terms, due: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        **keys.packet(terms.packet),
        "conv": {"S": terms.conv},
        "sender": {"S": terms.sender},
        "kind": {"S": terms.kind},
        "total": _number(terms.total),
        "count": _number(terms.count),
        "greeting": {"S": terms.greeting},
        "cmid": {"S": terms.cmid},
        "created": _number(terms.created),
        "state": {"S": "new"},
        "claimers": {"L": []},
        "times": {"L": []},
        "due_shard": _number(due_shard(terms.packet)),
        "due": _number(due),
    }
    if terms.to is not None:
        item["to"] = {"S": terms.to}
    return item


def packet_from(item: Item) -> Packet:
    """The packet that was stored as `item`."""

    def number(name: str) -> int:
        return int(item[name]["N"]) if name in item else 0

    return Packet(
        terms=Terms(
            packet=PacketId(item["pk"]["S"]),
            conv=ConvId(item["conv"]["S"]),
            sender=UserId(item["sender"]["S"]),
            kind=cast("Kind", item["kind"]["S"]),
            total=number("total"),
            count=number("count"),
            to=UserId(item["to"]["S"]) if "to" in item else None,
            greeting=item["greeting"]["S"],
            cmid=Cmid(item["cmid"]["S"]),
            created=number("created"),
        ),
        state=cast("State", item["state"]["S"]),
        seq=Seq(number("seq")),
        opened=number("opened"),
        expires=number("expires"),
        claimers=tuple(UserId(user["S"]) for user in item["claimers"]["L"]),
        times=tuple(int(time["N"]) for time in item["times"]["L"]),
    )
