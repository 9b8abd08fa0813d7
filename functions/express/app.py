"""The queues of what overtakes: red packets reach the inboxes and devices of a conversation's members."""

from __future__ import annotations

from typing import Any

from im.runtime import wiring
from im.runtime.router import Context, Event
from im.runtime.settings import Settings
from im.runtime.sources import deliver_express

express = wiring.express(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Deliver one batch of entries, or of parts of a push; tell SQS which messages to bring again."""
    return deliver_express(express, event, context)
