"""A message is sent: stored and queued before its sender hears of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from im.domain.conversation import Direct, Group, direct_conversation, parse_conversation
from im.domain.entries import Draft, Entry, Forwarded
from im.domain.errors import BadRequest, Conflict, Forbidden, ImError, NotFound
from im.domain.group import WHOLE, Spans, visible
from im.domain.group_rules import EVERYBODY, check_may_send
from im.domain.ids import USER_ID, Cmid, ConvId, Seq, UserId
from im.domain.message_rules import require_message
from im.flows.access import require_party, require_visible
from im.flows.admission import Admissions
from im.flows.append import Appended, Appender
from im.flows.bodies import checked_body, fitting_body
from im.flows.ports import Caller, Queue
from im.flows.seen import as_seen
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore
from im.wire.requests import Forward, Send


@dataclass(frozen=True, slots=True)
class Sender:
    """The use cases of message.send and message.forward."""

    log: ConversationStore
    groups: GroupStore
    admissions: Admissions
    appender: Appender
    queue: Queue

    def send(self, caller: Caller, request: Send) -> Appended:
        """Store the message, queue its fan-out, tell where it stands.

        2 W, ½ R, 1 queue request; 4 R more for somebody who is new to this function in this state of a group, 1 R more
        for an answer. A repeat of a stored message is queued again: nobody knows whether the first try came that far,
        and the fan-out does nothing twice.
        """
        conversation = _address(caller.user, request)
        draft = Draft(
            conv=conversation.conv,
            kind=request.kind,
            sender=caller.user,
            body=checked_body(request.kind, request.body).stored,
            cmid=Cmid(request.cmid),
            mentions=_checked_mentions(request.mentions, conversation),
            reply_to=Seq(request.reply_to) if request.reply_to is not None else None,
        )
        return self._send(caller, conversation, draft)

    def forward(self, caller: Caller, request: Forward) -> Appended:
        """Send what others have said: one message as it is, several as one. As `send`, and 1 R a message, and 1 R more
        from a group.

        A repeat is answered as the first try was, also when one of the messages has been recalled since.
        """
        conversation = _address(caller.user, request)
        again = Draft(conversation.conv, "", caller.user, "", Cmid(request.cmid))
        try:
            draft = self._forwarding(caller.user, conversation.conv, request)
        except ImError:
            if (found := self.appender.stored(again)) is None:
                raise
            self.queue.put(found, caller.connection)
            return Appended(found, duplicate=True)
        return self._send(caller, conversation, draft)

    def _send(self, caller: Caller, conversation: Direct | Group, draft: Draft) -> Appended:
        def admit(epoch: Seq) -> None:
            spans = WHOLE
            if isinstance(conversation, Group):
                head, member = self.admissions.at(conversation.conv, caller.user, epoch)
                check_may_send(head, member, draft.mentions, self.appender.clock())
                spans = member.spans
            if draft.reply_to is not None:
                self._messages(draft.conv, [draft.reply_to], spans, "data.reply_to")

        appended = self.appender.append(draft, admit)
        self.queue.put(appended.entry, caller.connection)
        return appended

    def _forwarding(self, user: UserId, conv: ConvId, request: Forward) -> Draft:
        source = parse_conversation(request.source, "data.source")
        seqs = [Seq(seq) for seq in sorted(set(request.seqs))]
        messages = self._messages(source.conv, seqs, require_visible(self.groups, source, user), "data.seqs")
        for message in messages:
            if message.state.recalled is not None:
                raise Conflict(f"message {message.seq} is recalled")
            if message.kind == "redpacket":
                raise BadRequest("data.seqs", "a red packet cannot be forwarded")
        if len(messages) == 1:
            (message,) = messages
            first = message.forwarded or Forwarded(message.sender, message.ts)
            return Draft(conv, message.kind, user, message.body, Cmid(request.cmid), forwarded=first)
        merged = [
            {"from": message.sender, "ts": message.ts, "kind": message.kind, "body": json.loads(message.body)}
            for message in messages
        ]
        body = fitting_body({"title": request.title, "messages": merged})
        return Draft(conv, "merged", user, body.stored, Cmid(request.cmid))

    def _messages(self, conv: ConvId, seqs: Sequence[Seq], spans: Spans, path: str) -> list[Entry]:
        """Messages that somebody may see, as of now. Raises NotFound, BadRequest."""
        found = self.log.found(((conv, seq) for seq in seqs if visible(spans, seq)), consistent=True)
        out = []
        for seq in seqs:
            entry = found.get((conv, seq))
            if entry is None:
                raise NotFound(f"{conv} has no entry {seq} for you")
            require_message(entry, path)
            out.append(as_seen(entry, spans))
        return out


def _address(user: UserId, request: Send | Forward) -> Direct | Group:
    if request.to is not None:
        return direct_conversation(user, UserId(request.to))
    conversation = parse_conversation(request.conv or "")
    require_party(conversation, user)
    return conversation


def _checked_mentions(mentions: Sequence[str], conversation: Direct | Group) -> tuple[str, ...]:
    """Mentions of a valid form. One of somebody who is no member is kept, and tells nobody."""
    if EVERYBODY in mentions:
        if len(mentions) > 1:
            raise BadRequest("data.mentions", "@all stands alone")
        if isinstance(conversation, Direct):
            raise Forbidden("a direct conversation has nobody else to mention")
        return (EVERYBODY,)
    for i, user in enumerate(mentions):
        if not USER_ID.fullmatch(user):
            raise BadRequest(f"data.mentions.{i}", "neither a user id nor @all")
    return tuple(dict.fromkeys(mentions))
