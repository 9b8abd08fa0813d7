"""sync.receipts: how many have received and read a message, and who."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bench.crowds import CONV as CROWD
from bench.crowds import gather
from im.domain.ids import ConvId, Seq, UserId
from im.flows.receipts import MAX_MEMBERS
from im.store import keys
from im.store.inbox import InboxStore
from tests.integration.house import Device, House

DIRECT = "d:alice:bob"
GROUP = ConvId("g:team")
SEED = 20_261_121


def team(house: House, *names: str, **more: Any) -> dict[str, Device]:
    """A group of these with alice as its owner, and one message of hers: seq 2."""
    people = {name: house.connect(name) for name in ("alice", *names)}
    people["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": list(names)} | more)
    people["alice"].say("Who has read this?", "c1", conv=GROUP)
    house.fan_out()
    return people


def receipts(device: Device, seq: int = 2, conv: str = GROUP, **more: Any) -> dict[str, Any]:
    return device.ok("sync.receipts", {"conv": conv, "seq": seq} | more)


def counts(device: Device, seq: int = 2, conv: str = GROUP) -> tuple[int, int, int, int]:
    found = receipts(device, seq, conv)
    return found["members"], found["delivered"], found["read"], found["private"]


def names(device: Device, which: str, limit: int = 100, seq: int = 2) -> list[str]:
    """All names of one list, page by page."""
    out: list[str] = []
    data: dict[str, Any] = {"list": which, "limit": limit}
    while True:
        page = receipts(device, seq, **data)
        assert len(page["users"]) <= limit
        out += page["users"]
        if "cursor" not in page:
            return out
        data["cursor"] = page["cursor"]


def read(device: Device, seq: int = 2, conv: str = GROUP) -> None:
    device.ok("sync.read", {"conv": conv, "seq": seq})


# ---- counts and names ------------------------------------------------------------------------------------------------


def test_a_message_is_received_then_read_by_each_member(house: House) -> None:
    people = team(house, "bob", "carol", "dave")
    assert counts(people["alice"]) == (3, 0, 0, 0)

    people["bob"].ok("sync.ack", {"acks": [{"conv": GROUP, "seq": 2}]})
    assert counts(people["alice"]) == (3, 1, 0, 0)

    read(people["carol"])
    assert counts(people["alice"]) == (3, 2, 1, 0), "who has read it has received it"
    assert names(people["alice"], "read") == ["carol"]
    assert names(people["alice"], "unread") == ["bob", "dave"]


def test_any_member_may_ask_about_any_message_and_its_sender_is_nobody_s_reader(house: House) -> None:
    people = team(house, "bob", "carol")
    people["bob"].say("An answer.", "c2", conv=GROUP)
    house.fan_out()

    assert names(people["carol"], "read", seq=2) == ["bob"], "who says something has read what came before"
    assert names(people["carol"], "read", seq=3) == []
    assert names(people["carol"], "unread", seq=3) == ["alice", "carol"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_names_come_by_user_id_in_pages(house: House, limit: int) -> None:
    people = team(house, *(f"u{i}" for i in range(7)))
    for i in (0, 2, 3, 6):
        read(people[f"u{i}"])

    assert names(people["alice"], "read", limit) == ["u0", "u2", "u3", "u6"]
    assert names(people["alice"], "unread", limit) == ["u1", "u4", "u5"]


def test_a_page_that_goes_on_says_names_alone(house: House) -> None:
    people = team(house, "bob", "carol", "dave")

    page = receipts(people["alice"], list="unread", limit=1, cursor="bob")

    assert page == {"conv": GROUP, "seq": 2, "users": ["carol"], "cursor": "carol"}


def test_who_came_later_left_or_came_back_is_not_counted(house: House) -> None:
    people = team(house, "bob", "carol", "dave", history=True)
    for device in people.values():
        read(device)
    people["bob"].ok("group.leave", {"conv": GROUP})
    people["carol"].ok("group.leave", {"conv": GROUP})
    people["alice"].ok("group.invite", {"conv": GROUP, "users": ["carol", "erin"]})
    house.fan_out()

    assert counts(people["alice"]) == (1, 1, 1, 0)
    assert names(people["alice"], "read") == ["dave"]


def test_changing_a_message_or_the_group_is_no_reading(house: House) -> None:
    people = team(house, "bob", "carol")
    people["bob"].ok("message.react", {"conv": GROUP, "seq": 2, "emoji": "👍", "on": True})
    people["alice"].ok("group.role", {"conv": GROUP, "user": "carol", "role": "admin"})
    people["carol"].ok("group.update", {"conv": GROUP, "notice": "Hello."})
    house.fan_out()

    assert names(people["alice"], "read") == []


# ---- direct conversations --------------------------------------------------------------------------------------------


def test_a_direct_conversation_tells_how_far_the_other_side_is(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(3):
        alice.say("Hello.", f"c{i}", conv=DIRECT)
    house.fan_out()
    read(bob, 2, DIRECT)
    bob.ok("sync.ack", {"acks": [{"conv": DIRECT, "seq": 3}]})

    found = receipts(alice, 3, DIRECT)

    assert (found["members"], found["delivered"], found["read"]) == (1, 1, 0)
    assert found["marks"] == {"read_seq": 2, "ack_seq": 3}
    assert receipts(bob, 3, DIRECT)["marks"] == {"read_seq": 3, "ack_seq": 0}, "alice sent it"


# ---- who does not want it to be known --------------------------------------------------------------------------------


def test_who_hides_their_receipts_is_counted_as_private_and_nowhere_else(house: House) -> None:
    people = team(house, "bob", "carol")
    for name in ("bob", "carol"):
        read(people[name])
    people["bob"].ok("sync.privacy", {"receipts": False})

    assert counts(people["alice"]) == (2, 1, 1, 1)
    assert names(people["alice"], "read") == ["carol"]
    assert names(people["alice"], "unread") == []

    people["bob"].ok("sync.privacy", {"receipts": True})
    assert names(people["alice"], "read") == ["bob", "carol"]


def test_what_the_private_have_read_shows_nowhere(house: House) -> None:
    people = team(house, "bob")
    people["bob"].ok("sync.privacy", {"receipts": False})
    before = receipts(people["alice"], list="unread")

    people["bob"].ok("sync.ack", {"acks": [{"conv": GROUP, "seq": 2}]})
    read(people["bob"])

    assert receipts(people["alice"], list="unread") == before


@pytest.mark.parametrize("all_at_once", [False, True])
def test_the_other_side_of_a_direct_conversation_is_not_told_either(house: House, *, all_at_once: bool) -> None:
    alice, bob, phone = house.connect("alice"), house.connect("bob"), house.connect("bob", "phone", "ios")
    bob.ok("sync.privacy", {"receipts": False})
    alice.say("Hello.", "c1", conv=DIRECT)
    house.fan_out()

    bob.ok("sync.ack", {"acks": [{"conv": DIRECT, "seq": 1}]})
    if all_at_once:
        assert bob.ok("sync.read_all") == {"total_unread": 0}
    else:
        read(bob, 1, DIRECT)

    assert alice.got("read") == alice.got("delivered") == []
    assert "marks" not in receipts(alice, 1, DIRECT)
    assert phone.got("inbox" if all_at_once else "read"), "one's own devices are told"
    assert bob.ok("sync.unread")["total_unread"] == 0


# ---- a group of three hundred ----------------------------------------------------------------------------------------


def test_lists_are_exact_while_reads_arrive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGE_GROUP_ABOVE", "1000")
    crowd = gather(house, 300, 1, limit=1000)
    (sender,) = crowd.online
    seq = sender.say("Who has read this?", "c1", conv=CROWD)["seq"]
    house.fan_out()
    inbox, chance = InboxStore(house.dynamodb, "InboxTable"), random.Random(SEED)
    readers: list[UserId] = []
    waiting = [user for user in crowd.stored if user != sender.user]
    chance.shuffle(waiting)

    def some_read() -> None:
        for _ in range(chance.randint(0, 40)):
            if waiting:
                readers.append(waiting.pop())
                inbox.mark_read(readers[-1], ConvId(CROWD), Seq(seq), 1, house.now)

    while waiting:
        some_read()
        listed = {"read": set[str](), "unread": set[str]()}
        for which in listed:
            data: dict[str, Any] = {"conv": CROWD, "seq": seq, "list": which, "limit": 70}
            while True:
                page = sender.ok("sync.receipts", data)
                assert set(page["users"]) <= (set(readers) if which == "read" else set(waiting)), SEED
                listed[which] |= set(page["users"])
                if "members" in page:
                    assert (page["members"], page["read"]) == (299, len(readers))
                if "cursor" not in page:
                    break
                data["cursor"] = page["cursor"]
                some_read()

    assert set(names_of(sender, "read", seq)) == set(readers)
    assert names_of(sender, "unread", seq) == []


def names_of(sender: Device, which: str, seq: int) -> list[str]:
    out: list[str] = []
    data: dict[str, Any] = {"conv": CROWD, "seq": seq, "list": which}
    while True:
        page = sender.ok("sync.receipts", data)
        out += page["users"]
        if "cursor" not in page:
            return out
        data["cursor"] = page["cursor"]


def test_a_page_looks_up_so_many_members_only_as_fill_it(house: House) -> None:
    people = team(house, *(f"u{i:03d}" for i in range(150)))
    seq = len(house.log(GROUP))

    with house.watched() as calls:
        page = receipts(people["alice"], seq, list="unread", limit=10, cursor="u020")

    assert page["users"] == [f"u{i:03d}" for i in range(21, 31)]
    looked_up = [key for call in calls if call.operation == "BatchGetItem" for key in keys_of(call.params)]
    assert len(looked_up) == 2 * 50


def keys_of(params: dict[str, Any]) -> list[dict[str, Any]]:
    return [key for table in params["RequestItems"].values() for key in table["Keys"]]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "data", "code"),
    [
        ("stranger", {}, "not_member"),
        ("stranger", {"conv": DIRECT, "seq": 1}, "not_member"),
        ("left", {}, "not_member"),
        ("alice", {"conv": "g:nowhere"}, "not_member"),
        ("alice", {"seq": 99}, "not_found"),
        ("alice", {"seq": 1}, "bad_request"),
        ("alice", {"seq": 0}, "bad_request"),
        ("alice", {"list": "all"}, "bad_request"),
        ("alice", {"limit": 101}, "bad_request"),
        ("alice", {"cursor": "no user"}, "bad_request"),
        ("late", {"seq": 2}, "not_found"),
    ],
)
def test_what_is_refused(house: House, who: str, data: dict[str, Any], code: str) -> None:
    people = team(house, "bob", "left") | {name: house.connect(name) for name in ("stranger", "late")}
    people["left"].ok("group.leave", {"conv": GROUP})
    people["alice"].ok("group.invite", {"conv": GROUP, "users": ["late"]})
    house.fan_out()

    assert people[who].error("sync.receipts", {"conv": GROUP, "seq": 2} | data)["code"] == code


@pytest.mark.parametrize(("members", "code"), [(MAX_MEMBERS, None), (MAX_MEMBERS + 1, "too_large")])
def test_groups_above_the_limit_have_no_receipts(house: House, members: int, code: str | None) -> None:
    people = team(house, "bob")
    house.dynamodb.update_item(
        TableName="ConversationTable",
        Key=keys.head(GROUP),
        UpdateExpression="SET member_count = :count",
        ExpressionAttributeValues={":count": {"N": str(members)}},
    )

    reply = people["alice"].ask("sync.receipts", {"conv": GROUP, "seq": 2})

    assert (reply.get("error") or {}).get("code") == code
