"""A message changes: decided on what it is, stored with its entry in one transaction, told to everybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from im.domain.conversation import Direct, Group, parse_conversation
from im.domain.entries import Draft, Entry, Tail
from im.domain.errors import ImError, NotFound, NotMember, TooLarge
from im.domain.group import WHOLE, Role, Spans, visible
from im.domain.group_rules import check_may_send
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_rules import (
    MAX_PINNED,
    Edit,
    MessageChange,
    Pin,
    React,
    Recall,
    Target,
    Windows,
    require_editable,
    require_message,
)
from im.flows.access import require_party
from im.flows.admission import Admissions
from im.flows.append import Appended
from im.flows.bodies import checked_body
from im.flows.crowds import DEADLINE_MS, require_time, wait_s
from im.flows.ports import Caller, Clock, Queue
from im.store.conversations import ConversationStore
from im.store.message_changes import MessageChangeStore
from im.wire import requests
from im.wire.frames import dumps


@dataclass(frozen=True, slots=True)
class MessageChanges:
    """The use cases of message.edit, recall, react and pin.

    Each costs what `MessageChangeStore.commit` says, at least 4 W; 1½ R (a reaction 4½), 1 queue request; 4 R more for
    somebody who is new to this function in this state of a group. A repeat is found by the state of the message, or by
    its `cmid`. Its entry is queued again: nobody knows whether the first try came that far, and nothing is done twice.
    """

    log: ConversationStore
    store: MessageChangeStore
    admissions: Admissions
    queue: Queue
    clock: Clock
    windows: Windows
    pause: Callable[[float], None] = time.sleep
    """Waits for so many seconds."""

    def edit(self, caller: Caller, request: requests.Edit) -> Appended:
        """The caller's message says something else."""

        def decide(target: Target) -> MessageChange:
            require_editable(target.message)
            body = checked_body(target.message.kind, request.body)
            return Edit(caller.user, body.stored, {"body": body.known}, self.windows.edit)

        return self._change(caller, request, decide)

    def recall(self, caller: Caller, request: requests.Recall) -> Appended:
        """A message is taken back."""
        return self._change(caller, request, lambda _: Recall(caller.user, self.windows.recall), even_muted=True)

    def react(self, caller: Caller, request: requests.React) -> Appended:
        """The caller reacts to a message, or does not any more."""
        return self._change(caller, request, lambda _: React(caller.user, request.emoji, request.on), reacting=True)

    def pin(self, caller: Caller, request: requests.Pin) -> Appended:
        """A message is pinned, or not any more."""
        return self._change(caller, request, lambda _: Pin(request.on))

    def _change(
        self,
        caller: Caller,
        request: requests.Target,
        decide: Callable[[Target], MessageChange],
        *,
        even_muted: bool = False,
        reacting: bool = False,
    ) -> Appended:
        conversation = parse_conversation(request.conv)
        require_party(conversation, caller.user)
        conv, cmid = conversation.conv, Cmid(request.cmid) if request.cmid is not None else None
        deadline = self.clock() + DEADLINE_MS
        attempt = 0
        while True:
            tail = self.log.tail(conv, consistent=attempt > 0)
            try:
                role, spans = self._admitted(conversation, caller.user, tail, even_muted=even_muted)
                message, own = self._message(conv, Seq(request.seq), spans, caller.user if reacting else None)
                if message.state.changed > tail.seq:
                    # The end that was read is behind the message: a change came between, or the replica lags.
                    attempt = self._next(attempt, deadline)
                    continue
                target = Target(message, role, own)
                change = decide(target)
                made = change.made(target)
                if made is not None:
                    if cmid is not None:
                        made = self.store.note(conv, caller.user, cmid, made, self.clock() // 1000)
                    return self._again(conv, made)
                change.check(target, self.clock())
            except ImError:
                if (noted := self._noted(conv, caller.user, cmid)) is not None:
                    return self._again(conv, noted)
                raise
            body = dumps({"target": request.seq, **change.says})
            now = self.clock()
            entry = Draft(conv, change.kind, caller.user, body, cmid=cmid).following(tail, now)
            reactions = change.reactions(target, entry.seq) if isinstance(change, React) else {}
            after = change.applied(target, entry.seq, now)
            lost = self.store.commit(entry, target.message, after, reactions, now // 1000)
            if lost.done:
                self.queue.put(entry, caller.connection)
                return Appended(entry, duplicate=False)
            noted = self._noted(conv, caller.user, cmid) if lost.cmid_known else None
            if noted is not None:
                return self._again(conv, noted)
            if lost.pins_full and not lost.target_changed:
                raise TooLarge("pinned messages", MAX_PINNED + 1, MAX_PINNED)
            attempt = self._next(attempt, deadline)

    def _next(self, attempt: int, deadline: int) -> int:
        """Wait for the next try. Raises Unavailable when it has gone on for too long."""
        require_time(self.clock(), deadline)
        self.pause(wait_s(attempt + 1))
        return attempt + 1

    def _admitted(
        self, conversation: Direct | Group, user: UserId, tail: Tail, *, even_muted: bool
    ) -> tuple[Role | None, Spans]:
        """What the caller is in the conversation and may see of it, in the state that the next entry is accepted in."""
        if isinstance(conversation, Direct):
            return None, WHOLE
        head, member = self.admissions.at(conversation.conv, user, tail.epoch)
        if head.dissolved:
            raise NotMember(head.conv)
        if not even_muted:
            check_may_send(head, member, (), self.clock())
        return head.role_of(user), member.spans

    def _message(self, conv: ConvId, seq: Seq, spans: Spans, reacting: UserId | None) -> tuple[Entry, dict[str, Seq]]:
        own: dict[str, Seq] = {}
        message = None
        if visible(spans, seq) and reacting is not None:
            message, own = self.store.message_reacted_to(conv, seq, reacting)
        elif visible(spans, seq):
            message = self.store.message(conv, seq)
        if message is None:
            raise NotFound(f"{conv} has no entry {seq} for you")
        require_message(message)
        return message, own

    def _noted(self, conv: ConvId, user: UserId, cmid: Cmid | None) -> Seq | None:
        """The change that a `cmid` was answered with. Raises Conflict when it is a message's."""
        return self.store.noted(conv, user, cmid) if cmid is not None else None

    def _again(self, conv: ConvId, seq: Seq) -> Appended:
        entry = self.log.entry(conv, seq)
        if entry is None:
            raise NotFound(f"{conv} has no entry {seq}")
        self.queue.put(entry, None)
        return Appended(entry, duplicate=True)
