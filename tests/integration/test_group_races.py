"""Two requests about one group at once: each comes to what it would have come to before or after the other.

Each of them reads, then writes, then queues what it wrote. Calls of two requests that only read can change places
without any effect, so every order comes to the same as one of these: one request stops before one of its calls, the
other runs from its beginning to its end, and the first goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from im.domain import group_rules
from tests.integration.group_state import (
    Told,
    check_groups,
    code_of,
    drop_queued,
    log_of,
    people_of,
    stored,
    text,
    undone,
)
from tests.integration.house import Device, House, built_house
from tests.integration.turns import Turns

CONV = "g:g"
NAME = {"conv": CONV}
LATER = 10**13
READING = {"GetItem", "BatchGetItem", "TransactGetItems", "Query"}

Ask = Callable[[], dict[str, Any]]
Codes = tuple[str, str]
Check = Callable[[list[Any], Told], None]


def ask(device: Device, op: str, **data: Any) -> Ask:
    return partial(device.ask, op, NAME | data)


def send(device: Device, cmid: str, **more: Any) -> Ask:
    return partial(device.ask, "message.send", text(cmid, CONV, **more))


def group(people: dict[str, Device], members: str = "bob carol", admins: str = "", **more: Any) -> None:
    """A group of alice and these."""
    people["alice"].ok("group.create", {"gid": "g", "name": "G", "members": members.split(), **more})
    for admin in admins.split():
        people["alice"].ok("group.role", NAME | {"user": admin, "role": "admin"})


def orders(house: House, frames: Sequence[Ask]) -> Iterator[list[int]]:
    """Every order that matters."""
    for i, frame in enumerate(frames):
        with undone(house), house.watched() as calls:
            frame()
        writes = [n for n, call in enumerate(calls) if call.service == "dynamodb" and call.operation not in READING]
        # A turn ends before the frame's next call, the first one before its first call.
        for turns in range(2 + (writes or [len(calls)])[-1]):
            yield [i] * turns + [1 - i] * 100


def outcomes(house: House, *frames: Ask, check: Check, warm: Sequence[Device] = ()) -> set[Codes]:
    """The pairs of codes that come out when the two frames are played in every order, each time from the same start.

    Every time what is stored must be right by the log, what is in the log must have been allowed when it was said, and
    `check` is given the replies and the group. `warm`: who has sent "warm" before, so that the function knows them.
    """
    drop_queued(house)
    seen: set[Codes] = set()
    for order in orders(house, frames):
        with undone(house):
            house.load("message")
            for device in warm:
                device.say("warm", "warm", conv=CONV)
            replies = Turns(house).run(frames, order)
            found = check_groups()[CONV]
            codes = tuple(code_of(reply) for reply in replies)
            try:
                check(replies, found)
            except AssertionError as e:
                raise AssertionError(f"{codes} in the order {order[:16]}: {e}") from e
            seen.add((codes[0], codes[1]))
    return seen


def said(cmid: str) -> list[int]:
    """Where a message stands in the log."""
    return [int(entry["seq"]) for entry in log_of(CONV) if entry.get("cmid") == cmid]


def nothing_else(_: list[Any], __: Told) -> None:
    """The log says it all."""


# ---- to send and to lose the right to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "warm"),
    [("leave", True), ("remove", True), ("remove", False), ("mute", True), ("mute all", False), ("dissolve", False)],
)
def test_a_message_is_before_the_end_of_its_sender_s_right_to_send_or_refused(
    house: House, end: str, *, warm: bool
) -> None:
    people = people_of(house, "alice bob carol")
    alice, bob = people["alice"], people["bob"]
    group(people)
    bob.say("warm", "warm", conv=CONV)
    ends = {
        "leave": ask(bob, "group.leave"),
        "remove": ask(alice, "group.remove", users=["bob"]),
        "mute": ask(alice, "group.mute", user="bob", until=LATER),
        "mute all": ask(alice, "group.mute", until=LATER),
        "dissolve": ask(alice, "group.dissolve"),
    }

    def check(replies: list[Any], now: Told) -> None:
        assert said("m") == ([replies[0]["data"]["seq"]] if replies[0]["ok"] else [])
        assert now.seq == (4 if replies[0]["ok"] else 3)
        if replies[0]["ok"] and end not in {"mute", "mute all"}:
            assert replies[0]["data"]["seq"] < now.spans["bob"][-1][1] or end == "dissolve"

    seen = outcomes(house, send(bob, "m"), ends[end], check=check, warm=[bob] if warm else [])

    assert seen == {("ok", "ok"), ("muted" if "mute" in end else "not_member", "ok")}


def test_everybody_is_mentioned_before_that_is_forbidden_or_not_at_all(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people, who_mentions_all="members")
    people["bob"].say("warm", "warm", conv=CONV)
    forbid = ask(people["alice"], "group.update", who_mentions_all="admins")

    seen = outcomes(
        house, send(people["bob"], "m", mentions=["@all"]), forbid, check=nothing_else, warm=[people["bob"]]
    )

    assert seen == {("ok", "ok"), ("forbidden", "ok")}


def test_a_message_of_who_comes_is_after_their_coming_or_refused(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people, "carol")
    invite = ask(people["alice"], "group.invite", users=["bob"])

    def check(replies: list[Any], now: Told) -> None:
        assert said("m") == ([3] if replies[0]["ok"] else [])

    assert outcomes(house, send(people["bob"], "m"), invite, check=check) == {("ok", "ok"), ("not_member", "ok")}


def test_a_message_that_was_sent_twice_around_a_removal_is_one(house: House) -> None:
    """The same frame on two devices, one of them in the middle of a removal."""
    people = people_of(house, "alice bob carol")
    phone = house.connect("bob", "phone", "ios")
    group(people)

    def remove_then_repeat() -> dict[str, Any]:
        people["alice"].ok("group.remove", NAME | {"users": ["bob"]})
        return phone.ask("message.send", text("m", CONV))

    def check(replies: list[Any], now: Told) -> None:
        places = {reply["data"]["seq"] for reply in replies if reply["ok"]}
        assert said("m") == sorted(places)
        assert now.members == {"alice", "carol"}

    seen = outcomes(house, send(people["bob"], "m"), remove_then_repeat, check=check)
    # The repeat may find the removal before the message: then the message was refused as well.
    assert seen == {("ok", "ok"), ("not_member", "not_member")}


def test_whoever_reads_while_they_are_removed_sees_nothing_that_came_later(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people)
    people["alice"].say("One.", "1", conv=CONV)

    def remove_and_talk() -> dict[str, Any]:
        people["alice"].ok("group.remove", NAME | {"users": ["bob"]})
        return people["alice"].ask("message.send", text("2", CONV))

    for way in ({"after": 0}, {"before": 10**6}):

        def check(replies: list[Any], now: Told) -> None:
            assert {entry["seq"] for entry in replies[0]["data"]["entries"]} <= set(now.sees("bob"))
            assert now.seq == 4

        read = partial(people["bob"].ask, "sync.entries", NAME | way)
        assert outcomes(house, read, remove_and_talk, check=check) == {("ok", "ok")}


# ---- to come and to go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_a_removal_and_an_invitation_of_one_user_are_one_after_the_other(house: House, *, inside: bool) -> None:
    people = people_of(house, "alice bob carol")
    group(people, "bob carol" if inside else "carol")
    remove = ask(people["alice"], "group.remove", users=["bob"])
    invite = ask(people["carol"], "group.invite", users=["bob"])

    def check(replies: list[Any], now: Told) -> None:
        removed, invited = (bool(reply["data"]["users"]) for reply in replies)
        assert ("bob" in now.members) == (inside - removed + invited)
        assert now.seq == 1 + removed + invited

    assert outcomes(house, remove, invite, check=check) == {("ok", "ok")}


@pytest.mark.parametrize("ways", [("leave", "remove"), ("remove", "remove")])
def test_two_ends_of_one_membership_are_one(house: House, ways: tuple[str, str]) -> None:
    people = people_of(house, "alice bob carol")
    phone = house.connect("bob", "phone", "ios")
    group(people, admins="carol")
    frames = {
        ("leave", 0): ask(people["bob"], "group.leave"),
        ("leave", 1): ask(phone, "group.leave"),
        ("remove", 0): ask(people["alice"], "group.remove", users=["bob"]),
        ("remove", 1): ask(people["carol"], "group.remove", users=["bob"]),
    }

    def check(replies: list[Any], now: Told) -> None:
        assert now.seq == 3
        removed = [reply["data"]["users"] for reply, way in zip(replies, ways, strict=True) if way == "remove"]
        assert sum(map(len, removed)) <= 1
        assert ways != ("remove", "remove") or sum(map(len, removed)) == 1

    assert outcomes(house, frames[ways[0], 0], frames[ways[1], 1], check=check) == {("ok", "ok")}


@pytest.mark.parametrize("ways", [("join", "join"), ("invite", "accept")])
def test_the_last_free_place_of_a_group_is_one_user_s(monkeypatch: pytest.MonkeyPatch, ways: tuple[str, str]) -> None:
    with built_house(monkeypatch, MAX_GROUP_MEMBERS="3") as house:
        people = people_of(house, "alice bob carol dave")
        group(people, "bob", join_mode="approval" if "accept" in ways else "open")
        if "accept" in ways:
            people["dave"].ok("group.join", NAME)
        frames = {
            ("join", 0): ask(people["carol"], "group.join"),
            ("join", 1): ask(people["dave"], "group.join"),
            ("invite", 0): ask(people["bob"], "group.invite", users=["carol"]),
            ("invite", 1): ask(people["bob"], "group.invite", users=["dave"]),
            ("accept", 1): ask(people["alice"], "group.decide", user="dave", accept=True),
        }

        def check(replies: list[Any], now: Told) -> None:
            assert len(now.members) == 3
            assert ("carol" in now.members, "dave" in now.members) == tuple(reply["ok"] for reply in replies)

        seen = outcomes(house, frames[ways[0], 0], frames[ways[1], 1], check=check)
        assert seen == {("ok", "too_large"), ("too_large", "ok")}


@pytest.mark.parametrize("way", ["invite", "create"])
def test_the_last_group_that_a_user_may_be_in_is_one(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with built_house(monkeypatch, MAX_GROUPS_PER_USER="2") as house:
        people = people_of(house, "alice bob carol")
        phone = house.connect("bob", "phone", "ios")
        group(people, "bob")
        for name in ("alice", "carol"):
            people[name].ok("group.create", {"gid": name, "name": name, "join_mode": "open"})
        frames = {
            "invite": (
                partial(people["alice"].ask, "group.invite", {"conv": "g:alice", "users": ["bob"]}),
                partial(people["carol"].ask, "group.invite", {"conv": "g:carol", "users": ["bob", "dave"]}),
            ),
            "create": (
                partial(people["bob"].ask, "group.create", {"gid": "one", "name": "1", "members": ["erin"]}),
                partial(phone.ask, "group.create", {"gid": "two", "name": "2", "members": ["fred"]}),
            ),
        }

        def check(replies: list[Any], _: Told) -> None:
            counts = {i["pk"]["S"]: i["count"]["N"] for i in stored("InboxTable") if i["sk"]["S"] == "USER"}
            assert counts["bob"] == "2"
            for user, reply in (("dave", replies[1]), ("erin", replies[0]), ("fred", replies[1])):
                assert user not in counts or reply["ok"], f"{user} was added without bob"

        assert outcomes(house, *frames[way], check=check) == {("ok", "too_large"), ("too_large", "ok")}


def test_nobody_joins_a_group_that_is_dissolved(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people, "carol", join_mode="open")

    def check(replies: list[Any], now: Told) -> None:
        assert ("bob" in now.members) == replies[0]["ok"]
        assert now.dissolved

    seen = outcomes(house, ask(people["bob"], "group.join"), ask(people["alice"], "group.dissolve"), check=check)
    assert seen == {("ok", "ok"), ("not_found", "ok")}


def test_the_last_one_leaves_or_somebody_joins(house: House) -> None:
    people = people_of(house, "alice bob")
    group(people, "", join_mode="open")

    def check(replies: list[Any], now: Told) -> None:
        assert now.members == (set() if replies[0]["ok"] else {"alice", "bob"})

    seen = outcomes(house, ask(people["alice"], "group.leave"), ask(people["bob"], "group.join"), check=check)
    assert seen == {("ok", "not_found"), ("conflict", "ok")}


def test_a_dissolved_group_is_taken_off_a_count_once(house: House) -> None:
    people = people_of(house, "alice bob")
    phone = house.connect("bob", "phone", "ios")
    group(people, "bob")
    people["alice"].ok("group.create", {"gid": "h", "name": "H", "members": ["bob"]})
    people["alice"].ok("group.dissolve", NAME)

    def check(_: list[Any], __: Told) -> None:
        counts = {i["pk"]["S"]: i["count"]["N"] for i in stored("InboxTable") if i["sk"]["S"] == "USER"}
        assert counts["bob"] == "1"

    seen = outcomes(house, ask(people["bob"], "group.leave"), ask(phone, "group.leave"), check=check)
    assert seen == {("ok", "ok")}


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_a_group_is_transferred_to_one_of_two(house: House) -> None:
    people = people_of(house, "alice bob carol")
    phone = house.connect("alice", "phone", "ios")
    group(people, admins="carol")

    def check(replies: list[Any], now: Told) -> None:
        assert now.owner == ("bob" if replies[0]["ok"] else "carol")

    seen = outcomes(
        house,
        ask(people["alice"], "group.transfer", user="bob"),
        ask(phone, "group.transfer", user="carol"),
        check=check,
    )
    assert seen == {("ok", "forbidden"), ("forbidden", "ok")}


@pytest.mark.parametrize("way", ["leave", "remove"])
def test_a_group_is_transferred_to_somebody_who_is_in_it(house: House, way: str) -> None:
    people = people_of(house, "alice bob carol")
    group(people, admins="carol")
    end = ask(people["bob"], "group.leave") if way == "leave" else ask(people["carol"], "group.remove", users=["bob"])

    def check(replies: list[Any], now: Told) -> None:
        assert now.owner == ("bob" if replies[0]["ok"] else "alice")
        assert now.owner in now.members

    seen = outcomes(house, ask(people["alice"], "group.transfer", user="bob"), end, check=check)
    assert seen == {("ok", "conflict" if way == "leave" else "forbidden"), ("not_found", "ok")}


def test_somebody_who_goes_takes_their_role_along(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people)

    def check(replies: list[Any], now: Told) -> None:
        assert (now.admins, now.members) == ([], {"alice", "carol"})
        assert now.seq == 2 + replies[0]["ok"]

    promote = ask(people["alice"], "group.role", user="bob", role="admin")
    assert outcomes(house, promote, ask(people["bob"], "group.leave"), check=check) == {
        ("ok", "ok"),
        ("not_found", "ok"),
    }


@pytest.mark.parametrize("op", ["remove", "update"])
def test_an_admin_acts_before_they_lose_the_role_or_not_at_all(house: House, op: str) -> None:
    people = people_of(house, "alice bob carol dave")
    group(people, admins="bob", join_mode="approval")
    people["dave"].ok("group.join", NAME)
    acts: dict[str, dict[str, Any]] = {
        "remove": {"users": ["carol"]},
        "update": {"name": "Bob's"},
    }
    demote = ask(people["alice"], "group.role", user="bob", role="member")

    def check(replies: list[Any], now: Told) -> None:
        assert now.seq == 3 + replies[0]["ok"]

    seen = outcomes(house, ask(people["bob"], f"group.{op}", **acts[op]), demote, check=check)
    assert seen == {("ok", "ok"), ("forbidden", "ok")}


def test_the_last_place_among_the_admins_is_one_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_GROUP_ADMINS="1") as house:
        people = people_of(house, "alice bob carol")
        phone = house.connect("alice", "phone", "ios")
        group(people)

        def check(replies: list[Any], now: Told) -> None:
            assert now.admins == (["bob"] if replies[0]["ok"] else ["carol"])

        seen = outcomes(
            house,
            ask(people["alice"], "group.role", user="bob", role="admin"),
            ask(phone, "group.role", user="carol", role="admin"),
            check=check,
        )
        assert seen == {("ok", "too_large"), ("too_large", "ok")}


# ---- what it is ------------------------------------------------------------------------------------------------------


def test_two_updates_are_both_made_and_the_later_one_stays(house: House) -> None:
    people = people_of(house, "alice bob")
    group(people, "bob", admins="bob")

    def check(replies: list[Any], now: Told) -> None:
        first, second = sorted(replies, key=lambda reply: reply["data"]["name"] == now.settings["name"])
        assert now.seq == 4
        assert now.settings["name"] in {"A", "B"}
        assert (now.settings["notice"], now.settings["avatar"]) == ("by alice", "by bob")
        assert second["data"]["notice"] == "by alice"
        assert second["data"]["avatar"] == "by bob"
        assert first["data"]["name"] != second["data"]["name"]

    seen = outcomes(
        house,
        ask(people["alice"], "group.update", name="A", notice="by alice"),
        ask(people["bob"], "group.update", name="B", avatar="by bob"),
        check=check,
    )
    assert seen == {("ok", "ok")}


def test_two_equal_changes_are_one(house: House) -> None:
    people = people_of(house, "alice bob")
    group(people, "bob", admins="bob")

    def check(replies: list[Any], now: Told) -> None:
        assert now.seq == 3
        assert [reply["data"]["name"] for reply in replies] == ["A", "A"]

    frames = [ask(people[name], "group.update", name="A", history=True) for name in ("alice", "bob")]
    assert outcomes(house, *frames, check=check) == {("ok", "ok")}


def test_a_founding_in_parts_that_is_asked_for_twice_is_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two users an entry, so that one founding is two."""
    monkeypatch.setattr(group_rules, "MAX_PER_CHANGE", 2)
    devices = house.connect("alice"), house.connect("alice", "phone", "ios")
    data = {"gid": "g", "name": "G", "members": ["u1", "u2", "u3"]}

    def check(replies: list[Any], now: Told) -> None:
        assert (now.owner, now.members, now.seq) == ("alice", {"alice", "u1", "u2", "u3"}, 2)
        assert replies[0]["data"]["created"] == replies[1]["data"]["created"]

    frames = [partial(device.ask, "group.create", data) for device in devices]
    assert outcomes(house, *frames, check=check) == {("ok", "ok")}


def test_many_who_are_invited_and_removed_in_parts_at_once_are_in_or_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_rules, "MAX_PER_CHANGE", 2)
    people = people_of(house, "alice bob")
    group(people, "bob u1 u2")
    users = ["u1", "u2", "u3", "u4", "u5"]

    def check(replies: list[Any], now: Told) -> None:
        added, removed = (reply["data"]["users"] for reply in replies)
        assert Counter(["u1", "u2", *added]) - Counter(removed) == Counter(now.members - {"alice", "bob"})
        assert len(set(added)) == len(added)

    seen = outcomes(
        house,
        ask(people["bob"], "group.invite", users=users),
        ask(people["alice"], "group.remove", users=users),
        check=check,
    )
    assert seen == {("ok", "ok")}


# ---- requests to join ------------------------------------------------------------------------------------------------


def test_a_request_is_granted_or_refused(house: House) -> None:
    people = people_of(house, "alice bob dave")
    group(people, "bob", admins="bob", join_mode="approval")
    people["dave"].ok("group.join", NAME)

    def check(replies: list[Any], now: Told) -> None:
        refused = any(push["state"] == "refused" for push in people["dave"].got("request"))
        assert ("dave" in now.members) == (not refused)
        assert not any(i["sk"]["S"] == "REQ#dave" for i in stored("ConversationTable"))

    seen = outcomes(
        house,
        ask(people["alice"], "group.decide", user="dave", accept=True),
        ask(people["bob"], "group.decide", user="dave", accept=False),
        check=check,
    )
    assert seen == {("ok", "not_found"), ("not_found", "ok")}


@pytest.mark.parametrize("accept", [True, False])
def test_a_request_that_two_answer_alike_is_answered_once(house: House, *, accept: bool) -> None:
    people = people_of(house, "alice bob dave")
    group(people, "bob", admins="bob", join_mode="approval")
    people["dave"].ok("group.join", NAME)

    def check(replies: list[Any], now: Told) -> None:
        assert ("dave" in now.members) == accept
        assert now.seq == (3 if accept else 2)
        assert len(people["dave"].got("request")) == (0 if accept else 1)

    frames = [ask(people[name], "group.decide", user="dave", accept=accept) for name in ("alice", "bob")]
    seen = outcomes(house, *frames, check=check)
    assert seen == ({("ok", "ok")} if accept else {("ok", "not_found"), ("not_found", "ok")})


def test_nobody_who_has_been_let_in_still_asks_after_leaving(house: House) -> None:
    people = people_of(house, "alice bob dave")
    group(people, "bob", join_mode="approval")

    def check(_: list[Any], now: Told) -> None:
        assert "dave" in now.members
        people["dave"].ok("group.leave", NAME)
        assert people["alice"].ok("group.requests", NAME) == {"requests": []}

    frames = ask(people["dave"], "group.join"), ask(people["bob"], "group.invite", users=["dave"])
    assert outcomes(house, *frames, check=check) == {("ok", "ok")}
