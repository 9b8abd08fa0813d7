"""What each change to a group says to whom, what is so afterwards, and where its limits are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from im.domain.group_rules import MAX_PER_CHANGE
from tests.integration.group_state import (
    check_groups,
    code_of,
    drop_queued,
    everything,
    log_of,
    people_of,
    queued_seqs,
    row,
    stored,
    text,
)
from tests.integration.house import START, Device, House, built_house

CONV = "g:g"
NAME = {"conv": CONV}
LATER = START + 3_600_000


def changed(kind: str) -> list[dict[str, Any]]:
    """The bodies of all entries of one kind."""
    return [json.loads(entry["body"]) for entry in log_of(CONV) if entry["kind"] == kind]


def count_of(user: str) -> int:
    """How many groups are counted as a user's."""
    counts = {i["pk"]["S"]: int(i["count"]["N"]) for i in stored("InboxTable") if i["sk"]["S"] == "USER"}
    return counts.get(user, 0)


def members_of(device: Device, limit: int = 100) -> list[dict[str, Any]]:
    """All pages of group.members."""
    members: list[dict[str, Any]] = []
    data: dict[str, Any] = NAME | {"limit": limit}
    while True:
        page = device.ok("group.members", data)
        members += page["members"]
        if "cursor" not in page:
            return members
        data["cursor"] = page["cursor"]


def mine_of(device: Device, limit: int = 50) -> list[str]:
    """The ids of all pages of group.mine."""
    convs: list[str] = []
    data: dict[str, Any] = {"limit": limit}
    while True:
        page = device.ok("group.mine", data)
        assert len(page["groups"]) <= limit
        convs += [group["conv"] for group in page["groups"]]
        if "cursor" not in page:
            return convs
        data["cursor"] = page["cursor"]


# ---- one change, in all that it does ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A request in a group of alice (owner), bob (admin), carol and dave, with erin and fred outside; its effect."""

    caller: str
    op: str
    data: dict[str, Any]
    kind: str
    body: dict[str, Any]
    reply: dict[str, Any] | None = field(default_factory=dict)
    """None for the group's info."""
    info: dict[str, Any] = field(default_factory=dict)
    """What of group.info is different afterwards."""
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    roles: dict[str, str] = field(default_factory=dict)
    muted: dict[str, int] = field(default_factory=dict)
    mode: str = "open"

    def __str__(self) -> str:
        return f"{self.op} {' '.join(name for name in self.data if name != 'conv')} by {self.caller}"


def members(by: str, *, added: tuple[str, ...] = (), removed: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"added": list(added), "removed": list(removed), "by": by} | more


SETTINGS: dict[str, Any] = {
    "name": "Other",
    "notice": "Read this.",
    "avatar": "https://pictures.example/2",
    "custom": {"b": [1, 2.5, None, {"ü": "\u2028"}], "a": 2**53},
    "history": True,
    "join_mode": "approval",
    "who_invites": "admins",
    "who_mentions_all": "members",
}
INSIDE = ("alice", "bob", "carol", "dave")
BOTH = ("erin", "fred")
CASES = [
    Case(
        "carol",
        "group.invite",
        {"users": ["erin", "bob", "fred", "erin", "carol"]},
        "members",
        members("carol", added=BOTH),
        reply={"users": ["erin", "fred"]},
        info={"members": 6},
        joined=BOTH,
    ),
    Case(
        "erin",
        "group.join",
        {},
        "members",
        members("erin", added=("erin",)),
        reply={"state": "joined"},
        info={"members": 5},
        joined=("erin",),
    ),
    Case(
        "bob",
        "group.decide",
        {"user": "fred", "accept": True},
        "members",
        members("bob", added=("fred",)),
        info={"members": 5},
        joined=("fred",),
        mode="approval",
    ),
    Case(
        "bob",
        "group.remove",
        {"users": ["carol", "erin", "dave", "carol"]},
        "members",
        members("bob", removed=("carol", "dave")),
        reply={"users": ["carol", "dave"]},
        info={"members": 2},
        left=("carol", "dave"),
    ),
    Case(
        "alice",
        "group.remove",
        {"users": ["bob"]},
        "members",
        members("alice", removed=("bob",)),
        reply={"users": ["bob"]},
        info={"members": 3, "admins": []},
        left=("bob",),
    ),
    Case(
        "bob",
        "group.leave",
        {},
        "members",
        members("bob", removed=("bob",)),
        info={"members": 3, "admins": []},
        left=("bob",),
    ),
    Case(
        "carol",
        "group.leave",
        {},
        "members",
        members("carol", removed=("carol",)),
        info={"members": 3},
        left=("carol",),
    ),
    Case(
        "alice",
        "group.role",
        {"user": "carol", "role": "admin"},
        "members",
        members("alice", roles={"carol": "admin"}),
        info={"admins": ["bob", "carol"]},
        roles={"carol": "admin"},
    ),
    Case(
        "alice",
        "group.role",
        {"user": "bob", "role": "member"},
        "members",
        members("alice", roles={"bob": "member"}),
        info={"admins": []},
        roles={"bob": "member"},
    ),
    Case(
        "alice",
        "group.transfer",
        {"user": "bob"},
        "members",
        members("alice", roles={"bob": "owner", "alice": "member"}),
        info={"owner": "bob", "admins": []},
        roles={"bob": "owner", "alice": "member"},
    ),
    Case(
        "bob",
        "group.mute",
        {"user": "carol", "until": LATER},
        "members",
        members("bob", muted={"carol": LATER}),
        muted={"carol": LATER},
    ),
    Case("bob", "group.mute", {"until": LATER}, "profile", {"muted_until": LATER}, info={"muted_until": LATER}),
    Case("bob", "group.update", SETTINGS, "profile", SETTINGS, reply=None, info=SETTINGS),
    Case(
        "alice",
        "group.update",
        {"name": "G", "notice": "New.", "join_mode": "open", "avatar": ""},
        "profile",
        {"notice": "New."},
        reply=None,
        info={"notice": "New."},
    ),
    Case("alice", "group.dissolve", {}, "profile", {"dissolved": True}, left=("alice", "bob", "carol", "dave")),
]


def prepared(house: House, mode: str) -> dict[str, tuple[Device, ...]]:
    """The group of the cases, everything delivered; everybody's devices, some with a phone."""
    devices: dict[str, tuple[Device, ...]] = {name: (house.connect(name),) for name in INSIDE + BOTH}
    for name in ("alice", "carol", "erin"):
        devices[name] += (house.connect(name, "phone", "ios"),)
    alice, fred = devices["alice"][0], devices["fred"][0]
    alice.ok("group.create", {"gid": "g", "name": "G", "members": list(INSIDE[1:]), "join_mode": mode})
    alice.ok("group.role", NAME | {"user": "bob", "role": "admin"})
    if mode == "approval":
        fred.ok("group.join", NAME)
    alice.say("Hello.", "1", conv=CONV)
    house.fan_out()
    for device in house.devices.values():
        device.pushes.clear()
    return devices


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_change_is_one_entry_told_to_all_whom_it_concerns_and_made_once(house: House, case: Case) -> None:
    devices = prepared(house, case.mode)
    first = {name: theirs[0] for name, theirs in devices.items()}
    before = first["alice"].ok("group.info", NAME)
    house.now += 60_000

    reply = first[case.caller].ok(case.op, NAME | case.data)
    house.fan_out()

    entry = {"conv": CONV, "seq": 4, "n": 1, "kind": case.kind, "from": case.caller, "ts": house.now, "body": case.body}
    for name, theirs in devices.items():
        expected = [{"push": "entries", "data": {"conv": CONV, "entries": [entry]}}]
        hears = name in INSIDE + case.joined
        assert [device.pushes for device in theirs] == [expected if hears else []] * len(theirs), name
    stay = sorted({*INSIDE, *case.joined} - {*case.left})
    assert len(log_of(CONV)) == 4
    assert sorted(check_groups()[CONV].members) == (stay or sorted(INSIDE))

    roles = {"alice": "owner", "bob": "admin", "carol": "member", "dave": "member"}
    roles |= dict.fromkeys(case.joined, "member") | case.roles
    for name, device in first.items():
        answer = device.ask("group.info", NAME)
        if name not in stay:
            assert code_of(answer) == "not_member", name
            assert mine_of(device) == []
            continue
        me = {"role": roles[name], "joined_seq": 1, "joined_at": START, "muted_until": case.muted.get(name, 0)}
        me |= {"joined_seq": 4, "joined_at": house.now} if name in case.joined else {}
        assert answer["data"] == before | case.info | {"me": me}, name
        assert mine_of(device) == [CONV]
    if stay:
        assert members_of(first[stay[-1]], 3) == [
            {
                "user": user,
                "role": roles[user],
                "joined_at": house.now if user in case.joined else START,
                "muted_until": case.muted.get(user, 0),
            }
            for user in stay
        ]
    assert reply == (first[case.caller].ok("group.info", NAME) if case.reply is None else case.reply)

    stored_once = everything(house)
    house.queued.clear()  # five minutes later
    again = first[case.caller].ok(case.op, NAME | case.data)
    assert again == (reply | {"users": []} if "users" in reply else reply)
    assert queued_seqs(house) == [4], "queued again: perhaps the first time came to nothing"
    drop_queued(house)
    assert everything(house) == stored_once


def test_only_what_is_different_is_told(house: House) -> None:
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "g", "name": "G", "custom": {"a": 1, "b": [1, 2]}})

    alice.ok("group.update", NAME | {"name": "G", "custom": {"a": 1, "b": [1, 2]}})
    alice.ok("group.update", NAME | {"name": "G", "history": True, "custom": {"a": 1, "b": [2, 1]}, "notice": ""})
    alice.ok("group.update", NAME | {"custom": {}})

    assert changed("profile") == [{"history": True, "custom": {"a": 1, "b": [2, 1]}}, {"custom": {}}]


def test_fields_of_no_meaning_change_nothing(house: House) -> None:
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})

    told = {"owner": "bob", "admins": ["bob"], "members": 7, "epoch": 9, "muted_until": LATER, "dissolved": True}
    error = alice.error("group.update", NAME | told)
    info = alice.ok("group.update", NAME | told | {"name": "H", "pending": ["x"], "created_by": "bob"})

    assert error["code"] == "bad_request"
    assert (info["name"], info["owner"], info["admins"], info["muted_until"]) == ("H", "alice", [], 0)
    assert changed("profile") == [{"name": "H"}]
    check_groups()


# ---- pages -----------------------------------------------------------------------------------------------------------


def test_the_groups_of_a_user_come_in_pages_without_those_that_are_over(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for gid in ("f", "b", "e", "a", "d", "c"):
        alice.ok("group.create", {"gid": gid, "name": gid.upper(), "members": ["bob"]})
    bob.ok("group.leave", {"conv": "g:b"})
    alice.ok("group.remove", {"conv": "g:d", "users": ["bob"]})
    alice.ok("group.dissolve", {"conv": "g:e"})
    alice.ok("group.transfer", {"conv": "g:f", "user": "bob"})

    for limit in (1, 2, 3, 4, 5, 6, 100):
        assert mine_of(bob, limit) == ["g:a", "g:c", "g:f"]
        assert mine_of(alice, limit) == ["g:a", "g:b", "g:c", "g:d", "g:f"]
    shown = {group["conv"]: group for group in bob.ok("group.mine")["groups"]}
    assert shown["g:f"]["me"] == {"role": "owner"}
    assert shown["g:a"] == bob.ok("group.info", {"conv": "g:a"}) | {"me": {"role": "member"}}


def test_the_groups_of_a_user_fit_into_frames(house: House) -> None:
    alice = house.connect("alice")
    for i in range(12):
        alice.ok("group.create", {"gid": f"g{i:02d}", "name": "G", "notice": "ü" * 1000, "custom": {"x": "y" * 2000}})

    first = alice.ok("group.mine", {"limit": 100})

    assert 0 < len(first["groups"]) < 12
    assert first["cursor"] == first["groups"][-1]["conv"]
    assert mine_of(alice, 100) == [f"g:g{i:02d}" for i in range(12)]


# ---- asking to be let in ---------------------------------------------------------------------------------------------


def asked(people: dict[str, Device], *more: str) -> None:
    """A group of alice, its admin bob and carol, in which nobody joins unasked; those named have asked."""
    made = {"gid": "g", "name": "G", "members": ["bob", "carol"], "join_mode": "approval"}
    people["alice"].ok("group.create", made)
    people["alice"].ok("group.role", NAME | {"user": "bob", "role": "admin"})
    for name in more:
        assert people[name].ok("group.join", NAME | {"note": f"I am {name}."}) == {"state": "requested"}


def test_the_owner_and_admins_hear_of_a_request_on_all_their_devices(house: House) -> None:
    people = people_of(house, "alice bob carol erin")
    phones = {name: house.connect(name, "phone", "ios") for name in ("alice", "bob", "carol", "erin")}

    asked(people, "erin")

    told = [{"conv": CONV, "user": "erin", "state": "requested", "note": "I am erin."}]
    for devices in (people, phones):
        assert {name: device.got("request") for name, device in devices.items()} == {
            "alice": told,
            "bob": told,
            "carol": [],
            "erin": [],
        }
    assert len(log_of(CONV)) == 2
    assert people["erin"].error("group.info", NAME)["code"] == "not_member"
    assert people["erin"].ok("sync.inbox")["conversations"] == []


def test_who_asks_again_takes_the_place_of_their_own_request(house: House) -> None:
    people = people_of(house, "alice bob carol erin")
    asked(people, "erin")
    house.now += 1000

    assert people["erin"].ok("group.join", NAME | {"note": "Please!"}) == {"state": "requested"}

    requests = people["alice"].ok("group.requests", NAME)["requests"]
    assert requests == [{"user": "erin", "note": "Please!", "asked_at": house.now}]
    assert len(people["alice"].got("request")) == 1  # who asks again rings no bell again
    assert len(log_of(CONV)) == 2


def test_requests_come_in_pages_by_user(house: House) -> None:
    people = people_of(house, "alice bob carol u1 u2 u3 u4 u5")
    asked(people, "u4", "u1", "u5", "u2", "u3")

    for limit in (1, 2, 3, 4, 5, 100):
        users: list[str] = []
        data: dict[str, Any] = NAME | {"limit": limit}
        while True:
            page = people["bob"].ok("group.requests", data)
            assert len(page["requests"]) <= limit
            users += [request["user"] for request in page["requests"]]
            if "cursor" not in page:
                break
            data["cursor"] = page["cursor"]
        assert users == ["u1", "u2", "u3", "u4", "u5"], limit


def test_requests_fit_into_frames(house: House) -> None:
    people = people_of(house, "alice bob carol erin")
    asked(people, "erin")
    (item,) = (item for item in stored("ConversationTable") if item["sk"]["S"] == "REQ#erin")
    users = [f"{'u' * 60}{i:03d}" for i in range(60)]
    for user in users:
        asks = {"sk": {"S": f"REQ#{user}"}, "user": {"S": user}, "note": {"S": "🦉" * 200}}
        house.dynamodb.put_item(TableName="ConversationTable", Item=item | asks)

    seen: list[str] = []
    data: dict[str, Any] = dict(NAME)
    while True:
        reply = people["alice"].ask("group.requests", data)
        assert len(json.dumps(reply, ensure_ascii=False).encode()) <= 32 * 1024
        seen += [request["user"] for request in reply["data"]["requests"]]
        if "cursor" not in reply["data"]:
            break
        data["cursor"] = reply["data"]["cursor"]
    assert seen == ["erin", *users]


def test_who_is_let_in_is_in_and_their_request_is_gone(house: House) -> None:
    people = people_of(house, "alice bob carol erin fred")
    asked(people, "erin", "fred")

    assert people["bob"].ok("group.decide", NAME | {"user": "erin", "accept": True}) == {}
    house.fan_out()

    assert [r["user"] for r in people["alice"].ok("group.requests", NAME)["requests"]] == ["fred"]
    assert people["erin"].ok("group.info", NAME)["me"]["role"] == "member"
    assert people["erin"].got("request") == []
    assert people["erin"].seen() == [3]
    assert changed("members")[-1] == members("bob", added=("erin",))
    assert people["erin"].ok("group.join", NAME) == {"state": "joined"}


def test_who_is_refused_is_told_and_may_ask_again(house: House) -> None:
    people = people_of(house, "alice bob carol erin")
    phone = house.connect("erin", "phone", "ios")
    asked(people, "erin")
    people["alice"].pushes.clear()

    assert people["bob"].ok("group.decide", NAME | {"user": "erin", "accept": False}) == {}

    for device in (people["erin"], phone):
        assert device.got("request") == [{"conv": CONV, "user": "erin", "state": "refused"}]
    assert people["alice"].pushes == []
    assert people["alice"].ok("group.requests", NAME) == {"requests": []}
    for accept in (True, False):
        error = people["alice"].error("group.decide", NAME | {"user": "erin", "accept": accept})
        assert error["code"] == "not_found"
    assert len(log_of(CONV)) == 2
    people["erin"].ok("group.join", NAME)
    assert len(people["alice"].ok("group.requests", NAME)["requests"]) == 1


@pytest.mark.parametrize("way", ["invited", "the group opened", "asked and invited, then left and asked"])
def test_a_request_is_gone_once_its_user_is_in_by_whichever_way(house: House, way: str) -> None:
    people = people_of(house, "alice bob carol erin fred")
    asked(people, "erin", "fred")

    if way == "the group opened":
        people["alice"].ok("group.update", NAME | {"join_mode": "open"})
        assert people["erin"].ok("group.join", NAME) == {"state": "joined"}
    else:
        people["carol"].ok("group.invite", NAME | {"users": ["erin"]})

    assert [r["user"] for r in people["bob"].ok("group.requests", NAME)["requests"]] == ["fred"]
    if way == "asked and invited, then left and asked":
        people["erin"].ok("group.leave", NAME)
        assert people["bob"].error("group.decide", NAME | {"user": "erin", "accept": True})["code"] == "not_found"
        assert people["erin"].ok("group.join", NAME) == {"state": "requested"}
        people["bob"].ok("group.decide", NAME | {"user": "erin", "accept": True})
    assert "erin" in check_groups()[CONV].members


def test_a_request_waits_thirty_days_and_no_longer(house: House) -> None:
    """TTL deletes within days, not at once."""
    people = people_of(house, "alice bob carol erin")
    asked(people, "erin")
    (item,) = (item for item in stored("ConversationTable") if item["sk"]["S"] == "REQ#erin")
    assert int(item["ttl"]["N"]) == (START + 30 * 86_400_000) // 1000

    house.now += 29 * 86_400_000
    assert len(people["alice"].ok("group.requests", NAME)["requests"]) == 1
    house.now += 2 * 86_400_000
    alice = house.connect("alice")

    assert alice.ok("group.requests", NAME) == {"requests": []}
    for accept in (True, False):
        error = alice.error("group.decide", NAME | {"user": "erin", "accept": accept})
        assert error["code"] == "not_found"
    assert house.connect("erin").ok("group.join", NAME) == {"state": "requested"}
    assert len(alice.got("request")) == 1
    alice.ok("group.decide", NAME | {"user": "erin", "accept": True})
    assert "erin" in check_groups()[CONV].members


# ---- limits ----------------------------------------------------------------------------------------------------------


def refused_as_too_large(house: House, device: Device, op: str, data: dict[str, Any]) -> str:
    """Ask for too much; nothing may change. Returns what the error says."""
    before = everything(house)
    error = device.error(op, data)
    assert (error["code"], error["retryable"]) == ("too_large", False), error
    assert everything(house) == before
    return str(error["message"])


def test_a_group_grows_to_its_limit_by_every_way_and_not_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_GROUP_MEMBERS="4") as house:
        people = people_of(house, "alice bob carol dave erin")
        alice = people["alice"]
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"], "join_mode": "approval"})
        for name in ("carol", "dave", "erin"):
            people[name].ok("group.join", NAME)
        invite = NAME | {"users": ["carol", "dave", "erin"]}
        assert "4" in refused_as_too_large(house, alice, "group.invite", invite)

        assert alice.ok("group.invite", NAME | {"users": ["bob", "alice", "carol", "dave"]})["users"] == [
            "carol",
            "dave",
        ]
        drop_queued(house)
        refused_as_too_large(house, alice, "group.invite", NAME | {"users": ["erin"]})
        refused_as_too_large(house, alice, "group.decide", NAME | {"user": "erin", "accept": True})
        alice.ok("group.update", NAME | {"join_mode": "open"})
        drop_queued(house)
        refused_as_too_large(house, people["erin"], "group.join", NAME)
        people["bob"].ok("group.leave", NAME)
        assert people["erin"].ok("group.join", NAME) == {"state": "joined"}
        alice.ok("group.remove", NAME | {"users": ["carol", "dave"]})
        assert people["bob"].ok("group.join", NAME) == {"state": "joined"}

        assert check_groups()[CONV].members == {"alice", "bob", "erin"}


def test_a_user_is_in_as_many_groups_as_they_may_by_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_GROUPS_PER_USER="2") as house:
        alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))
        for gid in ("one", "two"):
            alice.ok("group.create", {"gid": gid, "name": gid, "members": ["bob"]})
        carol.ok("group.create", {"gid": "g", "name": "G", "join_mode": "approval"})
        bob.ok("group.join", NAME)
        drop_queued(house)

        for device, op, data in (
            (alice, "group.create", {"name": "H"}),
            (carol, "group.create", {"name": "H", "members": ["dave", "bob", "erin"]}),
            (carol, "group.invite", NAME | {"users": ["dave", "bob", "erin"]}),
            (carol, "group.decide", NAME | {"user": "bob", "accept": True}),
        ):
            named = "alice" if device is alice else "bob"
            assert named in refused_as_too_large(house, device, op, data)
        carol.ok("group.update", NAME | {"join_mode": "open"})
        drop_queued(house)
        assert "bob" in refused_as_too_large(house, bob, "group.join", NAME)

        assert [count_of(name) for name in ("alice", "bob", "carol", "dave")] == [2, 2, 1, 0]
        bob.ok("group.leave", {"conv": "g:one"})
        assert bob.ok("group.join", NAME) == {"state": "joined"}
        alice.ok("group.remove", {"conv": "g:two", "users": ["bob"]})
        assert count_of("bob") == 1
        check_groups()


@pytest.mark.parametrize("way", ["invite", "join", "decide", "create", "be named in create"])
def test_a_dissolved_group_makes_room_as_soon_as_it_is_needed(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with built_house(monkeypatch, MAX_GROUPS_PER_USER="2") as house:
        alice, bob, carol = (house.connect(name) for name in ("alice", "bob", "carol"))
        for gid in ("one", "two"):
            alice.ok("group.create", {"gid": gid, "name": gid, "members": ["bob"]})
        carol.ok("group.create", {"gid": "g", "name": "G", "join_mode": "approval" if way == "decide" else "open"})
        if way == "decide":
            bob.ok("group.join", NAME)
        alice.ok("group.dissolve", {"conv": "g:one"})
        assert count_of("bob") == 2

        if way == "invite":
            assert carol.ok("group.invite", NAME | {"users": ["bob"]}) == {"users": ["bob"]}
        elif way == "join":
            bob.ok("group.join", NAME)
        elif way == "decide":
            carol.ok("group.decide", NAME | {"user": "bob", "accept": True})
        elif way == "create":
            bob.ok("group.create", {"gid": "h", "name": "H"})
        else:
            house.connect("dave").ok("group.create", {"gid": "h", "name": "H", "members": ["bob"]})

        assert count_of("bob") == 2
        check_groups()
        full = {"name": "I", "members": ["bob"]}
        assert "bob" in str(house.connect("erin").error("group.create", full)["message"])
        bob.ok("group.leave", {"conv": "g:one"})
        assert count_of("bob") == 2, "taken off once, however often"
        check_groups()


@pytest.mark.parametrize("repeats", [1, 3])
def test_leaving_a_dissolved_group_makes_room_once(house: House, repeats: int) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for gid in ("one", "two"):
        alice.ok("group.create", {"gid": gid, "name": gid, "members": ["bob", "carol"]})
    alice.ok("group.dissolve", {"conv": "g:one"})

    for _ in range(repeats):
        assert bob.ok("group.leave", {"conv": "g:one"}) == {}
        assert alice.ok("group.leave", {"conv": "g:one"}) == {}

    assert [count_of(name) for name in ("alice", "bob", "carol")] == [1, 1, 2]
    assert len(house.log("g:one")) == 2
    check_groups()


def test_many_joinings_and_leavings_leave_the_count_right(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "join_mode": "open"})

    for i in range(6):
        assert bob.ok("group.join", NAME) == {"state": "joined"}
        assert count_of("bob") == 1
        if i % 2:
            alice.ok("group.remove", NAME | {"users": ["bob"]})
        else:
            bob.ok("group.leave", NAME)
        assert count_of("bob") == 0

    check_groups()


def test_a_group_has_no_more_admins_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_GROUP_ADMINS="2") as house:
        alice, bob = house.connect("alice"), house.connect("bob")
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol", "dave", "erin"]})
        for name in ("bob", "carol"):
            alice.ok("group.role", NAME | {"user": name, "role": "admin"})
        drop_queued(house)
        dave = NAME | {"user": "dave", "role": "admin"}
        assert "admins" in refused_as_too_large(house, alice, "group.role", dave)

        alice.ok("group.role", NAME | {"user": "carol", "role": "admin"})
        alice.ok("group.role", NAME | {"user": "carol", "role": "member"})
        alice.ok("group.role", dave)
        alice.ok("group.transfer", NAME | {"user": "bob"})
        bob.ok("group.role", NAME | {"user": "erin", "role": "admin"})
        drop_queued(house)
        refused_as_too_large(house, bob, "group.role", NAME | {"user": "alice", "role": "admin"})
        bob.ok("group.remove", NAME | {"users": ["dave"]})
        bob.ok("group.role", NAME | {"user": "alice", "role": "admin"})

        assert check_groups()[CONV].admins == ["erin", "alice"]


def test_a_name_has_no_more_characters_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_GROUP_NAME="5") as house:
        alice = house.connect("alice")
        refused_as_too_large(house, alice, "group.create", {"name": "sechse"})
        alice.ok("group.create", {"gid": "g", "name": "fünf!"})
        drop_queued(house)

        assert "5" in refused_as_too_large(house, alice, "group.update", NAME | {"name": "sechse", "notice": "x"})
        assert alice.ok("group.update", NAME | {"name": "🦉🦉🦉🦉🦉"})["name"] == "🦉🦉🦉🦉🦉"


def test_a_request_names_no_more_users_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, MAX_USERS_AT_ONCE="3") as house:
        alice = house.connect("alice")
        four = ["a", "b", "c", "d"]
        refused_as_too_large(house, alice, "group.create", {"name": "G", "members": four})
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["a", "b", "c", "alice", "a", "b"]})
        drop_queued(house)
        for op in ("group.invite", "group.remove"):
            refused_as_too_large(house, alice, op, NAME | {"users": four})

        alice.ok("group.invite", NAME | {"users": ["d", "d", "d", "d", "e", "f"]})
        assert alice.ok("group.remove", NAME | {"users": ["a", "b", "a", "b", "f"]})["users"] == ["a", "b", "f"]
        assert check_groups()[CONV].members == {"alice", "c", "d", "e"}


MOST: list[tuple[str, Any, Any]] = [
    ("notice", "n" * 1000, "n" * 1001),
    ("notice", "🦉" * 1000, "🦉" * 1001),
    ("avatar", "a" * 512, "a" * 513),
    ("custom", {"x": "y" * 2040}, {"x": "y" * 2041}),
    ("custom", {"x": "ü" * 1020}, {"x": "ü" * 1021}),
]
"""Fields with the most that they hold, and with more."""


@pytest.mark.parametrize("op", ["group.create", "group.update"])
def test_what_is_told_of_a_group_has_its_limits(house: House, op: str) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})

    for i, (name, most, more) in enumerate(MOST):
        data = NAME if op == "group.update" else {"gid": f"g{i}", "name": "G", "members": ["bob"]}
        error = alice.error(op, data | {name: more})
        assert error["code"] == "bad_request"
        assert error["message"].startswith(f"data.{name}")
        assert alice.ok(op, data | {name: most})[name] == most
        house.fan_out()
        pushed = bob.got("entries")[-1]["entries"][-1]
        assert (pushed["body"].get("group") or pushed["body"])[name] == most
    assert len(log_of(CONV)) == 1 + (len(MOST) if op == "group.update" else 0)


# ---- many at once ----------------------------------------------------------------------------------------------------


def test_more_than_one_entry_takes_are_added_and_removed_in_some(house: House) -> None:
    names = [f"u{i:02d}" for i in range(MAX_PER_CHANGE + 4)]
    alice, first, last = house.connect("alice"), house.connect(names[0]), house.connect(names[-1])
    alice.ok("group.create", {"gid": "g", "name": "G", "members": names[2:4]})

    added = alice.ok("group.invite", NAME | {"users": names})
    joined = alice.ok("group.info", NAME)["members"]
    house.fan_out()
    removed = alice.ok("group.remove", NAME | {"users": [*names, "nobody"]})
    again = [alice.ok("group.remove", NAME | {"users": names}), alice.ok("group.invite", NAME | {"users": ["alice"]})]
    house.fan_out()

    come = names[:2] + names[4:]
    assert (added["users"], removed["users"], joined) == (come, names, len(names) + 1)
    assert again == [{"users": []}, {"users": []}]
    cuts = [(body["added"], body["removed"]) for body in changed("members")]
    assert cuts == [
        (["alice", "u02", "u03"], []),
        (come[:MAX_PER_CHANGE], []),
        (come[MAX_PER_CHANGE:], []),
        ([], names[:MAX_PER_CHANGE]),
        ([], names[MAX_PER_CHANGE:]),
    ]
    # moto forgets what it has delivered; SQS would not bring the repeat of entry 3 within five minutes.
    assert (sorted({*first.seen()}), last.seen()[0], last.seen()[-1]) == ([2, 3, 4], 3, 5)
    assert check_groups()[CONV].members == {"alice"}


def test_many_are_removed_by_an_admin_only_if_all_of_them_may_be(house: House) -> None:
    names = [f"u{i:02d}" for i in range(MAX_PER_CHANGE + 2)]
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob", *names]})
    for admin in ("bob", names[-1]):
        alice.ok("group.role", NAME | {"user": admin, "role": "admin"})
    drop_queued(house)
    before = everything(house)

    assert bob.error("group.remove", NAME | {"users": names})["code"] == "forbidden"
    assert bob.error("group.remove", NAME | {"users": [*names[:-1], "alice"]})["code"] == "forbidden"
    assert everything(house) == before
    assert len(bob.ok("group.remove", NAME | {"users": names[:-1]})["users"]) == MAX_PER_CHANGE + 1


# ---- bad requests ----------------------------------------------------------------------------------------------------

EVERY_OP = "info members requests invite remove join leave role transfer mute update dissolve decide"
WHOLE: dict[str, Any] = {
    "conv": CONV,
    "user": "bob",
    "users": ["bob"],
    "role": "admin",
    "until": 0,
    "accept": False,
    "name": "x",
}
"""What any of them may need."""
NO_USER: tuple[Any, ...] = ("", "a b", "x" * 65, "@all", 5, None, "erin\n", ["bob"])
BAD: list[tuple[str, dict[str, list[Any]], str]] = [
    ("invite remove", {"users": [[], "bob", None, {"bob": 1}]}, "data.users"),
    ("invite remove", {"users": [["erin", user] for user in NO_USER]}, "data.users.1"),
    ("role transfer decide", {"user": list(NO_USER)}, "data.user"),
    ("mute", {"user": [user for user in NO_USER if user is not None]}, "data.user"),
    ("role", {"role": ["owner", "Admin", "", None, 1]}, "data.role"),
    ("mute", {"until": [-1, 2**53, 1.5, "5", None, True]}, "data.until"),
    ("decide", {"accept": [1, "yes", None]}, "data.accept"),
    ("join", {"note": ["n" * 201, 5, None]}, "data.note"),
    ("members requests mine", {"limit": [0, 101, -1, "5", 1.5, None]}, "data.limit"),
    ("members requests", {"cursor": ["", "a b", "x" * 65, 5]}, "data.cursor"),
    ("mine", {"cursor": ["c" * 129, 5]}, "data.cursor"),
    ("update", {"name": ["", 5, ["G"]]}, "data.name"),
    ("update", {"notice": [5, ["x"]]}, "data.notice"),
    ("update", {"avatar": [5, {}]}, "data.avatar"),
    ("update", {"custom": ["text", [1], 5]}, "data.custom"),
    ("update", {"history": [1, "true"]}, "data.history"),
    ("update", {"join_mode": ["closed", "", 1]}, "data.join_mode"),
    ("update", {"who_invites": ["owner", True]}, "data.who_invites"),
    ("update", {"who_mentions_all": ["nobody", False]}, "data.who_mentions_all"),
    (EVERY_OP, {"conv": ["d:alice:bob", "g", "g:", "g:a b", "", 5, None]}, "data.conv"),
]
"""Operations, a field of theirs with values that it may not have, and what the error names."""
NEEDED = {
    "invite": ["users"],
    "remove": ["users"],
    "role": ["user", "role"],
    "transfer": ["user"],
    "mute": ["until"],
    "decide": ["user", "accept"],
}


def test_what_has_the_wrong_form_is_refused_with_its_place_and_changes_nothing(house: House) -> None:
    alice, erin = house.connect("alice"), house.connect("erin")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"], "join_mode": "open"})
    drop_queued(house)
    before = everything(house)

    wrong = [
        (op, WHOLE | {field: value}, path)
        for ops, values_of, path in BAD
        for op in ops.split()
        for field, values in values_of.items()
        for value in values
    ]
    for op, names in NEEDED.items():
        wrong += [(op, {f: v for f, v in WHOLE.items() if f != name}, f"data.{name}") for name in names]
    wrong += [(op, {}, "data.conv") for op in EVERY_OP.split()]
    wrong += [("update", NAME | nothing, "data") for nothing in ({}, {"name": None, "history": None}, {"owner": "bob"})]
    for i, (op, data, path) in enumerate(wrong):
        error = (alice, erin)[i % 2].error(f"group.{op}", data)
        assert error["code"] == "bad_request", (op, data, error)
        assert error["message"].startswith(f"{path}:"), (op, data, error)

    assert everything(house) == before


def test_a_group_that_is_not_there_looks_as_one_that_one_is_not_in(house: House) -> None:
    alice, mallory = house.connect("alice"), house.connect("mallory")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    drop_queued(house)
    before = everything(house)

    for op in EVERY_OP.replace("join ", "").split():
        errors = [mallory.error(f"group.{op}", WHOLE | {"conv": conv}) for conv in ("g:g", "g:none")]
        assert [error["code"] for error in errors] == ["not_member"] * 2, op
        assert errors[0]["message"].replace("g:g", "") == errors[1]["message"].replace("g:none", ""), op
    assert mallory.error("group.join", {"conv": "g:none"})["code"] == "not_found"

    assert everything(house) == before


# ---- muted -----------------------------------------------------------------------------------------------------------


def test_a_mute_ends_by_itself(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    alice.ok("group.mute", NAME | {"user": "bob", "until": START + 1000})

    early = bob.error("message.send", text("1", CONV))
    house.now = START + 999
    late = bob.error("message.send", text("1", CONV))
    house.now = START + 1000

    assert (early["code"], early["retry_after_ms"], late["retry_after_ms"]) == ("muted", 1000, 1)
    assert bob.ok("message.send", text("1", CONV))["seq"] == 3
    assert bob.ok("group.info", NAME)["me"]["muted_until"] == START + 1000


def test_a_mute_may_be_made_longer_shorter_and_be_lifted(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    told = []
    for until in (LATER, LATER + 1, LATER - 1):
        alice.ok("group.mute", NAME | {"user": "bob", "until": until})
        told.append(bob.error("message.send", text("1", CONV))["retry_after_ms"])
    alice.ok("group.mute", NAME | {"user": "bob", "until": START})

    assert told == [LATER - START, LATER + 1 - START, LATER - 1 - START]
    assert bob.ok("message.send", text("1", CONV))["seq"] == 6
    assert [body.get("muted") for body in changed("members")[1:]] == [
        {"bob": LATER},
        {"bob": LATER + 1},
        {"bob": LATER - 1},
        {"bob": 0},
    ]
    check_groups()


def test_when_all_are_muted_the_owner_and_admins_still_send(house: House) -> None:
    people = people_of(house, "alice bob carol")
    people["alice"].ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    people["alice"].ok("group.role", NAME | {"user": "bob", "role": "admin"})
    people["bob"].ok("group.mute", NAME | {"until": START + 5000})

    error = people["carol"].error("message.send", text("1", CONV))
    for name in ("alice", "bob"):
        people[name].ok("message.send", text(name, CONV))
    people["alice"].ok("group.role", NAME | {"user": "bob", "role": "member"})
    demoted = people["bob"].error("message.send", text("2", CONV))
    people["alice"].ok("group.role", NAME | {"user": "carol", "role": "admin"})
    people["carol"].ok("message.send", text("1", CONV))
    house.now += 5000
    people["bob"].ok("message.send", text("2", CONV))

    assert [(e["code"], e["retry_after_ms"]) for e in (error, demoted)] == [("muted", 5000)] * 2
    assert house.texts(CONV) == ["alice", "bob", "1", "2"]


def test_a_mute_holds_for_an_admin_and_ends_with_owning_the_group(house: House) -> None:
    people = people_of(house, "alice bob carol")
    people["alice"].ok("group.create", {"gid": "g", "name": "G", "members": ["bob", "carol"]})
    people["alice"].ok("group.role", NAME | {"user": "bob", "role": "admin"})
    for name in ("bob", "carol"):
        people["alice"].ok("group.mute", NAME | {"user": name, "until": LATER})
        assert people[name].error("message.send", text("1", CONV))["code"] == "muted"

    people["alice"].ok("group.role", NAME | {"user": "carol", "role": "admin"})
    assert people["carol"].error("message.send", text("1", CONV))["code"] == "muted"
    people["alice"].ok("group.transfer", NAME | {"user": "carol"})
    people["carol"].say("1", "1", conv=CONV)
    people["carol"].ok("group.mute", NAME | {"user": "alice", "until": LATER})

    assert people["alice"].error("message.send", text("1", CONV))["code"] == "muted"
    assert house.texts(CONV) == ["1"]


def test_the_longer_one_of_two_mutes_counts(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    alice.ok("group.mute", NAME | {"user": "bob", "until": START + 1000})
    alice.ok("group.mute", NAME | {"until": START + 2000})

    assert bob.error("message.send", text("1", CONV))["retry_after_ms"] == 2000
    alice.ok("group.mute", NAME | {"user": "bob", "until": START + 3000})
    assert bob.error("message.send", text("1", CONV))["retry_after_ms"] == 3000
    alice.ok("group.mute", NAME | {"until": 0})
    assert bob.error("message.send", text("1", CONV))["retry_after_ms"] == 3000


@pytest.mark.parametrize("ways", [("leave", "invite"), ("remove", "join")])
def test_coming_back_does_not_lift_a_mute(house: House, ways: tuple[str, str]) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"], "join_mode": "open"})
    alice.ok("group.mute", NAME | {"user": "bob", "until": LATER})

    for _ in range(2):
        for way in ways:
            if way in {"leave", "join"}:
                bob.ok(f"group.{way}", NAME)
            else:
                alice.ok(f"group.{way}", NAME | {"users": ["bob"]})
        assert bob.error("message.send", text("1", CONV))["code"] == "muted"
        assert bob.ok("group.info", NAME)["me"]["muted_until"] == LATER

    alice.ok("group.mute", NAME | {"user": "bob", "until": 0})
    bob.ok("group.leave", NAME)
    bob.ok("group.join", NAME)
    bob.say("Free.", "1", conv=CONV)
    check_groups()


def test_a_message_that_was_accepted_is_found_again_after_its_sender_was_muted(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    first = bob.say("x", "1", conv=CONV)
    alice.ok("group.mute", NAME | {"user": "bob", "until": LATER})

    assert bob.say("x", "1", conv=CONV) == first | {"duplicate": True}
    assert bob.error("message.send", text("2", CONV))["code"] == "muted"


# ---- one gid, and the end --------------------------------------------------------------------------------------------


def test_a_founder_s_repeat_is_answered_as_what_they_are_now(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    data = {"gid": "g", "name": "G", "members": ["bob"]}
    alice.ok("group.create", data)
    alice.ok("group.transfer", NAME | {"user": "bob"})
    bob.ok("group.update", NAME | {"name": "Bob's"})

    again = alice.ok("group.create", data)
    assert (again["name"], again["owner"], again["me"]["role"]) == ("Bob's", "bob", "member")
    assert bob.error("group.create", data)["code"] == "conflict"
    alice.ok("group.leave", NAME)
    drop_queued(house)
    before = everything(house)

    assert alice.error("group.create", data)["code"] == "not_member"
    bob.ok("group.dissolve", NAME)
    assert alice.error("group.create", data)["code"] == "conflict"
    assert bob.error("group.create", data)["code"] == "conflict"
    assert len(before["ConversationTable"]) == len(everything(house)["ConversationTable"]) - 1


def test_a_founder_s_repeat_brings_back_nobody_who_has_gone(house: House) -> None:
    names = [f"u{i:02d}" for i in range(MAX_PER_CHANGE + 4)]
    alice, last = house.connect("alice"), house.connect(names[-1])
    data = {"gid": "g", "name": "G", "members": names}
    alice.ok("group.create", data)
    last.ok("group.leave", NAME)
    alice.ok("group.remove", NAME | {"users": names[:2]})

    assert alice.ok("group.create", data)["members"] == len(names) - 2
    assert check_groups()[CONV].members == {"alice", *names[2:-1]}


def test_the_last_one_s_leaving_dissolves_the_group(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"], "join_mode": "open"})
    assert alice.error("group.leave", NAME)["code"] == "conflict"
    house.fan_out()
    bob.ok("group.leave", NAME)
    house.fan_out()
    alice.say("Bye.", "1", conv=CONV)
    house.fan_out()

    assert alice.ok("group.leave", NAME) == {}
    assert alice.ok("group.leave", NAME) == {}
    house.fan_out()

    assert changed("members")[-1] == members("alice", removed=("alice",), dissolved=True)
    assert ({*alice.seen()}, {*bob.seen()}) == ({1, 2, 4}, {1, 2})
    assert bob.error("group.join", NAME)["code"] == "not_found"
    assert alice.error("message.send", text("2", CONV))["code"] == "not_member"
    assert alice.error("group.create", {"gid": "g", "name": "G"})["code"] == "conflict"
    assert [(count_of(name), row(device, CONV)["left_seq"]) for name, device in (("alice", alice), ("bob", bob))] == [
        (0, 4),
        (0, 2),
    ]
    group = check_groups()[CONV]
    assert (group.dissolved, group.members) == (True, set())
