"""The queue of checks: entries that have not been acknowledged are pushed again."""

from __future__ import annotations

from typing import Any

from im.runtime import wiring
from im.runtime.router import Context, Event
from im.runtime.settings import Settings
from im.runtime.sources import make_checks

redelivery, aside = wiring.redelivery(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Make one batch of checks; tell SQS which to bring again."""
    return make_checks(redelivery, aside, event, context)
