"""The client of a payment gateway: what it asks, what it makes of answers, and how long it waits for them."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from im.aws.failures import may_pass
from im.aws.payment_gateway import PATIENCE, GatewayDefect, HttpPaymentGateway, Patience, signature
from im.domain.errors import Conflict, InsufficientFunds, Unavailable
from im.domain.ids import Cmid, ConvId, UserId
from im.domain.red_packet import PacketId, packet_id
from im.flows.payments import Payments
from im.runtime.batches import START_MS
from tests.contracts.fake_gateway import SECRET, FakeGateway, Fault, running_gateway

NOW = 1_767_225_600_000
PATIENT = Patience(pause=0)
HURRY = Patience(connect=0.5, answer=0.25, rest=0.1, pause=0)
PACKET = packet_id(ConvId("g:tea"), UserId("alice"), Cmid("c1"))
ALICE, BOB = UserId("alice"), UserId("bob")


class Kept:
    """A secret as RotatingSecret remembers it: a new value is seen when it is looked for."""

    def __init__(self, value: str = SECRET) -> None:
        self.value = self.remembered = value
        self.looks = 0

    def values(self) -> tuple[str, ...]:
        return (self.remembered,)

    def values_now(self) -> tuple[str, ...]:
        self.looks += 1
        self.remembered = self.value
        return self.values()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running_gateway(opening=100, clock=lambda: NOW) as running:
        yield running


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def payments(gateway: FakeGateway, kept: Kept) -> HttpPaymentGateway:
    return client_of(gateway.url, kept)


def client_of(url: str, kept: Any, patience: Patience = PATIENT) -> HttpPaymentGateway:
    return HttpPaymentGateway(url, kept, lambda: NOW, patience=patience, plain_loopback=True)


def movements(payments: Payments) -> list[Callable[[], None]]:
    """One of each kind."""
    return [
        partial(payments.hold, PACKET, ALICE, 30),
        partial(payments.pay, PACKET, 0, BOB, 10),
        partial(payments.refund, PACKET, ALICE, 20),
        partial(payments.release, PACKET, ALICE, 30),
    ]


# ---- what it asks ----------------------------------------------------------------------------------------------------


def test_each_movement_is_one_signed_post_under_its_own_name(
    gateway: FakeGateway, payments: HttpPaymentGateway
) -> None:
    for move in movements(payments):
        move()

    assert [(asked.path, json.loads(asked.body)) for asked in gateway.asked] == [
        ("/holds", {"key": f"{PACKET}:hold", "movement": "hold", "packet": PACKET, "user": "alice", "amount": 30}),
        (
            "/payments",
            {"key": f"{PACKET}:pay:0", "movement": "pay", "packet": PACKET, "share": 0, "user": "bob", "amount": 10},
        ),
        (
            "/refunds",
            {"key": f"{PACKET}:refund", "movement": "refund", "packet": PACKET, "user": "alice", "amount": 20},
        ),
        (
            "/releases",
            {"key": f"{PACKET}:release", "movement": "release", "packet": PACKET, "user": "alice", "amount": 30},
        ),
    ]
    for asked in gateway.asked:
        assert asked.headers["idempotency-key"] == json.loads(asked.body)["key"]
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["im-timestamp"] == str(NOW)
        signed = f"{NOW}.".encode() + asked.body
        assert asked.headers["im-signature"] == "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


def test_a_path_of_the_url_comes_before_that_of_the_movement(gateway: FakeGateway, kept: Kept) -> None:
    for base in ("/pay/v1", "/pay/v1/"):
        gateway.faults.append(200)
        client_of(gateway.url + base, kept).hold(PACKET, ALICE, 30)

    assert [asked.path for asked in gateway.asked] == ["/pay/v1/holds"] * 2


def test_no_key_is_longer_than_64_characters(gateway: FakeGateway, payments: HttpPaymentGateway) -> None:
    gateway.faults += [200, 200]
    payments.release(PACKET, ALICE, 1)
    payments.pay(PACKET, 10**9, BOB, 1)

    assert max(len(asked.headers["idempotency-key"]) for asked in gateway.asked) <= 64


def test_a_second_attempt_says_the_same_under_the_same_key_at_a_later_time(gateway: FakeGateway, kept: Kept) -> None:
    times = iter([NOW, NOW + 1])
    client = HttpPaymentGateway(gateway.url, kept, lambda: next(times), patience=PATIENT, plain_loopback=True)  # type: ignore[arg-type]
    gateway.faults.append("reset after")

    client.hold(PACKET, ALICE, 30)

    first, second = gateway.asked
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (first.headers["im-timestamp"], second.headers["im-timestamp"]) == (str(NOW), str(NOW + 1))
    assert first.headers["im-signature"] != second.headers["im-signature"]
    assert gateway.statuses == [201, 200]


def test_the_signature_covers_time_and_body() -> None:
    one = signature(SECRET, "1", b"{}")

    assert one not in {
        signature(SECRET, "2", b"{}"),
        signature(SECRET, "1", b"[]"),
        signature(SECRET + "x", "1", b"{}"),
    }


# ---- what it makes of answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204])
def test_made(gateway: FakeGateway, payments: HttpPaymentGateway, status: int) -> None:
    for move in movements(payments):
        gateway.faults.append(status)
        move()

    assert len(gateway.asked) == 4


@pytest.mark.parametrize(("status", "error"), [(402, InsufficientFunds), (409, Conflict)])
def test_a_hold_may_be_refused(
    gateway: FakeGateway, payments: HttpPaymentGateway, status: int, error: type[Exception]
) -> None:
    gateway.faults.append(status)

    with pytest.raises(error) as info:
        payments.hold(PACKET, ALICE, 30)

    assert not may_pass(info.value)
    assert len(gateway.asked) == 1


@pytest.mark.parametrize("status", [402, 409])
def test_nothing_else_may(gateway: FakeGateway, payments: HttpPaymentGateway, status: int) -> None:
    for move in movements(payments)[1:]:
        gateway.faults.append(status)
        with pytest.raises(GatewayDefect):
            move()


@pytest.mark.parametrize("status", [408, 425, 500, 501, 502, 504, 599])
def test_what_may_pass_is_tried_again_and_then_left_to_whoever_asked(
    gateway: FakeGateway, payments: HttpPaymentGateway, status: int
) -> None:
    for move in movements(payments):
        gateway.faults += [status, status]
        with pytest.raises(Unavailable) as info:
            move()
        assert may_pass(info.value)
        assert info.value.retry_after_ms == 1000
    assert len(gateway.asked) == 8

    gateway.faults.append(status)
    payments.hold(PACKET, ALICE, 30)
    assert gateway.statuses == [201]


@pytest.mark.parametrize("status", [429, 503])
def test_a_gateway_that_has_too_much_to_do_is_left_alone(
    gateway: FakeGateway, payments: HttpPaymentGateway, status: int
) -> None:
    gateway.faults.append(status)

    with pytest.raises(Unavailable) as info:
        payments.hold(PACKET, ALICE, 30)

    assert may_pass(info.value)
    assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    ("asks", "ms"),
    [
        (None, 1000),
        ("0", 1000),
        ("7", 7000),
        ("3600", 60_000),
        ("9" * 5000, 60_000),
        ("-5", 1000),
        ("soon", 1000),
        ("²", 1000),
        ("Fri, 21 Nov 2026 07:28:00 GMT", 1000),
    ],
)
def test_callers_are_told_when_the_gateway_wants_to_be_asked_again(
    gateway: FakeGateway, payments: HttpPaymentGateway, asks: str | None, ms: int
) -> None:
    gateway.faults.append(429)
    gateway.retry_after = asks.encode().decode("latin-1") if asks is not None else None

    with pytest.raises(Unavailable) as info:
        payments.hold(PACKET, ALICE, 30)

    assert info.value.retry_after_ms == ms


@pytest.mark.parametrize(
    "status", [202, 203, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410, 413, 418, 422, 600, 999]
)
def test_any_other_answer_is_a_defect_that_no_repeat_mends(
    gateway: FakeGateway, payments: HttpPaymentGateway, status: int
) -> None:
    for n, move in enumerate(movements(payments), 1):
        gateway.faults.append(status)
        with pytest.raises(GatewayDefect, match=str(status)) as info:
            move()
        assert not may_pass(info.value)
        assert len(gateway.asked) == n


def test_a_redirect_is_not_followed(gateway: FakeGateway, payments: HttpPaymentGateway) -> None:
    gateway.faults.append("redirect")

    with pytest.raises(GatewayDefect, match="307"):
        payments.hold(PACKET, ALICE, 30)

    assert [asked.path for asked in gateway.asked] == ["/holds"]


@pytest.mark.parametrize("fault", ["page", "other key", "cut head after"])
def test_an_answer_that_does_not_name_its_movement_is_none(
    gateway: FakeGateway, payments: HttpPaymentGateway, fault: Fault
) -> None:
    gateway.faults += [fault, fault]

    with pytest.raises(Unavailable):
        payments.hold(PACKET, ALICE, 30)

    gateway.faults.append(fault)
    payments.hold(PACKET, ALICE, 30)
    assert gateway.books.balance(ALICE) == 70


NO_ANSWER: list[Fault] = [
    "hang before",
    "hang after",
    "reset before",
    "reset after",
    "garbage after",
    "drip head after",
    "huge head after",
]


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_without_an_answer_nobody_knows_and_whoever_asked_comes_again(
    gateway: FakeGateway, payments: HttpPaymentGateway, kept: Kept, fault: Fault
) -> None:
    hurried = client_of(gateway.url, kept, HURRY)
    for move, again in zip(movements(hurried), movements(payments), strict=True):
        gateway.faults += [fault, fault]
        started = time.monotonic()

        with pytest.raises(Unavailable) as info:
            move()

        assert may_pass(info.value)
        assert time.monotonic() - started < 5
        again()
    assert (gateway.books.balance(ALICE), gateway.books.balance(BOB)) == (90, 110)
    assert gateway.books.packets == {PACKET: 0}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("hang after", "ReadTimeoutError"),
        ("drip head after", "ReadTimeoutError"),
        ("reset after", "ProtocolError of RemoteDisconnected"),
        ("garbage after", "ProtocolError of BadStatusLine"),
        ("page", "200 without its key"),
        ("in progress", 425),
    ],
)
def test_the_log_tells_what_has_come_instead(
    gateway: FakeGateway, kept: Kept, caplog: pytest.LogCaptureFixture, fault: Fault, why: str | int
) -> None:
    gateway.faults.append(fault)

    client_of(gateway.url, kept, HURRY).hold(PACKET, ALICE, 30)

    told = vars(caplog.records[0])
    assert (told["movement"], told["key"], told["why"], told["attempt"]) == ("hold", f"{PACKET}:hold", why, 1)
    assert 0 <= told["ms"] < 5000


def test_nobody_is_there(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_gateway() as gone:
        url = gone.url
    with pytest.raises(Unavailable) as info:
        client_of(url, kept).hold(PACKET, ALICE, 30)
    assert may_pass(info.value)

    looked_up = Mock(side_effect=socket.gaierror)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with pytest.raises(Unavailable):
        client_of("https://gateway.example", kept).hold(PACKET, ALICE, 30)
    assert looked_up.call_count == PATIENT.attempts


@pytest.mark.parametrize(
    "fault", ["drip body after", "stall body after", "huge body after", "large body after", "chunked after"]
)
def test_what_comes_behind_the_head_of_an_answer_changes_nothing(
    gateway: FakeGateway, payments: HttpPaymentGateway, fault: Fault
) -> None:
    for move in movements(payments):
        gateway.faults.append(fault)
        started = time.monotonic()

        move()

        assert time.monotonic() - started < 5
    assert len(gateway.asked) == 4
    assert (gateway.books.balance(ALICE), gateway.books.balance(BOB)) == (90, 110)


# ---- how long it takes -----------------------------------------------------------------------------------------------


def test_the_longest_movement_fits_into_a_function() -> None:
    attempt = PATIENCE.connect + PATIENCE.answer + PATIENCE.rest
    longest = PATIENCE.attempts * attempt + (PATIENCE.attempts - 1) * PATIENCE.pause

    # As long as other calls may take: what is begun START_MS before a function's time is over ends before it.
    assert 1000 * longest < START_MS - 1000
    assert 1000 * (PATIENCE.again_within + PATIENCE.pause + attempt) < START_MS


def test_no_attempt_begins_late(gateway: FakeGateway, kept: Kept) -> None:
    client = client_of(gateway.url, kept, Patience(answer=0.2, pause=0, attempts=9, again_within=0.5))
    gateway.faults += ["hang before"] * 9

    with pytest.raises(Unavailable):
        client.hold(PACKET, ALICE, 30)

    assert 2 <= len(gateway.asked) <= 4


def test_a_pause_before_the_second_attempt(gateway: FakeGateway, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("im.aws.payment_gateway.time.sleep", pauses.append)
    client = client_of(gateway.url, kept, Patience())
    gateway.faults += [500, 500]

    with pytest.raises(Unavailable):
        client.hold(PACKET, ALICE, 30)

    assert len(pauses) == 1
    assert 0 <= pauses[0] <= 0.5


@pytest.mark.parametrize("status", [200, 204, 402, 500])
def test_a_connection_serves_many_movements(gateway: FakeGateway, payments: HttpPaymentGateway, status: int) -> None:
    payments.hold(PACKET, ALICE, 30)
    gateway.faults.append(status)
    for _ in range(3):
        with suppress(InsufficientFunds):
            payments.hold(PACKET, ALICE, 30)

    assert len({asked.connection for asked in gateway.asked}) == 1


@pytest.mark.parametrize(
    "fault", [*NO_ANSWER, "drip body after", "huge body after", "large body after", "stall body after"]
)
def test_a_connection_that_went_wrong_is_not_used_again(gateway: FakeGateway, kept: Kept, fault: Fault) -> None:
    hurried = client_of(gateway.url, kept, HURRY)
    hurried.release(PACKET, ALICE, 30)
    gateway.faults.append(fault)
    for _ in range(2):
        hurried.release(PACKET, ALICE, 30)

    assert len({asked.connection for asked in gateway.asked}) == 2


def test_a_connection_that_the_gateway_has_closed_meanwhile_costs_nothing(
    gateway: FakeGateway, payments: HttpPaymentGateway
) -> None:
    gateway.faults.append("chunked after")  # and closes the connection, without saying so
    payments.hold(PACKET, ALICE, 30)
    payments.hold(PACKET, ALICE, 30)

    assert len(gateway.asked) == 2


def test_many_threads_share_it(gateway: FakeGateway, kept: Kept) -> None:
    client = client_of(gateway.url, kept, Patience())
    client.hold(PACKET, ALICE, 100)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda share: client.pay(PACKET, share % 50, BOB, 2), range(100)))

    assert gateway.books.balance(BOB) == 200
    assert len({asked.connection for asked in gateway.asked}) <= 16


# ---- the secret ------------------------------------------------------------------------------------------------------


def test_a_secret_that_was_rotated_is_looked_up_when_its_signature_is_refused(
    gateway: FakeGateway, payments: HttpPaymentGateway, kept: Kept
) -> None:
    payments.hold(PACKET, ALICE, 30)
    gateway.secrets[:] = [SECRET + ", the next"]
    kept.value = SECRET + ", the next"

    payments.pay(PACKET, 0, BOB, 10)

    assert gateway.statuses == [201, 401, 201]
    assert kept.looks == 1


def test_a_signature_that_is_refused_for_good_is_a_defect(gateway: FakeGateway, payments: HttpPaymentGateway) -> None:
    gateway.secrets[:] = ["another one, which nobody has told us of"]

    with pytest.raises(GatewayDefect, match="401") as info:
        payments.hold(PACKET, ALICE, 30)

    assert not may_pass(info.value)
    assert gateway.statuses == [401]


def test_a_short_secret_signs_nothing(gateway: FakeGateway) -> None:
    client = client_of(gateway.url, Kept("hunter2"))

    with pytest.raises(GatewayDefect, match="shorter than 32 bytes") as info:
        client.hold(PACKET, ALICE, 30)

    assert "hunter2" not in "".join(traceback.format_exception(info.value))
    assert gateway.asked == []


@pytest.mark.parametrize("fault", ["garbage after", "huge head after", 418, 500, 401, 409, 402, "page", "reset after"])
def test_neither_log_nor_error_tells_what_is_nobodys_business(
    gateway: FakeGateway, payments: HttpPaymentGateway, caplog: pytest.LogCaptureFixture, fault: Fault | int
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.faults += [fault, fault]
    who, much = UserId("some" + "body"), 47 * 100 + 11  # a traceback quotes these lines

    with pytest.raises(Exception) as info:  # noqa: PT011 - each fault has its own
        payments.hold(PACKET, who, much)

    records = " ".join(str(vars(record)) for record in caplog.records)
    told = "".join(traceback.format_exception(info.value)) + records
    assert PACKET in records or fault in {402, 409}
    sent = gateway.asked[0].headers["im-signature"].removeprefix("v1=")
    for secret in (SECRET, sent, str(who), "all sorts of things", "xxxx"):
        assert secret not in told
    assert str(much) not in told or fault == 402


# ---- HTTPS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway.example",
        "http://gateway.example",
        "http://localhost:8000",
        "http://127.0.0.1.example",
        "http://127.0.0.1@gateway.example",
        "ftp://gateway.example",
        "https://",
        "https:///holds",
        "https://user:hunter2@gateway.example",
        "https://gateway.example/?token=hunter2",
        "https://gateway.example/#hunter2",
        "https://hunter2:port/",
    ],
)
def test_no_other_url_will_do(url: str, kept: Any) -> None:
    with pytest.raises(ValueError, match="https://host") as info:
        HttpPaymentGateway(url, kept, lambda: NOW, plain_loopback=True)

    assert "hunter2" not in "".join(traceback.format_exception(info.value))


def test_plain_http_is_for_those_who_ask_for_it(kept: Any) -> None:
    with pytest.raises(ValueError, match="https://host"):
        HttpPaymentGateway("http://127.0.0.1:8000", kept, lambda: NOW)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "gateway.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_gateway(certificate: Path) -> Iterator[FakeGateway]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with running_gateway(opening=100, clock=lambda: NOW, tls=context) as running:
        yield running


def test_a_gateway_whose_certificate_nobody_trusts_is_told_nothing(tls_gateway: FakeGateway, kept: Kept) -> None:
    with pytest.raises(Unavailable):
        client_of(tls_gateway.url, kept, Patience(pause=0)).hold(PACKET, ALICE, 30)

    assert tls_gateway.asked == []


def test_over_tls(tls_gateway: FakeGateway, kept: Kept, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = client_of(tls_gateway.url, kept, Patience(answer=0.5, pause=0))

    for fault in ("drip head after", "hang after", "reset after"):
        tls_gateway.faults.append(fault)
        started = time.monotonic()
        client.hold(PACKET, ALICE, 30)
        assert time.monotonic() - started < 5

    assert tls_gateway.books.balance(ALICE) == 70


def test_it_is_a_payment_system(payments: HttpPaymentGateway) -> None:
    port: Payments = payments  # mypy checks it

    assert PacketId(PACKET)
    assert port
