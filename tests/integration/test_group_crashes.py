"""Functions die at any of their AWS calls while a group changes; the client or the queue tries again, and all is well.

What a death leaves behind is compared with what one success leaves: all tables, and what every device was pushed. To
die after a call is to die before the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from im.domain import group_rules
from tests.integration.group_state import check_groups, drop_queued, everything, text, undone
from tests.integration.house import Device, House, built_house
from tests.integration.test_crashes import calls_of, dies

CONV = "g:g"
NAME = {"conv": CONV}
LATER = 10**13


class Case(NamedTuple):
    """A request in a group of alice (owner), bob (admin), carol and dave. Erin asks to be let in; gus is outside."""

    caller: str
    op: str
    data: dict[str, Any]
    mode: str = "open"
    dissolved: bool = False
    alone: bool = False


CASES = {
    "create": Case("gus", "group.create", {"gid": "h", "name": "H", "members": ["carol", "dave"]}),
    "invite": Case("carol", "group.invite", {"users": ["erin", "gus"]}),
    "join": Case("gus", "group.join", {}),
    "ask to join": Case("gus", "group.join", {"note": "Please."}, mode="approval"),
    "accept": Case("bob", "group.decide", {"user": "erin", "accept": True}),
    "remove": Case("bob", "group.remove", {"users": ["carol", "dave"]}),
    "leave": Case("bob", "group.leave", {}),
    "leave as the last": Case("alice", "group.leave", {}, alone=True),
    "leave what is dissolved": Case("carol", "group.leave", {}, dissolved=True),
    "role": Case("alice", "group.role", {"user": "carol", "role": "admin"}),
    "transfer": Case("alice", "group.transfer", {"user": "bob"}),
    "mute": Case("bob", "group.mute", {"user": "carol", "until": LATER}),
    "mute all": Case("bob", "group.mute", {"until": LATER}),
    "update": Case("bob", "group.update", {"name": "Other", "notice": "Read this."}),
    "dissolve": Case("alice", "group.dissolve", {}),
}
IN_PARTS = {
    "create": Case("gus", "group.create", {"gid": "h", "name": "H", "members": ["bob", "carol", "dave", "erin"]}),
    "invite": Case("carol", "group.invite", {"users": ["erin", "gus", "u1", "u2", "u3"]}),
    "remove": Case("alice", "group.remove", {"users": ["dave", "carol", "bob"]}),
}


def prepared(house: House, case: Case) -> tuple[Device, Device]:
    """The group, everything delivered. Two devices of the caller: the first try and the repeat."""
    people = {name: house.connect(name) for name in ("alice", "bob", "carol", "dave", "erin", "gus")}
    alice, members = people["alice"], [] if case.alone else ["bob", "carol", "dave"]
    alice.ok("group.create", {"gid": "g", "name": "G", "members": members, "join_mode": "approval"})
    if not case.alone:
        alice.ok("group.role", NAME | {"user": "bob", "role": "admin"})
    people["erin"].ok("group.join", NAME)
    if case.mode != "approval":
        alice.ok("group.update", NAME | {"join_mode": case.mode})
    alice.say("Hello.", "1", conv=CONV)
    if case.dissolved:
        alice.ok("group.dissolve", NAME)
    house.fan_out()
    return people[case.caller], house.connect(case.caller, "phone", "ios")


def pushed(house: House) -> dict[str, Any]:
    """Which entries every device was pushed, in each group."""
    return {
        f"{device.user} {device.device}": [sorted(set(device.seen(conv))) for conv in (CONV, "g:h")]
        for device in house.devices.values()
    }


def delivered(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    """All tables, and what everybody was pushed, once the queue is empty."""
    house.load("fanout")
    house.fan_out()
    check_groups()
    return without_versions(everything(house)), pushed(house)


def without_versions(tables: dict[str, Any]) -> dict[str, Any]:
    """How often a row was written depends on what came in one batch; nothing else does."""
    return tables | {"InboxTable": [re.sub(r', "ver": {"N": "\d+"}', "", row) for row in tables["InboxTable"]]}


def deaths(house: House, first: Device, case: Case) -> Iterator[tuple[int, str]]:
    """Every place to die, each time from the same start."""
    with undone(house):
        steps = calls_of(house, first.ok, case.op, NAME | case.data)
    for at in range(steps):
        yield at, "before"
    yield steps - 1, "after"


def try_to_death(house: House, case: Case) -> None:
    first, phone = prepared(house, case)
    with undone(house):
        once = first.ok(case.op, NAME | case.data)
        expected = delivered(house)
    known: set[str] = set()

    for at, moment in deaths(house, first, case):
        with undone(house):
            assert dies(house, at, moment, first.ok, case.op, NAME | case.data)
            reply = phone.ok(case.op, NAME | case.data)
            assert {*reply.pop("users", [])} <= {*once.get("users", [])}, (at, moment)
            assert reply == {name: value for name, value in once.items() if name != "users"}, (at, moment)
            left = str(everything(house))
            if left not in known:  # what has been looked at need not be delivered again
                tables, pushes = delivered(house)
                assert tables == expected[0], (at, moment)
                assert pushes == expected[1], f"died {moment} call {at}: not everybody was told"
                known.add(left)


@pytest.mark.parametrize("name", CASES)
def test_a_change_that_died_anywhere_is_completed_by_its_repeat_as_if_it_had_not(house: House, name: str) -> None:
    try_to_death(house, CASES[name])


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_change_in_parts_that_died_anywhere_is_completed_by_its_repeat_as_if_it_had_not(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With two users an entry."""
    monkeypatch.setattr(group_rules, "MAX_PER_CHANGE", 2)
    try_to_death(house, IN_PARTS[name])


@pytest.mark.parametrize("name", ["invite", "remove", "leave", "accept"])
@pytest.mark.parametrize(
    "between",
    [
        "a message",
        "a change",
    ],
)
def test_a_change_that_died_is_told_by_its_repeat_whatever_came_between(house: House, name: str, between: str) -> None:
    case = CASES[name]
    first, phone = prepared(house, case)
    alice = next(device for device in house.devices.values() if device.user == "alice")

    def meanwhile() -> None:
        if "message" in between:
            alice.say("Between.", "b", conv=CONV)
        if "change" in between:
            alice.ok("group.update", NAME | {"notice": "Between."})

    with undone(house):
        steps = calls_of(house, first.ok, case.op, NAME | case.data)
        meanwhile()
        expected = delivered(house)

    with undone(house):
        assert dies(house, steps - 1, "before", first.ok, case.op, NAME | case.data)
        meanwhile()
        phone.ok(case.op, NAME | case.data)
        tables, pushes = delivered(house)

    assert tables == expected[0]
    assert pushes == expected[1]


def test_a_refusal_that_died_is_over_for_both_sides(house: House) -> None:
    """Nobody knows then whether they who asked have been told; the owner learns that it is done."""
    case = Case("bob", "group.decide", {"user": "erin", "accept": False})
    first, phone = prepared(house, case)
    erin = next(device for device in house.devices.values() if device.user == "erin")

    for at, moment in deaths(house, first, case):
        with undone(house):
            assert dies(house, at, moment, first.ok, case.op, NAME | case.data)
            reply = phone.ask(case.op, NAME | case.data)
            assert reply["ok"] or reply["error"]["code"] == "not_found"
            assert reply["ok"] <= bool(erin.got("request"))
            assert phone.ok("group.requests", NAME) == {"requests": []}
            assert erin.ok("group.join", NAME) == {"state": "joined"}


def test_a_repeat_that_dies_too_changes_nothing_about_it(house: House) -> None:
    case = CASES["remove"]
    first, phone = prepared(house, case)
    with undone(house):
        first.ok(case.op, NAME | case.data)
        expected = delivered(house)
        steps = calls_of(house, phone.ok, case.op, NAME | case.data)
    places = list(deaths(house, first, case))[-2:]

    for at, moment in places:
        for second in range(steps):
            with undone(house):
                assert dies(house, at, moment, first.ok, case.op, NAME | case.data)
                dies(house, second, "before", phone.ok, case.op, NAME | case.data)
                phone.ok(case.op, NAME | case.data)
                if second == steps - 1:
                    assert delivered(house) == expected


def test_a_sender_s_function_that_died_around_a_removal_says_the_same_to_the_repeat(house: House) -> None:
    """Died before the message was stored: refused. After: found again, though its sender is no member any more."""
    case = Case("carol", "message.send", text("m", CONV))
    first, phone = prepared(house, case)
    alice = next(device for device in house.devices.values() if device.user == "alice")
    codes = []
    for at, moment in deaths(house, first, case):
        with undone(house):
            house.load("message")
            assert dies(house, at, moment, first.ok, case.op, case.data)
            stored = "m" in house.texts(CONV)
            alice.ok("group.remove", NAME | {"users": ["carol"]})
            reply = phone.ask(case.op, case.data)
            assert reply["ok"] == stored
            assert reply["ok"] or reply["error"]["code"] == "not_member"
            assert not reply["ok"] or reply["data"]["duplicate"] is True
            house.fan_out()
            assert house.texts(CONV)[1:] == (["m"] if stored else [])
            check_groups()
            codes.append(stored)

    assert codes == sorted(codes)
    assert set(codes) == {True, False}


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_fan_out_that_died_while_people_come_and_go_is_completed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if size == "small" else "1") as house:
        people = {name: house.connect(name) for name in ("alice", "bob", "carol")}
        alice = people["alice"]
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"], "join_mode": "open"})
        house.fan_out()
        alice.say("One.", "1", conv=CONV, mentions=["@all"])
        people["carol"].ok("group.join", NAME)
        alice.ok("group.remove", NAME | {"users": ["bob"]})
        alice.say("Two.", "2", conv=CONV, mentions=["carol"])
        alice.ok("group.dissolve", NAME)
        records = house.take()
        with undone(house):
            house.load("fanout")
            steps = calls_of(house, house.deliver, records)
            expected = without_versions(everything(house)), pushed(house)
        assert len(records) == 5

        for at in range(0, steps, 1 if size == "small" else 3):
            with undone(house):
                house.load("fanout")
                assert dies(house, at, "before", house.call, "fanout", {"Records": records})
                house.load("fanout")
                assert house.deliver(records) == []
                assert without_versions(everything(house)) == expected[0], at
                assert pushed(house) == expected[1], at
        drop_queued(house)
