"""From an SQS batch to the fan-out, and back to the messages that failed."""

from __future__ import annotations

import time
from typing import Any

from im.aws.queue import Queued, UnreadableMessage, decode
from im.domain.ids import ConvId
from im.flows.fan_out import FanOut
from im.runtime.logs import log
from im.runtime.router import Context, Event


def deliver_batch(fan_out: FanOut, event: Event, context: Context) -> dict[str, Any]:
    """Fan out the messages of one SQS event, all entries of one conversation at once. Never raises.

    A FIFO batch may hold several conversations. When one fails, its messages are reported and come again; the others
    are done. SQS keeps the order of a group as long as nothing behind a failed message is reported as done, so a
    conversation is reported as a whole: repeating what was done changes nothing.
    """
    started = time.perf_counter()
    failed: list[str] = []
    batches: dict[ConvId, list[tuple[str, Queued]]] = {}
    for record in event["Records"]:
        message_id = record["messageId"]
        try:
            queued = decode(record["body"])
        except UnreadableMessage:
            # Fails alone and ends in the dead-letter queue: nothing behind it needs what it carries.
            log.exception("unreadable message", message_id=message_id, lambda_request_id=context.aws_request_id)
            failed.append(message_id)
        else:
            batches.setdefault(queued.entry.conv, []).append((message_id, queued))
    for conv, messages in batches.items():
        try:
            done = fan_out.deliver(conv, [queued for _, queued in messages])
            log.debug("delivered", conv=conv, result=str(done))
        except Exception:  # noqa: BLE001 - whatever it is, SQS brings the batch again and then keeps it for a human
            log.exception("fan-out failed", conv=conv, lambda_request_id=context.aws_request_id)
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
