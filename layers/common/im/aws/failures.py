"""Which failures may pass by themselves."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from im.domain.errors import Unavailable

OURS: Final = frozenset(
    {
        "ValidationException",
        "ValidationError",
        "SerializationException",
        "ItemCollectionSizeLimitExceededException",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "MessageTooLong",
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
    }
)
"""Answers of AWS to a request that is wrong, today and tomorrow. That it is the sender's fault, AWS says of a throttled
request too."""


class NotQueued(Exception):
    """SQS could not take some messages; it may the next time."""


def is_ours(error: ClientError) -> bool:
    """Whether AWS finds the request wrong."""
    return error.response.get("Error", {}).get("Code") in OURS


def may_pass(error: BaseException) -> bool:
    """Whether what failed may succeed later: AWS is slow, busy, out of reach, or does not let us yet.

    Everything else is a defect of the program or of the message.
    """
    if isinstance(error, ClientError):
        return not is_ours(error)
    return isinstance(error, (BotoCoreError, ResponseParserError, Unavailable, NotQueued, OSError, MemoryError))
