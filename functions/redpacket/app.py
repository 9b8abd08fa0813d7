"""Route `redpacket`: red packets and the caller's own money."""

from __future__ import annotations

from im.runtime import packet_wiring
from im.runtime.router import Context, Event, Response
from im.runtime.settings import Settings

router = packet_wiring.redpacket_router(Settings())


def handler(event: Event, context: Context) -> Response:
    """Answer one frame."""
    return router.answer(event, context)
