"""A batch of entries reaches the inbox rows of members. One member's failure stays that member's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from im.aws.failures import may_pass
from im.aws.queue import Queued
from im.domain.entries import Entry, newest_shown
from im.domain.group import Spans, visible
from im.domain.group_entries import ends_group
from im.domain.group_rules import EVERYBODY
from im.domain.ids import ConvId, Seq, UserId
from im.flows.ports import Clock, Queue
from im.store.inbox import Delivery, InboxStore

MAX_REPAIRS: Final = 10
"""Members of one batch whose rows may fail before it is no longer a matter of these members."""

log = logging.getLogger("im")


class TooManyFailed(Exception):
    """So many rows could not be written that the whole batch must come again. Its cause is one of the failures: one
    that may pass, if any may."""

    def __init__(self, failed: int, members: int) -> None:
        super().__init__(f"{failed} of {members} rows could not be written")
        self.failed = failed
        self.members = members


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Writes the rows of members, and queues what failed."""

    inbox: InboxStore
    queue: Queue
    clock: Clock
    threads: Executor

    def write(
        self, conv: ConvId, queued: Sequence[Queued], people: Mapping[UserId, Spans]
    ) -> dict[UserId, bool | None]:
        """Move the rows of `people` up to what each may see of the batch: True where one was moved, False where there
        was nothing left to move, None where it failed. 1 W each, rarely 2 or 3.

        Senders' rows come last of all: a sender's row that has reached an entry says that everybody's was written, or
        is in the queue to be. Members whose row fails are queued again in a group of their own, and everybody else's is
        written now. Raises only when many rows fail, or when they cannot be queued: the batch must then come again.
        """
        entries = [q.entry for q in queued]
        senders = {entry.sender for entry in entries}
        written: dict[UserId, bool | None] = {}
        for some in ([u for u in people if u not in senders], [u for u in people if u in senders]):
            done = dict(zip(some, self.threads.map(partial(self._write_row, conv, entries, people), some), strict=True))
            failed = {user: outcome for user, outcome in done.items() if isinstance(outcome, Exception)}
            self._repair(queued, failed, len(people))
            written |= {user: None if isinstance(outcome, Exception) else outcome for user, outcome in done.items()}
        return written

    def _write_row(
        self, conv: ConvId, entries: Sequence[Entry], people: Mapping[UserId, Spans], user: UserId
    ) -> bool | Exception:
        theirs = [entry for entry in entries if visible(people[user], entry.seq)]
        if not theirs:
            return False
        # Who says something has read what came before; who changes a message or the group perhaps not.
        own = [entry for entry in theirs if entry.sender == user and entry.countable]
        mentions = [e.seq for e in theirs if e.sender != user and (user in e.mentions or EVERYBODY in e.mentions)]
        newest = theirs[-1]
        delivery = Delivery(
            newest=newest,
            shown=newest_shown(theirs),
            own=own[-1] if own else None,
            mention=max(mentions, default=Seq(0)),
            # The end of a large group is said by the row that its members share. A row that said so itself would be
            # completed by that no more, and know nothing of who mentioned everybody.
            ends=ends_group(newest) and not newest.large,
        )
        try:
            return self.inbox.deliver(user, conv, delivery, self.clock())
        except Exception as e:  # whatever it is, it must not reach the other members
            log.exception("row failed", extra={"conv": conv, "member": user})
            return e

    def _repair(self, queued: Sequence[Queued], failed: Mapping[UserId, Exception], members: int) -> None:
        """Queue the entries again for those whose row failed. 1 request an entry and member."""
        if not failed:
            return
        if queued[0].only is not None or len(failed) > MAX_REPAIRS:
            errors = list(failed.values())
            raise TooManyFailed(len(failed), members) from next(filter(may_pass, errors), errors[0])
        for user in failed:
            for q in queued:
                self.queue.put_for(user, q)
