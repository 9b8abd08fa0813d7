"""Function instances of one's own on the deployed tables: their flows, in as many threads as a test likes.

The functions answer one frame at a time here, and side by side on AWS: what several of them do at once is played one
level below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import TypeVar

from im.aws.queue import Queued
from im.domain import group_rules as rules
from im.domain.entries import Entry
from im.domain.errors import Unavailable
from im.domain.group import GroupLimits
from im.domain.ids import ConnectionId, ConvId, DeviceId, UserId
from im.flows.admission import Admissions
from im.flows.append import Appended, Appender
from im.flows.changes import Changes, Decide
from im.flows.ports import Caller
from im.flows.send import Sender
from im.runtime.wiring import now_ms
from im.store.conversations import ConversationStore
from im.store.group_changes import GroupChangeStore
from im.store.group_rows import GroupRowStore
from im.store.groups import GroupStore
from im.wire.requests import Send
from local import Stack

T = TypeVar("T")


class Unheard:
    """A queue whose entries nobody fans out: these races are about what is stored."""

    def put(self, entry: Entry, origin: ConnectionId | None) -> None:
        """Take an entry."""

    def put_for(self, user: UserId, queued: Queued) -> None:
        """Take an entry once more."""


LIMITS = GroupLimits(members=20, groups=3, admins=3, name=64, at_once=50, large_above=13)


class Instance:
    """What one instance of the functions has in memory: the flows, and whom they have admitted before."""

    def __init__(self, stack: Stack) -> None:
        dynamodb, table = stack.cloud.client("dynamodb"), stack.outputs["ConversationTableName"]
        log, groups = ConversationStore(dynamodb, table), GroupStore(dynamodb, table)
        rows = GroupRowStore(dynamodb, stack.outputs["InboxTableName"])
        store = GroupChangeStore(dynamodb, table, rows)
        self.changes = Changes(log, groups, store, Unheard(), now_ms, LIMITS)
        self.sender = Sender(log, groups, Admissions(groups), Appender(log, now_ms), Unheard())

    def join(self, conv: ConvId, user: str) -> None:
        """Come in by oneself."""
        self._change(conv, user, (), lambda group: rules.join(group, UserId(user), LIMITS))

    def leave(self, conv: ConvId, user: str) -> None:
        """Go by oneself."""
        self._change(conv, user, (), lambda group: rules.leave(group, UserId(user)))

    def invite(self, conv: ConvId, by: str, users: Sequence[str]) -> None:
        """Add those who are no members."""
        who = [UserId(user) for user in users]
        self._change(conv, by, who, lambda group: rules.invite(group, UserId(by), who, LIMITS))

    def remove(self, conv: ConvId, by: str, users: Sequence[str]) -> None:
        """Remove those who are members."""
        who = [UserId(user) for user in users]
        self._change(conv, by, who, lambda group: rules.remove(group, UserId(by), who))

    def send(self, conv: ConvId, sender: str, cmid: str) -> Appended:
        """Say something."""
        caller = Caller(UserId(sender), DeviceId("d1"), "web", ConnectionId("none"))
        request = Send(conv=conv, cmid=cmid, kind="text", body={"text": cmid})
        return patient(lambda: self.sender.send(caller, request))

    def _change(self, conv: ConvId, by: str, users: Sequence[UserId], decide: Decide) -> None:
        patient(lambda: self.changes.change(UserId(by), conv, users, decide))


def patient(ask: Callable[[], T]) -> T:
    """Asks again what is answered with `unavailable`, as a client does: how many tries 10 s are, the machine says."""
    for _ in range(8):
        with suppress(Unavailable):
            return ask()
    raise AssertionError("nothing but unavailable")


def all_at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Each in a thread of its own; none begins before all are there."""
    together = Barrier(len(works))

    def begin(work: Callable[[], T]) -> T:
        together.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))
