"""The groups of the Conversation table: their heads, members, former members and requests to join.

All but the requests change in transactions (store/group_changes.py): every read of a head or a member that begins
after an entry was seen knows all that the log says up to that entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from im.domain.errors import Unavailable
from im.domain.group import (
    REQUEST_LIFE_MS,
    FormerMember,
    GroupHead,
    JoinMode,
    JoinRequest,
    Member,
    Span,
    Spans,
    Who,
)
from im.domain.ids import ConvId, Seq, UserId
from im.store import keys
from im.store.batches import ATTEMPTS, SNAPSHOT, chunks, pause, read_all, snapshot, transact

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GroupStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    # ---- reads -------------------------------------------------------------------------------------------------------

    def head(self, conv: ConvId, *, consistent: bool) -> GroupHead | None:
        """A group's head. 1 R, or ½ R."""
        out = self.client.get_item(TableName=self.table, Key=keys.head(conv), ConsistentRead=consistent)
        return head_from(out["Item"]) if "Item" in out else None

    def is_in(self, conv: ConvId, user: UserId) -> bool:
        """Whether somebody is a member, as of now. 1 R."""
        return self.member(conv, user) is not None

    def heads(self, convs: Sequence[ConvId]) -> dict[ConvId, GroupHead]:
        """The heads of those groups that there are. ½ R each."""
        found = read_all(self.client, self.table, [keys.head(conv) for conv in convs])
        return {head.conv: head for head in map(head_from, found)}

    def seen_by(self, conv: ConvId, user: UserId) -> tuple[GroupHead, Member] | None:
        """A group and one of its members, as they were at one moment. 4 R."""
        head, member = snapshot(self.client, self.table, [keys.head(conv), keys.member(conv, user)])
        return (head_from(head), member_from(member)) if head is not None and member is not None else None

    def member(self, conv: ConvId, user: UserId) -> Member | None:
        """One member, as of now. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.member(conv, user), ConsistentRead=True)
        return member_from(out["Item"]) if "Item" in out else None

    def member_yet(self, conv: ConvId, user: UserId) -> Member | None:
        """One member, as of now, of a group that is not dissolved: then all have left. 2 R."""
        found = read_all(self.client, self.table, [keys.head(conv), keys.member(conv, user)], consistent=True)
        items = {item["sk"]["S"]: item for item in found}
        member = items.get(keys.MEMBER_PREFIX + user)
        if member is None or head_from(items[keys.HEAD]).dissolved:
            return None
        return member_from(member)

    def members_among(self, conv: ConvId, users: Sequence[UserId]) -> set[UserId]:
        """Those of `users` who are members, as of now. 1 R each."""
        found = read_all(self.client, self.table, [keys.member(conv, user) for user in users], consistent=True)
        return {UserId(item["user"]["S"]) for item in found}

    def people_among(self, conv: ConvId, users: Sequence[UserId], epoch: Seq) -> dict[UserId, Spans]:
        """What those of `users` may see who are or were members, in the state `epoch` or a newer one.

        2 R each, and 2 R for every 99; 1 R more for each who is no member. Raises Unavailable while that state is still
        being written.
        """
        out: dict[UserId, Spans] = {}
        for some in chunks(users, SNAPSHOT - 1):
            wanted = [keys.head(conv), *(keys.member(conv, user) for user in some)]
            for attempt in range(ATTEMPTS):
                head, *members = snapshot(self.client, self.table, wanted)
                if head is not None and head_from(head).epoch >= epoch:
                    break
                pause(attempt)
            else:
                raise Unavailable("the group is being changed", 1000)
            out |= {UserId(item["user"]["S"]): _spans_from(item) for item in members if item is not None}
        return out | self.former_among(conv, [user for user in users if user not in out])

    def former_among(self, conv: ConvId, users: Sequence[UserId]) -> dict[UserId, Spans]:
        """What those of `users` may see who were members once. 1 R each."""
        wanted = [keys.former_member(conv, user) for user in users]
        found = read_all(self.client, self.table, wanted, consistent=True)
        return {UserId(item["sk"]["S"][len(keys.FORMER_PREFIX) :]): _spans_from(item) for item in found}

    def spans(self, conv: ConvId, user: UserId) -> Spans:
        """What a user may see of a group, as of now; nothing when they never were in it. 1 R, or 2 R for no member."""
        member = self.member(conv, user)
        if member is not None:
            return member.spans
        out = self.client.get_item(TableName=self.table, Key=keys.former_member(conv, user), ConsistentRead=True)
        return _spans_from(out["Item"]) if "Item" in out else ()

    def members(self, conv: ConvId, epoch: Seq) -> tuple[list[Member], GroupHead]:
        """All members of a group by user id, in the state `epoch` or a newer one, and its head as it was after that.

        2 R, and 1 R for about 30 members. The head says how many there are: while a change is being applied, item by
        item, the list and the head do not agree, and are read again. In a group that never rests this ends; what is
        told then may lack a change that was made meanwhile. Raises Unavailable when even `epoch` is being written.
        """
        for attempt in range(ATTEMPTS):
            before = self.head(conv, consistent=True)
            members = list(self._all_members(conv))
            after = self.head(conv, consistent=True)
            if before is not None and before == after and before.epoch >= epoch and before.member_count == len(members):
                return members, before
            pause(attempt)
        if before is None or after is None or before.epoch < epoch:
            raise Unavailable("the group is being changed", 1000)
        return members, after

    def _all_members(self, conv: ConvId) -> Iterator[Member]:
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
        return self._page(conv, keys.MEMBER_PREFIX, member_from, after, limit, consistent=consistent)

    def requests_page(
        self, conv: ConvId, *, after: UserId | None, limit: int
    ) -> tuple[list[JoinRequest], UserId | None]:
        """Requests to join by user id after `after`, and where the next page starts after; None at the end."""
        return self._page(conv, keys.REQUEST_PREFIX, request_from, after, limit, consistent=True)

    def _page(
        self,
        conv: ConvId,
        prefix: str,
        read: Callable[[Item], Any],
        after: UserId | None,
        limit: int | None,
        *,
        consistent: bool,
    ) -> tuple[list[Any], UserId | None]:
        optional: dict[str, Any] = {}
        if after is not None:
            optional["ExclusiveStartKey"] = {"pk": {"S": conv}, "sk": {"S": prefix + after}}
        if limit is not None:
            optional["Limit"] = limit
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :conv AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":prefix": {"S": prefix}},
            ConsistentRead=consistent,
            **optional,
        )
        page = [read(item) for item in out["Items"]]
        return page, page[-1].user if "LastEvaluatedKey" in out and page else None

    # ---- requests to join --------------------------------------------------------------------------------------------

    def request(self, conv: ConvId, user: UserId) -> JoinRequest | None:
        """Somebody's request to join. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.join_request(conv, user), ConsistentRead=True)
        return request_from(out["Item"]) if "Item" in out else None

    def ask_to_join(self, conv: ConvId, request: JoinRequest) -> bool:
        """Store a request to join; a later one of the same user takes its place. False for a member. 4 W.

        One transaction with the look at their membership: a repeat of the request that comes while it is being
        accepted leaves none behind.
        """
        no_member = "attribute_not_exists(pk)"
        member = keys.member(conv, request.user)
        item = {
            **keys.join_request(conv, request.user),
            "user": {"S": request.user},
            "note": {"S": request.note},
            "asked_at": {"N": str(request.asked_at)},
            "ttl": {"N": str((request.asked_at + REQUEST_LIFE_MS) // 1000)},
        }
        unmet = transact(
            self.client,
            [
                {"ConditionCheck": {"TableName": self.table, "Key": member, "ConditionExpression": no_member}},
                {"Put": {"TableName": self.table, "Item": item}},
            ],
        )
        return not unmet

    def drop_request(self, conv: ConvId, user: UserId) -> JoinRequest | None:
        """Forget a request to join; it is returned if there was one. 1 W."""
        key = keys.join_request(conv, user)
        out = self.client.delete_item(TableName=self.table, Key=key, ReturnValues="ALL_OLD")
        return request_from(out["Attributes"]) if "Attributes" in out else None


def _span_value(span: Span) -> dict[str, Any]:
    return {"L": [{"N": str(span.first)}, {"N": str(span.last or 0)}]}


def _spans_value(spans: Spans) -> dict[str, Any]:
    return {"L": [_span_value(span) for span in spans]}


def _spans_from(item: Item) -> Spans:
    pairs = [[int(number["N"]) for number in pair["L"]] for pair in item["spans"]["L"]]
    return tuple(Span(Seq(first), Seq(last) if last else None) for first, last in pairs)


def member_item(conv: ConvId, member: Member) -> dict[str, Any]:
    """A member as stored."""
    item: dict[str, Any] = {
        **keys.member(conv, member.user),
        "user": {"S": member.user},
        "joined_at": {"N": str(member.joined_at)},
        "joined_seq": {"N": str(member.joined_seq)},
        "spans": _spans_value(member.spans),
    }
    if member.muted_until:
        item["muted_until"] = {"N": str(member.muted_until)}
    return item


def member_from(item: Item) -> Member:
    """The member that was stored as `item`."""
    return Member(
        user=UserId(item["user"]["S"]),
        joined_at=int(item["joined_at"]["N"]),
        joined_seq=Seq(int(item["joined_seq"]["N"])),
        spans=_spans_from(item),
        muted_until=int(item["muted_until"]["N"]) if "muted_until" in item else 0,
    )


def former_item(conv: ConvId, user: UserId, former: FormerMember) -> dict[str, Any]:
    """A former member as stored."""
    return {
        **keys.former_member(conv, user),
        "spans": _spans_value(former.spans),
        "muted_until": {"N": str(former.muted_until)},
    }


def former_from(item: Item) -> FormerMember:
    """The former member that was stored as `item`."""
    return FormerMember(_spans_from(item), int(item["muted_until"]["N"]))


def request_from(item: Item) -> JoinRequest:
    """The request that was stored as `item`."""
    return JoinRequest(user=UserId(item["user"]["S"]), note=item["note"]["S"], asked_at=int(item["asked_at"]["N"]))


def head_item(head: GroupHead) -> dict[str, Any]:
    """A head as stored."""
    return {
        **keys.head(head.conv),
        "name": {"S": head.name},
        "notice": {"S": head.notice},
        "avatar": {"S": head.avatar},
        "custom": {"S": head.custom},
        "owner": {"S": head.owner},
        "admins": {"L": [{"S": admin} for admin in head.admins]},
        "member_count": {"N": str(head.member_count)},
        "join_mode": {"S": head.join_mode},
        "history": {"BOOL": head.history},
        "who_invites": {"S": head.who_invites},
        "who_mentions_all": {"S": head.who_mentions_all},
        "muted_until": {"N": str(head.muted_until)},
        "created_at": {"N": str(head.created_at)},
        "created_by": {"S": head.created_by},
        "epoch": {"N": str(head.epoch)},
        "large": {"N": str(head.large)},
        "dissolved": {"BOOL": head.dissolved},
        "pending": {"L": [{"S": user} for user in head.pending]},
    }


def head_from(item: Item) -> GroupHead:
    """The head that was stored as `item`."""
    return GroupHead(
        conv=ConvId(item["pk"]["S"]),
        name=item["name"]["S"],
        notice=item["notice"]["S"],
        avatar=item["avatar"]["S"],
        custom=item["custom"]["S"],
        owner=UserId(item["owner"]["S"]),
        admins=tuple(UserId(admin["S"]) for admin in item["admins"]["L"]),
        member_count=int(item["member_count"]["N"]),
        join_mode=cast("JoinMode", item["join_mode"]["S"]),
        history=item["history"]["BOOL"],
        who_invites=cast("Who", item["who_invites"]["S"]),
        who_mentions_all=cast("Who", item["who_mentions_all"]["S"]),
        muted_until=int(item["muted_until"]["N"]),
        created_at=int(item["created_at"]["N"]),
        created_by=UserId(item["created_by"]["S"]),
        epoch=Seq(int(item["epoch"]["N"])),
        large=Seq(int(item["large"]["N"])),
        dissolved=item["dissolved"]["BOOL"],
        pending=tuple(UserId(user["S"]) for user in item["pending"]["L"]),
    )
