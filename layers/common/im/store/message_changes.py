"""Changes of messages: one transaction each.

The change's entry in the log, the message that it changes, and what follows from it: nobody ever sees half of a change
for longer than DynamoDB takes to apply it, and no crash leaves half of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from im.domain.entries import Entry
from im.domain.errors import Conflict, Unavailable
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_rules import MAX_PINNED
from im.store import keys
from im.store.batches import snapshot, transact
from im.store.conversations import CMID_LIFE_S, entry_from, entry_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a change. Nothing was written if one of these is true."""

    seq_taken: bool = False
    """Another entry stands where its entry was to stand."""
    target_changed: bool = False
    """The message is not any more what was read."""
    cmid_known: bool = False
    """The change was made before."""
    pins_full: bool = False

    @property
    def done(self) -> bool:
        """Whether it is written."""
        return not (self.seq_taken or self.target_changed or self.cmid_known or self.pins_full)


@dataclass(frozen=True, slots=True)
class MessageChangeStore:
    """The table `table`, reached by `client`. Safe to share between threads."""

    client: DynamoDBClient
    table: str

    def message(self, conv: ConvId, seq: Seq) -> Entry | None:
        """One entry as it is now. 1 R a 4 KiB."""
        out = self.client.get_item(TableName=self.table, Key=keys.entry(conv, seq), ConsistentRead=True)
        return entry_from(out["Item"]) if "Item" in out else None

    def message_reacted_to(self, conv: ConvId, seq: Seq, user: UserId) -> tuple[Entry | None, dict[str, Seq]]:
        """One entry, and how a user has reacted to it: emoji, each with the change that says so. 4 R.

        As they are at one moment: what the user has done is written anew on the ground of both, and the condition of
        that write looks at the message alone.
        """
        wanted = [keys.entry(conv, seq), keys.reaction(conv, seq, user)]
        entry, reaction = snapshot(self.client, self.table, wanted)
        return entry_from(entry) if entry is not None else None, _emoji_from(reaction or {})

    def reactions(
        self, conv: ConvId, target: Seq, after: UserId | None, limit: int
    ) -> tuple[list[tuple[UserId, dict[str, Seq]]], bool]:
        """Who has reacted to a message and how, by user id after `after`; whether there are more. ½ R a 40 of them."""
        prefix = keys.reaction_prefix(target)
        start = {"ExclusiveStartKey": keys.reaction(conv, target, after)} if after is not None else {}
        out = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :conv AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":prefix": {"S": prefix}},
            Limit=limit,
            **start,  # type: ignore[arg-type]
        )
        found = [(UserId(item["sk"]["S"][len(prefix) :]), _emoji_from(item)) for item in out["Items"]]
        return found, "LastEvaluatedKey" in out

    def noted(self, conv: ConvId, sender: UserId, cmid: Cmid) -> Seq | None:
        """The change that a `cmid` was answered with, if it was. 1 R. Raises Conflict when it is a message's."""
        out = self.client.get_item(TableName=self.table, Key=keys.cmid(conv, sender, cmid), ConsistentRead=True)
        return _noted_in(out["Item"]) if "Item" in out else None

    def note(self, conv: ConvId, sender: UserId, cmid: Cmid, seq: Seq, now_s: int) -> Seq:
        """Note that a `cmid` is answered with the change `seq`, which was made already. What it is answered with: that
        of the frame that came first. 1 W."""
        try:
            self.client.put_item(
                **self._cmid(conv, sender, cmid, seq, now_s), ReturnValuesOnConditionCheckFailure="ALL_OLD"
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return _noted_in(cast("Any", e.response)["Item"])
        return seq

    def pinned(self, conv: ConvId) -> list[Seq]:
        """The pinned messages of a conversation, ascending. ½ R."""
        item = self.client.get_item(TableName=self.table, Key=keys.pins(conv)).get("Item", {})
        return sorted(Seq(int(seq)) for seq in item.get("seqs", {"NS": []})["NS"])

    def commit(
        self, change: Entry, before: Entry, after: Entry, own_reactions: Mapping[str, Seq], now_s: int
    ) -> Committed:
        """Store `change`, which makes `after` of the message `before`. `own_reactions` are those that its sender has
        after it, when it is one.

        2 W a KiB of its entry and of the message; a reaction or a pin 2 W more, a recall 2 W a KiB of each edit, a
        `cmid` 2 W.

        `seq_is_free` is what gives an entry its place, as for a message (store/conversations.py). It also closes the
        race of two changes of one message, as long as the end of the log was read before the message: the first has
        taken the place of the second, which is decided anew. `is_as_read` does so whatever was read first: each change
        writes `changed`. What stands beside the message (its reactions, its place among the pinned ones, the texts of
        its edits) is changed with it alone, and needs no condition of its own.
        """
        seq_is_free = "attribute_not_exists(pk)"
        is_as_read, seen = "attribute_exists(pk) AND attribute_not_exists(changed)", {}
        if before.state.changed:
            is_as_read, seen = "changed = :seen", {":seen": {"N": str(before.state.changed)}}
        writes: dict[str, dict[str, Any]] = {
            "seq_taken": {"Put": self._put(entry_item(change), seq_is_free, {})},
            "target_changed": {"Put": self._put(entry_item(after), is_as_read, seen)},
        }
        if change.cmid is not None:
            note = self._cmid(change.conv, change.sender, change.cmid, change.seq, now_s)
            writes["cmid_known"] = {"Put": note}
        if change.kind == "reaction":
            writes["reaction"] = self._reaction(change.conv, before.seq, change.sender, own_reactions)
        if bool(after.state.pinned) != bool(before.state.pinned):
            writes["pins_full"] = {"Update": self._pin(before, on=bool(after.state.pinned))}
        if after.state.recalled is not None:
            for seq in before.state.edits:
                writes[f"edit {seq}"] = {"Update": self._empty_edit(before, seq)}
        try:
            # Once: whoever is in the way changes the log or the message, so that the same write could only fail.
            unmet = dict(zip(writes, transact(self.client, list(writes.values()), attempts=1), strict=False))
        except Unavailable:
            return Committed(target_changed=True)
        return Committed(**{name: unmet.get(name, False) for name in Committed.__dataclass_fields__})

    def _put(self, item: dict[str, Any], condition: str, values: dict[str, Any]) -> dict[str, Any]:
        put = {"TableName": self.table, "Item": item, "ConditionExpression": condition}
        return put | ({"ExpressionAttributeValues": values} if values else {})

    def _cmid(self, conv: ConvId, sender: UserId, cmid: Cmid, seq: Seq, now_s: int) -> dict[str, Any]:
        item = {
            **keys.cmid(conv, sender, cmid),
            "first": {"N": str(seq)},
            "is_change": {"BOOL": True},
            "ttl": {"N": str(now_s + CMID_LIFE_S)},
        }
        unknown_or_expired = "attribute_not_exists(pk) OR #ttl < :now"
        put = self._put(item, unknown_or_expired, {":now": {"N": str(now_s)}})
        return put | {"ExpressionAttributeNames": {"#ttl": "ttl"}}

    def _reaction(self, conv: ConvId, target: Seq, user: UserId, emoji: Mapping[str, Seq]) -> dict[str, Any]:
        key = keys.reaction(conv, target, user)
        if not emoji:
            return {"Delete": {"TableName": self.table, "Key": key}}
        value = {"M": {name: {"N": str(seq)} for name, seq in emoji.items()}}
        return {"Put": {"TableName": self.table, "Item": {**key, "emoji": value}}}

    def _pin(self, message: Entry, *, on: bool) -> dict[str, Any]:
        update = {
            "TableName": self.table,
            "Key": keys.pins(message.conv),
            "UpdateExpression": "ADD seqs :seq" if on else "DELETE seqs :seq",
            "ExpressionAttributeValues": {":seq": {"NS": [str(message.seq)]}},
        }
        if on:
            update["ConditionExpression"] = "attribute_not_exists(seqs) OR size(seqs) < :max"
            update["ExpressionAttributeValues"] |= {":max": {"N": str(MAX_PINNED)}}  # type: ignore[operator]
        return update

    def _empty_edit(self, message: Entry, seq: Seq) -> dict[str, Any]:
        return {
            "TableName": self.table,
            "Key": keys.entry(message.conv, seq),
            "UpdateExpression": "SET body = :empty",
            "ExpressionAttributeValues": {":empty": {"S": f'{{"target":{message.seq}}}'}},
        }


def _noted_in(item: Mapping[str, Any]) -> Seq:
    if "is_change" not in item:
        raise Conflict("this cmid is another message's")
    return Seq(int(item["first"]["N"]))


def _emoji_from(item: Mapping[str, Any]) -> dict[str, Seq]:
    return {name: Seq(int(seq["N"])) for name, seq in item.get("emoji", {"M": {}})["M"].items()}
