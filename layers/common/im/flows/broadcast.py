"""Pushes to a large group, cut into parts of bounded size.

A part is some of the shards of the group's audience. A group that fits is served at once; the parts of a larger one go
through a queue of their own, each by itself: a part that fails comes again alone, and the group's next entries need
not wait for it. Within a part, entries are pushed in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from im.aws.part_queue import Part
from im.aws.queue import Queued
from im.domain.ids import ConvId, UserId
from im.flows.members import MemberLists
from im.flows.ports import Clock, PartQueue
from im.flows.push_entries import EntryPusher, Pushed, read_again
from im.store.audience import SHARDS, AudienceStore
from im.store.conversations import ConversationStore

PART_MEMBERS: Final = 2_000
"""Members that one part is for, as long as there are shards. If all of them are connected with two devices, that is
4,000 pushes: 3 s with 32 threads at 25 ms. Above 32,000 members parts grow; at 100,000 it would be 12,500 and 10 s."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Reaches those members of a large group who are connected."""

    log: ConversationStore
    members: MemberLists
    audience: AudienceStore
    parts: PartQueue
    pusher: EntryPusher
    clock: Clock
    threads: Executor

    def push(
        self, conv: ConvId, queued: Sequence[Queued], deadline: int, members: int, skip: Collection[UserId]
    ) -> tuple[Pushed, int]:
        """Push ascending entries to the audience of a group of so many members; or queue the parts of that work.

        Those of `skip` have them already; parts do not know that, and clients drop repeats.

        Returns what became of the pushes, and how many parts were queued: 0 when it was done at once. That takes
        ½ R a shard and 50 users, 2 R a user once in each state of the group, ½ R a user, 1 push a connection.
        """
        of = parts_for(members)
        if of == 1:
            return self._push_to(conv, queued, range(SHARDS), deadline, skip), 0
        origins = {q.entry.seq: q.origin for q in queued if q.origin is not None}
        seqs = tuple(q.entry.seq for q in queued)
        self.parts.put_all([Part(conv, seqs, number, of, origins) for number in range(of)])
        return Pushed(), of

    def push_part(self, part: Part, deadline: int) -> Pushed:
        """Do one part of the work. 1 R an entry, then as `push`. Raises when something cannot be read."""
        queued = read_again(self.log, part.conv, part.seqs, part.origins)
        return (
            self._push_to(part.conv, queued, range(part.number, SHARDS, part.of), deadline, (), as_now=True)
            if queued
            else Pushed()
        )

    def _push_to(
        self,
        conv: ConvId,
        queued: Sequence[Queued],
        shards: Iterable[int],
        deadline: int,
        skip: Collection[UserId],
        *,
        as_now: bool = False,
    ) -> Pushed:
        now = self.clock()

        def users_of(shard: int) -> list[UserId]:
            return list(self.audience.users(conv, shard, now))

        users = [user for some in self.threads.map(users_of, shards) for user in some if user not in skip]
        # Who may see what is asked here, and not when they connected: nobody gets a push for what came after they left.
        recipients = self.members.among(conv, queued[-1].entry.epoch, users)
        return self.pusher.push(queued, recipients, deadline, as_now=as_now)


def parts_for(members: int) -> int:
    """How many parts the pushes to a group of so many members are cut into: 1, 2, 4, 8 or 16, one shard each."""
    of = 1
    while of < SHARDS and members > of * PART_MEMBERS:
        of *= 2
    return of
