"""The queue of the parts of a push to a large group: SQS FIFO, one message group a part of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from im.aws.failures import NotQueued
from im.aws.queue_messages import (
    MAX_BATCH,
    UnreadableMessage,
    message_of,
    origins_of,
    reading,
    seqs_of,
    short,
)
from im.domain.conversation import parse_conversation
from im.domain.ids import ConnectionId, ConvId, Seq

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of a conversation, by seq, on their way to one part of its audience."""

    conv: ConvId
    seqs: tuple[Seq, ...]
    """Ascending, at most MAX_ENTRIES."""
    number: int
    """Which of them, from 0."""
    of: int
    """How many parts there are."""
    origins: Mapping[Seq, ConnectionId] = field(default_factory=dict)
    """The connections that sent the entries: they have the replies and get no push."""


@dataclass(frozen=True, slots=True)
class SqsPartQueue:
    """The queue at `url`."""

    client: SQSClient
    url: str

    def put_all(self, parts: Sequence[Part]) -> None:
        """Queue parts. Repeats within five minutes are one message. 1 request for every 10. Raises NotQueued."""
        for start in range(0, len(parts), MAX_BATCH):
            out = self.client.send_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {
                        "Id": str(part.number),
                        "MessageBody": encode(part),
                        "MessageGroupId": short(f"{part.conv}#{part.number}"),
                        "MessageDeduplicationId": short(f"{part.conv}#{part.number}:{','.join(map(str, part.seqs))}"),
                    }
                    for part in parts[start : start + MAX_BATCH]
                ],
            )
            if failed := out.get("Failed"):
                raise NotQueued(", ".join(sorted({entry["Code"] for entry in failed})))


def encode(part: Part) -> str:
    """The body of a queue message. 320 bytes at most, and 40 for each origin: the entries are read again by seq."""
    return json.dumps(
        {
            "v": VERSION,
            "conv": part.conv,
            "seqs": part.seqs,
            "number": part.number,
            "of": part.of,
            "origins": dict(part.origins),
        },
        separators=(",", ":"),
    )


def decode(body: str) -> Part:
    """What a queue message carries. Raises UnreadableMessage, NewerMessage."""
    with reading():
        message = message_of(body, VERSION)
        part = Part(
            conv=parse_conversation(str(message["conv"]), "conv").conv,
            seqs=seqs_of(message),
            number=int(message["number"]),
            of=int(message["of"]),
            origins=origins_of(message),
        )
    if not 0 <= part.number < part.of:
        raise UnreadableMessage("no such part")
    return part
