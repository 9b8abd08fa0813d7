"""Once a minute: red packets whose time is over end."""

from __future__ import annotations

from typing import Any

from im.runtime import packet_wiring
from im.runtime.batches import deadline
from im.runtime.logs import log
from im.runtime.router import Context, Event
from im.runtime.settings import Settings

expiry = packet_wiring.expiry(Settings())


def handler(_: Event, context: Context) -> dict[str, Any]:
    """End what is due. Raises when that cannot be looked up; the next minute comes."""
    ended = expiry.sweep(deadline(expiry.clock(), context))
    log.info("swept", lambda_request_id=context.aws_request_id, **ended)
    return {}
