"""The emulated cloud answers programs of this machine, and of web pages nothing but the chat page's WebSocket."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.emulator import FailedUpgrades, Guard, with_failures_in_the_gateways_words
from local.paths import CLOUD_TOOLS, ROOT

HOST = {"Host": "127.0.0.1:4566"}
PAGE = {"Origin": "https://evil.example"}
CHAT = "/_aws/execute-api/abc/v1"
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101", "User-Agent": "Boto3/1.40.0", **HOST}


def answer(kind: str, headers: dict[str, str], method: str = "GET", path: str = "/") -> list[dict[str, Any]] | None:
    """What the guard answers by itself; None if it hands the request to the app."""
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[dict[str, Any]] = []
    handed: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        handed.append(scope)

    async def receive() -> dict[str, Any]:
        raise AssertionError("a refusal needs nothing of the request's body")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(app)(scope, receive, send))
    assert handed == ([] if sent else [scope])
    return sent or None


def status(kind: str, headers: dict[str, str], method: str = "GET", path: str = "/") -> int | None:
    answered = answer(kind, headers, method, path)
    return None if answered is None else answered[0]["status"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8080", ""])
def test_no_page_gets_an_answer_or_leave_to_ask(method: str, origin: str) -> None:
    preflight = {"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}

    answered = answer("http", {**SIGNED, "Origin": origin, **preflight}, method)

    assert answered is not None
    start, body = answered
    assert (start["type"], start["status"]) == ("http.response.start", 403)
    assert sorted(name for name, _ in start["headers"]) == [b"content-length", b"content-type"]
    assert (body["type"], body["body"]) == ("http.response.body", b"Forbidden\n")


@pytest.mark.parametrize(
    "sent_by_a_browser",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": "https://evil.example/"},
        {"Access-Control-Request-Method": "GET"},
        {"User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13_6)"},
    ],
)
def test_what_a_page_asks_for_without_an_origin_is_refused_too(sent_by_a_browser: dict[str, str]) -> None:
    assert status("http", {**HOST, **sent_by_a_browser}) == 403


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4566",
        "127.0.0.1.evil.example:4566",
        "localhost.evil.example",
        "evil.localhost:4566",
        "127.0.0.1:4566.evil.example",
        "127.0.0.1:80@evil.example",
        "127.0.0.1,evil.example",
        "",
    ],
)
def test_another_name_for_this_machine_is_refused(kind: str, host: str) -> None:
    assert status(kind, {"Host": host}, path=CHAT) == 421


def test_no_host_or_two_are_refused() -> None:
    assert status("http", {}) == 421
    assert status("http", {"Host": "127.0.0.1", "host": "evil.example"}) == 421


@pytest.mark.parametrize("host", ["127.0.0.1:4566", "localhost:14566", "localhost", "127.0.0.1", "LOCALHOST:4566"])
def test_a_program_of_this_machine_is_let_in(host: str) -> None:
    for method, path in [("POST", "/"), ("PUT", "/bucket/key"), ("POST", f"{CHAT}/@connections/c1")]:
        assert answer("http", {**SIGNED, "Host": host}, method, path) is None


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:8080", "http://localhost:8080", "http://localhost", "https://localhost:8443"],
)
def test_the_chat_page_and_programs_open_websockets(origin: str) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Sec-Fetch-Site": "cross-site"}

    assert answer("websocket", {**HOST, **browser, "Origin": origin}, path=CHAT) is None
    assert answer("websocket", HOST, path=CHAT) is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        "http://evil.localhost:8080",
        "http://127.0.0.1:8080.evil.example",
        "http://localhost@evil.example",
        "file://localhost",
        "localhost",
    ],
)
def test_a_foreign_page_opens_no_websocket(origin: str) -> None:
    answered = answer("websocket", {**HOST, "Origin": origin}, path=CHAT)

    assert answered is not None
    assert [message["type"] for message in answered] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert answered[0]["status"] == 403


@pytest.mark.parametrize("path", ["/", "/mqtt", "/_aws/execute-api", "/graphql/realtime"])
def test_there_are_no_websockets_but_those_of_the_api(path: str) -> None:
    assert status("websocket", HOST, path=path) == 403
    assert status("websocket", {**HOST, "Origin": "http://localhost:8080"}, path=path) == 403


def test_the_servers_own_start_and_end_are_none_of_its_business() -> None:
    assert answer("lifespan", {}) is None


@pytest.mark.parametrize(
    ("kind", "sent", "told"),
    [
        ("websocket", ["websocket.close"], ["websocket.http.response.start", "websocket.http.response.body"]),
        ("websocket", ["websocket.accept", "websocket.close"], ["websocket.accept", "websocket.close"]),
        ("websocket", ["websocket.http.response.start"], ["websocket.http.response.start"]),
        ("http", ["http.response.start"], ["http.response.start"]),
        ("lifespan", ["lifespan.startup.complete"], ["lifespan.startup.complete"]),
    ],
)
def test_an_upgrade_is_told_that_connect_has_failed_and_all_else_passes(
    kind: str, sent: list[str], told: list[str]
) -> None:
    messages: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for name in sent:
            await send({"type": name, "status": 403})

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    asyncio.run(FailedUpgrades(app)({"type": kind}, receive, send))

    assert [message["type"] for message in messages] == told
    assert messages[0]["status"] == (500 if told != sent else 403)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {"statusCode": 500, "body": "Worker process died"},
            {"message": "Internal server error", "connectionId": "c1", "requestId": "m1"},
        ),
        ({"statusCode": 200, "body": '{"id": "r1", "ok": true}'}, {"id": "r1", "ok": True}),
    ],
)
def test_a_function_that_dies_over_a_frame_is_answered_for_as_by_api_gateway(
    answer: dict[str, Any], told: dict[str, Any]
) -> None:
    async def invoke(*_: Any, **__: Any) -> dict[str, Any]:
        return answer

    request = ("api", "account", "region", {}, "v1", "c1", "MESSAGE", "m1", "{}", "127.0.0.1", {})
    invoked = asyncio.run(with_failures_in_the_gateways_words(invoke)(*request))

    assert invoked is not None
    assert (invoked["statusCode"], json.loads(invoked["body"])) == (answer["statusCode"], told)


STORED_AND_LOADED = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("emulator", sys.argv[1])
emulator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emulator)
from ministack.services import dynamodb, lambda_svc

load = emulator.from_the_start_of_streams(lambda_svc.load_persisted_state)
lambda_svc._dynamodb_stream_positions["a-source"] = 7
stored = lambda_svc.get_state()
lambda_svc._dynamodb_stream_positions.clear()
load(stored)
place = lambda_svc._dynamodb_stream_positions["a-source"]

# The first record after the restart; a stream has nothing from before it.
assert "_stream_records" not in dynamodb.get_state()
dynamodb._stream_records["a-table"] = [{"dynamodb": {}}]
print(json.dumps({"place": place, "records": len(dynamodb.stream_records_since("a-table", place, 10))}))
load(None)
load({})
"""


def test_after_a_restart_an_event_source_reads_its_stream_from_the_beginning(tmp_path: Path) -> None:
    """With the emulator itself: another version may store something else."""
    command = [str(CLOUD_TOOLS / "python"), "-P", "-c", STORED_AND_LOADED, str(ROOT / "local/emulator.py")]

    environment = {**os.environ, "STATE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(done.stdout) == {"place": 0, "records": 1}


ASKED_FOR = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("emulator", sys.argv[1])
emulator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emulator)
from ministack.core import iam_actions

permission_for = emulator.by_the_permissions_of_iam(iam_actions.extract_iam_action)
targets = {"sqs": "AmazonSQS.", "dynamodb": "DynamoDB_20120810."}
names = json.loads(sys.argv[2])
print(json.dumps({
    f"{service}.{name}": permission_for(service, "POST", "/", {"x-amz-target": targets[service] + name}, b"", {})
    for service, name in names
}))
"""


def test_a_batch_for_sqs_needs_the_permission_of_one_message_as_on_aws() -> None:
    names = ["SendMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
    calls = [*(("sqs", name) for name in names), ("dynamodb", "BatchGetItem"), ("dynamodb", "PutItem")]
    emulator = str(ROOT / "local/emulator.py")
    command = [str(CLOUD_TOOLS / "python"), "-P", "-c", ASKED_FOR, emulator, json.dumps(calls)]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(done.stdout) == {
        "sqs.SendMessage": "sqs:SendMessage",
        "sqs.SendMessageBatch": "sqs:SendMessage",
        "sqs.DeleteMessageBatch": "sqs:DeleteMessage",
        "sqs.ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
        "dynamodb.BatchGetItem": "dynamodb:BatchGetItem",
        "dynamodb.PutItem": "dynamodb:PutItem",
    }
