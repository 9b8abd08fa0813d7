"""Connections open, push each other out, end; the dead ones never get or block anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from im.domain.signin import CONNECTION_LIFE_MS, MAX_DEVICES, SLOT_LIFE_MS
from im.flows.push_to import YOUNG_MS
from tests.integration.house import Call, Device, House, built_house, sample

REPLACED = {"push": "kicked", "data": {"reason": "replaced"}}
LOGOUT = {"push": "kicked", "data": {"reason": "logout"}}
PHONE, TABLET, PC, BROWSER, TOASTER = (
    ("phone", "ios"),
    ("tablet", "android"),
    ("pc", "desktop"),
    ("browser", "web"),
    ("toaster", "other"),
)


@pytest.fixture
def policy_house(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with built_house(monkeypatch, SIGN_IN_POLICY=request.param) as built:
        yield built


def slots(house: House, user: str) -> set[str]:
    """The connections that hold a slot."""
    return {
        value["M"]["connection"]["S"]
        for item in house.items("ConnectionTable")
        if item["pk"] == {"S": user}
        for name, value in item.items()
        if name.startswith("slot:")
    }


def late_disconnect(house: House, device: Device) -> None:
    event = sample("disconnect")
    event["requestContext"] |= device._context()
    assert house.call("connect", event) == {"statusCode": 200}


# ---- policies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy_house", "coming", "stay"),
    [
        ("per_platform", [PHONE, PC, BROWSER], {"phone", "pc", "browser"}),
        ("per_platform", [PHONE, TABLET], {"tablet"}),
        ("per_platform", [BROWSER, TOASTER], {"toaster"}),
        ("per_platform", [PHONE, ("phone", "desktop")], {"phone"}),
        ("single", [PHONE, PC], {"pc"}),
        ("single", [PHONE, PHONE], {"phone"}),
        ("multi", [PHONE, TABLET, PC, BROWSER, TOASTER], {"phone", "tablet", "pc", "browser", "toaster"}),
        ("multi", [PHONE, PC, PHONE], {"phone", "pc"}),
        ("multi", [PHONE, ("phone", "web")], {"phone"}),
    ],
    indirect=["policy_house"],
)
def test_a_policy_says_who_may_stay(policy_house: House, coming: list[tuple[str, str]], stay: set[str]) -> None:
    house, devices = policy_house, []
    for name, platform in coming:
        house.now += 1
        devices.append(house.connect("alice", name, platform))

    open_now = [device for device in devices if not device.closed]
    assert {device.device for device in open_now} == stay
    assert len(open_now) == len(stay)
    assert slots(house, "alice") == {device.connection for device in open_now}
    for device in devices:
        assert device.pushes == ([REPLACED] if device.closed else [])


@pytest.mark.parametrize("policy_house", ["multi"], indirect=True)
def test_the_ninth_device_ends_the_oldest(policy_house: House) -> None:
    house, devices = policy_house, []
    for i in range(MAX_DEVICES + 3):
        house.now += 1000
        devices.append(house.connect("alice", f"d{i}"))

    assert [device.closed for device in devices] == [True] * 3 + [False] * MAX_DEVICES
    assert slots(house, "alice") == {device.connection for device in devices[3:]}


def test_users_do_not_end_each_other_s_connections(house: House) -> None:
    alice, bob = house.connect("alice", "d1", "ios"), house.connect("bob", "d1", "ios")

    assert (alice.closed, bob.closed) == (False, False)


def test_the_loser_hears_why_before_it_is_closed(house: House) -> None:
    old = house.connect("alice", "phone", "ios")
    with house.watched() as calls:
        house.connect("alice", "tablet", "android")

    operations = [call.operation for call in calls if call.service == "execute-api"]
    assert operations == ["PostToConnection", "DeleteConnection"]
    assert old.pushes == [REPLACED]


def test_a_change_of_policy_leaves_no_two_connections_of_a_device(
    monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    before = [house.connect("alice", *device) for device in (PHONE, PC, BROWSER)]

    monkeypatch.setenv("SIGN_IN_POLICY", "multi")
    house.load("connect")
    phone = house.connect("alice", *PHONE)

    assert [device.closed for device in before] == [True, False, False]
    assert slots(house, "alice") == {phone.connection, before[1].connection, before[2].connection}

    monkeypatch.setenv("SIGN_IN_POLICY", "single")
    house.load("connect")
    last = house.connect("alice", *PC)

    assert all(device.closed for device in [*before, phone])
    assert slots(house, "alice") == {last.connection}


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_a_connection_that_ends_is_forgotten(house: House) -> None:
    alice = house.connect("alice")

    alice.hang_up()

    assert slots(house, "alice") == set()


def test_the_late_end_of_a_replaced_connection_leaves_the_new_one(house: House) -> None:
    """`$disconnect` is best effort: it may come late, twice, or never."""
    old = house.connect("alice", "phone", "ios")
    house.devices.pop(old.connection)  # its network is gone, and API Gateway does not know yet
    new = house.connect("alice", "phone", "ios")

    late_disconnect(house, old)
    late_disconnect(house, old)

    assert slots(house, "alice") == {new.connection}
    house.connect("bob").say("x", "c1", to="alice")
    house.fan_out()
    assert new.seen() == [1]


def test_the_end_of_a_connection_that_never_was_is_no_failure(house: House) -> None:
    late_disconnect(house, Device(house, "nobody", "d1", "web", "conn-0="))

    assert slots(house, "nobody") == set()


def test_logging_out_ends_this_connection_alone(house: House) -> None:
    phone, pc = house.connect("alice", *PHONE), house.connect("alice", *PC)

    assert house.call("connect", logout(phone, "this"))["body"] == ""

    assert (phone.closed, pc.closed) == (True, False)
    assert phone.pushes == [{"id": "r1", "ok": True, "data": {}}, LOGOUT]
    assert pc.pushes == []
    assert slots(house, "alice") == {pc.connection}


def test_logging_out_everywhere_ends_all_with_one_reply(house: House) -> None:
    phone, pc, browser = (house.connect("alice", *device) for device in (PHONE, PC, BROWSER))
    bob = house.connect("bob")

    assert house.call("connect", logout(pc, "all"))["body"] == ""

    assert pc.pushes == [{"id": "r1", "ok": True, "data": {}}, LOGOUT]
    assert phone.pushes == browser.pushes == [LOGOUT]
    assert all(device.closed for device in (phone, pc, browser))
    assert slots(house, "alice") == set()
    assert not bob.closed


def test_logging_out_everywhere_is_not_stopped_by_a_dead_connection(house: House) -> None:
    phone, pc = house.connect("alice", *PHONE), house.connect("alice", *PC)
    house.devices.pop(phone.connection)

    house.call("connect", logout(pc, "all"))

    assert pc.closed
    assert slots(house, "alice") == set()


@pytest.mark.parametrize("devices", ["this", "all"])
def test_logging_out_frees_the_slots_even_when_no_end_arrives(house: House, devices: str) -> None:
    """Closing may fail, and `$disconnect` is best effort."""
    phone, pc = house.connect("alice", *PHONE), house.connect("alice", *PC)

    def fail(call: Call) -> None:
        if call.operation == "DeleteConnection":
            raise ClientError({"Error": {"Code": "LimitExceededException"}}, call.operation)

    with house.watched(before=fail):
        house.call("connect", logout(pc, devices))

    assert slots(house, "alice") == (set() if devices == "all" else {phone.connection})


@pytest.mark.parametrize("devices", ["others", "", None, 5])
def test_a_logout_of_the_wrong_form_ends_nothing(house: House, devices: object) -> None:
    alice = house.connect("alice")

    assert alice.error("connect.logout", {"devices": devices})["code"] == "bad_request"

    assert not alice.closed
    assert slots(house, "alice") == {alice.connection}


def logout(device: Device, devices: str) -> dict[str, Any]:
    event = sample("ping")
    event["requestContext"] |= device._context()
    event["body"] = f'{{"route":"connect","op":"logout","id":"r1","data":{{"devices":"{devices}"}}}}'
    return event


# ---- the dead --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "kept"), [(0, True), (YOUNG_MS, True), (YOUNG_MS + 1, False)])
def test_a_connection_that_is_gone_loses_its_slot_unless_it_is_young(house: House, age: int, *, kept: bool) -> None:
    """A young one may be about to live: it is registered during `$connect` and can be reached only after it."""
    alice, bob = house.connect("alice"), house.connect("bob")
    house.devices.pop(bob.connection)
    house.now += age

    alice.say("x", "c1", to="bob")
    house.fan_out()

    assert slots(house, "bob") == ({bob.connection} if kept else set())
    assert slots(house, "alice") == {alice.connection}
    assert bob.ok("sync.unread")["total_unread"] == 1


def test_a_dead_device_does_not_keep_anything_from_the_living(house: House) -> None:
    alice = house.connect("alice")
    dead, alive = house.connect("bob", *PHONE), house.connect("bob", *PC)
    house.devices.pop(dead.connection)
    house.now += YOUNG_MS + 1

    for i in range(3):
        alice.say(f"{i}", f"c{i}", to="bob")
        house.fan_out()

    assert alive.seen() == [1, 2, 3]
    assert slots(house, "bob") == {alive.connection}


@pytest.mark.parametrize("age", [CONNECTION_LIFE_MS, SLOT_LIFE_MS - 1, SLOT_LIFE_MS, SLOT_LIFE_MS * 5])
def test_no_push_is_tried_once_a_connection_cannot_be_alive(house: House, age: int) -> None:
    alice = house.connect("alice")
    alice.say("x", "c1", to="bob")
    house.connect("bob")
    house.now += age

    with house.watched() as calls:
        house.fan_out()

    pushes = [call for call in calls if call.service == "execute-api"]
    assert len(pushes) == (1 if age < SLOT_LIFE_MS else 0)


def test_an_item_of_connections_expires_thirty_days_after_its_newest_slot(house: House) -> None:
    house.connect("alice", *PHONE)
    house.now += 1_000_000
    house.connect("alice", *PC)

    (item,) = house.items("ConnectionTable")
    assert int(item["ttl"]["N"]) == (house.now + SLOT_LIFE_MS + 30 * 24 * 60 * 60 * 1000) // 1000


def test_a_device_that_died_unheard_keeps_nobody_in_an_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="1") as house:
        house.connect("alice").ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
        house.fan_out()
        house.connect("bob", *PHONE)
        house.now += SLOT_LIFE_MS // 2
        pc = house.connect("bob", *PC)
        house.now += SLOT_LIFE_MS // 2
        assert audience(house) == {"alice", "bob"}

        pc.hang_up()

        assert audience(house) == {"alice"}


def test_who_was_connected_long_ago_comes_into_no_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="1") as house:
        house.connect("bob")
        house.now += SLOT_LIFE_MS
        house.connect("alice").ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
        house.fan_out()

        assert audience(house) == {"alice"}


def audience(house: House) -> set[str]:
    return {item["sk"]["S"] for item in house.items("AudienceTable")}


def test_logging_out_everywhere_does_not_try_to_end_what_cannot_be_alive(house: House) -> None:
    phone = house.connect("alice", *PHONE)
    house.now += SLOT_LIFE_MS // 2
    pc = house.connect("alice", *PC)
    house.now += SLOT_LIFE_MS // 2

    with house.watched() as calls:
        house.call("connect", logout(pc, "all"))

    assert phone.connection not in {call.params.get("ConnectionId") for call in calls}
    assert slots(house, "alice") == set()


def test_a_connection_that_lost_its_slot_is_ended_by_its_ping_and_may_come_again(house: House) -> None:
    """It gets no pushes, so it must not look alive."""
    alice, bob = house.connect("alice"), house.connect("bob")
    house.dynamodb.delete_item(TableName="ConnectionTable", Key={"pk": {"S": "bob"}})

    assert bob.ok("connect.ping")["ts"] == house.now

    assert (bob.closed, bob.pushes) == (True, []), "kicked means: do not come again"
    assert slots(house, "bob") == set()
    again = house.connect("bob")
    alice.say("x", "c1", to="bob")
    house.fan_out()
    assert again.seen() == [1]


def test_a_connection_that_was_replaced_while_it_opened_is_ended_by_its_first_ping(house: House) -> None:
    newer: list[Device] = []

    def at_the_last_moment(call: Call, _: dict[str, Any]) -> None:
        if call.operation == "UpdateItem":
            house.after = None
            newer.append(house.connect("alice", *TABLET))

    with house.watched(after=at_the_last_moment):
        older = house.connect("alice", *PHONE)
    assert not newer[0].closed

    pong = older.ask("connect.ping")

    assert pong["ok"]
    assert older.pushes == [REPLACED]
    assert (older.closed, newer[0].closed) == (True, False)
    assert slots(house, "alice") == {newer[0].connection}
    assert newer[0].ok("connect.ping")
    assert not newer[0].closed


@pytest.mark.parametrize("policy_house", ["per_platform", "single", "multi"], indirect=True)
def test_a_connect_that_was_given_up_takes_nothing_from_the_one_that_came_after_it(policy_house: House) -> None:
    """Its client hears nothing for some seconds and comes again; the first `$connect` goes on late."""
    house = policy_house
    newer: list[Device] = []

    def before_it_is_registered(call: Call) -> None:
        if call.operation == "UpdateItem":
            house.before = None
            house.now += 10_000
            newer.append(house.connect("alice", *PHONE))

    with house.watched(before=before_it_is_registered):
        older = house.knock("alice", *PHONE)

    assert (older.closed, newer[0].closed, newer[0].pushes) == (True, False, [])
    assert slots(house, "alice") == {newer[0].connection}
    assert not newer[0].ok("connect.ping").get("lost")
    assert not newer[0].closed


def test_a_late_connect_of_a_device_on_another_platform_takes_nothing_either(house: House) -> None:
    """One live connection a device, in whatever slot."""
    newer: list[Device] = []

    def before_it_is_registered(call: Call) -> None:
        if call.operation == "UpdateItem":
            house.before = None
            house.now += 10_000
            newer.append(house.connect("alice", "d1", "web"))

    with house.watched(before=before_it_is_registered):
        older = house.knock("alice", "d1", "ios")

    assert (older.closed, newer[0].closed, newer[0].pushes) == (True, False, [])
    assert slots(house, "alice") == {newer[0].connection}


def test_a_slot_of_an_earlier_version_is_taken_over(house: House) -> None:
    old = house.connect("alice", *PHONE)
    house.dynamodb.update_item(
        TableName="ConnectionTable",
        Key={"pk": {"S": "alice"}},
        UpdateExpression="REMOVE #slot.asked",
        ExpressionAttributeNames={"#slot": "slot:mobile"},
    )

    new = house.connect("alice", *PHONE)

    assert (old.closed, new.closed) == (True, False)
    assert slots(house, "alice") == {new.connection}


def test_a_device_that_was_logged_out_while_it_could_not_be_reached_does_not_come_back_by_a_ping(house: House) -> None:
    phone, pc = house.connect("alice", *PHONE), house.connect("alice", *PC)
    house.devices.pop(phone.connection)
    house.call("connect", logout(pc, "all"))
    house.devices[phone.connection] = phone

    phone.ask("connect.ping")

    assert phone.closed
    assert slots(house, "alice") == set()


def test_a_ping_tells_the_time_and_whether_the_inbox_has_changed(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    quiet = bob.ok("connect.ping")
    assert quiet == bob.ok("connect.ping") == {"ts": house.now, "inbox": bob.ok("sync.inbox")["inbox"]}

    alice.say("x", "c1", to="bob")
    assert bob.ok("connect.ping") == quiet
    house.fan_out()
    delivered = bob.ok("connect.ping")["inbox"]
    bob.ok("sync.read", {"conv": "d:alice:bob", "seq": 1})
    read = bob.ok("connect.ping")["inbox"]
    bob.ok("sync.read", {"conv": "d:alice:bob", "seq": 1})

    assert len({quiet["inbox"], delivered, read}) == 3
    assert bob.ok("connect.ping")["inbox"] == read
