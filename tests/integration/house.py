"""The whole backend in one process: the real functions on moto's tables and queue, driven frame by frame.

Tables and queue are made from template.yaml, events from events/. Only two things are ours: the connection API, which
moto does not model (it accepts pushes to connections that never were), and the time between queue and fan-out, which a
test chooses by calling `fan_out`.

moto is not AWS: two threads can both pass one condition there. So nothing here runs beside anything else; races are
played against the emulated cloud in tests/e2e.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
import yaml
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from im.aws import clients

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("authorizer", "connect", "message", "sync", "group", "fanout")
REGION = "eu-central-1"
real_connections = clients.connections


def sample(name: str) -> dict[str, Any]:
    """A fresh copy of events/<name>.json."""
    return dict(json.loads((ROOT / "events" / f"{name}.json").read_text()))


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as plain values."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, suffix, node: (
        loader.construct_scalar(node)
        if isinstance(node, yaml.ScalarNode)
        else loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping(node, deep=True)
    ),
)


def template() -> dict[str, Any]:
    """template.yaml as data."""
    return dict(yaml.load((ROOT / "template.yaml").read_text(), _Loader))  # noqa: S506 - a safe loader


@dataclass
class Context:
    """Lambda's context."""

    aws_request_id: str = "req-1"
    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:test"


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
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request `route.op`; its reply, with the id checked."""
        route, _, name = op.partition(".")
        request_id = f"r{next(self._ids)}"
        reply = self.raw(json.dumps({"route": route, "op": name, "id": request_id, "data": data or {}}))
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
        function = route if route in {"message", "sync", "group"} else "connect"
        event = sample("ping")
        event["requestContext"] |= self._context() | {"routeKey": route if isinstance(route, str) else "$default"}
        event["body"] = body
        response = self.house.call(function, event)
        assert response["statusCode"] == 200
        return dict(json.loads(response["body"]))

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
        return {"connectionId": self.connection, "authorizer": identity}


class House:
    """The backend."""

    def __init__(self) -> None:
        self.dynamodb = boto3.client("dynamodb", region_name=REGION)
        self.sqs = boto3.client("sqs", region_name=REGION)
        self.secrets = boto3.client("secretsmanager", region_name=REGION)
        self.devices: dict[str, Device] = {}
        self.apps: dict[str, ModuleType] = {}
        self.queue_url = ""
        self.dead_letters: list[str] = []
        self._numbers = itertools.count(1)

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function; its result goes through JSON as on Lambda."""
        event = json.loads(json.dumps(event))
        return dict(json.loads(json.dumps(self.apps[function].handler(event, Context()))))

    def connect(self, user: str, device: str = "d1", platform: str = "web") -> Device:
        """Open a connection whose token has been accepted."""
        connection = f"conn-{next(self._numbers)}="
        opened = Device(self, user, device, platform, connection)
        event = sample("connect")
        event["requestContext"] |= opened._context()
        assert self.call("connect", event) == {"statusCode": 200}
        self.devices[connection] = opened
        return opened

    def fan_out(self, batch: int = 10) -> None:
        """Let the fan-out empty the queue; what it reports as failed comes again at once."""
        for _ in range(1000):
            records = self.take(batch)
            if not records:
                return
            self.deliver(records)
        raise AssertionError("the queue does not get empty")

    def take(self, batch: int = 10) -> list[dict[str, Any]]:
        """The next records as the function's event would hold them. They stay in the queue until `deliver`."""
        out = self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=batch, AttributeNames=["All"], VisibilityTimeout=0
        )
        shape = sample("fanout")["Records"][0]
        return [
            {
                **copy.deepcopy(shape),
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in out.get("Messages", [])
        ]

    def deliver(self, records: list[dict[str, Any]]) -> list[str]:
        """Invoke the fan-out with `records`, delete what it did, return the ids of what it reports as failed."""
        result = self.call("fanout", {"Records": records})
        failed = {item["itemIdentifier"] for item in result["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in failed:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=record["receiptHandle"])
        return sorted(failed)

    def items(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        return [item for page in self.dynamodb.get_paginator("scan").paginate(TableName=table) for item in page["Items"]]

    def connection_client(self, endpoint: str) -> Any:
        """The product's own client, with us in place of the network."""
        client = real_connections(endpoint)
        client.meta.events.register_first("before-send.apigatewaymanagementapi", self.answer_push)
        return client

    def answer_push(self, request: Any, **_: Any) -> AWSResponse:
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


def _response(url: str, status: int, headers: dict[str, str], body: bytes) -> AWSResponse:
    response = AWSResponse(url, status, headers, None)
    response._content = body
    return response


@contextmanager
def built_house(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[House]:
    """A house from the template, with `environment` on top of the defaults."""
    with mock_aws():
        for name, value in {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "1",
            "CONVERSATION_TABLE": "ConversationTable",
            "INBOX_TABLE": "InboxTable",
            "CONNECTION_TABLE": "ConnectionTable",
            "CONNECTIONS_ENDPOINT": f"https://a1b2c3d4e5.execute-api.{REGION}.amazonaws.com/v1",
            "SIGN_IN_POLICY": "per_platform",
            "MAX_GROUP_MEMBERS": "500",
            "JWT_SECRET_ID": "JwtSecret",
        }.items():
            monkeypatch.setenv(name, value)
        house = House()
        for name, resource in template()["Resources"].items():
            if resource["Type"] == "AWS::DynamoDB::Table":
                wanted = ("BillingMode", "AttributeDefinitions", "KeySchema")
                properties = {key: resource["Properties"][key] for key in wanted}
                house.dynamodb.create_table(TableName=name, **properties)
        house.queue_url = house.sqs.create_queue(QueueName="fanout.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        house.secrets.create_secret(Name="JwtSecret", SecretString="s" * 64)
        monkeypatch.setenv("FANOUT_QUEUE_URL", house.queue_url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(clients, "connections", house.connection_client)
        for name in FUNCTIONS:
            house.apps[name] = load_function(name)
        yield house
        house.apps["fanout"].fan_out.threads.shutdown()


def load_function(name: str) -> ModuleType:
    """A function's module as at a cold start."""
    spec = importlib.util.spec_from_file_location(f"function_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
