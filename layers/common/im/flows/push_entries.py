"""Entries reach the open connections of those who may see them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from im.aws.queue import Queued
from im.domain.group import Spans, visible
from im.domain.ids import UserId
from im.domain.push import PushOutcome
from im.domain.signin import Slot
from im.flows.ports import Clock, Pusher
from im.flows.push_to import push_frames_to
from im.store.connections import ConnectionStore
from im.wire.entries import push_frames

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of the pushes of one batch: connections."""

    pushed: int = 0
    gone: int = 0
    failed: int = 0
    """Connections that did not get their push; they find the hole."""

    def __add__(self, other: Pushed) -> Pushed:
        return Pushed(self.pushed + other.pushed, self.gone + other.gone, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class EntryPusher:
    """Pushes entries."""

    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    threads: Executor

    def push(self, queued: Sequence[Queued], recipients: Mapping[UserId, Spans], deadline: int) -> Pushed:
        """Push ascending entries of one conversation to all connections of the recipients, each what they may see.

        ½ R a recipient, 1 push a connection and 32 KiB. The connection that sent an entry does not get it. No push
        begins after `deadline`, in milliseconds since the epoch. Never raises: a client finds the hole by itself.
        """
        try:
            found = self.connections.of(list(recipients))
        except Exception:
            log.exception("no connections could be read: nobody is pushed to", extra={"conv": queued[0].entry.conv})
            return Pushed(failed=len(recipients))
        targets = [(user, slot, recipients[user]) for user, theirs in found.items() for slot in theirs.slots]
        outcomes = list(self.threads.map(partial(self._push, queued, deadline), targets))
        return Pushed(
            pushed=outcomes.count(PushOutcome.SENT),
            gone=outcomes.count(PushOutcome.GONE),
            failed=outcomes.count(PushOutcome.FAILED),
        )

    def _push(self, queued: Sequence[Queued], deadline: int, target: tuple[UserId, Slot, Spans]) -> PushOutcome | None:
        user, slot, spans = target
        entries = [q.entry for q in queued if visible(spans, q.entry.seq) and q.origin != slot.connection]
        if not entries:
            return None
        if self.clock() > deadline:
            return PushOutcome.FAILED
        return push_frames_to(self.pusher, self.connections, user, slot, push_frames(entries), self.clock())
