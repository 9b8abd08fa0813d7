"""Red packets are sent, claimed, finished, given back, and looked at."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.integration.house import Device, House

DIRECT = "d:alice:bob"
GROUP = "g:team"
DAY = 24 * 3_600_000


@pytest.fixture
def people(house: House) -> dict[str, Device]:
    devices = {name: house.connect(name) for name in ("alice", "bob", "carol", "dave")}
    devices["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": ["bob", "carol", "dave"]})
    house.fan_out()
    return devices


def create(device: Device, **data: Any) -> dict[str, Any]:
    asked = {"conv": GROUP, "cmid": "c1", "kind": "lucky", "total": 1000, "count": 3, "greeting": "Best wishes"}
    return device.ok("redpacket.create", asked | data)


def balance(device: Device) -> int:
    return int(device.ok("redpacket.wallet")["balance"])


def test_a_red_packet_is_a_message_of_its_conversation(house: House, people: dict[str, Device]) -> None:
    sent = create(people["alice"])
    house.fan_out()

    (entry,) = (e for p in people["bob"].got("entries") for e in p["entries"] if e["kind"] == "redpacket")
    assert entry["body"] == {"packet": sent["packet"], "kind": "lucky", "greeting": "Best wishes"}
    assert (entry["seq"], entry["conv"]) == (sent["seq"], GROUP)
    assert balance(people["alice"]) == 100_000 - 1000


def test_all_shares_are_claimed_once_and_paid(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])["packet"]
    amounts = {
        name: people[name].ok("redpacket.claim", {"packet": packet})["amount"] for name in ("bob", "carol", "alice")
    }

    assert sum(amounts.values()) == 1000
    assert min(amounts.values()) >= 1
    assert people["dave"].error("redpacket.claim", {"packet": packet})["code"] == "sold_out"
    again = people["bob"].error("redpacket.claim", {"packet": packet})
    assert (again["code"], again["amount"]) == ("already_claimed", amounts["bob"])

    house.packets.settle()
    assert balance(people["bob"]) == 100_000 + amounts["bob"]
    assert balance(people["alice"]) == 100_000 - 1000 + amounts["alice"]
    assert [p["event"] for p in people["alice"].got("redpacket")] == ["claimed", "claimed", "claimed", "finished"]
    (best,) = {p["best"] for p in people["carol"].got("redpacket") if p["event"] == "finished"}
    assert amounts[best] == max(amounts.values())


def test_what_nobody_claims_goes_back_once(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])["packet"]
    amount = people["bob"].ok("redpacket.claim", {"packet": packet})["amount"]
    house.now += DAY
    assert people["carol"].error("redpacket.claim", {"packet": packet})["code"] == "expired"
    alice = house.connect("alice")
    house.packets.sweep()
    house.packets.sweep()
    house.packets.settle()

    assert balance(alice) == 100_000 - amount
    detail = people["carol"].ok("redpacket.detail", {"packet": packet})
    assert (detail["state"], detail["refunded"], detail["best"]) == ("expired", 1000 - amount, "bob")
    assert [p["event"] for p in alice.got("redpacket")] == ["claimed", "refunded"]


def test_a_direct_red_packet_is_for_the_other(house: House, people: dict[str, Device]) -> None:
    asked = {"conv": DIRECT, "cmid": "c", "kind": "direct", "total": 800}
    packet = people["alice"].ok("redpacket.create", asked)["packet"]

    assert people["alice"].error("redpacket.claim", {"packet": packet})["code"] == "forbidden"
    assert people["carol"].error("redpacket.claim", {"packet": packet})["code"] == "not_member"
    assert people["bob"].ok("redpacket.claim", {"packet": packet})["amount"] == 800


def test_a_packet_that_is_never_published_gives_its_money_back(house: House, people: dict[str, Device]) -> None:
    def no_message(call: Any) -> None:
        if call.operation == "TransactWriteItems" and "ConversationTable" in str(call.params):
            raise RuntimeError

    with house.watched(before=no_message):
        asked = {"conv": GROUP, "cmid": "c", "kind": "lucky", "total": 800, "count": 2}
        assert people["alice"].error("redpacket.create", asked)["code"] == "internal"
    assert balance(people["alice"]) == 99_200
    house.now += 6 * 60_000
    house.packets.sweep()
    house.packets.settle()
    assert balance(people["alice"]) == 100_000
    assert people["alice"].error("redpacket.create", asked)["code"] == "conflict"


def test_the_pages_of_packets_and_postings(house: House, people: dict[str, Device]) -> None:
    packets = []
    for i in range(5):
        house.now += 1000
        packets.append(create(people["alice"], cmid=f"c{i}")["packet"])
        people["bob"].ok("redpacket.claim", {"packet": packets[-1]})
    house.packets.settle()

    page = people["alice"].ok("redpacket.mine", {"which": "sent", "limit": 3})
    rest = people["alice"].ok("redpacket.mine", {"which": "sent", "limit": 3, "cursor": page["cursor"]})
    assert [p["packet"] for p in page["packets"] + rest["packets"]] == packets[::-1]
    assert "cursor" not in rest
    got = people["bob"].ok("redpacket.mine", {"which": "received"})["packets"]
    assert [p["packet"] for p in got] == packets[::-1]

    ledger = people["bob"].ok("redpacket.ledger", {"limit": 4})
    rest = people["bob"].ok("redpacket.ledger", {"limit": 4, "cursor": ledger["cursor"]})
    postings = ledger["postings"] + rest["postings"]
    assert sum(p["amount"] for p in postings) == balance(people["bob"])
    assert [p["kind"] for p in postings] == ["received"] * 5 + ["opening"]


def test_shares_are_drawn_from_a_secure_source(house: House) -> None:
    create_flow = house.apps["redpacket"].router.operations["create"]
    flows = [cell.cell_contents for cell in create_flow.__closure__]
    (red_packets,) = (getattr(flow, "__self__", None) for flow in flows if hasattr(flow, "__self__"))
    assert red_packets.below is secrets.randbelow
