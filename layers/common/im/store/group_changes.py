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
from im.domain.errors import TooLarge
from im.domain.group import FormerMember, GroupHead, Member, spans_after_joining, spans_after_leaving
from im.domain.group_rules import Change, Group
from im.domain.ids import ConvId, UserId
from im.store import keys
from im.store.batches import PASSING, read_all
from im.store.conversations import entry_from, entry_item
from im.store.groups import GroupStore, former_from, former_item, head_item, member_from, member_item, request_from
from im.store.inbox import InboxStore

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
    inbox: InboxStore

    def group(self, conv: ConvId, users: Sequence[UserId]) -> Group | None:
        """A group with those of its people whom `users` names. 1 R, 3 R a user, and ½ R a user for their groups.

        The head is read first: its epoch is then no newer than the rest, and a change that is made under the
        conditions of `commit` was decided on exactly what it changes.
        """
        head = GroupStore(self.client, self.table).head(conv, consistent=True)
        if head is None:
            return None
        wanted = dict.fromkeys(users)
        found = read_all(
            self.client,
            self.table,
            [key(conv, u) for u in wanted for key in (keys.member, keys.former_member, keys.join_request)],
            consistent=True,
        )
        items = {item["sk"]["S"]: item for item in found}
        return Group(
            head=head,
            members={u: member_from(i) for u in wanted if (i := items.get(keys.MEMBER_PREFIX + u))},
            former={u: former_from(i) for u in wanted if (i := items.get(keys.FORMER_PREFIX + u))},
            requests={u: request_from(i) for u in wanted if (i := items.get(keys.REQUEST_PREFIX + u))},
            groups=self.inbox.group_counts(list(wanted)),
        )

    def commit(self, before: Group | None, change: Change, entry: Entry, *, max_groups: int) -> Lost | None:
        """Make `change` with its `entry`; None when it is made, and nothing at all is written else.

        2 W for the entry (a KiB), 2 W for the head, 6 to 8 W for each who comes or goes: transactions cost double.
        Raises TooLarge when one of those who come is in `max_groups` already.

        Two conditions decide: the entry's place in the log is free, and the head still has the epoch that the change
        was decided on (there is no head, for a new group). Every other change to the group, by whomever, would have
        moved that epoch in its own transaction. The members' own conditions are for the moment in which such a
        transaction is being applied, item by item: a member may have been read before, and the head after it.
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
            self._head_write(before, replace(change.head, epoch=entry.seq)),
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
                self._put(member_item(change.head.conv, member), "attribute_not_exists(pk)"),
                *self.inbox.joining(user, entry, max_groups),
            ]
            if before is not None and user in before.requests:
                writes.append(self._delete(keys.join_request(change.head.conv, user)))
        for user in change.leaves:
            was_member = members[user]
            spans = spans_after_leaving(was_member.spans, entry.seq)
            left = FormerMember(spans, was_member.muted_until)
            writes += [
                self._delete(keys.member(change.head.conv, user), "attribute_exists(pk)"),
                self._put(former_item(change.head.conv, user, left)),
                *self.inbox.leaving(user, entry),
            ]
        for user, until in change.muted.items():
            item = member_item(change.head.conv, replace(members[user], muted_until=until))
            writes.append(self._put(item, "attribute_exists(pk)"))
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

    def _put(self, item: dict[str, Any], condition: str | None = None) -> dict[str, Any]:
        return {"Put": {"TableName": self.table, "Item": item} | _if(condition)}

    def _delete(self, key: keys.Key, condition: str | None = None) -> dict[str, Any]:
        return {"Delete": {"TableName": self.table, "Key": key} | _if(condition)}

    def _why_not(
        self, error: ClientError, writes: Sequence[Mapping[str, Any]], entry: Entry, max_groups: int
    ) -> Lost | None:
        """What a cancelled transaction says. One reason a write, in their order; code None where nothing was wrong."""
        reasons: list[Any] = cast("Any", error.response)["CancellationReasons"]
        occupant = entry_from(reasons[0]["Item"]) if reasons[0].get("Item") else None
        if occupant == entry:
            return None  # the call was made twice: its first answer was lost on the way
        if occupant is not None:
            return Lost(occupant)
        unmet = [w for w, reason in zip(writes, reasons, strict=True) if reason["Code"] == "ConditionalCheckFailed"]
        if any("Update" not in write for write in unmet):
            return Lost(None)  # the head or a member is not what it was decided on
        if unmet:
            # The only condition of an update: the limit of somebody's groups.
            raise TooLarge(f"groups of {unmet[0]['Update']['Key']['pk']['S']}", max_groups + 1, max_groups)
        if {reason["Code"] for reason in reasons} <= PASSING:
            return Lost(None)
        raise error


def _if(condition: str | None) -> dict[str, Any]:
    return {"ConditionExpression": condition} if condition is not None else {}
