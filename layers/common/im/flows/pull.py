"""What a client asks for: its conversation list, entries, unread counts."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from im.domain.conversation import Group, parse_conversation
from im.domain.deletions import Deletions
from im.domain.entries import CHANGES, Entry
from im.domain.errors import BadRequest
from im.domain.group import Spans, visible
from im.domain.ids import ConvId, UserId
from im.domain.inbox import Hideable, Row
from im.domain.inbox_version import InboxVersion, changed_since, parse_version, version_of
from im.flows.access import require_visible
from im.flows.seen import as_seen, seen_data
from im.store.conversations import ConversationStore
from im.store.deletions import DeletionStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.store.keys import MAX_SEQ
from im.wire import requests
from im.wire.entries import ENVELOPE_BYTES, fitting, row_data

LOOKED_THROUGH: Final = 100
"""Entries before the deleted ones among which the list looks for one to show."""


@dataclass(frozen=True, slots=True)
class _Page:
    """Entries of one stay in a conversation."""

    entries: list[Entry]
    start: int
    """The seq that the page goes on from."""
    whole: bool
    """Whether no more entries follow."""


@dataclass(frozen=True, slots=True)
class Puller:
    """What the route `sync` tells of conversations. Replies stay within a frame; a cursor or `more` tells of more."""

    store: ConversationStore
    groups: GroupStore
    inbox: InboxStore
    deletions: DeletionStore

    def conversations(self, user: UserId, request: requests.Inbox) -> Mapping[str, Any]:
        """Rows that changed since `since`, pinned ones first, then newest first.

        ½ R a 17 to 30 conversations of the user, whatever changed, and ½ R a large group; then ½ R a row of the page
        for what it shows (more for a long message), and as much again where the user has deleted something.

        All pages carry the version as it was at the first one: a row that changes between two pages may be missing in
        both, and is told by the next sync.
        """
        inbox = self.inbox.whole(user)
        if request.cursor is None:
            since = parse_version(request.since) if request.since is not None else None
            version, after = version_of(inbox), None
        else:
            since, version, after = _inbox_cursor(request.cursor)
        # A row that only its reader has written yet has nothing to show: the fan-out is on its way.
        changed = sorted((r for r in changed_since(inbox, since) if r.shown is not None or r.rev), key=_place)
        if after is not None:
            changed = [row for row in changed if _place(row) > after]
        some = changed[: request.limit]
        last = self.last_entries(user, some)
        # The version stands in the reply, and in its cursor beside the one before, a third longer there.
        reserve = 2 * ENVELOPE_BYTES + 3 * len(str(version)) + 2 * len(str(since))
        page = fitting([row_data(row, last.get(row.conv)) for row in some], reserve=reserve)
        reply: dict[str, Any] = {"conversations": page, "inbox": str(version), "privacy": privacy_data(inbox.hides)}
        if len(page) < len(changed):
            reply["cursor"] = _pack([str(since) if since else None, str(version), *_place(changed[len(page) - 1])])
        return reply

    def last_entries(self, user: UserId, rows: Sequence[Row]) -> dict[ConvId, Entry]:
        """What the conversation list shows of some rows: the newest entry that is no change and not deleted.

        ½ R a row (more for a long message); where the user has deleted entries ½ R, and where the newest one is among
        them ½ R a 4 KiB of the 100 before the deleted ones: those are looked through, and then nothing is shown.
        """
        found = self.store.found((row.conv, row.shown.seq) for row in rows if row.shown is not None)
        out = {entry.conv: entry for entry in found.values()}
        deleted = self.deletions.of_all(user, [row.conv for row in rows if row.deleted])
        for conv, deletions in deleted.items():
            if conv in out and out[conv].seq in deletions:
                before = self._shown_before(user, out.pop(conv), deletions)
                out |= {conv: before} if before is not None else {}
        return out

    def _shown_before(self, user: UserId, entry: Entry, deletions: Deletions) -> Entry | None:
        conversation = parse_conversation(entry.conv)
        spans = require_visible(self.groups, conversation, user)
        page = self._descending(entry.conv, spans, deletions.start_of(entry.seq) - 1, LOOKED_THROUGH)
        kept = [e for e in page.entries if e.kind not in CHANGES and e.seq not in deletions and visible(spans, e.seq)]
        return as_seen(kept[0], spans) if kept else None

    def entries(self, user: UserId, request: requests.Entries) -> Mapping[str, Any]:
        """A page of a conversation, of what the caller may see, as they see it.

        2 R for a group, and 1 R or ½ R a 4 KiB of entries; 1 R for what the caller has deleted, ½ R for each message
        that is answered and not on the page.

        Ascending reads fill holes at the log's end, so they are consistent; descending ones read history and are not.
        What is missing in the ascending replies to one after the other is closed to the caller. A page never crosses
        from one stay in a group to the next: one Query each.
        """
        conversation = parse_conversation(request.conv)
        conv, spans = conversation.conv, require_visible(self.groups, conversation, user)
        ascending = request.after is not None
        if request.after is not None:
            page = self._ascending(conv, spans, request.after + 1, request.limit)
        else:
            page = self._descending(conv, spans, (request.before or 0) - 1, request.limit)
        if isinstance(conversation, Group) and page.entries and spans[-1].last is None:
            # Removed while the page was read? Then it holds nothing of what came after that.
            spans = require_visible(self.groups, conversation, user)
            page = replace(page, entries=[entry for entry in page.entries if visible(spans, entry.seq)])
        return self._reply(user, conv, spans, page, ascending=ascending)

    def _ascending(self, conv: ConvId, spans: Spans, first: int, limit: int) -> _Page:
        span = next((span for span in spans if span.last is None or span.last >= first), None)
        if span is None:
            return _Page([], first - 1, whole=True)
        first, last = max(first, span.first), span.last if span.last is not None else MAX_SEQ
        found = self.store.entries(conv, first, last, limit=limit, ascending=True, consistent=True)
        return _Page(found.entries, first - 1, whole=found.whole and span is spans[-1])

    def _descending(self, conv: ConvId, spans: Spans, last: int, limit: int) -> _Page:
        span = next((span for span in reversed(spans) if span.first <= last), None)
        if span is None:
            return _Page([], last, whole=True)
        last = min(last, span.last if span.last is not None else MAX_SEQ)
        found = self.store.entries(conv, span.first, last, limit=limit, ascending=False, consistent=False)
        return _Page(found.entries, last, whole=False)

    def _reply(self, user: UserId, conv: ConvId, spans: Spans, page: _Page, *, ascending: bool) -> Mapping[str, Any]:
        deletions = self.deletions.of(user, conv) if page.entries else Deletions()
        fit = fitting(seen_data(self.store, conv, spans, page.entries, deletions))
        if spans[-1].last is not None:
            last_seq: int = spans[-1].last
        elif ascending and page.whole and fit and len(fit) == len(page.entries):
            last_seq = fit[-1]["seq"]
        else:
            last_seq = self.store.tail(conv, consistent=ascending).seq
            if fit:
                last_seq = max(last_seq, fit[0]["seq"])  # another replica may know less than the first
        if ascending:
            more = last_seq > (fit[-1]["seq"] if fit else page.start)
        else:
            more = bool(fit) and fit[-1]["seq"] > spans[0].first
        return {"entries": fit, "last_seq": last_seq, "more": more}

    def unread(self, user: UserId, request: requests.Unread) -> Mapping[str, Any]:
        """The total, and the conversations that make it up. ½ R a 12 conversations.

        Both come from one pass over the same rows: they cannot disagree.
        """
        rows = self.inbox.rows(user)
        parts = sorted((row.conv, row.unread) for row in rows if row.unread)
        if request.cursor is not None:
            (after,) = _unpack(request.cursor, 1)
            parts = [part for part in parts if part[0] > str(after)]
        page = fitting([[conv, count] for conv, count in parts])
        reply: dict[str, Any] = {"total_unread": total(rows), "conversations": dict(page)}
        if len(page) < len(parts):
            reply["cursor"] = _pack([page[-1][0]])
        return reply


def total(rows: Iterable[Row]) -> int:
    """The total unread count of an inbox: the sum of its rows, and nothing else."""
    return sum(row.unread for row in rows)


def privacy_data(hides: Collection[str]) -> dict[str, bool]:
    """What others are told of a user."""
    return {name: name not in hides for name in get_args(Hideable)}


def _place(row: Row) -> tuple[int, int, str]:
    """Where a row stands in the list."""
    return (0 if row.pinned else 1, -row.at, row.conv)


def _inbox_cursor(text: str) -> tuple[InboxVersion | None, InboxVersion, tuple[int, int, str]]:
    since, version, group, ts, conv = _unpack(text, 5)
    at = parse_version(str(version))
    if at is None or not isinstance(group, int) or not isinstance(ts, int):
        raise BadRequest("data.cursor", "not one of ours")
    return parse_version(since) if isinstance(since, str) else None, at, (group, ts, str(conv))


def _pack(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode()


def _unpack(cursor: str, length: int) -> list[Any]:
    """The values of a cursor that `_pack` made. Raises BadRequest for any other text. A cursor reaches nothing that
    its user may not see: it only says where in the user's own rows to go on."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError) as e:
        raise BadRequest("data.cursor", "not one of ours") from e
    if not isinstance(values, list) or len(values) != length:
        raise BadRequest("data.cursor", "not one of ours")
    return values
