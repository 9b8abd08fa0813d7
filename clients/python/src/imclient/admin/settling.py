"""Puts red packets into the queue of settlement, which makes good what has not moved: each movement is made once."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from imclient.admin.deployed import AwsRefusedError
from imclient.admin.ledger_items import packet_keys

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

PACKET_ID: Final = re.compile(r"rp[a-z2-7]{26}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Settling:
    """Of one stack."""

    sqs: SQSClient
    queue: str
    dynamodb: DynamoDBClient
    packets: str
    """The table of red packets."""

    def settle(self, packet: str) -> bool:
        """Queue a packet. False when there is no such packet: its message would become a dead letter. 1 R, 1 request.

        May be repeated: what has moved does not move again. Raises AwsRefusedError.
        """
        try:
            found = self.dynamodb.get_item(
                TableName=self.packets,
                Key=packet_keys(packet)[0],
                ConsistentRead=True,
                ProjectionExpression="pk",
            )
            if "Item" not in found:
                return False
            self.sqs.send_message(
                QueueUrl=self.queue,
                MessageBody=json.dumps({"v": 1, "packet": packet}, separators=(",", ":")),
                MessageGroupId=packet,
                # One of its own: SQS must not drop it as a repeat of what settlement itself has queued.
                MessageDeduplicationId=f"admin:{uuid.uuid4()}",
            )
        except (BotoCoreError, ClientError) as error:
            raise AwsRefusedError(str(error)) from error
        return True
