"""What the house needs for red packets: the stream of their table, settlement's queue, and the clock that ends them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.integration.samples import sample

if TYPE_CHECKING:
    from tests.integration.house import Call, House

TABLE = "RedPacketTable"

Item = dict[str, Any]
Images = tuple[Item, Item]


class PacketStream:
    """The records of changed packets that settlement has not had yet."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.newest: dict[str, Item] = {}
        """What the stream knows of each packet, by its id."""
        self.records: list[Images] = []
        """Packets before and after a write, in the order of the writes."""
        self.queue_url = ""

    def note(self, call: Call) -> None:
        """A call has had its effect: its packet's images go into the stream, as those of MODIFY records."""
        for key in _packet_keys(call):
            found = self._house.dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True)
            if "Item" not in found:
                continue
            packet, item = key["pk"]["S"], copy.deepcopy(found["Item"])
            before = self.newest.get(packet)
            if before is not None and before != item:
                self.records.append((before, item))
            self.newest[packet] = item

    def settle(self) -> None:
        """Let settlement have the stream, then its queue until that is empty."""
        self.follow()
        self.settle_queue()

    def follow(self, batch: int = 100) -> None:
        """Let settlement have the stream; what raises stays in it."""
        while self.records:
            some = self.records[:batch]
            self._house.call("settlement", {"Records": [change_record(*images) for images in some]})
            del self.records[: len(some)]

    def settle_queue(self) -> None:
        """Let settlement empty its queue; what it reports as failed comes again at once."""
        for _ in range(200):
            if not self.settle_next():
                return
        raise AssertionError("the settlement queue does not get empty")

    def settle_next(self) -> bool:
        """Let settlement have the next message of its queue; False when there is none."""
        record = self.take()
        if record is not None:
            self.deliver(record)
        return record is not None

    def take(self) -> Item | None:
        """The next message of settlement's queue as its event would hold it. It stays there until `deliver`."""
        out = self._house.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=1, AttributeNames=["All"], VisibilityTimeout=0
        )
        for message in out.get("Messages", []):
            return dict(sample("settlement_queue")["Records"][0]) | {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
        return None

    def deliver(self, record: Item) -> bool:
        """Let settlement have a message; whether it is done with it, which deletes it."""
        done = not self._house.call("settlement", {"Records": [record]})["batchItemFailures"]
        if done:
            self._house.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=record["receiptHandle"])
        return done

    def sweep(self) -> None:
        """A minute is over: packets that are due end."""
        self._house.call("expiry", sample("expiry"))


def _packet_keys(call: Call) -> list[Mapping[str, Any]]:
    writes = [next(iter(part.values())) for part in call.params.get("TransactItems", [])]
    if call.operation in {"PutItem", "UpdateItem"}:
        writes = [call.params]
    keys = [write.get("Key") or write.get("Item") or {} for write in writes if write.get("TableName") == TABLE]
    return [{"pk": key["pk"], "sk": key["sk"]} for key in keys if key["sk"] == {"S": "META"}]


def change_record(before: Item, after: Item) -> Item:
    """A record of the stream: a packet has changed."""
    shape: Item = sample("settlement")["Records"][0]
    keys = {"pk": after["pk"], "sk": after["sk"]}
    return shape | {"dynamodb": shape["dynamodb"] | {"Keys": keys, "OldImage": before, "NewImage": after}}
