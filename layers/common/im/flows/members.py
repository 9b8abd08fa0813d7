"""Who is in a group, read once for each state of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Final

from im.domain.conversation import Direct
from im.domain.group import WHOLE, Member
from im.domain.ids import ConvId, Seq, UserId
from im.store.groups import GroupStore

MAX_CACHED: Final = 50_000
"""Members kept in memory a function instance: about 300 bytes each."""


class MemberLists:
    """The members of groups, by group and epoch. Safe to share between threads.

    The epoch of an entry names the state of the group that it was accepted in. What is remembered for it is at least
    as new, and may be newer: `spans` say which entries a member may see. It is never used for entries after a change.
    """

    def __init__(self, store: GroupStore) -> None:
        self._store = store
        self._known: OrderedDict[tuple[ConvId, Seq], dict[UserId, Member | None]] = OrderedDict()
        """None for somebody who is no member."""
        self._whole: set[tuple[ConvId, Seq]] = set()
        """Of which all members are known."""
        self._size = 0
        self._lock = Lock()

    def at(self, conv: ConvId, epoch: Seq) -> Sequence[Member]:
        """All members of a small group for entries of `epoch`. 2 R and 1 R a 30 members when not known."""
        key = (conv, epoch)
        with self._lock:
            if key in self._whole:
                self._known.move_to_end(key)
                return [member for member in self._known[key].values() if member is not None]
        members = self._store.members(conv, epoch)
        with self._lock:
            self._keep(key, {member.user: member for member in members})
            self._whole.add(key)
        return members

    def among(self, conv: ConvId, epoch: Seq, users: Sequence[UserId]) -> dict[UserId, Member]:
        """Those of `users` who are members, for entries of `epoch`. 2 R for each who is not known."""
        key = (conv, epoch)
        with self._lock:
            known = dict(self._known.get(key, {}))
        unknown = [user for user in users if user not in known]
        if unknown:
            found = self._store.members_among(conv, unknown, epoch)
            fresh = {user: found.get(user) for user in unknown}
            known |= fresh
            with self._lock:
                self._keep(key, fresh)
        return {user: member for user in users if (member := known[user]) is not None}

    def _keep(self, key: tuple[ConvId, Seq], members: Mapping[UserId, Member | None]) -> None:
        kept = self._known.setdefault(key, {})
        self._known.move_to_end(key)
        self._size -= len(kept)
        kept.update(members)
        self._size += len(kept)
        while self._size > MAX_CACHED and len(self._known) > 1:
            oldest, dropped = self._known.popitem(last=False)
            self._whole.discard(oldest)
            self._size -= len(dropped)


def peers_of(conversation: Direct) -> list[Member]:
    """The two of a direct conversation, who see all of it."""
    return [Member(user=peer, joined_at=0, joined_seq=Seq(1), spans=WHOLE) for peer in conversation.peers]
