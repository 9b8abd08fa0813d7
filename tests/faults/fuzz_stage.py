"""Where bad input is played: a small world in the house, on tables in memory that are as strict as AWS.

Each input meets the world as it was built: `Stage.begin` puts everything back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from im.aws import clients
from im.aws.queue_messages import queue_name
from im.domain.ids import Cmid, ConvId, UserId
from im.domain.red_packet import packet_id
from tests.faults import aws_rules
from tests.integration import packet_books
from tests.integration.doubles import ConnectionApi, LastError
from tests.integration.house import START, Device, House, built_house, sample
from tests.integration.packet_stream import change_record
from tests.integration.packet_tables import PacketTables

Data = dict[str, Any]
Stored = dict[str, dict[str, dict[str, Any]]]

ROUTES = ("connect", "message", "sync", "group", "redpacket")
LARGE_ABOVE = 3
MINUTE = 60_000
DAY = 24 * 60 * MINUTE
OPENING = 100_000
"""What a new wallet starts with."""


@dataclass
class Queues:
    """An SQS client: what has been sent, by queue."""

    sent: dict[str, list[Data]] = field(default_factory=dict)
    retried: list[tuple[str, list[str]]] = field(default_factory=list)
    """The receipts of what is to come again soon, by queue."""

    def send_message(self, *, QueueUrl: str, **message: Any) -> Data:  # noqa: N803
        self.sent.setdefault(QueueUrl, []).append(message)
        return {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Data]) -> Data:  # noqa: N803
        out: Data = {"Successful": [], "Failed": []}
        for entry in Entries:
            try:
                aws_rules.message(entry)
            except aws_rules.Refused:
                out["Failed"].append({"Id": entry["Id"], "SenderFault": True, "Code": "InvalidParameterValue"})
            else:
                self.send_message(QueueUrl=QueueUrl, **entry)
                out["Successful"].append({"Id": entry["Id"]})
        return out

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[Data]) -> Data:  # noqa: N803
        self.retried.append((QueueUrl, [entry["ReceiptHandle"] for entry in Entries]))
        return {}

    def clear(self) -> None:
        """Forget everything."""
        self.sent.clear()
        self.retried.clear()

    def take(self, url: str) -> list[Data]:
        """The bodies that a queue holds, as records of a function's event; it is empty then."""
        return [
            record(message["MessageBody"], f"m{i}", message.get("MessageGroupId"), queue=queue_name(url))
            for i, message in enumerate(self.sent.pop(url, []))
        ]


CONVERSATION_TABLE = "ConversationTable"
PACKET_TABLE = "RedPacketTable"
SHAPE = sample("fanout")["Records"][0]
IMAGE = sample("audit")["Records"][0]
PING = sample("ping")


def record(body: Any, message_id: str, group: str | None = None, receives: int = 1, queue: str = "fanout.fifo") -> Data:
    """A record of an SQS event, in a message group of its own unless `group` says which."""
    attributes = {"MessageGroupId": group or message_id, "ApproximateReceiveCount": str(receives)}
    return SHAPE | {
        "messageId": message_id,
        "receiptHandle": f"receipt of {message_id}",
        "body": body,
        "attributes": SHAPE["attributes"] | attributes,
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
    }


def image(item: Data) -> Data:
    """A record of the stream."""
    return IMAGE | {"dynamodb": IMAGE["dynamodb"] | {"NewImage": item}}


@dataclass(repr=False)
class Stage:
    """The house with the world in it."""

    house: House
    tables: PacketTables
    queues: Queues
    errors: LastError
    world: Stored = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    """By the name of the user; the second one of `bob` is `bob's other`."""
    played: int = 0
    """Inputs since the stage was built."""

    def begin(self) -> None:
        """Make it as if nothing had happened since the world was built."""
        if self.changed():
            self.tables.tables = copied(self.world)
            for name in ("message", "sync", "group", "redpacket"):
                self.house.load(name)  # what they remember is of groups that never were
        self.queues.clear()
        self.errors.error = None
        self.house.now = START + MINUTE
        self.house.devices = {device.connection: device for device in self.devices.values()}
        for device in self.devices.values():
            device.closed = False
            device.pushes.clear()
        self.played += 1

    def changed(self) -> bool:
        """Whether anything in the tables is not as it was built."""
        return {name: rows for name, rows in filled(self.tables.tables).items() if rows} != self.world

    def told(self) -> dict[str, list[Data]]:
        """The pushes since `begin`, by device."""
        return {name: device.pushes for name, device in self.devices.items() if device.pushes}

    def send(self, device: Device, text: Any, function: str | None = None) -> str:
        """One text frame as API Gateway brings it; the text of its one reply, by whichever way it came."""
        route = route_of(text)
        event = PING | {"body": text}
        event["requestContext"] = PING["requestContext"] | device._context() | {"routeKey": route}
        pushed = len(device.pushes)
        answer = self.house.call(function or (route if route in ROUTES else "connect"), event)
        assert set(answer) == {"statusCode", "body"}
        assert answer["statusCode"] == 200
        replies = [dumped(frame) for frame in device.pushes[pushed:] if "id" in frame]
        device.pushes[pushed:] = [frame for frame in device.pushes[pushed:] if "id" not in frame]
        replies += [answer["body"]] if answer["body"] else []
        assert len(replies) == 1, f"{len(replies)} replies"
        return str(replies[0])

    def settle(self) -> None:
        """Let the functions have all that is queued, and the auditor and settlement all that is new. Nothing of it may
        fail."""
        if new := self.new_entries():
            self.house.call("audit", {"Records": [image(item) for item in new]})
        if changes := self.packet_changes():
            self.house.call("settlement", {"Records": [change_record(*images) for images in changes]})
        for _ in range(10):
            batches = [(name, self.queues.take(url)) for name, url in self.fed_by()]
            for name, records in batches:
                for at in range(0, len(records), 10):
                    answer = self.house.call(name, {"Records": records[at : at + 10]})
                    assert answer == {"batchItemFailures": []}
            if not any(records for _, records in batches):
                assert self.errors.error is None, self.errors.error
                assert not self.queues.sent, "dead letters"
                return
        raise AssertionError("the queues do not get empty")

    def fed_by(self) -> list[tuple[str, str]]:
        """The functions that queues feed, each with the URL of a queue."""
        return [
            ("fanout", self.house.queue_url),
            ("broadcast", self.house.parts_url),
            ("express", self.house.express_url),
            ("express", self.house.express_parts_url),
            ("redelivery", self.house.checks_url),
        ]

    def packet_changes(self) -> list[tuple[Data, Data]]:
        """The packets that have changed since the world was built, before and after; of a new one, as it began."""
        before = self.world.get(PACKET_TABLE, {})
        out = []
        for packet, items in self.tables.tables.get(PACKET_TABLE, {}).items():
            now, was = items.get("META"), before.get(packet, {}).get("META")
            if now is not None and now != was:
                begun = {"state": {"S": "new"}, "claimers": {"L": []}, "times": {"L": []}}
                out.append(
                    (was or {k: v for k, v in now.items() if k not in {"seq", "opened", "expires"}} | begun, now)
                )
        return out

    def give_up(self) -> None:
        """Minutes go by: packets that have no message yet end, and their money goes back."""
        self.house.now += 10 * MINUTE
        self.house.call("expiry", sample("expiry"))
        self.settle()

    def books(self) -> packet_books.Books:
        """The books of all money."""
        return packet_books.read(self.tables.items(PACKET_TABLE), self.tables.items("WalletTable"))

    def new_entries(self) -> list[Data]:
        """The entries that have been stored since the world was built."""
        before = self.world.get(CONVERSATION_TABLE, {})
        return [
            item
            for conv, items in self.tables.tables[CONVERSATION_TABLE].items()
            for name, item in items.items()
            if name.startswith("MSG#") and name not in before.get(conv, {})
        ]


def copied(stored: Stored) -> Stored:
    """The same items, in tables that may change."""
    return {table: {pk: dict(items) for pk, items in rows.items()} for table, rows in stored.items()}


def filled(stored: Stored) -> Stored:
    """Without partitions that somebody has only looked for something in."""
    return {table: {pk: items for pk, items in rows.items() if items} for table, rows in stored.items()}


def dumped(value: object) -> str:
    """JSON as the server writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def route_of(text: Any) -> str:
    """Where API Gateway brings a frame: `$request.body.route`."""
    try:
        route = json.loads(text)["route"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "$default"
    return route if isinstance(route, str) and route in ROUTES else "$default"


@contextmanager
def built_stage(**environment: str) -> Iterator[Stage]:
    """A stage whose world is built."""
    limits = {"LARGE_GROUP_ABOVE": str(LARGE_ABOVE)}
    with pytest.MonkeyPatch.context() as patch, built_house(patch, **limits | environment) as house:
        tables, queues, errors = PacketTables(), Queues(), LastError(logging.ERROR)
        stage = Stage(house, tables, queues, errors)
        strict = {
            "dynamodb": aws_rules.Strict(tables, aws_rules.dynamodb),
            "sqs": aws_rules.Strict(queues, aws_rules.sqs),
            "connections": aws_rules.Strict(ConnectionApi(house), aws_rules.connection_api),
        }
        patch.setattr(clients, "dynamodb", lambda: strict["dynamodb"])
        patch.setattr(clients, "sqs", lambda: strict["sqs"])
        patch.setattr(clients, "connections", lambda _: strict["connections"])
        log = logging.getLogger("im")
        patch.setattr(log, "handlers", [errors])
        patch.setattr(log, "propagate", False)
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            for name in house.apps:
                house.load(name)
            build_world(stage)
            yield stage
        finally:
            log.setLevel(level)


# ---- the world -------------------------------------------------------------------------------------------------------

USERS = ("alice", "bob", "carol", "dave", "erin")
CONVERSATIONS = ("d:alice:bob", "g:club", "g:open", "g:left", "g:large", "g:gone")


def build_world(stage: Stage) -> None:
    """Five people; a direct conversation with messages of every state; groups of every kind to everybody; packets."""
    house = stage.house
    house.now = START
    for user in USERS:
        stage.devices[user] = house.connect(user)
    stage.devices["bob's other"] = house.connect("bob", "d2", "ios")
    alice, bob, carol, dave = (stage.devices[user] for user in USERS[:4])
    direct: Mapping[str, str] = {"conv": "d:alice:bob"}
    for i in range(3):
        alice.say(f"a{i}", f"a{i}", to="bob")
        bob.say(f"b{i}", f"b{i}", to="alice")
    alice.ok("message.edit", direct | {"seq": 1, "body": {"text": "edited"}})
    alice.ok("message.recall", direct | {"seq": 3})
    bob.ok("message.react", direct | {"seq": 1, "emoji": "👍", "on": True})
    bob.ok("message.pin", direct | {"seq": 5, "on": True})
    custom = {"kind": "custom", "body": {"type": "x", "payload": {"a": [1, None]}}}
    alice.ok("message.send", direct | {"cmid": "custom"} | custom)
    bob.ok("message.send", direct | {"cmid": "re", "kind": "text", "body": {"text": "re"}, "reply_to": 1})
    for gid, owner, members, more in (
        ("club", alice, ["bob", "carol"], {"join_mode": "approval", "history": True}),
        ("open", bob, [], {"join_mode": "open"}),
        ("left", bob, ["alice"], {}),
        ("large", bob, ["alice", "carol", "dave", "erin"], {}),
        ("gone", carol, ["alice"], {}),
    ):
        owner.ok("group.create", {"gid": gid, "name": gid, "members": members} | more)
        owner.say("hello", f"{gid}1", conv=f"g:{gid}")
        owner.say("and", f"{gid}2", conv=f"g:{gid}")
    dave.ok("group.join", {"conv": "g:club", "note": "please"})
    alice.say("mine", "club3", conv="g:club")
    alice.ok("group.leave", {"conv": "g:left"})
    carol.ok("group.dissolve", {"conv": "g:gone"})
    stage.settle()
    build_packets(stage)
    stage.world = copied(filled(stage.tables.tables))


def build_packets(stage: Stage) -> None:
    """Red packets of every state; the direct ones in a conversation that is about nothing else."""
    alice, bob, carol = (stage.devices[user] for user in USERS[:3])
    stage.house.now = START - 2 * DAY
    over = {"conv": "d:alice:carol", "cmid": "over", "kind": "direct", "total": 6}
    assert alice.ok("redpacket.create", over)["packet"] == PACKETS["over"]
    stage.settle()
    stage.house.now = START
    stage.house.call("expiry", sample("expiry"))
    stage.settle()
    for name, kind, count, claimers in (
        ("lucky", "lucky", 3, (bob,)),
        ("equal", "equal", 3, (carol, alice)),
        ("sold out", "lucky", 2, (bob, carol)),
    ):
        data = {"conv": "g:club", "cmid": name, "kind": kind, "total": 6, "count": count}
        assert alice.ok("redpacket.create", data)["packet"] == PACKETS[name]
        for claimer in claimers:
            claimer.ok("redpacket.claim", {"packet": PACKETS[name]})
    for name, more in (("direct", {"conv": "d:alice:carol"}), ("exclusive", {"conv": "g:club", "to": "bob"})):
        data = {"cmid": name, "kind": "direct", "total": 6} | more
        assert alice.ok("redpacket.create", data)["packet"] == PACKETS[name]
    stage.settle()


PACKETS = {
    name: packet_id(ConvId(conv), UserId("alice"), Cmid(name))
    for conv, names in {
        "g:club": ("lucky", "equal", "sold out", "exclusive"),
        "d:alice:carol": ("direct", "over"),
    }.items()
    for name in names
}
"""All of them Alice's, by what is special about them."""
