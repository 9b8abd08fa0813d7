"""Give an entry its place in the log: once for each `cmid`, without holes, in one order for everybody.

The log is its own counter: the next entry goes to the key right after the newest one, if that key is free. Why this
and not a counter beside the log: docs/decisions/0002-one-log-per-conversation.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from im.domain.entries import Draft, Entry, Tail, tail_at
from im.domain.errors import ImError
from im.domain.ids import Seq
from im.flows.crowds import DEADLINE_MS, require_time
from im.flows.ports import Clock
from im.store.conversations import ConversationStore
from im.store.keys import MAX_SEQ

PAGE: Final = 100

MIN_ROUND_TRIP_MS: Final = 4
MAX_WAIT_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an entry stands."""

    entry: Entry
    duplicate: bool
    """Whether an earlier request had stored it already."""


Admit = Callable[[Seq], None]
"""Told the epoch of a conversation; raises when the draft may not be sent in that state of it."""


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends to the logs of `store`."""

    store: ConversationStore
    clock: Clock
    pause: Callable[[float], None] = time.sleep
    """Waits for so many seconds."""

    def append(self, draft: Draft, admit: Admit = lambda _: None) -> Appended:
        """Store `draft` as the newest entry, or find it when its `cmid` is in the log already.

        2 W and ½ R; each time that somebody else was faster costs 1 W and 1 R more. Raises Unavailable when that
        goes on for 10 s, and what `admit` raises, which is asked about the state of the conversation that the entry
        gets its place in. What has been stored already is found all the same: it was admitted then.

        Why one `cmid` cannot come twice: its entry, if there is one, stands at `first` or later (`claim_cmid`). Whoever
        writes has looked at every entry from `first` to the one before their own. Of two writers, the later one has
        therefore seen the entry of the earlier.
        """
        if draft.cmid is None:
            raise ValueError("an entry without a cmid cannot be found again, so it cannot be repeated")
        deadline = self.clock() + DEADLINE_MS
        tail = self.store.tail(draft.conv)
        try:
            admit(tail.epoch)
        except ImError:
            found = self._stored_before(draft, tail, deadline)
            if found is None:
                raise
            return Appended(found, duplicate=True)
        admitted = tail.epoch
        first = self.store.claim_cmid(draft.conv, draft.sender, draft.cmid, Seq(tail.seq + 1), self.clock() // 1000)
        if first != tail.seq + 1:
            # Claimed before: by an earlier try, or by the same frame on another connection.
            found, tail = self._look(draft, tail, min(first, tail.seq + 1), deadline)
            if found is not None:
                return Appended(found, duplicate=True)
        conflicts = 0
        while True:
            if tail.epoch != admitted:
                admit(tail.epoch)
                admitted = tail.epoch
            started = self.clock()
            entry = draft.following(tail, started)
            occupant = self.store.append(entry)
            if occupant is None:
                return Appended(entry, duplicate=False)
            if _same(draft, occupant):
                return Appended(occupant, duplicate=True)
            tail = tail_at(occupant)
            conflicts += 1
            require_time(self.clock(), deadline)
            if conflicts > 1:
                # The first conflict goes straight on to the next place. After more there is a crowd, and that place
                # is about to be taken too: wait, longer each time and each sender differently, until there are about
                # as many tries as places; then see how far the log has come.
                round_trip = max(MIN_ROUND_TRIP_MS, self.clock() - started)
                rounds = min(2**conflicts, MAX_WAIT_ROUNDS)
                self.pause(random.uniform(0, rounds * round_trip) / 1000)  # noqa: S311 - spreads load, guards nothing
                found, tail = self._look(draft, tail, tail.seq + 1, deadline)
                if found is not None:
                    return Appended(found, duplicate=True)

    def stored(self, draft: Draft) -> Entry | None:
        """The entry that `draft` has become already, known by its sender and `cmid`. 2½ R and more."""
        return self._stored_before(draft, self.store.tail(draft.conv), self.clock() + DEADLINE_MS)

    def _stored_before(self, draft: Draft, tail: Tail, deadline: int) -> Entry | None:
        """The entry of a `cmid` that is noted already, if it has come that far. 1 R and more, for refused senders."""
        if draft.cmid is None:
            return None
        first = self.store.claimed(draft.conv, draft.sender, draft.cmid)
        return None if first is None else self._look(draft, tail, first, deadline)[0]

    def _look(self, draft: Draft, tail: Tail, first: int, deadline: int) -> tuple[Entry | None, Tail]:
        """Search `draft` from `first` to the end of the log. Returns it, or None and the end that was reached.

        1 R a 4 KiB of entries, consistent. It begins with one entry, which is the one nearly always.
        """
        limit = 1
        while True:
            page = self.store.entries(draft.conv, first, MAX_SEQ, limit=limit, ascending=True, consistent=True)
            limit = PAGE
            for entry in page.entries:
                if _same(draft, entry):
                    return entry, tail
            if page.entries:
                tail = max(tail, tail_at(page.entries[-1]), key=lambda t: t.seq)
                first = page.entries[-1].seq + 1
            if page.whole:
                return None, tail
            require_time(self.clock(), deadline)


def _same(draft: Draft, entry: Entry) -> bool:
    """Whether `entry` is what `draft` became: one sender, one `cmid`."""
    return entry.cmid == draft.cmid and entry.sender == draft.sender
