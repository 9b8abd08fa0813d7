"""docs/redpacket.md tells those who write a gateway what is really asked."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from im.aws.payment_gateway import MADE, MAX_REST, NOT_AT_ONCE, PASSING, PATHS, PATIENCE, POOR, VOID, HttpPaymentGateway
from im.domain.ids import UserId
from im.domain.red_packet import PacketId
from tests.contracts.fake_gateway import Asked, FakeGateway, running_gateway

PAGE = Path(__file__).resolve().parents[2] / "docs" / "redpacket.md"
ALICE, BOB = UserId("alice"), UserId("bob")


@pytest.fixture
def section() -> str:
    """What the page says about gateways."""
    return PAGE.read_text().partition("\n## A payment system of your own\n")[2].partition("\n## ")[0]


def shell_variable(section: str, name: str) -> str:
    found = re.search(rf"^\$ {name}='?(.*?)'?$", section, re.MULTILINE)
    assert found, name
    return found[1]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def asked(gateway: FakeGateway, section: str) -> list[Asked]:
    """What is asked in the life of the packet of the examples."""
    secret: Any = SimpleNamespace(values=lambda: (shell_variable(section, "secret"),))
    timestamp = int(shell_variable(section, "timestamp"))
    client = HttpPaymentGateway(gateway.url, secret, lambda: timestamp, plain_loopback=True)
    packet = PacketId("rpndr3zffven5w54ljkutjw5sjgx")
    gateway.faults += [200] * 4
    client.hold(packet, ALICE, 1000)
    client.pay(packet, 0, BOB, 700)
    client.refund(packet, ALICE, 300)
    client.release(packet, ALICE, 1000)
    return gateway.asked


def test_the_examples_are_what_is_asked(section: str, asked: list[Asked]) -> None:
    examples = re.findall(r"^`POST \{url\}(/\w+)`.*?^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)

    documented = [(path, json.loads(re.sub(r" +//.*", "", body))) for path, body in examples]

    assert documented == [(one.path, json.loads(one.body)) for one in asked]
    assert [path for path, _ in documented] == list(PATHS.values())


def test_the_worked_example_of_the_signature_is_right(section: str, asked: list[Asked]) -> None:
    secret, timestamp, body = (shell_variable(section, name) for name in ("secret", "timestamp", "body"))
    told = re.search(r"^([0-9a-f]{64}) \*stdin$", section, re.MULTILINE)

    assert told
    assert hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest() == told[1]
    assert asked[0].body.decode() == body
    assert asked[0].headers["im-timestamp"] == timestamp
    assert asked[0].headers["im-signature"] == f"v1={told[1]}"
    assert f"{len(secret)} bytes long" in secret


def test_every_header_of_ours_is_told(section: str, asked: list[Asked]) -> None:
    requests = section.partition("\n### Requests\n")[2].partition("\n### ")[0]
    told = {name.lower() for name in re.findall(r"^\| `([\w-]+)` \|", requests, re.MULTILINE)}
    usual = {"host", "content-length", "accept-encoding", "user-agent"}

    assert {name for one in asked for name in one.headers} - usual == told


def test_every_status_that_means_something_is_told(section: str) -> None:
    rows = dict(re.findall(r"^\| (\d{3}.*?) \| (.*?) \|", section, re.MULTILINE))
    told = [{int(status) for status in re.findall(r"\d{3}", row)} for row in rows]

    assert told == [MADE, {POOR}, {VOID}, PASSING]
    assert "(not after 429 and 503)" in section
    assert {429, 503} == NOT_AT_ONCE


def test_the_limits_are_told(section: str) -> None:
    longest = PATIENCE.attempts * (PATIENCE.connect + PATIENCE.answer + PATIENCE.rest) + PATIENCE.pause

    assert f"{PATIENCE.connect:g} s to accept a connection" in section
    assert f"{PATIENCE.answer:g} s to answer" in section
    assert f"Two attempts take {math.ceil(longest)} s at most" in section
    assert PATIENCE.attempts == 2
    assert f"({MAX_REST // 1024} KiB)" in section
