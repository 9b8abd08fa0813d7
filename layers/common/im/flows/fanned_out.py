"""What the fan-out of one batch came to; for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from im.aws.queue import Queued
from im.domain.ids import UserId
from im.flows.push_entries import Pushed

REPEATS_MS: Final = 4 * 60_000
"""Somewhat less than SQS drops repeats for."""


@dataclass(frozen=True, slots=True)
class FannedOut:
    """Counts of one batch."""

    members: int = 0
    """Members whose rows were looked at: those of a small group, and in a large one senders and mentioned alone."""
    rows: int = 0
    """Rows that were moved: fewer on a repeat."""
    repairs: int = 0
    """Members whose row failed and who are served again, alone."""
    parts: int = 0
    """Parts of a large group that are pushed to by themselves."""
    pushed: int = 0
    gone: int = 0
    failed: int = 0
    found: int = 0
    """Entries that nobody but the auditor had queued."""

    @classmethod
    def of(
        cls, members: int, written: Mapping[UserId, bool | None], pushed: Pushed, parts: int = 0, found: int = 0
    ) -> FannedOut:
        """The counts of rows and pushes."""
        outcomes = list(written.values())
        return cls(
            members=members,
            rows=outcomes.count(True),
            repairs=outcomes.count(None),
            parts=parts,
            pushed=pushed.pushed,
            gone=pushed.gone,
            failed=pushed.failed,
            found=found,
        )

    def __add__(self, other: FannedOut) -> FannedOut:
        return FannedOut(
            members=max(self.members, other.members),
            rows=self.rows + other.rows,
            repairs=self.repairs + other.repairs,
            parts=self.parts + other.parts,
            pushed=self.pushed + other.pushed,
            gone=self.gone + other.gone,
            failed=self.failed + other.failed,
            found=self.found + other.found,
        )


def is_known(queued: Sequence[Queued], written: Mapping[UserId, bool | None], now: int) -> bool:
    """Whether entries that the auditor has queued have been fanned out before: there was nothing left to move.

    A stream that comes minutes late brings everything again. Whoever has not got a push of it finds the hole. Within
    the time in which SQS drops repeats, what the auditor has queued is what nobody else had.
    """
    if not all(q.found and now - q.entry.ts > REPEATS_MS for q in queued):
        return False
    return not any(moved or moved is None for moved in written.values())
