"""What a message may say: checked, and as the JSON that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from im.domain.entries import MAX_BODY_BYTES, MAX_TEXT_BYTES
from im.domain.errors import TooLarge
from im.wire.frames import dumps
from im.wire.requests import CustomBody, TextBody, parse


class Body(NamedTuple):
    """A body's known fields."""

    known: Mapping[str, Any]
    stored: str
    """As JSON."""


def checked_body(kind: str, body: Mapping[str, Any]) -> Body:
    """The body of a `text` or a `custom`. Raises BadRequest, TooLarge."""
    if kind == "text":
        text = parse(TextBody, body, "data.body").text
        if (size := len(text.encode())) > MAX_TEXT_BYTES:
            raise TooLarge("data.body.text bytes", size, MAX_TEXT_BYTES)
        return fitting_body({"text": text})
    custom = parse(CustomBody, body, "data.body")
    return fitting_body({"type": custom.type, "payload": custom.payload})


def fitting_body(known: Mapping[str, Any]) -> Body:
    """A body of these fields. Raises TooLarge."""
    stored = dumps(known)
    if (size := len(stored.encode())) > MAX_BODY_BYTES:
        raise TooLarge("data.body bytes", size, MAX_BODY_BYTES)
    return Body(known, stored)
