"""A user has read or received a conversation up to some entry."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from im.domain.conversation import Direct, Group, parse_conversation
from im.domain.entries import Entry
from im.domain.errors import ImError, NotFound, Unavailable
from im.domain.group import visible
from im.domain.ids import Seq, UserId
from im.domain.inbox import Row
from im.flows.access import require_party, require_visible
from im.flows.ports import Caller, Clock, Pusher
from im.flows.pull import total
from im.flows.push_to import push_to_users
from im.store.batches import chunks
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.wire.frames import encode_push
from im.wire.requests import Mark

log = logging.getLogger("im")

TOLD_AT_ONCE: Final = 100
TELL_FOR_MS: Final = 10_000
"""How long others are told of what was read: they see it anyway when they ask."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The marking use cases of the route `sync`."""

    store: ConversationStore
    groups: GroupStore
    inbox: InboxStore
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    threads: Executor

    def read(self, caller: Caller, request: Mark) -> Mapping[str, Any]:
        """Move the caller's read mark; tell their other devices, and in a direct conversation the other side.

        1 W; ½ R for the entry, 1 R more in a group; 1 R a 17 conversations and a large group for the total; ½ R a user
        to push to.
        Never moves back: an older seq changes nothing and is answered with where the mark is. The counts come from one
        consistent read of all rows, so part and total agree and hold what was just written.
        """
        conversation = parse_conversation(request.conv)
        conv = conversation.conv
        entry = self._require_entry(caller, conversation, Seq(request.seq))
        now = self.clock()
        moved = self.inbox.mark_read(caller.user, conv, entry.seq, entry.n, now)
        inbox = self.inbox.whole(caller.user, consistent=True)
        rows = inbox.rows
        row = next(row for row in rows if row.conv == conv)
        reply = {"conv": conv, "read_seq": row.read_seq, "unread": row.unread, "total_unread": total(rows)}
        if moved:
            mark = {"conv": conv, "user": caller.user, "seq": row.read_seq}
            counts = {"n": row.read_n, "unread": row.unread, "total_unread": reply["total_unread"]}
            frames = {caller.user: [encode_push("read", mark | counts)]}
            if isinstance(conversation, Direct) and "receipts" not in inbox.hides:
                frames[conversation.other(caller.user)] = [encode_push("read", mark)]
            push_to_users(self.pusher, self.connections, frames, now, skip=caller.connection)
        return reply

    def read_all(self, caller: Caller) -> Mapping[str, Any]:
        """Move all of the caller's read marks to the end; tell their other devices, and the other sides of direct
        conversations.

        1 W and ½ R a conversation with something unread, 2 R a 17 conversations. What comes meanwhile stays unread.
        """
        now = self.clock()
        inbox = self.inbox.whole(caller.user, consistent=True)
        unread = [row for row in inbox.rows if row.unread]
        if not unread:
            return {"total_unread": 0}

        def mark(row: Row) -> bool | None:
            try:
                return self.inbox.mark_read(caller.user, row.conv, row.last_seq, row.last_n, now)
            except Exception:  # the others are told of what was marked all the same
                log.exception("not marked", extra={"conv": row.conv, "user": caller.user})
                return None

        done = list(self.threads.map(mark, unread))
        moved = [row for row, is_moved in zip(unread, done, strict=True) if is_moved]
        frames: dict[UserId, list[str]] = {}
        for row in moved if "receipts" not in inbox.hides else []:
            conversation = parse_conversation(row.conv)
            if isinstance(conversation, Direct):
                data = {"conv": row.conv, "user": caller.user, "seq": row.last_seq}
                frames[conversation.other(caller.user)] = [encode_push("read", data)]
        if moved:
            own = {caller.user: [encode_push("inbox", {})]}
            push_to_users(self.pusher, self.connections, own, now, skip=caller.connection)
        for some in chunks(list(frames), TOLD_AT_ONCE):
            if self.clock() > now + TELL_FOR_MS:
                break
            told = {user: frames[user] for user in some}
            push_to_users(self.pusher, self.connections, told, now, skip=None, threads=self.threads)
        if None in done:
            raise Unavailable("not all conversations could be marked", 1000)
        return {"total_unread": total(self.inbox.rows(caller.user, consistent=True))}

    def received(self, caller: Caller, acks: Sequence[Mark]) -> None:
        """Move the caller's ack marks; in direct conversations, tell the other side. 1 W a mark that moves.

        The forms of all marks are checked before the first one is written; one that names no entry stops none of the
        others, and is what the reply then says. With a direct conversation 1 R. Nothing else is read while the row says
        that the fan-out has been there; else the entry is looked for: ½ R, and 1 R more in a group.
        """
        checked = [(parse_conversation(mark.conv, f"data.acks.{i}.conv"), Seq(mark.seq)) for i, mark in enumerate(acks)]
        for conversation, _ in checked:
            require_party(conversation, caller.user)
        any_direct = any(isinstance(conversation, Direct) for conversation, _ in checked)
        unknown, hides = None, self.inbox.hides(caller.user) if any_direct else frozenset()
        for conversation, seq in checked:
            conv = conversation.conv
            moved = self.inbox.mark_received(caller.user, conv, seq, must_be_delivered=True)
            if moved is None:
                try:
                    self._require_entry(caller, conversation, seq)
                except ImError as e:
                    unknown = unknown or e
                    continue
                moved = self.inbox.mark_received(caller.user, conv, seq, must_be_delivered=False)
            if moved and isinstance(conversation, Direct) and "receipts" not in hides:
                frame = encode_push("delivered", {"conv": conv, "user": caller.user, "seq": seq})
                frames = {conversation.other(caller.user): [frame]}
                push_to_users(self.pusher, self.connections, frames, self.clock(), skip=None)
        if unknown is not None:
            raise unknown

    def _require_entry(self, caller: Caller, conversation: Direct | Group, seq: Seq) -> Entry:
        """An entry that the caller may see. Raises NotMember, NotFound."""
        spans = require_visible(self.groups, conversation, caller.user)
        entry = self.store.entry(conversation.conv, seq) if visible(spans, seq) else None
        if entry is None:
            raise NotFound(f"{conversation.conv} has no entry {seq} for you")
        return entry
