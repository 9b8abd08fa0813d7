"""A recalled message leaves nothing behind: what it said is nowhere any more, and everything else is where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from im.flows.push_entries import LATE_MS
from tests.integration.group_state import everything, row, stored
from tests.integration.house import Call, Device, House, built_house
from tests.integration.message_state import (
    DIRECT,
    GROUP,
    Data,
    chat,
    check_messages,
    edit,
    entries_of,
    forward,
    group,
    message,
    pin,
    react,
    recall,
    said_by,
    settle,
)

SECRET = "sesame"
"""In everything that the recalled message ever said."""
NAMES = "alice adam bob leo carol"


def asked_everything(device: Device, conv: str, seq: int) -> str:
    """Whatever the server says to a user about a conversation and a message, as text."""
    replies: list[Any] = []
    for op, data in (
        ("sync.inbox", {}),
        ("sync.entries", {"conv": conv, "after": 0, "limit": 100}),
        ("sync.entries", {"conv": conv, "before": 10**9, "limit": 100}),
        ("sync.edits", {"conv": conv, "seq": seq}),
        ("sync.reactions", {"conv": conv, "seq": seq}),
        ("sync.pins", {"conv": conv}),
        ("sync.receipts", {"conv": conv, "seq": seq}),
        ("message.forward", {"source": conv, "seqs": [seq], "cmid": "f", "to": "zoe"}),
        ("message.edit", {"conv": conv, "seq": seq, "body": {"text": "x"}}),
        ("message.edit", {"conv": conv, "seq": seq, "body": {"text": "x"}, "cmid": "e1"}),
        ("message.send", {"conv": conv, "cmid": "secret", "kind": "text", "body": {"text": "x"}}),
        ("message.recall", {"conv": conv, "seq": seq}),
        ("group.info", {"conv": conv}),
    ):
        replies.append(device.ask(op, data))
    return json.dumps(replies, ensure_ascii=False)


class Story:
    """A group in which something is said that should not have been, and much is made of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.people = people = group(house, NAMES, "before")
        people["alice"].ok("group.role", {"conv": GROUP, "user": "adam", "role": "admin"})
        said = {"conv": GROUP, "cmid": "secret", "kind": "text", "body": {"text": f"{SECRET} 0"}}
        self.seq = people["bob"].ok("message.send", said | {"mentions": ["carol"]})["seq"]
        self.edits = [edit(people["bob"], self.seq, f"{SECRET} 1", GROUP, cmid="e1")["seq"]]
        house.fan_out()
        people["leo"].ok("group.leave", {"conv": GROUP})
        for i in range(2, 21):
            self.edits.append(edit(people["bob"], self.seq, f"{SECRET} {i}", GROUP)["seq"])
        self.other = people["alice"].say("open", "o", conv=GROUP)["seq"]
        edit(people["alice"], self.other, "open too", GROUP)
        for name in ("alice", "bob", "carol"):
            react(people[name], self.seq, "👍", GROUP)
            react(people[name], self.other, "👍", GROUP)
        pin(people["alice"], self.seq, GROUP)
        pin(people["alice"], self.other, GROUP)
        answer = {"conv": GROUP, "kind": "text", "body": {"text": "re"}, "cmid": "re", "reply_to": self.seq}
        self.answer = people["carol"].ok("message.send", answer)["seq"]
        settle(house)

    def told(self) -> str:
        """All that anybody is told, asked or not."""
        out = [asked_everything(device, GROUP, self.seq) for device in self.people.values()]
        self.people["alice"].say("later", "later", conv=GROUP)
        self.people["alice"].ok(
            "message.send",
            {"conv": GROUP, "kind": "text", "body": {"text": "y"}, "cmid": "re2", "reply_to": self.answer},
        )
        self.house.fan_out()
        return "".join(out) + json.dumps([device.pushes for device in self.house.devices.values()])


@pytest.fixture(params=["small", "large", "becomes large"])
def story(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    """In a group that is small, large, or becomes large before the message is recalled."""
    above = {"small": "200", "large": "1", "becomes large": "5"}[request.param]
    with built_house(monkeypatch, LARGE_GROUP_ABOVE=above) as house:
        story = Story(house)
        if request.param == "becomes large":
            story.people["alice"].ok("group.invite", {"conv": GROUP, "users": ["u1", "u2", "u3"]})
            settle(house)
        yield story


@pytest.mark.parametrize("by", ["bob", "adam"])
def test_what_a_recalled_message_said_is_nowhere_any_more(story: Story, by: str) -> None:
    """Edited twenty times, pinned, reacted to, answered, mentioning somebody who has not read it; seen by somebody who
    has left; recalled by who sent it, or by an admin."""
    house, seq = story.house, story.seq
    assert json.dumps(everything(house)).count(SECRET) > 20
    kept = [item for item in stored("ConversationTable") if SECRET not in json.dumps(item)]

    recall(story.people[by], seq, GROUP)
    house.fan_out()

    assert SECRET not in json.dumps(everything(house))
    assert SECRET not in story.told()
    assert SECRET not in json.dumps(everything(house))
    left = stored("ConversationTable")
    assert [item for item in kept if item not in left and item["sk"]["S"] != "PINS"] == [], "something else is gone"
    for name in ("alice", "bob", "carol", "leo"):
        copy = message(story.people[name], seq, GROUP)
        assert (copy["body"], copy["recalled"]["by"]) == ({}, by)
    quote = message(story.people["carol"], story.answer, GROUP)["quote"]
    assert (quote["preview"], quote["recalled"]) == ("", True)
    assert said_by(story.people["carol"], story.other, GROUP) == ["open", "open too"]
    assert message(story.people["carol"], story.other, GROUP)["reactions"]["👍"]["count"] == 3
    check_messages()


def test_the_newest_message_that_is_recalled_is_in_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of members, of one who was removed, of one who has deleted it, in small and large groups."""
    for above in ("200", "1"):
        with built_house(monkeypatch, LARGE_GROUP_ABOVE=above) as house:
            people = group(house, NAMES)
            seq = people["bob"].say(SECRET, "secret", conv=GROUP)["seq"]
            people["alice"].ok("group.remove", {"conv": GROUP, "users": ["leo"]})
            people["leo"].ok("message.delete", {"conv": GROUP, "seqs": [3]})
            people["carol"].ok("message.delete", {"conv": GROUP, "seqs": [3]})
            settle(house)
            before = json.dumps(row(people["leo"], GROUP)) + json.dumps(row(people["carol"], GROUP))
            assert before.count(SECRET) == 2

            recall(people["bob"], seq, GROUP)
            house.fan_out()

            assert SECRET not in json.dumps(everything(house))
            for device in people.values():
                assert SECRET not in json.dumps([row(device, GROUP), device.pushes])
            assert row(people["leo"], GROUP)["last"]["recalled"] is True


def test_what_is_recalled_before_it_is_delivered_is_nowhere_when_the_queue_is_empty(house: House) -> None:
    """Whoever asks finds nothing; and when the queue comes late, nobody is pushed it either."""
    alice, bob = chat(house)
    alice.say(SECRET, "secret", to="bob")
    edit(alice, 1, f"{SECRET} 2")
    recall(alice, 1)
    house.now += LATE_MS + 1
    house.fan_out()

    assert [entry["kind"] for entry in entries_of(bob).values()] == ["text", "edit", "recall"]
    assert [entry["seq"] for push in bob.got("entries") for entry in push["entries"]] == [1, 2, 3]
    assert SECRET not in json.dumps([everything(house), bob.pushes])
    assert SECRET not in asked_everything(bob, DIRECT, 1)


def test_repeats_of_what_was_recalled_bring_nothing_back(house: House) -> None:
    """Of the message, of its edits, of its forwarding that had not been stored: with the text in the frame."""
    alice, bob = chat(house)
    alice.say(SECRET, "secret", to="bob")
    edit(alice, 1, f"{SECRET} 1", cmid="e1")
    edit(alice, 1, f"{SECRET} 2")
    recall(alice, 1, cmid="r1")
    settle(house)
    house.now += 10 * 60 * 1000

    assert alice.say(SECRET, "secret", to="bob")["duplicate"] is True
    assert edit(alice, 1, f"{SECRET} 1", cmid="e1")["duplicate"] is True
    asked = {"conv": DIRECT, "seq": 1, "body": {"text": f"{SECRET} 2"}}
    assert alice.error("message.edit", asked)["code"] == "conflict"
    assert recall(alice, 1, cmid="r1")["duplicate"] is True
    house.fan_out()

    assert SECRET not in json.dumps([everything(house), bob.pushes])
    check_messages()


def test_copies_and_other_messages_stay(house: House) -> None:
    """Also with the same text, and next to it."""
    alice, bob = chat(house, SECRET, SECRET, SECRET)
    forward(bob, DIRECT, [2], "f1", to="carol")
    forward(bob, DIRECT, [1, 2], "f2", to="carol")
    for seq in (1, 3):
        edit(alice, seq, f"{SECRET} again")

    recall(alice, 2)

    assert [entries_of(bob)[seq]["body"].get("text") for seq in (1, 2, 3)] == [
        f"{SECRET} again",
        None,
        f"{SECRET} again",
    ]
    assert said_by(bob, 1) == said_by(bob, 3) == [SECRET, f"{SECRET} again"]
    carol = house.connect("carol")
    assert message(carol, 1, "d:bob:carol")["body"] == {"text": SECRET}
    assert [one["body"]["text"] for one in message(carol, 2, "d:bob:carol")["body"]["messages"]] == [SECRET, SECRET]
    recall(bob, 2, "d:bob:carol")
    assert json.dumps(stored("ConversationTable")).count(f"{SECRET}") > 0
    assert message(carol, 2, "d:bob:carol")["body"] == {}


def test_a_recall_is_one_write_and_no_read_shows_half_of_it(house: House) -> None:
    alice, bob = chat(house, SECRET)
    for i in range(20):
        edit(alice, 1, f"{SECRET} {i}")
    pin(alice, 1)

    with house.watched() as calls:
        recall(alice, 1, cmid="r1")

    writes = [call for call in calls if call.operation not in {"GetItem", "Query", "BatchGetItem"}]
    assert [call.action for call in writes] == ["dynamodb:TransactWriteItems", "sqs:SendMessage"]
    assert len(writes[0].params["TransactItems"]) == 24
    assert bob.ok("sync.edits", {"conv": DIRECT, "seq": 1}) == {"versions": []}


def test_versions_that_are_read_while_they_are_recalled_are_none(house: House) -> None:
    alice, bob = chat(house, SECRET)
    for i in range(3):
        edit(alice, 1, f"{SECRET} {i}")
    done = False

    def take_back(call: Call) -> None:
        nonlocal done
        if call.operation == "BatchGetItem" and not done:
            done = True
            recall(alice, 1)

    with house.watched(before=take_back):
        page: Data = bob.ok("sync.edits", {"conv": DIRECT, "seq": 1})

    assert done
    assert page == {"versions": []}
