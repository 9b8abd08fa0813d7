"""Settlement and the sweep when things go wrong: nobody waits for what cannot be done, and what was missed is made up
for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from botocore.exceptions import ClientError

from im.aws.failures import may_pass
from im.runtime import packet_wiring
from tests.integration.house import Call, Context, Device, House, built_house
from tests.integration.samples import sample
from tests.integration.test_red_packets import DAY, balance, create

UNKNOWN = "carol"
"""Whom the payment system will not have."""


@pytest.fixture
def people(house: House) -> dict[str, Device]:
    devices = {name: house.connect(name) for name in ("alice", "bob", "carol", "dave")}
    devices["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": ["bob", "carol", "dave"]})
    house.fan_out()
    return devices


class AccountClosed(Exception):
    """No repeat mends it."""


def refuse_one(house: House) -> None:
    """From now on settlement cannot pay UNKNOWN."""
    assert not may_pass(AccountClosed())
    wallet = packet_wiring.WalletStore
    pay = wallet.pay

    class Refusing(wallet):  # type: ignore[misc, valid-type]
        def pay(self, packet: Any, share: int, user: Any, amount: int) -> None:
            if user == UNKNOWN:
                raise AccountClosed
            pay(self, packet, share, user, amount)

    house.apps["settlement"].settlement = _with(house.apps["settlement"].settlement, Refusing)


def _with(settlement: Any, kind: Any) -> Any:
    old = settlement.payments
    return dataclasses.replace(settlement, payments=kind(old.client, old.table, old.opening, old.clock))


def test_a_share_that_nobody_can_pay_keeps_no_other_waiting(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"], total=400, kind="equal", count=4)["packet"]
    for name in ("bob", "carol", "dave"):
        people[name].ok("redpacket.claim", {"packet": packet})
    refuse_one(house)
    house.now += DAY
    house.packets.sweep()
    house.packets.follow()

    assert [balance(house.connect(name)) for name in ("bob", "carol", "dave")] == [100_100, 100_000, 100_100]
    assert balance(house.connect("alice")) == 99_700, "what nobody has claimed has come back"
    for _ in range(5):
        house.packets.settle_next()
    assert [letter["MessageAttributes"]["source"]["StringValue"] for letter in house.dead()] == ["settlement"]

    house.load("settlement")
    house.apps["settlement"].handler({"Records": [_message(packet)]}, _context())
    assert balance(house.connect("carol")) == 100_100


def test_records_that_were_missed_are_made_up_for_when_the_packet_ends(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"], total=400, kind="equal", count=4)["packet"]
    people["bob"].ok("redpacket.claim", {"packet": packet})
    house.packets.records.clear()  # the stream has forgotten them
    house.now += DAY
    house.packets.sweep()
    house.packets.settle()

    assert balance(house.connect("bob")) == 100_100
    assert balance(house.connect("alice")) == 99_900
    (sent,) = house.connect("alice").ok("redpacket.mine", {"which": "sent"})["packets"]
    assert sent["packet"] == packet


def test_a_sweep_ends_what_can_be_ended_whatever_the_index_says(house: House, people: dict[str, Device]) -> None:
    packets = [create(people["alice"], total=1, count=1, cmid=f"c{i}")["packet"] for i in range(12)]
    poison = packets[0]
    house.now += DAY

    def before(call: Call) -> None:
        if call.function == "expiry" and call.operation == "UpdateItem" and call.user == poison:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateItem")

    pages = pytest.MonkeyPatch()
    pages.setattr("im.flows.expire.PAGE", 2)
    with house.watched(before=before):
        house.packets.sweep()
    pages.undo()

    states = {item["pk"]["S"]: item["state"]["S"] for item in house.items("RedPacketTable") if "state" in item}
    assert [packet for packet in packets if states[packet] != "closed"] == [poison]
    house.packets.settle()
    assert balance(house.connect("alice")) == 100_000 - 1


def test_a_sweep_that_has_no_time_for_all_says_so(
    house: House, people: dict[str, Device], caplog: pytest.LogCaptureFixture
) -> None:
    create(people["alice"])
    house.now += DAY

    def slow(call: Call) -> None:
        if call.function == "expiry":
            house.now += 18_000

    with house.watched(before=slow):
        house.packets.sweep()
    assert "more red packets are due" in caplog.text


def test_a_claim_that_the_table_does_not_take_now_may_be_made_again(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])["packet"]

    def throttled(call: Call) -> None:
        if call.operation == "UpdateItem":
            raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "UpdateItem")

    with house.watched(before=throttled):
        error = people["bob"].error("redpacket.claim", {"packet": packet})
    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert people["bob"].ok("redpacket.claim", {"packet": packet})["amount"] >= 1


def test_no_packets_are_made_where_none_may_be_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch) as house:
        alice, bob = house.connect("alice"), house.connect("bob")
        asked = {"conv": "d:alice:bob", "cmid": "c", "kind": "direct", "total": 800}
        packet = alice.ok("redpacket.create", asked)["packet"]
        monkeypatch.setenv("MAX_RED_PACKET_AMOUNT", "0")
        house.load("redpacket")

        assert alice.error("redpacket.create", asked | {"cmid": "d"})["code"] == "bad_request"
        assert alice.ok("redpacket.create", asked)["duplicate"]
        assert bob.ok("redpacket.claim", {"packet": packet})["amount"] == 800


def _message(packet: str) -> dict[str, Any]:
    return dict(sample("settlement_queue")["Records"][0]) | {"body": f'{{"v":1,"packet":"{packet}"}}'}


def _context() -> Any:
    return Context(remaining=120_000)
