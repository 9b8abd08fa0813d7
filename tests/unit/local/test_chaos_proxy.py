"""The faulty proxy between the AWS SDK and a cloud: what passes, what fails and how, and calls that are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.chaos.faults import Call, Fault, Kind
from local.chaos.proxy import FaultyProxy, running_proxy
from local.processes import LOOPBACK, free_port

KEYS = {"ASIATHEFANOUT000000": "FanoutFunction"}
PUT: dict[str, Any] = {"TableName": "t", "Item": {"pk": {"S": "Grüße 👋"}}}


@dataclass
class Cloud:
    """Answers every call, and remembers them."""

    seen: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answers: str = "with a length"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Of the requests."""
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                cloud.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                cloud.seen.append(self.headers.get("X-Amz-Target") or self.path)
                self.send_response(204 if cloud.answers == "with nothing" else 200)
                if cloud.answers == "with nothing":
                    self.end_headers()
                elif cloud.answers == "up to the end":
                    self.end_headers()
                    self.wfile.write(b"{}")
                elif cloud.answers == "in chunks":
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for part in (b"1\r\n{\r\n", b"1\r\n}\r\n", b"0\r\n\r\n"):
                        self.wfile.write(part)
                        time.sleep(0.02)  # they come one by one
                else:
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler


@dataclass
class Always:
    """Dice that always fall the same, for the calls that fit."""

    kind: Kind
    fits: Callable[[Call], bool] = lambda _: True
    delay_s: float = 0.0
    calls: list[Call] = field(default_factory=list)

    def fault(self, call: Call, _now: float) -> Fault | None:
        """What happens."""
        self.calls.append(call)
        return Fault(self.kind, self.delay_s) if self.fits(call) else None


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[FaultyProxy]:
    with ThreadingHTTPServer((LOOPBACK, 0), cloud.handler()) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with running_proxy(free_port(), server.server_address[1]) as running:
            running.functions = KEYS
            yield running
        server.shutdown()


def client(proxy: FaultyProxy, service: str = "dynamodb", attempts: int = 1) -> Any:
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts}, proxies={}, read_timeout=3)
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=proxy.endpoint,
        aws_access_key_id="ASIATHEFANOUT000000",
        aws_secret_access_key="x",
        config=config,
    )


@contextmanager
def failing(kind: str) -> Iterator[None]:
    """The SDK names a failure so: the code of an error, or the class of a broken connection."""
    with pytest.raises((ClientError, BotoCoreError)) as failed:
        yield
    error = failed.value
    assert (error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__) == kind


@pytest.mark.parametrize("answers", ["with a length", "in chunks", "up to the end", "with nothing"])
def test_what_passes_is_what_was_sent_and_what_was_answered(proxy: FaultyProxy, cloud: Cloud, answers: str) -> None:
    cloud.answers = answers
    dynamodb = client(proxy)

    for _ in range(3):
        status = dynamodb.put_item(**PUT)["ResponseMetadata"]["HTTPStatusCode"]
        assert status == (204 if answers == "with nothing" else 200)

    assert cloud.seen == ["DynamoDB_20120810.PutItem"] * 3
    assert {"Grüße".encode() in body or b"Gr\\u00fc\\u00dfe" in body for body in cloud.bodies} == {True}
    assert proxy.log == []


def test_many_calls_at_once_each_get_their_own_answer(proxy: FaultyProxy, cloud: Cloud) -> None:
    dynamodb = client(proxy)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: dynamodb.put_item(**PUT), range(100)))

    assert len(cloud.seen) == 100


@pytest.mark.parametrize(
    ("kind", "error", "effects"),
    [
        (Kind.ERROR, "InternalServerError", 0),
        (Kind.THROTTLED, "ThrottlingException", 0),
        (Kind.RESET_BEFORE, "ConnectionClosedError", 0),
        (Kind.RESET_AFTER, "ConnectionClosedError", 1),
    ],
)
def test_a_call_fails_as_it_does_on_aws_with_or_without_effect(
    proxy: FaultyProxy, cloud: Cloud, kind: Kind, error: str, effects: int
) -> None:
    proxy.storm = Always(kind)

    with failing(error):
        client(proxy).put_item(**PUT)

    assert len(cloud.seen) == effects
    (injected,) = proxy.log
    assert (injected.kind, injected.operation, injected.function) == (kind, "dynamodb.PutItem", "FanoutFunction")


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.THROTTLED, Kind.RESET_BEFORE, Kind.RESET_AFTER])
def test_the_sdk_repeats_each_of_them_and_names_the_repeats_as_one_call(
    proxy: FaultyProxy, cloud: Cloud, kind: Kind
) -> None:
    proxy.storm = storm = Always(kind)

    with suppress(ClientError, BotoCoreError):
        client(proxy, attempts=3).put_item(**PUT)

    assert len(storm.calls) == 3
    assert len({call.invocation for call in storm.calls}) == 1
    assert storm.calls[0].invocation


def test_a_delayed_call_takes_effect_and_is_answered(proxy: FaultyProxy, cloud: Cloud) -> None:
    proxy.storm = Always(Kind.DELAY, delay_s=0.2)

    client(proxy).put_item(**PUT)

    assert len(cloud.seen) == 1


def test_a_dropped_push_is_answered_for_and_goes_nowhere(proxy: FaultyProxy, cloud: Cloud) -> None:
    proxy.storm = storm = Always(Kind.DROPPED)

    client(proxy, "apigatewaymanagementapi").post_to_connection(ConnectionId="c1=", Data=b"x")

    assert cloud.seen == []
    assert [call.operation for call in storm.calls] == ["execute-api.PostToConnection"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.GONE, "GoneException"),
        (Kind.THROTTLED, "LimitExceededException"),
        (Kind.ERROR, "InternalServerError"),
    ],
)
def test_a_push_fails_as_it_does_on_aws(proxy: FaultyProxy, cloud: Cloud, kind: Kind, error: str) -> None:
    proxy.storm = Always(kind)

    with failing(error):
        client(proxy, "apigatewaymanagementapi").post_to_connection(ConnectionId="c1=", Data=b"x")

    assert cloud.seen == []


def test_other_services_are_named_too(proxy: FaultyProxy) -> None:
    proxy.storm = storm = Always(Kind.ERROR)

    with suppress(ClientError):
        client(proxy, "sqs").send_message(QueueUrl=f"{proxy.endpoint}/0/q", MessageBody="x")
    with suppress(ClientError):
        client(proxy, "secretsmanager").get_secret_value(SecretId="s")
    with suppress(ClientError):
        client(proxy, "apigatewaymanagementapi").delete_connection(ConnectionId="c1")

    named = [call.operation for call in storm.calls]
    assert named == ["sqs.SendMessage", "secretsmanager.GetSecretValue", "execute-api.DeleteConnection"]


def test_a_call_that_is_held_has_no_effect_until_it_is_let_go_and_holds_up_no_other(
    proxy: FaultyProxy, cloud: Cloud
) -> None:
    dynamodb = client(proxy)
    with ThreadPoolExecutor(1) as threads, proxy.trap(lambda call: call.operation == "dynamodb.PutItem", 2) as trap:
        dynamodb.put_item(**PUT)
        held = threads.submit(lambda: dynamodb.put_item(**PUT))
        assert trap.wait_caught(5)
        dynamodb.get_item(TableName="t", Key={"pk": {"S": "a"}})
        assert (held.done(), len(cloud.seen)) == (False, 2)

        trap.open()
        held.result(5)

    assert len(cloud.seen) == 3


def test_with_after_the_effect_is_there_and_the_answer_is_held(proxy: FaultyProxy, cloud: Cloud) -> None:
    dynamodb = client(proxy)
    with ThreadPoolExecutor(1) as threads, proxy.trap(lambda _: True, after=True) as trap:
        held = threads.submit(lambda: dynamodb.put_item(**PUT))
        assert trap.wait_caught(5)
        assert (held.done(), len(cloud.seen)) == (False, 1)
    held.result(5)


def test_a_held_call_whose_caller_has_ended_never_takes_effect(proxy: FaultyProxy, cloud: Cloud) -> None:
    impatient = Config(read_timeout=0.2, retries={"total_max_attempts": 1}, proxies={})
    dynamodb = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=proxy.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="x",
        config=impatient,
    )
    with proxy.trap(lambda _: True) as trap, failing("ReadTimeoutError"):
        dynamodb.put_item(**PUT)
    assert trap.wait_caught(0)
    # The proxy has nothing else to do: this comes after it.
    client(proxy).get_item(TableName="t", Key={"pk": {"S": "a"}})

    assert cloud.seen == ["DynamoDB_20120810.GetItem"]


def test_without_a_cloud_a_connection_breaks_and_the_proxy_stays() -> None:
    with running_proxy(free_port(), free_port()) as proxy:
        for _ in range(2):
            with failing("ConnectionClosedError"):
                client(proxy).put_item(**PUT)
