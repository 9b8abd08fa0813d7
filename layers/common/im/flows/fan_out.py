"""Entries reach the inbox of every member, then their devices.

A batch is up to 10 entries of one conversation. Its cost does not grow with its length: one write a member, one
connection lookup a member, one push a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from im.aws.queue import Queued
from im.domain.conversation import Direct, Member, parse_conversation
from im.domain.entries import Entry
from im.domain.ids import ConvId, Seq, UserId
from im.domain.push import PushOutcome
from im.domain.signin import Slot
from im.flows.members import MemberLists, peers_of
from im.flows.ports import Clock, Pusher
from im.flows.push_to import push_frames_to
from im.flows.send import EVERYBODY
from im.store.connections import ConnectionStore
from im.store.inbox import Delivery, InboxStore
from im.wire.entries import push_frames


@dataclass(frozen=True, slots=True)
class FannedOut:
    """What one batch came to; for the log."""

    members: int
    rows: int
    """Rows that were moved: fewer than members on a repeat."""
    pushed: int
    gone: int
    failed: int


@dataclass(frozen=True, slots=True)
class FanOut:
    """The use case of the fan-out queue."""

    members: MemberLists
    inbox: InboxStore
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    threads: Executor

    def deliver(self, conv: ConvId, batch: Sequence[Queued]) -> FannedOut:
        """Bring `batch`, entries of `conv`, to all members. Repeating it changes nothing; clients drop repeats.

        1 W a member (2 in a rare race), ½ R a member, 1 push a connection and 32 KiB. The rows come before the
        pushes: a client that syncs on a push finds what it was told. Senders' rows come last of all: a sender's row
        that has reached an entry says that everybody's has. Raises when a row could not be written: the queue then
        brings the batch again.
        """
        queued = sorted({q.entry.seq: q for q in batch}.values(), key=lambda q: q.entry.seq)
        entries = [q.entry for q in queued]
        senders = {entry.sender for entry in entries}
        members = self._members(conv, entries)
        write = partial(self._write_row, conv, entries)
        moved = sum(self.threads.map(write, [m for m in members if m.user not in senders]))
        moved += sum(self.threads.map(write, [m for m in members if m.user in senders]))

        since = {m.user: m.joined_seq for m in members}
        slots = self.connections.slots_of(list(since))
        targets = [(user, slot, since[user]) for user, of_user in slots.items() for slot in of_user]
        outcomes = list(self.threads.map(partial(self._push, queued), targets))
        return FannedOut(
            members=len(members),
            rows=moved,
            pushed=outcomes.count(PushOutcome.SENT),
            gone=outcomes.count(PushOutcome.GONE),
            failed=outcomes.count(PushOutcome.FAILED),
        )

    def _members(self, conv: ConvId, entries: Sequence[Entry]) -> Sequence[Member]:
        conversation = parse_conversation(conv, "conv")
        if isinstance(conversation, Direct):
            return peers_of(conversation)
        return self.members.at(conv, entries[-1].epoch)

    def _write_row(self, conv: ConvId, entries: Sequence[Entry], member: Member) -> bool:
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
        return self.inbox.deliver(member.user, conv, delivery, self.clock())

    def _push(self, queued: Sequence[Queued], target: tuple[UserId, Slot, Seq]) -> PushOutcome | None:
        user, slot, first = target
        entries = [q.entry for q in queued if q.entry.seq >= first and q.origin != slot.connection]
        if not entries:
            return None
        return push_frames_to(self.pusher, self.connections, user, slot, push_frames(entries), self.clock())


def _mentions(entry: Entry, user: UserId) -> bool:
    return user in entry.mentions or EVERYBODY in entry.mentions
