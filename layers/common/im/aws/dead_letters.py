"""The dead-letter queue: what no repeat can mend waits there for a human, and nothing waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from im.aws.queue_messages import short

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

Source = Literal["fanout", "broadcast", "express", "express_parts", "settlement"]
"""The queue that a dead letter goes back to when it is tried again."""

MAX_REASON: Final = 200
"""Characters."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The FIFO queue at `url`."""

    client: SQSClient
    url: str
    source: Source

    def park(self, message_id: str, body: str, group: str, reason: str) -> None:
        """Store a message of `source` there. 1 request.

        A repeat within five minutes is one message: whoever parks and dies before the message is deleted parks again.
        `group` is its message group, which keeps the order of a conversation when it is tried again.
        """
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=body,
            MessageGroupId=short(group),
            MessageDeduplicationId=short(message_id),
            MessageAttributes={
                "source": {"DataType": "String", "StringValue": self.source},
                "parked": {"DataType": "String", "StringValue": reason[:MAX_REASON] or "unknown"},
            },
        )
