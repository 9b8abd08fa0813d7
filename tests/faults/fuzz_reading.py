"""A text as docs/protocol.md reads it as a frame: which id the reply must name, and what must be refused in any case.

Written apart from the server's own reading, which it judges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """A frame as whoever wrote the protocol would read it."""

    id: str | None
    """What the reply must name."""
    flaw: str | None
    """Why it must be refused, whatever it asks for."""
    route: Any = None
    op: Any = None
    data: Any = None


class _Flaw(Exception):
    pass


def read(text: str) -> Reading:
    """What docs/protocol.md says of a text as a frame."""
    try:
        frame = _frame_in(text)
    except _Flaw as e:
        return Reading(None, str(e))
    found = frame.get("id")
    if not isinstance(found, str) or not 1 <= len(found) <= 64 or _half_pair(found):
        return Reading(None, "no id")
    data = frame.get("data", {})
    flaws = {
        "a large frame": len(text.encode()) > 32 * 1024,
        "no route": not isinstance(frame.get("route"), str),
        "no op": not isinstance(frame.get("op"), str),
        "no data": not isinstance(data, dict),
        "too deep": (deep := _depth(frame) > 32),
        "half a surrogate pair": not deep and _half_pair(json.dumps(frame, ensure_ascii=False)),
    }
    flaw = next((name for name, there in flaws.items() if there), None)
    return Reading(found, flaw, frame.get("route"), frame.get("op"), data)


def _frame_in(text: str) -> Data:
    if _half_pair(text):
        raise _Flaw("no UTF-8")
    if len(text.encode()) > 128 * 1024:
        raise _Flaw("larger than API Gateway takes")
    try:
        frame = json.loads(text, parse_constant=_constant, parse_float=_float, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise _Flaw("no JSON") from e
    if not isinstance(frame, dict):
        raise _Flaw("no object")
    return frame


def _constant(name: str) -> None:
    raise _Flaw(name)


def _float(text: str) -> float:
    if abs(float(text)) == float("inf"):
        raise _Flaw("infinite")
    return float(text)


def _object(pairs: list[tuple[str, Any]]) -> Data:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _Flaw("a name twice")
    return dict(pairs)


def _half_pair(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _depth(value: Any) -> int:
    """Levels of objects and lists, without recursion: there may be thousands."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth
