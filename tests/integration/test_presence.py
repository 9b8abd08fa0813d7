"""sync.presence: who is online or was, told to whoever shares a conversation with them, and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from im.domain.signin import SLOT_LIFE_MS
from im.flows.push_to import YOUNG_MS
from tests.integration.house import Call, Device, House, built_house, sample

UNSEEN = {"online": False, "platforms": [], "last_seen": None}
DAY_MS = 24 * 60 * 60 * 1000


def online(*platforms: str) -> dict[str, Any]:
    return {"online": True, "platforms": list(platforms), "last_seen": None}


def was(last_seen: int) -> dict[str, Any]:
    return {"online": False, "platforms": [], "last_seen": last_seen}


def look(device: Device, *users: str) -> dict[str, Any]:
    return device.ok("sync.presence", {"users": list(users)})


def at(device: Device, user: str) -> dict[str, Any]:
    return dict(look(device, user)[user])


def talk(house: House, device: Device, other: str) -> None:
    device.say("x", "hello", to=other)
    house.fan_out()


def hide(house: House, user: str, *what: str) -> None:
    house.dynamodb.update_item(
        TableName="InboxTable",
        Key={"pk": {"S": user}, "sk": {"S": "USER"}},
        UpdateExpression="ADD hides :what",
        ExpressionAttributeValues={":what": {"SS": list(what)}},
    )


@pytest.fixture(params=["small", "large"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose groups are all small, or all large."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if request.param == "small" else "1") as built:
        yield built


# ---- whether ---------------------------------------------------------------------------------------------------------


def test_everybody_sees_themselves(house: House) -> None:
    alice = house.connect("alice", "phone", "ios")
    house.connect("alice", "pc", "desktop")

    assert look(alice, "alice") == {"alice": online("desktop", "ios")}


def test_somebody_is_online_while_one_device_is_on_each_platform_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, SIGN_IN_POLICY="multi") as house:
        alice = house.connect("alice")
        talk(house, alice, "bob")
        devices = [house.connect("bob", *d) for d in (("a", "web"), ("b", "ios"), ("c", "web"), ("d", "android"))]

        assert at(alice, "bob") == online("android", "ios", "web")
        devices[0].hang_up()
        assert at(alice, "bob") == online("android", "ios", "web")
        devices[2].hang_up()
        assert at(alice, "bob") == online("android", "ios")
        devices[1].hang_up()
        assert at(alice, "bob") == online("android")
        house.now += 1
        devices[3].hang_up()
        assert at(alice, "bob") == was(house.now)


@pytest.mark.parametrize("age", [0, YOUNG_MS + 1, SLOT_LIFE_MS - 1])
def test_a_connection_is_online_as_long_as_it_can_live(house: House, age: int) -> None:
    talk(house, house.connect("alice"), "bob")
    house.connect("bob", "phone", "ios")
    house.now += age

    assert at(house.connect("alice"), "bob") == online("ios")


def test_users_are_told_once_each_in_the_order_of_the_request(house: House) -> None:
    alice = house.connect("alice")
    talk(house, alice, "bob")
    house.connect("bob")

    told = look(alice, "bob", "nobody", "bob", "alice", "nobody")

    assert list(told.items()) == [("bob", online("web")), ("nobody", UNSEEN), ("alice", online("web"))]


# ---- since when ------------------------------------------------------------------------------------------------------


def test_who_hangs_up_was_seen_then(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    talk(house, alice, "bob")
    house.now += 5_000

    bob.hang_up()
    ended = house.now
    house.now += 60_000
    assert at(alice, "bob") == was(ended)

    again = house.connect("bob", "phone", "ios")
    assert at(alice, "bob") == online("ios")
    house.now += 1
    again.hang_up()
    assert at(alice, "bob") == was(house.now)


def test_of_two_devices_the_last_one_counts(house: House) -> None:
    alice, pc, phone = house.connect("alice"), house.connect("bob", "pc", "desktop"), house.connect("bob", "p", "ios")
    talk(house, alice, "bob")

    house.now += 1_000
    phone.hang_up()
    assert at(alice, "bob") == online("desktop")
    house.now += 1_000
    pc.hang_up()

    assert at(alice, "bob") == was(house.now)


@pytest.mark.parametrize("devices", ["this", "all"])
def test_who_logs_out_was_seen_then(house: House, devices: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    talk(house, alice, "bob")
    house.connect("bob", "phone", "ios")
    house.now += 1_000

    bob.ok("connect.logout", {"devices": devices})

    assert at(alice, "bob") == (was(house.now) if devices == "all" else online("ios"))


def test_who_is_kicked_stays_online_with_the_device_that_came(house: House) -> None:
    alice, old = house.connect("alice"), house.connect("bob", "phone", "ios")
    talk(house, alice, "bob")
    house.now += 1_000

    new = house.connect("bob", "tablet", "android")

    assert old.closed
    assert at(alice, "bob") == online("android")
    house.now += 1_000
    new.hang_up()
    assert at(alice, "bob") == was(house.now)


def test_the_late_end_of_a_replaced_connection_changes_nothing(house: House) -> None:
    alice, old = house.connect("alice"), house.connect("bob")
    talk(house, alice, "bob")
    new = house.connect("bob")
    house.now += 1_000
    new.hang_up()
    ended = house.now

    house.now += 1_000
    event = sample("disconnect")
    event["requestContext"] |= old._context()
    house.call("connect", event)

    assert at(alice, "bob") == was(ended)


def test_a_connection_that_a_push_finds_dead_was_seen_until_then(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    house.devices.pop(bob.connection)
    house.now += YOUNG_MS + 1

    talk(house, alice, "bob")
    found = house.now

    house.now += 1_000
    assert at(alice, "bob") == was(found)


def test_of_a_connection_whose_end_nobody_heard_of_only_the_beginning_is_known(house: House) -> None:
    talk(house, house.connect("alice"), "bob")
    house.connect("bob")
    house.now += 1_000
    house.connect("bob", "phone", "ios")
    opened = house.now

    house.now += SLOT_LIFE_MS
    assert at(house.connect("alice"), "bob") == was(opened)


def test_an_end_that_was_heard_of_counts_more_than_an_older_beginning(house: House) -> None:
    talk(house, house.connect("alice"), "bob")
    house.connect("bob")
    house.now += 1_000
    house.connect("bob", "phone", "ios").hang_up()
    ended = house.now

    house.now += SLOT_LIFE_MS
    assert at(house.connect("alice"), "bob") == was(ended)


def test_one_device_past_its_life_does_not_make_the_other_offline(house: House) -> None:
    talk(house, house.connect("alice"), "bob")
    house.connect("bob", "pc", "desktop")
    house.now += SLOT_LIFE_MS
    house.connect("bob", "phone", "ios")

    assert at(house.connect("alice"), "bob") == online("ios")


@pytest.mark.parametrize(("age", "known"), [(30 * DAY_MS - 1, True), (30 * DAY_MS, False)])
def test_it_is_told_for_thirty_days(house: House, age: int, *, known: bool) -> None:
    talk(house, house.connect("alice"), "bob")
    house.connect("bob").hang_up()
    ended = house.now

    house.now += age

    assert at(house.connect("alice"), "bob") == (was(ended) if known else UNSEEN)


def test_the_item_lives_for_thirty_days_after_the_last_end(house: House) -> None:
    bob = house.connect("bob")
    house.now += SLOT_LIFE_MS - 1

    bob.hang_up()

    (item,) = house.items("ConnectionTable")
    assert int(item["ttl"]["N"]) * 1000 >= house.now + 30 * DAY_MS


# ---- to whom ---------------------------------------------------------------------------------------------------------


def test_both_sides_of_a_direct_conversation_see_each_other(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    assert (at(alice, "bob"), at(bob, "alice")) == (UNSEEN, UNSEEN)

    talk(house, alice, "bob")

    assert (at(alice, "bob"), at(bob, "alice")) == (online("web"), online("web"))


def test_a_row_without_an_entry_is_no_conversation_yet(house: House) -> None:
    alice = house.connect("alice")
    house.connect("bob")
    alice.say("x", "c1", to="bob")
    alice.ok("sync.read", {"conv": "d:alice:bob", "seq": 1})

    assert at(alice, "bob") == UNSEEN
    house.fan_out()
    assert at(alice, "bob") == online("web")


def test_members_of_a_group_see_each_other(sized: House) -> None:
    alice, bob, stranger = (sized.connect(user) for user in ("alice", "bob", "stranger"))
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    sized.fan_out()

    assert (at(alice, "bob"), at(bob, "alice")) == (online("web"), online("web"))
    assert look(stranger, "alice", "bob") == {"alice": UNSEEN, "bob": UNSEEN}
    assert look(alice, "stranger", "carol") == {"stranger": UNSEEN, "carol": UNSEEN}


@pytest.mark.parametrize(
    ("who", "op", "data"),
    [
        ("bob", "leave", {}),
        ("alice", "remove", {"users": ["bob"]}),
        ("alice", "dissolve", {}),
    ],
)
def test_who_is_in_no_group_together_any_more_is_not_seen(
    sized: House, who: str, op: str, data: dict[str, Any]
) -> None:
    people = {user: sized.connect(user) for user in ("alice", "bob", "carol")}
    people["alice"].ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    people["alice"].say("x", "c1", conv="g:g")
    sized.fan_out()
    assert at(people["alice"], "bob") == at(people["bob"], "alice") == online("web")

    people[who].ok(f"group.{op}", {"conv": "g:g"} | data)
    sized.fan_out()

    assert at(people["alice"], "bob") == at(people["bob"], "alice") == UNSEEN
    assert at(people["alice"], "carol") == (UNSEEN if op == "dissolve" else online("web"))


def test_one_group_of_several_is_enough(sized: House) -> None:
    alice, bob = sized.connect("alice"), sized.connect("bob")
    for gid in ("ended", "left", "alone", "both"):
        members = [] if gid == "alone" else ["bob"]
        alice.ok("group.create", {"gid": gid, "name": gid, "members": members})
    alice.ok("group.dissolve", {"conv": "g:ended"})
    bob.ok("group.leave", {"conv": "g:left"})
    sized.fan_out()

    assert (at(alice, "bob"), at(bob, "alice")) == (online("web"), online("web"))
    bob.ok("group.leave", {"conv": "g:both"})
    sized.fan_out()
    assert (at(alice, "bob"), at(bob, "alice")) == (UNSEEN, UNSEEN)


def test_two_strangers_who_know_the_same_user_do_not_see_each_other(house: House) -> None:
    alice, bob, carol = house.connect("alice"), house.connect("bob"), house.connect("carol")
    talk(house, alice, "bob")
    talk(house, carol, "bob")

    assert (at(alice, "carol"), at(carol, "alice")) == (UNSEEN, UNSEEN)
    assert look(bob, "alice", "carol") == {"alice": online("web"), "carol": online("web")}


@pytest.mark.parametrize("gone", [False, True])
def test_who_hides_looks_like_a_stranger_and_like_nobody(sized: House, *, gone: bool) -> None:
    alice = sized.connect("alice")
    others = [sized.connect(user) for user in ("friend", "colleague", "stranger")]
    talk(sized, alice, "friend")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["colleague"]})
    sized.fan_out()
    assert UNSEEN not in look(alice, "friend", "colleague").values()

    hide(sized, "friend", "presence")
    hide(sized, "colleague", "presence", "receipts")
    if gone:
        for other in others:
            other.hang_up()

    told = look(alice, "friend", "colleague", "stranger", "nobody")
    assert told == dict.fromkeys(("friend", "colleague", "stranger", "nobody"), UNSEEN)


def test_who_stops_showing_it_is_seen_no_more_until_they_show_it_again(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    talk(house, alice, "bob")

    bob.ok("sync.privacy", {"presence": False})
    assert at(alice, "bob") == UNSEEN
    bob.ok("sync.privacy", {"presence": True})
    assert at(alice, "bob") == online("web")


def test_who_hides_sees_themselves_and_others(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    talk(house, alice, "bob")

    hide(house, "alice", "presence")

    assert look(alice, "alice", "bob") == {"alice": online("web"), "bob": online("web")}
    assert at(bob, "alice") == UNSEEN


def test_who_hides_other_things_is_seen(house: House) -> None:
    alice = house.connect("alice")
    house.connect("bob")
    talk(house, alice, "bob")

    hide(house, "bob", "receipts")

    assert at(alice, "bob") == online("web")


# ---- what it costs ---------------------------------------------------------------------------------------------------


def calls_of(house: House, device: Device, *users: str) -> list[tuple[str, str, int]]:
    """The AWS calls of looking at `users`: operation, table, keys read."""
    with house.watched() as calls:
        look(device, *users)
    return [_described(call) for call in calls]


def _described(call: Call) -> tuple[str, str, int]:
    if call.operation == "BatchGetItem":
        ((table, wanted),) = call.params["RequestItems"].items()
        assert not wanted["ConsistentRead"]
        return (call.operation, table, len(wanted["Keys"]))
    assert not call.params.get("ConsistentRead")
    return (call.operation, call.params["TableName"], 1)


def test_those_who_talk_to_each_other_cost_three_batches(house: House) -> None:
    alice = house.connect("alice")
    friends = [f"friend-{i:02d}" for i in range(20)]
    for friend in friends:
        house.connect(friend)
        talk(house, alice, friend)

    assert calls_of(house, alice, *friends) == [
        ("BatchGetItem", "ConnectionTable", 20),
        ("BatchGetItem", "InboxTable", 20),
        ("BatchGetItem", "InboxTable", 20),
    ]


def test_who_was_never_online_costs_no_more_than_that_look(house: House) -> None:
    alice = house.connect("alice")

    assert calls_of(house, alice, *(f"u{i}" for i in range(100))) == [("BatchGetItem", "ConnectionTable", 100)]


def test_oneself_costs_one_read(house: House) -> None:
    assert calls_of(house, house.connect("alice"), "alice") == [("BatchGetItem", "ConnectionTable", 1)]


def test_groups_are_looked_at_for_those_alone_who_do_not_talk_to_the_caller(sized: House) -> None:
    alice = sized.connect("alice")
    for user in ("friend", "colleague", "stranger"):
        sized.connect(user)
    talk(sized, alice, "friend")
    strangers = [
        ("BatchGetItem", "ConnectionTable", 3),
        ("BatchGetItem", "InboxTable", 3),
        ("BatchGetItem", "InboxTable", 1),
    ]
    assert calls_of(sized, alice, "friend", "colleague", "stranger") == [*strangers, ("Query", "InboxTable", 1)]

    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["colleague"]})
    sized.fan_out()

    shared_rows = [("BatchGetItem", "InboxTable", 1)] if len(sized.items("AudienceTable")) else []
    assert calls_of(sized, alice, "friend", "colleague", "stranger") == [
        *strangers,
        *[("Query", "InboxTable", 1)] * 3,
        *shared_rows,
    ]


# ---- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({}, "data.users"),
        ({"users": []}, "data.users"),
        ({"users": "bob"}, "data.users"),
        ({"users": None}, "data.users"),
        ({"users": {"bob": True}}, "data.users"),
        ({"users": [f"u{i}" for i in range(101)]}, "data.users"),
        ({"users": ["bob"] * 101}, "data.users"),
        ({"users": ["bob", ""]}, "data.users.1"),
        ({"users": ["b:b"]}, "data.users.0"),
        ({"users": ["bob\n"]}, "data.users.0"),
        ({"users": ["x" * 65]}, "data.users.0"),
        ({"users": [5]}, "data.users.0"),
        ({"users": [None]}, "data.users.0"),
    ],
)
def test_a_request_of_the_wrong_form_is_refused(house: House, data: dict[str, Any], path: str) -> None:
    alice = house.connect("alice")
    with house.watched() as calls:
        error = alice.error("sync.presence", data)

    assert (error["code"], error["message"].split(": ")[0]) == ("bad_request", path)
    assert calls == []


def test_a_hundred_users_are_looked_at_at_once(house: House) -> None:
    alice = house.connect("alice")
    users = [f"{i:064d}" for i in range(100)]
    for user in users[:3]:
        house.connect(user)
    talk(house, alice, users[0])

    told = look(alice, *users)

    assert list(told) == users
    assert [user for user in users if told[user] != UNSEEN] == [users[0]]
