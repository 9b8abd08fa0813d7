"""A user deletes entries for themself: on all their devices, and nobody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from im.domain.conversation import parse_conversation
from im.domain.deletions import Deletions, Range
from im.domain.errors import NotFound, Unavailable
from im.domain.group import Spans, visible
from im.domain.ids import ConvId
from im.flows.access import require_visible
from im.flows.ports import Caller, Clock, Pusher
from im.flows.push_to import push_to_users
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.deletions import DeletionStore
from im.store.groups import GroupStore
from im.wire.frames import encode_push
from im.wire.requests import ConvName, Delete

ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Deleter:
    """The use cases of message.delete and sync.deleted."""

    log: ConversationStore
    groups: GroupStore
    deletions: DeletionStore
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock

    def delete(self, caller: Caller, request: Delete) -> Mapping[str, Any]:
        """Hide entries from the caller; tell their other devices.

        2 W, and 2 W a KiB of ranges; 2 R, and 1 R more in a group. Nothing is written when nothing is new. Raises
        NotMember, TooLarge, NotFound for a seq that the caller does not see: what is yet to come could be hidden else.
        """
        conversation = parse_conversation(request.conv)
        conv = conversation.conv
        spans = require_visible(self.groups, conversation, caller.user)
        more = self._ranges(conv, spans, request)
        for _ in range(ATTEMPTS):
            before = self.deletions.of(caller.user, conv)
            grown = before.with_more(more)
            if grown == before:
                return deleted_data(conv, grown)
            now = self.clock()
            if self.deletions.grow(caller.user, conv, grown, now):
                data = deleted_data(conv, grown)
                frames = {caller.user: [encode_push("deleted", data)]}
                push_to_users(self.pusher, self.connections, frames, now, skip=caller.connection)
                return data
        raise Unavailable("too many of your devices delete at once", 500)

    def deleted(self, caller: Caller, request: ConvName) -> Mapping[str, Any]:
        """What the caller has deleted of a conversation. 1 R, and 1 R more in a group."""
        conversation = parse_conversation(request.conv)
        require_visible(self.groups, conversation, caller.user)
        return deleted_data(conversation.conv, self.deletions.of(caller.user, conversation.conv))

    def _ranges(self, conv: ConvId, spans: Spans, request: Delete) -> list[Range]:
        last = self.log.tail(conv, consistent=True).seq
        wanted = request.seqs if request.seqs is not None else [request.up_to or 0]
        for seq in wanted:
            if seq > last or not visible(spans, seq):
                raise NotFound(f"{conv} has no entry {seq} for you")
        return [(seq, seq) for seq in wanted] if request.seqs is not None else [(1, wanted[0])]


def deleted_data(conv: ConvId, deletions: Deletions) -> dict[str, Any]:
    """What clients are told of deletions."""
    return {"conv": conv, "deleted": deletions.version, "ranges": [list(pair) for pair in deletions.ranges]}
