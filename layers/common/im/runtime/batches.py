"""From an SQS batch to a flow, and back to the messages that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from im.aws import part_queue, queue
from im.aws.part_queue import Part
from im.aws.queue import Queued, UnreadableMessage
from im.flows.broadcast import Broadcast
from im.flows.fan_out import FanOut
from im.flows.push_entries import Pushed
from im.runtime.logs import log
from im.runtime.router import Context, Event

RESERVE_MS: Final = 8_000
"""Longer than a push may take with its retries (7 s): one that began before the deadline ends before the function."""

M = TypeVar("M")
Report = Mapping[str, Any]


def deliver_batch(fan_out: FanOut, event: Event, context: Context) -> dict[str, Any]:
    """Fan out the messages of one SQS event, all entries of one conversation at once. Never raises."""
    deadline = _deadline(fan_out.rows.clock(), context)

    def deliver(batch: Sequence[Queued]) -> tuple[Report, Report]:
        seqs = [queued.entry.seq for queued in batch]
        where = {"conv": batch[0].entry.conv, "only": batch[0].only, "first": min(seqs), "last": max(seqs)}
        return where, asdict(fan_out.deliver(batch[0].entry.conv, batch, deadline))

    return _each_group(event, context, queue.decode, lambda q: (q.entry.conv, q.only), deliver)


def push_parts(broadcast: Broadcast, event: Event, context: Context) -> dict[str, Any]:
    """Push the parts of one SQS event. Never raises."""
    deadline = _deadline(broadcast.clock(), context)

    def push(parts: Sequence[Part]) -> tuple[Report, Report]:
        where = {"conv": parts[0].conv, "part": parts[0].number, "first": parts[0].first, "last": parts[-1].last}
        done = Pushed()
        for part in parts:
            done += broadcast.push_part(part, deadline)
        return where, asdict(done)

    return _each_group(event, context, part_queue.decode, lambda part: (part.conv, part.number, part.of), push)


def _deadline(now: int, context: Context) -> int:
    """Pushes end here; the rows of conversations behind them still have the reserve."""
    return now + context.get_remaining_time_in_millis() - RESERVE_MS


def _each_group(
    event: Event,
    context: Context,
    decode: Callable[[str], M],
    group_of: Callable[[M], Hashable],
    serve: Callable[[Sequence[M]], tuple[Report, Report]],
) -> dict[str, Any]:
    """Let `serve` have the messages of each group at once; it says what they were and what became of them.

    A FIFO batch may hold several groups. When one fails, its messages are reported and come again; the others are done.
    SQS keeps the order of a group as long as nothing behind a failed message is reported as done, so a group is
    reported as a whole: repeating what was done changes nothing.
    """
    started = time.perf_counter()
    failed: list[str] = []
    groups: dict[Hashable, list[tuple[str, M]]] = {}
    for record in event["Records"]:
        message_id = record["messageId"]
        try:
            message = decode(record["body"])
        except UnreadableMessage:
            # Fails alone and ends in the dead-letter queue: nothing behind it needs what it carries.
            log.exception("unreadable message", message_id=message_id, lambda_request_id=context.aws_request_id)
            failed.append(message_id)
        else:
            groups.setdefault(group_of(message), []).append((message_id, message))
    for group, messages in groups.items():
        try:
            where, done = serve([message for _, message in messages])
            log.info("delivered", lambda_request_id=context.aws_request_id, **where, **done)
        except Exception:  # noqa: BLE001 - whatever it is, SQS brings the batch again and then keeps it for a human
            log.exception("fan-out failed", group=group, lambda_request_id=context.aws_request_id)
            failed += [message_id for message_id, _ in messages]
    log.info(
        "batch",
        records=len(event["Records"]),
        groups=len(groups),
        failed=len(failed),
        ms=round((time.perf_counter() - started) * 1000, 1),
        lambda_request_id=context.aws_request_id,
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
