"""Changes of messages and who may see what: nothing closed shows through, and what was seen stays as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.devices import Device as Client
from tests.integration.group_state import row
from tests.integration.house import Device, House, built_house
from tests.integration.message_state import (
    GROUP,
    Data,
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
)

CLOSED = "sesame"
"""In whatever is closed to somebody."""


@pytest.fixture(params=["small", "large"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose groups are all small, or all large."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if request.param == "small" else "1") as built:
        yield built


def come(people: dict[str, Device], house: House, name: str) -> int:
    """Somebody joins; the entry that says so."""
    if name not in people:
        people[name] = house.connect(name)
    people["alice"].ok("group.invite", {"conv": GROUP, "users": [name]})
    settle(house)
    return int(row(people[name], GROUP)["last_seq"])


def go(people: dict[str, Device], house: House, name: str) -> None:
    people["alice"].ok("group.remove", {"conv": GROUP, "users": [name]})
    settle(house)


def answer(device: Device, seq: int, cmid: str, said: str = "re") -> int:
    data = {"conv": GROUP, "cmid": cmid, "kind": "text", "body": {"text": said}, "reply_to": seq}
    return int(device.ok("message.send", data)["seq"])


def all_told(device: Device, *seqs: int) -> str:
    """What the server tells a user of the group, and of these messages."""
    told: list[Any] = [device.pushes, device.ok("sync.inbox"), entries_of(device, GROUP, limit=3)]
    told.append(device.ask("sync.pins", {"conv": GROUP}))
    for op in ("sync.edits", "sync.reactions", "sync.receipts"):
        told += [device.ask(op, {"conv": GROUP, "seq": seq}) for seq in seqs]
    return json.dumps(told, ensure_ascii=False)


# ---- who joined later ------------------------------------------------------------------------------------------------


def test_who_joined_later_sees_nothing_of_what_was_said_before(sized: House) -> None:
    """Not by its edits, its quotes, its pin, its reactions, its versions."""
    people = group(sized, "alice bob", f"{CLOSED} 0")
    edit(people["alice"], 2, f"{CLOSED} 1", GROUP)
    pin(people["alice"], 2, GROUP)
    react(people["bob"], 2, "👍", GROUP)
    joined = come(people, sized, "carol")
    carol = people["carol"]

    later = edit(people["alice"], 2, f"{CLOSED} 2", GROUP)["seq"]
    reacted = react(people["alice"], 2, "🎉", GROUP)["seq"]
    unpinned = pin(people["alice"], 2, GROUP, on=False)["seq"]
    pin(people["alice"], 2, GROUP)
    answered = answer(people["bob"], 2, "re")
    sized.fan_out()

    seen = entries_of(carol, GROUP)
    assert list(seen) == list(range(joined, answered + 1))
    assert seen[later]["body"] == {"target": 2}
    assert seen[reacted]["body"] == {"target": 2, "emoji": "🎉", "on": True}
    assert seen[unpinned]["body"] == {"target": 2, "on": False}
    assert seen[answered]["reply_to"] == 2
    assert "quote" not in seen[answered]
    assert pushed(carol, GROUP) == [seen[seq] for seq in range(later, answered + 1)]
    assert CLOSED not in all_told(carol, 2)
    assert pins_of(carol, GROUP) == []
    assert row(carol, GROUP)["last"]["preview"] == "re"
    for op in ("edits", "reactions", "receipts"):
        assert carol.error(f"sync.{op}", {"conv": GROUP, "seq": 2})["code"] == "not_found"
    # Others see all of it, by the same pushes.
    bob = people["bob"]
    told = {entry["seq"]: entry["body"] for entry in pushed(bob, GROUP)}
    assert told[later]["body"]["text"] == f"{CLOSED} 2"
    assert message(bob, answered, GROUP)["quote"]["preview"] == f"{CLOSED} 2"
    check_messages()


def test_an_answer_to_an_answer_shows_the_nearer_one_alone(sized: House) -> None:
    people = group(sized, "alice bob", CLOSED)
    come(people, sized, "carol")
    first = answer(people["bob"], 2, "b1", "open")
    second = answer(people["carol"], first, "c1")
    sized.fan_out()

    assert message(people["carol"], second, GROUP)["quote"]["preview"] == "open"
    assert CLOSED not in all_told(people["carol"], first, second)


def test_who_joined_with_the_history_sees_everything_as_it_is_now(sized: House) -> None:
    people = group(sized, "alice bob", "first", history=True)
    edit(people["alice"], 2, "second", GROUP)
    react(people["bob"], 2, "👍", GROUP)
    pin(people["alice"], 2, GROUP)
    answered = answer(people["bob"], 2, "re")
    come(people, sized, "carol")

    for device in (people["carol"], people["bob"]):
        now = message(device, 2, GROUP)
        assert (now["body"], now["pinned"], now["reactions"]["👍"]["count"]) == ({"text": "second"}, True, 1)
        assert said_by(device, 2, GROUP) == ["first", "second"]
        assert reactions_of(device, 2, GROUP) == {"bob": ["👍"]}
        assert pins_of(device, GROUP) == [2]
        assert message(device, answered, GROUP)["quote"]["preview"] == "second"
    recall(people["alice"], 2, GROUP)
    assert message(people["carol"], 2, GROUP)["body"] == {}


def test_who_joined_later_may_pin_or_react_to_what_they_see_alone(sized: House) -> None:
    people = group(sized, "alice bob", "before")
    come(people, sized, "carol")
    seq = people["bob"].say("after", "b1", conv=GROUP)["seq"]

    react(people["carol"], seq, "👍", GROUP)

    for op, more in (("react", {"emoji": "👍", "on": True}), ("edit", {"body": {"text": "x"}}), ("recall", {})):
        asked = {"conv": GROUP, "seq": 2} | more
        assert people["carol"].error(f"message.{op}", asked)["code"] == "not_found"
    assert reactions_of(people["alice"], seq, GROUP) == {"carol": ["👍"]}


# ---- who has left ----------------------------------------------------------------------------------------------------


def left_story(house: House) -> tuple[dict[str, Device], Data, int]:
    """Bob is removed from a group after a message was changed, and before it is changed again."""
    people = group(house, "alice bob carol", "first", "other")
    edit(people["alice"], 2, "seen", GROUP)
    react(people["carol"], 2, "👍", GROUP)
    before = entries_of(people["bob"], GROUP)
    answered = answer(people["alice"], 2, "re")
    go(people, house, "bob")
    edit(people["alice"], 2, f"{CLOSED} 1", GROUP)
    edit(people["alice"], 3, f"{CLOSED} 2", GROUP)
    react(people["alice"], 2, "🎉", GROUP)
    react(people["carol"], 2, "👍", GROUP, on=False)
    pin(people["alice"], 2, GROUP)
    house.fan_out()
    return people, before, answered


def test_who_has_left_sees_messages_as_they_were_sent_and_the_changes_that_they_saw(sized: House) -> None:
    people, before, answered = left_story(sized)
    bob = people["bob"]

    seen = entries_of(bob, GROUP)
    assert seen[2]["body"] == {"text": "first"}
    assert not {"changed", "edited", "reactions", "pinned"} & seen[2].keys()
    assert seen[3] == before[3]
    assert [seen[seq]["kind"] for seq in (4, 5)] == ["edit", "reaction"]
    assert (seen[4], seen[5]) == (before[4], before[5])
    assert seen[answered]["quote"]["preview"] == "first"
    assert "changed" not in seen[answered]["quote"], "the changes that a client has go on from there"
    assert bob.pushes == []
    assert CLOSED not in all_told(bob, 2, 3)
    assert said_by(bob, 2, GROUP) == ["first", "seen"]
    assert "🎉" not in json.dumps(reactions_of(bob, 2, GROUP), ensure_ascii=False)
    assert pins_of(bob, GROUP) == []
    assert row(bob, GROUP)["last"]["kind"] == "members"
    check_messages()


def test_what_is_recalled_is_recalled_for_who_has_left_too(sized: House) -> None:
    people, _, answered = left_story(sized)
    bob = people["bob"]

    recall(people["alice"], 2, GROUP)
    sized.fan_out()

    seen = entries_of(bob, GROUP)
    assert (seen[2]["body"], seen[2]["recalled"]["by"]) == ({}, "alice")
    assert seen[4]["body"] == {"target": 2}
    assert (seen[answered]["quote"]["preview"], seen[answered]["quote"]["recalled"]) == ("", True)
    assert max(seen) == row(bob, GROUP)["last_seq"]
    assert said_by(bob, 2, GROUP) == []
    assert reactions_of(bob, 2, GROUP) == {}
    told = all_told(bob, 2, 3)
    assert "first" not in told
    assert "seen" not in told
    assert bob.pushes == []


def test_who_was_there_when_a_group_was_dissolved_still_reads_it(sized: House) -> None:
    people = group(sized, "alice bob", "first")
    edit(people["alice"], 2, "second", GROUP)
    react(people["bob"], 2, "👍", GROUP)
    pin(people["alice"], 2, GROUP)
    people["alice"].ok("group.dissolve", {"conv": GROUP})
    settle(sized)

    for device in people.values():
        now = message(device, 2, GROUP)
        assert (now["body"], now["changed"], now["pinned"]) == ({"text": "second"}, 5, True)
        assert said_by(device, 2, GROUP) == ["first", "second"]
        assert pins_of(device, GROUP) == [2]
        for op, more in (("react", {"emoji": "x", "on": True}), ("recall", {}), ("pin", {"on": False})):
            assert device.error(f"message.{op}", {"conv": GROUP, "seq": 2} | more)["code"] == "not_member"


# ---- who came back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["a reaction is taken off", "a reaction comes"])
def test_a_device_counts_each_reaction_once_though_one_between_was_closed_to_it(sized: House, away: str) -> None:
    people = group(sized, "alice bob", "first")
    alice, devices = people["alice"], [Client(sized, "bob", name, "desktop") for name in ("old", "new")]
    devices[0].connect()
    if away == "a reaction is taken off":
        react(alice, 2, "👍", GROUP)
    devices[0].sync(20)
    go(people, sized, "bob")
    react(alice, 2, "👍", GROUP, on=away == "a reaction comes")
    come(people, sized, "bob")

    counts = {True: {"👍": (1, ["alice"])}, False: {}}
    for on in (True, False, True) if away == "a reaction is taken off" else (False, True, False):
        react(alice, 2, "👍", GROUP, on=on)
        sized.fan_out()
        for device in devices:
            device.connect()
            device.sync(20)
            device.load_everything(20)
            assert device.messages(GROUP)[2]["reactions"] == counts[on], (device.name, on)


def test_what_was_changed_while_somebody_was_away_stays_closed_to_them(sized: House) -> None:
    people = group(sized, "alice bob carol", "first")
    edit(people["alice"], 2, "seen", GROUP)
    go(people, sized, "bob")
    react(people["carol"], 2, "🚀", GROUP)
    away = people["alice"].say(f"{CLOSED} away", "away", conv=GROUP)["seq"]
    edit(people["alice"], 2, f"{CLOSED} 1", GROUP)
    back = come(people, sized, "bob")
    bob = people["bob"]

    now = message(bob, 2, GROUP)
    assert now == {"kind": "text", "body": {"text": "first"}}
    assert CLOSED not in all_told(bob, 2, away)
    later = edit(people["alice"], 2, "third", GROUP)["seq"]
    react(people["alice"], 2, "🎉", GROUP)
    pin(people["alice"], 2, GROUP)
    closed = edit(people["alice"], away, f"{CLOSED} 2", GROUP)["seq"]
    answered = answer(people["alice"], 2, "re")
    hidden = answer(people["alice"], away, "re2")
    sized.fan_out()

    seen = entries_of(bob, GROUP)
    assert seen[2]["body"] == {"text": "first"}, "with the changes that he may see after it as entries"
    assert seen[later]["body"] == {"target": 2, "body": {"text": "third"}}
    assert seen[closed]["body"] == {"target": away}
    assert set(range(back, hidden + 1)) <= set(seen)
    assert away not in seen
    assert seen[answered]["quote"]["preview"] == "first"
    assert "quote" not in seen[hidden]
    assert pushed(bob, GROUP) == [seen[seq] for seq in range(later, hidden + 1)]
    assert said_by(bob, 2, GROUP) == ["first", "seen", "third"]
    assert reactions_of(bob, 2, GROUP) == {"alice": ["🎉"]}
    assert pins_of(bob, GROUP) == [2], "he saw it being pinned"
    assert CLOSED not in all_told(bob, 2, away)
    check_messages()


def test_of_several_stays_each_shows_what_was_changed_in_it(sized: House) -> None:
    people = group(sized, "alice bob", "one")
    said = [2]
    for i in range(3):
        edit(people["alice"], said[-1], f"seen {i}", GROUP)
        go(people, sized, "bob")
        edit(people["alice"], said[-1], f"{CLOSED} {i}", GROUP) if i % 2 else None
        people["alice"].say(f"{CLOSED} away {i}", f"away {i}", conv=GROUP)
        come(people, sized, "bob")
        said.append(int(people["alice"].say(f"stay {i}", f"stay {i}", conv=GROUP)["seq"]))
    sized.fan_out()
    bob = people["bob"]

    texts = [message(bob, seq, GROUP)["body"]["text"] for seq in said]
    assert texts == ["seen 0", "stay 0", "seen 2", "stay 2"], "the second one was changed when he was away"
    assert CLOSED not in all_told(bob, *said)
    for seq in said:
        recall(people["alice"], seq, GROUP)
    assert [message(bob, seq, GROUP)["body"] for seq in said] == [{}] * 4


def test_who_comes_back_with_the_history_sees_everything_as_it_is_now(sized: House) -> None:
    people = group(sized, "alice bob", "first")
    go(people, sized, "bob")
    edit(people["alice"], 2, "second", GROUP)
    people["alice"].ok("group.update", {"conv": GROUP, "history": True})
    come(people, sized, "bob")

    assert message(people["bob"], 2, GROUP)["body"] == {"text": "second"}
    assert said_by(people["bob"], 2, GROUP) == ["first", "second"]


def test_who_comes_back_changes_what_they_said_before(sized: House) -> None:
    people = group(sized, "alice bob")
    seq = people["bob"].say("bob's", "b1", conv=GROUP)["seq"]
    go(people, sized, "bob")
    assert (
        people["bob"].error("message.edit", {"conv": GROUP, "seq": seq, "body": {"text": "x"}})["code"] == "not_member"
    )
    come(people, sized, "bob")

    edit(people["bob"], seq, "bob's own", GROUP)
    assert message(people["alice"], seq, GROUP)["body"] == {"text": "bob's own"}
    recall(people["bob"], seq, GROUP)
    assert message(people["alice"], seq, GROUP)["body"] == {}
    check_messages()


def test_what_is_closed_is_not_forwarded_or_answered_or_found_by_any_name(sized: House) -> None:
    people = group(sized, "alice bob", "first")
    go(people, sized, "bob")
    away = people["alice"].say(CLOSED, "away", conv=GROUP)["seq"]
    edit(people["alice"], 2, CLOSED, GROUP)
    come(people, sized, "bob")
    bob = people["bob"]

    forward(bob, GROUP, [2], "f1", to="dave")
    assert message(bob, 1, "d:bob:dave")["body"] == {"text": "first"}
    for data in ({"source": GROUP, "seqs": [away], "to": "dave"}, {"source": GROUP, "seqs": [2, away], "to": "dave"}):
        assert bob.error("message.forward", data | {"cmid": "f2"})["code"] == "not_found"
    data = {"conv": GROUP, "cmid": "x", "kind": "text", "body": {"text": "x"}, "reply_to": away}
    assert bob.error("message.send", data)["code"] == "not_found"


# ---- who is told -----------------------------------------------------------------------------------------------------


def test_who_leaves_while_a_change_is_under_way_is_told_what_came_before(sized: House) -> None:
    people = group(sized, "alice bob carol", "first")

    before = edit(people["alice"], 2, "before", GROUP)["seq"]
    people["alice"].ok("group.remove", {"conv": GROUP, "users": ["bob"]})
    edit(people["alice"], 2, CLOSED, GROUP)
    sized.fan_out()

    assert [entry["seq"] for entry in pushed(people["bob"], GROUP)] == [before, before + 1]
    assert CLOSED not in json.dumps(people["bob"].pushes)
    assert [entry["seq"] for entry in pushed(people["carol"], GROUP)] == [before, before + 1, before + 2]


def test_a_group_that_becomes_large_in_between_keeps_what_its_messages_have_become(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="4") as house:
        people = group(house, "alice bob carol", "first")
        edit(people["alice"], 2, "second", GROUP)
        react(people["bob"], 2, "👍", GROUP)
        pin(people["alice"], 2, GROUP)
        house.fan_out()
        for name in ("u1", "u2"):
            come(people, house, name)

        seq = edit(people["alice"], 2, "third", GROUP)["seq"]
        house.fan_out()

        for name in ("bob", "carol"):
            assert [entry["seq"] for entry in pushed(people[name], GROUP)] == [seq]
            assert message(people[name], 2, GROUP)["body"] == {"text": "third"}
            assert row(people[name], GROUP)["last_seq"] == seq
            assert row(people[name], GROUP)["unread"] == 1
        assert pushed(people["u2"], GROUP)[0]["body"] == {"target": 2}
        assert row(people["u2"], GROUP)["unread"] == 0
        check_messages()
