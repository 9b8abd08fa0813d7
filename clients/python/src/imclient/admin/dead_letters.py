"""What waits in the dead-letter queue: one message, as far as an operator needs to know it. No I/O.

The queue has several sources, whose messages are told apart by their JSON: an entry on its way to the members of its
conversation (`v`, `entry`), one part of a push to a large group (`v`, `conv`, `seqs`, `number`, `of`), a red packet
whose money is to be moved (`v`, `packet`). The messages that tell of red packets, and their parts, have queues of their
own; of a part nothing says which but the letter: the function that put it here, or SQS where it took it from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from imclient.printable import printable

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

Source = Literal["fanout", "broadcast", "express", "express_parts", "settlement"]
"""The queue that a message was in before."""

SOURCES: Final[Mapping[str, Source]] = {
    "fanout": "fanout",
    "broadcast": "broadcast",
    "express": "express",
    "express-parts": "express_parts",
    "settlement": "settlement",
}
"""By the end of the queue's name, which begins with the stack's."""

EXPRESS: Final = frozenset({"redpacket"})
"""The kinds of entries that have a queue of their own."""

MAX_REASON: Final = 200
"""Characters of a reason that are shown."""


@dataclass(frozen=True, slots=True)
class Content:
    """Which entries a message is about; never what they say."""

    source: Source
    conv: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A red packet whose money is to be moved."""

    packet: str
    source: Source = "settlement"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of the dead-letter queue."""

    id: str
    receipt: str = field(repr=False)
    """For the one who received it, until it is visible again."""
    body: str = field(repr=False)
    """As it was sent: it holds the text of a message."""
    group: str
    """Its message group: the one that it had in the queue it came from."""
    sent: int
    """When it was sent here, or for the first time; milliseconds since the epoch."""
    received: int
    """How often it has been received, here and before."""
    content: Content | Unsettled | None
    """None: it cannot be read."""
    source: Source | None
    """None: nobody knows."""
    reason: str
    """Why it is here, in words that are safe to print."""


def dead_letter(message: MessageTypeDef) -> DeadLetter:
    """A message as SQS gives it, with all its attributes."""
    system: Mapping[str, str] = message.get("Attributes", {})  # type: ignore[assignment]  # names are a literal type
    told = _source(_attribute(message, "source")) or _taken_from(system.get("DeadLetterQueueSourceArn", ""))
    content = content_of(message["Body"], told)
    parked = _attribute(message, "parked")
    return DeadLetter(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        group=system["MessageGroupId"],
        sent=int(system["SentTimestamp"]),
        received=int(system["ApproximateReceiveCount"]),
        content=content,
        source=content.source if content is not None else told,
        reason=printable(parked)[:MAX_REASON] if parked else "failed again and again",
    )


def _attribute(message: MessageTypeDef, name: str) -> str | None:
    attribute = message.get("MessageAttributes", {}).get(name)
    return attribute.get("StringValue") if attribute is not None else None


def content_of(body: str, told: Source | None = None) -> Content | Unsettled | None:
    """What a message is about, None when it is none of ours. `told` is what the letter says of where it was."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match message:
        case {"v": 1, "entry": {"conv": str(conv), "seq": seq, **entry}} if _are_seqs([seq]):
            return Content("express" if entry.get("kind") in EXPRESS else "fanout", conv, seq, seq)
        case {"v": 1, "conv": str(conv), "number": int(), "of": int(), "seqs": [*seqs]} if _are_seqs(seqs):
            return Content("express_parts" if told == "express_parts" else "broadcast", conv, seqs[0], seqs[-1])
        case {"v": 1, "packet": str(packet)}:
            return Unsettled(packet)
        case _:
            return None


def _are_seqs(values: list[Any]) -> bool:
    """Whether `values` are places in a log, ascending."""
    return bool(values) and all(type(value) is int and value >= 1 for value in values) and values == sorted(set(values))


def _source(told: str | None) -> Source | None:
    return told if told in SOURCES.values() else None  # type: ignore[return-value]  # it is one of them


def _taken_from(arn: str) -> Source | None:
    """The queue that SQS itself has taken a message from."""
    name = arn.rpartition(":")[2].removesuffix(".fifo")
    return next((source for end, source in SOURCES.items() if name.endswith(f"-{end}")), None)
