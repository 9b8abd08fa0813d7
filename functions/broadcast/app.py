"""The queue of parts: entries of a large group reach one part of its members' devices."""

from __future__ import annotations

from typing import Any

from im.runtime import wiring
from im.runtime.router import Context, Event
from im.runtime.settings import Settings
from im.runtime.sources import push_parts

broadcast, aside = wiring.broadcast(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Push one batch of parts; tell SQS which to bring again."""
    return push_parts(broadcast, aside, event, context)
