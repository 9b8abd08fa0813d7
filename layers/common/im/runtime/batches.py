"""What becomes of the messages of an SQS event: done, again soon, or out of everybody's way.

What fails for a reason that may pass (AWS is slow, busy, out of reach) comes again, soon. What no repeat can mend goes
to the dead-letter queue, alone: nothing waits behind it. A message that cannot be read goes there at once; one that
meets a defect of the program when it has come a few times, for the defect may be gone with the next deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from im.aws.dead_letters import DeadLetters
from im.aws.failures import may_pass
from im.aws.queue_messages import NewerMessage, UnreadableMessage
from im.aws.retries import Retries, Retry
from im.flows.row_writes import TooManyFailed
from im.runtime.logs import log
from im.runtime.router import Context, Event

RESERVE_MS: Final = 8_000
"""Longer than a push may take with its retries (7 s): one that began before the deadline ends before the function."""

START_MS: Final = 16_000
"""Longer than a call to AWS may take with its retries (15 s): what is not begun by then comes again soon. It would die
with the function, and wait for the visibility timeout."""

DEFECT_AFTER: Final = 4
"""So often a message comes that meets a defect, until it is put aside: 14 s."""

STUCK_AFTER: Final = 5
"""From so many receives on the log says that a conversation stands still: half a minute."""

DIED_AFTER: Final = 3
DIED_AGE_S: Final = 600
"""A message that comes for so many times after so long: perhaps nobody has lived to say that it fails."""

M = TypeVar("M")
Record = Mapping[str, Any]
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Aside:
    """Where messages go that are not done: back to the queue, or out of everybody's way."""

    retries: Retries
    dead: DeadLetters | None
    """None where what cannot be done is not worth keeping."""


@dataclass(frozen=True, slots=True)
class Work(Generic[M]):
    """What is done with the messages of one queue."""

    decode: Callable[[str], M]
    group_of: Callable[[M], Hashable]
    """Messages that are served together."""
    where: Callable[[Sequence[M]], Report]
    """What the log calls them."""
    serve: Callable[[Sequence[M]], Report]
    """Does it, and says what became of them."""


def deadline(now: int, context: Context) -> int:
    """When pushes end, in milliseconds since the epoch; what comes behind them still has the reserve."""
    return now + context.get_remaining_time_in_millis() - RESERVE_MS


def serve_batch(event: Event, context: Context, aside: Aside, work: Work[M]) -> dict[str, Any]:
    """Serve the messages of one SQS event, those of a group at once. Never raises; tells SQS what is to come again.

    A FIFO batch may hold several groups. When one fails, its messages are reported and come again; the others are done.
    SQS keeps the order of a group as long as nothing behind a failed message is reported as done, so what comes again
    is the rest of a group: repeating what was done changes nothing.
    """
    started = time.perf_counter()
    batch = _Batch(context, aside, work)
    old = [record for record in event["Records"] if _receives(record) >= DIED_AFTER and _age_s(record) > DIED_AGE_S]
    if old:
        # Said first: a function that dies with them says nothing, and they come again only every few minutes.
        receives = max(map(_receives, old))
        log.error("still failing", receives=receives, messages=len(old), lambda_request_id=context.aws_request_id)
    groups = batch.groups(event["Records"])
    for messages in groups:
        batch.serve(messages)
    batch.bring_soon()
    log.info(
        "batch",
        records=len(event["Records"]),
        groups=len(groups),
        failed=len(batch.again),
        parked=batch.parked,
        ms=round((time.perf_counter() - started) * 1000, 1),
        lambda_request_id=context.aws_request_id,
    )
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in batch.again]}


@dataclass(slots=True)
class _Batch(Generic[M]):
    """One event."""

    context: Context
    aside: Aside
    work: Work[M]
    again: list[Record] = field(default_factory=list)
    parked: int = 0

    def groups(self, records: Sequence[Record]) -> list[list[tuple[Record, M]]]:
        """The messages that can be read. Another group begins each time they come: none is always the one for which
        there is no time."""
        groups: dict[Hashable, list[tuple[Record, M]]] = {}
        for record in records:
            group = _group(record)
            try:
                message = self.work.decode(record["body"])
            except UnreadableMessage as e:
                # Without a traceback, which would quote the message.
                why = _reason(e)
                log.error(
                    "unreadable message", message_id=record["messageId"], why=why, lambda_request_id=self._request
                )
                self._park(record, e)
            except NewerMessage as e:
                log.warning(
                    "newer message", message_id=record["messageId"], why=str(e), lambda_request_id=self._request
                )
                self._come_again([record])
            else:
                groups.setdefault((group, self.work.group_of(message)), []).append((record, message))
        turn = max(map(_receives, records), default=1) - 1
        served = list(groups.values())
        turn %= max(1, len(served))
        return served[turn:] + served[:turn]

    def serve(self, messages: Sequence[tuple[Record, M]]) -> None:
        """All of a group at once; one by one when one of them seems to be no good, to find out which."""
        records = [record for record, _ in messages]
        if self.context.get_remaining_time_in_millis() < START_MS:
            log.warning("no time left", messages=len(messages), lambda_request_id=self._request)
            self._come_again(records)
            return
        only = [message for _, message in messages]
        try:
            done = self.work.serve(only)
            log.info("delivered", lambda_request_id=self._request, **self.work.where(only), **done)
        except Exception as e:  # noqa: BLE001 - whatever it is, the other groups are served
            log.exception("fan-out failed", lambda_request_id=self._request, **self.work.where(only))
            if _passes(e) or max(map(_receives, records)) < DEFECT_AFTER:
                self._come_again(records)
            elif len(messages) == 1:
                self._park(records[0], e)
            else:
                self._one_by_one(messages)

    def _one_by_one(self, messages: Sequence[tuple[Record, M]]) -> None:
        for i, one in enumerate(messages):
            failed = len(self.again)
            self.serve([one])
            if len(self.again) > failed:
                self._come_again([record for record, _ in messages[i + 1 :]])
                return

    def bring_soon(self) -> None:
        """Let what failed come again soon and not when its visibility timeout is over: its conversation waits for it.

        SQS holds a group as long as one of its messages is invisible, so one of a group waits as long as all of it.
        """
        if not self.again:
            return
        try:
            waits: dict[str, int] = {}
            for record in self.again:
                group = _group(record)
                waits[group] = max(waits.get(group, 1), _receives(record))
            if (receives := max(waits.values())) >= STUCK_AFTER:
                log.error("still failing", receives=receives, groups=len(waits), lambda_request_id=self._request)
            self.aside.retries.soon([Retry(r["receiptHandle"], waits[_group(r)]) for r in self.again])
        except Exception:  # noqa: BLE001 - then it comes later
            log.exception("not brought sooner", lambda_request_id=self._request)

    def _come_again(self, records: Sequence[Record]) -> None:
        self.again += records

    def _park(self, record: Record, error: Exception) -> None:
        """Put a message out of the way; when that fails, it comes again."""
        try:
            if self.aside.dead is not None:
                self.aside.dead.park(record["messageId"], record["body"], _group(record), _reason(error))
        except Exception:  # noqa: BLE001 - it is safe where it is
            log.exception("not parked", message_id=record["messageId"], lambda_request_id=self._request)
            self._come_again([record])
        else:
            self.parked += 1

    @property
    def _request(self) -> str:
        return self.context.aws_request_id


def _group(record: Record) -> str:
    """The message group; of a standard queue each message is one of its own."""
    return str(record["attributes"].get("MessageGroupId", record["messageId"]))


def _age_s(record: Record) -> float:
    """How long a message has been in its queue."""
    return time.time() - int(record["attributes"].get("SentTimestamp", time.time() * 1000)) / 1000


def _receives(record: Record) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def _reason(error: Exception) -> str:
    """Says what kind of failure it was, and nothing of what was said in the message."""
    cause = error.__cause__
    return f"{type(error).__name__}{f' by {type(cause).__name__}' if cause is not None else ''}"


def _passes(error: Exception) -> bool:
    return may_pass(error.__cause__ or error) if isinstance(error, TooManyFailed) else may_pass(error)
