"""Groups of any size in a house, without everybody having to come in through the door.

A group is founded and, when it is to be large, made so by the product itself. Further members are put straight into
the tables, in the form in which the product's own functions store them; tests/unit/bench/test_crowds.py compares them
with members who were invited. Whoever is online has opened their connection through `$connect`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bench.meter import Meter, stored
from im.domain.entries import Entry
from im.domain.group import Member, Span
from im.domain.ids import ConvId, Seq, UserId
from im.store import keys
from im.store.batches import chunks
from im.store.conversations import ConversationStore
from im.store.group_rows import GroupRowStore, Prepared
from im.store.groups import member_item
from im.store.inbox import Delivery, InboxStore
from im.wire.frames import dumps
from tests.integration.house import Call, Device, House, template

CONV: Final = ConvId("g:crowd")
TEXT: Final = "Has anybody seen the minutes of last week's meeting? I can not find them anywhere, and it is about time."
"""What is said: 100 characters, about as long as in the chat logs of tests/data."""

MAX_GROUPS: Final = 500
PUTS: Final = 25

BATCH_SIZE: Final = int(template()["Resources"]["FanoutEvents"]["Properties"]["BatchSize"])
PART_BATCH_SIZE: Final = int(template()["Resources"]["BroadcastEvents"]["Properties"]["BatchSize"])
"""How many messages, and how many parts, one call of a function brings."""

CONVERSATIONS: Final = "ConversationTable"
INBOXES: Final = "InboxTable"


@dataclass
class Crowd:
    """A group and those of its members who are stored: all of them, or all who are online."""

    house: House
    size: int
    large: bool
    stored: Sequence[UserId]
    online: Sequence[Device]
    told: dict[int, str] = field(default_factory=dict)
    """Who said what was said and delivered, by seq."""
    _queued: dict[int, str] = field(default_factory=dict)
    _said: int = 0

    def say(self, device: Device) -> None:
        """One message, stored and queued."""
        self._said += 1
        reply = device.say(TEXT, f"message-{self._said:08d}-of-the-crowd", conv=CONV)
        self._queued[reply["seq"]] = device.user

    def deliver(self, meter: Meter | None = None) -> None:
        """What is queued, at most ten messages, reaches everybody as one batch, whatever parts it is cut into."""
        self._invoke(self.house.take(BATCH_SIZE), meter, parts=False)
        while records := self.house.take(PART_BATCH_SIZE, parts=True):
            self._invoke(records, meter, parts=True)
        self.told |= self._queued
        self._queued.clear()
        self._look_after(meter)

    def drop(self) -> None:
        """What is queued never reaches anybody: the next batch moves the rows over it."""
        self.house.stream.clear()
        for record in self.house.take():
            self.house.sqs.delete_message(QueueUrl=self.house.queue_url, ReceiptHandle=record["receiptHandle"])
        self._queued.clear()

    def check(self, calls: Iterable[Call]) -> None:
        """Everybody online was pushed everything that others said, and nobody was read who is not stored."""
        for device in self.online:
            expected = [seq for seq, sender in self.told.items() if sender != device.user]
            if device.seen(CONV) != expected:
                raise SystemExit(f"{device.user} was pushed {device.seen(CONV)} and not {expected}")
        if len(self.stored) < self.size and (strangers := read_in(calls) - set(self.stored)):
            raise SystemExit(f"read, but not stored: {sorted(strangers)[:5]}")

    def _look_after(self, meter: Meter | None) -> None:
        """The auditor has what was stored, and whether the pushes were acknowledged is looked at: they were, by all."""
        self.house.audit()
        for _, body in self.house.checks:
            check = json.loads(body)
            if meter is not None:
                meter.polled([body])
            for user in check["users"]:
                self.house.dynamodb.update_item(
                    TableName=INBOXES,
                    Key=keys.row(user, CONV),
                    UpdateExpression="SET ack_seq = :last",
                    ExpressionAttributeValues={":last": {"N": str(check["seqs"][-1])}},
                )
        self.house.redeliver()

    def _invoke(self, records: list[dict[str, Any]], meter: Meter | None, *, parts: bool) -> None:
        if meter is not None:
            meter.polled(record["body"] for record in records)
        if self.house.deliver(records, parts=parts):
            raise SystemExit("a batch failed")


def read_in(calls: Iterable[Call]) -> set[UserId]:
    """Whose membership or connections were read. Raises SystemExit for a read of all members, whoever they are."""
    users: set[UserId] = set()
    for call in calls:
        params = call.params
        if call.operation == "Query" and {"S": keys.MEMBER_PREFIX} in params["ExpressionAttributeValues"].values():
            raise SystemExit("all members were read, and they are not all stored")
        wanted = [key for table in params.get("RequestItems", {}).values() for key in table["Keys"]]
        wanted += [item["Get"]["Key"] for item in params.get("TransactItems", []) if "Get" in item]
        wanted += [params["Key"]] if "Key" in params else []
        for key in wanted:
            pk, sk = key["pk"]["S"], key.get("sk", {}).get("S", "")
            if sk.startswith(keys.MEMBER_PREFIX):
                users.add(UserId(sk.removeprefix(keys.MEMBER_PREFIX)))
            elif pk != CONV and not pk.startswith(CONV):
                users.add(UserId(pk))
    return users


def gather(house: House, size: int, online: int, *, limit: int, whole: bool = True) -> Crowd:
    """A group of `size` members, the first `online` of them connected, large when that is above `limit`.

    Unless `whole`, only those are stored who are online, and the one who made it large.
    """
    names = [UserId(f"user{i:06d}") for i in range(size)]
    founder = house.connect(names[0])
    founder.ok("group.create", {"gid": CONV.removeprefix("g:"), "name": "Crowd", "members": names[1:2]})
    house.fan_out()
    large = size > limit
    early = names[2 : size if whole else online]
    if large and whole:
        early.pop()
    if large:
        set_member_count(house, size - 1)
        founder.ok("group.invite", {"conv": CONV, "users": names[-1:]})
    else:
        set_member_count(house, size)
    put_members(house, early, shared=large and not whole)
    forget(house)
    if large and not whole:
        rows = GroupRowStore(house.dynamodb, INBOXES)
        for name in names[:2]:
            rows.share_row(name, CONV)
        rows.note_prepared(CONV, Prepared(since=Seq(2), epoch=Seq(2)))
    house.fan_out()
    founder.hang_up()
    there = [*names[:2], *early, *(names[-1:] if large else [])]
    house.stream.clear()
    house.checks.clear()
    return Crowd(house, size, large, there, [house.connect(name) for name in names[:online]])


def forget(house: House) -> None:
    """Functions as at a cold start: they remember nobody who is a member."""
    for function in ("message", "fanout", "broadcast"):
        house.load(function)


def set_member_count(house: House, count: int) -> None:
    """Say in the head how many members there are."""
    house.dynamodb.update_item(
        TableName=CONVERSATIONS,
        Key=keys.head(CONV),
        UpdateExpression="SET member_count = :count",
        ExpressionAttributeValues={":count": {"N": str(count)}},
    )


def put_members(house: House, users: Sequence[UserId], *, shared: bool) -> None:
    """Store `users` as if they had come in with the first entry; with `shared`, as the group's becoming large leaves
    them."""
    entry = ConversationStore(house.dynamodb, CONVERSATIONS).entry(CONV, Seq(1))
    if entry is None:
        raise SystemExit("the group has no first entry")
    members = [
        member_item(CONV, Member(user=user, joined_at=entry.ts, joined_seq=entry.seq, spans=(Span(entry.seq, None),)))
        for user in users
    ]
    pattern = UserId("pattern")
    rows = [keys.row(pattern, CONV), keys.user(pattern)]
    open_row(house, pattern, entry)
    if shared:
        GroupRowStore(house.dynamodb, INBOXES).share_row(pattern, CONV)
    made = [stored(INBOXES, key) for key in rows]
    for key in rows:
        house.dynamodb.delete_item(TableName=INBOXES, Key=key)
    _put_all(house, CONVERSATIONS, members)
    _put_all(house, INBOXES, [{**row, "pk": {"S": user}} for user in users for row in made if row is not None])


def open_row(house: House, user: UserId, entry: Entry) -> None:
    """What a user's inbox gets when they join with `entry`."""
    for write in GroupRowStore(house.dynamodb, INBOXES).joining(user, entry, MAX_GROUPS):
        house.dynamodb.update_item(**write["Update"])


def put_other_groups(house: House, user: UserId, count: int, *, large: bool) -> None:
    """Put a user into `count` more groups, as far as their inbox tells of it: their rows and what these show."""
    entry = ConversationStore(house.dynamodb, CONVERSATIONS).entry(CONV, Seq(1))
    if entry is None:
        raise SystemExit("the group has no first entry")
    inbox = InboxStore(house.dynamodb, INBOXES)
    for i in range(count):
        theirs = replace(entry, conv=ConvId(f"g:crowd-{i:04d}"), large=Seq(1) if large else Seq(0))
        open_row(house, user, theirs)
        message = replace(theirs, seq=Seq(2), n=1, kind="text", body=dumps({"text": TEXT}))
        ConversationStore(house.dynamodb, CONVERSATIONS).append(message)
        delivery = Delivery(newest=message, shown=message, own=None, mention=Seq(0))
        if large:
            inbox.deliver_to_all(theirs.conv, delivery, message.ts)
            GroupRowStore(house.dynamodb, INBOXES).note_prepared(theirs.conv, Prepared(since=Seq(1), epoch=Seq(1)))
        else:
            inbox.deliver(user, theirs.conv, delivery, message.ts)


def _put_all(house: House, table: str, items: Sequence[dict[str, Any]]) -> None:
    for some in chunks(items, PUTS):
        puts = [{"PutRequest": {"Item": item}} for item in some]
        house.dynamodb.batch_write_item(RequestItems={table: puts})
