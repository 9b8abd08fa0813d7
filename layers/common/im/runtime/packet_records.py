"""From the stream of red packets and the queue of those that failed to their settlement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from im.aws import settlement_queue
from im.domain.red_packet import PACKET_ID, PacketId
from im.flows.settle import PacketChange, Settlement
from im.runtime.batches import START_MS, Aside, Report, Work, serve_batch
from im.runtime.logs import log
from im.runtime.router import Context, Event
from im.store.packets import packet_from

STREAM_MS: Final = 20_000
"""How long a batch of the stream tries. A payment system that hangs must not hold up the records behind: the queue has
the patience."""


def settle_records(settlement: Settlement, event: Event, context: Context) -> dict[str, Any]:
    """Settle the packets of one batch of stream records.

    Raises when what failed could not be queued: Lambda then brings the batch again, for a day, and nothing comes after
    it meanwhile. So what can never be read is logged and left out: `im admin audit` finds its packet.
    """
    changes: list[PacketChange] = []
    for record in event["Records"]:
        try:
            changes.append(_change_in(record["dynamodb"]))
        except Exception:  # noqa: BLE001 - whatever it is: no other packet may wait for it
            event_id = record.get("eventID") if isinstance(record, Mapping) else None
            log.exception("unreadable record", event_id=str(event_id), lambda_request_id=context.aws_request_id)
    try:
        end = min(_deadline(settlement, context), settlement.clock() + STREAM_MS)
        done = settlement.follow(changes, end)
    except Exception:
        # Lambda prints what a handler raises as text, which no metric filter finds.
        log.exception("not settled", records=len(changes), lambda_request_id=context.aws_request_id)
        raise
    log.info("settled", records=len(event["Records"]), lambda_request_id=context.aws_request_id, **done)
    return {}


def _change_in(images: Mapping[str, Any]) -> PacketChange:
    """What a record says. Raises whatever it is when nobody can read it, or settlement's queue could not take it."""
    change = PacketChange(packet_from(images["OldImage"]), packet_from(images["NewImage"]))
    if not PACKET_ID.fullmatch(change.after.terms.packet):
        raise ValueError("no id of a red packet")
    return change


def settle_packets(settlement: Settlement, aside: Aside, event: Event, context: Context) -> dict[str, Any]:
    """Settle the packets of one SQS event from the tables. Never raises."""
    end = _deadline(settlement, context)

    def where(packets: Sequence[PacketId]) -> Report:
        return {"packet": packets[0]}

    def settle(packets: Sequence[PacketId]) -> Report:
        return asdict(settlement.settle(packets[0], end))

    return serve_batch(event, context, aside, Work(settlement_queue.decode, lambda name: name, where, settle))


def _deadline(settlement: Settlement, context: Context) -> int:
    """When the last movement of money begins: it, its note and a message to the queue may each take as long as any call
    with its retries."""
    return settlement.clock() + context.get_remaining_time_in_millis() - 3 * START_MS
