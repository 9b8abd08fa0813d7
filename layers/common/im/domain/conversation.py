"""The ids of conversations.

`d:<a>:<b>` is direct, its two user ids in ascending order: the id alone says who takes part. `g:<id>` is a group:
its members are stored (domain/group.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from im.domain.errors import BadRequest
from im.domain.ids import GROUP_ID, USER_ID, ConvId, UserId

MAX_CONV_LENGTH: Final = 2 + 64 + 1 + 64


@dataclass(frozen=True, slots=True)
class Direct:
    """The parsed id of a direct conversation."""

    conv: ConvId
    peers: tuple[UserId, UserId]

    def other(self, user: UserId) -> UserId:
        """The one whom `user` talks to."""
        return self.peers[1] if user == self.peers[0] else self.peers[0]


@dataclass(frozen=True, slots=True)
class Group:
    """The parsed id of a group."""

    conv: ConvId


def direct_conversation(a: UserId, b: UserId) -> Direct:
    """The direct conversation of two different people. Raises BadRequest for one with oneself."""
    if a == b:
        raise BadRequest("data.to", "a direct conversation needs two different people")
    low, high = sorted((a, b))
    return Direct(ConvId(f"d:{low}:{high}"), (low, high))


def group_conversation(gid: str) -> Group:
    """The conversation of the group `gid`. Raises BadRequest when `gid` has no valid form."""
    if not GROUP_ID.fullmatch(gid):
        raise BadRequest("data.gid", "a group id is 1 to 64 of A-Z a-z 0-9 _ -")
    return Group(ConvId(f"g:{gid}"))


def parse_conversation(text: str, path: str = "data.conv") -> Direct | Group:
    """The conversation that `text` names. Raises BadRequest naming `path` for any other text."""
    kind, _, rest = text.partition(":")
    if kind == "g" and GROUP_ID.fullmatch(rest):
        return Group(ConvId(text))
    if kind == "d":
        a, _, b = rest.partition(":")
        if USER_ID.fullmatch(a) and USER_ID.fullmatch(b) and a < b:
            return Direct(ConvId(text), (UserId(a), UserId(b)))
    raise BadRequest(path, "a conversation is d:<user>:<user> in ascending order, or g:<id>")
