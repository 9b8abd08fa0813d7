"""What can become of a push."""

from __future__ import annotations

from enum import Enum


class PushOutcome(Enum):
    """A push is a courtesy: what it carries is stored, and a client that missed it finds out and fetches it."""

    SENT = "sent"
    GONE = "gone"
    """The connection does not exist (any more, or not yet: it exists once `$connect` has returned)."""
    FAILED = "failed"
    """Throttled, too slow or broken after all retries. The client meets the hole with the next push or ping."""
