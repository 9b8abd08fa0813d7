"""A group: its head, its members, and which parts of its log somebody may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from im.domain.ids import ConvId, Seq, UserId

Role = Literal["owner", "admin", "member"]
JoinMode = Literal["open", "approval", "invite"]
Who = Literal["members", "admins"]
"""Whom something is allowed to: all members, or the owner and the admins."""

REQUEST_LIFE_MS: Final = 30 * 24 * 60 * 60 * 1000
"""How long a request to join waits for an answer."""

MAX_SPANS: Final = 20
"""How many stays in one group are remembered: someone who comes and goes more often loses sight of the oldest."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a log, both ends included; `last` is None for one that goes on."""

    first: Seq
    last: Seq | None

    def __contains__(self, seq: int) -> bool:
        """Whether the entry `seq` lies in it."""
        return self.first <= seq and (self.last is None or seq <= self.last)


Spans = tuple[Span, ...]
"""What somebody may see of a log: ascending, without overlap. Only the last one can go on."""

WHOLE: Final[Spans] = (Span(Seq(1), None),)


def visible(spans: Iterable[Span], seq: int) -> bool:
    """Whether the entry `seq` lies in one of `spans`."""
    return any(seq in span for span in spans)


def spans_after_joining(before: Spans, at: Seq, *, history: bool) -> Spans:
    """What somebody may see who joins with the entry `at`: all that they saw before, and everything from now on.

    Not what was said between their leaving and `at`, unless the group shows its history to whoever joins.
    """
    return WHOLE if history else (*before, Span(at, None))[-MAX_SPANS:]


def spans_after_leaving(before: Spans, at: Seq) -> Spans:
    """What somebody may see who leaves with the entry `at`: that entry is their last one."""
    return (*before[:-1], Span(before[-1].first, at))


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a conversation."""

    user: UserId
    joined_at: int
    """Milliseconds since the epoch."""
    joined_seq: Seq
    """The entry that says they joined."""
    spans: Spans
    muted_until: int = 0
    """Milliseconds since the epoch; until then they may not send."""


@dataclass(frozen=True, slots=True)
class FormerMember:
    """What stays of one who has left: what they may see, and a mute that coming back does not lift."""

    spans: Spans
    muted_until: int


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Somebody asks to be let in."""

    user: UserId
    note: str
    asked_at: int
    """Milliseconds since the epoch."""

    def waits(self, now: int) -> bool:
        """Whether it can still be answered."""
        return now < self.asked_at + REQUEST_LIFE_MS


@dataclass(frozen=True, slots=True)
class GroupHead:
    """A group, its members apart. Who owns it and who its admins are stands here and nowhere else."""

    conv: ConvId
    name: str
    notice: str
    avatar: str
    custom: str
    """JSON text: nothing but clients looks inside."""
    owner: UserId
    admins: tuple[UserId, ...]
    member_count: int
    join_mode: JoinMode
    history: bool
    """Whether those who join see what was said before."""
    who_invites: Who
    who_mentions_all: Who
    muted_until: int
    """Milliseconds since the epoch; until then only the owner and the admins may send."""
    created_at: int
    created_by: UserId
    epoch: Seq
    """Seq of the newest change to the group: names this state of it."""
    large: Seq
    """Seq of the change since which the group is large; 0 when it is not."""
    dissolved: bool = False
    pending: tuple[UserId, ...] = ()
    """Founders who are yet to be added: a founding of many is several entries."""

    def role_of(self, member: UserId) -> Role:
        """The role of somebody who is a member."""
        if member == self.owner:
            return "owner"
        return "admin" if member in self.admins else "member"


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Deploy parameters."""

    members: int
    """Members a group may have."""
    groups: int
    """Groups a user may be in."""
    admins: int
    """Admins a group may have, its owner not counted."""
    name: int
    """Characters in a name."""
    at_once: int
    """Users named in one request."""
    large_above: int
    """A group with more members is large: no inbox row is written for each member of it."""


def large_since(limit: int, members: int, before: Seq, seq: Seq) -> Seq:
    """Since which change a group is large, after the change `seq` that leaves it `members`; 0 when it is not.

    It becomes small again a fifth below the limit, not at it: every crossing costs a write a member.
    """
    if members > limit:
        return before or seq
    return before if members > limit - limit // 5 else Seq(0)
