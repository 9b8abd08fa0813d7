"""A message is sent: stored and queued before its sender hears of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from im.domain.conversation import Direct, Group, direct_conversation, parse_conversation
from im.domain.entries import MAX_BODY_BYTES, MAX_TEXT_BYTES, Draft
from im.domain.errors import BadRequest, Forbidden, NotMember, TooLarge
from im.domain.group_rules import EVERYBODY, check_may_send
from im.domain.ids import USER_ID, Cmid, Seq, UserId
from im.flows.admission import Admissions
from im.flows.append import Appended, Appender
from im.flows.ports import Caller, Queue
from im.wire.frames import dumps
from im.wire.requests import CustomBody, Send, TextBody, parse


@dataclass(frozen=True, slots=True)
class Sender:
    """The use case of message.send."""

    admissions: Admissions
    appender: Appender
    queue: Queue

    def send(self, caller: Caller, request: Send) -> Appended:
        """Store the message, queue its fan-out, tell where it stands.

        2 W, ½ R, 1 queue request; 4 R more for somebody who is new to this function in this state of a group. A repeat
        of a stored message is queued again: nobody knows whether the first try came that far, and the fan-out does
        nothing twice.
        """
        conversation = _conversation(caller.user, request)
        if isinstance(conversation, Direct) and caller.user not in conversation.peers:
            raise NotMember(conversation.conv)
        draft = Draft(
            conv=conversation.conv,
            kind=request.kind,
            sender=caller.user,
            body=_checked_body(request.kind, request.body),
            cmid=Cmid(request.cmid),
            mentions=_checked_mentions(request.mentions, conversation),
            reply_to=Seq(request.reply_to) if request.reply_to is not None else None,
        )

        def admit(epoch: Seq) -> None:
            if isinstance(conversation, Group):
                head, member = self.admissions.at(conversation.conv, caller.user, epoch)
                check_may_send(head, member, draft.mentions, self.appender.clock())

        appended = self.appender.append(draft, admit)
        self.queue.put(appended.entry, caller.connection)
        return appended


def _conversation(user: UserId, request: Send) -> Direct | Group:
    if request.to is not None:
        return direct_conversation(user, UserId(request.to))
    return parse_conversation(request.conv or "")


def _checked_body(kind: str, body: Mapping[str, Any]) -> str:
    """The body as the JSON that is stored: its known fields alone."""
    if kind == "text":
        text = parse(TextBody, body, "data.body").text
        if (size := len(text.encode())) > MAX_TEXT_BYTES:
            raise TooLarge("data.body.text bytes", size, MAX_TEXT_BYTES)
        stored = dumps({"text": text})
    else:
        custom = parse(CustomBody, body, "data.body")
        stored = dumps({"type": custom.type, "payload": custom.payload})
    if (size := len(stored.encode())) > MAX_BODY_BYTES:
        raise TooLarge("data.body bytes", size, MAX_BODY_BYTES)
    return stored


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
