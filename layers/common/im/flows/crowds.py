"""Many write to one log at once: how long one of them tries, and how they get out of each other's way."""

from __future__ import annotations

import random
from typing import Final

from im.domain.errors import Unavailable

DEADLINE_MS: Final = 10_000
"""How long somebody may compete for a place. Below the function's time-out, so that the answer is ours."""

FIRST_WAIT_S: Final = 0.01
LONGEST_WAIT_S: Final = 0.2


def require_time(now: int, deadline: int) -> None:
    """That there is time for one more try. Raises Unavailable."""
    if now > deadline:
        raise Unavailable("too many people write here at once", 500)


def wait_s(attempt: int) -> float:
    """Seconds before a change tries again: each time longer and for each differently, until there are about as many
    tries as places."""
    return random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311 - spreads load, guards nothing
