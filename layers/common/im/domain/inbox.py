"""The inbox: one row a user and conversation, made of watermarks.

Unread counts are differences of watermarks, never counters, so any write may be repeated or come in any order. `last`
moves with the fan-out, `read` with the reader and with what the user sends. Each is a (seq, n) of one entry, and `n`
counts the countable entries up to it: docs/decisions/0003-unread-from-watermarks.md. In a large group `last` moves in
one row that all members share, and completes theirs when they are read: docs/decisions/0008-large-groups.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from im.domain.ids import ConvId, Seq, UserId

NEVER: Final = Seq(0)
"""No entry has this seq."""

SKEW_MS: Final = 120_000
"""How far the clocks of two function instances, plus the time a write is under way, may lie apart."""


@dataclass(frozen=True, slots=True)
class Last:
    """What a conversation list shows of the newest entry."""

    kind: str
    sender: UserId
    ts: int
    preview: str


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation of one user. `last` is None until the first fan-out has come."""

    conv: ConvId
    last_seq: Seq
    last_n: int
    last: Last | None
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

    def completed_by(self, shared: Row) -> Row:
        """This row of a large group's member, with what the row that all of them share says of its newest entries.

        The own row has what is the member's own, and it may even be ahead: marks only move forward, so the further one
        of each is right.
        """
        newer = shared if shared.last_seq > self.last_seq else self
        return replace(
            self,
            last_seq=newer.last_seq,
            last_n=newer.last_n,
            last=newer.last,
            mention_seq=max(self.mention_seq, shared.mention_seq),
            updated=max(self.updated, shared.updated),
            left_seq=self.left_seq or shared.left_seq,
            shared_version=shared.version,
        )

    @property
    def unread(self) -> int:
        """Countable entries after the read mark that the user did not send: what a user sends moves the mark.

        The read mark may be ahead of a fan-out that is under way: that is 0, never less.
        """
        return max(0, self.last_n - self.read_n)

    @property
    def open_mention(self) -> int:
        """The seq of the newest entry that mentions the user and is not read yet; 0 without one."""
        return self.mention_seq if self.mention_seq > self.read_seq else 0


@dataclass(frozen=True, slots=True)
class InboxVersion:
    """The state of a whole inbox: differs whenever a row was written. Clients see it as opaque text."""

    newest: int
    digest: int

    def __str__(self) -> str:
        return f"{self.newest:x}.{self.digest:x}"


def version_of(rows: Iterable[Row]) -> InboxVersion:
    """The version of an inbox with these rows: a digest of how often each was written, so that no clock can hide a
    change from a comparison."""
    rows = sorted(rows, key=lambda row: row.conv)
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(f"{row.conv} {row.version} {row.shared_version};".encode())
    return InboxVersion(max((row.updated for row in rows), default=0), int.from_bytes(digest.digest()) if rows else 0)


def parse_version(text: str) -> InboxVersion | None:
    """The version that `text` names, or None when it is not one of ours: then the client gets everything."""
    newest, _, digest = text.partition(".")
    try:
        return InboxVersion(int(newest, 16), int(digest, 16))
    except ValueError:
        return None


def changed_since(rows: Iterable[Row], since: InboxVersion | None) -> list[Row]:
    """The rows that may have changed after `since`, and some more: a row is told twice rather than never."""
    rows = list(rows)
    if since is None:
        return rows
    if version_of(rows) == since:
        return []
    return [row for row in rows if row.updated > since.newest - SKEW_MS]
