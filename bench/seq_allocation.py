"""How should an entry get its seq: from a counter beside the log, or from the log itself?

Both ways append the same messages to one conversation on the emulated cloud, with 1 to 20 senders at once, each sending
its next message when the last is stored: no chat is that busy. Counted are DynamoDB requests, which follow one another,
and the units AWS would bill for them (items are below 1 KiB: a write is 1 W whether its condition holds or not, and a
Query is ½ R, or 1 R when consistent). Then a part of all calls dies right after its effect and nobody tries again:
how many seqs have no entry? No time is measured: the emulator's Query reads a whole conversation, DynamoDB's does not.

    .venv/bin/python -m bench.seq_allocation --endpoint http://127.0.0.1:4566
"""

from __future__ import annotations

import argparse
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from im.domain.entries import Draft, Tail
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.flows.append import Appender
from im.store.conversations import ConversationStore

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MESSAGES = 200
ROUNDS = (1, 2, 5, 10, 20)
SEED = 20261121

Append = Callable[[Draft], Seq]
Make = Callable[["DynamoDBClient", str], Append]


class Meter:
    """Counts requests and units of a client."""

    def __init__(self, client: DynamoDBClient) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.write_units = 0.0
        self.read_units = 0.0
        client.meta.events.register("provide-client-params.dynamodb", self._count)

    def _count(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        with self._lock:
            self.requests[model.name] += 1
            if model.name in {"PutItem", "UpdateItem"}:
                self.write_units += 1
            else:
                self.read_units += 1 if params.get("ConsistentRead") else 0.5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def from_the_log(client: DynamoDBClient, table: str) -> Append:
    """As the product does it."""
    appender = Appender(ConversationStore(client, table), now_ms)
    return lambda draft: appender.append(draft).entry.seq


def from_a_counter(client: DynamoDBClient, table: str) -> Append:
    """The alternative: count first, then note the cmid, then store."""
    store = ConversationStore(client, table)

    def append(draft: Draft) -> Seq:
        out = client.update_item(
            TableName=table,
            Key={"pk": {"S": draft.conv}, "sk": {"S": "COUNTER"}},
            UpdateExpression="ADD last_seq :one, last_n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )["Attributes"]
        seq = Seq(int(out["last_seq"]["N"]))
        store.claim_cmid(draft.conv, draft.sender, draft.cmid or Cmid(""), seq, now_ms() // 1000)
        entry = draft.following(Tail(Seq(seq - 1), int(out["last_n"]["N"]) - 1, Seq(0), Seq(0)), now_ms())
        if store.append(entry) is not None:
            raise SystemExit(f"seq {seq} was given twice")
        return seq

    return append


@contextmanager
def conversation_table(client: DynamoDBClient) -> Iterator[str]:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    try:
        yield name
    finally:
        client.delete_table(TableName=name)


class Died(Exception):
    """A function ends right after a call took effect."""


def run(make: Make, endpoint: str, senders: int, deaths: float = 0.0) -> tuple[Meter, int]:
    """Play one round. Returns what it cost and how many seqs below the highest have no entry."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulated cloud's
        config=Config(max_pool_connections=64),
    )
    chance = random.Random(SEED)
    conv = ConvId("g:bench")

    def die(**_: Any) -> None:
        if chance.random() < deaths:
            raise Died

    with conversation_table(client) as table:
        meter = Meter(client)
        append = make(client, table)

        def talk(sender: int) -> None:
            for i in range(MESSAGES // senders):
                draft = Draft(conv, "text", UserId(f"user{sender}"), '{"text":"hello"}', Cmid(str(i)))
                with suppress(Died):
                    append(draft)

        client.meta.events.register("after-call.dynamodb", die)
        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(talk, range(senders)))
        client.meta.events.unregister("after-call.dynamodb", die)
        page = client.query(
            TableName=table,
            KeyConditionExpression="pk = :conv AND begins_with(sk, :entries)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":entries": {"S": "MSG#"}},
        )["Items"]
    return meter, int(page[-1]["seq"]["N"]) - len(page)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--endpoint", default="http://127.0.0.1:4566", help="an emulated cloud on this machine")
    endpoint = parser.parse_args().endpoint
    print(f"{MESSAGES} messages to one conversation: a message costs")
    print(f"{'senders':>8}   {'a counter':<30}the log itself")
    for senders in ROUNDS:
        cells = []
        for make in (from_a_counter, from_the_log):
            meter, holes = run(make, endpoint, senders)
            if holes:
                raise SystemExit(f"{make.__name__} left {holes} holes")
            calls, w, r = (x / MESSAGES for x in (meter.requests.total(), meter.write_units, meter.read_units))
            cells.append(f"{calls:5.2f} calls {w:5.2f} W {r:5.2f} R")
        print(f"{senders:>8}   {cells[0]:<30}{cells[1]}")
    left = [run(make, endpoint, 5, deaths=0.1)[1] for make in (from_a_counter, from_the_log)]
    print(
        f"10 % of calls die after their effect (seed {SEED}): holes left by a counter {left[0]}, by the log {left[1]}"
    )


if __name__ == "__main__":
    main()
