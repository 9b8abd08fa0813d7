"""The Conversation table: a group's head and members, the log of entries, and the marks that make sends idempotent.

Costs: W is a write unit (1 KiB), R a read unit (4 KiB; an eventually consistent read takes half of one).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from botocore.exceptions import ClientError

from im.domain.conversation import GroupHead, JoinMode, Member, Role
from im.domain.entries import EMPTY, Entry, Tail, tail_at
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.store import keys
from im.store.batches import read_all, write_all

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CMID_LIFE_S: Final = 14 * 24 * 60 * 60
"""How long a `cmid` is remembered, from its first try on. Twice the seven days that the protocol promises from its
entry on: the entry may have been stored by a late retry."""

Item = Mapping[str, Any]


class Page(NamedTuple):
    """Some entries in order."""

    entries: list[Entry]
    whole: bool
    """Whether the range that was asked for holds nothing more."""


@dataclass(frozen=True, slots=True)
class ConversationStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    # ---- the log -----------------------------------------------------------------------------------------------------

    def tail(self, conv: ConvId, *, consistent: bool = False) -> Tail:
        """The newest entry, as far as the next one depends on it; EMPTY for an empty log. ½ R a 4 KiB of that entry."""
        page = self._entries(conv, 1, keys.MAX_SEQ, limit=1, ascending=False, consistent=consistent)
        return tail_at(page.entries[0]) if page.entries else EMPTY

    def entry(self, conv: ConvId, seq: Seq) -> Entry | None:
        """One entry. ½ R; 1½ R when it is not there yet for an eventually consistent read."""
        for consistent in (False, True):
            out = self.client.get_item(TableName=self.table, Key=keys.entry(conv, seq), ConsistentRead=consistent)
            if item := out.get("Item"):
                return _entry_from(item)
        return None

    def entries(self, conv: ConvId, first: int, last: int, *, limit: int, ascending: bool, consistent: bool) -> Page:
        """Up to `limit` entries with first ≤ seq ≤ last, in one Query of at most 1 MiB. ½ R or 1 R a 4 KiB.

        The page has no hole: where a replica lags behind, what comes after the gap is left out.
        """
        if first > last:
            return Page([], whole=True)
        page = self._entries(conv, first, last, limit=limit, ascending=ascending, consistent=consistent)
        step = 1 if ascending else -1
        # Ascending, the first place is known too: DynamoDB promises no snapshot, and might have passed it too early.
        expected = first if ascending else (page.entries[0].seq if page.entries else last)
        for i, entry in enumerate(page.entries):
            if entry.seq != expected:
                return Page(page.entries[:i], whole=False)
            expected += step
        return page

    def append(self, entry: Entry) -> Entry | None:
        """Store `entry` at its seq. None when it is stored; else the entry that stands there already. 1 W a KiB.

        The write that gives an entry its place is the write that stores it: two senders who saw the same tail race
        for the same key, DynamoDB lets one win, and the other learns in the same answer what the new tail is. The
        caller has seen the entry before this one, so the log has no holes, whoever crashes when.
        """
        seq_is_free = "attribute_not_exists(pk)"
        try:
            self.client.put_item(
                TableName=self.table,
                Item=_entry_item(entry),
                ConditionExpression=seq_is_free,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return _entry_from(_old(e))
        return None

    def claim_cmid(self, conv: ConvId, sender: UserId, cmid: Cmid, first: Seq, now_s: int) -> Seq:
        """Note that `cmid`, if it has an entry at all, has it at `first` or later. Returns the first such note. 1 W.

        Closes the race of two frames with one `cmid`: both get the same seq to search from, and whoever appends has
        looked at every entry from there on, so the second finds the first's.
        """
        unknown = "attribute_not_exists(pk)"
        expired = "#ttl < :now"  # TTL deletes within days, not at once
        try:
            self.client.put_item(
                TableName=self.table,
                Item={
                    **keys.cmid(conv, sender, cmid),
                    "first": {"N": str(first)},
                    "ttl": {"N": str(now_s + CMID_LIFE_S)},
                },
                ConditionExpression=f"{unknown} OR {expired}",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues={":now": {"N": str(now_s)}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return Seq(int(_old(e)["first"]["N"]))
        return first

    def _entries(self, conv: ConvId, first: int, last: int, *, limit: int, ascending: bool, consistent: bool) -> Page:
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :conv AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":conv": {"S": conv},
                ":first": {"S": keys.entry_sort(first)},
                ":last": {"S": keys.entry_sort(last)},
            },
            ScanIndexForward=ascending,
            Limit=limit,
            ConsistentRead=consistent,
        )
        return Page([_entry_from(item) for item in out["Items"]], whole="LastEvaluatedKey" not in out)

    # ---- groups ------------------------------------------------------------------------------------------------------

    def membership(self, conv: ConvId, user: UserId) -> tuple[GroupHead | None, Member | None]:
        """A group's head and one of its members, as far as they are there. 1 R; 3 R when one is not there at once."""
        items: dict[str, Item] = {}
        for consistent in (False, True):
            wanted = [keys.head(conv), keys.member(conv, user)]
            found = read_all(self.client, self.table, wanted, consistent=consistent)
            items = {item["sk"]["S"]: item for item in found}
            if len(items) == len(wanted):
                break
        head, member = items.get(keys.HEAD), items.get(keys.MEMBER_PREFIX + user)
        return (
            None if head is None else _head_from(head),
            None if member is None else _member_from(member),
        )

    def members(self, conv: ConvId) -> Iterator[Member]:
        """All members of a group by user id, as of now. 1 R for about 30 members."""
        cursor: UserId | None = None
        while True:
            page, cursor = self.members_page(conv, after=cursor, limit=None, consistent=True)
            yield from page
            if cursor is None:
                return

    def members_page(
        self, conv: ConvId, *, after: UserId | None, limit: int | None, consistent: bool = False
    ) -> tuple[list[Member], UserId | None]:
        """Members by user id after `after`, and where the next page starts after; None at the end."""
        optional: dict[str, Any] = {}
        if after is not None:
            optional["ExclusiveStartKey"] = keys.member(conv, after)
        if limit is not None:
            optional["Limit"] = limit
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :conv AND begins_with(sk, :members)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":members": {"S": keys.MEMBER_PREFIX}},
            ConsistentRead=consistent,
            **optional,
        )
        page = [_member_from(item) for item in out["Items"]]
        more = "LastEvaluatedKey" in out and page
        return page, page[-1].user if more else None

    def put_members(self, conv: ConvId, members: Sequence[Member]) -> None:
        """Store members as given; repeating it changes nothing. 1 W each."""
        write_all(self.client, self.table, [_member_item(conv, m) for m in members])

    def put_head(self, head: GroupHead) -> GroupHead:
        """Store the head of a new group, unless there is one. Returns the stored one. 1 W."""
        group_is_new = "attribute_not_exists(pk)"
        try:
            self.client.put_item(
                TableName=self.table,
                Item=_head_item(head),
                ConditionExpression=group_is_new,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return _head_from(_old(e))
        return head


def _old(error: ClientError) -> Item:
    """The item that made a condition fail: asked for with ReturnValuesOnConditionCheckFailure."""
    return cast("Item", error.response["Item"])  # type: ignore[typeddict-item]


def _entry_item(entry: Entry) -> dict[str, Any]:
    item: dict[str, Any] = {
        **keys.entry(entry.conv, entry.seq),
        "seq": {"N": str(entry.seq)},
        "n": {"N": str(entry.n)},
        "epoch": {"N": str(entry.epoch)},
        "kind": {"S": entry.kind},
        "from": {"S": entry.sender},
        "ts": {"N": str(entry.ts)},
        # JSON text, not a map: numbers keep the form the sender gave them, and nothing is converted on the way.
        "body": {"S": entry.body},
    }
    if entry.cmid is not None:
        item["cmid"] = {"S": entry.cmid}
    if entry.mentions:
        item["mentions"] = {"S": json.dumps(entry.mentions)}
    if entry.reply_to is not None:
        item["reply_to"] = {"N": str(entry.reply_to)}
    return item


def _entry_from(item: Item) -> Entry:
    return Entry(
        conv=ConvId(item["pk"]["S"]),
        seq=Seq(int(item["seq"]["N"])),
        n=int(item["n"]["N"]),
        epoch=Seq(int(item["epoch"]["N"])),
        kind=item["kind"]["S"],
        sender=UserId(item["from"]["S"]),
        ts=int(item["ts"]["N"]),
        body=item["body"]["S"],
        cmid=Cmid(item["cmid"]["S"]) if "cmid" in item else None,
        mentions=tuple(json.loads(item["mentions"]["S"])) if "mentions" in item else (),
        reply_to=Seq(int(item["reply_to"]["N"])) if "reply_to" in item else None,
    )


def _member_item(conv: ConvId, member: Member) -> dict[str, Any]:
    return {
        **keys.member(conv, member.user),
        "user": {"S": member.user},
        "role": {"S": member.role},
        "joined_at": {"N": str(member.joined_at)},
        "joined_seq": {"N": str(member.joined_seq)},
        "joined_n": {"N": str(member.joined_n)},
    }


def _member_from(item: Item) -> Member:
    return Member(
        user=UserId(item["user"]["S"]),
        role=cast("Role", item["role"]["S"]),
        joined_at=int(item["joined_at"]["N"]),
        joined_seq=Seq(int(item["joined_seq"]["N"])),
        joined_n=int(item["joined_n"]["N"]),
    )


def _head_item(head: GroupHead) -> dict[str, Any]:
    return {
        **keys.head(head.conv),
        "name": {"S": head.name},
        "notice": {"S": head.notice},
        "owner": {"S": head.owner},
        "member_count": {"N": str(head.member_count)},
        "join_mode": {"S": head.join_mode},
        "history": {"BOOL": head.history},
        "created_at": {"N": str(head.created_at)},
    }


def _head_from(item: Item) -> GroupHead:
    return GroupHead(
        conv=ConvId(item["pk"]["S"]),
        name=item["name"]["S"],
        notice=item["notice"]["S"],
        owner=UserId(item["owner"]["S"]),
        member_count=int(item["member_count"]["N"]),
        join_mode=cast("JoinMode", item["join_mode"]["S"]),
        history=item["history"]["BOOL"],
        created_at=int(item["created_at"]["N"]),
    )
