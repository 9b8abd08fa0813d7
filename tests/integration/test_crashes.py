"""A function dies, then another one; or it dies and others go on with what it has left.

That whatever died once is completed by its repeat: tests/faults/test_every_call.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import pytest

from im.domain import group_rules
from tests.integration.group_state import check_groups
from tests.integration.house import Call, Crash, House

MOMENTS = ("before", "after")
AT_ONCE = 3
"""How many one change adds here; elsewhere 24."""
CROWD = [f"u{i}" for i in range(AT_ONCE + 2)]
"""More than one change adds."""


@pytest.fixture(autouse=True)
def _small_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_rules, "MAX_PER_CHANGE", AT_ONCE)


def dying(house: House, at: int, moment: str) -> AbstractContextManager[list[Call]]:
    """Whatever function runs inside dies before or after the effect of its AWS call number `at`, from 0."""
    count = -1

    def before(_: Call) -> None:
        nonlocal count
        count += 1
        if moment == "before" and count == at:
            raise Crash

    def after(_: Call, __: dict[str, Any]) -> None:
        if moment == "after" and count == at:
            raise Crash

    return house.watched(before=before, after=after)


def dies(house: House, at: int, moment: str, action: Callable[..., object], *args: Any, **more: Any) -> bool:
    """Whether `action` was cut short there."""
    with dying(house, at, moment):
        try:
            action(*args, **more)
        except Crash:
            return True
    return False


def calls_of(house: House, action: Callable[..., object], *args: Any, **more: Any) -> int:
    with house.watched() as calls:
        action(*args, **more)
    return len(calls)


# ---- send ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [False, True])
def test_a_send_that_died_anywhere_is_completed_by_its_repeat(house: House, *, between: bool) -> None:
    """Also when somebody else has sent in between, from another connection, and when the repeat dies too."""
    alice, phone = house.connect("alice"), house.connect("alice", "phone", "ios")
    people = [house.connect(f"p{i}") for i in range(200)]
    steps = calls_of(house, alice.say, "first", "c1", to="bob")
    house.fan_out()
    assert steps == 4
    deaths = [(at, moment) for at in range(steps) for moment in MOMENTS]
    assert len(deaths) ** 2 <= len(people)

    for person, (death, second) in zip(people, product(deaths, deaths), strict=False):
        assert dies(house, *death, alice.say, "Hello.", "c1", to=person.user)
        if between:
            person.say("Between.", "b1", to="alice")
        dies(house, *second, phone.say, "Hello.", "c1", to=person.user)
        reply = alice.say("Hello.", "c1", to=person.user)
        house.fan_out()

        conv = f"d:alice:{person.user}"
        texts = house.texts(conv)
        assert sorted(texts) == (["Between.", "Hello."] if between else ["Hello."])
        assert texts[reply["seq"] - 1] == "Hello."
        assert person.seen(conv).count(reply["seq"]) >= 1
        row = person.ok("sync.inbox")["conversations"][0]
        assert row["last_seq"] == len(texts)
        assert row["unread"] == sum(text == "Hello." for text in texts[row["read_seq"] :])


# ---- group.create ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [AT_ONCE - 1, len(CROWD)])
def test_a_group_that_died_in_the_making_is_whole_or_not_there_and_completed_by_its_repeat(
    house: House, others: int
) -> None:
    """A founding of many is some entries: each with all whom it adds."""
    founders = ["alice", *CROWD[:others]]
    people = [house.connect(founders[i]) for i in (0, 1, -1)]
    alice = people[0]
    made = {"name": "G", "members": founders[1:]}
    changes = [founders[:AT_ONCE], founders[AT_ONCE:]] if others >= AT_ONCE else [founders]
    steps = calls_of(house, alice.ok, "group.create", made | {"gid": "first"})
    house.fan_out()

    half_made = 0
    for i, (at, moment) in enumerate(product(range(steps), MOMENTS)):
        gid, conv = f"g{i}", f"g:g{i}"
        assert dies(house, at, moment, alice.ok, "group.create", made | {"gid": gid})

        # Meanwhile people try to use it: whoever is in it finds it whole, and everybody else finds nothing.
        there = [user for some in changes[: len(house.log(conv))] for user in some]
        said = []
        for who in people:
            reply = who.ask(
                "message.send", {"conv": conv, "cmid": who.user, "kind": "text", "body": {"text": who.user}}
            )
            info = who.ask("group.info", {"conv": conv})
            assert reply["ok"] == info["ok"] == (who.user in there)
            if not reply["ok"]:
                assert reply["error"]["code"] == info["error"]["code"] == "not_member"
                continue
            said.append(who.user)
            assert info["data"]["members"] == len(there)
            members = who.ok("group.members", {"conv": conv})["members"]
            assert [member["user"] for member in members] == sorted(there)
        half_made += 0 < len(there) < len(founders)
        house.fan_out()

        info = alice.ok("group.create", made | {"gid": gid})
        again = alice.ok("group.create", made | {"gid": gid})
        alice.say("Welcome.", "w", conv=conv)
        house.fan_out()

        assert info == again
        assert (info["members"], info["me"]["role"], info["name"]) == (len(founders), "owner", "G")
        log = house.log(conv)
        added = [json.loads(entry["body"])["added"] for entry in log if entry["kind"] == "members"]
        assert added == changes
        assert house.texts(conv) == [*said, "Welcome."]
        assert len(log) == len(changes) + len(said) + 1
        rows = {i["pk"]["S"]: i["last_seq"] for i in house.items("InboxTable") if i["sk"]["S"] == f"CONV#{conv}"}
        assert rows == {user: {"N": str(len(log))} for user in founders}, "somebody missed something"
        assert all(person.seen(conv)[-1] == len(log) for person in people[1:])
    assert (half_made > 0) == (len(changes) > 1)
    check_groups()


def test_a_group_is_what_its_first_request_said_whoever_completes_it(house: House) -> None:
    alice = house.connect("alice")
    first = {"gid": "g", "name": "First", "notice": "n", "members": CROWD, "join_mode": "open"}
    with house.watched() as calls:
        alice.ok("group.create", first | {"gid": "other"})
    at = [call.operation for call in calls].index("TransactWriteItems")
    assert dies(house, at, "after", alice.ok, "group.create", first)
    assert alice.ok("group.info", {"conv": "g:g"})["members"] == AT_ONCE

    info = alice.ok("group.create", {"gid": "g", "name": "Second", "members": ["carol"], "history": True})

    assert (info["name"], info["notice"], info["join_mode"], info["history"]) == ("First", "n", "open", False)
    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:g"})["members"]] == ["alice", *CROWD]
    assert info["members"] == len(CROWD) + 1
    assert len(house.log("g:g")) == 2


def test_a_group_that_is_half_made_is_nobody_else_s_to_complete(house: House) -> None:
    alice, mallory = house.connect("alice"), house.connect("mallory")
    made = {"gid": "g", "name": "G", "members": CROWD}
    for at in range(calls_of(house, alice.ok, "group.create", made | {"gid": "other"})):
        if dies(house, at, "after", alice.ok, "group.create", made) and house.log("g:g"):
            break

    assert mallory.error("group.create", made)["code"] == "conflict"

    assert alice.ok("group.info", {"conv": "g:g"})["members"] == AT_ONCE


def test_a_repeat_of_group_create_tells_what_was_made_first(house: House) -> None:
    alice = house.connect("alice")
    first = alice.ok("group.create", {"gid": "g", "name": "First", "notice": "n", "members": ["bob"]})

    again = alice.ok("group.create", {"gid": "g", "name": "Second", "members": ["carol"], "history": True})

    assert again == first
    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:g"})["members"]] == ["alice", "bob"]
    assert len(house.log("g:g")) == 1


# ---- fan-out ---------------------------------------------------------------------------------------------------------


def test_a_sender_s_row_that_has_reached_an_entry_says_that_everybody_s_has(house: House) -> None:
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["aaron", "bob", "zoe"]})
    house.fan_out()
    alice.say("x", "c1", conv="g:g")

    def order(call: Call) -> None:
        if call.sort_key == "CONV#g:g":
            written.append(call.user)

    written: list[str] = []
    with house.watched(before=order):
        house.fan_out()

    assert sorted(written) == ["aaron", "alice", "bob", "zoe"]
    assert written[-1] == "alice"
