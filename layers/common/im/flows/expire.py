"""Red packets whose time is over end: what nobody has claimed, and what never got its message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from im.domain.red_packet import PacketId
from im.flows.ports import Clock
from im.store.packets import DUE_SHARDS, PacketStore

PAGE: Final = 100

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class Expiry:
    """The use case of the clock: once a minute."""

    packets: PacketStore
    clock: Clock
    threads: Executor

    def sweep(self, deadline: int) -> Mapping[str, Any]:
        """End what is due, until `deadline` in milliseconds since the epoch. Returns how many were closed, cancelled,
        and how many could not be ended: they come again in the next minute.

        ½ R a page of 100, 1 R and 2 W a packet. What is left when the time is over, comes in the next minute too.
        """
        counts = {"closed": 0, "cancelled": 0, "failed": 0}
        for shard in range(DUE_SHARDS):
            while self.clock() < deadline:
                due = self.packets.due(shard, self.clock(), PAGE)
                ended = list(self.threads.map(self._end, due))
                for outcome in ended:
                    if outcome is not None:
                        counts[outcome] += 1
                # The index still names for a moment what has ended; what fails now must not be met again at once.
                if len(due) < PAGE or not any(outcome in {"closed", "cancelled"} for outcome in ended):
                    break
        return counts

    def _end(self, name: PacketId) -> str | None:
        try:
            packet = self.packets.packet(name)
            if packet is None:
                return None
            if packet.state == "new":
                return "cancelled" if self.packets.cancel(name, self.clock()) else None
            return "closed" if self.packets.close(name, self.clock()) else None
        except Exception:
            log.exception("a red packet could not be ended", extra={"packet": name})
            return "failed"
