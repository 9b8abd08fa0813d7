"""A connection opens, stays and ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from im.domain.ids import ConnectionId, ConvId, UserId
from im.domain.inbox_version import version_of
from im.domain.signin import Policy, Slot, losers, slot_name
from im.flows.ports import Caller, Clock, Pusher
from im.store.audience import AudienceStore
from im.store.connections import ConnectionStore
from im.store.group_rows import GroupRowStore
from im.store.inbox import InboxStore
from im.wire.frames import encode_push

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class Pong:
    """What a ping tells."""

    ts: int
    inbox: str
    lost: bool
    """Whether the caller's connection has no slot."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The use cases of the route `connect`."""

    connections: ConnectionStore
    inbox: InboxStore
    group_rows: GroupRowStore
    audience: AudienceStore
    pusher: Pusher
    clock: Clock
    policy: Policy
    threads: Executor

    def open(self, caller: Caller, asked: int) -> bool:
        """Register the caller's connection and end those that stand in its way. False when it comes too late: one that
        was asked for after `asked`, milliseconds since the epoch, has its place.

        1 W, and 1 more a loser elsewhere; 1 R, and 1 W for each large group that the caller is in.

        A loser that is still opening cannot be ended yet (its connection does not exist for API Gateway before its own
        `$connect` has returned). It has no slot, and its next `ping` ends it.
        """
        newcomer = replace(self._slot(caller), asked=asked)
        before = self.connections.register(caller.user, newcomer)
        if before is None:
            return False
        in_its_way = losers(self.policy, newcomer, before.slots, newcomer.since)
        if any(other.asked > asked for other in in_its_way):
            self.connections.drop(caller.user, newcomer.name, newcomer.connection, newcomer.since)
            return False
        # After the registration: a group that becomes large meanwhile sees the connection, or is seen here.
        self._each_large_group(
            caller.user, lambda conv: self.audience.add(conv, caller.user, before.opened, newcomer.since)
        )
        for loser in in_its_way:
            if loser.name != newcomer.name:
                self.connections.drop(caller.user, loser.name, loser.connection, newcomer.since)
            if loser.alive(newcomer.since):
                self._end(loser.connection, "replaced")
        return True

    def close(self, caller: Caller) -> None:
        """Forget a connection that has ended. 1 W; when it was the user's last, 1 R and 1 W for each large group.

        `$disconnect` is best effort and may come late: the slot may be a newer connection's by now, and stays then.
        """
        now = self._slot(caller)
        left = self.connections.drop(caller.user, now.name, caller.connection, now.since)
        if left is not None and not any(slot.alive(now.since) for slot in left.slots):
            self._each_large_group(caller.user, lambda conv: self.audience.remove(conv, caller.user, left.opened))

    def ping(self, caller: Caller) -> Pong:
        """The time, and the version of the caller's inbox. 1 R, ½ R a 17 conversations, and ½ R a large group."""
        slots = self.connections.slots(caller.user)
        version = version_of(self.inbox.whole(caller.user, versions_alone=True))
        return Pong(self.clock(), str(version), lost=not any(s.connection == caller.connection for s in slots))

    def end_lost(self, caller: Caller, reply: str) -> None:
        """Answer with `reply`, then end a connection that has no slot: it gets no pushes, so it must not look alive.

        Kicked when another one is in its way; else it may come again, and gets a slot then.
        """
        now = self._slot(caller)
        in_its_way = losers(self.policy, now, self.connections.slots(caller.user), now.since)
        self.pusher.push(caller.connection, reply)
        if any(other.alive(now.since) for other in in_its_way):
            self._end(caller.connection, "replaced")
        else:
            self.pusher.close(caller.connection)

    def log_out(self, caller: Caller, reply: str, *, everywhere: bool) -> None:
        """Answer with `reply`, then end the caller's connection, or all of the user's. 1 W a connection.

        The reply goes through the connection API: what a handler returns would come after the end.
        """
        if everywhere:
            now = self.clock()
            for slot in self.connections.slots(caller.user):
                if slot.connection != caller.connection:
                    self.connections.drop(caller.user, slot.name, slot.connection, now)
                    if slot.alive(now):
                        self._end(slot.connection, "logout")
        self.close(caller)
        self.pusher.push(caller.connection, reply)
        self._end(caller.connection, "logout")

    def _each_large_group(self, user: UserId, act: Callable[[ConvId], None]) -> None:
        """Come or go in the audiences of a user's large groups, some at once. Never raises: without its pushes a
        connection still hears of everything by its pings, and without a connection it hears of nothing."""
        try:
            list(self.threads.map(act, self.group_rows.large_groups(user)))
        except Exception:
            log.exception("an audience is not what it should be", extra={"user": user})

    def _slot(self, caller: Caller) -> Slot:
        name = slot_name(self.policy, caller.device, caller.platform)
        return Slot(name, caller.connection, caller.device, caller.platform, self.clock())

    def _end(self, connection: ConnectionId, reason: str) -> None:
        self.pusher.push(connection, encode_push("kicked", {"reason": reason}))
        self.pusher.close(connection)
