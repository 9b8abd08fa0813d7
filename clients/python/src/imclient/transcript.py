"""The entries of one conversation as one client has them, and which ones it still lacks. Pure: no I/O, no clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple, Self

from imclient.frames import LARGEST, Entry
from imclient.ids import ConvId


class Gap(NamedTuple):
    """A part of a log, every seq from `first` to `last`, both included: what is missing, to be fetched, or settled."""

    first: int
    last: int

    def __len__(self) -> int:
        """How many seqs it spans."""
        return self.last - self.first + 1


class Transcript:
    """Keeps each entry once, by seq, in whatever order entries come, and knows what is missing.

    - `watermark`: nothing is missing from `floor + 1` up to it.
    - `horizon`: the highest seq known to exist, by an entry or by being told (`expect`, `settle`).
    - `floor`: what lies at or below it is not needed. Such entries can be inserted, but are never missing.
    - settled: the server has said what there is for this user. What is not held there is closed to them, not missing.
    - outdated: held, but missing all the same, because it may have been recalled while nobody could tell this user.
    - `era`: how often it was reopened or restarted. What the server said in an earlier one settles nothing.
    - elsewhere: held by who keeps it (`restored`), and not here. It is no news, and it is not missing.
    """

    def __init__(self, conv: ConvId, *, floor: int = 0) -> None:
        if floor < 0:
            raise ValueError(f"a floor is a seq or 0, not {floor}")
        self.conv = conv
        self.floor = floor
        self._watermark = floor
        self._horizon = floor
        self._entries: dict[int, Entry] = {}
        self.era = 0
        self._as_of: dict[int, int] = {}  # of each entry: how far the log had come then, as far as that is known
        self._came = 0  # the newest entry that says that this user has come
        self._outdated: set[int] = set()
        self._settled: list[Gap] = []  # above the watermark; ascending, neither adjoining nor overlapping
        self._elsewhere: list[Gap] = []

    @classmethod
    def restored(cls, conv: ConvId, *, floor: int, watermark: int, horizon: int, above: Iterable[int] = ()) -> Self:
        """What was kept: all that there is between floor and watermark, and the seqs `above` it."""
        made = cls(conv, floor=floor)
        made._elsewhere = _joined([Gap(floor + 1, watermark), *(Gap(seq, seq) for seq in above)])
        made._settled = list(made._elsewhere)
        made._horizon = max([floor, horizon, *(gap.last for gap in made._elsewhere)])
        made._advance()
        return made

    def __len__(self) -> int:
        """How many entries are held."""
        return len(self._entries)

    def __contains__(self, seq: int) -> bool:
        """Whether the entry with this seq is held, here or elsewhere (where what is closed to this user counts too)."""
        if seq in self._entries:
            return True
        place = bisect_right(self._elsewhere, (seq, LARGEST))
        return place > 0 and seq <= self._elsewhere[place - 1].last

    def holds(self, seq: int) -> bool:
        """Whether the entry with this seq is held here."""
        return seq in self._entries

    def __getitem__(self, seq: int) -> Entry:
        """The entry with this seq. Raises KeyError when it is not held."""
        return self._entries[seq]

    @property
    def watermark(self) -> int:
        """The highest seq up to which nothing is missing."""
        return self._watermark

    @property
    def horizon(self) -> int:
        """The highest seq known to exist."""
        return self._horizon

    @property
    def complete(self) -> bool:
        """Whether every entry that is known to exist is held, or closed to this user. Constant time."""
        return self._watermark == self._horizon

    def insert(self, entry: Entry, as_of: int = 0) -> bool:
        """Keep `entry`; True when it is new, False when its seq was held already.

        `as_of` is how far the log had come when this was what the entry said: of two, the later one stays, and the
        first where that is not known.

        Raises ValueError for an entry of another conversation, or a seq below 1.
        """
        if entry.conv != self.conv:
            raise ValueError(f"an entry of {entry.conv} does not belong to {self.conv}")
        if entry.seq < 1:
            raise ValueError(f"a seq starts at 1, this is {entry.seq}")
        is_new = entry.seq not in self
        if not is_new and as_of <= self._as_of.get(entry.seq, 0):
            return False
        self._entries[entry.seq] = entry
        self._as_of[entry.seq] = as_of
        if as_of >= self._came:
            self._outdated.discard(entry.seq)
        elif is_new and entry.seq < self._came:
            self._outdated.add(entry.seq)  # it is as it was before this user came back
        self._horizon = max(self._horizon, entry.seq)
        self._advance()
        return is_new

    def expect(self, last_seq: int) -> None:
        """Learn that entries exist up to `last_seq`. What was known to exist stays known."""
        self._horizon = max(self._horizon, last_seq)

    def settle(self, first: int, last: int) -> None:
        """Learn that from `first` to `last` there is nothing for this user but what is held: the rest is closed to
        them, and not missing. Nothing is learnt from a `last` below `first`.

        What the server gave is inserted before this: the watermark passes over what is settled. What is outdated still
        is closed by now, and goes.
        """
        if last < first:
            return
        for seq in [seq for seq in self._outdated if first <= seq <= last]:
            self._outdated.discard(seq)
            del self._entries[seq]
        self._settled = _joined([*self._settled, Gap(first, last)])
        self._horizon = max(self._horizon, last)
        self._advance()

    def reopen(self, at: int = 0) -> None:
        """Learn that with the entry `at` this user came back: what was closed may be open now, and what they saw before
        may have been recalled meanwhile. Every seq below it that is not held is missing again, and so is every one that
        is held as it was before."""
        self.era += 1
        self._settled, self._elsewhere = [], []
        self._came = max(self._came, at)
        self._outdated |= {seq for seq in self._entries if seq < at and self._as_of[seq] < at}
        self._watermark = self.floor
        self._advance()

    def restart(self, floor: int) -> None:
        """Forget what there is up to `floor`: it is not needed, or is loaded anew, downwards. What is not held here is
        missing above it, and so are the seqs that were settled there."""
        self.era += 1
        self.floor = self._watermark = floor
        self._entries = {seq: entry for seq, entry in self._entries.items() if seq > floor}
        self._as_of = {seq: as_of for seq, as_of in self._as_of.items() if seq > floor}
        self._outdated.clear()
        self._settled, self._elsewhere = [], []
        self._horizon = max(self._horizon, floor)
        self._advance()

    def lower(self, floor: int) -> None:
        """Learn that between `floor` and the floor until now there is nothing for this user but what is held."""
        self.floor = min(self.floor, floor)

    def missing(self, up_to: int | None = None) -> list[Gap]:
        """The gaps between the watermark and `up_to` (the horizon when not given), ascending and not adjoining."""
        end = self._horizon if up_to is None else min(up_to, self._horizon)
        held = (Gap(seq, seq) for seq in self._entries if self._watermark < seq <= end and seq not in self._outdated)
        gaps: list[Gap] = []
        start = self._watermark + 1
        for here in [*_joined([*self._settled, *held]), Gap(end + 1, end + 1)]:
            if start < here.first and start <= end:
                gaps.append(Gap(start, min(here.first - 1, end)))
            start = here.last + 1
        return gaps

    def current(self) -> list[Entry]:
        """Every entry held that is not outdated, ascending by seq."""
        return [entry for entry in self.entries() if self.is_current(entry.seq)]

    def is_current(self, seq: int) -> bool:
        """Whether the entry with this seq is held here and not outdated."""
        return seq in self._entries and seq not in self._outdated

    def entries(self) -> list[Entry]:
        """Every entry held, ascending by seq; a gap is simply not there."""
        return [self._entries[seq] for seq in sorted(self._entries)]

    def _advance(self) -> None:
        while True:
            if self._watermark + 1 in self._entries and self._watermark + 1 not in self._outdated:
                self._watermark += 1
            elif self._settled and self._settled[0].first <= self._watermark + 1:
                self._watermark = max(self._watermark, self._settled.pop(0).last)
            else:
                return


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    """The same seqs as ascending gaps that neither adjoin nor overlap."""
    joined: list[Gap] = []
    for gap in sorted(gap for gap in gaps if gap.first <= gap.last):
        if joined and gap.first <= joined[-1].last + 1:
            joined[-1] = Gap(joined[-1].first, max(joined[-1].last, gap.last))
        else:
            joined.append(gap)
    return joined
