"""Whatever is stored is fanned out, though the function that stored it has died.

The stream of the Conversation table tells of every entry, some seconds after it was stored. Each is queued once more
under the name that its sender's function has queued it under: SQS drops what it has had
(docs/decisions/0011-the-auditor.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from im.domain.entries import Entry
from im.flows.ports import Queue


@dataclass(frozen=True, slots=True)
class Auditor:
    """The use case of the stream."""

    queue: Queue

    def audit(self, entries: Sequence[Entry]) -> None:
        """See to it that stored entries are queued. 1 queue request for every 10. Raises when SQS cannot take them."""
        self.queue.put_found(entries)
