"""Entries reach the inbox of every member, then their devices.

A batch is up to 10 entries of one conversation. Its cost does not grow with its length: one write a member, one
connection lookup a member, one push a connection.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from im.aws.queue import Queued
from im.domain.conversation import Direct, Member, parse_conversation
from im.domain.entries import Entry
from im.domain.ids import ConvId, Seq, UserId
from im.domain.push import PushOutcome
from im.domain.signin import Slot
from im.flows.members import MemberLists, peers_of
from im.flows.ports import Clock, Pusher, Queue
from im.flows.push_to import push_frames_to
from im.flows.send import EVERYBODY
from im.store.connections import ConnectionStore
from im.store.inbox import Delivery, InboxStore
from im.wire.entries import push_frames

MAX_REPAIRS: Final = 10
"""Members of one batch whose rows may fail before it is no longer a matter of these members."""

log = logging.getLogger("im")


class TooManyFailed(Exception):
    """So many rows could not be written that the whole batch must come again."""

    def __init__(self, failed: int, members: int) -> None:
        super().__init__(f"{failed} of {members} rows could not be written")
        self.failed = failed
        self.members = members


@dataclass(frozen=True, slots=True)
class FannedOut:
    """What one batch came to; for the log."""

    members: int
    rows: int
    """Rows that were moved: fewer than members on a repeat."""
    repairs: int
    """Members whose row failed and who are served again, alone."""
    pushed: int
    gone: int
    failed: int
    """Connections that did not get their push; they find the hole."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """The use case of the fan-out queue."""

    members: MemberLists
    inbox: InboxStore
    connections: ConnectionStore
    pusher: Pusher
    queue: Queue
    clock: Clock
    threads: Executor

    def deliver(self, conv: ConvId, batch: Sequence[Queued], deadline: int) -> FannedOut:
        """Bring `batch`, entries of `conv`, to all members. Repeating it changes nothing; clients drop repeats.

        1 W a member (2 or 3 in a rare race), ½ R a member, 1 push a connection and 32 KiB. The rows come before the
        pushes: a client that syncs on a push finds what it was told. Senders' rows come last of all: a sender's row
        that has reached an entry says that everybody's was written, or is in the queue to be.

        One member's failure is theirs alone: their entries are queued again in a group of their own, and everybody
        else gets theirs now. Raises only when many rows fail, or when those entries cannot be queued: the queue then
        brings the batch again. Pushes end at `deadline`, in milliseconds since the epoch, and never fail the batch.
        """
        queued = sorted({q.entry.seq: q for q in batch}.values(), key=lambda q: q.entry.seq)
        entries = [q.entry for q in queued]
        senders = {entry.sender for entry in entries}
        members = [m for m in self._members(conv, entries) if queued[0].only in {None, m.user}]
        write = partial(self._write_row, conv, entries)
        others = [m for m in members if m.user not in senders]
        written = dict(zip((m.user for m in others), self.threads.map(write, others), strict=True))
        self._repair(queued, [m for m in others if written[m.user] is None], len(members))
        own = [m for m in members if m.user in senders]
        written |= dict(zip((m.user for m in own), self.threads.map(write, own), strict=True))
        self._repair(queued, [m for m in own if written[m.user] is None], len(members))

        outcomes = self._push_all(queued, [m for m in members if written[m.user] is not None], deadline)
        return FannedOut(
            members=len(members),
            rows=list(written.values()).count(True),
            repairs=list(written.values()).count(None),
            pushed=outcomes.count(PushOutcome.SENT),
            gone=outcomes.count(PushOutcome.GONE),
            failed=outcomes.count(PushOutcome.FAILED),
        )

    def _members(self, conv: ConvId, entries: Sequence[Entry]) -> Sequence[Member]:
        conversation = parse_conversation(conv, "conv")
        if isinstance(conversation, Direct):
            return peers_of(conversation)
        return self.members.at(conv, entries[-1].epoch)

    def _write_row(self, conv: ConvId, entries: Sequence[Entry], member: Member) -> bool | None:
        """Whether the row was moved; None when it could not be written."""
        visible = [entry for entry in entries if entry.seq >= member.joined_seq]
        if not visible:
            return False
        own = [entry for entry in visible if entry.sender == member.user]
        mentions = [e.seq for e in visible if e.sender != member.user and _mentions(e, member.user)]
        delivery = Delivery(
            newest=visible[-1],
            own=own[-1] if own else None,
            mention=max(mentions, default=Seq(0)),
            start_seq=Seq(member.joined_seq - 1),
            start_n=member.joined_n,
        )
        try:
            return self.inbox.deliver(member.user, conv, delivery, self.clock())
        except Exception:  # whatever it is, it must not reach the other members
            log.exception("row failed", extra={"conv": conv, "member": member.user})
            return None

    def _repair(self, queued: Sequence[Queued], failed: Sequence[Member], members: int) -> None:
        """Queue the entries again for those whose row failed. 1 request an entry and member."""
        if not failed:
            return
        if queued[0].only is not None or len(failed) > MAX_REPAIRS:
            raise TooManyFailed(len(failed), members)
        for member in failed:
            for q in queued:
                self.queue.put_for(member.user, q)

    def _push_all(self, queued: Sequence[Queued], members: Sequence[Member], deadline: int) -> list[PushOutcome | None]:
        since = {m.user: m.joined_seq for m in members}
        try:
            slots = self.connections.slots_of(list(since))
        except Exception:
            log.exception("no connections could be read: nobody is pushed to", extra={"conv": queued[0].entry.conv})
            return [PushOutcome.FAILED] * len(members)
        targets = [(user, slot, since[user]) for user, of_user in slots.items() for slot in of_user]
        return list(self.threads.map(partial(self._push, queued, deadline), targets))

    def _push(self, queued: Sequence[Queued], deadline: int, target: tuple[UserId, Slot, Seq]) -> PushOutcome | None:
        user, slot, first = target
        entries = [q.entry for q in queued if q.entry.seq >= first and q.origin != slot.connection]
        if not entries:
            return None
        if self.clock() > deadline:
            return PushOutcome.FAILED
        return push_frames_to(self.pusher, self.connections, user, slot, push_frames(entries), self.clock())


def _mentions(entry: Entry, user: UserId) -> bool:
    return user in entry.mentions or EVERYBODY in entry.mentions
