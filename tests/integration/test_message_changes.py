"""Messages are edited, recalled, reacted to and pinned: what becomes of them, who is told, how often and how long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from im.domain.message_rules import MAX_EDITS, MAX_EMOJI, MAX_PINNED, NAMED_REACTIONS
from tests.integration.group_state import everything, queued_seqs, row
from tests.integration.house import FORGETS_REPEATS_MS, START, Call, Device, House, built_house
from tests.integration.message_state import (
    CHANGES,
    DIRECT,
    GROUP,
    chat,
    check_messages,
    edit,
    entries_of,
    forward,
    group,
    message,
    pin,
    pins_of,
    pushed,
    react,
    reactions_of,
    recall,
    said_by,
    settle,
    versions_of,
)

Data = dict[str, Any]

RECALL_MS = 120 * 1000
EDIT_MS = 24 * 60 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000

DATA: dict[str, Data] = {
    "edit": {"body": {"text": "other"}},
    "recall": {},
    "react": {"emoji": "👍", "on": True},
    "pin": {"on": True},
}
"""A request of each kind that really changes a message that nobody has changed."""
KINDS = {"edit": "edit", "recall": "recall", "react": "reaction", "pin": "pin"}
UNDONE: dict[str, Data] = {
    "edit": {"body": {"text": "first"}},
    "react": {"emoji": "👍", "on": False},
    "pin": {"on": False},
}
"""What undoes it."""


def change(device: Device, op: str, seq: int = 1, conv: str = DIRECT, **more: Any) -> Data:
    return device.ok(f"message.{op}", {"conv": conv, "seq": seq} | DATA[op] | more)


def refusal(device: Device, op: str, seq: int = 1, conv: str = DIRECT, **more: Any) -> str:
    data = {"conv": conv, "seq": seq} | DATA[op] | more
    return str(device.error(f"message.{op}", data)["code"])


# ---- what becomes of a message ---------------------------------------------------------------------------------------


def test_an_edited_message_says_the_newest_and_when(house: House) -> None:
    alice, bob = chat(house, "first")
    house.now += 5

    reply = edit(alice, 1, "second")
    edit(alice, 1, "third")

    assert reply == {"conv": DIRECT, "seq": 2, "n": 1, "ts": START + 5, "duplicate": False}
    for device in (alice, bob):
        assert message(device, 1) == {
            "kind": "text",
            "body": {"text": "third"},
            "changed": 3,
            "edited": {"seq": 3, "ts": START + 5},
        }
        assert message(device, 2) == {"kind": "edit", "body": {"target": 1, "body": {"text": "second"}}}
        assert said_by(device, 1) == ["first", "second", "third"]
    check_messages()


def test_a_custom_message_is_edited_to_a_custom_one(house: House) -> None:
    alice, bob = chat(house)
    first, second = {"type": "poll", "payload": {"votes": 0}}, {"type": "poll", "payload": {"votes": [1, 2.50, None]}}
    alice.ok("message.send", {"cmid": "c1", "conv": DIRECT, "kind": "custom", "body": first})

    alice.ok("message.edit", {"conv": DIRECT, "seq": 1, "body": second | {"unknown": 1}})

    assert message(bob, 1)["body"] == second
    assert [version["body"] for version in versions_of(bob, 1)] == [first, second]
    assert refusal(alice, "edit", body={"text": "x"}) == "bad_request"


def test_a_recalled_message_says_nothing_any_more_but_who_took_it_back_and_when(house: House) -> None:
    alice, bob = chat(house, "first")
    edit(alice, 1, "second")
    react(bob, 1)
    pin(bob, 1)
    house.now += 7

    reply = recall(alice, 1)

    assert reply == {"conv": DIRECT, "seq": 5, "n": 1, "ts": START + 7, "duplicate": False}
    for device in (alice, bob):
        recalled = {"by": "alice", "ts": START + 7}
        assert message(device, 1) == {"kind": "text", "body": {}, "changed": 5, "recalled": recalled}
        assert message(device, 2) == {"kind": "edit", "body": {"target": 1}}
        assert message(device, 5) == {"kind": "recall", "body": {"target": 1}}
        assert versions_of(device, 1) == []
        assert reactions_of(device, 1) == {}
        assert pins_of(device) == []
    check_messages()


def test_reactions_are_counted_and_named(house: House) -> None:
    alice, bob = chat(house, "first")

    for device, emoji in ((bob, "👍"), (alice, "👍"), (bob, "🎉")):
        react(device, 1, emoji)
    assert message(alice, 1)["reactions"] == {
        "👍": {"count": 2, "users": ["bob", "alice"]},
        "🎉": {"count": 1, "users": ["bob"]},
    }
    assert reactions_of(bob, 1) == {"alice": ["👍"], "bob": sorted(["👍", "🎉"])}

    react(bob, 1, "👍", on=False)
    react(bob, 1, "🎉", on=False)
    assert message(alice, 1)["reactions"] == {"👍": {"count": 1, "users": ["alice"]}}
    react(alice, 1, "👍", on=False)
    assert message(alice, 1) == {"kind": "text", "body": {"text": "first"}, "changed": 7}
    assert reactions_of(bob, 1) == {}
    check_messages()


def test_a_pinned_message_is_found_by_its_conversation(house: House) -> None:
    alice, bob = chat(house, "one", "two", "three")

    for seq in (3, 1):
        pin(bob, seq)

    assert message(alice, 3) == {"kind": "text", "body": {"text": "three"}, "changed": 4, "pinned": True}
    assert [pinned["body"]["text"] for pinned in alice.ok("sync.pins", {"conv": DIRECT})["entries"]] == ["one", "three"]
    assert alice.ok("sync.pins", {"conv": DIRECT})["entries"][1] == entries_of(alice)[3]
    pin(alice, 3, on=False)
    assert pins_of(bob) == [1]
    assert message(bob, 3) == {"kind": "text", "body": {"text": "three"}, "changed": 6}
    check_messages()


def test_changes_of_all_kinds_stand_side_by_side(house: House) -> None:
    alice, bob = chat(house, "first")
    bob.say("answer", "b1", to="alice", reply_to=1)

    edit(alice, 1, "second")
    react(bob, 1, "❤️")
    pin(alice, 1)
    edit(alice, 1, "third")

    now = message(bob, 1)
    assert now == {
        "kind": "text",
        "body": {"text": "third"},
        "changed": 6,
        "edited": {"seq": 6, "ts": START},
        "reactions": {"❤️": {"count": 1, "users": ["bob"]}},
        "pinned": True,
    }
    assert message(alice, 2)["quote"] == {
        "seq": 1,
        "kind": "text",
        "from": "alice",
        "ts": START,
        "preview": "third",
        "changed": 6,
    }
    recall(alice, 1)
    quote = message(alice, 2)["quote"]
    assert (quote["preview"], quote["recalled"], quote["changed"]) == ("", True, 7)
    check_messages()


def test_what_a_message_was_sent_with_stays(house: House) -> None:
    """Whom it mentions, what it answers, its `cmid`: only what it says changes."""
    alice, bob = chat(house, "first")
    sent = {"conv": DIRECT, "cmid": "c1", "kind": "text", "body": {"text": "x"}, "mentions": ["bob"], "reply_to": 1}
    alice.ok("message.send", sent)

    for op in ("edit", "react", "pin", "recall"):
        change(alice, op, 2)
        after = entries_of(bob)[2]
        assert (after["mentions"], after["reply_to"], after["cmid"], after["n"]) == (["bob"], 1, "c1", 2)
        assert after["quote"]["preview"] == "first"
    assert alice.ok("message.send", sent) == {"conv": DIRECT, "seq": 2, "n": 2, "ts": START, "duplicate": True}


# ---- who is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "large"), [*((op, False) for op in DATA), ("react", True)])
def test_a_change_is_pushed_to_everybody_but_the_connection_that_made_it(
    monkeypatch: pytest.MonkeyPatch, op: str, *, large: bool
) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="1" if large else "200") as house:
        people = group(house, "alice bob carol", "first")
        phone = house.connect("alice", "phone", "ios")
        stranger = house.connect("stranger")

        seq = change(people["alice"], op, 2, GROUP)["seq"]
        house.fan_out()

        for device in (people["bob"], people["carol"], phone):
            (told,) = pushed(device, GROUP)
            assert told == entries_of(device, GROUP)[seq]
            assert (told["seq"], told["kind"], told["body"]["target"]) == (3, KINDS[op], 2)
        assert people["alice"].pushes == stranger.pushes == []


@pytest.mark.parametrize(("op", "large"), [*((op, False) for op in DATA), ("react", True)])
def test_a_change_moves_no_mark_and_shows_nothing_new_in_the_list(
    monkeypatch: pytest.MonkeyPatch, op: str, *, large: bool
) -> None:
    """Whoever reacts has not read what came before it; and nobody has more to read."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="1" if large else "200") as house:
        people = group(house, "alice bob carol", "first", "second")
        people["carol"].say("third", "c1", conv=GROUP, mentions=["bob"])
        settle(house)
        people["bob"].ok("sync.read", {"conv": GROUP, "seq": 2})
        before = {name: row(device, GROUP) for name, device in people.items()}
        versions = {name: device.ok("connect.ping")["inbox"] for name, device in people.items()}
        house.now += 1000

        change(people["alice"], op, 2, GROUP)
        house.fan_out()

        for name, device in people.items():
            now = row(device, GROUP)
            moved = {field for field, value in now.items() if value != before[name][field]}
            assert moved == {"last_seq", "updated"}, name
            assert now["last_seq"] == 5
            assert now["last"]["preview"] == "third"
            assert device.ok("connect.ping")["inbox"] != versions[name], "a client that pings would not know"
        unread = [people[name].ok("sync.unread")["total_unread"] for name in ("alice", "bob", "carol")]
        assert unread == [1, 2, 0]


def test_the_list_shows_the_newest_message_as_it_is_now(house: House) -> None:
    alice, bob = chat(house, "first")

    edit(alice, 1, "two  words")
    house.fan_out()
    said = {"seq": 1, "kind": "text", "from": "alice", "ts": START}
    assert row(bob, DIRECT)["last"] == said | {"preview": "two words", "changed": 2}
    recall(alice, 1)
    house.fan_out()

    for device in (alice, bob):
        assert row(device, DIRECT)["last"] == said | {"preview": "", "recalled": True, "changed": 3}
    assert row(bob, DIRECT)["unread"] == 1, "a recalled message counts until it is read"
    bob.ok("sync.read", {"conv": DIRECT, "seq": 3})
    assert bob.ok("sync.unread")["total_unread"] == 0


def test_a_change_brings_no_conversation_to_the_top(house: House) -> None:
    alice, bob = chat(house, "old")
    house.now += 1000
    alice.say("new", "c1", to="carol")
    house.now += 1000

    react(bob, 1)
    house.fan_out()

    assert [there["conv"] for there in alice.ok("sync.inbox")["conversations"]] == ["d:alice:carol", DIRECT]


def test_a_device_that_was_away_is_told_by_its_next_sync(house: House) -> None:
    alice, bob = chat(house, "first")
    since = bob.ok("sync.inbox")["inbox"]
    bob.hang_up()
    edit(alice, 1, "second")
    house.fan_out()

    bob = house.connect("bob")

    (changed,) = bob.ok("sync.inbox", {"since": since})["conversations"]
    assert (changed["conv"], changed["last_seq"], changed["last"]["preview"]) == (DIRECT, 2, "second")
    page = bob.ok("sync.entries", {"conv": DIRECT, "after": 1})
    assert [entry["body"] for entry in page["entries"]] == [{"target": 1, "body": {"text": "second"}}]


# ---- again -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cmid", [{}, {"cmid": "k1"}], ids=["without a cmid", "with one"])
@pytest.mark.parametrize("op", DATA)
def test_a_repeat_changes_nothing_and_is_told_what_the_first_was(house: House, op: str, cmid: Data) -> None:
    alice, bob = chat(house, "first", "second")
    alices = house.connect("alice", "phone", "ios")
    first = change(alice, op, **cmid)
    settle(house)
    before = everything(house)

    for later in (0, 1, FORGETS_REPEATS_MS, 6 * DAY_MS):
        house.now += later
        for device in (alice, alices):
            assert change(device, op, **cmid) == first | {"duplicate": True}
            assert everything(house) | {"queue": []} == before
    house.fan_out()
    assert everything(house) == before
    assert {entry["seq"] for entry in pushed(bob)} <= {first["seq"]}
    check_messages()


@pytest.mark.parametrize("op", UNDONE)
def test_a_frame_that_comes_late_again_does_not_undo_what_came_after_it(house: House, op: str) -> None:
    alice, _ = chat(house, "first")
    first = change(alice, op, cmid="k1")
    second = change(alice, op, cmid="k2", **UNDONE[op])
    settle(house)
    before = everything(house)

    assert change(alice, op, cmid="k1") == first | {"duplicate": True}
    assert change(alice, op, cmid="k2", **UNDONE[op]) == second | {"duplicate": True}

    assert everything(house) == before
    third = change(alice, op, cmid="k3")
    assert change(alice, op, cmid="k2", **UNDONE[op])["duplicate"] is True
    assert (third["seq"], third["duplicate"]) == (4, False)
    check_messages()


@pytest.mark.parametrize("op", UNDONE)
def test_a_late_frame_that_changed_nothing_the_first_time_does_not_undo_what_came_after_it(
    house: House, op: str
) -> None:
    """Another device was faster: the first try of `k1` found it so already."""
    alice, _ = chat(house, "first")
    phone = house.connect("alice", "phone", "ios")
    change(phone, op)
    assert change(alice, op, cmid="k1")["duplicate"] is True
    change(alice, op, cmid="k2", **UNDONE[op])
    before = message(alice, 1)

    assert change(alice, op, cmid="k1")["duplicate"] is True

    assert message(alice, 1) == before


@pytest.mark.parametrize("op", UNDONE)
def test_without_a_cmid_a_frame_does_what_it_says_whenever_it_comes(house: House, op: str) -> None:
    alice, _ = chat(house, "first")
    for said in (DATA, UNDONE, DATA, UNDONE):
        reply = alice.ok(f"message.{op}", {"conv": DIRECT, "seq": 1} | said[op])
        assert reply["duplicate"] is False

    assert [entry["kind"] for entry in entries_of(alice).values()] == ["text", *[KINDS[op]] * 4]
    check_messages()


@pytest.mark.parametrize("op", UNDONE)
def test_what_was_never_so_is_undone_without_a_trace(house: House, op: str) -> None:
    alice, _ = chat(house, "first")
    settle(house)
    before = everything(house)

    reply = change(alice, op, **UNDONE[op])

    assert (reply["conv"], reply["seq"], reply["duplicate"]) == (DIRECT, 1, True)
    assert everything(house) | {"queue": []} == before


@pytest.mark.parametrize("op", ["edit", "react", "pin"])
def test_a_repeat_of_a_change_is_answered_when_its_message_is_recalled_since(house: House, op: str) -> None:
    alice, _ = chat(house, "first")
    first = change(alice, op, cmid="k1")
    recall(alice, 1)

    assert change(alice, op, cmid="k1") == first | {"duplicate": True}
    assert refusal(alice, op) == refusal(alice, op, cmid="k2") == "conflict"
    check_messages()


def test_a_repeat_of_a_change_is_answered_when_it_would_be_refused_by_now(house: House) -> None:
    """Too late, muted, not in the group any more: it was done when it was asked for."""
    people = group(house, "alice bob", "first")
    people["bob"].say("bob's", "b1", conv=GROUP)
    first = {op: change(people["bob"], op, 3, GROUP, cmid=op) for op in ("edit", "react")}
    people["alice"].ok("group.mute", {"conv": GROUP, "user": "bob", "until": 10**13})
    house.now += EDIT_MS + 1

    for op, reply in first.items():
        assert refusal(people["bob"], op, 3, GROUP, cmid="other") == "muted"
        assert change(people["bob"], op, 3, GROUP, cmid=op) == reply | {"duplicate": True}
    people["alice"].ok("group.remove", {"conv": GROUP, "users": ["bob"]})
    for op, reply in first.items():
        assert refusal(people["bob"], op, 3, GROUP, cmid="other") == "not_member"
        assert change(people["bob"], op, 3, GROUP, cmid=op) == reply | {"duplicate": True}


def test_a_recall_that_is_made_already_is_a_success_whoever_asks_for_it(house: House) -> None:
    people = group(house, "alice bob carol", "first")
    first = recall(people["alice"], 2, GROUP)

    for name in ("bob", "carol", "alice"):
        assert recall(people[name], 2, GROUP, cmid=name) == first | {"duplicate": True}
    assert message(people["carol"], 2, GROUP)["recalled"]["by"] == "alice"


def test_one_cmid_is_one_request_of_one_sender_in_one_conversation(house: House) -> None:
    alice, bob = chat(house, "first", "second")
    alice.say("elsewhere", "c1", to="carol")

    for device, seq, conv in ((alice, 1, DIRECT), (bob, 1, DIRECT), (alice, 1, "d:alice:carol")):
        assert react(device, seq, conv=conv, cmid="same")["duplicate"] is False
    reply = pin(alice, 2, cmid="same")

    assert (reply["seq"], reply["duplicate"]) == (3, True), "the same cmid is the same request, whatever else it says"
    assert pins_of(alice) == []
    check_messages()


def test_a_cmid_of_a_message_is_not_a_change_s(house: House) -> None:
    alice, _ = chat(house, "first")
    before = everything(house)

    assert refusal(alice, "pin", cmid="a0") == "conflict"
    assert everything(house) == before
    change(alice, "pin", cmid="k1")
    send = {"conv": DIRECT, "cmid": "k1", "kind": "text", "body": {"text": "x"}}
    assert alice.error("message.send", send)["code"] == "conflict"
    assert [entry["kind"] for entry in entries_of(alice).values()] == ["text", "pin"]
    check_messages()


@pytest.mark.parametrize("cmid", [{}, {"cmid": "k1"}], ids=["without a cmid", "with one"])
@pytest.mark.parametrize("op", DATA)
def test_a_change_that_was_stored_and_not_queued_is_told_by_its_repeat(house: House, op: str, cmid: Data) -> None:
    alice, bob = chat(house, "first")

    def no_queue(call: Call) -> None:
        if call.service == "sqs":
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, call.operation)

    with house.watched(before=no_queue):
        error = alice.error(f"message.{op}", {"conv": DIRECT, "seq": 1} | DATA[op] | cmid)
    assert error["retryable"] is True
    assert queued_seqs(house) == []

    reply = change(alice, op, **cmid)

    assert (reply["seq"], reply["duplicate"]) == (2, True)
    assert queued_seqs(house) == [2]
    house.fan_out()
    assert [(told["seq"], told["kind"]) for told in pushed(bob)] == [(2, KINDS[op])]
    assert row(bob, DIRECT)["last_seq"] == 2
    check_messages()


# ---- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "window"), [("edit", EDIT_MS), ("recall", RECALL_MS)])
def test_a_window_is_open_up_to_its_last_millisecond(house: House, op: str, window: int) -> None:
    alice, _ = chat(house, "first", "second")
    house.now = START + window

    change(alice, op, 1)
    house.now += 1
    settle(house)
    before = everything(house)

    assert refusal(alice, op, 2) == "expired"
    assert everything(house) == before
    assert change(alice, op, 1)["duplicate"] is True, "what is so already is no error, however late"


def test_windows_are_the_deployment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    with built_house(monkeypatch, RECALL_WINDOW_SECONDS="1", EDIT_WINDOW_SECONDS="2") as house:
        alice, _ = chat(house, "one", "two", "three")
        house.now += 1000
        recall(alice, 1)
        house.now += 1
        assert refusal(alice, "recall", 2) == "expired"
        house.now = START + 2000
        edit(alice, 2, "x")
        house.now += 1
        assert refusal(alice, "edit", 3) == "expired"


def test_an_edit_opens_no_window_again(house: House) -> None:
    alice, _ = chat(house, "first")
    house.now += RECALL_MS
    edit(alice, 1, "second")
    house.now += 1

    assert refusal(alice, "recall") == "expired"


def test_the_owner_and_admins_recall_any_message_at_any_time(house: House) -> None:
    people = group(house, "alice adam mia max")
    people["alice"].ok("group.role", {"conv": GROUP, "user": "adam", "role": "admin"})
    for i, name in enumerate(("alice", "mia", "mia", "max", "adam"), start=3):
        assert people[name].say(f"{i}", f"{i}", conv=GROUP)["seq"] == i
    house.now += 400 * DAY_MS

    for name, seq in (("adam", 3), ("alice", 4), ("adam", 5), ("alice", 7)):
        recall(people[name], seq, GROUP)
        assert message(people["max"], seq, GROUP)["recalled"] == {"by": name, "ts": house.now}
    assert refusal(people["max"], "recall", 6, GROUP) == "expired"
    assert refusal(people["mia"], "recall", 6, GROUP) == "forbidden"
    check_messages()


def test_reactions_and_pins_have_no_window(house: House) -> None:
    alice, bob = chat(house, "first")
    house.now += 4000 * DAY_MS

    assert react(bob, 1)["duplicate"] is pin(alice, 1)["duplicate"] is False


def test_whoever_is_muted_may_still_take_back_what_they_said(house: House) -> None:
    people = group(house, "alice bob")
    people["bob"].say("oops", "b1", conv=GROUP)
    people["alice"].ok("group.mute", {"conv": GROUP, "user": "bob", "until": 10**13})

    assert recall(people["bob"], 2, GROUP)["duplicate"] is False


# ---- how much --------------------------------------------------------------------------------------------------------


def test_a_message_is_edited_twenty_times_and_all_of_it_can_be_read(house: House) -> None:
    """Also when each version is as long as a text may be: then a page holds one."""
    alice, bob = chat(house, "0" * 16384)
    for i in range(1, MAX_EDITS + 1):
        edit(alice, 1, chr(64 + i) * 16384)
    settle(house)
    before = everything(house)

    assert refusal(alice, "edit") == "too_large"
    assert everything(house) == before
    assert change(alice, "edit", body={"text": "T" * 16384})["duplicate"] is True

    versions = versions_of(bob, 1)
    assert [version["seq"] for version in versions] == list(range(1, 22))
    assert [version["body"]["text"] for version in versions] == [
        "0" * 16384,
        *(chr(64 + i) * 16384 for i in range(1, 21)),
    ]
    page = bob.ok("sync.edits", {"conv": DIRECT, "seq": 1})
    assert len(page["versions"]) == 1
    assert list(entries_of(bob)) == list(range(1, 22))
    check_messages()


def test_twenty_short_versions_come_in_one_page(house: House) -> None:
    alice, bob = chat(house, "0")
    for i in range(1, MAX_EDITS + 1):
        house.now += 1
        edit(alice, 1, f"{i}")

    page = bob.ok("sync.edits", {"conv": DIRECT, "seq": 1})

    assert page == {"versions": [{"seq": i + 1, "ts": START + i, "body": {"text": f"{i}"}} for i in range(21)]}
    assert bob.ok("sync.edits", {"conv": DIRECT, "seq": 1, "cursor": "21"}) == {"versions": []}
    for cursor in ("x", "-1", "1.5", ""):
        assert bob.error("sync.edits", {"conv": DIRECT, "seq": 1, "cursor": cursor})["code"] == "bad_request"


@pytest.mark.parametrize(("text", "code"), [("é" * 8192, "ok"), ("é" * 8192 + "x", "too_large"), ("", "bad_request")])
def test_an_edit_is_as_long_as_a_message(house: House, text: str, code: str) -> None:
    alice, bob = chat(house, "first")

    if code == "ok":
        edit(alice, 1, text)
        assert message(bob, 1)["body"]["text"] == text
    else:
        assert refusal(alice, "edit", body={"text": text}) == code


def test_a_message_has_twenty_emoji(house: House) -> None:
    alice, bob = chat(house, "first")
    emoji = [chr(0x1F600 + i) for i in range(MAX_EMOJI + 1)]
    for i, each in enumerate(emoji[:-1]):
        react(alice if i % 2 else bob, 1, each)
    settle(house)
    before = everything(house)

    assert refusal(alice, "react", emoji=emoji[-1]) == refusal(bob, "react", emoji=emoji[-1]) == "too_large"
    assert everything(house) == before
    react(alice, 1, emoji[0])
    react(bob, 1, emoji[0], on=False)
    assert refusal(bob, "react", emoji=emoji[-1]) == "too_large", "alice has it on"
    react(alice, 1, emoji[0], on=False)
    react(bob, 1, emoji[-1])
    assert set(message(alice, 1)["reactions"]) == set(emoji[1:])
    check_messages()


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
WORDS = [
    ("x" * 48, "ok"),
    ("x" * 49, "bad_request"),
    ("é" * 24, "ok"),
    ("é" * 24 + "x", "bad_request"),
    (FAMILY, "ok"),
    ("\U0001f44d\U0001f3fd", "ok"),
    ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "ok"),
    ("\u2764\ufe0f", "ok"),
    ("\u0031\ufe0f\u20e3", "ok"),
    ("", "bad_request"),
    (" ", "bad_request"),
    ("a b", "bad_request"),
    ("a\u00a0b", "bad_request"),
    ("a\u2028", "bad_request"),
    ("a\tb", "bad_request"),
    ("a\n", "bad_request"),
    ("\x00", "bad_request"),
    ("\x7f", "bad_request"),
    (7, "bad_request"),
    (None, "bad_request"),
]


@pytest.mark.parametrize(("emoji", "code"), WORDS, ids=[ascii(word)[:24] for word, _ in WORDS])
def test_an_emoji_is_a_short_word(house: House, emoji: Any, code: str) -> None:
    alice, bob = chat(house, "first")

    if code == "ok":
        change(alice, "react", emoji=emoji)
        house.fan_out()
        assert pushed(bob)[0]["body"] == {"target": 1, "emoji": emoji, "on": True}
        assert message(bob, 1)["reactions"] == {emoji: {"count": 1, "users": ["alice"]}}
        assert reactions_of(bob, 1) == {"alice": [emoji]}
        change(alice, "react", emoji=emoji, on=False)
    else:
        assert refusal(alice, "react", emoji=emoji) == code


def test_emoji_that_look_alike_are_as_they_were_sent(house: House) -> None:
    alice, bob = chat(house, "first")
    alike = ["\u2764", "\u2764\ufe0f", "\u00e9", "e\u0301"]
    for emoji in alike:
        react(alice, 1, emoji)

    assert set(message(bob, 1)["reactions"]) == set(alike)
    check_messages()


def test_sixteen_reactions_of_a_message_are_named_as_long_as_they_are_on(house: House) -> None:
    names = [f"u{i:02}" for i in range(20)]
    people = group(house, " ".join(names), "first")

    def shown() -> dict[str, tuple[int, list[str]]]:
        reactions = message(people["u00"], 2, GROUP).get("reactions", {})
        return {emoji: (it["count"], it["users"]) for emoji, it in reactions.items()}

    for name in names:
        react(people[name], 2, "👍" if name < "u10" else "🎉", GROUP)
    assert NAMED_REACTIONS == 16
    assert shown() == {"👍": (10, names[:10]), "🎉": (10, names[10:16])}

    react(people["u19"], 2, "🎉", GROUP, on=False)
    assert shown() == {"👍": (10, names[:10]), "🎉": (9, names[10:16])}, "who was not named"
    react(people["u03"], 2, "👍", GROUP, on=False)
    assert shown() == {"👍": (9, [*names[:3], *names[4:10]]), "🎉": (9, names[10:16])}
    react(people["u19"], 2, "🎉", GROUP)
    assert shown()["🎉"] == (10, [*names[10:16], "u19"]), "fewer than 16 are named when it comes"
    react(people["u03"], 2, "👍", GROUP)
    assert shown()["👍"] == (10, [*names[:3], *names[4:10]])
    check_messages()

    everybody = reactions_of(people["u05"], 2, GROUP)
    assert everybody == {name: ["👍" if name < "u10" else "🎉"] for name in names}
    for limit in (1, 7, 19, 20):
        assert reactions_of(people["u05"], 2, GROUP, limit=limit) == everybody


def test_reactions_are_told_in_pages_by_user_id(house: House) -> None:
    people = group(house, "alice Bob _c -d", "first", "second")
    for name, device in people.items():
        for emoji in ("👍", name):
            react(device, 2, emoji, GROUP)
    react(people["alice"], 3, "🎉", GROUP)
    asked = {"conv": GROUP, "seq": 2, "limit": 2}

    first = people["alice"].ok("sync.reactions", asked)
    second = people["alice"].ok("sync.reactions", asked | {"cursor": first["cursor"]})

    assert [told["user"] for told in (*first["reactions"], *second["reactions"])] == sorted(people)
    assert all(set(told["emoji"]) == {"👍", told["user"]} for told in first["reactions"])
    rest = people["alice"].ok("sync.reactions", asked | {"cursor": "alice"})
    assert rest == {"reactions": []}, "the reactions to the next message are none to this one"
    assert people["alice"].error("sync.reactions", asked | {"cursor": "a#b"})["code"] == "bad_request"
    assert people["alice"].error("sync.reactions", asked | {"limit": 0})["code"] == "bad_request"
    assert people["alice"].error("sync.reactions", asked | {"limit": 101})["code"] == "bad_request"


def test_fifty_messages_of_a_conversation_are_pinned(house: House) -> None:
    alice, bob = chat(house, *(f"{i}" for i in range(MAX_PINNED + 1)))
    for seq in range(1, MAX_PINNED + 1):
        pin(alice, seq)
    settle(house)
    before = everything(house)

    assert refusal(bob, "pin", MAX_PINNED + 1) == "too_large"
    assert everything(house) == before
    assert pins_of(bob) == list(range(1, MAX_PINNED + 1))
    assert pin(bob, 7)["duplicate"] is True
    pin(bob, 7, on=False)
    pin(bob, MAX_PINNED + 1)
    assert refusal(alice, "pin", 7) == "too_large"
    recall(alice, 9)
    assert pin(alice, 7)["duplicate"] is False, "a recalled message leaves its place"
    assert len(pins_of(bob)) == MAX_PINNED
    check_messages()


def test_of_pins_that_do_not_fit_into_a_frame_all_are_named(house: House) -> None:
    alice, bob = chat(house, *("x" * 15000 for _ in range(3)))
    for seq in (3, 1, 2):
        pin(bob, seq)

    page = alice.ok("sync.pins", {"conv": DIRECT})

    assert ([entry["seq"] for entry in page["entries"]], page["seqs"]) == ([1, 2], [1, 2, 3])


def test_the_largest_message_with_all_that_may_come_with_it_fits_into_a_frame(house: House) -> None:
    """Ids as long as they may be, a `cmid` and a quoted text that JSON writes six times as long as they are."""
    one, two = "a" * 64, "b" * 64
    alice, bob = house.connect(one), house.connect(two)
    conv = f"d:{one}:{two}"
    quoted = alice.say("\x01" * 200, "q", conv=conv)["seq"]
    frame: Data = {"type": "t", "payload": ""}
    frame["payload"] = "x" * (24 * 1024 - len(json.dumps(frame, separators=(",", ":"))))
    mentions = [f"{i:064}" for i in range(50)]
    send = {"conv": conv, "cmid": "\x01" * 64, "kind": "custom", "body": frame, "reply_to": quoted}
    seq = alice.ok("message.send", send | {"mentions": mentions})["seq"]
    for i in range(MAX_EMOJI):
        react(alice if i % 2 else bob, seq, chr(0x1F600 + i) * 12, conv)
    pin(bob, seq, conv)
    pin(bob, quoted, conv)
    longer = frame | {"payload": frame["payload"][:-1] + "y"}
    alice.ok("message.edit", {"conv": conv, "seq": seq, "body": longer, "cmid": "\x02" * 64})
    house.fan_out()

    for asked in ({"after": seq - 1}, {"before": seq + 1}):
        frame_of = {"route": "sync", "op": "entries", "id": "\x01" * 64, "data": {"conv": conv, "limit": 1} | asked}
        reply = bob.raw(json.dumps(frame_of))
        (entry,) = reply["data"]["entries"]
        assert len(json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode()) <= 32 * 1024
        assert sum(len(it["users"]) for it in entry["reactions"].values()) == NAMED_REACTIONS
        assert {"edited", "quote", "pinned", "mentions", "cmid", "changed"} <= entry.keys()
    for op in ("pins", "edits"):
        reply = bob.ask(f"sync.{op}", {"conv": conv, "seq": seq})
        assert len(json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode()) <= 32 * 1024
    check_messages()


# ---- whom it concerns ------------------------------------------------------------------------------------------------


def test_both_of_a_direct_conversation_pin_and_only_the_owner_and_admins_of_a_group_do(house: House) -> None:
    people = group(house, "alice adam mia", "first")
    people["alice"].ok("group.role", {"conv": GROUP, "user": "adam", "role": "admin"})

    assert refusal(people["mia"], "pin", 2, GROUP) == "forbidden"
    pin(people["adam"], 2, GROUP)
    assert refusal(people["mia"], "pin", 2, GROUP, on=False) == "forbidden"
    assert pin(people["mia"], 2, GROUP)["duplicate"] is True, "what is so already is no error"
    pin(people["alice"], 2, GROUP, on=False)
    assert pins_of(people["mia"], GROUP) == []


@pytest.mark.parametrize("op", ["edit", "recall"])
def test_nobody_else_changes_what_somebody_said(house: House, op: str) -> None:
    _, bob = chat(house, "first")
    settle(house)
    before = everything(house)

    assert refusal(bob, op) == "forbidden"
    assert everything(house) == before


def test_no_owner_edits_what_a_member_said(house: House) -> None:
    people = group(house, "alice bob")
    people["bob"].say("x", "b1", conv=GROUP)

    assert refusal(people["alice"], "edit", 2, GROUP) == "forbidden"


@pytest.mark.parametrize("op", DATA)
def test_what_is_no_message_is_not_changed(house: House, op: str) -> None:
    people = group(house, "alice bob", "first", "second")
    alice = people["alice"]
    for each in ("edit", "react", "pin", "recall"):
        change(alice, each, 3, GROUP)
    alice.ok("group.update", {"conv": GROUP, "name": "H"})
    log = entries_of(alice, GROUP)
    notices = [seq for seq, entry in log.items() if entry["kind"] in {*CHANGES, "members", "profile"}]
    assert len(notices) == 6
    settle(house)
    before = everything(house)

    assert {refusal(alice, op, seq, GROUP) for seq in notices} == {"bad_request"}
    assert everything(house) == before


def test_a_forwarded_message_is_not_edited_and_everything_else_is_as_of_any(house: House) -> None:
    alice, bob = chat(house, "first", "second")
    one = forward(alice, DIRECT, [1], "f1", to="bob")["seq"]
    many = forward(alice, DIRECT, [1, 2], "f2", to="bob")["seq"]

    for seq in (one, many):
        assert refusal(alice, "edit", seq) == "bad_request"
        react(bob, seq)
        pin(bob, seq)
        recall(alice, seq)
        assert message(bob, seq)["body"] == {}
    check_messages()
