"""Since when it is known that an entry is stored: somebody was told of it, or it was acknowledged. Pure: no I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from imclient.history.exchanges import History

NEVER: Final = 10**18


class Evidence:
    """What anybody knew of logs, and when; times are those of the recordings."""

    def __init__(self, histories: Iterable[History]) -> None:
        self._first: dict[tuple[str, int], int] = {}
        for history in histories:
            for told in history.told:
                self._note(told.conv, told.wire.get("seq"), told.at)
            for request in history.requests:
                if request.makes_entry:
                    for at, data in request.successes:
                        self._note(str(data.get("conv")), data.get("seq"), at)
        by_conv: dict[str, list[tuple[int, int]]] = {}
        for (conv, seq), at in self._first.items():
            by_conv.setdefault(conv, []).append((at, seq))
        self._times: dict[str, list[int]] = {}
        self._newest: dict[str, list[int]] = {}
        for conv, known in by_conv.items():
            known.sort()
            newest, highest = [], 0
            for _, seq in known:
                highest = max(highest, seq)
                newest.append(highest)
            self._times[conv] = [at for at, _ in known]
            self._newest[conv] = newest

    def since(self, conv: str, seq: int) -> int:
        """When somebody first knew of an entry; NEVER when nobody did."""
        return self._first.get((conv, seq), NEVER)

    def newest_before(self, conv: str, at: int) -> int:
        """The highest seq that somebody knew of before `at`; 0 without one."""
        number = bisect_left(self._times.get(conv, []), at)
        return self._newest[conv][number - 1] if number else 0

    def _note(self, conv: str, seq: object, at: int) -> None:
        if isinstance(seq, int) and at < self._first.get((conv, seq), NEVER):
            self._first[conv, seq] = at
