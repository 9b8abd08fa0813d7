"""Entries: the one log of a conversation.

Every entry has a seq, 1, 2, 3 … without holes, and `n`, the count of countable entries up to and including it.
Both follow from the entry before: that is what `following` says and what the conditional write of
store/conversations.py makes true for everybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_state import UNCHANGED, State

COUNTABLE: Final = frozenset(
    {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged"}
)
"""Messages: the kinds that count as unread. All others are changes and notices."""

EXPRESS: Final = ("redpacket",)
"""The kinds whose fan-out waits for no other: they overtake (docs/decisions/0015-red-packets-overtake.md)."""

CHANGES: Final = frozenset({"edit", "recall", "reaction", "pin"})
"""The kinds that change a message: `target` of their body."""

GROUP_CHANGES: Final = frozenset({"members", "profile"})
"""The kinds that change a group: who is in it, or what it allows."""

MAX_TEXT_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 24 * 1024
"""A body as JSON. With the rest of its entry and the frame around it, it stays below the 32 KiB of a frame."""

PREVIEW_CHARACTERS: Final = 80

FROM_NOWHERE: Final = Seq(0)
"""No entry has this seq."""


class Forwarded(NamedTuple):
    """Who said first what a message says."""

    sender: UserId
    ts: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a conversation as it is stored and pushed. `body` is JSON text: nothing but clients looks inside."""

    conv: ConvId
    seq: Seq
    n: int
    epoch: Seq
    """Seq of the newest change to the group up to this one: names one state of it. Not on the wire."""
    kind: str
    sender: UserId
    ts: int
    """When the server accepted it, milliseconds since the epoch."""
    body: str
    cmid: Cmid | None = None
    mentions: tuple[str, ...] = ()
    reply_to: Seq | None = None
    large: Seq = FROM_NOWHERE
    """Seq of the change since which the group is large; 0 when it is not. Says how this entry is fanned out."""
    prior: Seq = FROM_NOWHERE
    """Of a change to a group, the seq of the change before it: changes are found without what lies between them."""
    forwarded: Forwarded | None = None
    state: State = field(default=UNCHANGED, hash=False)
    """What changes have made of a message."""

    @property
    def countable(self) -> bool:
        """Whether it counts as unread for those who did not send it."""
        return self.kind in COUNTABLE


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest entry of a log, as far as the next one depends on it. An empty log has EMPTY."""

    seq: Seq
    n: int
    epoch: Seq
    large: Seq


EMPTY: Final = Tail(Seq(0), 0, Seq(0), Seq(0))


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that has no place in the log yet."""

    conv: ConvId
    kind: str
    sender: UserId
    body: str
    cmid: Cmid | None = None
    mentions: tuple[str, ...] = ()
    reply_to: Seq | None = None
    forwarded: Forwarded | None = None

    def following(self, tail: Tail, ts: int) -> Entry:
        """This draft as the entry right after `tail`, accepted at `ts`."""
        seq = Seq(tail.seq + 1)
        return Entry(
            conv=self.conv,
            seq=seq,
            n=tail.n + (1 if self.kind in COUNTABLE else 0),
            epoch=seq if self.kind in GROUP_CHANGES else tail.epoch,
            kind=self.kind,
            sender=self.sender,
            ts=ts,
            body=self.body,
            cmid=self.cmid,
            mentions=self.mentions,
            reply_to=self.reply_to,
            large=tail.large,
            prior=tail.epoch if self.kind in GROUP_CHANGES else FROM_NOWHERE,
            forwarded=self.forwarded,
        )


def epoch_before(entry: Entry) -> Seq:
    """The state of the group just before `entry`."""
    return entry.prior if entry.kind in GROUP_CHANGES else entry.epoch


def tail_at(entry: Entry) -> Tail:
    """`entry` as the end of its log."""
    return Tail(entry.seq, entry.n, entry.epoch, entry.large)


def newest_shown(entries: Sequence[Entry]) -> Entry | None:
    """The one of ascending `entries` that a conversation list shows: the newest that is no change."""
    return next((entry for entry in reversed(entries) if entry.kind not in CHANGES), None)


def void(entry: Entry) -> Entry:
    """What is left of an entry for somebody who has deleted it: its place."""
    return Entry(entry.conv, entry.seq, entry.n, entry.epoch, "void", entry.sender, entry.ts, "{}")


def target_of(change: Entry) -> Seq:
    """The message that a change is about."""
    return Seq(json.loads(change.body)["target"])


def preview(entry: Entry) -> str:
    """What is shown of an entry in one line: the start of a text or a title; nothing for other kinds and what is
    recalled."""
    name = {"text": "text", "merged": "title"}.get(entry.kind)
    if name is None or entry.state.recalled is not None:
        return ""
    text: str = json.loads(entry.body)[name]
    return " ".join(text.split())[:PREVIEW_CHARACTERS].rstrip()
