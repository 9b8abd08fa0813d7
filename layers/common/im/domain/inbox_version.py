"""The version of an inbox: which of its rows have changed since a client has seen it, whatever any clock says.

Rows are spread over buckets by their conversation; the version has a digest of each bucket, of how often each of its
rows was written. A row that was written changes the digest of its bucket, and all rows of a bucket that differs are
told: some too many, never one too few. Clients see it as opaque text: 32 characters for an inbox of up to 32
conversations, some 1,700 for one of 2,000 and more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from im.domain.inbox import Inbox, Row

DIGEST_BYTES: Final = 5
"""Two states of a bucket look alike once in 10^12."""

ROWS_A_BUCKET: Final = 8
FEWEST_BUCKETS: Final = 4
MOST_BUCKETS: Final = 256


@dataclass(frozen=True, slots=True)
class InboxVersion:
    """The state of a whole inbox."""

    about: int
    """How often what concerns all of it was written."""
    buckets: tuple[int, ...]

    def __str__(self) -> str:
        digests = b"".join(digest.to_bytes(DIGEST_BYTES) for digest in self.buckets)
        return base64.urlsafe_b64encode(self.about.to_bytes(4) + digests).rstrip(b"=").decode()


def version_of(inbox: Inbox) -> InboxVersion:
    """The version of an inbox."""
    count = FEWEST_BUCKETS
    while count < MOST_BUCKETS and count * ROWS_A_BUCKET < len(inbox.rows):
        count *= 2
    return InboxVersion(inbox.version, _digests(inbox, count))


def parse_version(text: str) -> InboxVersion | None:
    """The version that `text` names, or None when it is not one of ours: then the client gets everything."""
    try:
        data = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    count, rest = divmod(len(data) - 4, DIGEST_BYTES)
    if rest or count not in _COUNTS:
        return None
    starts = range(4, len(data), DIGEST_BYTES)
    return InboxVersion(int.from_bytes(data[:4]), tuple(int.from_bytes(data[at : at + DIGEST_BYTES]) for at in starts))


def changed_since(inbox: Inbox, since: InboxVersion | None) -> list[Row]:
    """The rows that were written after `since`, and some more: a row is told twice rather than never."""
    if since is None:
        return inbox.rows
    count = len(since.buckets)
    now = _digests(inbox, count)
    return [row for row in inbox.rows if now[at := _place(row) % count] != since.buckets[at]]


_COUNTS: Final = {FEWEST_BUCKETS << doublings for doublings in range(7)}


def _digests(inbox: Inbox, count: int) -> tuple[int, ...]:
    """Of each bucket, the digests of its rows together: their order does not matter."""
    out = [0] * count
    for row in inbox.rows:
        out[_place(row) % count] ^= _digest(f"{row.conv} {row.version} {row.shared_version}")
    return tuple(out)


def _place(row: Row) -> int:
    return _digest(row.conv)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest())
