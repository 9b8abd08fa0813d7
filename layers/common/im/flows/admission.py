"""Who may send to a group: asked once for each state of the group, then remembered."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

from im.domain.errors import NotMember, Unavailable
from im.domain.group import GroupHead, Member
from im.domain.ids import ConvId, Seq, UserId
from im.store.groups import GroupStore

MAX_CACHED: Final = 5_000
"""Senders kept in memory a function instance: a few KiB each at most."""


class Admissions:
    """Members by group and user, each with the state of the group that it is true for. Safe to share between threads.

    An entry names the state of the group that it was accepted in: its epoch. What is looked up here is at least as new
    as that of the entry that was seen last; and an entry that gets the place right after it was accepted in that very
    state. So somebody who was removed cannot send one entry more, and somebody who was admitted in one state of a group
    need not be looked up again before it changes.
    """

    def __init__(self, store: GroupStore) -> None:
        self._store = store
        self._known: OrderedDict[tuple[ConvId, UserId], tuple[GroupHead, Member]] = OrderedDict()
        self._lock = Lock()

    def at(self, conv: ConvId, user: UserId, epoch: Seq) -> tuple[GroupHead, Member]:
        """A group and one of its members in the state `epoch`, or a newer one. 4 R when not known.

        Raises NotMember, and Unavailable while the change `epoch` is still being written.
        """
        key = (conv, user)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0].epoch == epoch:
                self._known.move_to_end(key)
                return known
        found = self._store.seen_by(conv, user)
        if found is None:
            raise NotMember(conv)
        if found[0].epoch < epoch:
            raise Unavailable("the group is being changed", 500)
        with self._lock:
            self._known[key] = found
            while len(self._known) > MAX_CACHED:
                self._known.popitem(last=False)
        return found
