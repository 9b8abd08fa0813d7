"""Red packets whose time is over end: what nobody has claimed, and what never got its message."""

from __future__ import annotations

import logging
from collections import deque
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

        ½ R a page of 100, 1 R and 2 W a packet; 1 R for one that the index still names though it has ended. A page of
        each shard in turn, and none twice: neither a shard nor a packet that cannot be ended keeps others waiting. What
        is left when the time is over comes in the next minute, and the log says so.
        """
        counts = {"closed": 0, "cancelled": 0, "failed": 0}
        now = self.clock()
        todo: deque[tuple[int, Mapping[str, Any] | None]] = deque((shard, None) for shard in range(DUE_SHARDS))
        while todo and self.clock() < deadline:
            shard, after = todo.popleft()
            due, after = self.packets.due(shard, now, PAGE, after)
            for outcome in self.threads.map(self._end, due):
                if outcome is not None:
                    counts[outcome] += 1
            if after is not None:
                todo.append((shard, after))
        if todo:
            log.error("more red packets are due than one sweep ends", extra={"shards": len(todo)})
        return counts

    def _end(self, name: PacketId) -> str | None:
        try:
            packet = self.packets.packet(name)
            if packet is None or packet.state in {"closed", "cancelled"}:
                return None
            if packet.state == "new":
                return "cancelled" if self.packets.cancel(name, self.clock()) else None
            return "closed" if self.packets.close(name, self.clock()) else None
        except Exception:
            log.exception("a red packet could not be ended", extra={"packet": name})
            return "failed"
