"""What users set: how a conversation is shown to them, what others are told of them; and reading everything at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.house import Call, Device, House, built_house

DIRECT = "d:alice:bob"
GROUP = "g:team"
SET = ("muted", "pinned", "draft", "hidden")


@pytest.fixture(params=["small", "large"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose groups are all small, or all large."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if request.param == "small" else "1") as built:
        yield built


def talk(house: House, *texts: str) -> tuple[Device, Device]:
    """Alice and bob; bob has said these."""
    alice, bob = house.connect("alice"), house.connect("bob")
    for i, text in enumerate(texts):
        bob.say(text, f"t{i}", conv=DIRECT)
    house.fan_out()
    return alice, bob


def rows(device: Device, **more: Any) -> dict[str, dict[str, Any]]:
    """All rows of the list, in its order."""
    out: dict[str, dict[str, Any]] = {}
    data = dict(more)
    while True:
        page = device.ok("sync.inbox", data)
        out |= {row["conv"]: row for row in page["conversations"]}
        if "cursor" not in page:
            return out
        data = {"cursor": page["cursor"]} | more


def set_row(device: Device, conv: str = DIRECT, **sets: Any) -> dict[str, Any]:
    return device.ok("sync.settings", {"conv": conv} | sets)


# ---- one conversation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "nothing"),
    [("muted", True, False), ("pinned", True, False), ("draft", "I thought", ""), ("hidden", True, False)],
)
def test_what_is_set_stands_in_the_row_and_on_all_other_devices(
    house: House, name: str, value: object, nothing: object
) -> None:
    alice, _ = talk(house, "Hello.")
    phone = house.connect("alice", "phone", "ios")
    before = rows(alice)[DIRECT]
    assert [before[other] for other in SET] == [False, False, "", False]

    for rev, wanted in ((1, value), (2, nothing)):
        row = set_row(alice, **{name: wanted})

        assert row == rows(phone)[DIRECT] == phone.got("row")[-1]
        assert row == before | {name: wanted, "rev": rev}
    assert alice.got("row") == []


def test_each_setting_leaves_the_others_alone(house: House) -> None:
    alice, _ = talk(house, "Hello.")
    phone = house.connect("alice", "phone", "ios")

    set_row(alice, muted=True, draft="a")
    set_row(phone, pinned=True)
    row = set_row(alice, draft="b")

    assert [row[name] for name in SET] == [True, True, "b", False]
    assert row["rev"] == 3


def test_a_setting_changes_the_version_of_the_inbox_and_is_told_by_since(house: House) -> None:
    alice, _ = talk(house, "Hello.")
    known = alice.ok("sync.inbox")["inbox"]

    set_row(alice, muted=True)

    assert alice.ok("connect.ping")["inbox"] != known
    assert rows(alice, since=known)[DIRECT]["muted"] is True


def test_what_is_hidden_comes_back_with_a_new_message_and_not_with_a_change(sized: House) -> None:
    people = {name: sized.connect(name) for name in ("alice", "bob")}
    people["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": ["bob"]})
    people["bob"].say("Hello.", "c1", conv=GROUP)
    sized.fan_out()
    assert set_row(people["alice"], GROUP, hidden=True)["hidden"] is True

    people["bob"].ok("message.react", {"conv": GROUP, "seq": 2, "emoji": "👍", "on": True})
    people["bob"].ok("message.recall", {"conv": GROUP, "seq": 2})
    sized.fan_out()
    assert rows(people["alice"])[GROUP]["hidden"] is True

    people["bob"].say("And again.", "c2", conv=GROUP)
    sized.fan_out()
    assert rows(people["alice"])[GROUP]["hidden"] is False


def test_what_is_hidden_comes_back_with_an_own_message(house: House) -> None:
    alice, _ = talk(house, "Hello.")
    set_row(alice, hidden=True)

    alice.say("Hi.", "c1", conv=DIRECT)
    house.fan_out()

    assert rows(alice)[DIRECT]["hidden"] is False


def test_a_message_that_comes_while_its_conversation_is_hidden_is_not_hidden(house: House) -> None:
    alice, bob = talk(house, "Hello.")

    def says_something(call: Call) -> None:
        if call.operation == "UpdateItem" and "hidden_n" in call.params["UpdateExpression"]:
            house.before = None
            bob.say("Wait.", "c1", conv=DIRECT)
            house.fan_out()

    with house.watched(before=says_something):
        row = set_row(alice, hidden=True)

    assert (row["hidden"], row["last"]["preview"]) == (False, "Wait.")


def test_a_draft_for_somebody_new_stands_in_the_list(house: House) -> None:
    alice, carol = house.connect("alice"), house.connect("carol")

    row = set_row(alice, "d:alice:carol", draft="Dear Carol,")

    assert row == rows(alice)["d:alice:carol"]
    assert (row["last"], row["last_seq"], row["unread"]) == (None, 0, 0)
    assert rows(carol) == {}


def test_pinned_rows_come_first_then_the_newest_on_all_pages(house: House) -> None:
    alice = house.connect("alice")
    for i in range(9):
        house.connect(f"u{i}").say("Hello.", f"c{i}", to="alice")
        house.now += 1000
    house.fan_out()
    for i in (2, 7):
        set_row(alice, f"d:alice:u{i}", pinned=True)
    wanted = [f"d:alice:u{i}" for i in (7, 2, 8, 6, 5, 4, 3, 1, 0)]

    for limit in (1, 2, 4, 100):
        assert list(rows(alice, limit=limit)) == wanted


@pytest.mark.parametrize(
    ("who", "data", "code"),
    [
        ("alice", {}, "bad_request"),
        ("alice", {"draft": "x" * 1001}, "bad_request"),
        ("alice", {"muted": "yes"}, "bad_request"),
        ("alice", {"pinned": 1}, "bad_request"),
        ("carol", {"muted": True}, "not_member"),
        ("carol", {"muted": True, "conv": GROUP}, "not_member"),
        ("alice", {"muted": True, "conv": "g:nowhere"}, "not_member"),
        ("alice", {"muted": True, "conv": "nothing"}, "bad_request"),
    ],
)
def test_what_is_refused_changes_nothing(house: House, who: str, data: dict[str, Any], code: str) -> None:
    alice, bob = talk(house, "Hello.")
    bob.ok("group.create", {"gid": "team", "name": "Team"})
    house.fan_out()
    caller = alice if who == "alice" else house.connect(who)
    before = house.items("InboxTable")

    assert caller.error("sync.settings", {"conv": DIRECT} | data)["code"] == code
    assert house.items("InboxTable") == before


def test_the_longest_draft_is_kept(house: House) -> None:
    alice, _ = talk(house, "Hello.")
    assert set_row(alice, draft="字" * 1000)["draft"] == "字" * 1000


def test_who_has_left_may_still_hide_the_group(sized: House) -> None:
    alice, bob = sized.connect("alice"), sized.connect("bob")
    alice.ok("group.create", {"gid": "team", "name": "Team", "members": ["bob"]})
    bob.ok("group.leave", {"conv": GROUP})
    sized.fan_out()

    row = set_row(bob, GROUP, hidden=True)

    assert (row["hidden"], row["left_seq"]) == (True, 2)


# ---- what others are told --------------------------------------------------------------------------------------------


def test_everything_is_shown_from_the_start_and_each_is_set_alone(house: House) -> None:
    alice, phone = house.connect("alice"), house.connect("alice", "phone", "ios")
    asked = [
        ({}, {"receipts": True, "presence": True}),
        ({"receipts": False}, {"receipts": False, "presence": True}),
        ({"receipts": True, "presence": False}, {"receipts": True, "presence": False}),
        ({"receipts": True}, {"receipts": True, "presence": False}),
        ({"receipts": False}, {"receipts": False, "presence": False}),
        ({"receipts": True, "presence": True}, {"receipts": True, "presence": True}),
    ]
    for sets, wanted in asked:
        known = phone.ok("connect.ping")["inbox"]
        phone.pushes.clear()

        assert alice.ok("sync.privacy", sets) == wanted

        assert phone.ok("sync.inbox", {"since": known})["privacy"] == wanted
        assert phone.got("privacy") == ([wanted] if sets else [])
        assert (phone.ok("connect.ping")["inbox"] != known) == bool(sets), (
            "the other device hears of it by its ping too"
        )


@pytest.mark.parametrize("data", [{"receipts": "no"}, {"presence": 0}])
def test_privacy_is_a_matter_of_yes_and_no(house: House, data: dict[str, Any]) -> None:
    assert house.connect("alice").error("sync.privacy", data)["code"] == "bad_request"


# ---- reading everything ----------------------------------------------------------------------------------------------


def test_everything_is_read_at_once_and_everybody_concerned_is_told(sized: House) -> None:
    alice, phone = sized.connect("alice"), sized.connect("alice", "phone", "ios")
    bob, carol = sized.connect("bob"), sized.connect("carol")
    bob.ok("group.create", {"gid": "team", "name": "Team", "members": ["alice", "carol"]})
    bob.say("One.", "c1", conv=DIRECT)
    carol.say("Two.", "c2", to="alice")
    carol.say("Three.", "c3", conv=GROUP)
    sized.fan_out()
    assert alice.ok("sync.unread")["total_unread"] == 3

    assert alice.ok("sync.read_all") == {"total_unread": 0}

    assert phone.got("inbox") == [{}]
    assert alice.got("inbox") == []
    assert bob.got("read") == [{"conv": DIRECT, "user": "alice", "seq": 1}]
    assert carol.got("read") == [{"conv": "d:alice:carol", "user": "alice", "seq": 1}]
    assert {conv: row["unread"] for conv, row in rows(phone).items()} == {
        DIRECT: 0,
        "d:alice:carol": 0,
        GROUP: 0,
    }
    assert carol.ok("sync.unread")["total_unread"] == 0, "one's own is read"
    assert bob.ok("sync.unread")["total_unread"] == 1, "others' are theirs"


def test_when_nothing_is_unread_nobody_is_told_and_nothing_is_written(house: House) -> None:
    alice, bob = talk(house, "Hello.")
    alice.ok("sync.read_all")
    bob.pushes.clear()

    with house.watched() as calls:
        assert alice.ok("sync.read_all") == {"total_unread": 0}

    assert {call.operation for call in calls} == {"Query"}
    assert bob.pushes == []


def test_one_row_that_cannot_be_marked_keeps_nothing_from_the_others(house: House) -> None:
    alice, bob = talk(house, "Hello.")
    carol = house.connect("carol")
    carol.say("Hello.", "c1", to="alice")
    house.fan_out()

    def throttled(call: Call) -> None:
        if call.operation == "UpdateItem" and call.sort_key == f"CONV#{DIRECT}":
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, call.operation)

    with house.watched(before=throttled):
        error = alice.error("sync.read_all")

    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert carol.got("read") == [{"conv": "d:alice:carol", "user": "alice", "seq": 1}]
    assert bob.got("read") == []
    assert alice.ok("sync.read_all") == {"total_unread": 0}
    assert bob.got("read") == [{"conv": DIRECT, "user": "alice", "seq": 1}]
