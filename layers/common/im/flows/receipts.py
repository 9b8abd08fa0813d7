"""Who has received and read a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from im.domain.conversation import Direct, Group, parse_conversation
from im.domain.entries import Entry
from im.domain.errors import NotFound, NotMember, TooLarge
from im.domain.group import visible
from im.domain.ids import ConvId, Seq, UserId
from im.domain.inbox import Marks
from im.domain.message_rules import require_message
from im.flows.access import require_party
from im.flows.ports import Caller
from im.store.batches import chunks
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore
from im.store.others import OthersStore
from im.wire.entries import fitting
from im.wire.requests import Receipts as Request

MAX_MEMBERS: Final = 1_000
"""Members of a group whose marks are looked up: a unit of reading each."""

CHUNK: Final = 50
"""Members who are looked up at once for a page of names: two items each, 100 a call."""


@dataclass(frozen=True, slots=True)
class Receipts:
    """The use case of sync.receipts."""

    log: ConversationStore
    groups: GroupStore
    others: OthersStore

    def receipts(self, caller: Caller, request: Request) -> Mapping[str, Any]:
        """How many of those who got a message and are still there have received and read it, and some of their names.

        1 R a member (½ R for their marks, ½ R for whether they show them), 1 R a 30 members, 4 R. A page of names that
        goes on after `cursor` looks up so many members only as it takes to fill it. Counts and names of one reply come
        from one look at the same marks; names are by user id.
        """
        conversation = parse_conversation(request.conv)
        message, audience = self._audience(conversation, caller.user, Seq(request.seq))
        after = request.cursor or ""
        audience = sorted(user for user in audience if user > after)
        reply: dict[str, Any] = {"conv": message.conv, "seq": message.seq}
        seen: dict[UserId, Marks] = {}
        names: list[UserId] = []
        for some in chunks(audience, CHUNK):
            marks = self.others.marks(message.conv, some)
            seen |= marks
            if request.list is not None:
                reads = request.list == "read"
                names += [user for user in some if marks[user].shown and (marks[user].read >= message.seq) == reads]
            if request.cursor is not None and len(names) > request.limit:
                break
        if request.cursor is None:
            reply |= _counts(message.seq, list(seen.values()))
        if request.list is not None:
            page = fitting(names[: request.limit])
            reply["users"] = page
            if len(page) < len(names):
                reply["cursor"] = page[-1]
        if isinstance(conversation, Direct) and request.cursor is None:
            reply |= self._peer(conversation, caller.user, seen)
        return reply

    def _audience(self, conversation: Direct | Group, user: UserId, seq: Seq) -> tuple[Entry, list[UserId]]:
        """A message that the caller sees, and who else got it. Raises NotMember, NotFound, BadRequest, TooLarge."""
        conv = conversation.conv
        require_party(conversation, user)
        if isinstance(conversation, Direct):
            message = self._require(conv, seq)
            return message, [peer for peer in conversation.peers if peer != message.sender]
        member, head = self.groups.member(conv, user), self.groups.head(conv, consistent=True)
        if member is None or head is None or head.dissolved:
            raise NotMember(conv)
        if head.member_count > MAX_MEMBERS:
            raise TooLarge("members of a group with receipts", head.member_count, MAX_MEMBERS)
        message = self._require(conv, seq if visible(member.spans, seq) else None)
        members, _ = self.groups.members(conv, head.epoch)
        # Not who came later, who may see it too: their marks began behind it.
        there = [m.user for m in members if visible(m.spans, seq) and m.joined_seq <= seq]
        return message, [user for user in there if user != message.sender]

    def _require(self, conv: ConvId, seq: Seq | None) -> Entry:
        message = self.log.entry(conv, seq) if seq is not None else None
        if message is None:
            raise NotFound(f"{conv} has no such entry for you")
        require_message(message)
        return message

    def _peer(self, conversation: Direct, user: UserId, seen: Mapping[UserId, Marks]) -> dict[str, Any]:
        """How far the other side is, unless they do not show it."""
        peer = conversation.other(user)
        marks = seen[peer] if peer in seen else self.others.marks(conversation.conv, [peer])[peer]
        return {"marks": {"read_seq": marks.read, "ack_seq": marks.ack}} if marks.shown else {}


def _counts(seq: Seq, marks: Sequence[Marks]) -> dict[str, int]:
    shown = [theirs for theirs in marks if theirs.shown]
    return {
        "members": len(marks),
        "delivered": sum(max(theirs.ack, theirs.read) >= seq for theirs in shown),
        "read": sum(theirs.read >= seq for theirs in shown),
        "private": len(marks) - len(shown),
    }
