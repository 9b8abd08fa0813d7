"""The fan-out queue: entries reach the inboxes and devices of a conversation's members."""

from __future__ import annotations

from typing import Any

from im.runtime import wiring
from im.runtime.router import Context, Event
from im.runtime.settings import Settings
from im.runtime.sources import deliver_batch

fan_out, aside = wiring.fan_out(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Deliver one batch; tell SQS which messages to bring again."""
    return deliver_batch(fan_out, aside, event, context)
