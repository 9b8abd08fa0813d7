"""A message is sent: stored and queued before its sender hears of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from im.domain.conversation import Direct, Group, Member, direct_conversation, parse_conversation
from im.domain.entries import MAX_BODY_BYTES, MAX_TEXT_BYTES, Draft
from im.domain.errors import BadRequest, Forbidden, TooLarge
from im.domain.ids import USER_ID, Cmid, Seq, UserId
from im.flows.access import require_member
from im.flows.append import Appended, Appender
from im.flows.ports import Caller, Queue
from im.store.conversations import ConversationStore
from im.wire.frames import dumps
from im.wire.requests import CustomBody, Send, TextBody, parse

EVERYBODY = "@all"


@dataclass(frozen=True, slots=True)
class Sender:
    """The use case of message.send."""

    store: ConversationStore
    appender: Appender
    queue: Queue

    def send(self, caller: Caller, request: Send) -> Appended:
        """Store the message, queue its fan-out, tell where it stands.

        Direct: 2 W, ½ R, 1 queue request; in a group 1 R more. A repeat of a stored message is queued again: nobody
        knows whether the first try came that far, and the fan-out does nothing twice.
        """
        conversation = _conversation(caller.user, request)
        member = require_member(self.store, conversation, caller.user)
        draft = Draft(
            conv=conversation.conv,
            kind=request.kind,
            sender=caller.user,
            body=_checked_body(request.kind, request.body),
            cmid=Cmid(request.cmid),
            mentions=_checked_mentions(request.mentions, member),
            reply_to=Seq(request.reply_to) if request.reply_to is not None else None,
        )
        appended = self.appender.append(draft)
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


def _checked_mentions(mentions: Sequence[str], member: Member | None) -> tuple[str, ...]:
    if EVERYBODY in mentions:
        if len(mentions) > 1:
            raise BadRequest("data.mentions", "@all stands alone")
        if member is None or member.role == "member":
            raise Forbidden("only the owner and admins of a group may mention everybody")
        return (EVERYBODY,)
    for i, user in enumerate(mentions):
        if not USER_ID.fullmatch(user):
            raise BadRequest(f"data.mentions.{i}", "neither a user id nor @all")
    return tuple(dict.fromkeys(mentions))
