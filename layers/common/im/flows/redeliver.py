"""Some time after a push: whoever has not acknowledged the entries is pushed them again.

A push that API Gateway took may never arrive: the network of a phone changes, a connection is half open. The client
would find out at the next push or ping, which may be four minutes away.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from im.aws.check_queue import Check
from im.aws.queue import Queued
from im.domain.conversation import Direct, parse_conversation
from im.domain.entries import Entry, epoch_before
from im.domain.group import Spans, visible
from im.domain.ids import ConvId, UserId
from im.domain.inbox import UNMARKED, Marks
from im.flows.members import MemberLists, NowLarge, peers_of
from im.flows.ports import CheckQueue, Clock
from im.flows.push_entries import EntryPusher, Pushed, read_again
from im.store.conversations import ConversationStore
from im.store.inbox import InboxStore

log = logging.getLogger("im")

ACKNOWLEDGING: Final = 100
"""Members of the largest group in which clients acknowledge (docs/protocol.md, What a client must do, 3)."""

ROUNDS: Final = 2
"""How often entries are pushed again."""

LATER: Final = 3
"""How many times as long each check waits as the one before."""

FAR: Final = 10
"""Whoever has not acknowledged so many entries before these hears nothing, or has a hole in any case."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Queues the checks. `after_s`: when the first one is due, in seconds; 0 for no checks at all."""

    queue: CheckQueue
    after_s: int
    clock: Clock

    def after_push(self, conv: ConvId, queued: Sequence[Queued], members: int, pushed: Pushed, deadline: int) -> None:
        """Queue the check of entries that were just pushed, where clients acknowledge. 1 request, or none.

        None after `deadline`, and never raises: whoever missed the push finds the hole without it.
        """
        if not pushed.users or members > ACKNOWLEDGING or self.clock() > deadline:
            return
        origins = {q.entry.seq: q.origin for q in queued if q.origin is not None}
        seqs = tuple(q.entry.seq for q in queued)
        self._put(Check(conv, seqs, tuple(sorted(pushed.users)), origins=origins), self.after_s)

    def next_round(self, check: Check, users: frozenset[UserId]) -> None:
        """Queue the next check of entries that were pushed again to `users`. 1 request, none after the last round.
        Never raises: the entries would be pushed once more at once."""
        if users and check.round < ROUNDS:
            after = self.after_s * LATER**check.round
            self._put(replace(check, users=tuple(sorted(users)), round=check.round + 1), after)

    def _put(self, check: Check, after_s: int) -> None:
        if not self.after_s:
            return
        try:
            self.queue.put(check, after_s)
        except Exception:
            log.exception("no check is queued", extra={"conv": check.conv})


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The use case of the queue of checks."""

    log: ConversationStore
    members: MemberLists
    inbox: InboxStore
    pusher: EntryPusher
    checks: Checks

    def check(self, check: Check, deadline: int) -> Pushed:
        """Push the entries again to those of the users who have not received them, as far as their marks say.

        ½ R a user; when somebody is behind 1 R an entry, ½ R for each who is behind, 1 push a connection, 1 request.
        Marks are a user's: when one of their devices has acknowledged, the others find a hole by themselves. Whoever is
        far behind gets the newest entry alone, and once: it makes the hole plain to a client that hears it, and is
        little for one that does not. Pushes end at `deadline`, milliseconds since the epoch. Raises when something
        cannot be read.
        """
        marks = self.inbox.marks(check.users, check.conv)
        if all(marks.get(user, UNMARKED).ack >= check.seqs[-1] for user in check.users):
            return Pushed()
        queued = read_again(self.log, check.conv, check.seqs, check.origins)
        if not queued:
            return Pushed()
        entries = [q.entry for q in queued]
        people = self._people(check.conv, entries)
        behind = {
            user: people[user]
            for user in check.users
            if user in people and _is_behind(user, people[user], marks.get(user, UNMARKED), entries)
        }
        far = {user for user in behind if marks.get(user, UNMARKED).ack < check.seqs[0] - FAR}
        near = {user: spans for user, spans in behind.items() if user not in far}
        pushed = self.pusher.push(queued, near, deadline, as_now=True) if near else Pushed()
        self.checks.next_round(check, pushed.users)
        if far:
            newest = {user: behind[user] for user in far}
            pushed += self.pusher.push(queued[-1:], newest, deadline, as_now=True)
        return pushed

    def _people(self, conv: ConvId, entries: Sequence[Entry]) -> Mapping[UserId, Spans]:
        conversation = parse_conversation(conv)
        if isinstance(conversation, Direct):
            return peers_of(conversation)
        try:
            return self.members.between(conv, epoch_before(entries[0]), entries[-1].epoch)
        except NowLarge:
            return {}  # nobody acknowledges there any more


def _is_behind(user: UserId, spans: Spans, marks: Marks, entries: Sequence[Entry]) -> bool:
    """Whether the marks of a user leave open that they have received what they may see of `entries`.

    What others said has to be acknowledged, or read; what they said themself moves their read mark by itself, and has
    to be acknowledged for the sake of their other devices, where nobody else has said anything.
    """
    theirs = [entry for entry in entries if visible(spans, entry.seq)]
    others = [entry for entry in theirs if entry.sender != user]
    if not others:
        return bool(theirs) and marks.ack < theirs[-1].seq
    has = marks.ack if len(others) < len(theirs) else max(marks.ack, marks.read)
    return has < others[-1].seq
