"""Which failures may pass by themselves."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from im.aws.queue import NotQueued
from im.domain.errors import Unavailable

OURS: Final = frozenset(
    {
        "ValidationException",
        "SerializationException",
        "ItemCollectionSizeLimitExceededException",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "MessageTooLong",
    }
)
"""Answers of AWS to a request that is wrong, today and tomorrow."""


def may_pass(error: BaseException) -> bool:
    """Whether what failed may succeed later: AWS is slow, busy, out of reach, or does not let us yet.

    Everything else is a defect of the program or of the message: the same again ends the same.
    """
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") not in OURS
    return isinstance(error, (BotoCoreError, Unavailable, NotQueued, OSError, MemoryError))
