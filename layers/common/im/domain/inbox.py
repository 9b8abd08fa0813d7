"""The inbox: one row a user and conversation, made of watermarks.

Unread counts are differences of watermarks, never counters, so any write may be repeated or come in any order. `last`
moves with the fan-out, `read` with the reader and with what the user sends. Each is a (seq, n) of one entry, and `n`
counts the countable entries up to it: docs/decisions/0003-unread-from-watermarks.md. In a large group `last` moves in
one row that all members share, and completes theirs when they are read: docs/decisions/0008-large-groups.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from im.domain.ids import ConvId, Seq

NEVER: Final = Seq(0)
"""No entry has this seq."""


class Shown(NamedTuple):
    """The entry that a conversation list shows: the newest that is no change of a message."""

    seq: Seq
    ts: int


class Marks(NamedTuple):
    """How far somebody has read and received a conversation, as others are told."""

    read: Seq
    ack: Seq
    shown: bool = True
    """Whether they want others to know."""


UNMARKED: Final = Marks(NEVER, NEVER)


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation of one user. `shown` is None until the first fan-out has come."""

    conv: ConvId
    last_seq: Seq
    last_n: int
    shown: Shown | None
    read_seq: Seq
    read_n: int
    ack_seq: Seq
    mention_seq: Seq
    updated: int
    version: int
    """How often the row was written; never falls."""
    left_seq: Seq = NEVER
    """The last entry that the user may see, when they are no member any more; else 0."""
    shared_version: int = 0
    """How often the shared row was written that completes this one; 0 without one."""
    muted: bool = False
    pinned: bool = False
    draft: str = ""
    hidden_n: int | None = None
    """Not shown as long as its count of messages is this."""
    rev: int = 0
    """How often the user has set one of these four."""
    deleted: int = 0
    """How often the user has deleted entries for themself."""

    def completed_by(self, shared: Row) -> Row:
        """This row of a large group's member, with what the row that all of them share says of its newest entries.

        The own row has what is the member's own, and it may even be ahead: marks only move forward, so the further one
        of each is right.
        """
        newer = shared if shared.last_seq > self.last_seq else self
        shown = [row.shown for row in (self, shared) if row.shown is not None]
        return replace(
            self,
            last_seq=newer.last_seq,
            last_n=newer.last_n,
            shown=max(shown, default=None),
            mention_seq=max(self.mention_seq, shared.mention_seq),
            updated=max(self.updated, shared.updated),
            left_seq=self.left_seq or shared.left_seq,
            shared_version=shared.version,
        )

    @property
    def marks(self) -> Marks:
        return Marks(self.read_seq, self.ack_seq)

    @property
    def unread(self) -> int:
        """Countable entries after the read mark that the user did not send: what a user sends moves the mark.

        The read mark may be ahead of a fan-out that is under way: that is 0, never less.
        """
        return max(0, self.last_n - self.read_n)

    @property
    def at(self) -> int:
        """The time that the list is ordered by: of the entry that is shown, milliseconds since the epoch."""
        return self.shown.ts if self.shown is not None else self.updated

    @property
    def hidden(self) -> bool:
        """Whether the user does not want to see it until the next message."""
        return self.hidden_n is not None and self.last_n <= self.hidden_n

    @property
    def open_mention(self) -> int:
        """The seq of the newest entry that mentions the user and is not read yet; 0 without one."""
        return self.mention_seq if self.mention_seq > self.read_seq else 0


Hideable = Literal["receipts", "presence"]
"""What a user may keep to themself: what they have received and read; whether they are connected."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """All conversations of one user, and what concerns all of them."""

    rows: list[Row]
    hides: frozenset[str] = frozenset()
    """What the user does not show to others, of Hideable."""
    version: int = 0
    """How often the user has changed that."""
