"""What the user has deleted for themself, on whatever device: ranges of seqs by conversation (rule 4).

Deleted stays deleted, so a newer version has it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imclient.core.outputs import Change, DeletedChanged, Noted, Output
from imclient.core.requests import Ask
from imclient.errors import ImClientError
from imclient.frames import JsonObject, is_integer
from imclient.ids import ConvId


class Deletions:
    """`{deleted, ranges}` by conversation. What is fetched comes without what was deleted by then."""

    def __init__(self, out: Callable[[Output], None], ask: Ask, save: Callable[[Iterable[Change]], None]) -> None:
        self.of: dict[ConvId, JsonObject] = {}
        self._out, self._ask, self._save = out, ask, save
        self._asking: set[ConvId] = set()

    def heard(self, conv: ConvId, version: int, now: int) -> None:
        """A row says what the version is. Another one than is known is asked for."""
        if version > self._version(conv) and conv not in self._asking:
            self._asking.add(conv)
            self._ask("sync", "deleted", {"conv": conv}, lambda data, error, _: self._told(conv, data, error), now)

    def take(self, data: JsonObject) -> None:
        """What is deleted of a conversation: a reply, or the push to the user's other devices."""
        match data:
            case {"conv": str(name), "deleted": version, "ranges": list(ranges)} if is_integer(version) and all(
                map(_is_range, ranges)
            ):
                conv = ConvId(name)
                if version > self._version(conv):
                    self.of[conv] = {"deleted": version, "ranges": ranges}
                    self._save([Change("deleted", conv, self.of[conv])])
                    self._out(DeletedChanged(conv))

    def resume(self) -> None:
        """Go on after an end."""
        self._asking.clear()

    def _told(self, conv: ConvId, data: JsonObject, error: ImClientError | None) -> None:
        self._asking.discard(conv)
        if error is None:
            self.take({"conv": conv, **data})
        else:
            self._out(Noted(f"cannot ask what was deleted of {conv}: {error}"))  # the next row asks again

    def _version(self, conv: ConvId) -> int:
        return int(self.of[conv]["deleted"]) if conv in self.of else 0


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_integer, value))
