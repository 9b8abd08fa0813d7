"""Receiving what is in the dead-letter queue, each message once, and giving back what stays there."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from imclient.admin.dead_letters import DeadLetter, dead_letter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

MAX_BATCH: Final = 10
"""Messages in one request to SQS."""

MAX_IDLE: Final = 10
"""Answers in a row with nothing new in them that end the search: who lives off a queue that fills up never ends."""

_COUNTS: Final[list[QueueAttributeNameType]] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


@dataclass(slots=True)
class Taking:
    """What was in the queue at `url` when the `with` block began; what is not deleted is visible again when it ends.

    A FIFO queue gives nobody else the messages of a group of which some are held: two that take at the same time never
    have the same message. It also means that of each group no more than the first ten can be seen, unless they are
    deleted one after the other. When the program is killed, what it holds is visible again after `hold_s` seconds.
    """

    client: SQSClient
    url: str
    hold_s: int = 120
    wait_s: int = 2
    """How long SQS waits for a message before it says that there is none; above 0 it asks all its servers."""
    clock: Callable[[], float] = time.monotonic
    began: int = field(init=False, default=0)
    """By SQS's clock, to the second below; milliseconds since the epoch."""
    there: int = field(init=False, default=0)
    """About how many there were when it began, with those that somebody else held. SQS counts up to a minute late."""
    later: int = field(init=False, default=0)
    """How many were met that came after it began."""
    met: set[str] = field(init=False, default_factory=set)
    """The ids of all that were received."""
    _held: dict[str, str] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        """Look at the clock and at the length of the queue. 1 request."""
        out = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=_COUNTS)
        self.there = sum(int(out["Attributes"][name]) for name in _COUNTS)
        self.began = _server_time(out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make visible what is held: 1 request for every 10. When SQS refuses, time does it."""
        with contextlib.suppress(BotoCoreError, ClientError):
            self._give_back(list(self._held))

    def letters(self) -> Iterator[DeadLetter]:
        """All of them, each once; those of a group in their order. 1 request for every 10, and one that finds none.

        Each is held for at least half of `hold_s` from when it is given. Raises ClientError and BotoCoreError.
        """
        idle = 0
        while idle < MAX_IDLE and (batch := self._receive()):
            taken_at = self.clock()
            idle += 1
            for i, letter in enumerate(batch):
                if self.clock() - taken_at > self.hold_s / 2:
                    self._give_back([late.id for late in batch[i:]])
                    break
                if letter.id in self.met:
                    continue
                self.met.add(letter.id)
                if letter.sent >= self.began + 1000:
                    self.later += 1
                    continue
                idle = 0
                yield letter

    def delete(self, letter: DeadLetter) -> None:
        """Delete one of `letters`. 1 request. Raises ClientError and BotoCoreError."""
        self.client.delete_message(QueueUrl=self.url, ReceiptHandle=letter.receipt)
        self._held.pop(letter.id, None)

    def _receive(self) -> list[DeadLetter]:
        out = self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=MAX_BATCH,
            VisibilityTimeout=self.hold_s,
            WaitTimeSeconds=self.wait_s,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            # An answer that is lost on its way: the SDK asks again and has the same messages.
            ReceiveRequestAttemptId=str(uuid.uuid4()),
        )
        letters = [dead_letter(message) for message in out.get("Messages", [])]
        self._held |= {letter.id: letter.receipt for letter in letters}
        return letters

    def _give_back(self, ids: list[str]) -> None:
        for start in range(0, len(ids), MAX_BATCH):
            some = ids[start : start + MAX_BATCH]
            self.client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": self._held[id_], "VisibilityTimeout": 0}
                    for i, id_ in enumerate(some)
                ],
            )
            for id_ in some:
                del self._held[id_]


def _server_time(answer: Any) -> int:
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
    return int(now) * 1000
