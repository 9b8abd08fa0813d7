"""The kinds of identifiers and their forms."""

from __future__ import annotations

import re
from typing import Final, NewType

from im.domain.errors import BadRequest

UserId = NewType("UserId", str)
ConvId = NewType("ConvId", str)
DeviceId = NewType("DeviceId", str)
ConnectionId = NewType("ConnectionId", str)
Cmid = NewType("Cmid", str)
Seq = NewType("Seq", int)

USER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
GROUP_ID: Final = USER_ID


def user_id(text: str, path: str = "user") -> UserId:
    """`text` as a user id. Raises BadRequest naming `path`."""
    if not USER_ID.fullmatch(text):
        raise BadRequest(path, "a user id is 1 to 64 of A-Z a-z 0-9 _ -")
    return UserId(text)


def device_id(text: str, path: str = "device") -> DeviceId:
    """`text` as a device id. Raises BadRequest naming `path`."""
    if not DEVICE_ID.fullmatch(text):
        raise BadRequest(path, "a device id is 1 to 64 of A-Z a-z 0-9 _ . -")
    return DeviceId(text)
