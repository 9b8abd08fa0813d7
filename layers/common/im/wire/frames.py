"""Frames: JSON text in, JSON text out. No frame leads to an exception that is not an ImError."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from im.domain.errors import BadRequest, ImError, TooLarge
from im.wire.error_table import describe

MAX_FRAME_BYTES: Final = 32 * 1024
"""API Gateway closes a connection on a larger frame, so nothing larger is sent either."""

MAX_MESSAGE_BYTES: Final = 4 * MAX_FRAME_BYTES
"""API Gateway takes 128 KiB in frames of 32 KiB. What is between the two is read for its id, and refused."""

MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Request:
    """A frame whose envelope is valid."""

    route: str
    op: str
    id: str
    data: Mapping[str, Any]


class BadFrame(Exception):
    """A frame that is no request. Carries why, and the id that could still be read."""

    def __init__(self, reason: ImError, request_id: str | None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.request_id = request_id


def dumps(value: object) -> str:
    """Compact JSON; raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode(raw: str) -> Request:
    """The request that `raw` holds. Raises BadFrame."""
    try:
        size = len(raw.encode())
    except UnicodeEncodeError as e:
        raise BadFrame(BadRequest("frame", "is not UTF-8"), None) from e
    if size > MAX_MESSAGE_BYTES:
        raise BadFrame(TooLarge("frame bytes", size, MAX_FRAME_BYTES), None)
    frame = _object_in(raw)
    request_id = frame.get("id")
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= 64 or not _encodable(request_id):
        raise BadFrame(BadRequest("id", "must be a string of 1 to 64 characters"), None)
    try:
        return _request(frame, request_id, size, escapes="\\u" in raw)
    except ImError as e:
        raise BadFrame(e, request_id) from e


def _object_in(raw: str) -> dict[str, Any]:
    try:
        frame = json.loads(
            raw, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_refuse_duplicates
        )
    except BadRequest as e:
        raise BadFrame(e, None) from e
    except (ValueError, RecursionError) as e:
        raise BadFrame(BadRequest("frame", "not JSON, or too deep"), None) from e
    if not isinstance(frame, dict):
        raise BadFrame(BadRequest("frame", "must be an object"), None)
    return frame


def _request(frame: Mapping[str, Any], request_id: str, size: int, *, escapes: bool) -> Request:
    if size > MAX_FRAME_BYTES:
        raise TooLarge("frame bytes", size, MAX_FRAME_BYTES)
    for name in ("route", "op"):
        if not isinstance(frame.get(name), str):
            raise BadRequest(name, "must be a string")
    data = frame.get("data", {})
    if not isinstance(data, dict):
        raise BadRequest("data", "must be an object")
    if _depth_over(frame, MAX_DEPTH):
        raise BadRequest("frame", f"nested deeper than {MAX_DEPTH}")
    # An escape such as "\ud800" is legal JSON and no text: neither DynamoDB nor any client could hold it.
    if escapes and not _encodable(dumps(frame)):
        raise BadRequest("frame", "has a surrogate without its pair")
    return Request(frame["route"], frame["op"], request_id, data)


def encode_reply(request_id: str, data: Mapping[str, Any]) -> str:
    """The reply to a request that succeeded."""
    return dumps({"id": request_id, "ok": True, "data": data})


def encode_refusal(request_id: str | None, error: ImError) -> str:
    """The reply to a request that was refused."""
    return dumps({"id": request_id, "ok": False, "error": describe(error)})


def encode_internal(request_id: str | None, quote: str) -> str:
    """The reply after a failure of ours. `quote` finds the failure in the logs, and is all that a client is told."""
    error = {"code": "internal", "message": f"internal error, request {quote}", "retryable": True}
    return dumps({"id": request_id, "ok": False, "error": error})


def encode_push(name: str, data: Mapping[str, Any]) -> str:
    """A push frame."""
    return dumps({"push": name, "data": data})


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest("frame", f"{name} is not JSON")


def _finite(text: str) -> float:
    """1e999 is JSON, and infinite for Python: what could not be written again is not read."""
    number = float(text)
    if math.isinf(number):
        raise BadRequest("frame", "has a number that is too large")
    return number


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise BadRequest("frame", "has a name twice in one object")
    return out


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _depth_over(value: object, limit: int) -> bool:
    if isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, list):
        children = value
    else:
        return False
    return limit == 0 or any(_depth_over(child, limit - 1) for child in children)
