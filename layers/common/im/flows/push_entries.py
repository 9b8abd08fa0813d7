"""Entries reach the open connections of those who may see them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from im.aws.queue import Queued
from im.domain.entries import Entry
from im.domain.group import Spans, visible
from im.domain.ids import ConnectionId, ConvId, Seq, UserId
from im.domain.push import PushOutcome
from im.domain.signin import Slot
from im.flows.ports import Clock, Pusher
from im.flows.push_to import push_frames_to
from im.flows.seen import answered, as_seen, known_at, quotes
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.wire.entries import push_frames

log = logging.getLogger("im")


LATE_MS: Final = 10_000
"""An entry that is older when it is pushed is read again."""

Target = tuple[UserId, Slot, Spans]
"""One connection, whose it is, and what they may see."""

Mix = Callable[[list[Target]], None]
"""Puts connections into the order in which they are pushed to."""


def as_found(_: list[Target]) -> None:
    """Leaves the order as it is: by member, the same each time."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of the pushes of one batch: connections."""

    pushed: int = 0
    gone: int = 0
    failed: int = 0
    """Connections that did not get their push; they find the hole."""
    users: frozenset[UserId] = frozenset()
    """Whose connections got a push, or could not be reached: whether they have received it, their acks say."""

    def counts(self) -> Mapping[str, int]:
        """The counts, for the log."""
        return {"pushed": self.pushed, "gone": self.gone, "failed": self.failed}

    def __add__(self, other: Pushed) -> Pushed:
        return Pushed(
            self.pushed + other.pushed, self.gone + other.gone, self.failed + other.failed, self.users | other.users
        )


def read_again(
    log: ConversationStore, conv: ConvId, seqs: Sequence[Seq], origins: Mapping[Seq, ConnectionId]
) -> list[Queued]:
    """The entries as they are now, for those who see what came up to the newest of them. 1 R each."""
    found = log.found([(conv, seq) for seq in seqs], consistent=True)
    entries = [found[conv, seq] for seq in seqs if (conv, seq) in found]
    return [Queued(known_at(entry, entries[-1].seq), origins.get(entry.seq)) for entry in entries]


@dataclass(frozen=True, slots=True)
class EntryPusher:
    """Pushes entries."""

    log: ConversationStore
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    threads: Executor
    mix: Mix = field(default=as_found)

    def push(
        self, queued: Sequence[Queued], recipients: Mapping[UserId, Spans], deadline: int, *, as_now: bool = False
    ) -> Pushed:
        """Push ascending entries of one conversation to all connections of the recipients, each what they may see.

        ½ R a recipient and an answered message, 1 push a connection and 32 KiB. The connection that sent an entry does
        not get it. No push begins after `deadline`, in milliseconds since the epoch. Never raises: a client finds the
        hole by itself. With `as_now` the entries have just been read (`known_at` the newest of them); else those that
        come late are read again.
        """
        try:
            found = self.connections.of(list(recipients))
        except Exception:
            log.exception("no connections could be read: nobody is pushed to", extra={"conv": queued[0].entry.conv})
            return Pushed(failed=len(recipients), users=frozenset(recipients))
        targets = [(user, slot, recipients[user]) for user, theirs in found.items() for slot in theirs.slots]
        self.mix(targets)
        try:
            queued = self._as_now(queued) if targets and not as_now else queued
        except Exception:
            log.exception("old entries could not be read again", extra={"conv": queued[0].entry.conv})
            return Pushed(failed=len(targets), users=frozenset(user for user, _, _ in targets))
        quoted = self._answered([q.entry for q in queued]) if targets else {}
        outcomes = list(self.threads.map(partial(self._push, queued, quoted, deadline), targets))
        return Pushed(
            pushed=outcomes.count(PushOutcome.SENT),
            gone=outcomes.count(PushOutcome.GONE),
            failed=outcomes.count(PushOutcome.FAILED),
            users=frozenset(
                user
                for (user, _, _), outcome in zip(targets, outcomes, strict=True)
                if outcome in {PushOutcome.SENT, PushOutcome.FAILED}
            ),
        )

    def _as_now(self, queued: Sequence[Queued]) -> list[Queued]:
        """What comes late (a repeat, a repair, a redrive) or was found, as it is now: it may be recalled. 1 R each."""
        said = [q for q in queued if q.entry.countable or q.entry.kind == "edit"]
        late = [q.entry for q in said if q.found or q.changed or self.clock() - q.entry.ts > LATE_MS]
        found = self.log.found([(entry.conv, entry.seq) for entry in late], consistent=True) if late else {}
        newest = queued[-1].entry.seq
        now = {place: known_at(entry, newest) for place, entry in found.items()}
        return [replace(q, entry=now.get((q.entry.conv, q.entry.seq), q.entry)) for q in queued]

    def _answered(self, entries: Sequence[Entry]) -> Mapping[Seq, Entry]:
        try:
            found = answered(self.log, entries[0].conv, entries)
            return {seq: known_at(entry, entries[-1].seq) for seq, entry in found.items()}
        except Exception:  # a quote is a courtesy too
            log.exception("no quotes", extra={"conv": entries[0].conv})
            return {}

    def _push(
        self,
        queued: Sequence[Queued],
        quoted: Mapping[Seq, Entry],
        deadline: int,
        target: Target,
    ) -> PushOutcome | None:
        user, slot, spans = target
        open_to_them = [q for q in queued if visible(spans, q.entry.seq) and q.origin != slot.connection]
        entries = [as_seen(q.entry, spans) for q in open_to_them]
        if not entries:
            return None
        if self.clock() > deadline:
            return PushOutcome.FAILED
        frames = push_frames(entries, quotes(quoted, spans))
        return push_frames_to(self.pusher, self.connections, user, slot, frames, self.clock())
