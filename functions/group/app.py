"""Route `group`: groups and their members."""

from __future__ import annotations

from im.runtime import wiring
from im.runtime.router import Context, Event, Response
from im.runtime.settings import Settings

router = wiring.group_router(Settings())


def handler(event: Event, context: Context) -> Response:
    """Answer one frame."""
    return router.answer(event, context)
