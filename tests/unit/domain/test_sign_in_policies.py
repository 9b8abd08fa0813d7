"""Which connections of a user may live beside each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.ids import ConnectionId, DeviceId
from im.domain.signin import MAX_DEVICES, PLATFORMS, SLOT_LIFE_MS, Policy, Slot, losers, slot_name

NOW = 1_795_253_400_000
POLICIES: list[Policy] = ["per_platform", "single", "multi"]


def slot(policy: Policy, device: str, platform: str, connection: str = "", since: int = NOW) -> Slot:
    name = slot_name(policy, DeviceId(device), platform)
    return Slot(name, ConnectionId(connection or f"of-{device}"), DeviceId(device), platform, since)


@pytest.mark.parametrize(
    ("policy", "platform", "name"),
    [
        ("per_platform", "ios", "mobile"),
        ("per_platform", "android", "mobile"),
        ("per_platform", "desktop", "desktop"),
        ("per_platform", "web", "web"),
        ("per_platform", "other", "web"),
        ("single", "ios", "one"),
        ("single", "web", "one"),
        ("multi", "ios", "d1"),
        ("multi", "web", "d1"),
    ],
)
def test_a_policy_names_the_slot(policy: Policy, platform: str, name: str) -> None:
    assert slot_name(policy, DeviceId("d1"), platform) == name


@pytest.mark.parametrize(
    ("policy", "newcomer", "loses"),
    [
        # The user has phone (ios), tablet's old android, pc (desktop) and browser (web).
        ("per_platform", ("new", "ios"), {"phone", "tablet"}),
        ("per_platform", ("new", "android"), {"phone", "tablet"}),
        ("per_platform", ("new", "desktop"), {"pc"}),
        ("per_platform", ("new", "web"), {"browser"}),
        ("per_platform", ("new", "other"), {"browser"}),
        ("per_platform", ("phone", "web"), {"phone", "browser"}),  # one device, one connection
        ("single", ("new", "web"), {"phone", "tablet", "pc", "browser"}),
        ("multi", ("new", "web"), set()),
        ("multi", ("pc", "desktop"), {"pc"}),
        ("multi", ("pc", "web"), {"pc"}),
    ],
)
def test_a_newcomer_ends_what_stands_in_its_way(policy: Policy, newcomer: tuple[str, str], loses: set[str]) -> None:
    before = [
        slot("multi", "phone", "ios"),
        slot("multi", "tablet", "android"),
        slot("multi", "pc", "desktop"),
        slot("multi", "browser", "web"),
    ]

    lost = losers(policy, slot(policy, *newcomer, connection="new-connection"), before, NOW)

    assert {loser.device for loser in lost} == loses


def test_the_ninth_device_ends_the_oldest_of_eight() -> None:
    eight = [slot("multi", f"d{i}", "web", since=NOW - i) for i in range(MAX_DEVICES)]

    lost = losers("multi", slot("multi", "d9", "web"), eight, NOW)

    assert [loser.device for loser in lost] == [f"d{MAX_DEVICES - 1}"]


def test_the_eighth_device_ends_nobody() -> None:
    seven = [slot("multi", f"d{i}", "web") for i in range(MAX_DEVICES - 1)]

    assert losers("multi", slot("multi", "d8", "web"), seven, NOW) == []


def test_dead_slots_lose_and_do_not_count_as_devices() -> None:
    dead = slot("multi", "dead", "ios", since=NOW - SLOT_LIFE_MS)
    seven = [slot("multi", f"d{i}", "web") for i in range(MAX_DEVICES - 1)]

    assert losers("multi", slot("multi", "new", "web"), [dead, *seven], NOW) == [dead]
    assert losers("per_platform", slot("per_platform", "new", "web"), [dead], NOW) == [dead]


@pytest.mark.parametrize(("age", "alive"), [(0, True), (SLOT_LIFE_MS - 1, True), (SLOT_LIFE_MS, False)])
def test_a_slot_outlives_the_longest_connection_and_no_more(age: int, *, alive: bool) -> None:
    assert slot("multi", "d1", "web", since=NOW - age).alive(NOW) is alive


def test_a_connection_does_not_lose_to_itself() -> None:
    mine = slot("single", "d1", "web")

    assert losers("single", mine, [mine], NOW) == []


arrivals = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]), st.sampled_from(sorted(PLATFORMS))),
    max_size=25,
)


@given(arrivals, st.lists(st.sampled_from(POLICIES), min_size=1, max_size=3))
def test_whoever_comes_in_whatever_order_the_policy_holds(
    coming: list[tuple[str, str]], policies: list[Policy]
) -> None:
    slots: dict[str, Slot] = {}
    for i, (device, platform) in enumerate(coming):
        policy = policies[i * len(policies) // len(coming)]  # a deployment may change it under way
        newcomer = slot(policy, device, platform, connection=f"c{i}", since=NOW + i)
        lost = losers(policy, newcomer, slots.values(), NOW + i)
        slots[newcomer.name] = newcomer
        for loser in lost:
            if slots.get(loser.name) == loser:
                del slots[loser.name]

        left = list(slots.values())
        assert newcomer in left
        assert len({s.device for s in left}) == len(left), "two connections of one device"
        if policy == "single":
            assert left == [newcomer]
        if policy == "multi":
            assert len(left) <= MAX_DEVICES
        assert newcomer not in lost
        assert lost == sorted(lost, key=lambda s: s.since), "not the oldest first"
