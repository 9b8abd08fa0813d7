"""When SQS brings a message again that failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from im.aws.queue_messages import MAX_BATCH

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FIRST_S: Final = 2
LONGEST_S: Final = 180
"""As the visibility timeout of the queues, which counts when a function dies."""

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class Retry:
    """A message that failed."""

    receipt_handle: str
    receive_count: int
    """How often it was received, this time included."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Of the queue at `url`."""

    client: SQSClient
    url: str

    def soon(self, messages: Sequence[Retry]) -> None:
        """Let messages come again after 2 s, 4 s, 8 s … 180 s, by how often they have failed. 1 request a 10."""
        for start in range(0, len(messages), MAX_BATCH):
            out = self.client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {
                        "Id": str(i),
                        "ReceiptHandle": message.receipt_handle,
                        "VisibilityTimeout": delay_s(message.receive_count),
                    }
                    for i, message in enumerate(messages[start : start + MAX_BATCH])
                ],
            )
            if failed := out.get("Failed"):
                log.error("some come later", extra={"why": sorted({one["Code"] for one in failed})})


def delay_s(receive_count: int) -> int:
    """Seconds until a message comes again that was received so often."""
    return int(min(LONGEST_S, FIRST_S * 2 ** min(max(receive_count - 1, 0), 10)))
