"""Route `sync`: conversation list, history, unread, read and received marks."""

from __future__ import annotations

from im.runtime import wiring
from im.runtime.router import Context, Event, Response
from im.runtime.settings import Settings

router = wiring.sync_router(Settings())


def handler(event: Event, context: Context) -> Response:
    """Answer one frame."""
    return router.answer(event, context)
