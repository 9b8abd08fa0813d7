"""The queue of red packets that are to be settled from the tables: SQS FIFO, one message group a packet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from im.aws.queue_messages import UnreadableMessage, message_of, reading, short
from im.domain.red_packet import PACKET_ID, PacketId

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SettlementQueue:
    """The queue at `url`."""

    client: SQSClient
    url: str

    def put(self, packet: PacketId, what: str) -> None:
        """Queue a packet; returns once it is safe there. 1 request.

        `what` names the state of it that is to be settled: SQS drops a repeat of that within five minutes.
        """
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=json.dumps({"v": VERSION, "packet": packet}, separators=(",", ":")),
            MessageGroupId=packet,
            MessageDeduplicationId=short(f"{packet}:{what}"),
        )


def decode(body: str) -> PacketId:
    """The packet of a queue message. Raises UnreadableMessage, NewerMessage."""
    with reading():
        packet = str(message_of(body, VERSION)["packet"])
    if not PACKET_ID.fullmatch(packet):
        raise UnreadableMessage("no such packet")
    return PacketId(packet)
