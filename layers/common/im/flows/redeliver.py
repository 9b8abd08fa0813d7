"""Some time after a push: whoever has not acknowledged the entries is pushed them again.

A push that API Gateway took may never arrive: the network of a phone changes, a connection is half open. The client
would find out at the next push or ping, which may be four minutes away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from im.aws.check_queue import Check
from im.aws.queue import Queued
from im.domain.conversation import Direct, parse_conversation
from im.domain.entries import Entry, epoch_before
from im.domain.group import Spans, visible
from im.domain.ids import ConvId, Seq, UserId
from im.flows.members import MemberLists, NowLarge, peers_of
from im.flows.ports import CheckQueue
from im.flows.push_entries import EntryPusher, Pushed
from im.store.conversations import ConversationStore
from im.store.inbox import InboxStore

ACKNOWLEDGING: Final = 100
"""Members of the largest group in which clients acknowledge (docs/protocol.md, What a client must do, 3)."""

ROUNDS: Final = 2
"""How often entries are pushed again."""

LATER: Final = 3
"""How many times as long each check waits as the one before."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Queues the checks. `after_s`: when the first one is due, in seconds; 0 for no checks at all."""

    queue: CheckQueue
    after_s: int

    def after_push(self, conv: ConvId, queued: Sequence[Queued], members: int, pushed: Pushed) -> None:
        """Queue the check of entries that were just pushed, where clients acknowledge. 1 request, or none."""
        if not self.after_s or not pushed.users or members > ACKNOWLEDGING:
            return
        origins = {q.entry.seq: q.origin for q in queued if q.origin is not None}
        first, last = queued[0].entry.seq, queued[-1].entry.seq
        self.queue.put(Check(conv, first, last, tuple(sorted(pushed.users)), origins=origins), self.after_s)

    def next_round(self, check: Check, users: frozenset[UserId]) -> None:
        """Queue the next check of entries that were pushed again to `users`. 1 request, none after the last round."""
        if users and check.round < ROUNDS:
            after = self.after_s * LATER**check.round
            self.queue.put(replace(check, users=tuple(sorted(users)), round=check.round + 1), after)


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The use case of the queue of checks."""

    log: ConversationStore
    members: MemberLists
    inbox: InboxStore
    pusher: EntryPusher
    checks: Checks

    def check(self, check: Check, deadline: int) -> Pushed:
        """Push the entries again to those of the users who have not acknowledged them.

        ½ R a user; when somebody is behind 1 R a 4 KiB of the entries, ½ R for each who is behind, 1 push a connection,
        1 request. An ack is a user's: when one of their devices has it, the others find a hole by themselves.
        Pushes end at `deadline`, milliseconds since the epoch. Raises when something cannot be read.
        """
        acked = self.inbox.acked(check.users, check.conv)
        behind = [user for user in check.users if acked.get(user, 0) < check.last]
        entries = self.log.between(check.conv, check.first, check.last) if behind else []
        if not entries:
            return Pushed()
        people = self._people(check.conv, entries)
        recipients = {
            user: people[user]
            for user in behind
            if user in people and any(visible(people[user], e.seq) and e.seq > acked.get(user, 0) for e in entries)
        }
        if not recipients:
            return Pushed()
        queued = [Queued(entry, check.origins.get(entry.seq)) for entry in entries]
        pushed = self.pusher.push(queued, recipients, deadline, as_now=True)
        self.checks.next_round(check, pushed.users)
        return pushed

    def _people(self, conv: ConvId, entries: Sequence[Entry]) -> Mapping[UserId, Spans]:
        conversation = parse_conversation(conv)
        if isinstance(conversation, Direct):
            return peers_of(conversation)
        try:
            return self.members.between(conv, epoch_before(entries[0]), Seq(entries[-1].epoch))
        except NowLarge:
            return {}  # nobody acknowledges there any more
