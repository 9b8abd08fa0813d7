"""Entries of a large group: no write a member, whatever its size.

What all members' rows have in common, the newest entry and its count, stands in one row that they share; a row is
completed by it when it is read. Own rows are written for those alone whom an entry concerns: who sent it, and who is
mentioned by name. Only members who may be connected (store/audience.py) are looked up for pushes.
Why, and from which size on: docs/decisions/0008-large-groups.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from im.aws.queue import Queued
from im.domain.entries import epoch_before, newest_shown
from im.domain.group_entries import added_by, ends_group
from im.domain.group_rules import EVERYBODY
from im.domain.ids import ConvId, Seq, UserId
from im.flows.broadcast import Broadcast
from im.flows.fanned_out import FannedOut, is_known
from im.flows.members import MemberLists
from im.flows.ports import Clock
from im.flows.push_entries import EntryPusher, Pushed
from im.flows.row_writes import RowWriter
from im.store.audience import AudienceStore
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.group_rows import GroupRowStore, Prepared
from im.store.groups import GroupStore
from im.store.inbox import Delivery, InboxStore

log = logging.getLogger("im")


class NoSuchGroup(Exception):
    """A queue message of another time: a human must look at it."""


@dataclass(frozen=True, slots=True)
class LargeFanOut:
    """The fan-out of large groups."""

    groups: GroupStore
    history: ConversationStore
    members: MemberLists
    inbox: InboxStore
    group_rows: GroupRowStore
    connections: ConnectionStore
    audience: AudienceStore
    rows: RowWriter
    pusher: EntryPusher
    broadcast: Broadcast
    clock: Clock
    threads: Executor

    def deliver(self, conv: ConvId, queued: Sequence[Queued], deadline: int) -> FannedOut:
        """Bring entries of a large group to its members. Repeating it changes nothing.

        1 W for the shared row, 1 W and 2 R for each sender and each member mentioned by name, 2 R; then the pushes:
        see Broadcast. Raises when a row cannot be written: the queue then brings the batch again.
        """
        entries = [q.entry for q in queued]
        head = self.groups.head(conv, consistent=True)
        if head is None:
            raise NoSuchGroup(conv)
        self._prepare(conv, max(entries[-1].large, head.large), entries[-1].epoch)
        concerned = {e.sender for e in entries} | {UserId(u) for e in entries for u in e.mentions if u != EVERYBODY}
        # Their rows are completed by nothing any more: whoever was removed gets what they saw up to their leaving.
        removed = self.members.left_since(conv, epoch_before(entries[0]), head.epoch)
        people = self.members.among(conv, entries[-1].epoch, sorted(concerned | removed.keys()))
        left = {user: people[user] for user in removed if user in people and people[user][-1].last is not None}
        only = queued[0].only
        if only is not None:
            people = {only: people[only]} if only in people else {}
        written = self.rows.write(conv, queued, people)
        if only is not None:
            return FannedOut.of(len(people), written, self.pusher.push(queued, people, deadline))
        # After the senders' own rows, so that nobody's own message is unread for them.
        everybody = [entry.seq for entry in entries if EVERYBODY in entry.mentions]
        newest = Delivery(
            newest=entries[-1],
            shown=newest_shown(entries),
            own=None,
            mention=max(everybody, default=Seq(0)),
            ends=ends_group(entries[-1]),
        )
        moved = self.inbox.deliver_to_all(conv, newest, self.clock())
        if not moved and is_known(queued, written, self.clock()):
            return FannedOut.of(len(people), written, Pushed())
        found = sum(q.found for q in queued)
        pushed = self.pusher.push(queued, left, deadline)
        try:
            broadcast, parts = self.broadcast.push(conv, queued, deadline, head.member_count, skip=left.keys())
        except Exception:  # the rows are right, and clients find out: nothing that the others should wait for
            log.exception("nobody is pushed to", extra={"conv": conv})
            return FannedOut.of(len(people), written, pushed, found=found)
        return FannedOut.of(len(people), written, pushed + broadcast, parts, found)

    def _prepare(self, conv: ConvId, since: Seq, epoch: Seq) -> None:
        """See to what entries of a large group rely on, as of the state `epoch`. 1 R when nothing is to be done.

        When the group has just become large: from now on complete every member's row by the shared one, before that
        moves: then nobody misses the move. Once 1 W and 1 R a member. Members who join later have it from their
        joining; those of them who are connected are noted in the audience: 1 R for each change and for each of them.

        Whoever brings the first entry that needs it does it: the entry of the change itself may come later, or never.
        """
        prepared = self.group_rows.prepared(conv)
        if prepared.since >= since and prepared.epoch >= epoch:
            return
        changes = self.history.changes(conv, prepared.epoch, epoch) if prepared.since >= since else None
        if changes is not None:
            newcomers = added_by(changes)
        else:
            members, _ = self.groups.members(conv, epoch)
            newcomers = [member.user for member in members]
            if prepared.since < since:
                before = [member.user for member in members if member.joined_seq <= since]
                list(self.threads.map(partial(self._share_row, conv), before))
        try:
            self._add_to_audience(conv, newcomers)
        except Exception:  # a matter of pushes, and tried again with the next entry: the rows shall not wait for it
            log.exception("some who are connected get no pushes", extra={"conv": conv})
        else:
            self.group_rows.note_prepared(conv, Prepared(since, epoch))

    def _share_row(self, conv: ConvId, user: UserId) -> None:
        self.group_rows.share_row(user, conv)

    def _add_to_audience(self, conv: ConvId, users: Sequence[UserId]) -> None:
        """Note those of `users` who are connected. 1 R each, 1 W a connected one.

        They are asked after their row was made to tell that the group is large: a connection that opens meanwhile
        reads that (flows/connect.py), or is seen here.
        """
        if not users:
            return
        now = self.clock()
        found = self.connections.of(users, consistent=True)
        alive = [(user, theirs) for user, theirs in found.items() if any(slot.alive(now) for slot in theirs.slots)]
        list(self.threads.map(lambda item: self.audience.add(conv, item[0], item[1].opened, now), alive))
