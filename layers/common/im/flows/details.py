"""What belongs to messages beside what they say: who has reacted, what they said before, which are pinned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from im.domain.conversation import parse_conversation
from im.domain.entries import Entry
from im.domain.errors import BadRequest, NotFound
from im.domain.group import Spans, visible
from im.domain.ids import Seq, user_id
from im.domain.message_rules import as_sent, require_message
from im.flows.access import require_visible
from im.flows.ports import Caller
from im.flows.seen import seen_data
from im.store.conversations import ConversationStore
from im.store.deletions import DeletionStore
from im.store.groups import GroupStore
from im.store.message_changes import MessageChangeStore
from im.wire import requests
from im.wire.entries import fitting

Reply = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Details:
    """The use cases of sync.reactions, edits and pins. Replies stay within a frame."""

    log: ConversationStore
    groups: GroupStore
    changes: MessageChangeStore
    deletions: DeletionStore

    def reactions(self, caller: Caller, request: requests.MessagePage) -> Mapping[str, Any]:
        """Who has reacted to a message and how, by user id. 2 R, and ½ R a 40 users."""
        message, spans = self._message(caller, request)
        if message.state.recalled is not None:
            return {"reactions": []}
        after = user_id(request.cursor, "data.cursor") if request.cursor is not None else None
        found, more = self.changes.reactions(message.conv, message.seq, after, request.limit)
        page = fitting(
            {"user": user, "emoji": [name for name, at in sorted(emoji.items()) if visible(spans, at)]}
            for user, emoji in found
        )
        reply: dict[str, Any] = {"reactions": [reactor for reactor in page if reactor["emoji"]]}
        return reply | ({"cursor": page[-1]["user"]} if more or len(page) < len(found) else {})

    def edits(self, caller: Caller, request: requests.MessagePage) -> Mapping[str, Any]:
        """What a message said, oldest first, as far as the caller may see it. 2 R, and ½ R a 4 KiB of each version."""
        message, spans = self._message(caller, request)
        if message.state.recalled is not None:
            return {"versions": []}
        first = as_sent(message)
        seqs = [seq for seq in message.state.edits if visible(spans, seq)]
        edits = self.log.found((message.conv, seq) for seq in seqs)
        versions = [{"seq": first.seq, "ts": first.ts, "body": json.loads(first.body)}]
        for seq in seqs:
            edit = edits[message.conv, seq]
            if "body" not in (says := json.loads(edit.body)):
                return {"versions": []}  # recalled meanwhile
            versions.append({"seq": seq, "ts": edit.ts, "body": says["body"]})
        rest = [version for version in versions if version["seq"] > _seq_after(request.cursor)]
        page = fitting(rest)
        return {"versions": page} | ({"cursor": str(page[-1]["seq"])} if len(page) < len(rest) else {})

    def pins(self, caller: Caller, request: requests.ConvName) -> Mapping[str, Any]:
        """The pinned messages of a conversation by seq, as far as the caller may see them. 2 R, and ½ R a message.

        All by their seqs; as many of them as fit as entries too.
        """
        conversation = parse_conversation(request.conv)
        conv, spans = conversation.conv, require_visible(self.groups, conversation, caller.user)
        seqs = [seq for seq in self.changes.pinned(conv) if visible(spans, seq)]
        found = self.log.found((conv, seq) for seq in seqs)
        deletions = self.deletions.of(caller.user, conv)
        pinned = [
            entry for entry in found.values() if visible(spans, entry.state.pinned) and entry.seq not in deletions
        ]
        shown = seen_data(self.log, conv, spans, sorted(pinned, key=lambda entry: entry.seq), deletions)
        page = fitting(shown)
        return {"seqs": [entry["seq"] for entry in shown], "entries": page}

    def _message(self, caller: Caller, request: requests.MessagePage) -> tuple[Entry, Spans]:
        """A message, and what of its log the caller may see. Raises NotMember, NotFound, BadRequest."""
        conversation = parse_conversation(request.conv)
        spans = require_visible(self.groups, conversation, caller.user)
        seq = Seq(request.seq)
        entry = self.changes.message(conversation.conv, seq) if visible(spans, seq) else None
        if entry is None:
            raise NotFound(f"{conversation.conv} has no entry {seq} for you")
        require_message(entry)
        return entry, spans


def _seq_after(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit():
        raise BadRequest("data.cursor", "not one of ours")
    return int(cursor)
