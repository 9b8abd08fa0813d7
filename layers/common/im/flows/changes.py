"""A group changes: decided on what it is, stored with its entry in one transaction, told to everybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from im.domain.entries import EMPTY, Draft, Entry, Tail, tail_at
from im.domain.errors import NotMember, Unavailable
from im.domain.group import GroupHead, GroupLimits, large_since
from im.domain.group_rules import Change, Group
from im.domain.ids import ConvId, UserId
from im.flows.crowds import DEADLINE_MS, require_time, wait_s
from im.flows.ports import Clock, Queue
from im.store.conversations import ConversationStore
from im.store.group_changes import GroupChangeStore, Lost
from im.store.groups import GroupStore
from im.wire.frames import dumps

PUSHY: Final = 20

Decide = Callable[[Group], Change | None]
"""What is to become of a group, seen as it is; None when nothing is. Raises what is refused."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Makes changes to groups."""

    log: ConversationStore
    groups: GroupStore
    store: GroupChangeStore
    queue: Queue
    clock: Clock
    limits: GroupLimits
    pause: Callable[[float], None] = time.sleep
    """Waits for so many seconds."""

    def found(self, by: UserId, change: Change) -> bool:
        """Make a new group; False when there is one of that id. Its first entry is the first of its log."""
        conv = change.head.conv
        for attempt in range(10):
            entry = self._entry(by, change, EMPTY)
            lost = self.store.commit(None, change, entry, max_groups=self.limits.groups)
            if lost is None:
                self.queue.put(entry, None)
                return True
            if self.groups.head(conv, consistent=True) is not None:
                return False
            self.pause(wait_s(attempt))
        raise Unavailable("the table is busy", 500)

    def change(
        self, caller: UserId, conv: ConvId, users: Sequence[UserId], decide: Decide
    ) -> tuple[GroupHead, Change | None]:
        """Let `decide` say what is to become of a group, and make it so. Returns the head as it is then, and what was
        done if anything was.

        `users` are those whom it asks about, the caller apart. It is asked again whenever the group has changed in
        between. When there is nothing to change, the newest change is queued once more: perhaps it was this caller's,
        made by a function that died before it could queue it. Raises NotMember when there is no such group.

        About 4 R and 4 W, and for each who comes or goes 3 R and 8 W.
        """
        deadline = self.clock() + DEADLINE_MS
        everybody = list(dict.fromkeys([caller, *users]))
        tail: Tail | None = None
        group: Group | None = None
        attempt = 0
        while True:
            if group is None or tail is None or tail.epoch != group.head.epoch:
                group = self.store.group(conv, everybody)
                if group is None:
                    raise NotMember(conv)
                tail = self.log.tail(conv, consistent=True)
                if tail.epoch != group.head.epoch:
                    require_time(self.clock(), deadline)
                    attempt += 1
                    self.pause(wait_s(attempt))
                    continue  # changed between the two reads
            change = decide(group)
            if change is None:
                self.queue_again(group.head)
                return group.head, None
            entry = self._entry(caller, change, tail)
            lost = self.store.commit(group, change, entry, max_groups=self.limits.groups)
            if lost is None:
                if tail.seq == group.head.epoch:
                    # The change right before this one: perhaps its function died before it could queue it.
                    self.queue_again(group.head)
                self.queue.put(entry, None)
                return replace(change.head, epoch=entry.seq, large=entry.large), change
            require_time(self.clock(), deadline)
            attempt += 1
            tail = self._next_place(lost, attempt)

    def _entry(self, by: UserId, change: Change, tail: Tail) -> Entry:
        draft = Draft(conv=change.head.conv, kind=change.kind, sender=by, body=dumps(change.body))
        entry = draft.following(tail, self.clock())
        return replace(
            entry, large=large_since(self.limits.large_above, change.head.member_count, tail.large, entry.seq)
        )

    def _next_place(self, lost: Lost, attempt: int) -> Tail | None:
        """The end of the log after somebody else has written there; None when it is to be asked for.

        Unlike a message it goes straight to the next place many times before it waits: a mute must beat a flood.
        """
        if attempt <= PUSHY and lost.occupant is not None:
            return tail_at(lost.occupant)
        self.pause(wait_s(attempt))
        return None

    def queue_again(self, head: GroupHead) -> None:
        """Queue the newest change of a group once more. 1 R, 1 request; SQS forgets repeats within five minutes."""
        newest = self.log.entry(head.conv, head.epoch)
        if newest is not None:
            self.queue.put(newest, None)
