"""What the log of a group says, worked out in plain code: who was in it when, and what everybody must therefore see.

Read from the table as it is stored; no code of the product has a part in it, nor any place that the product keeps its
own conclusions in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from local import Stack

COUNTABLE = frozenset({"text", "custom"})
"""What counts as unread, of what is sent in these tests."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry as it is stored."""

    seq: int
    n: int
    epoch: int
    large: int
    kind: str
    sender: str
    cmid: str | None
    body: Mapping[str, Any]

    @property
    def countable(self) -> bool:
        """Whether it counts as unread."""
        return self.kind in COUNTABLE

    @property
    def added(self) -> list[str]:
        """Who has come in with it."""
        return list(self.body["added"]) if self.kind == "members" else []

    @property
    def removed(self) -> list[str]:
        """Who has gone with it."""
        return list(self.body["removed"]) if self.kind == "members" else []


@dataclass(slots=True)
class Stay:
    """From the entry that let somebody in to the one that let them go; `last` is 0 while they are there."""

    first: int
    by_self: bool
    """Whether they came by themself."""
    last: int = 0
    left_by_self: bool = False

    def __contains__(self, seq: int) -> bool:
        return self.first <= seq and (not self.last or seq <= self.last)


class GroupLog:
    """The log of a group that does not show its history to those who join."""

    def __init__(self, conv: str, entries: Sequence[Logged], *, large_above: int) -> None:
        self.conv = conv
        self.entries = entries
        self.stays: dict[str, list[Stay]] = {}
        self.sizes: list[int] = []
        """Members after each entry."""
        self.large: list[bool] = []
        """Whether the group is large after each entry: more members than the limit, and until a fifth below it."""
        self.wrong: list[str] = []
        """What cannot be in a log, one line each."""
        members: set[str] = set()
        for entry in entries:
            self.wrong += self._impossible(entry, members)
            for user in entry.added:
                self.stays.setdefault(user, []).append(Stay(entry.seq, by_self=entry.sender == user))
            for user in entry.removed:
                if stays := self.stays.get(user):
                    stays[-1].last, stays[-1].left_by_self = entry.seq, entry.sender == user
            members = (members | set(entry.added)) - set(entry.removed)
            was_large = bool(self.large) and self.large[-1]
            self.sizes.append(len(members))
            self.large.append(len(members) > (large_above - large_above // 5 if was_large else large_above))
        self.members = frozenset(members)
        self.wrong += self._disordered()

    @property
    def last_seq(self) -> int:
        """The newest entry."""
        return self.entries[-1].seq

    @cached_property
    def by_cmid(self) -> dict[tuple[str, str], Logged]:
        """The messages by sender and cmid."""
        return {(entry.sender, entry.cmid): entry for entry in self.entries if entry.cmid is not None}

    def visible(self, user: str) -> list[Logged]:
        """What a user must see: the entries of their stays, both ends included."""
        stays = self.stays.get(user, [])
        return [entry for entry in self.entries if any(entry.seq in stay for stay in stays)]

    def read_seq(self, user: str, marked: int = 0) -> int:
        """Where a user's read mark must be who marked `marked` as read.

        It moves with what they say; who comes in has nothing to read, and who goes by themself wants nothing.
        """
        own = [entry.seq for entry in self.visible(user) if entry.sender == user and entry.countable]
        came = [stay.first - (not stay.by_self) for stay in self.stays.get(user, [])]
        gone = [stay.last for stay in self.stays.get(user, []) if stay.left_by_self]
        return max([marked, *own, *came, *gone])

    def row(self, user: str, marked: int = 0) -> dict[str, int]:
        """What a user's inbox must say of the group; `left_seq` is 0 for a member."""
        seen, read = self.visible(user), self.read_seq(user, marked)
        return {
            "last_seq": seen[-1].seq,
            "read_seq": read,
            "unread": sum(entry.countable and entry.seq > read for entry in seen),
            "left_seq": 0 if user in self.members else self.stays[user][-1].last,
        }

    def _impossible(self, entry: Logged, members: set[str]) -> Iterator[str]:
        """What `entry` says or is that the members before it forbid."""
        if twice := set(entry.added) & members:
            yield f"seq {entry.seq} adds members: {sorted(twice)}"
        if absent := set(entry.removed) - members:
            yield f"seq {entry.seq} removes who is no member: {sorted(absent)}"
        if entry.sender not in members | set(entry.added):
            yield f"seq {entry.seq}, a {entry.kind}, is of {entry.sender}, who is no member"

    def _disordered(self) -> Iterator[str]:
        """Holes and repeats, and what follows from the entry before but does not here."""
        if (seqs := [entry.seq for entry in self.entries]) != list(range(1, len(seqs) + 1)):
            yield f"the seqs are not 1 to {len(seqs)}: {seqs}"
        n = epoch = since = 0
        cmids: set[tuple[str, str]] = set()
        for entry, large in zip(self.entries, self.large, strict=True):
            n += entry.countable
            epoch = entry.seq if entry.kind in {"members", "profile"} else epoch
            since = (since or entry.seq) if large else 0
            if (entry.n, entry.epoch, entry.large) != (n, epoch, since):
                told = f"n {entry.n}, epoch {entry.epoch}, large {entry.large}"
                yield f"seq {entry.seq} has {told}; it must have n {n}, epoch {epoch}, large {since}"
            if entry.cmid is not None:
                if (entry.sender, entry.cmid) in cmids:
                    yield f"seq {entry.seq} is {entry.sender}'s {entry.cmid} once more"
                cmids.add((entry.sender, entry.cmid))


class Tables:
    """What is stored, read as the account's owner. Safe to share between threads."""

    def __init__(self, stack: Stack) -> None:
        self._outputs = stack.outputs
        self._dynamodb = stack.cloud.client("dynamodb")

    def log(self, conv: str) -> list[Logged]:
        """All entries of a conversation, in the order of their places."""
        return [_logged(item) for item in self._conversation(conv, "MSG#")]

    def members(self, conv: str) -> dict[str, list[tuple[int, int]]]:
        """The members of a group by their items, each with the first and last seq of the stays that it remembers."""
        return {item["user"]["S"]: _spans(item) for item in self._conversation(conv, "MEM#")}

    def former_members(self, conv: str) -> dict[str, list[tuple[int, int]]]:
        """The items of those who have left a group at some time, whether or not they came back."""
        return {item["sk"]["S"].removeprefix("PAST#"): _spans(item) for item in self._conversation(conv, "PAST#")}

    def size(self, conv: str) -> int:
        """How many members the head of a group says it has."""
        (head,) = self._conversation(conv, "META")
        return int(head["member_count"]["N"])

    def groups(self, user: str) -> int:
        """How many groups a user is in, by the count that their limit goes by."""
        item = self._inbox(user, "USER")
        return int(item.get("count", {"N": "0"})["N"])

    def left_seq(self, user: str, conv: str) -> int:
        """Where a user's inbox says that they left a group; 0 when it does not."""
        item = self._inbox(user, f"CONV#{conv}")
        return int(item.get("left_seq", {"N": "0"})["N"])

    def _inbox(self, user: str, sort: str) -> dict[str, Any]:
        key = {"pk": {"S": user}, "sk": {"S": sort}}
        out = self._dynamodb.get_item(TableName=self._outputs["InboxTableName"], Key=key, ConsistentRead=True)
        return dict(out.get("Item", {}))

    def _conversation(self, conv: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._outputs["ConversationTableName"],
            KeyConditionExpression="pk = :conv AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]


def _spans(item: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [(int(first["N"]), int(last["N"])) for first, last in (pair["L"] for pair in item["spans"]["L"])]


def _logged(item: Mapping[str, Any]) -> Logged:
    return Logged(
        seq=int(item["sk"]["S"].removeprefix("MSG#")),
        n=int(item["n"]["N"]),
        epoch=int(item["epoch"]["N"]),
        large=int(item["large"]["N"]) if "large" in item else 0,
        kind=item["kind"]["S"],
        sender=item["from"]["S"],
        cmid=item["cmid"]["S"] if "cmid" in item else None,
        body=json.loads(item["body"]["S"]),
    )
