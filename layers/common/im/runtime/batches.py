"""From an SQS batch or a stream to a flow, and back to the messages that failed.

What fails for a reason that may pass (AWS is slow, busy, out of reach) comes again, soon. What no repeat can mend (a
message that cannot be read, a defect of the program) goes to the dead-letter queue at once: nothing waits behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from im.aws import check_queue, part_queue, queue
from im.aws.check_queue import Check
from im.aws.dead_letters import DeadLetters
from im.aws.failures import may_pass
from im.aws.part_queue import Part
from im.aws.queue import Queued, UnreadableMessage
from im.aws.retries import Retries, Retry
from im.domain.entries import Entry
from im.flows.audit import Auditor
from im.flows.broadcast import Broadcast
from im.flows.fan_out import FanOut
from im.flows.push_entries import Pushed
from im.flows.redeliver import Redelivery
from im.flows.row_writes import TooManyFailed
from im.runtime.logs import log
from im.runtime.router import Context, Event
from im.store.conversations import entry_from

RESERVE_MS: Final = 8_000
"""Longer than a push may take with its retries (7 s): one that began before the deadline ends before the function."""

M = TypeVar("M")
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Aside:
    """Where messages go that are not done: back to the queue, or out of everybody's way."""

    retries: Retries
    dead: DeadLetters | None
    """None where what cannot be done is not worth keeping."""


def deliver_batch(fan_out: FanOut, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Fan out the messages of one SQS event, all entries of one conversation at once. Never raises."""
    deadline = _deadline(fan_out.rows.clock(), context)

    def deliver(batch: Sequence[Queued]) -> tuple[Report, Report]:
        seqs = [queued.entry.seq for queued in batch]
        where = {"conv": batch[0].entry.conv, "only": batch[0].only, "first": min(seqs), "last": max(seqs)}
        found = sum(queued.found for queued in batch)
        return where, asdict(fan_out.deliver(batch[0].entry.conv, batch, deadline)) | {"found": found}

    return _each_group(event, context, aside, queue.decode, lambda q: (q.entry.conv, q.only), deliver)


def push_parts(broadcast: Broadcast, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Push the parts of one SQS event. Never raises."""
    deadline = _deadline(broadcast.clock(), context)

    def push(parts: Sequence[Part]) -> tuple[Report, Report]:
        where = {"conv": parts[0].conv, "part": parts[0].number, "first": parts[0].first, "last": parts[-1].last}
        done = Pushed()
        for part in parts:
            done += broadcast.push_part(part, deadline)
        return where, done.counts()

    return _each_group(event, context, aside, part_queue.decode, lambda part: (part.conv, part.number, part.of), push)


def make_checks(redelivery: Redelivery, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Make the checks of one SQS event. Never raises."""
    deadline = _deadline(redelivery.pusher.clock(), context)

    def check(checks: Sequence[Check]) -> tuple[Report, Report]:
        (one,) = checks
        where = {"conv": one.conv, "first": one.first, "last": one.last, "round": one.round, "users": len(one.users)}
        return where, redelivery.check(one, deadline).counts()

    return _each_group(event, context, aside, check_queue.decode, _alone, check)


def _alone(_: object) -> Hashable:
    return object()


def audit_records(auditor: Auditor, event: Event, context: Context) -> dict[str, Any]:
    """Audit the entries of one batch of stream records. Raises when they could not be queued: Lambda then brings the
    batch again, for a day, and nothing comes after it meanwhile. So what cannot be read is logged and left out."""
    entries: list[Entry] = []
    for record in event["Records"]:
        try:
            if record["eventName"] == "INSERT":
                entries.append(entry_from(record["dynamodb"]["NewImage"]))
        except Exception:  # noqa: BLE001 - whatever it is: no other entry may wait for it
            log.exception(
                "unreadable record", event_id=_text(record, "eventID"), lambda_request_id=context.aws_request_id
            )
    auditor.audit(entries)
    log.info("audited", records=len(event["Records"]), entries=len(entries), lambda_request_id=context.aws_request_id)
    return {}


def _text(record: Any, name: str) -> str | None:
    value = record.get(name) if isinstance(record, Mapping) else None
    return value if isinstance(value, str) else None


def _deadline(now: int, context: Context) -> int:
    """Pushes end here; the rows of conversations behind them still have the reserve."""
    return now + context.get_remaining_time_in_millis() - RESERVE_MS


@dataclass(slots=True)
class _Batch:
    """What becomes of the messages of one event."""

    context: Context
    aside: Aside
    failed: list[Mapping[str, Any]] = field(default_factory=list)
    parked: int = 0

    def come_again(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.failed += records

    def park(self, record: Mapping[str, Any], error: Exception) -> None:
        """Put a message out of the way; when that fails, it comes again."""
        try:
            if self.aside.dead is not None:
                group = record["attributes"].get("MessageGroupId", record["messageId"])
                self.aside.dead.park(record["messageId"], record["body"], group, _reason(error))
        except Exception:  # noqa: BLE001 - it is safe where it is
            log.exception("not parked", message_id=record["messageId"], lambda_request_id=self.context.aws_request_id)
            self.come_again([record])
        else:
            self.parked += 1


def _reason(error: Exception) -> str:
    """Says what kind of failure it was, and nothing of what was said in the message."""
    cause = error.__cause__
    return f"{type(error).__name__}{f' by {type(cause).__name__}' if cause is not None else ''}"


def _each_group(
    event: Event,
    context: Context,
    aside: Aside,
    decode: Callable[[str], M],
    group_of: Callable[[M], Hashable],
    serve: Callable[[Sequence[M]], tuple[Report, Report]],
) -> dict[str, Any]:
    """Let `serve` have the messages of each group at once; it says what they were and what became of them.

    A FIFO batch may hold several groups. When one fails, its messages are reported and come again; the others are done.
    SQS keeps the order of a group as long as nothing behind a failed message is reported as done, so what comes again
    is the rest of a group: repeating what was done changes nothing.
    """
    started = time.perf_counter()
    batch = _Batch(context, aside)
    groups: dict[Hashable, list[tuple[Mapping[str, Any], M]]] = {}
    for record in event["Records"]:
        try:
            message = decode(record["body"])
        except UnreadableMessage as e:
            message_id = record["messageId"]
            log.exception("unreadable message", message_id=message_id, lambda_request_id=context.aws_request_id)
            batch.park(record, e)
        else:
            groups.setdefault(group_of(message), []).append((record, message))
    for group, messages in groups.items():
        _serve_group(batch, group, messages, serve)
    _bring_soon(batch)
    log.info(
        "batch",
        records=len(event["Records"]),
        groups=len(groups),
        failed=len(batch.failed),
        parked=batch.parked,
        ms=round((time.perf_counter() - started) * 1000, 1),
        lambda_request_id=context.aws_request_id,
    )
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in batch.failed]}


def _serve_group(
    batch: _Batch,
    group: Hashable,
    messages: Sequence[tuple[Mapping[str, Any], M]],
    serve: Callable[[Sequence[M]], tuple[Report, Report]],
) -> None:
    """All at once; one by one when one of them is no good, to find out which."""
    request = batch.context.aws_request_id
    try:
        where, done = serve([message for _, message in messages])
        log.info("delivered", lambda_request_id=request, **where, **done)
    except Exception as e:  # noqa: BLE001 - whatever it is, the other groups are served
        log.exception("fan-out failed", group=group, lambda_request_id=request)
        records = [record for record, _ in messages]
        if _passes(e):
            batch.come_again(records)
        elif len(messages) == 1:
            batch.park(records[0], e)
        else:
            for i, one in enumerate(messages):
                failed = len(batch.failed)
                _serve_group(batch, group, [one], serve)
                if len(batch.failed) > failed:
                    batch.come_again(records[i + 1 :])
                    return


def _passes(error: Exception) -> bool:
    return may_pass(error.__cause__ or error) if isinstance(error, TooManyFailed) else may_pass(error)


def _bring_soon(batch: _Batch) -> None:
    """Let what failed come again soon and not when its visibility timeout is over: its conversation waits for it."""
    if not batch.failed:
        return
    try:
        again = [
            Retry(record["receiptHandle"], int(record["attributes"]["ApproximateReceiveCount"]))
            for record in batch.failed
        ]
        batch.aside.retries.soon(again)
    except Exception:  # noqa: BLE001 - then it comes later
        log.exception("not brought sooner", lambda_request_id=batch.context.aws_request_id)
