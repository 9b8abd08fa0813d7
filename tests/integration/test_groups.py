"""Groups: made once, shown to their members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from im.domain.group_rules import MAX_PER_CHANGE
from tests.integration.house import START, House, built_house


@pytest.fixture
def small_house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Groups of at most five."""
    with built_house(monkeypatch, MAX_GROUP_MEMBERS="5") as built:
        yield built


INFO: dict[str, Any] = {
    "conv": "g:friends",
    "name": "Friends",
    "notice": "Be kind.",
    "avatar": "https://pictures.example/1",
    "custom": {"team": 7},
    "owner": "alice",
    "admins": [],
    "members": 3,
    "join_mode": "approval",
    "history": True,
    "who_invites": "members",
    "who_mentions_all": "admins",
    "muted_until": 0,
    "created": START,
    "me": {"role": "owner", "joined_seq": 1, "joined_at": START, "muted_until": 0},
}


def test_a_group_is_made_told_to_its_members_and_shown_to_each(house: House) -> None:
    alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))

    made = alice.ok(
        "group.create",
        {
            "gid": "friends",
            "name": "Friends",
            "notice": "Be kind.",
            "avatar": "https://pictures.example/1",
            "custom": {"team": 7},
            "members": ["bob", "carol", "bob", "alice"],
            "join_mode": "approval",
            "history": True,
        },
    )
    house.now += 5000
    house.fan_out()

    assert made == INFO
    assert alice.ok("group.info", {"conv": "g:friends"}) == INFO
    as_bob = INFO | {"me": INFO["me"] | {"role": "member"}}
    assert bob.ok("group.info", {"conv": "g:friends"}) == as_bob
    for device in (alice, bob, carol):
        ((entry,),) = (push["entries"] for push in device.got("entries"))
        assert entry == {
            "conv": "g:friends",
            "seq": 1,
            "n": 0,
            "kind": "members",
            "from": "alice",
            "ts": START,
            "body": {
                "added": ["alice", "bob", "carol"],
                "removed": [],
                "by": "alice",
                "group": {
                    "name": "Friends",
                    "notice": "Be kind.",
                    "avatar": "https://pictures.example/1",
                    "custom": {"team": 7},
                    "join_mode": "approval",
                    "history": True,
                    "who_invites": "members",
                    "who_mentions_all": "admins",
                },
            },
        }
        assert [row["conv"] for row in device.ok("sync.inbox")["conversations"]] == ["g:friends"]


def test_a_group_without_a_gid_gets_one_of_its_own(house: House) -> None:
    alice = house.connect("alice")

    convs = {alice.ok("group.create", {"name": "G"})["conv"] for _ in range(5)}

    assert len(convs) == 5
    assert all(re.fullmatch(r"g:[A-Za-z0-9_-]{16,64}", conv) for conv in convs)


def test_a_group_has_modest_defaults(house: House) -> None:
    made = house.connect("alice").ok("group.create", {"name": "G", "gid": "g"})

    assert (made["notice"], made["join_mode"], made["history"], made["members"]) == ("", "invite", False, 1)


def test_a_gid_that_somebody_else_has_is_a_conflict_and_shows_nothing(house: House) -> None:
    house.connect("alice").ok("group.create", {"gid": "g", "name": "Secret", "members": ["bob"]})
    before = house.items("ConversationTable")

    for who in ("bob", "mallory"):
        error = house.connect(who).error("group.create", {"gid": "g", "name": "Mine", "members": ["alice"]})
        assert (error["code"], error["retryable"]) == ("conflict", False)
        assert "Secret" not in error["message"]
        assert "alice" not in error["message"]

    assert house.items("ConversationTable") == before


@pytest.mark.parametrize(("members", "fits"), [(4, True), (5, False), (50, False)])
def test_a_group_has_no_more_members_than_it_may(small_house: House, members: int, *, fits: bool) -> None:
    alice = small_house.connect("alice")
    data = {"gid": "g", "name": "G", "members": [f"u{i}" for i in range(members)]}

    if fits:
        assert alice.ok("group.create", data)["members"] == 5
        return
    error = alice.error("group.create", data)
    assert error["code"] == "too_large"
    assert "5" in error["message"]
    assert small_house.items("ConversationTable") == []


def test_naming_somebody_twice_does_not_fill_a_group(small_house: House) -> None:
    alice = small_house.connect("alice")

    made = alice.ok("group.create", {"name": "G", "members": ["bob"] * 40 + ["carol"] * 40 + ["alice"]})

    assert made["members"] == 3


def test_a_large_founding_is_some_entries_that_each_fit(house: House) -> None:
    alice = house.connect("alice")
    names = [f"{'u' * 60}{i:04d}" for i in range(200)]
    first, last = house.connect(names[0]), house.connect(names[-1])

    longest = {"name": "\x01" * 64, "notice": "\x01" * 1000, "members": names}
    assert alice.ok("group.create", longest | {"gid": "g"})["members"] == 201
    house.fan_out()

    log = house.log("g:g")
    added = [json.loads(entry["body"])["added"] for entry in log]
    assert [len(users) for users in added] == [MAX_PER_CHANGE] * 8 + [9]
    assert [user for users in added for user in users] == ["alice", *names]
    assert (first.seen(), last.seen()) == ([1, 2, 3, 4, 5, 6, 7, 8, 9], [9])
    too_many = [*names, "one-more"]
    assert alice.error("group.create", {"gid": "h", "name": "H", "members": too_many})["code"] == "too_large"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "data.name"),
        ({"name": ""}, "data.name"),
        ({"name": 5}, "data.name"),
        ({"name": "x", "gid": "a b"}, "data.gid"),
        ({"name": "x", "gid": ""}, "data.gid"),
        ({"name": "x", "members": ["b b"]}, "data.members.0"),
        ({"name": "x", "members": ["@all"]}, "data.members.0"),
        ({"name": "x", "join_mode": "secret"}, "data.join_mode"),
        ({"name": "x", "history": "yes"}, "data.history"),
    ],
)
def test_a_group_of_the_wrong_form_is_refused(house: House, data: dict[str, Any], field: str) -> None:
    error = house.connect("alice").error("group.create", data)

    assert error["code"] == "bad_request"
    assert error["message"].startswith(field)
    assert house.items("ConversationTable") == []


@pytest.mark.parametrize(("longest", "length", "fits"), [(64, 64, True), (64, 65, False), (3, 3, True), (3, 4, False)])
def test_a_name_is_as_long_as_the_deployment_allows(
    monkeypatch: pytest.MonkeyPatch, longest: int, length: int, *, fits: bool
) -> None:
    with built_house(monkeypatch, MAX_GROUP_NAME=f"{longest}") as house:
        alice = house.connect("alice")
        alice.ok("group.create", {"gid": "old", "name": "old"})
        before = house.items("ConversationTable")
        name = "日" * length  # characters, not bytes

        requests = [("group.create", {"gid": "new", "name": name}), ("group.update", {"conv": "g:old", "name": name})]
        for op, data in requests:
            if fits:
                assert alice.ok(op, data)["name"] == name
                continue
            error = alice.error(op, data)
            assert error["code"] == "too_large"
            assert error["message"].startswith("data.name")
        assert fits or house.items("ConversationTable") == before


@pytest.mark.parametrize("op", ["group.info", "group.members"])
@pytest.mark.parametrize("conv", ["d:alice:bob", "friends", "", "g:", None, 5])
def test_what_is_no_group_is_a_bad_request(house: House, op: str, conv: object) -> None:
    assert house.connect("alice").error(op, {"conv": conv})["code"] == "bad_request"


@pytest.mark.parametrize("limit", [1, 2, 7, 30, 100])
def test_members_come_in_pages_each_once_by_name(house: House, limit: int) -> None:
    names = [f"u{i:02d}" for i in range(30)]
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names})
    members: list[dict[str, Any]] = []
    data: dict[str, Any] = {"conv": "g:g", "limit": limit}
    while True:
        page = alice.ok("group.members", data)
        assert len(page["members"]) <= limit
        members += page["members"]
        if "cursor" not in page:
            break
        data["cursor"] = page["cursor"]

    assert [member["user"] for member in members] == ["alice", *names]
    assert members[0] == {"user": "alice", "role": "owner", "joined_at": START, "muted_until": 0}
    assert {member["role"] for member in members[1:]} == {"member"}


def test_members_of_one_group_are_not_those_of_another(house: House) -> None:
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "a", "name": "A", "members": ["bob"]})
    alice.ok("group.create", {"gid": "ab", "name": "AB", "members": ["carol"]})

    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:a"})["members"]] == ["alice", "bob"]
    assert [m["user"] for m in alice.ok("group.members", {"conv": "g:ab"})["members"]] == ["alice", "carol"]


def test_everybody_in_a_group_hears_everybody(house: House) -> None:
    people = [house.connect(name) for name in ("alice", "bob", "carol", "dave")]
    people[0].ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})

    for person in people[:3]:
        person.say(f"I am {person.user}.", "c1", conv="g:g")
    house.fan_out()

    assert house.texts("g:g") == ["I am alice.", "I am bob.", "I am carol."]
    assert [sorted(person.seen()) for person in people] == [[1, 3, 4], [1, 2, 4], [1, 2, 3], []]
    assert people[3].error("sync.entries", {"conv": "g:g", "after": 0})["code"] == "not_member"
