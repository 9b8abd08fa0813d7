"""message.typing: told to the others who are there, never kept, and not too often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from im.flows.push_to import YOUNG_MS
from im.flows.typing import GAP_MS
from tests.integration.house import Device, House, built_house

DIRECT = "d:alice:bob"
GROUP = "g:g"
READS = {"GetItem", "BatchGetItem", "Query", "TransactGetItems"}


def typing(device: Device, conv: str = DIRECT, *, on: bool = True) -> None:
    assert device.ok("message.typing", {"conv": conv, "on": on}) == {}


def refusal(device: Device, conv: str = DIRECT, *, on: bool = True) -> str:
    return str(device.error("message.typing", {"conv": conv, "on": on})["code"])


def told(conv: str, user: str, *, on: bool = True) -> list[dict[str, Any]]:
    return [{"push": "typing", "data": {"conv": conv, "user": user, "on": on}}]


def group(house: House, *names: str, gid: str = "g", **more: Any) -> dict[str, Device]:
    """A group of these, made by the first one; all online, what they were pushed forgotten."""
    people = {name: house.connect(name) for name in names}
    people[names[0]].ok("group.create", {"gid": gid, "name": "G", "members": list(names[1:])} | more)
    house.fan_out()
    for device in people.values():
        device.pushes.clear()
    return people


@pytest.fixture
def house(house: House) -> House:
    """A house in which alice and bob have talked before."""
    alice = house.connect("alice")
    alice.say("Hello.", "c0", conv=DIRECT)
    house.fan_out()
    alice.hang_up()
    return house


@pytest.fixture(params=["small", "large"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose groups are all small, or all large."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if request.param == "small" else "1") as built:
        yield built


# ---- who is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
def test_in_a_direct_conversation_all_devices_of_the_other_are_told(house: House, *, on: bool) -> None:
    alice, phone = house.connect("alice"), house.connect("alice", "phone", "ios")
    bob, pc, carol = house.connect("bob"), house.connect("bob", "pc", "desktop"), house.connect("carol")

    typing(alice, on=on)

    assert bob.pushes == pc.pushes == told(DIRECT, "alice", on=on)
    assert alice.pushes == phone.pushes == carol.pushes == []


def test_a_stranger_to_whom_nothing_was_said_is_not_told(house: House) -> None:
    carol, bob = house.connect("carol"), house.connect("bob")

    typing(carol, "d:bob:carol")

    assert bob.pushes == []


def test_in_a_group_all_other_members_are_told(sized: House) -> None:
    people = group(sized, "alice", "bob", "carol")
    phones = [sized.connect(user, "phone", "ios") for user in ("alice", "bob")]
    stranger = sized.connect("stranger")

    typing(people["bob"], GROUP)

    assert people["alice"].pushes == phones[0].pushes == people["carol"].pushes == told(GROUP, "bob")
    assert people["bob"].pushes == phones[1].pushes == stranger.pushes == []


def test_who_is_offline_hears_nothing_later(house: House) -> None:
    alice = house.connect("alice")
    house.connect("bob").hang_up()

    typing(alice)

    bob = house.connect("bob")
    house.fan_out()
    assert bob.pushes == []
    (row,) = bob.ok("sync.inbox")["conversations"]
    assert row["last_seq"] == 1


def test_who_comes_is_told_and_who_has_gone_is_not(sized: House) -> None:
    people = group(sized, "alice", "bob", "carol")
    typing(people["bob"], GROUP)
    dave = sized.connect("dave")
    for change in (
        ("invite", {"users": ["dave"]}),
        ("remove", {"users": ["carol"]}),
    ):
        people["alice"].ok(f"group.{change[0]}", {"conv": GROUP} | change[1])
    sized.fan_out()
    sized.now += GAP_MS
    for device in (dave, *people.values()):
        device.pushes.clear()

    typing(people["bob"], GROUP)

    assert dave.pushes == people["alice"].pushes == told(GROUP, "bob")
    assert people["carol"].pushes == []
    assert refusal(people["carol"], GROUP) == "not_member"


@pytest.mark.parametrize(("members", "pushed"), [(50, 49), (51, 0)])
def test_in_a_group_of_more_than_fifty_nobody_is_told(sized: House, members: int, pushed: int) -> None:
    names = [f"u{i:02d}" for i in range(members)]
    owner = sized.connect(names[0])
    owner.ok("group.create", {"gid": "g", "name": "G", "members": names[1:]})
    others = [sized.connect(name) for name in names[1:]]

    typing(owner, GROUP)

    assert sum(device.pushes == told(GROUP, names[0]) for device in others) == pushed
    assert sum(len(device.pushes) for device in others) == pushed


# ---- what it leaves behind -------------------------------------------------------------------------------------------


def everything(house: House) -> list[list[dict[str, Any]]]:
    tables = ("ConversationTable", "InboxTable", "ConnectionTable", "AudienceTable")
    return [house.items(table) for table in tables]


@pytest.mark.parametrize("conv", [DIRECT, GROUP])
def test_nothing_is_stored_and_nothing_is_queued(sized: House, conv: str) -> None:
    people = group(sized, "alice", "bob")
    before = everything(sized)

    with sized.watched() as calls:
        typing(people["alice"], conv)
        typing(people["alice"], conv, on=False)

    assert {call.operation for call in calls} <= READS | {"PostToConnection"}
    assert everything(sized) == before
    assert sized.take() == sized.take(parts=True) == []


def test_a_direct_conversation_costs_one_read_and_the_pushes(house: House) -> None:
    alice = house.connect("alice")
    house.connect("bob")

    with house.watched() as calls:
        typing(alice)

    assert [call.operation for call in calls] == ["Query", "BatchGetItem", "PostToConnection"]


def test_who_is_in_a_group_is_read_once_in_each_state_of_it(sized: House) -> None:
    people = group(sized, "alice", "bob", "carol")
    first = ["Query", "TransactGetItems", "GetItem", "Query", "GetItem", "BatchGetItem", *["PostToConnection"] * 2]
    again = ["Query", "BatchGetItem", *["PostToConnection"] * 2]
    for expected in (first, again):
        with sized.watched() as calls:
            typing(people["alice"], GROUP)
        assert [call.operation for call in calls] == expected
        sized.now += GAP_MS

    people["alice"].say("x", "c1", conv=GROUP)
    with sized.watched() as calls:
        typing(people["alice"], GROUP)
    assert [call.operation for call in calls] == again, "a message is no new state"

    people["alice"].ok("group.update", {"conv": GROUP, "name": "Other"})
    sized.now += GAP_MS
    with sized.watched() as calls:
        typing(people["alice"], GROUP)
    assert [call.operation for call in calls] == first


def test_members_of_a_group_that_is_too_large_are_not_read(house: House) -> None:
    names = [f"u{i:02d}" for i in range(51)]
    owner = house.connect(names[0])
    owner.ok("group.create", {"gid": "g", "name": "G", "members": names[1:]})

    with house.watched() as calls:
        typing(owner, GROUP)

    assert [call.operation for call in calls] == ["Query", "TransactGetItems"]


@pytest.mark.parametrize("operation", ["BatchGetItem", "PostToConnection"])
def test_a_push_that_fails_is_nobody_s_matter(house: House, operation: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    def fail(call: Any) -> None:
        if call.operation == operation:
            raise RuntimeError("no push")

    with house.watched(before=fail):
        typing(alice)

    assert bob.pushes == []


def test_a_dead_connection_keeps_nothing_from_the_living(house: House) -> None:
    people = group(house, "alice", "bob", "carol")
    house.devices.pop(people["bob"].connection)
    house.now += YOUNG_MS + 1

    typing(people["alice"], GROUP)

    assert people["carol"].pushes == told(GROUP, "alice")
    (bobs,) = [item for item in house.items("ConnectionTable") if item["pk"] == {"S": "bob"}]
    assert "slot:web" not in bobs


# ---- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "conv", "code"),
    [
        ("stranger", DIRECT, "not_member"),
        ("stranger", GROUP, "not_member"),
        ("left", GROUP, "not_member"),
        ("removed", GROUP, "not_member"),
        ("alice", "g:nowhere", "not_member"),
        ("alice", "g:dissolved", "not_member"),
        ("muted", GROUP, "muted"),
    ],
)
def test_who_may_not_send_may_not_say_that_they_write(sized: House, user: str, conv: str, code: str) -> None:
    people = group(sized, "alice", "bob", "left", "removed", "muted")
    group(sized, "alice", "bob", gid="dissolved")
    people["alice"] = sized.connect("alice")
    people["left"].ok("group.leave", {"conv": GROUP})
    people["alice"].ok("group.remove", {"conv": GROUP, "users": ["removed"]})
    people["alice"].ok("group.mute", {"conv": GROUP, "user": "muted", "until": sized.now + 1000})
    people["alice"].ok("group.dissolve", {"conv": "g:dissolved"})
    sized.fan_out()
    people["stranger"] = sized.connect("stranger")
    for device in people.values():
        device.pushes.clear()

    assert refusal(people[user], conv) == code

    assert [device.pushes for device in people.values() if device.pushes] == []


def test_who_is_muted_hears_for_how_long_and_may_again_afterwards(house: House) -> None:
    people = group(house, "alice", "bob", "carol")
    people["alice"].ok("group.mute", {"conv": GROUP, "user": "bob", "until": house.now + 5000})
    error = people["bob"].error("message.typing", {"conv": GROUP, "on": True})
    assert (error["code"], error["retry_after_ms"]) == ("muted", 5000)

    house.now += 5000
    typing(people["bob"], GROUP)

    assert people["carol"].got("typing") == [{"conv": GROUP, "user": "bob", "on": True}]


def test_when_all_are_muted_the_owner_and_admins_may(house: House) -> None:
    people = group(house, "alice", "bob", "carol")
    people["alice"].ok("group.role", {"conv": GROUP, "user": "bob", "role": "admin"})
    people["alice"].ok("group.mute", {"conv": GROUP, "until": house.now + 5000})

    typing(people["alice"], GROUP)
    typing(people["bob"], GROUP)
    assert refusal(people["carol"], GROUP) == "muted"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({}, "data.conv"),
        ({"conv": DIRECT}, "data.on"),
        ({"on": True}, "data.conv"),
        ({"conv": DIRECT, "on": 1}, "data.on"),
        ({"conv": DIRECT, "on": "true"}, "data.on"),
        ({"conv": DIRECT, "on": None}, "data.on"),
        ({"conv": 5, "on": True}, "data.conv"),
        ({"conv": "d:bob:alice", "on": True}, "data.conv"),
        ({"conv": "d:alice:alice", "on": True}, "data.conv"),
        ({"conv": "g:", "on": True}, "data.conv"),
        ({"conv": "bob", "on": True}, "data.conv"),
    ],
)
def test_a_request_of_the_wrong_form_is_refused(house: House, data: dict[str, Any], path: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    with house.watched() as calls:
        error = alice.error("message.typing", data)

    assert (error["code"], error["message"].split(": ")[0]) == ("bad_request", path)
    assert calls == []
    assert bob.pushes == []


# ---- how often -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "retry_after_ms"),
    [(0, GAP_MS), (1, GAP_MS - 1), (GAP_MS - 1, 1), (GAP_MS, None)],
)
def test_once_in_two_seconds(house: House, age: int, retry_after_ms: int | None) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    typing(alice)
    house.now += age

    with house.watched() as calls:
        reply = alice.ask("message.typing", {"conv": DIRECT, "on": True})

    if retry_after_ms is None:
        assert reply["ok"]
        assert len(bob.pushes) == 2
    else:
        assert reply["error"] == {
            "code": "rate_limited",
            "message": "too often",
            "retryable": False,
            "retry_after_ms": retry_after_ms,
        }
        assert calls == [], "a refusal costs nothing"
        assert len(bob.pushes) == 1


def test_the_end_of_writing_may_follow_at_once_and_once(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    typing(alice)
    typing(alice, on=False)
    assert refusal(alice, on=False) == "rate_limited"
    assert refusal(alice) == "rate_limited"

    assert [push["on"] for push in bob.got("typing")] == [True, False]


def test_users_and_conversations_do_not_wait_for_each_other(house: House) -> None:
    people = group(house, "alice", "bob", "carol")

    typing(people["alice"])
    typing(people["bob"])
    typing(people["alice"], GROUP)
    typing(people["bob"], GROUP)
    typing(people["alice"], "d:alice:carol")

    for user, conv in (("alice", DIRECT), ("bob", DIRECT), ("alice", GROUP), ("alice", "d:alice:carol")):
        assert refusal(people[user], conv) == "rate_limited"


def test_all_devices_of_a_user_count_as_one(house: House) -> None:
    alice, phone = house.connect("alice"), house.connect("alice", "phone", "ios")

    typing(alice)

    assert refusal(phone) == "rate_limited"
