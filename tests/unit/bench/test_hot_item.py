"""The packet whose units are counted is the one that is stored."""

from __future__ import annotations

from typing import Any

import pytest

from bench.hot_item import claim_units, hot_item_table, packet_item
from tests.integration.house import House, built_house


def test_the_item_is_what_the_product_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch) as house:
        stored = _claimed_packet(house)
    counted = packet_item(claims=2, id_length=5)

    assert counted.keys() == stored.keys()
    assert {name: next(iter(value)) for name, value in counted.items()} == {
        name: next(iter(value)) for name, value in stored.items()
    }
    for name in ("claimers", "times"):
        assert [next(iter(value)) for value in counted[name]["L"]] == [next(iter(value)) for value in stored[name]["L"]]


def test_a_claim_costs_more_the_more_have_claimed_before() -> None:
    assert claim_units(1, id_length=8) == 1
    assert claim_units(500, id_length=64) == 35
    assert hot_item_table().count("\n") == 20


def _claimed_packet(house: House) -> dict[str, Any]:
    devices = [house.connect(name) for name in ("alice", "bobby", "carla")]
    devices[0].ok("group.create", {"gid": "team", "name": "Team", "members": ["bobby", "carla"]})
    asked = {"conv": "g:team", "cmid": "c1", "kind": "lucky", "total": 1000, "count": 3}
    packet = devices[0].ok("redpacket.create", asked)["packet"]
    for device in devices[1:]:
        device.ok("redpacket.claim", {"packet": packet})
    (head,) = (item for item in house.items("RedPacketTable") if (item["pk"]["S"], item["sk"]["S"]) == (packet, "META"))
    return dict(head)
