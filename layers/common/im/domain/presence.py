"""Whether somebody is online, and when they were last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from im.domain.signin import Slot

LAST_SEEN_LIFE_MS: Final = 30 * 24 * 60 * 60 * 1000
"""How long it is told when somebody was online last."""


@dataclass(frozen=True, slots=True)
class Presence:
    """How somebody looks to others."""

    online: bool
    platforms: tuple[str, ...]
    """Of the open connections: ascending, each once."""
    last_seen: int | None
    """When the last connection of somebody ended who is not online, milliseconds since the epoch; None for who is, and
    for who was not in the last 30 days."""


UNSEEN: Final = Presence(online=False, platforms=(), last_seen=None)
"""Somebody who was never online, and whoever shall look so."""


def presence_at(now: int, slots: Collection[Slot], last_end: int | None) -> Presence:
    """How somebody looks with these slots, of which one was emptied last at `last_end`.

    Of a slot that is past its life nobody knows when its connection ended: it was open when it opened.
    """
    platforms = {slot.platform for slot in slots if slot.alive(now)}
    if platforms:
        return Presence(online=True, platforms=tuple(sorted(platforms)), last_seen=None)
    newest = max([slot.since for slot in slots] + ([last_end] if last_end is not None else []), default=None)
    if newest is None or now >= newest + LAST_SEEN_LIFE_MS:
        return UNSEEN
    return Presence(online=False, platforms=(), last_seen=newest)
