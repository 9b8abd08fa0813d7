"""Changes to groups: one transaction each.

Its entry in the log, the head, the members, and the inbox rows of those who come or go: nobody ever sees half of a
change, and no crash leaves half of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.exceptions import ClientError

from im.domain.entries import Entry
from im.domain.errors import TooManyGroups, Unavailable
from im.domain.group import FormerMember, GroupHead, Member, spans_after_joining, spans_after_leaving
from im.domain.group_rules import Change, Group
from im.domain.ids import ConvId, UserId
from im.domain.inbox import NEVER
from im.store import keys
from im.store.batches import ATTEMPTS, PASSING, SNAPSHOT, chunks, pause, snapshot
from im.store.conversations import entry_from, entry_item
from im.store.group_rows import GroupRowStore
from im.store.groups import former_from, former_item, head_from, head_item, member_from, member_item, request_from

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NEVER_HERE: Final = FormerMember((), 0)


@dataclass(frozen=True, slots=True)
class Lost:
    """A change that was not made: somebody else wrote first, or writes now."""

    occupant: Entry | None
    """The entry that has taken its place in the log, if that was it."""


@dataclass(frozen=True, slots=True)
class GroupChangeStore:
    """The Conversation table `table`, reached by `client`, and the inbox that changes with it. Thread-safe."""

    client: DynamoDBClient
    table: str
    rows: GroupRowStore

    def group(self, conv: ConvId, users: Sequence[UserId]) -> Group | None:
        """A group with those of its people whom `users` names, as it was at one moment. 2 R, 6 R a user, and ½ R a user
        for their groups.

        What is decided on it is made under the condition that the head still has its epoch (`commit`): so it was
        decided on exactly what it changes. Raises Unavailable when the group changes all the time.
        """
        wanted = list(dict.fromkeys(users))
        for attempt in range(ATTEMPTS):
            heads: list[GroupHead | None] = []
            items: dict[str, dict[str, Any]] = {}
            for some in chunks(wanted, (SNAPSHOT - 1) // 3) if wanted else [[]]:
                of_users = [k(conv, u) for u in some for k in (keys.member, keys.former_member, keys.join_request)]
                head, *found = snapshot(self.client, self.table, [keys.head(conv), *of_users])
                heads.append(head_from(head) if head is not None else None)
                items |= {item["sk"]["S"]: item for item in found if item is not None}
            if all(head == heads[0] for head in heads):
                break
            pause(attempt)
        else:
            raise Unavailable("the group is being changed", 500)
        if heads[0] is None:
            return None
        return Group(
            head=heads[0],
            members={u: member_from(i) for u in wanted if (i := items.get(keys.MEMBER_PREFIX + u))},
            former={u: former_from(i) for u in wanted if (i := items.get(keys.FORMER_PREFIX + u))},
            requests={u: request_from(i) for u in wanted if (i := items.get(keys.REQUEST_PREFIX + u))},
            groups=self.rows.group_counts(wanted),
        )

    def commit(self, before: Group | None, change: Change, entry: Entry, *, max_groups: int) -> Lost | None:
        """Make `change` with its `entry`; None when it is made, and nothing at all is written else.

        2 W for the entry (a KiB), 2 W for the head, 8 W for each who comes or goes, 6 W for each who is there from
        the beginning: transactions cost double.
        Raises TooManyGroups when one of those who come is in `max_groups` already.

        Two conditions decide: the entry's place in the log is free, and the head still has the epoch that the change
        was decided on (there is no head, for a new group). Every other change to the group, by whomever, would have
        moved that epoch in its own transaction.
        """
        writes = [
            {
                "Put": {
                    "TableName": self.table,
                    "Item": entry_item(entry),
                    "ConditionExpression": "attribute_not_exists(pk)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            },
            self._head_write(before, replace(change.head, epoch=entry.seq, large=entry.large)),
        ]
        members = before.members if before is not None else {}
        former = before.former if before is not None else {}
        for user in change.joins:
            was = former.get(user, NEVER_HERE)
            member = Member(
                user=user,
                joined_at=entry.ts,
                joined_seq=entry.seq,
                spans=spans_after_joining(was.spans, entry.seq, history=change.head.history),
                muted_until=was.muted_until,
            )
            writes += [
                self._put(member_item(change.head.conv, member)),
                *self.rows.joining(user, entry, max_groups),
            ]
            if before is not None:
                answered = self._delete(keys.join_request(change.head.conv, user))  # also one that comes meanwhile
                if user in before.requests:
                    # It may be refused meanwhile: then the group is looked at once more.
                    answered["Delete"]["ConditionExpression"] = "attribute_exists(pk)"
                writes.append(answered)
        shared_mention = self.rows.shared_mention(change.head.conv) if change.leaves else NEVER
        for user in change.leaves:
            was_member = members[user]
            spans = spans_after_leaving(was_member.spans, entry.seq)
            left = FormerMember(spans, was_member.muted_until)
            writes += [
                self._delete(keys.member(change.head.conv, user)),
                self._put(former_item(change.head.conv, user, left)),
                *self.rows.leaving(user, entry, shared_mention),
            ]
        for user, until in change.muted.items():
            item = member_item(change.head.conv, replace(members[user], muted_until=until))
            writes.append(self._put(item))
        try:
            self.client.transact_write_items(TransactItems=cast("Any", writes))
        except self.client.exceptions.TransactionCanceledException as e:
            return self._why_not(e, writes, entry, max_groups)
        return None

    def _head_write(self, before: Group | None, head: GroupHead) -> dict[str, Any]:
        put: dict[str, Any] = {"TableName": self.table, "Item": head_item(head)}
        if before is None:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "epoch = :epoch"
            put["ExpressionAttributeValues"] = {":epoch": {"N": str(before.head.epoch)}}
        return {"Put": put}

    def _put(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"Put": {"TableName": self.table, "Item": item}}

    def _delete(self, key: keys.Key) -> dict[str, Any]:
        return {"Delete": {"TableName": self.table, "Key": key}}

    def _why_not(
        self, error: ClientError, writes: Sequence[Mapping[str, Any]], entry: Entry, max_groups: int
    ) -> Lost | None:
        """What a cancelled transaction says. One reason a write, in their order; code None where nothing was wrong."""
        reasons: list[Any] = cast("Any", error.response)["CancellationReasons"]
        occupant = entry_from(reasons[0]["Item"]) if reasons[0].get("Item") else None
        if occupant == entry:
            return None  # the call was made twice: its first answer was lost on the way
        if occupant is not None or reasons[1]["Code"] == "ConditionalCheckFailed":
            return Lost(occupant)
        unmet = [w for w, reason in zip(writes, reasons, strict=True) if reason["Code"] == "ConditionalCheckFailed"]
        if any("Delete" in write for write in unmet):
            return Lost(None)
        if unmet:
            # The only other condition: the limit of somebody's groups.
            raise TooManyGroups(unmet[0]["Update"]["Key"]["pk"]["S"], max_groups, max_groups)
        if {reason["Code"] for reason in reasons} <= PASSING:
            return Lost(None)
        raise error
