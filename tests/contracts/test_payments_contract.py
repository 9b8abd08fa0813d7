"""Every payment system that is there keeps the contract of flows/payments.py, whatever the network does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from im.aws.payment_gateway import HttpPaymentGateway, Patience
from im.domain.errors import Unavailable
from im.store.wallets import WalletStore
from tests.contracts.fake_gateway import FAULTS as FAULTS_OF_ONE
from tests.contracts.fake_gateway import FakeGateway, Fault, running_gateway
from tests.contracts.payments_contract import PaymentsContract, Persistent, System, new_packet, new_user

OPENING = 1000
HURRY = Patience(connect=0.5, answer=0.06, rest=0.03, pause=0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running_gateway(opening=OPENING) as running:
        yield running


def client_of(gateway: FakeGateway, patience: Patience = HURRY) -> HttpPaymentGateway:
    secret: Any = SimpleNamespace(values=lambda: tuple(gateway.secrets), values_now=lambda: ())
    return HttpPaymentGateway(gateway.url, secret, now_ms, patience=patience, plain_loopback=True)


class TestGateway(PaymentsContract):
    """A gateway that nothing is wrong with."""

    @pytest.fixture
    def system(self, gateway: FakeGateway) -> System:
        return System(client_of(gateway, Patience()), gateway.books.balance, OPENING)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "times out after the effect, again and again": ("hang after", "hang after", "hang after"),
    "fails and breaks after the effect": ("reset after", "error after", "cut head after", "garbage after"),
    "fails before the effect, and others answer for it": ("busy", "page", "error before", "other key"),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
class TestGatewayThat(PaymentsContract):
    """A gateway that goes wrong with each movement, asked again as flows do."""

    @pytest.fixture
    def system(self, gateway: FakeGateway, faults: tuple[Fault, ...]) -> System:
        gateway.each = faults
        return System(cast("Any", Persistent(client_of(gateway))), gateway.books.balance, OPENING)


class OneByOne:
    """A client whose calls wait for each other: moto's tables are not made for threads. Between the calls of one
    movement others come in."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def alone(**parameters: Any) -> Any:
            with self._lock:
                return call(**parameters)

        return alone


class TestWallet(PaymentsContract):
    """The built-in wallet."""

    @pytest.fixture
    def system(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        with mock_aws():
            client: Any = boto3.client("dynamodb", region_name="eu-central-1")
            client.create_table(
                TableName="WalletTable",
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
                KeySchema=[
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
            )
            store = WalletStore(cast("Any", OneByOne(client)), "WalletTable", OPENING, now_ms)
            yield System(store, store.balance, OPENING)


def test_a_hold_that_arrives_after_whoever_asked_has_given_it_up_moves_nothing(gateway: FakeGateway) -> None:
    payments, sender = client_of(gateway), new_user()
    packet = new_packet(sender)
    gateway.faults += ["late", "late"]
    with pytest.raises(Unavailable):
        payments.hold(packet, sender, 30)
    client_of(gateway, Patience()).release(packet, sender, 30)

    gateway.arrive.set()

    while len(gateway.statuses) < 3:
        time.sleep(0.01)
    assert gateway.statuses == [201, 409, 409]
    assert gateway.books.balance(sender) == OPENING


def test_the_faults_do_happen(gateway: FakeGateway) -> None:
    payments, sender = Persistent(client_of(gateway)), new_user()
    gateway.each = ("hang after", "hang after", "hang after")

    payments.hold(new_packet(sender), sender, 30)

    assert gateway.statuses[:4] == [201, 200, 200, 200]
    assert gateway.books.balance(sender) == OPENING - 30


@pytest.mark.parametrize("fault", [fault for fault in FAULTS_OF_ONE if fault not in {"late", "redirect"}])
def test_whatever_goes_wrong_three_times_with_each_movement_it_is_made_once(gateway: FakeGateway, fault: Fault) -> None:
    payments: Any = Persistent(client_of(gateway))
    sender, claimer = new_user(), new_user()
    packet, given_up = new_packet(sender), new_packet(sender)
    gateway.each = (fault, fault, fault)

    payments.hold(packet, sender, 30)
    payments.pay(packet, 0, claimer, 10)
    payments.pay(packet, 1, claimer, 5)
    payments.refund(packet, sender, 15)
    payments.hold(given_up, sender, 7)
    payments.release(given_up, sender, 7)

    assert gateway.books.balance(sender) == OPENING - 15
    assert gateway.books.balance(claimer) == OPENING + 15
    assert set(gateway.books.packets.values()) == {0}
    assert set(gateway.statuses) <= {200, 201}
