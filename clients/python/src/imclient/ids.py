"""The identifiers of the protocol, and how they are built. No I/O."""

from __future__ import annotations

import re
from typing import NewType

UserId = NewType("UserId", str)
ConvId = NewType("ConvId", str)

MAX_USER_ID_LENGTH = 64

_USER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEVICE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def is_user_id(value: str) -> bool:
    """Whether the server would take `value` as the `sub` of a token."""
    return _USER_ID.fullmatch(value) is not None


def is_device_id(value: str) -> bool:
    """Whether the server would take `value` as a device id."""
    return _DEVICE_ID.fullmatch(value) is not None


def direct_conversation(one: UserId, other: UserId) -> ConvId:
    """The conversation of two people: `d:<a>:<b>`, the two ids in ascending order, whoever asks."""
    first, second = sorted((one, other))
    return ConvId(f"d:{first}:{second}")


def peer_in(conv: ConvId, user: UserId) -> UserId | None:
    """The other person of a direct conversation; None for a group, and for two people of whom `user` is none."""
    match conv.split(":"):
        case ["d", first, second] if user == first:
            return UserId(second)
        case ["d", first, second] if user == second:
            return UserId(first)
        case _:
            return None
