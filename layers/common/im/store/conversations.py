"""The logs of the Conversation table: their entries, and the marks that make sends idempotent.

Costs: W is a write unit (1 KiB), R a read unit (4 KiB; an eventually consistent read takes half of one).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from botocore.exceptions import ClientError

from im.domain.entries import EMPTY, Entry, Forwarded, Tail, tail_at
from im.domain.errors import Conflict
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_state import UNCHANGED, Edited, Reaction, Recalled, State
from im.store import keys
from im.store.batches import read_all

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CMID_LIFE_S: Final = 14 * 24 * 60 * 60
"""How long a `cmid` is remembered, from its first try on. Twice the seven days that the protocol promises from its
entry on: the entry may have been stored by a late retry."""

MAX_CHANGES: Final = 200
"""Changes to a group that are read one after the other: about a second."""

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

    def tail(self, conv: ConvId, *, consistent: bool = False) -> Tail:
        """The newest entry, as far as the next one depends on it; EMPTY for an empty log. ½ R a 4 KiB of that entry."""
        page = self._entries(conv, 1, keys.MAX_SEQ, limit=1, ascending=False, consistent=consistent)
        return tail_at(page.entries[0]) if page.entries else EMPTY

    def entry(self, conv: ConvId, seq: Seq) -> Entry | None:
        """One entry. ½ R; 1½ R when it is not there yet for an eventually consistent read."""
        for consistent in (False, True):
            out = self.client.get_item(TableName=self.table, Key=keys.entry(conv, seq), ConsistentRead=consistent)
            if item := out.get("Item"):
                return entry_from(item)
        return None

    def found(
        self, places: Iterable[tuple[ConvId, Seq]], *, consistent: bool = False
    ) -> dict[tuple[ConvId, Seq], Entry]:
        """The entries that stand at `places`. ½ R each, or 1 R; 1½ R for one that is not there, or that an eventually
        consistent read does not know yet."""
        out: dict[tuple[ConvId, Seq], Entry] = {}
        wanted = list(dict.fromkeys(places))
        for is_consistent in (True,) if consistent else (False, True):
            missing = [keys.entry(*place) for place in wanted if place not in out]
            for item in read_all(self.client, self.table, missing, consistent=is_consistent):
                entry = entry_from(item)
                out[entry.conv, entry.seq] = entry
        return out

    def changes(self, conv: ConvId, after: Seq, up_to: Seq) -> list[Entry] | None:
        """The changes to a group with after < seq ≤ up_to, which must be one, ascending. 1 R each.

        Each names the one before it: what was said in between is not read. None when they are more than MAX_CHANGES.
        """
        out: list[Entry] = []
        seq = up_to
        while seq > after:
            if len(out) == MAX_CHANGES:
                return None
            item = self.client.get_item(TableName=self.table, Key=keys.entry(conv, seq), ConsistentRead=True)["Item"]
            out.append(entry_from(item))
            seq = out[-1].prior
        return out[::-1]

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
                Item=entry_item(entry),
                ConditionExpression=seq_is_free,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as e:
            return entry_from(_old(e))
        return None

    def claim_cmid(self, conv: ConvId, sender: UserId, cmid: Cmid, first: Seq, now_s: int) -> Seq:
        """Note that `cmid`, if it has an entry at all, has it at `first` or later. Returns the first such note. 1 W.
        Raises Conflict when it is that of a change.

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
            note = _old(e)
            if "is_change" in note:  # store/message_changes.py
                raise Conflict("this cmid is that of a change") from e
            return Seq(int(note["first"]["N"]))
        return first

    def claimed(self, conv: ConvId, sender: UserId, cmid: Cmid) -> Seq | None:
        """What `claim_cmid` has noted, if anything. 1 R."""
        out = self.client.get_item(TableName=self.table, Key=keys.cmid(conv, sender, cmid), ConsistentRead=True)
        return Seq(int(out["Item"]["first"]["N"])) if "Item" in out else None

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
        return Page([entry_from(item) for item in out["Items"]], whole="LastEvaluatedKey" not in out)


def _old(error: ClientError) -> Item:
    """The item that made a condition fail: asked for with ReturnValuesOnConditionCheckFailure."""
    return cast("Item", error.response["Item"])  # type: ignore[typeddict-item]


def entry_item(entry: Entry) -> dict[str, Any]:
    """An entry as it is stored."""
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
    if entry.large:
        item["large"] = {"N": str(entry.large)}
    if entry.prior:
        item["prior"] = {"N": str(entry.prior)}
    if entry.forwarded is not None:
        item["forwarded"] = {"M": {"from": {"S": entry.forwarded.sender}, "ts": {"N": str(entry.forwarded.ts)}}}
    return item | _state_item(entry.state)


def _state_item(state: State) -> dict[str, Any]:
    if state == UNCHANGED:
        return {}
    item: dict[str, Any] = {"changed": {"N": str(state.changed)}}
    if state.edited is not None and state.original is not None:
        item["edited"] = {"M": {"seq": {"N": str(state.edited.seq)}, "ts": {"N": str(state.edited.ts)}}}
        item["edits"] = {"L": [{"N": str(seq)} for seq in state.edits]}
        item["original"] = {"S": state.original}
    if state.recalled is not None:
        seq, by, ts = state.recalled
        item["recalled"] = {"M": {"seq": {"N": str(seq)}, "by": {"S": by}, "ts": {"N": str(ts)}}}
    if state.reactions:
        item["reactions"] = {
            "M": {
                emoji: {"M": {"count": {"N": str(count)}, "users": {"L": [{"S": user} for user in users]}}}
                for emoji, (count, users) in state.reactions.items()
            }
        }
    if state.pinned:
        item["pinned"] = {"N": str(state.pinned)}
    return item


def _state_from(item: Item) -> State:
    if "changed" not in item:
        return UNCHANGED
    edited, recalled = item.get("edited"), item.get("recalled")
    return State(
        changed=Seq(int(item["changed"]["N"])),
        edits=tuple(Seq(int(seq["N"])) for seq in item["edits"]["L"]) if "edits" in item else (),
        edited=edited and Edited(Seq(int(edited["M"]["seq"]["N"])), int(edited["M"]["ts"]["N"])),
        original=item["original"]["S"] if "original" in item else None,
        recalled=recalled
        and Recalled(
            Seq(int(recalled["M"]["seq"]["N"])), UserId(recalled["M"]["by"]["S"]), int(recalled["M"]["ts"]["N"])
        ),
        reactions={
            emoji: Reaction(int(value["M"]["count"]["N"]), tuple(UserId(u["S"]) for u in value["M"]["users"]["L"]))
            for emoji, value in item.get("reactions", {"M": {}})["M"].items()
        },
        pinned=Seq(int(item["pinned"]["N"])) if "pinned" in item else Seq(0),
    )


def entry_from(item: Item) -> Entry:
    """The entry that was stored as `item`."""
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
        large=Seq(int(item["large"]["N"])) if "large" in item else Seq(0),
        prior=Seq(int(item["prior"]["N"])) if "prior" in item else Seq(0),
        forwarded=Forwarded(UserId(item["forwarded"]["M"]["from"]["S"]), int(item["forwarded"]["M"]["ts"]["N"]))
        if "forwarded" in item
        else None,
        state=_state_from(item),
    )
