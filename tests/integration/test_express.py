"""Red packets overtake: they have queues and a function of their own, and reach members in no order that anybody knows.

What they leave behind them comes later, to rows and devices that are further already, and changes nothing of the end.
"""

from __future__ import annotations

import io
import json
import random
import secrets
from collections import Counter
from typing import Any

import pytest

from im.flows import broadcast
from im.runtime import logs, wiring
from tests.integration.house import Call, Crash, Device, House, built_house

GROUP = "g:g"


def group(house: House, gid: str, *users: str) -> list[Device]:
    """A group that has been delivered; its people's devices, pushes forgotten."""
    devices = [house.connect(user) for user in users]
    devices[0].ok("group.create", {"gid": gid, "name": gid, "members": list(users[1:])})
    house.fan_out()
    for device in devices:
        device.pushes.clear()
    return devices


def packet(device: Device, cmid: str, conv: str = GROUP, **more: Any) -> dict[str, Any]:
    """redpacket.create of one that every member may claim; the data of the reply."""
    data = {"conv": conv, "cmid": cmid, "kind": "lucky", "total": 100, "count": 2}
    return device.ok("redpacket.create", data | more)


def deliver_packets(house: House) -> None:
    """Let the express function empty its queues, and no other its own."""
    for _ in range(100):
        taken = {parts: house.take(parts=parts, express=True) for parts in (False, True)}
        for parts, records in taken.items():
            if records:
                assert house.deliver(records, parts=parts, express=True) == []
        if not any(taken.values()):
            return
    raise AssertionError("the express queues do not get empty")


def row(device: Device, conv: str = GROUP) -> dict[str, Any]:
    """A row of the device's inbox."""
    return next(dict(r) for r in device.ok("sync.inbox")["conversations"] if r["conv"] == conv)


def pushed_to(house: House, calls: list[Call]) -> list[str]:
    """Whose connections were pushed to, in order."""
    return [house.devices[call.params["ConnectionId"]].user for call in calls if call.operation == "PostToConnection"]


# ---- overtaking ------------------------------------------------------------------------------------------------------


def test_a_packet_reaches_everybody_before_what_was_queued_ahead_of_it(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    for i in range(30):
        alice.say(f"{i}", f"c{i}", conv=GROUP)
    sent = packet(bob, "p1")

    deliver_packets(house)

    assert alice.seen() == carol.seen() == [sent["seq"]] == [32]
    assert bob.seen() == [], "he has the reply"
    assert carol.ok("sync.unread")["total_unread"] == 31, "what is stored counts, pushed or not"
    house.fan_out()
    assert carol.seen() == [32, *range(2, 32)]
    assert bob.seen() == list(range(2, 32))


def test_nothing_but_a_packet_overtakes(house: House) -> None:
    (alice, bob) = group(house, "g", "alice", "bob")
    sent = packet(alice, "p1")
    alice.say("x", "c1", conv=GROUP)
    alice.ok("message.recall", {"conv": GROUP, "seq": sent["seq"]})
    alice.ok("message.react", {"conv": GROUP, "seq": 3, "emoji": "👍", "on": True})

    deliver_packets(house)

    assert bob.seen() == [2]
    assert len(house.take()) == 3


def test_rows_are_in_the_end_as_if_nothing_had_overtaken(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    alice.say("One.", "c1", conv=GROUP)
    carol.say("@bob", "c2", conv=GROUP, mentions=["bob"])
    sent = packet(alice, "p1")
    alice.say("Help yourselves!", "c3", conv=GROUP)

    deliver_packets(house)

    early = row(carol)
    assert (early["last_seq"], early["unread"], early["last"]["seq"]) == (sent["seq"], 3, sent["seq"])
    assert row(alice)["unread"] == 0, "who sends a packet has read what came before"
    assert row(bob)["mention_seq"] == 0, "that comes with its own entry"
    house.fan_out()
    assert [row(d)["unread"] for d in (alice, bob, carol)] == [0, 4, 2], "carol has read what came before her own"
    assert {row(d)["last_seq"] for d in (alice, bob, carol)} == {5}
    assert [row(d)["mention_seq"] for d in (alice, bob, carol)] == [0, 3, 0]
    assert {row(d)["last"]["seq"] for d in (alice, bob, carol)} == {5}


@pytest.mark.parametrize("seed", range(6))
def test_in_whatever_order_the_queues_are_served_everybody_ends_alike(house: House, seed: int) -> None:
    """Each queue keeps its order, and neither waits for the other; a batch may come again."""
    dice = random.Random(seed)
    people = group(house, "g", "alice", "bob", "carol")
    last_own: dict[str, int] = {}
    mentioned = 0
    for i in range(25):
        person = dice.choice(people)
        if dice.random() < 0.3:
            packet(person, f"p{i}", count=1)
        else:
            mentions = ["carol"] if person.user != "carol" and dice.random() < 0.2 else []
            said = person.say(f"{i}", f"c{i}", conv=GROUP, mentions=mentions)
            mentioned = said["seq"] if mentions else mentioned
        last_own[person.user] = i + 1
        while dice.random() < 0.5:
            express = dice.random() < 0.5
            if records := house.take(dice.randint(1, 10), express=express):
                if dice.random() < 0.2:
                    house.call("express" if express else "fanout", {"Records": records})
                house.deliver(records, express=express)
    house.fan_out()

    for device in people:
        here = row(device)
        assert (here["last_seq"], here["unread"]) == (26, 25 - last_own.get(device.user, 0)), device.user
        unread_mention = device.user == "carol" and mentioned > last_own.get("carol", 0) + 1
        assert here["mention_seq"] == (mentioned if unread_mention else 0)
        assert here["last"]["seq"] == 26
        own = {int(entry["seq"]) for entry in house.log(GROUP)[1:] if entry["from"] == device.user}
        assert set(device.seen(GROUP)) == set(range(2, 27)) - own


def test_whoever_came_or_went_in_the_backlog_gets_what_is_theirs(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    dave = house.connect("dave")
    alice.say("For carol too.", "c1", conv=GROUP)
    alice.ok("group.remove", {"conv": GROUP, "users": ["carol"]})
    alice.ok("group.invite", {"conv": GROUP, "users": ["dave"]})
    sent = packet(alice, "p1")

    deliver_packets(house)

    assert (bob.seen(), carol.seen(), dave.seen()) == ([sent["seq"]], [], [sent["seq"]])
    house.fan_out()
    assert carol.seen() == [2, 3]
    assert dave.seen() == [sent["seq"], 4]
    assert row(carol)["left_seq"] == 3
    assert row(carol)["last_seq"] == 3
    assert row(dave)["unread"] == row(bob)["unread"] - 1 == 1


def test_a_packet_may_come_before_the_change_that_makes_its_group_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="3") as house:
        alice, bob, carol = group(house, "g", "alice", "bob", "carol")
        dave, erin = house.connect("dave"), house.connect("erin")
        alice.say("Small.", "c1", conv=GROUP)
        alice.ok("group.invite", {"conv": GROUP, "users": ["dave", "erin"]})
        alice.say("Large.", "c2", conv=GROUP)
        sent = packet(alice, "p1")

        deliver_packets(house)

        for device in (bob, carol, dave, erin):
            assert device.seen() == [sent["seq"]] == [5]
        house.fan_out()
        assert [row(d)["unread"] for d in (alice, bob, carol, dave, erin)] == [0, 3, 3, 2, 2]
        assert set(dave.seen()) == {3, 4, 5}
        assert set(bob.seen()) == {2, 3, 4, 5}


# ---- the order of members --------------------------------------------------------------------------------------------


def test_nobody_is_always_the_first_who_hears_of_a_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "shuffle", random.Random(5).shuffle)
    users = [f"u{i}" for i in range(6)]
    with built_house(monkeypatch) as house:
        first, last = Counter[str](), Counter[str]()
        devices = group(house, "g", *users)
        for i in range(60):
            packet(devices[0], f"p{i}", count=1, total=1)
            with house.watched() as calls:
                deliver_packets(house)
            order = pushed_to(house, calls)
            assert sorted(order) == users[1:]
            first[order[0]] += 1
            last[order[-1]] += 1

    # 12 each on average; further than this is one in thousands.
    assert all(3 <= first[user] <= 24 and 3 <= last[user] <= 24 for user in users[1:]), (first, last)


def test_nobody_can_foresee_who_is_the_first() -> None:
    assert isinstance(getattr(wiring.shuffle, "__self__", None), secrets.SystemRandom)


def test_everything_else_goes_by_member(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(wiring, "shuffle", never)
    with built_house(monkeypatch) as house:
        alice, bob = group(house, "g", "alice", "bob")
        alice.say("x", "c1", conv=GROUP)
        house.fan_out()

        assert bob.seen() == [2]


def test_nobody_is_pushed_to_before_everybody_s_row_is_written(house: House) -> None:
    alice, *_ = group(house, "g", *(f"u{i}" for i in range(8)))
    packet(alice, "p1")

    with house.watched() as calls:
        deliver_packets(house)

    assert {call.function for call in calls} == {"express"}
    rows = [i for i, call in enumerate(calls) if call.sort_key == f"CONV#{GROUP}"]
    pushes = [i for i, call in enumerate(calls) if call.operation == "PostToConnection"]
    assert (len(rows), len(pushes)) == (8, 7)
    assert max(rows) < min(pushes)


# ---- large groups ----------------------------------------------------------------------------------------------------


def test_parts_of_a_packet_s_pushes_wait_for_no_other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "PART_MEMBERS", 2)
    mixed: list[int] = []
    monkeypatch.setattr(wiring, "shuffle", lambda targets: mixed.append(len(targets)))
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as house:
        alice, *others = group(house, "g", "alice", "bob", "carol", "dave", "erin")
        alice.say("x", "c1", conv=GROUP)
        assert house.deliver(house.take()) == []
        waiting = len(house.take(parts=True))
        sent = packet(alice, "p1")

        deliver_packets(house)

        assert [device.seen() for device in others] == [[sent["seq"]]] * 4
        assert waiting == len(house.take(parts=True)) > 1
        assert sum(mixed) == 5, "each part's connections are mixed: the four, and the sender's own"
        house.fan_out()
        assert [sorted(device.seen()) for device in others] == [[2, 3]] * 4


# ---- what fails ------------------------------------------------------------------------------------------------------


def test_a_member_whose_row_fails_is_served_again_on_the_fast_path(house: House) -> None:
    alice, bob, carol = group(house, "g", "alice", "bob", "carol")
    sent = packet(alice, "p1")

    def fail(call: Call) -> None:
        if call.user == "bob" and call.sort_key == f"CONV#{GROUP}":
            raise RuntimeError("no row")

    with house.watched(before=fail):
        assert house.deliver(house.take(express=True), express=True) == []

    assert (bob.seen(), carol.seen()) == ([], [sent["seq"]])
    assert house.take() == []
    deliver_packets(house)
    assert (bob.seen(), carol.seen()) == ([sent["seq"]], [sent["seq"]])


def test_what_no_repeat_can_mend_says_which_queue_it_was_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "PART_MEMBERS", 2)
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as house:
        alice, *_ = group(house, "g", "alice", "bob", "carol", "dave", "erin")
        packet(alice, "p1")
        (entry,) = house.take(express=True)
        house.deliver([entry], express=True)
        (part,) = house.take(parts=True, express=True)

        for record in (entry, part):
            assert house.call("express", {"Records": [record | {"body": "nonsense"}]}) == {"batchItemFailures": []}

        sources = [letter["MessageAttributes"]["source"]["StringValue"] for letter in house.dead()]
        assert sources == ["express", "express_parts"]


def test_each_queue_has_back_what_fails_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "PART_MEMBERS", 2)
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as house:
        alice, *_ = group(house, "g", "alice", "bob", "carol", "dave", "erin")
        packet(alice, "p1")

        def fail(call: Call) -> None:
            if call.service == "dynamodb":
                raise OSError

        for parts, url in ((False, house.express_url), (True, house.express_parts_url)):
            records = house.take(parts=parts, express=True)
            house.load("express")  # it knows no members
            with house.watched(before=fail) as calls:
                assert len(house.deliver(records, parts=parts, express=True)) == 1
            visible = [call.params["QueueUrl"] for call in calls if call.operation == "ChangeMessageVisibilityBatch"]
            assert visible == [url]
            house.deliver(house.take(parts=parts, express=True), parts=parts, express=True)


# ---- the auditor, and redelivery -------------------------------------------------------------------------------------


def dies_before_queueing(call: Call) -> None:
    if call.service == "sqs":
        raise Crash


def test_a_packet_that_nobody_has_queued_is_found_and_overtakes_all_the_same(house: House) -> None:
    alice, bob = group(house, "g", "alice", "bob")
    house.audit()
    data = {"conv": GROUP, "cmid": "p1", "kind": "lucky", "total": 100, "count": 2}
    with house.watched(before=dies_before_queueing), pytest.raises(Crash):
        alice.ask("redpacket.create", data)
    alice.say("x", "c1", conv=GROUP)
    assert house.take(express=True) == []

    house.audit()
    deliver_packets(house)

    assert bob.seen() == [2]


def test_a_packet_that_was_queued_is_not_queued_again_by_the_auditor(house: House) -> None:
    alice, bob = group(house, "g", "alice", "bob")
    house.audit()
    packet(alice, "p1")
    deliver_packets(house)

    house.audit()

    assert house.take(express=True) == house.take() == []
    assert bob.seen() == [2]


def test_a_packet_on_which_the_auditor_is_late_tells_nobody_again(house: House) -> None:
    """Its fan-out has moved all rows, and everything that was sent before it and found later is behind them."""
    alice, bob = group(house, "g", "alice", "bob")
    house.audit()
    alice.say("x", "c1", conv=GROUP)
    packet(alice, "p1")
    house.fan_out()
    bob.pushes.clear()
    house.now += 6 * 60_000

    house.audit()
    house.fan_out()

    assert bob.seen() == []


def test_who_has_acknowledged_a_packet_has_what_it_overtook(house: House) -> None:
    """An ack says that nothing is missing before it: a client that is told 22 and lacks 2 to 21 gets them first."""
    alice, bob = group(house, "g", "alice", "bob")
    for device in (alice, bob):
        device.ok("sync.ack", {"acks": [{"conv": GROUP, "seq": 1}]})
    house.redeliver()
    for i in range(20):
        alice.say(f"{i}", f"c{i}", conv=GROUP)
    sent = packet(alice, "p1")
    deliver_packets(house)
    bob.pushes.clear()

    house.make_next_check()

    assert bob.seen() == [sent["seq"]], "far behind: the newest alone, once"
    there = bob.ok("sync.entries", {"conv": GROUP, "after": 1, "limit": 100})["entries"]
    assert [entry["seq"] for entry in there] == list(range(2, 23))
    bob.ok("sync.ack", {"acks": [{"conv": GROUP, "seq": 22}]})
    alice.ok("sync.ack", {"acks": [{"conv": GROUP, "seq": 22}]})
    bob.pushes.clear()
    house.redeliver()
    assert bob.seen() == []
    house.fan_out()
    bob.pushes.clear()
    house.redeliver()
    assert bob.seen() == [], "of what came behind the packet he has acknowledged everything"


def test_the_log_says_what_became_of_a_packet(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, *_ = group(house, "g", "alice", "bob")
    written = io.StringIO()
    monkeypatch.setattr(logs.log.registered_handler, "stream", written)
    packet(alice, "p1", greeting="secret")

    deliver_packets(house)

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (delivered,) = [line for line in lines if line["message"] == "delivered"]
    assert (delivered["conv"], delivered["first"], delivered["rows"], delivered["pushed"]) == (GROUP, 2, 2, 1)
    assert "secret" not in written.getvalue()
