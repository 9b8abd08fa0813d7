"""Entries reach the inbox of every member, then their devices.

A batch is up to 10 entries of one conversation. Its cost does not grow with its length: one write a member, one
connection lookup a member, one push a connection. In a large group there is no write a member: fan_out_large.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from im.aws.queue import Queued
from im.domain.conversation import Direct, parse_conversation
from im.domain.entries import Entry, epoch_before
from im.domain.group import Spans
from im.domain.ids import ConvId, UserId
from im.flows.fan_out_large import LargeFanOut
from im.flows.fanned_out import FannedOut, is_known
from im.flows.members import MemberLists, NowLarge, peers_of
from im.flows.push_entries import EntryPusher, Pushed
from im.flows.redeliver import Checks
from im.flows.row_writes import RowWriter


@dataclass(frozen=True, slots=True)
class FanOut:
    """The use case of the fan-out queue."""

    members: MemberLists
    rows: RowWriter
    pusher: EntryPusher
    large: LargeFanOut
    checks: Checks

    def deliver(self, conv: ConvId, batch: Sequence[Queued], deadline: int) -> FannedOut:
        """Bring `batch`, entries of `conv`, to all members. Repeating it changes nothing; clients drop repeats.

        1 W a member (2 or 3 in a rare race), ½ R a member, 1 push a connection and 32 KiB, 1 queue request for the
        check whether the pushes have arrived (flows/redeliver.py); in a large group see LargeFanOut. The rows come
        before the pushes: a client that syncs on a push finds what it was told.

        Raises when many rows fail (`RowWriter.write`): the queue then brings the batch again. Pushes end at `deadline`,
        in milliseconds since the epoch, and never fail the batch.
        """
        queued = sorted({q.entry.seq: q for q in batch}.values(), key=lambda q: q.entry.seq)
        done = FannedOut()
        # A group that crosses its limit within the batch is served as what it was, then as what it is.
        for large, some in groupby(queued, key=lambda q: q.entry.large > 0):
            deliver = self.large.deliver if large else self._deliver
            done += deliver(conv, list(some), deadline)
        return done

    def _deliver(self, conv: ConvId, queued: Sequence[Queued], deadline: int) -> FannedOut:
        entries = [q.entry for q in queued]
        try:
            people = self._people(conv, entries)
        except NowLarge:
            # These entries come late: all members' rows are completed by newer ones. What is left to do is the same.
            return self.large.deliver(conv, queued, deadline)
        members = sum(spans[-1].last is None for spans in people.values())
        if (only := queued[0].only) is not None:
            people = {only: people[only]} if only in people else {}
        written = self.rows.write(conv, queued, people)
        recipients = {user: spans for user, spans in people.items() if written[user] is not None}
        if is_known(queued, written, self.rows.clock()):
            return FannedOut.of(len(people), written, Pushed())
        pushed = self.pusher.push(queued, recipients, deadline)
        self.checks.after_push(conv, queued, members, pushed, deadline)
        return FannedOut.of(len(people), written, pushed, found=sum(q.found for q in queued))

    def _people(self, conv: ConvId, entries: Sequence[Entry]) -> Mapping[UserId, Spans]:
        conversation = parse_conversation(conv, "conv")
        if isinstance(conversation, Direct):
            return peers_of(conversation)
        # From before the first entry on: whoever was removed within the batch, or since, is told up to their leaving.
        return self.members.between(conv, epoch_before(entries[0]), entries[-1].epoch)
