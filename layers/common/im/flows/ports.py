"""What flows are told and do not make themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from im.aws.check_queue import Check
from im.aws.part_queue import Part
from im.aws.queue import Queued
from im.domain.entries import Entry
from im.domain.ids import ConnectionId, DeviceId, UserId
from im.domain.push import PushOutcome

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a frame: verified when the connection opened, and carried by API Gateway since then."""

    user: UserId
    device: DeviceId
    platform: str
    connection: ConnectionId


class Pusher(Protocol):
    """Reaches open connections."""

    def push(self, connection: ConnectionId, frame: str) -> PushOutcome:
        """Send one frame."""

    def close(self, connection: ConnectionId) -> PushOutcome:
        """End a connection."""


class Queue(Protocol):
    """Takes entries whose fan-out is due."""

    def put(self, entry: Entry, origin: ConnectionId | None) -> None:
        """Queue one entry; returns once it is safe there."""

    def put_found(self, entries: Sequence[Entry]) -> None:
        """Queue stored entries that are perhaps not queued yet; returns once they are safe there."""

    def put_for(self, user: UserId, queued: Queued) -> None:
        """Queue one entry again for one member alone."""


class CheckQueue(Protocol):
    """Takes checks that are due later."""

    def put(self, check: Check, delay_s: int) -> None:
        """Queue one check; returns once it is safe there."""


class PartQueue(Protocol):
    """Takes the parts of a push to a large group."""

    def put_all(self, parts: Sequence[Part]) -> None:
        """Queue parts; returns once they are safe there."""
