"""A function dies before or after any of its AWS calls; the client or the queue tries again, and all is well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.house import Call, Crash, House

MOMENTS = ("before", "after")
FOUNDERS = [f"u{i:02d}" for i in range(26)]
"""More than a BatchWriteItem takes."""


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


def test_a_send_to_a_group_that_died_anywhere_reaches_every_member(house: House) -> None:
    alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    steps = calls_of(house, alice.say, "0", "c0", conv="g:g")
    house.fan_out()

    for i, (at, moment) in enumerate(product(range(steps), MOMENTS), start=1):
        assert dies(house, at, moment, alice.say, f"{i}", f"c{i}", conv="g:g")
        reply = alice.say(f"{i}", f"c{i}", conv="g:g")
        house.fan_out()

        assert house.texts("g:g") == [f"{n}" for n in range(i + 1)]
        assert reply["seq"] == i + 2
        for member in (bob, carol):
            assert member.seen("g:g")[-1] == reply["seq"]
            assert member.ok("sync.unread")["conversations"] == {"g:g": i + 1}


def test_nothing_is_acked_that_is_not_queued(house: House) -> None:
    alice = house.connect("alice")

    def no_queue(call: Call) -> None:
        if call.service == "sqs":
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, call.operation)

    with house.watched(before=no_queue):
        error = alice.error("message.send", {"to": "bob", "cmid": "c1", "kind": "text", "body": {"text": "x"}})

    assert error["retryable"] is True
    assert alice.say("x", "c1", to="bob")["duplicate"] is True
    assert len(house.take()) == 1


# ---- group.create ----------------------------------------------------------------------------------------------------


def test_a_group_that_died_in_the_making_is_completed_by_its_repeat(house: House) -> None:
    alice = house.connect("alice")
    founder, latecomer = house.connect("u00"), house.connect("u25")
    made = {"name": "G", "members": FOUNDERS}
    steps = calls_of(house, alice.ok, "group.create", made | {"gid": "first"})
    house.fan_out()

    for i, (at, moment) in enumerate(product(range(steps), MOMENTS)):
        gid, conv = f"g{i}", f"g:g{i}"
        assert dies(house, at, moment, alice.ok, "group.create", made | {"gid": gid})

        # Meanwhile people try to use it: either they are in a whole group, or in none.
        said = []
        for who in (alice, founder, latecomer):
            reply = who.ask(
                "message.send", {"conv": conv, "cmid": who.user, "kind": "text", "body": {"text": who.user}}
            )
            said += [who.user] if reply["ok"] else []
            assert reply["ok"] or reply["error"]["code"] == "not_member"
            info = who.ask("group.info", {"conv": conv})
            assert info["ok"] == reply["ok"]
        assert said in ([], ["alice", "u00", "u25"])
        house.fan_out()

        info = alice.ok("group.create", made | {"gid": gid})
        again = alice.ok("group.create", made | {"gid": gid})
        alice.say("Welcome.", "w", conv=conv)
        house.fan_out()

        assert info == again
        assert (info["members"], info["me"]["role"], info["name"]) == (27, "owner", "G")
        assert [entry["kind"] for entry in house.log(conv)] == ["members"] + ["text"] * (len(said) + 1)
        assert house.texts(conv) == [*said, "Welcome."]
        rows = {i["pk"]["S"]: i["last_seq"] for i in house.items("InboxTable") if i["sk"]["S"] == f"CONV#{conv}"}
        assert rows == {user: {"N": str(len(said) + 2)} for user in ["alice", *FOUNDERS]}, "somebody missed something"


def test_a_group_is_what_its_first_request_said_whoever_completes_it(house: House) -> None:
    alice = house.connect("alice")
    first = {"gid": "g", "name": "First", "notice": "n", "members": ["bob"], "join_mode": "open"}
    assert dies(house, 0, "after", alice.ok, "group.create", first)

    info = alice.ok("group.create", {"gid": "g", "name": "Second", "members": ["carol"], "history": True})

    assert (info["name"], info["notice"], info["join_mode"], info["history"]) == ("First", "n", "open", False)
    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:g"})["members"]] == ["alice", "bob"]


def test_a_repeat_of_group_create_tells_what_was_made_first(house: House) -> None:
    alice = house.connect("alice")
    first = alice.ok("group.create", {"gid": "g", "name": "First", "notice": "n", "members": ["bob"]})

    again = alice.ok("group.create", {"gid": "g", "name": "Second", "members": ["carol"], "history": True})

    assert again == first
    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:g"})["members"]] == ["alice", "bob"]
    assert len(house.log("g:g")) == 1


# ---- fan-out ---------------------------------------------------------------------------------------------------------


def test_a_fan_out_that_died_anywhere_is_completed_by_the_next(house: House) -> None:
    """SQS brings the batch again. Rows end right; clients drop what they have."""
    alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    house.fan_out()
    alice.say("0", "c0", conv="g:g")
    steps = calls_of(house, house.fan_out)

    for i, (at, moment) in enumerate(product(range(steps), MOMENTS), start=1):
        alice.say(f"{i}", f"c{i}", conv="g:g")
        records = house.take()
        died = dies(house, at, moment, house.deliver, records)
        assert died
        if i % 2:
            house.load("fanout")  # the next instance knows nothing
        house.fan_out()

        for member in (bob, carol):
            assert member.seen("g:g")[-1] == i + 2
            assert member.ok("sync.unread")["conversations"] == {"g:g": i + 1}
        assert alice.ok("sync.unread")["total_unread"] == 0


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


# ---- marks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["sync.read", "sync.ack"])
def test_a_mark_that_died_anywhere_is_set_by_its_repeat(house: House, op: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    def data(seq: int) -> dict[str, Any]:
        mark = {"conv": "d:alice:bob", "seq": seq}
        return mark if op == "sync.read" else {"acks": [mark]}

    alice.say("0", "c0", to="bob")
    house.fan_out()
    steps = calls_of(house, bob.ok, op, data(1))
    for i, (at, moment) in enumerate(product(range(steps), MOMENTS), start=1):
        alice.say(f"{i}", f"c{i}", to="bob")
        house.fan_out()
        assert dies(house, at, moment, bob.ok, op, data(i + 1))
        bob.ok(op, data(i + 1))

        (row,) = bob.ok("sync.inbox")["conversations"]
        assert row["read_seq" if op == "sync.read" else "ack_seq"] == i + 1
        assert row["unread"] == (0 if op == "sync.read" else i + 1)
