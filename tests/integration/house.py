"""The whole backend in one process: the real functions on moto's tables and queue, driven frame by frame.

Tables and queue are made from template.yaml, events from events/. Ours are: the connection API, which moto does not
model (it accepts pushes to connections that never were); the time between queue and fan-out, which a test chooses by
calling `fan_out`; the clock, `now`. Every AWS call of a function passes `House.calls`, `before` and `after`.

moto is not AWS: two threads can both pass one condition there. So one thing happens at a time: the fan-out's threads
are replaced by one, and races are played by taking turns (turns.py). tests/e2e has threads.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote

import boto3
import pytest
import yaml
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from moto.dynamodb import models as moto_dynamodb
from moto.dynamodb import responses as moto_responses
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.sqs import models as moto_sqs

from im.aws import clients
from im.domain.entries import COUNTABLE
from im.flows.append import Appender
from im.flows.changes import Changes
from im.flows.message_changes import MessageChanges
from im.runtime import packet_wiring, wiring
from tests.integration import quick_moto
from tests.integration.packet_stream import PacketStream
from tests.integration.samples import sample

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = (
    "authorizer",
    "connect",
    "message",
    "sync",
    "group",
    "fanout",
    "broadcast",
    "express",
    "redelivery",
    "audit",
    "redpacket",
    "settlement",
    "expiry",
)
REGION = "eu-central-1"
ENDPOINT = f"https://a1b2c3d4e5.execute-api.{REGION}.amazonaws.com/v1"
START = 1_763_717_400_000
"""When every house is built, milliseconds since the epoch."""

quick_moto.load()

real_connections = clients.connections
real_clients = {"dynamodb": clients.dynamodb, "sqs": clients.sqs, "secretsmanager": clients.secrets}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as plain values."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, _suffix, node: (
        loader.construct_scalar(node)
        if isinstance(node, yaml.ScalarNode)
        else loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping(node, deep=True)
    ),
)


@cache
def template() -> dict[str, Any]:
    """template.yaml as data."""
    return dict(yaml.load((ROOT / "template.yaml").read_text(), _Loader))  # noqa: S506 - a safe loader


@cache
def timeout_ms(function: str) -> int:
    """How long a function of functions/<function> may go on."""
    (own,) = (
        resource["Properties"]
        for resource in template()["Resources"].values()
        if resource.get("Properties", {}).get("CodeUri") == f"functions/{function}"
    )
    return 1000 * int(own.get("Timeout", template()["Globals"]["Function"]["Timeout"]))


@dataclass
class Context:
    """Lambda's context."""

    aws_request_id: str = "req-1"
    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:test"
    remaining: int = 25_000

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may go on."""
        return self.remaining


class Crash(BaseException):
    """A function's process ends: no handler of the product sees this."""


@dataclass(frozen=True)
class Call:
    """One AWS call of a function."""

    function: str
    service: str
    operation: str
    params: dict[str, Any]

    @property
    def action(self) -> str:
        """As IAM policies name it."""
        return f"{self.service}:{self.operation}"

    @property
    def sort_key(self) -> str:
        """The sort key of the item that the call writes or reads; empty without one."""
        key = self.params.get("Item") or self.params.get("Key") or {}
        return str(key.get("sk", {}).get("S", ""))

    @property
    def user(self) -> str:
        """Whose row or connections the call writes or reads."""
        key = self.params.get("Item") or self.params.get("Key") or {}
        return str(key.get("pk", {}).get("S", ""))


Before = Callable[[Call], None]
After = Callable[[Call, dict[str, Any]], None]


class _OneByOne(Executor):
    """Runs everything at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as e:  # noqa: BLE001 - as a pool does: it is raised where the result is asked for
            future.set_exception(e)
        return future


def _one_by_one(*_: object, **__: object) -> Executor:
    """In place of a thread pool."""
    return _OneByOne()


@dataclass
class Device:
    """One open connection, as its client sees it."""

    house: House
    user: str
    device: str
    platform: str
    connection: str
    pushes: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    asked: int = 0
    """When it knocked, milliseconds since the epoch."""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request `route.op`; its reply, with the id checked."""
        route, _, name = op.partition(".")
        request_id = f"r{next(self._ids)}"
        frame = {"route": route, "op": name, "id": request_id, "data": data or {}}
        reply = self.raw(json.dumps(frame, ensure_ascii=False))
        assert reply["id"] == request_id
        return reply

    def ok(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a reply that must be a success."""
        reply = self.ask(op, data)
        assert reply["ok"], reply
        return dict(reply["data"])

    def error(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The error of a reply that must be a refusal."""
        reply = self.ask(op, data)
        assert not reply["ok"], reply
        return dict(reply["error"])

    def raw(self, body: str) -> dict[str, Any]:
        """Send one text frame as API Gateway routes it; the one reply."""
        try:
            route = json.loads(body)["route"]
        except (ValueError, TypeError, KeyError, RecursionError):
            route = "$default"
        route = route if isinstance(route, str) else "$default"
        function = route if route in {"message", "sync", "group", "redpacket"} else "connect"
        event = sample("ping")
        event["requestContext"] |= self._context() | {"routeKey": route}
        event["body"] = body
        pushed = len(self.pushes)
        response = self.house.call(function, event)
        assert response["statusCode"] == 200
        replies = [frame for frame in self.pushes[pushed:] if "id" in frame]
        if response["body"]:
            replies.append(json.loads(response["body"]))
        (reply,) = replies  # exactly one, by whichever way
        self.pushes[pushed:] = [frame for frame in self.pushes[pushed:] if "id" not in frame]
        return dict(reply)

    def say(self, text: str, cmid: str, **where: Any) -> dict[str, Any]:
        """message.send of a text; the data of the reply."""
        return self.ok("message.send", {"cmid": cmid, "kind": "text", "body": {"text": text}, **where})

    def hang_up(self) -> None:
        """The connection ends and API Gateway says so."""
        self.closed = True
        event = sample("disconnect")
        event["requestContext"] |= self._context()
        self.house.call("connect", event)

    def seen(self, conv: str | None = None) -> list[int]:
        """The seqs of all entries pushed so far, in order of arrival."""
        return [
            entry["seq"]
            for push in self.pushes
            if push["push"] == "entries" and conv in {None, push["data"]["conv"]}
            for entry in push["data"]["entries"]
        ]

    def got(self, name: str) -> list[dict[str, Any]]:
        """The data of all pushes of one name."""
        return [push["data"] for push in self.pushes if push["push"] == name]

    def _context(self) -> dict[str, Any]:
        identity = {"principalId": self.user, "user": self.user, "device": self.device, "platform": self.platform}
        return {"connectionId": self.connection, "connectedAt": self.asked, "authorizer": identity}


class House:
    """The backend."""

    def __init__(self) -> None:
        self.dynamodb = _own_client("dynamodb")
        self.sqs = _own_client("sqs")
        self.secrets = _own_client("secretsmanager")
        self.devices: dict[str, Device] = {}
        self.apps: dict[str, ModuleType] = {}
        self.queue_url = ""
        self.parts_url = ""
        self.express_url = ""
        self.express_parts_url = ""
        self.checks_url = ""
        self.dead_url = ""
        self.now = START
        self.packets = PacketStream(self)
        self.queued: dict[tuple[str, str | None, str | None], int] = {}
        """When each FIFO queue got what, by group and deduplication id."""
        self.stream: list[dict[str, Any]] = []
        """Images of the entries that were stored and not yet audited."""
        self.checks: list[tuple[int, str]] = []
        """When each check is due, and what it says."""
        self.retries: list[tuple[str, int]] = []
        """Which messages failed, by receipt handle, and after how many seconds AWS brings them again; here, at once."""
        self.calls: list[Call] = []
        self.before: Before | None = None
        """Told of every AWS call of a function before it has its effect; what it raises, the call raises."""
        self.after: After | None = None
        """Told of every AWS call after its effect, with the answer, which it may change."""
        self._numbers = itertools.count(1)
        self._loading = ""

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function; its result goes through JSON as on Lambda."""
        event = json.loads(json.dumps(event))
        context = Context(remaining=timeout_ms(function))
        return dict(json.loads(json.dumps(self.apps[function].handler(event, context))))

    def pause(self, seconds: float) -> None:
        """A function waits: the clock goes on, the test does not."""
        self.now += round(seconds * 1000)

    def connect(self, user: str, device: str = "d1", platform: str = "web") -> Device:
        """Open a connection whose token has been accepted; closed when `$connect` refuses it."""
        opened = self.knock(user, device, platform)
        assert not opened.closed
        return opened

    def knock(self, user: str, device: str = "d1", platform: str = "web") -> Device:
        """As `connect`, for a connection that may be refused: it is closed then.

        It can be reached once its `$connect` has returned and not before, as on AWS.
        """
        connection = f"conn-{next(self._numbers)}="
        opened = Device(self, user, device, platform, connection, asked=self.now)
        event = sample("connect")
        event["requestContext"] |= opened._context()
        answer = self.call("connect", event)
        if answer == {"statusCode": 200}:
            self.devices[connection] = opened
        else:
            assert answer["statusCode"] >= 400
            opened.closed = True
        return opened

    def load(self, name: str) -> Any:
        """A function as at a cold start: its module, with what it made in the old one forgotten."""
        self._loading = name
        app: Any = load_function(name)
        self.apps[name] = app
        return app

    @contextmanager
    def watched(self, *, before: Before | None = None, after: After | None = None) -> Iterator[list[Call]]:
        """Tell `before` and `after` of the AWS calls made inside; yields the list that they are noted in."""
        outer = self.before, self.after
        start = len(self.calls)
        self.before, self.after = before, after
        seen: list[Call] = []
        try:
            yield seen
        finally:
            self.before, self.after = outer
            seen += self.calls[start:]

    def fan_out(self, batch: int = 10) -> None:
        """Let the fan-out empty its queues, that of red packets too; what it reports as failed comes again at once."""
        queues = [(parts, express) for express in (True, False) for parts in (False, True)]
        for _ in range(1000):
            taken = [self.take(batch, parts=parts, express=express) for parts, express in queues]
            for (parts, express), records in zip(queues, taken, strict=True):
                if records:
                    self.deliver(records, parts=parts, express=express)
            if not any(taken):
                return
        raise AssertionError("the queue does not get empty")

    def take(self, batch: int = 10, *, parts: bool = False, express: bool = False) -> list[dict[str, Any]]:
        """The next records as the function's event would hold them. They stay in the queue until `deliver`.

        Of the express queues one, whatever `batch` says: their function gets no more at once.
        """
        url = self._fed_from(parts=parts, express=express)
        out = self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=1 if express else batch,
            AttributeNames=["All"],
            VisibilityTimeout=0,
        )
        shape = sample("broadcast" if parts else "fanout")["Records"][0]
        return [
            {
                **copy.deepcopy(shape),
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{url.split('/')[-1]}",
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in out.get("Messages", [])
        ]

    def deliver(self, records: list[dict[str, Any]], *, parts: bool = False, express: bool = False) -> list[str]:
        """Invoke the fan-out with `records`, delete what it did, return the ids of what it reports as failed."""
        function = "express" if express else "broadcast" if parts else "fanout"
        result = self.call(function, {"Records": records})
        url = self._fed_from(parts=parts, express=express)
        failed = {item["itemIdentifier"] for item in result["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in failed:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
        return sorted(failed)

    def _fed_from(self, *, parts: bool, express: bool) -> str:
        if express:
            return self.express_parts_url if parts else self.express_url
        return self.parts_url if parts else self.queue_url

    def audit(self) -> None:
        """Let the auditor have the stream; what it could not queue stays in it."""
        shape = sample("audit")["Records"][0]
        images, self.stream[:] = list(self.stream), []
        if not images:
            return
        records = [
            copy.deepcopy(shape)
            | {
                "dynamodb": shape["dynamodb"]
                | {"Keys": {name: image[name] for name in ("pk", "sk")}, "NewImage": image}
            }
            for image in images
        ]
        try:
            self.call("audit", {"Records": records})
        except BaseException:
            self.stream[:0] = images
            raise

    def redeliver(self) -> None:
        """Let time pass until every check was made; what fails is made again."""
        for _ in range(1000):
            if not self.checks:
                return
            self.make_next_check()
        raise AssertionError("the checks do not end")

    def make_next_check(self) -> None:
        """Let time pass until the next check is due, and make it; it stays when it fails."""
        self.checks.sort(key=lambda check: check[0])
        due, body = self.checks[0]
        self.now = max(self.now, due)
        record = copy.deepcopy(sample("redelivery")["Records"][0]) | {"body": body}
        if not self.call("redelivery", {"Records": [record]})["batchItemFailures"]:
            self.checks.remove((due, body))

    def dead(self) -> list[dict[str, Any]]:
        """The messages in the dead-letter queue. They stay there."""
        out = self.sqs.receive_message(
            QueueUrl=self.dead_url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
        )
        return cast("list[dict[str, Any]]", out.get("Messages", []))

    def log(self, conv: str) -> list[dict[str, Any]]:
        """The whole log of a conversation as it is stored, checked: seq 1, 2, 3 …, `n` counts, one entry a `cmid`."""
        out = self.dynamodb.query(
            TableName="ConversationTable",
            KeyConditionExpression="pk = :conv AND begins_with(sk, :entries)",
            ExpressionAttributeValues={":conv": {"S": conv}, ":entries": {"S": "MSG#"}},
        )
        entries = [{name: next(iter(value.values())) for name, value in item.items()} for item in out["Items"]]
        n = 0
        for i, entry in enumerate(entries):
            n += entry["kind"] in COUNTABLE
            assert int(entry["seq"]) == i + 1, f"{conv}: a hole or a repeat at {i + 1}"
            assert int(entry["n"]) == n, f"{conv}: n of {i + 1}"
        cmids = [(entry["from"], entry["cmid"]) for entry in entries if "cmid" in entry]
        assert len(set(cmids)) == len(cmids), f"{conv}: one cmid, two entries"
        return entries

    def texts(self, conv: str) -> list[str]:
        """The texts of a conversation in order."""
        return [json.loads(entry["body"])["text"] for entry in self.log(conv) if entry["kind"] == "text"]

    def items(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        return [
            item for page in self.dynamodb.get_paginator("scan").paginate(TableName=table) for item in page["Items"]
        ]

    def client(self, service: str) -> Any:
        """The product's own client of `service`, watched by the house that is in use."""
        return _client(service, self._loading)

    def begin(self, call: Call) -> None:
        """A function is about to call AWS."""
        self.calls.append(call)
        if self.before is not None:
            self.before(call)

    def end(self, call: Call, answer: dict[str, Any]) -> None:
        """AWS has answered."""
        if "Error" not in answer:
            self.packets.note(call)
            self.stream += [item for item in _put_items(call) if item["sk"]["S"].startswith("MSG#")]
            if call.action == "sqs:SendMessage" and call.params["QueueUrl"] == self.checks_url:
                self.checks.append((self.now + 1000 * call.params["DelaySeconds"], call.params["MessageBody"]))
        if self.after is not None:
            self.after(call, answer)

    def answer_push(self, request: Any) -> AWSResponse:
        """The connection API: 200 to an open connection, 410 to any other, as AWS answers."""
        connection = unquote(request.url.rsplit("/", 1)[1])
        device = self.devices.get(connection)
        headers = {"Content-Type": "application/json"}
        if device is None or device.closed:
            headers["x-amzn-ErrorType"] = "GoneException"
            return _response(request.url, 410, headers, b"{}")
        if request.method == "DELETE":
            device.hang_up()
            return _response(request.url, 204, headers, b"")
        body = request.body if isinstance(request.body, bytes) else request.body.read()
        assert len(body) <= 32 * 1024, "a push is larger than a frame"
        device.pushes.append(json.loads(body))
        return _response(request.url, 200, headers, b"")


def _put_items(call: Call) -> list[dict[str, Any]]:
    """The new items of the Conversation table that a call has put."""
    writes = [part["Put"] for part in call.params.get("TransactItems", []) if "Put" in part]
    if call.operation == "PutItem":
        writes = [call.params]
    is_new = "attribute_not_exists(pk)"  # others change what is there
    return [
        write["Item"]
        for write in writes
        if write["TableName"] == "ConversationTable" and write.get("ConditionExpression") == is_new
    ]


def _response(url: str, status: int, headers: dict[str, str], body: bytes) -> AWSResponse:
    response: Any = AWSResponse(url, status, cast("Any", headers), None)
    response._content = body
    return cast("AWSResponse", response)


in_use: list[House] = []
"""The house whose functions run now, last. Clients are slow to make: they are made once and serve all houses."""


@cache
def _client(service: str, function: str) -> Any:
    """The client that `function` uses for `service`, its calls told to the house in use."""

    def begin(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        context["call"] = call = Call(function, service, model.name, params)
        in_use[-1].begin(call)

    def end(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        in_use[-1].end(context["call"], parsed)

    made: Any = real_clients[service]() if service in real_clients else real_connections(ENDPOINT)
    name = made.meta.service_model.service_id.hyphenize()
    made.meta.events.register(f"provide-client-params.{name}", begin)
    made.meta.events.register(f"after-call.{name}", end)
    if service == "execute-api":
        # Us in place of the network.
        made.meta.events.register_first(f"before-send.{name}", lambda request, **_: in_use[-1].answer_push(request))
    return made


@cache
def _own_client(service: str) -> Any:
    """A client of the tests themselves."""
    return boto3.client(cast("Any", service), region_name=REGION)


moto_transact = moto_dynamodb.DynamoDBBackend.transact_write_items


def _transact(backend: moto_dynamodb.DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """moto's own. It copies a whole table for each of the writes, to put it back when one of them fails; this keeps
    what the writes name, which is all that they can change."""
    named = [
        (backend.tables[op["TableName"]], op.get("Key") or op["Item"]) for w in transact_items for op in w.values()
    ]
    before = {table.name: {pk: dict(items) for pk, items in table.items.items()} for table, _ in named}
    for table, key in named:
        pk, sk = DynamoType(key["pk"]), DynamoType(key["sk"])
        if (item := table.get_item(pk, sk)) is not None:
            before[table.name][pk][sk] = copy.deepcopy(item)
    try:
        moto_transact(backend, transact_items)
    except Exception:
        for table, _ in named:
            table.items = defaultdict(dict, before[table.name])
        raise


moto_add_message = moto_sqs.Queue.add_message
FORGETS_REPEATS_MS = 5 * 60 * 1000
"""For how long a FIFO queue drops what it has had."""


def _add_message(queue: moto_sqs.Queue, message: moto_sqs.Message) -> None:
    """As AWS, which remembers also what has been received and deleted; moto knows only what is in the queue."""
    house = in_use[-1]
    if queue.name == "checks":
        return  # they are the house's: their delays go by its clock
    name = (queue.name, message.group_id, message.deduplication_id)
    if house.now - house.queued.get(name, 0) >= FORGETS_REPEATS_MS:
        house.queued[name] = house.now
        moto_add_message(queue, message)


def _change_visibility(_: object, queue_name: str, receipt_handle: str, visibility_timeout: int) -> None:
    """Failed messages come again at once here."""
    in_use[-1].retries.append((receipt_handle, visibility_timeout))


def _copied(value: Any) -> Any:
    return value if isinstance(value, Table) else copy.deepcopy(value)


@contextmanager
def built_house(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[House]:
    """A house from the template, with `environment` on top of the defaults."""
    monkeypatch.setattr(moto_dynamodb, "copy", SimpleNamespace(deepcopy=_copied))
    monkeypatch.setattr(moto_dynamodb.DynamoDBBackend, "transact_write_items", _transact)
    monkeypatch.setattr(moto_sqs.Queue, "add_message", _add_message)
    monkeypatch.setattr(moto_sqs.SQSBackend, "change_message_visibility", _change_visibility)
    with mock_aws():
        for name, value in {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "1",
            "CONVERSATION_TABLE": "ConversationTable",
            "INBOX_TABLE": "InboxTable",
            "CONNECTION_TABLE": "ConnectionTable",
            "AUDIENCE_TABLE": "AudienceTable",
            "CONNECTIONS_ENDPOINT": ENDPOINT,
            "SIGN_IN_POLICY": "per_platform",
            "MAX_GROUP_MEMBERS": "1000",
            "LARGE_GROUP_ABOVE": "200",
            "MAX_GROUPS_PER_USER": "500",
            "MAX_GROUP_ADMINS": "20",
            "MAX_GROUP_NAME": "64",
            "MAX_USERS_AT_ONCE": "200",
            "RECALL_WINDOW_SECONDS": "120",
            "EDIT_WINDOW_SECONDS": "86400",
            "REDELIVER_AFTER_SECONDS": "10",
            "JWT_SECRET_ID": "JwtSecret",
            "RED_PACKET_TABLE": "RedPacketTable",
            "WALLET_TABLE": "WalletTable",
            "MAX_RED_PACKET_SHARES": "500",
            "MAX_RED_PACKET_AMOUNT": "2000000",
            "RED_PACKET_LIFE_SECONDS": "86400",
            "NEW_WALLET_AMOUNT": "100000",
        }.items():
            monkeypatch.setenv(name, value)
        house = House()
        for name, resource in template()["Resources"].items():
            if resource["Type"] == "AWS::DynamoDB::Table":
                wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
                properties = {key: value for key, value in resource["Properties"].items() if key in wanted}
                house.dynamodb.create_table(TableName=name, **properties)
        fifo: Any = {"FifoQueue": "true"}
        house.queue_url = house.sqs.create_queue(QueueName="fanout.fifo", Attributes=fifo)["QueueUrl"]
        house.parts_url = house.sqs.create_queue(QueueName="parts.fifo", Attributes=fifo)["QueueUrl"]
        house.express_url = house.sqs.create_queue(QueueName="express.fifo", Attributes=fifo)["QueueUrl"]
        house.express_parts_url = house.sqs.create_queue(QueueName="express-parts.fifo", Attributes=fifo)["QueueUrl"]
        house.checks_url = house.sqs.create_queue(QueueName="checks")["QueueUrl"]
        house.dead_url = house.sqs.create_queue(QueueName="dead.fifo", Attributes=fifo)["QueueUrl"]
        house.packets.queue_url = house.sqs.create_queue(QueueName="settlement.fifo", Attributes=fifo)["QueueUrl"]
        house.secrets.create_secret(Name="JwtSecret", SecretString="s" * 64)
        monkeypatch.setenv("FANOUT_QUEUE_URL", house.queue_url)
        monkeypatch.setenv("BROADCAST_QUEUE_URL", house.parts_url)
        monkeypatch.setenv("EXPRESS_QUEUE_URL", house.express_url)
        monkeypatch.setenv("EXPRESS_PARTS_QUEUE_URL", house.express_parts_url)
        monkeypatch.setenv("REDELIVERY_QUEUE_URL", house.checks_url)
        monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", house.dead_url)
        monkeypatch.setenv("SETTLEMENT_QUEUE_URL", house.packets.queue_url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(clients, "connections", lambda _: house.client("execute-api"))
        monkeypatch.setattr(clients, "dynamodb", lambda: house.client("dynamodb"))
        monkeypatch.setattr(clients, "sqs", lambda: house.client("sqs"))
        monkeypatch.setattr(clients, "secrets", lambda: house.client("secretsmanager"))
        monkeypatch.setattr(wiring, "now_ms", lambda: house.now)
        monkeypatch.setattr(wiring, "Appender", partial(Appender, pause=house.pause))
        monkeypatch.setattr(wiring, "Changes", partial(Changes, pause=house.pause))
        monkeypatch.setattr(wiring, "MessageChanges", partial(MessageChanges, pause=house.pause))
        monkeypatch.setattr(wiring, "ThreadPoolExecutor", _one_by_one)
        monkeypatch.setattr(packet_wiring, "ThreadPoolExecutor", _one_by_one)
        # AWS and botocore know 100 items since 2022; moto still refuses TransactGetItems above 25.
        monkeypatch.setattr(moto_responses, "TRANSACTION_MAX_ITEMS", 100)
        in_use.append(house)
        try:
            for name in FUNCTIONS:
                house.load(name)
            yield house
        finally:
            in_use.remove(house)


@cache
def _code(name: str) -> CodeType:
    """A function's module, compiled."""
    path = ROOT / "functions" / name / "app.py"
    return compile(path.read_bytes(), path, "exec", dont_inherit=True)


def load_function(name: str) -> ModuleType:
    """A function's module as at a cold start."""
    spec = importlib.util.spec_from_file_location(f"function_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    exec(_code(name), vars(module))  # noqa: S102 - as a loader does, only that it is compiled once
    return module
