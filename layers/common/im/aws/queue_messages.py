"""What the messages of all our SQS queues have in common: a version, and how they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from im.domain.errors import BadRequest
from im.domain.ids import ConnectionId, Seq

MAX_BATCH: Final = 10
"""Messages in one request to SQS."""

MAX_ID: Final = 128
"""SQS: a group id and a deduplication id have at most 128 characters. A direct conversation's id may have 131."""

MAX_ENTRIES: Final = 10
"""Entries that a message names: as many as a batch of the fan-out queue brings."""


class UnreadableMessage(Exception):
    """A queue message that is none of ours; it can only go to the dead-letter queue."""


class NewerMessage(Exception):
    """A queue message of a newer version of this program, which is being deployed, or was rolled back."""


@contextmanager
def reading() -> Iterator[None]:
    """Whatever goes wrong while a message is read makes it unreadable: raises UnreadableMessage, NewerMessage."""
    try:
        yield
    except (BadRequest, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
        raise UnreadableMessage(type(e).__name__) from e


def message_of(body: str, version: int) -> dict[str, Any]:
    """A body of ours, whose version must be this one. Raises UnreadableMessage, NewerMessage, and what json raises."""
    message: dict[str, Any] = json.loads(body)
    if message["v"] != version:
        kind = NewerMessage if isinstance(message["v"], int) and message["v"] > version else UnreadableMessage
        raise kind(f"version {str(message['v'])[:20]}")
    return message


def seqs_of(message: Mapping[str, Any]) -> tuple[Seq, ...]:
    """The entries that a message names. Not all from the first to the last: a batch may hold one of today, and one of
    last week that comes late. Raises UnreadableMessage, LookupError, TypeError, ValueError."""
    seqs = [int(seq) for seq in message["seqs"]]
    if not 1 <= len(seqs) <= MAX_ENTRIES or seqs[0] < 1 or seqs != sorted(set(seqs)):
        raise UnreadableMessage("no such entries")
    return tuple(map(Seq, seqs))


def origins_of(message: Mapping[str, Any]) -> dict[Seq, ConnectionId]:
    """The connections that sent the entries that a message names. Raises LookupError, AttributeError, ValueError."""
    return {Seq(int(seq)): ConnectionId(str(origin)) for seq, origin in message["origins"].items()}


def queue_name(queue: str) -> str:
    """The name of a queue, from its URL or its ARN."""
    return queue.replace(":", "/").rpartition("/")[2]


def short(name: str) -> str:
    """`name` where SQS takes it, a digest of it where it is too long."""
    return name if len(name) <= MAX_ID else hashlib.sha256(name.encode()).hexdigest()
