"""What a user has deleted of a conversation for themself: ranges of seqs, ascending, never touching each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from im.domain.errors import TooLarge

MAX_RANGES: Final = 500
"""Of one user and conversation: 7 KiB at most, and they fit into a frame."""

Range = tuple[int, int]
"""First and last seq."""


@dataclass(frozen=True, slots=True)
class Deletions:
    """The deleted ranges of one conversation; `version` counts how often they have grown."""

    version: int = 0
    ranges: tuple[Range, ...] = ()

    def __contains__(self, seq: int | None) -> bool:
        """Whether an entry is deleted."""
        return seq is not None and any(first <= seq <= last for first, last in self.ranges)

    def start_of(self, seq: int) -> int:
        """The first entry of the deleted range that holds `seq`."""
        return next(first for first, last in self.ranges if first <= seq <= last)

    def with_more(self, more: Iterable[Range]) -> Deletions:
        """These and `more`, one version on; these when nothing is new. Raises TooLarge."""
        ranges = _merged([*self.ranges, *more])
        if ranges == self.ranges:
            return self
        if len(ranges) > MAX_RANGES:
            raise TooLarge("deleted ranges of one conversation", len(ranges), MAX_RANGES)
        return Deletions(self.version + 1, ranges)


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    out: list[Range] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)
