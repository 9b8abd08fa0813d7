"""Somebody is writing, or has stopped: told to whoever is there, and forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final

from im.domain.conversation import Direct, Group, parse_conversation
from im.domain.entries import EMPTY
from im.domain.errors import RateLimited
from im.domain.group_rules import check_may_send
from im.domain.ids import ConvId, UserId
from im.flows.access import require_party
from im.flows.admission import Admissions
from im.flows.members import MemberLists
from im.flows.ports import Caller, Clock, Pusher
from im.flows.push_to import push_to_users
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.wire.frames import encode_push
from im.wire.requests import Typing

MAX_MEMBERS: Final = 50
"""Members of a group in which it is told who is writing."""

GAP_MS: Final = 2_000
MAX_PACED: Final = 10_000
"""Users and conversations kept in memory a function instance: some 300 bytes each."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one user was allowed to tell one conversation; times in milliseconds since the epoch, None for never."""

    on: bool = False
    """The newest of it."""
    on_at: int | None = None
    off_at: int | None = None


class TypingPace:
    """How often somebody may tell one conversation that they are writing: one `on` in 2 s.

    The `off` that follows an `on` is always allowed; others once in 2 s too. It is kept in memory: several instances of
    a function may let a few more through, and so may one that knows more than MAX_PACED users and conversations. Safe
    to share between threads.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[UserId, ConvId], _Told] = OrderedDict()
        self._lock = Lock()

    def check(self, user: UserId, conv: ConvId, *, on: bool, now: int) -> None:
        """Note that `user` tells `conv`. Raises RateLimited, and notes nothing then."""
        key = (user, conv)
        with self._lock:
            told = self._told.get(key, _Told())
            before = told.on_at if on else told.off_at
            answers_an_on = told.on and not on
            # A time to come is of a clock that was set back.
            if before is not None and before <= now < before + GAP_MS and not answers_an_on:
                raise RateLimited(before + GAP_MS - now)
            self._told[key] = replace(told, on=True, on_at=now) if on else replace(told, on=False, off_at=now)
            self._told.move_to_end(key)
            while len(self._told) > MAX_PACED:
                self._told.popitem(last=False)


@dataclass(frozen=True, slots=True)
class TypingTeller:
    """The use case of message.typing."""

    admissions: Admissions
    log: ConversationStore
    members: MemberLists
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    pace: TypingPace
    threads: Executor

    def tell(self, caller: Caller, request: Typing) -> Mapping[str, Any]:
        """Push to the others who are online that the caller is writing. Nothing is stored or queued.

        ½ R a user to push to and ½ R a 4 KiB of the newest entry, 1 push a connection. In a group 4 R more for
        somebody who is new to this function in this state of the group, and 2 R and 1 R a 30 members for a group that
        is. In a group of more than 50 members nobody is told, nor in a direct conversation where nothing was said yet.

        Raises NotMember and Muted as message.send does, and RateLimited, before anything is read.
        """
        conversation = parse_conversation(request.conv)
        require_party(conversation, caller.user)
        now = self.clock()
        self.pace.check(caller.user, conversation.conv, on=request.on, now=now)
        frame = encode_push("typing", {"conv": conversation.conv, "user": caller.user, "on": request.on})
        frames = {user: [frame] for user in self._others(conversation, caller.user, now)}
        push_to_users(self.pusher, self.connections, frames, now, skip=None, threads=self.threads)
        return {}

    def _others(self, conversation: Direct | Group, user: UserId, now: int) -> Sequence[UserId]:
        """Whom to tell."""
        conv = conversation.conv
        tail = self.log.tail(conv)
        if isinstance(conversation, Direct):
            return [conversation.other(user)] if tail != EMPTY else []
        epoch = tail.epoch
        head, member = self.admissions.at(conv, user, epoch)
        check_may_send(head, member, (), now)
        if head.member_count > MAX_MEMBERS:
            return []
        return [other for other in self.members.members(conv, epoch) if other != user]
