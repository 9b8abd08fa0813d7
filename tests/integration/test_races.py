"""Several function instances at once, in every order of their AWS calls; replicas that lag behind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, repeat
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from im.flows.crowds import DEADLINE_MS
from tests.integration.house import Call, Device, House
from tests.integration.hypothesis_profile import examples
from tests.integration.turns import Turns, all_orders


def text(cmid: str, **more: Any) -> dict[str, Any]:
    return {"cmid": cmid, "kind": "text", "body": {"text": cmid}} | more


def sending(device: Device, cmid: str, **where: Any) -> Callable[[], dict[str, Any]]:
    return partial(device.ok, "message.send", text(cmid, **where))


def read_stale(house: House, lags: Iterator[int]) -> Callable[[Call, dict[str, Any]], None]:
    """Makes each eventually consistent Query of a log's end answer as a replica that lacks the newest so many."""

    def after(call: Call, answer: dict[str, Any]) -> None:
        if call.operation == "Query" and call.params.get("Limit") == 1 and not call.params.get("ConsistentRead"):
            conv = call.params["ExpressionAttributeValues"][":conv"]["S"]
            length = len(house.log(conv))
            left = max(0, length - next(lags))
            key = {"pk": {"S": conv}, "sk": {"S": f"MSG#{left:012d}"}}
            answer["Items"] = [house.dynamodb.get_item(TableName="ConversationTable", Key=key)["Item"]] if left else []

    return after


# ---- two at once, in every order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("already", [0, 1])
def test_two_senders_in_every_order_get_two_places(house: House, already: int) -> None:
    alice = house.connect("alice")
    for i, order in enumerate(all_orders(4)):
        bob = house.connect(f"bob{i}")
        for n in range(already):
            alice.say(f"{n}", f"c{n}", to=bob.user)

        replies = Turns(house).run([sending(alice, "a", to=bob.user), sending(bob, "b", to="alice")], order)

        assert sorted(reply["seq"] for reply in replies) == [already + 1, already + 2], order
        assert not any(reply["duplicate"] for reply in replies)
        texts = house.texts(f"d:alice:{bob.user}")
        assert [texts[reply["seq"] - 1] for reply in replies] == ["a", "b"]


@pytest.mark.parametrize("already", [0, 1])
def test_one_frame_on_two_connections_in_every_order_gets_one_place(house: House, already: int) -> None:
    alice, phone = house.connect("alice"), house.connect("alice", "phone", "ios")
    for i, order in enumerate(all_orders(4)):
        to = f"bob{i}"
        for n in range(already):
            alice.say(f"{n}", f"c{n}", to=to)

        replies = Turns(house).run([sending(alice, "a", to=to), sending(phone, "a", to=to)], order)

        assert [reply["seq"] for reply in replies] == [already + 1] * 2, order
        assert [reply["duplicate"] for reply in replies].count(True) == 1, order
        assert len(house.log(f"d:alice:{to}")) == already + 1


@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.lists(st.sampled_from(["one", "two"]), min_size=4, max_size=4),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.integers(0, 3),
)
@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_at_once_over_lagging_replicas_get_one_place_each_cmid(
    house: House, order: list[int], cmids: list[str], lags: list[int], already: int
) -> None:
    """Two users, two connections each, two cmids each; every read of the log's end may be behind."""
    run = random.Random(repr((order, cmids, lags, already))).getrandbits(64)
    alice, bob = f"a{run:x}", f"b{run:x}"
    devices = [
        house.connect(user, *device) for user in (alice, bob) for device in (("pc", "desktop"), ("phone", "ios"))
    ]
    conv = f"d:{alice}:{bob}"
    for n in range(already):
        devices[0].say(f"{n}", f"c{n}", to=bob)
    frames = [sending(device, cmid, conv=conv) for device, cmid in zip(devices, cmids, strict=True)]

    turns = Turns(house)
    house.after = read_stale(house, cycle(lags))
    replies = turns.run(frames, order)

    house.after = None
    log = house.log(conv)
    wanted = {(device.user, cmid) for device, cmid in zip(devices, cmids, strict=True)}
    assert len(log) == already + len(wanted)
    for device, cmid, reply in zip(devices, cmids, replies, strict=True):
        entry = log[reply["seq"] - 1]
        assert (entry["from"], entry["cmid"]) == (device.user, cmid)
    assert sum(not reply["duplicate"] for reply in replies) <= len(wanted)


# ---- a crowd ---------------------------------------------------------------------------------------------------------


def test_a_sender_whom_others_beat_to_the_place_again_and_again_gets_the_next(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    beaten = 0

    def beat(call: Call) -> None:
        nonlocal beaten
        if call.sort_key.startswith("MSG#") and call.params["Item"]["from"] == {"S": "alice"} and beaten < 30:
            beaten += 1
            bob.say(f"b{beaten}", f"b{beaten}", to="alice")

    with house.watched(before=beat):
        reply = alice.say("at last", "a", to="bob")

    assert beaten == 30
    assert (reply["seq"], reply["duplicate"]) == (31, False)
    assert house.texts("d:alice:bob")[-1] == "at last"


def test_a_sender_who_never_gets_a_place_is_told_to_come_again_and_may(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    beaten = 0

    def beat(call: Call) -> None:
        nonlocal beaten
        if call.sort_key.startswith("MSG#") and call.params["Item"]["from"] == {"S": "alice"}:
            beaten += 1
            house.now += DEADLINE_MS // 5
            bob.say(f"b{beaten}", f"b{beaten}", to="alice")

    with house.watched(before=beat):
        error = alice.error("message.send", text("a", to="bob"))
    reply = alice.say("a", "a", to="bob")

    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert error["retry_after_ms"] > 0
    assert beaten <= 10
    assert (reply["seq"], reply["duplicate"]) == (beaten + 1, False)
    assert house.texts("d:alice:bob").count("a") == 1


def test_a_log_s_end_read_from_a_replica_that_is_far_behind_does_no_harm(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(12):
        bob.say(f"{i}", f"b{i}", to="alice")

    for lag in range(14):
        with house.watched(after=read_stale(house, repeat(lag))):
            reply = alice.say(f"after {lag}", f"a{lag}", to="bob")
            again = alice.say(f"after {lag}", f"a{lag}", to="bob")

        assert (reply["seq"], reply["duplicate"]) == (13 + lag, False)
        assert again == reply | {"duplicate": True}

    assert len(house.log("d:alice:bob")) == 26


# ---- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same_owner", [True, False])
def test_two_who_make_a_group_of_one_gid_at_once_make_one(house: House, *, same_owner: bool) -> None:
    rng = random.Random(7)
    alice = house.connect("alice")
    other = house.connect("alice", "phone", "ios") if same_owner else house.connect("bob")
    for i in range(60):
        data = {"gid": f"g{i}", "name": "G", "members": ["carol"]}
        order = [rng.randrange(2) for _ in range(20)]

        frames = [partial(device.ask, "group.create", data) for device in (alice, other)]
        replies = Turns(house).run(frames, order)

        good = [reply["data"] for reply in replies if reply["ok"]]
        if same_owner:
            assert good[0] == good[1]
        else:
            assert len(good) == 1
            assert [reply["error"]["code"] for reply in replies if not reply["ok"]] == ["conflict"]
        assert len(house.log(f"g:g{i}")) == 1
        members = alice.ask("group.members", {"conv": f"g:g{i}"})
        if members["ok"]:
            assert {m["user"] for m in members["data"]["members"]} == {good[0]["owner"], "carol"}


# ---- rows and connections --------------------------------------------------------------------------------------------


def test_reading_and_fan_out_at_once_in_every_order_end_alike(house: House) -> None:
    alice = house.connect("alice")
    for i, order in enumerate(all_orders(4)):
        bob = house.connect(f"bob{i}")
        conv = f"d:alice:{bob.user}"
        alice.say("1", "c1", to=bob.user)
        bob.say("2", "c2", to="alice")
        alice.say("3", "c3", to=bob.user)
        records = house.take()
        read = {"conv": conv, "seq": 3}

        Turns(house).run([partial(house.deliver, records), partial(bob.ok, "sync.read", read)], order)

        assert bob.ok("sync.unread") == {"total_unread": 0, "conversations": {}}, order
        (row,) = bob.ok("sync.inbox")["conversations"]
        assert (row["last_seq"], row["read_seq"]) == (3, 3), order


def test_two_batches_of_one_conversation_at_once_end_alike(house: House) -> None:
    """A visibility timeout has passed: two instances have overlapping batches."""
    rng = random.Random(3)
    alice = house.connect("alice")
    for i in range(40):
        bob = house.connect(f"bob{i}")
        for n in range(4):
            (alice if n % 2 else bob).say(f"{n}", f"c{n}", conv=f"d:alice:{bob.user}")
        records = house.take()
        batches = [records[:3], records[1:]] if i % 2 else [records[2:], records[:2]]

        Turns(house).run(
            [partial(house.call, "fanout", {"Records": batch}) for batch in batches],
            [rng.randrange(2) for _ in range(12)],
        )
        house.deliver(records)

        for who, unread in ((alice, 0), (bob, 1)):
            row = next(r for r in who.ok("sync.inbox")["conversations"] if r["conv"] == f"d:alice:{bob.user}")
            assert (row["last_seq"], row["unread"]) == (4, unread)


@pytest.mark.parametrize("devices", [("one", "two"), ("one", "one")])
def test_two_connections_that_open_at_once_in_every_order_leave_one(house: House, devices: tuple[str, str]) -> None:
    """A connection that is still opening cannot be ended: it finds out by itself, at the latest when it pings."""
    for i, order in enumerate(all_orders(3)):
        user = f"bob{i}"
        old = house.connect(user, "old", "web")
        house.now += 1

        both = Turns(house).run([partial(house.knock, user, device, "web") for device in devices], order)
        for device in both:
            if not device.closed:
                device.raw('{"route":"connect","op":"ping","id":"r1"}')

        left = [device for device in both if not device.closed]
        assert len(left) == 1, order
        assert old.closed
        house.connect("alice").say("x", "c1", to=user)
        house.fan_out()
        assert left[0].seen() == [1], order
