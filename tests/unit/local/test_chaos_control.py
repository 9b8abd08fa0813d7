"""The control service of chaos does what programs of this machine ask for, and nothing for web pages."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.chaos import Chaos, FaultyProxy, serving_chaos
from local.chaos.workers import Functions

NOBODY = 2**22 + 1
"""Greater than any process id."""


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    proxy = FaultyProxy(1, 1)
    served = Chaos(proxy, NOBODY, Functions({}, {}))
    with serving_chaos(served):
        yield served
    assert proxy.storm is None, "it is calm in the end"


def ask(
    chaos: Chaos, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(chaos.url.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_it_starts_tells_and_stops(chaos: Chaos) -> None:
    asked = {"seed": 7, "faults_per_minute": 120, "kills_per_minute": 30}

    assert ask(chaos, "POST", "/start", json.dumps(asked).encode()) == (200, asked)
    assert chaos.proxy.storm is not None
    chaos.proxy.note("error", "SyncFunction", "dynamodb.Query")
    status, (told,) = ask(chaos, "GET", "/log")
    assert (status, told["kind"], told["operation"], told["function"]) == (
        200,
        "error",
        "dynamodb.Query",
        "SyncFunction",
    )
    assert told["at"] > 1_700_000_000_000

    assert ask(chaos, "POST", "/stop") == (200, {})
    assert chaos.proxy.storm is None


def test_without_numbers_it_takes_the_usual_ones(chaos: Chaos) -> None:
    assert ask(chaos, "POST", "/start") == (200, {"seed": 0, "faults_per_minute": 60, "kills_per_minute": 0})


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b'{"rate": 1}',
        b'{"seed": "7"}',
        b'{"seed": true}',
        b'{"seed": 1.5}',
        b'{"kills_per_minute": -1}',
        b'{"faults_per_minute": 1e99}',
        b'{"faults_per_minute": 100000}',
        b" " * 5000 + b"{}",
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(chaos: Chaos, body: bytes) -> None:
    assert ask(chaos, "POST", "/start", body)[0] == 400
    assert chaos.proxy.storm is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Referer": "https://evil.example/"}, 403),
        ({"User-Agent": "Mozilla/5.0"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/start"), ("POST", "/stop"), ("GET", "/log")])
def test_no_page_can_use_it(chaos: Chaos, method: str, path: str, headers: dict[str, str], status: int) -> None:
    assert ask(chaos, method, path, headers=headers)[0] == status
    assert chaos.proxy.storm is None


@pytest.mark.parametrize(("method", "path"), [("GET", "/start"), ("POST", "/log"), ("GET", "/"), ("POST", "/")])
def test_there_is_nothing_else(chaos: Chaos, method: str, path: str) -> None:
    assert ask(chaos, method, path)[0] == 404
