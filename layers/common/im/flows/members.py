"""Who gets an entry: the members of a conversation, read once for each state of the member list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final

from im.domain.conversation import Direct, Member
from im.domain.ids import ConvId, Seq
from im.store.conversations import ConversationStore

MAX_CACHED: Final = 50_000
"""Members kept in memory a function instance: about 300 bytes each."""


class MemberLists:
    """The member lists of groups, by conversation and epoch. Safe to share between threads.

    The epoch of an entry is the seq of the newest `members` entry up to it, so a list cached for one epoch is never
    used for entries after a change. A list is read when its first entry comes, and by then it may be newer than the
    epoch: `joined_seq` says who was there.
    """

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._lists: OrderedDict[tuple[ConvId, Seq], list[Member]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def at(self, conv: ConvId, epoch: Seq) -> Sequence[Member]:
        """The members of a group for entries of `epoch`. 1 R a 30 members when not cached."""
        key = (conv, epoch)
        with self._lock:
            if (found := self._lists.get(key)) is not None:
                self._lists.move_to_end(key)
                return found
        members = list(self._store.members(conv))
        with self._lock:
            if key not in self._lists:
                self._lists[key] = members
                self._size += len(members)
            while self._size > MAX_CACHED and len(self._lists) > 1:
                _, dropped = self._lists.popitem(last=False)
                self._size -= len(dropped)
        return members


def peers_of(conversation: Direct) -> list[Member]:
    """The two of a direct conversation, who see it from its start."""
    return [Member(user=peer, role="member", joined_at=0, joined_seq=Seq(1), joined_n=0) for peer in conversation.peers]
