"""From the events of queues and of the stream to the flows that serve them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from im.aws import check_queue, part_queue, queue
from im.aws.check_queue import Check
from im.aws.part_queue import Part
from im.aws.queue import Queued
from im.aws.queue_messages import queue_name
from im.domain.entries import Entry
from im.flows.audit import Auditor
from im.flows.broadcast import Broadcast
from im.flows.fan_out import FanOut
from im.flows.push_entries import Pushed
from im.flows.redeliver import Redelivery
from im.runtime.batches import Aside, Report, Work, deadline, serve_batch
from im.runtime.logs import log
from im.runtime.router import Context, Event
from im.store.conversations import entry_from


def deliver_batch(fan_out: FanOut, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Fan out the messages of one SQS event, all entries of one conversation at once. Never raises."""
    end = deadline(fan_out.rows.clock(), context)

    def where(batch: Sequence[Queued]) -> Report:
        seqs = [queued.entry.seq for queued in batch]
        return {"conv": batch[0].entry.conv, "only": batch[0].only, "first": min(seqs), "last": max(seqs)}

    def deliver(batch: Sequence[Queued]) -> Report:
        return asdict(fan_out.deliver(batch[0].entry.conv, batch, end))

    return serve_batch(event, context, aside, Work(queue.decode, lambda q: (q.entry.conv, q.only), where, deliver))


def push_parts(broadcast: Broadcast, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Push the parts of one SQS event. Never raises."""
    end = deadline(broadcast.clock(), context)

    def where(parts: Sequence[Part]) -> Report:
        seqs = [seq for part in parts for seq in part.seqs]
        return {"conv": parts[0].conv, "part": parts[0].number, "first": min(seqs), "last": max(seqs)}

    def push(parts: Sequence[Part]) -> Report:
        done = Pushed()
        for part in parts:
            done += broadcast.push_part(part, end)
        return done.counts()

    return serve_batch(event, context, aside, Work(part_queue.decode, lambda p: (p.conv, p.number, p.of), where, push))


@dataclass(frozen=True, slots=True)
class Express:
    """What serves the two queues of what overtakes: of its entries, and of the parts of its pushes to large groups."""

    fan_out: FanOut
    entries: Aside
    broadcast: Broadcast
    parts: Aside
    parts_queue: str
    """The name of the queue of the parts."""


def deliver_express(express: Express, event: Event, context: Context) -> dict[str, Any]:
    """Serve one SQS event of either queue: Lambda never mixes two in one. Never raises, once it knows which."""
    if queue_name(event["Records"][0]["eventSourceARN"]) == express.parts_queue:
        return push_parts(express.broadcast, express.parts, event, context)
    return deliver_batch(express.fan_out, express.entries, event, context)


def make_checks(redelivery: Redelivery, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Make the checks of one SQS event. Never raises."""
    end = deadline(redelivery.pusher.clock(), context)

    def where(checks: Sequence[Check]) -> Report:
        (one,) = checks
        seqs = {"first": one.seqs[0], "last": one.seqs[-1]}
        return {"conv": one.conv, **seqs, "round": one.round, "users": len(one.users)}

    def check(checks: Sequence[Check]) -> Report:
        (one,) = checks
        return redelivery.check(one, end).counts()

    return serve_batch(event, context, aside, Work(check_queue.decode, _alone, where, check))


def _alone(_: object) -> Hashable:
    return object()


def audit_records(auditor: Auditor, event: Event, context: Context) -> dict[str, Any]:
    """Audit the entries of one batch of stream records.

    Raises when they could not be queued: Lambda then brings the batch again, for a day, and nothing comes after it
    meanwhile. So what can never be queued is logged and left out.
    """
    entries: list[Entry] = []
    for record in event["Records"]:
        try:
            if record["eventName"] == "INSERT":
                entries.append(entry_from(record["dynamodb"]["NewImage"]))
        except Exception:  # noqa: BLE001 - whatever it is: no other entry may wait for it
            event_id = record.get("eventID") if isinstance(record, Mapping) else None
            log.exception("unreadable record", event_id=str(event_id), lambda_request_id=context.aws_request_id)
    try:
        auditor.audit(entries)
    except Exception:
        # Lambda prints what a handler raises as text, which no metric filter finds.
        log.exception("not audited", entries=len(entries), lambda_request_id=context.aws_request_id)
        raise
    log.info("audited", records=len(event["Records"]), entries=len(entries), lambda_request_id=context.aws_request_id)
    return {}
