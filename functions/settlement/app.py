"""The stream of red packets, and the queue of those that could not be settled: money follows what they say."""

from __future__ import annotations

from typing import Any

from im.runtime import packet_wiring
from im.runtime.packet_records import settle_packets, settle_records
from im.runtime.router import Context, Event
from im.runtime.settings import Settings

settlement, aside = packet_wiring.settlement(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Settle one batch; tell SQS which messages to bring again."""
    if event["Records"][0]["eventSource"] == "aws:sqs":
        return settle_packets(settlement, aside, event, context)
    return settle_records(settlement, event, context)
