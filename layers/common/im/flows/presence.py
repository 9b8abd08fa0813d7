"""Who is online, told to those who know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from im.domain.ids import UserId
from im.domain.inbox import Hideable
from im.domain.presence import UNSEEN, Presence, presence_at
from im.flows.ports import Caller, Clock
from im.store.connections import ConnectionStore
from im.store.others import OthersStore
from im.wire import requests

PRESENCE: Final[Hideable] = "presence"


@dataclass(frozen=True, slots=True)
class PresenceViewer:
    """The use case of sync.presence."""

    connections: ConnectionStore
    others: OthersStore
    clock: Clock
    threads: Executor

    def look(self, caller: Caller, request: requests.Presence) -> Mapping[str, Any]:
        """Whether each of the users is online, on which platforms, or since when not.

        Whoever the caller may not see looks as if they had never been online: who shares no conversation with the
        caller, who does not show it, who does not exist.

        ½ R a user. Of those who were online in the last 30 days 1 R more for each whom the caller talks to; for each
        other ½ R, ½ R a 30 groups of theirs and ½ R for each large group in common, and ½ R a 30 groups of the
        caller's.
        """
        users = list(dict.fromkeys(map(UserId, request.users)))
        now = self.clock()
        known = self.connections.known(users)
        seen = {user: presence_at(now, theirs.slots, theirs.last_end) for user, theirs in known.items()}
        shown = self._shown(caller.user, [user for user in users if seen.get(user, UNSEEN) != UNSEEN])
        return {user: _data(seen[user] if user in shown else UNSEEN) for user in users}

    def _shown(self, caller: UserId, users: Sequence[UserId]) -> set[UserId]:
        """Those of `users` whom the caller may see."""
        others = [user for user in users if user != caller]
        talking = self.others.talks_to(caller, others)
        hiding = self.others.hiding(sorted(talking), PRESENCE)
        met = self._in_a_group_with(caller, [user for user in others if user not in talking])
        return (talking - hiding) | met | ({caller} & {*users})

    def _in_a_group_with(self, caller: UserId, others: Sequence[UserId]) -> set[UserId]:
        """Those of `others` who are in a group that the caller is in, and do not hide."""
        if not others:
            return set()
        mine = self.others.company(caller)
        if not mine.groups:
            return set()
        theirs = dict(zip(others, self.threads.map(self.others.company, others), strict=True))
        common = {user: its.groups & mine.groups for user, its in theirs.items() if PRESENCE not in its.hides}
        ended = self.others.ended(sorted({conv for groups in common.values() for conv in groups if conv in mine.large}))
        return {user for user, groups in common.items() if groups - ended}


def _data(presence: Presence) -> Mapping[str, Any]:
    return {"online": presence.online, "platforms": presence.platforms, "last_seen": presence.last_seen}
