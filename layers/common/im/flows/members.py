"""Who may see the entries of a group, read once for each state of it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from im.domain.conversation import Direct
from im.domain.group import WHOLE, Spans
from im.domain.group_entries import removed_by
from im.domain.ids import ConvId, Seq, UserId
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore

MAX_CACHED: Final = 50_000
"""People kept in memory a function instance: about 300 bytes each."""


log = logging.getLogger("im")


class NowLarge(Exception):
    """The group has become large since: its members are too many to be listed for one entry."""


@dataclass(slots=True)
class _Known:
    people: dict[UserId, Spans]
    whole_since: Seq | None = None
    """When everybody is known who was a member then or later."""
    members: tuple[UserId, ...] | None = None
    """All of them, when they have been listed."""


class MemberLists:
    """Who was in a group in one state of it, with what they may see, by group and epoch. Safe to share between threads.

    The epoch of an entry names the state of the group that it was accepted in. What is remembered for it is at least
    as new, and may be newer: `spans` say which entries somebody may see. It is never used for entries after a change.
    """

    def __init__(self, groups: GroupStore, log: ConversationStore) -> None:
        self._groups = groups
        self._log = log
        self._known: OrderedDict[tuple[ConvId, Seq], _Known] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def between(self, conv: ConvId, since: Seq, epoch: Seq) -> Mapping[UserId, Spans]:
        """Everybody who was in a small group in the state `since` or later, up to `epoch`; also who has left by now.

        2 R and 1 R a 30 members when not known; and 1 R for each change after `since`. Raises NowLarge.
        """
        key = (conv, epoch)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.whole_since is not None and known.whole_since <= since:
                self._known.move_to_end(key)
                return known.people
        head = self._groups.head(conv, consistent=True)
        if head is not None and head.large:
            raise NowLarge(conv)
        members, head = self._groups.members(conv, epoch)
        people = self.left_since(conv, since, head.epoch) | {member.user: member.spans for member in members}
        with self._lock:
            self._keep(key, people).whole_since = since
        return people

    def members(self, conv: ConvId, epoch: Seq) -> tuple[UserId, ...]:
        """The members of a group of any size in the state `epoch` or a newer one, nobody who has left.

        2 R and 1 R a 30 members when not known.
        """
        key = (conv, epoch)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.members is not None:
                self._known.move_to_end(key)
                return known.members
        found, _ = self._groups.members(conv, epoch)
        members = tuple(member.user for member in found)
        with self._lock:
            self._keep(key, {member.user: member.spans for member in found}).members = members
        return members

    def among(self, conv: ConvId, epoch: Seq, users: Sequence[UserId]) -> dict[UserId, Spans]:
        """Those of `users` who are or were members, for entries of `epoch`. 2 R for each who is not known."""
        key = (conv, epoch)
        with self._lock:
            kept = self._known.get(key)
            known = {user: kept.people[user] for user in users if user in kept.people} if kept is not None else {}
        unknown = [user for user in users if user not in known]
        if unknown:
            fresh = self._groups.people_among(conv, unknown, epoch)
            known |= fresh
            with self._lock:
                self._keep(key, fresh)
        return known

    def left_since(self, conv: ConvId, epoch: Seq, newest: Seq) -> dict[UserId, Spans]:
        """Who was removed by a change after `epoch`, up to the change `newest`. 1 R a change and 1 R a user.

        Nobody for entries that come so late that hundreds of changes were made since: what they would still do for
        those who have left, a mark on a row that has ended, is not worth what it costs then.
        """
        changes = self._log.changes(conv, epoch, newest)
        if changes is None:
            log.warning("entries come very late", extra={"conv": conv, "epoch": epoch, "newest": newest})
            return {}
        return self._groups.former_among(conv, list(removed_by(changes)))

    def _keep(self, key: tuple[ConvId, Seq], people: Mapping[UserId, Spans]) -> _Known:
        kept = self._known.setdefault(key, _Known({}))
        self._known.move_to_end(key)
        self._size -= len(kept.people)
        kept.people = {**kept.people, **people}
        self._size += len(kept.people)
        while self._size > MAX_CACHED and len(self._known) > 1:
            _, dropped = self._known.popitem(last=False)
            self._size -= len(dropped.people)
        return kept


def peers_of(conversation: Direct) -> dict[UserId, Spans]:
    """The two of a direct conversation, who see all of it."""
    return dict.fromkeys(conversation.peers, WHOLE)
