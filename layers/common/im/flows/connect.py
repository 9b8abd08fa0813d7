"""A connection opens, stays and ends."""

from __future__ import annotations

from dataclasses import dataclass

from im.domain.ids import ConnectionId
from im.domain.inbox import version_of
from im.domain.signin import Policy, Slot, losers, slot_name
from im.flows.ports import Caller, Clock, Pusher
from im.store.connections import ConnectionStore
from im.store.inbox import InboxStore
from im.wire.frames import encode_push


@dataclass(frozen=True, slots=True)
class Connections:
    """The use cases of the route `connect`."""

    connections: ConnectionStore
    inbox: InboxStore
    pusher: Pusher
    clock: Clock
    policy: Policy

    def open(self, caller: Caller) -> None:
        """Register the caller's connection and end those that stand in its way. 1 W, and 1 more a loser elsewhere."""
        now = self.clock()
        name = slot_name(self.policy, caller.device, caller.platform)
        newcomer = Slot(name, caller.connection, caller.device, caller.platform, now)
        before = self.connections.register(caller.user, newcomer)
        for loser in losers(self.policy, newcomer, before, now):
            if loser.name != newcomer.name:
                self.connections.drop(caller.user, loser.name, loser.connection)
            if loser.alive(now):
                self._end(loser.connection, "replaced")

    def close(self, caller: Caller) -> None:
        """Forget a connection that has ended. 1 W.

        `$disconnect` is best effort and may come late: the slot may be a newer connection's by now, and stays then.
        """
        name = slot_name(self.policy, caller.device, caller.platform)
        self.connections.drop(caller.user, name, caller.connection)

    def ping(self, caller: Caller) -> tuple[int, str]:
        """The time, and the version of the caller's inbox. ½ R a 12 conversations."""
        return self.clock(), str(version_of(self.inbox.rows(caller.user)))

    def log_out(self, caller: Caller, reply: str, *, everywhere: bool) -> None:
        """Answer with `reply`, then end the caller's connection, or all of the user's. 1 W a connection.

        The reply goes through the connection API: what a handler returns would come after the end.
        """
        name = slot_name(self.policy, caller.device, caller.platform)
        if everywhere:
            for slot in self.connections.slots(caller.user):
                if slot.connection != caller.connection:
                    self.connections.drop(caller.user, slot.name, slot.connection)
                    self._end(slot.connection, "logout")
        self.connections.drop(caller.user, name, caller.connection)
        self.pusher.push(caller.connection, reply)
        self._end(caller.connection, "logout")

    def _end(self, connection: ConnectionId, reason: str) -> None:
        self.pusher.push(connection, encode_push("kicked", {"reason": reason}))
        self.pusher.close(connection)
