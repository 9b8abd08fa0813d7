"""The stream of the Conversation table: entries that nobody has queued are."""

from __future__ import annotations

from typing import Any

from im.runtime import wiring
from im.runtime.router import Context, Event
from im.runtime.settings import Settings
from im.runtime.sources import audit_records

auditor = wiring.auditor(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Audit one batch of records; Lambda brings it again when this raises."""
    return audit_records(auditor, event, context)
