"""From an SQS batch to the fan-out, and back to the messages that failed."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

from im.aws.queue import Queued, UnreadableMessage, decode
from im.domain.ids import ConvId, UserId
from im.flows.fan_out import FanOut
from im.runtime.logs import log
from im.runtime.router import Context, Event

RESERVE_MS: Final = 8_000
"""Longer than a push may take with its retries (7 s): one that began before the deadline ends before the function."""


def deliver_batch(fan_out: FanOut, event: Event, context: Context) -> dict[str, Any]:
    """Fan out the messages of one SQS event, all entries of one conversation at once. Never raises.

    A FIFO batch may hold several conversations. When one fails, its messages are reported and come again; the others
    are done. SQS keeps the order of a group as long as nothing behind a failed message is reported as done, so a
    conversation is reported as a whole: repeating what was done changes nothing.
    """
    started = time.perf_counter()
    # Pushes end here; the rows of conversations behind them still have the reserve.
    deadline = fan_out.clock() + context.get_remaining_time_in_millis() - RESERVE_MS
    failed: list[str] = []
    batches: dict[tuple[ConvId, UserId | None], list[tuple[str, Queued]]] = {}
    for record in event["Records"]:
        message_id = record["messageId"]
        try:
            queued = decode(record["body"])
        except UnreadableMessage:
            # Fails alone and ends in the dead-letter queue: nothing behind it needs what it carries.
            log.exception("unreadable message", message_id=message_id, lambda_request_id=context.aws_request_id)
            failed.append(message_id)
        else:
            batches.setdefault((queued.entry.conv, queued.only), []).append((message_id, queued))
    for (conv, only), messages in batches.items():
        seqs = [queued.entry.seq for _, queued in messages]
        where: dict[str, Any] = {"conv": conv, "only": only, "first": min(seqs), "last": max(seqs)}
        try:
            done = fan_out.deliver(conv, [queued for _, queued in messages], deadline)
            log.info("delivered", lambda_request_id=context.aws_request_id, **where, **asdict(done))
        except Exception:  # noqa: BLE001 - whatever it is, SQS brings the batch again and then keeps it for a human
            log.exception("fan-out failed", lambda_request_id=context.aws_request_id, **where)
            failed += [message_id for message_id, _ in messages]
    log.info(
        "batch",
        records=len(event["Records"]),
        conversations=len(batches),
        failed=len(failed),
        ms=round((time.perf_counter() - started) * 1000, 1),
        lambda_request_id=context.aws_request_id,
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
