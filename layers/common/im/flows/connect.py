"""A connection opens, stays and ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from im.domain.ids import ConnectionId
from im.domain.inbox import version_of
from im.domain.signin import Policy, Slot, losers, slot_name
from im.flows.ports import Caller, Clock, Pusher
from im.store.connections import ConnectionStore
from im.store.inbox import InboxStore
from im.wire.frames import encode_push


@dataclass(frozen=True, slots=True)
class Pong:
    """What a ping tells."""

    ts: int
    inbox: str
    displaced: bool
    """Whether a newer connection has taken the caller's place."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The use cases of the route `connect`."""

    connections: ConnectionStore
    inbox: InboxStore
    pusher: Pusher
    clock: Clock
    policy: Policy

    def open(self, caller: Caller) -> bool:
        """Register the caller's connection and end those that stand in its way. False: it has lost already.

        1 W and 1 R, and 1 W a loser elsewhere. The look at the end is for two connections that open at once: the first
        cannot be ended before its own `$connect` has returned, so it must notice by itself. What happens after the
        look, `ping` notices.
        """
        newcomer = self._slot(caller)
        before = self.connections.register(caller.user, newcomer)
        for loser in losers(self.policy, newcomer, before, newcomer.since):
            if loser.name != newcomer.name:
                self.connections.drop(caller.user, loser.name, loser.connection)
            if loser.alive(newcomer.since):
                self._end(loser.connection, "replaced")
        return _holds(self.connections.slots(caller.user), caller)

    def close(self, caller: Caller) -> None:
        """Forget a connection that has ended. 1 W.

        `$disconnect` is best effort and may come late: the slot may be a newer connection's by now, and stays then.
        """
        self.connections.drop(caller.user, self._slot(caller).name, caller.connection)

    def ping(self, caller: Caller) -> Pong:
        """The time, and the version of the caller's inbox. 1 R, and ½ R a 12 conversations.

        A connection without a slot gets no pushes. When nobody is in its way, it gets its slot back (1 W). Else a
        newer one took its place while it was still opening and could not be ended: the pong says so.
        """
        slot = self._slot(caller)
        slots = self.connections.slots(caller.user)
        displaced = False
        if not _holds(slots, caller):
            displaced = any(other.alive(slot.since) for other in losers(self.policy, slot, slots, slot.since))
            if not displaced:
                self.connections.register(caller.user, slot)
        return Pong(slot.since, str(version_of(self.inbox.rows(caller.user))), displaced)

    def end_displaced(self, caller: Caller, reply: str) -> None:
        """Answer with `reply`, then end a connection whose place another one has."""
        self.pusher.push(caller.connection, reply)
        self._end(caller.connection, "replaced")

    def log_out(self, caller: Caller, reply: str, *, everywhere: bool) -> None:
        """Answer with `reply`, then end the caller's connection, or all of the user's. 1 W a connection.

        The reply goes through the connection API: what a handler returns would come after the end.
        """
        if everywhere:
            for slot in self.connections.slots(caller.user):
                if slot.connection != caller.connection:
                    self.connections.drop(caller.user, slot.name, slot.connection)
                    self._end(slot.connection, "logout")
        self.close(caller)
        self.pusher.push(caller.connection, reply)
        self._end(caller.connection, "logout")

    def _slot(self, caller: Caller) -> Slot:
        name = slot_name(self.policy, caller.device, caller.platform)
        return Slot(name, caller.connection, caller.device, caller.platform, self.clock())

    def _end(self, connection: ConnectionId, reason: str) -> None:
        self.pusher.push(connection, encode_push("kicked", {"reason": reason}))
        self.pusher.close(connection)


def _holds(slots: Iterable[Slot], caller: Caller) -> bool:
    return any(slot.connection == caller.connection for slot in slots)
