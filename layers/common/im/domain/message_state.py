"""What changes have made of a message: kept with it, so that nobody needs to read the changes to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from im.domain.ids import Seq, UserId

NO_CHANGE: Final = Seq(0)


class Edited(NamedTuple):
    """The newest edit."""

    seq: Seq
    ts: int


class Recalled(NamedTuple):
    """The recall."""

    seq: Seq
    by: UserId
    ts: int


class Reaction(NamedTuple):
    """Who has reacted to a message with one emoji."""

    total: int
    users: tuple[UserId, ...]
    """Some of them by name: domain/message_rules.py says which."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of one message."""

    changed: Seq = NO_CHANGE
    """Seq of the newest change."""
    edits: tuple[Seq, ...] = ()
    """All its edits, ascending."""
    edited: Edited | None = None
    original: str | None = None
    """The body as it was sent, once it is edited."""
    recalled: Recalled | None = None
    reactions: Mapping[str, Reaction] = field(default_factory=dict)
    pinned: Seq = NO_CHANGE
    """Seq of the change that pinned it; 0 when it is not pinned."""


UNCHANGED: Final = State()
