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
from im.domain.group import Member
from im.domain.group_entries import added_by, ends_group, removed_by
from im.domain.group_rules import EVERYBODY
from im.domain.ids import ConvId, Seq, UserId
from im.flows.broadcast import Broadcast
from im.flows.fanned_out import FannedOut
from im.flows.members import MemberLists
from im.flows.ports import Clock
from im.flows.push_entries import EntryPusher
from im.flows.row_writes import RowWriter
from im.store.audience import AudienceStore
from im.store.connections import ConnectionStore
from im.store.groups import GroupStore
from im.store.inbox import Delivery, InboxStore

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class LargeFanOut:
    """The fan-out of large groups."""

    groups: GroupStore
    members: MemberLists
    inbox: InboxStore
    connections: ConnectionStore
    audience: AudienceStore
    rows: RowWriter
    pusher: EntryPusher
    broadcast: Broadcast
    clock: Clock
    threads: Executor

    def deliver(self, conv: ConvId, queued: Sequence[Queued], deadline: int) -> FannedOut:
        """Bring entries of a large group to its members. Repeating it changes nothing.

        1 W for the shared row, 1 W and 2 R for each sender and each member mentioned by name, 1½ R; then the pushes:
        see Broadcast. Raises when a row cannot be written: the queue then brings the batch again.
        """
        entries = [q.entry for q in queued]
        self._share_rows(conv, entries[-1].large)
        self._add_to_audience(conv, added_by(entries))
        concerned = {e.sender for e in entries} | {UserId(u) for e in entries for u in e.mentions if u != EVERYBODY}
        if (only := queued[0].only) is not None:
            concerned &= {only}
        members = list(self.members.among(conv, entries[-1].epoch, sorted(concerned)).values())
        written = self.rows.write(conv, queued, members)
        if only is not None:
            return FannedOut.of(
                len(members), written, self.pusher.push(queued, {m.user: m.spans for m in members}, deadline)
            )
        # After the senders' own rows, so that nobody's own message is unread for them.
        everybody = [entry.seq for entry in entries if EVERYBODY in entry.mentions]
        newest = Delivery(
            newest=entries[-1], own=None, mention=max(everybody, default=Seq(0)), ends=ends_group(entries[-1])
        )
        self.inbox.deliver_to_all(conv, newest, self.clock())
        pushed = self.pusher.push(queued, removed_by(entries), deadline)
        try:
            broadcast, parts = self.broadcast.push(conv, queued, deadline, self._size(conv))
        except Exception:  # the rows are right, and clients find out: nothing that the others should wait for
            log.exception("nobody is pushed to", extra={"conv": conv})
            return FannedOut.of(len(members), written, pushed)
        return FannedOut.of(len(members), written, pushed + broadcast, parts)

    def _share_rows(self, conv: ConvId, since: Seq) -> None:
        """When the group has just become large: from now on complete every member's row by the shared one.

        Whoever brings the first of its entries does this, whichever that is, before the shared row moves: then nobody
        misses the move. Members who join a large group have it from their joining. 1 R; once 1 W and 1 R a member,
        and 1 W for each who is connected.
        """
        if self.inbox.shared_since(conv) >= since:
            return
        members = self.groups.members(conv, since)
        list(self.threads.map(partial(self._share_row, conv), members))
        self._add_to_audience(conv, [m.user for m in members])
        self.inbox.note_shared(conv, since)

    def _share_row(self, conv: ConvId, member: Member) -> None:
        self.inbox.share_row(member.user, conv)

    def _add_to_audience(self, conv: ConvId, users: Sequence[UserId]) -> None:
        """Note those of `users` who are connected. 1 R each, 1 W a connected one.

        They are asked after their row was made to tell that the group is large: a connection that opens meanwhile
        reads that (flows/connect.py), or is seen here.
        """
        if not users:
            return
        now = self.clock()
        found = self.connections.of(users, consistent=True)
        list(self.threads.map(lambda item: self.audience.add(conv, item[0], item[1].opened, now), found.items()))

    def _size(self, conv: ConvId) -> int:
        head = self.groups.head(conv, consistent=False)
        return head.member_count if head is not None else 0
