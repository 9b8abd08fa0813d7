"""What people see of red packets: no amount that would tell them what is left, and pages that are frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from im.wire.frames import dumps
from tests.integration.house import Device, House, built_house
from tests.integration.samples import sample

Data = dict[str, Any]

DIRECT, GROUP, OPEN = "d:alice:bob", "g:team", "g:open"
DAY = 24 * 3_600_000
MAX_FRAME = 32 * 1024
LONG = "🦉" * 120


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Everybody is rich."""
    with built_house(monkeypatch, NEW_WALLET_AMOUNT="100000000") as built:
        yield built


@pytest.fixture
def people(house: House) -> dict[str, Device]:
    """A group, all but Frank of them in it; another one that shows who comes what was before."""
    devices = {name: house.connect(name) for name in ("alice", "bob", "carol", "dave", "erin", "frank")}
    alice = devices["alice"]
    alice.ok("group.create", {"gid": "team", "name": "Team", "members": ["bob", "carol", "dave", "erin"]})
    alice.ok("group.create", {"gid": "open", "name": "Open", "members": ["bob"], "history": True})
    settle(house)
    return devices


def settle(house: House) -> None:
    """All is delivered, settled, and what was pushed forgotten."""
    house.fan_out()
    house.packets.settle()
    for device in house.devices.values():
        device.pushes.clear()


def create(device: Device, **more: Any) -> str:
    """The id of a new packet, of amounts that no other number looks like."""
    data = {"conv": GROUP, "cmid": "c", "kind": "lucky", "total": 1_987_654, "count": 4} | more
    return str(device.ok("redpacket.create", data)["packet"])


def claim(device: Device, packet: str) -> int:
    """What somebody gets of it."""
    return int(device.ok("redpacket.claim", {"packet": packet})["amount"])


def detail(device: Device, packet: str, **more: Any) -> Data:
    """What somebody is told of it."""
    return device.ok("redpacket.detail", {"packet": packet} | more)


def all_that_is_told(device: Device, packet: str) -> str:
    """Everything that a user can find out: what is pushed, and what they may ask for."""
    asked: list[tuple[str, Data]] = [
        ("redpacket.detail", {"packet": packet}),
        ("redpacket.mine", {"which": "sent"}),
        ("redpacket.mine", {"which": "received"}),
        ("redpacket.ledger", {}),
        ("redpacket.wallet", {}),
        ("sync.inbox", {}),
        ("sync.entries", {"conv": GROUP, "after": 0}),
    ]
    replies = [device.ask(op, data) for op, data in asked]
    return json.dumps([device.pushes, replies])


# ---- amounts ---------------------------------------------------------------------------------------------------------


def test_nobody_who_may_still_claim_a_lucky_packet_finds_out_an_amount(house: House, people: dict[str, Device]) -> None:
    settle(house)
    packet = create(people["alice"])
    amounts: dict[str, int] = {}
    for who in ("bob", "alice", "carol"):
        amounts[who] = claim(people[who], packet)
        house.packets.settle()
        for name in people.keys() - amounts.keys() - {"frank"}:
            told = all_that_is_told(people[name], packet)
            assert not [amount for amount in amounts.values() if str(amount) in told], name
            claims = detail(people[name], packet)["claims"]
            assert [claim.keys() for claim in claims] == [{"user", "ts"}] * len(amounts)
    assert len(set(amounts.values())) == 3

    for name, amount in amounts.items():
        told = detail(people[name], packet)
        assert {c["user"]: c["amount"] for c in told["claims"]} == amounts
        assert told["amount"] == amount
        assert "best" not in told


def test_once_a_lucky_packet_is_finished_everybody_sees_who_had_what(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"], count=2)
    amounts = {name: claim(people[name], packet) for name in ("bob", "carol")}

    for name in ("alice", "bob", "dave"):
        told = detail(people[name], packet)
        assert [(c["user"], c["amount"]) for c in told["claims"]] == list(amounts.items())
        assert (told["state"], told["claimed"], told["count"]) == ("finished", 2, 2)
        assert told["best"] == max(amounts, key=lambda who: amounts[who])
        assert ("amount" in told) == (name == "bob")
        assert "refunded" not in told


def test_once_its_time_is_over_everybody_sees_what_was_left(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])
    amount = claim(people["bob"], packet)
    house.now += DAY
    dave = house.connect("dave")
    for _ in range(2):  # before the clock strikes, and after it
        told = detail(dave, packet)
        assert (told["state"], told["refunded"], told["best"]) == ("expired", 1_987_654 - amount, "bob")
        assert told["claims"][0]["amount"] == amount
        house.packets.sweep()
        house.packets.settle()


def test_the_amounts_of_an_equal_packet_are_no_secret(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"], kind="equal", total=400)
    claim(people["bob"], packet)

    told = detail(people["carol"], packet)
    assert (told["claims"][0]["amount"], told["total"], told["count"]) == (100, 400, 4)
    assert "best" not in told


def test_a_packet_is_shown_to_those_who_see_its_message(house: House, people: dict[str, Device]) -> None:
    alice, frank = people["alice"], people["frank"]
    closed, shown = create(alice), create(alice, conv=OPEN, cmid="o")
    claim(people["bob"], shown)
    people["erin"].ok("group.leave", {"conv": GROUP})
    for conv in (GROUP, OPEN):
        alice.ok("group.invite", {"conv": conv, "users": ["frank"]})

    assert detail(people["erin"], closed)["state"] == "open"
    assert frank.error("redpacket.detail", {"packet": closed})["code"] == "not_found"
    assert [c.keys() for c in detail(frank, shown)["claims"]] == [{"user", "ts"}]
    assert frank.error("redpacket.claim", {"packet": shown})["code"] == "forbidden"
    assert house.connect("gus").error("redpacket.detail", {"packet": shown})["code"] == "not_member"


def test_who_a_packet_is_for_is_said_in_a_group_alone(house: House, people: dict[str, Device]) -> None:
    exclusive = create(people["alice"], kind="direct", count=1, to="bob")
    direct = create(people["alice"], conv=DIRECT, kind="direct", count=1)

    assert detail(people["carol"], exclusive)["to"] == "bob"
    assert "to" not in detail(people["bob"], direct)
    house.fan_out()
    bodies = [e["body"] for push in people["bob"].got("entries") for e in push["entries"] if e["kind"] == "redpacket"]
    assert {body["packet"]: body.get("to") for body in bodies} == {exclusive: "bob", direct: None}


# ---- pushes ----------------------------------------------------------------------------------------------------------


def pushed(house: House) -> dict[str, list[Data]]:
    """The pushes about packets, by device; forgotten then."""
    out = {}
    for device in house.devices.values():
        if got := device.got("redpacket"):
            out[f"{device.user} {device.device}"] = got
        device.pushes.clear()
    return out


def test_a_claim_is_told_to_the_sender_and_to_the_claimer_whose_devices_alone_hear_the_amount(
    house: House, people: dict[str, Device]
) -> None:
    house.connect("bob", "phone", "ios")
    house.connect("alice", "phone", "ios")
    packet = create(people["alice"])
    settle(house)
    amount = claim(people["bob"], packet)
    house.packets.settle()

    seq = detail(people["bob"], packet)["seq"]
    about = {"packet": packet, "conv": GROUP, "seq": seq, "event": "claimed", "user": "bob", "claimed": 1, "count": 4}
    own = [about | {"amount": amount}]
    assert pushed(house) == {"alice d1": [about], "alice phone": [about], "bob d1": own, "bob phone": own}


def test_a_sender_who_claims_hears_of_it_once(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])
    settle(house)
    amount = claim(people["alice"], packet)
    house.packets.settle()

    ((who, (data,)),) = pushed(house).items()
    assert (who, data["user"], data["amount"]) == ("alice d1", "alice", amount)


def test_the_end_of_a_packet_is_told_to_its_sender_and_all_who_have_claimed(
    house: House, people: dict[str, Device]
) -> None:
    packet = create(people["alice"], count=2)
    settle(house)
    amounts = {name: claim(people[name], packet) for name in ("bob", "carol")}
    house.packets.settle()

    best = max(amounts, key=lambda who: amounts[who])
    told = pushed(house)
    assert set(told) == {"alice d1", "bob d1", "carol d1"}
    for who, pushes in told.items():
        assert [push["event"] for push in pushes][-1] == "finished"
        assert (pushes[-1]["count"], pushes[-1]["best"]) == (2, best)
        own = [push["amount"] for push in pushes if "amount" in push]
        assert own == [amount for name, amount in amounts.items() if who.startswith(name)]


def test_what_is_left_is_told_to_the_sender_alone(house: House, people: dict[str, Device]) -> None:
    packet = create(people["alice"])
    amount = claim(people["bob"], packet)
    settle(house)
    house.now += DAY
    for device in people.values():
        device.closed = True
        house.connect(device.user)
    house.packets.sweep()
    house.packets.settle()

    ((who, (data,)),) = pushed(house).items()
    assert (who, data["event"], data["amount"]) == ("alice d1", "refunded", 1_987_654 - amount)
    assert data.keys() == {"packet", "conv", "seq", "event", "amount"}


def test_nobody_is_told_of_a_packet_that_never_came_to_be(house: House, people: dict[str, Device]) -> None:
    def fail(call: Any) -> None:
        if call.operation == "TransactWriteItems" and "ConversationTable" in str(call.params):
            raise OSError("made by a test")

    with house.watched(before=fail):
        people["alice"].error("redpacket.create", {"conv": GROUP, "cmid": "x", "kind": "lucky", "total": 9, "count": 3})
    house.now += 5 * 60_000
    house.call("expiry", sample("expiry"))
    house.packets.settle()

    assert pushed(house) == {}


# ---- pages -----------------------------------------------------------------------------------------------------------


def claimed_by_500(house: House, packet: str) -> list[str]:
    """All 500 shares are claimed, by users of the longest names. Written by hand: moto is slow."""
    users = [f"{i:03d}".rjust(64, "u") for i in range(500)]
    house.dynamodb.update_item(
        TableName="RedPacketTable",
        Key={"pk": {"S": packet}, "sk": {"S": "META"}},
        UpdateExpression="SET claimers = :claimers, times = :times",
        ExpressionAttributeValues={
            ":claimers": {"L": [{"S": user} for user in users]},
            ":times": {"L": [{"N": str(i)} for i in range(500)]},
        },
    )
    return users


@pytest.mark.parametrize("limit", [100, 7])
def test_500_claims_come_in_pages_that_are_frames(house: House, people: dict[str, Device], limit: int) -> None:
    packet = create(people["alice"], count=500, greeting=LONG)
    users = claimed_by_500(house, packet)

    found: list[Data] = []
    more: Data = {}
    while True:
        reply = people["bob"].ask("redpacket.detail", {"packet": packet, "limit": limit} | more)
        assert len(dumps(reply).encode()) <= MAX_FRAME
        page = reply["data"]
        assert len(page["claims"]) == limit or "cursor" not in page
        found += page["claims"]
        if "cursor" not in page:
            break
        more = {"cursor": page["cursor"]}

    assert [c["user"] for c in found] == users
    assert sum(c["amount"] for c in found) == 1_987_654
    assert [c["ts"] for c in found] == sorted(c["ts"] for c in found)
    assert page["best"] == max(found, key=lambda c: c["amount"])["user"], "the first of them"
    beyond = detail(people["bob"], packet, cursor="9999")
    assert (beyond["claims"], "cursor" in beyond) == ([], False)


X, Y = "x" * 64, "y" * 64


def many(house: House, first: str, count: int) -> list[str]:
    """So many packets more like one that Y has claimed of X, each a millisecond younger, with what is noted of them.
    Written by hand: moto is slow."""
    put = house.dynamodb.put_item
    table, lines = house.items("RedPacketTable"), house.items("WalletTable")
    names = [first]
    for i in range(1, count):
        names.append("rp" + "".join(chr(ord("a") + int(digit)) for digit in f"{i:026d}"))
        for name, items in (("RedPacketTable", table), ("WalletTable", lines)):
            for item in items:
                text = json.dumps(item)
                if first in text and "BALANCE" not in text:
                    later = text.replace(first, names[-1]).replace(str(house.now), str(house.now + i))
                    put(TableName=name, Item=json.loads(later))
    return names


def pages(device: Device, op: str, name: str, limit: int, **data: Any) -> list[Data]:
    """What all pages tell, each of them a frame."""
    found: list[Data] = []
    more: Data = {}
    while True:
        reply = device.ask(op, {"limit": limit} | data | more)
        assert len(dumps(reply).encode()) <= MAX_FRAME
        assert 1 <= len(reply["data"][name]) <= limit
        found += reply["data"][name]
        if "cursor" not in reply["data"]:
            return found
        more = {"cursor": reply["data"]["cursor"]}


@pytest.mark.parametrize("greeting", ["", "\x01" * 120], ids=["short", "long"])
def test_pages_of_packets_and_postings_are_frames(house: House, greeting: str) -> None:
    """In the conversation of the longest name."""
    one, other = house.connect(X), house.connect(Y)
    there = {"conv": f"d:{X}:{Y}", "kind": "direct", "count": 1, "total": 10**6}
    packet = create(one, greeting=greeting, **there)
    claim(other, packet)
    settle(house)
    names = many(house, packet, 60)

    for device, which in ((one, "sent"), (other, "received")):
        found = pages(device, "redpacket.mine", "packets", 50, which=which)
        assert [told["packet"] for told in found] == names[::-1]
        assert {told["greeting"] for told in found} == {greeting}
        lines = pages(device, "redpacket.ledger", "postings", 40)
        assert [line["packet"] for line in lines[:60]] == names[::-1]
        assert [line["kind"] for line in lines[60:]] == ["opening"]
