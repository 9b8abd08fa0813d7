"""The queue of delayed checks: has everybody who was pushed entries received them? SQS standard: no order is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from im.aws.queue_messages import message_of, origins_of, reading, seqs_of
from im.domain.conversation import parse_conversation
from im.domain.ids import ConnectionId, ConvId, Seq, UserId

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

VERSION: Final = 1

MAX_DELAY_S: Final = 900
"""SQS delays a message by no more."""


@dataclass(frozen=True, slots=True)
class Check:
    """Entries of a conversation, by seq, that were pushed to some users."""

    conv: ConvId
    seqs: tuple[Seq, ...]
    """Ascending, at most 10."""
    users: tuple[UserId, ...]
    round: int = 1
    """Which check of these entries it is."""
    origins: Mapping[Seq, ConnectionId] = field(default_factory=dict)
    """The connections that sent the entries: they have the replies and get no push."""


@dataclass(frozen=True, slots=True)
class SqsCheckQueue:
    """The queue at `url`."""

    client: SQSClient
    url: str

    def put(self, check: Check, delay_s: int) -> None:
        """Queue a check that is due in so many seconds, 0 to 900. 1 request."""
        self.client.send_message(
            QueueUrl=self.url, MessageBody=encode(check), DelaySeconds=min(max(delay_s, 0), MAX_DELAY_S)
        )


def encode(check: Check) -> str:
    """The body of a queue message: at most 15 KiB, for 100 users of the longest ids."""
    return json.dumps(
        {
            "v": VERSION,
            "conv": check.conv,
            "seqs": check.seqs,
            "users": check.users,
            "round": check.round,
            "origins": dict(check.origins),
        },
        separators=(",", ":"),
    )


def decode(body: str) -> Check:
    """What a queue message carries. Raises UnreadableMessage, NewerMessage."""
    with reading():
        message = message_of(body, VERSION)
        return Check(
            conv=parse_conversation(str(message["conv"]), "conv").conv,
            seqs=seqs_of(message),
            users=tuple(UserId(str(user)) for user in message["users"]),
            round=int(message["round"]),
            origins=origins_of(message),
        )
