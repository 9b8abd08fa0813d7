"""Which connections of a user may live beside each other.

One user has slots; each slot holds one connection. A policy names the slot of a newcomer, and everything that
stands in the newcomer's way loses. One live connection a device, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from im.domain.ids import ConnectionId, DeviceId

Policy = Literal["per_platform", "single", "multi"]
Platform = Literal["web", "ios", "android", "desktop", "other"]

PLATFORMS: Final[frozenset[str]] = frozenset({"web", "ios", "android", "desktop", "other"})
CLASS_OF: Final[Mapping[str, str]] = {
    "ios": "mobile",
    "android": "mobile",
    "desktop": "desktop",
    "web": "web",
    "other": "web",
}

MAX_DEVICES: Final = 8
CONNECTION_LIFE_MS: Final = 2 * 60 * 60 * 1000
"""API Gateway ends a connection after two hours."""
SLOT_LIFE_MS: Final = CONNECTION_LIFE_MS + 5 * 60 * 1000
"""After this a slot is dead whatever happened to `$disconnect`, which is best effort."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One connection of a user, by the name of its slot."""

    name: str
    connection: ConnectionId
    device: DeviceId
    platform: str
    since: int
    """When it was registered, milliseconds since the epoch."""
    asked: int = 0
    """When its client asked for it, milliseconds since the epoch: of two in each other's way the later one stays. A
    `$connect` may take long, and its client may have given it up and come again meanwhile."""

    def alive(self, now: int) -> bool:
        """Whether its connection can still be open at `now`."""
        return now < self.since + SLOT_LIFE_MS


def slot_name(policy: Policy, device: DeviceId, platform: str) -> str:
    """The name of the slot that a connection takes."""
    match policy:
        case "single":
            return "one"
        case "per_platform":
            return CLASS_OF.get(platform, "web")
        case "multi":
            return device


def losers(policy: Policy, newcomer: Slot, before: Iterable[Slot], now: int) -> list[Slot]:
    """The slots of `before` whose connections must end because `newcomer` has come, oldest first.

    The rule looks at devices and platforms and not at the slots' names, so that it also holds for slots that were
    taken under another policy. Slots past their life lose too, silently: their connection is gone.
    """
    others = sorted((s for s in before if s.connection != newcomer.connection), key=lambda s: s.since)

    def in_the_way(slot: Slot) -> bool:
        if slot.device == newcomer.device or not slot.alive(now):
            return True
        if policy == "single":
            return True
        return policy == "per_platform" and CLASS_OF.get(slot.platform) == CLASS_OF.get(newcomer.platform)

    out = [s for s in others if in_the_way(s)]
    staying = [s for s in others if s not in out]
    if policy == "multi":
        out += staying[: max(0, len(staying) - (MAX_DEVICES - 1))]
    return out
