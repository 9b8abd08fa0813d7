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
from im.domain.conversation import Direct, parse_conversation
from im.domain.entries import Entry
from im.domain.errors import Unavailable
from im.domain.group import GroupLimits
from im.domain.ids import ConnectionId, ConvId, DeviceId, UserId
from im.domain.inbox import Row
from im.domain.push import PushOutcome
from im.domain.signin import Policy
from im.flows.admission import Admissions
from im.flows.append import Appended, Appender
from im.flows.changes import Changes, Decide
from im.flows.connect import Connections
from im.flows.mark import Marker
from im.flows.members import peers_of
from im.flows.ports import Caller
from im.flows.row_writes import RowWriter
from im.flows.send import Sender
from im.runtime.wiring import now_ms
from im.store.audience import AudienceStore
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.group_changes import GroupChangeStore
from im.store.group_rows import GroupRowStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.wire.requests import Mark, Send
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
        caller = _caller(sender)
        request = Send(conv=conv, cmid=cmid, kind="text", body={"text": cmid})
        return patient(lambda: self.sender.send(caller, request))

    def _change(self, conv: ConvId, by: str, users: Sequence[UserId], decide: Decide) -> None:
        patient(lambda: self.changes.change(UserId(by), conv, users, decide))


class Inboxes:
    """The inboxes of direct conversations: what the fan-out writes, and what readers do."""

    def __init__(self, stack: Stack) -> None:
        dynamodb, table = stack.cloud.client("dynamodb"), stack.outputs["ConversationTableName"]
        threads = ThreadPoolExecutor(4)
        log, self._inbox = ConversationStore(dynamodb, table), InboxStore(dynamodb, stack.outputs["InboxTableName"])
        self.sender = Appender(log, now_ms)
        self._rows = RowWriter(self._inbox, Unheard(), now_ms, threads)
        self._marker = Marker(
            store=log,
            groups=GroupStore(dynamodb, table),
            inbox=self._inbox,
            connections=ConnectionStore(dynamodb, stack.outputs["ConnectionTableName"]),
            pusher=Gateway(),
            clock=now_ms,
            threads=threads,
        )

    def fan_out(self, entries: Sequence[Entry]) -> None:
        """Bring a batch of one conversation to the rows of both sides."""
        conversation = parse_conversation(entries[0].conv)
        assert isinstance(conversation, Direct)
        self._rows.write(conversation.conv, [Queued(entry, None) for entry in entries], peers_of(conversation))

    def read(self, user: str, conv: ConvId, seq: int) -> None:
        """Move a read mark."""
        reply = self._marker.read(_caller(user), Mark(conv=conv, seq=seq))
        assert reply["read_seq"] >= seq, reply
        assert reply["total_unread"] >= reply["unread"] >= 0, reply

    def ack(self, user: str, conv: ConvId, seq: int) -> None:
        """Move an ack mark."""
        self._marker.received(_caller(user), [Mark(conv=conv, seq=seq)])

    def row(self, user: str, conv: ConvId) -> Row:
        """A row as it is stored."""
        row = self._inbox.row(UserId(user), conv)
        assert row is not None, (user, conv)
        return row


class Gateway:
    """Knows connections as API Gateway does: none before its own `$connect` has returned, and none that was ended."""

    def __init__(self) -> None:
        self.open: set[ConnectionId] = set()
        self.kicked: set[ConnectionId] = set()

    def push(self, connection: ConnectionId, frame: str) -> PushOutcome:
        """Send one frame."""
        if connection not in self.open:
            return PushOutcome.GONE
        if '"kicked"' in frame:
            self.kicked.add(connection)
        return PushOutcome.SENT

    def close(self, connection: ConnectionId) -> PushOutcome:
        """End a connection."""
        if connection not in self.open:
            return PushOutcome.GONE
        self.open.discard(connection)
        return PushOutcome.SENT


class Doorman:
    """Connections that open, ping and close at one gateway, each by an instance of its own."""

    def __init__(self, stack: Stack, gateway: Gateway, policy: Policy) -> None:
        dynamodb = stack.cloud.client("dynamodb")
        self._gateway = gateway
        self._store = ConnectionStore(dynamodb, stack.outputs["ConnectionTableName"])
        self._connections = Connections(
            connections=self._store,
            inbox=InboxStore(dynamodb, stack.outputs["InboxTableName"]),
            group_rows=GroupRowStore(dynamodb, stack.outputs["InboxTableName"]),
            audience=AudienceStore(dynamodb, stack.outputs["AudienceTableName"]),
            pusher=gateway,
            clock=now_ms,
            policy=policy,
            threads=ThreadPoolExecutor(2),
        )

    def open(self, caller: Caller) -> None:
        """`$connect`, after which the connection exists, unless it comes too late."""
        if self._connections.open(caller, now_ms()):
            self._gateway.open.add(caller.connection)

    def close(self, caller: Caller) -> None:
        """`$disconnect`, which may come late."""
        self._connections.close(caller)

    def ping(self, caller: Caller) -> None:
        """What a connection that is open still does every few minutes."""
        if caller.connection in self._gateway.open and self._connections.ping(caller).lost:
            self._connections.end_lost(caller, '{"id": "r1", "ok": true, "data": {}}')

    def holders(self, user: str) -> list[ConnectionId]:
        """The connections that get a user's pushes."""
        return [slot.connection for slot in self._store.slots(UserId(user))]


def _caller(user: str) -> Caller:
    return Caller(UserId(user), DeviceId("d1"), "web", ConnectionId("none"))


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
