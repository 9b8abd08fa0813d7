"""What a chat screen shows, through the deployed stack with its policies. Users are different in each test."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local import Stack
from tests.e2e.talker import Talker

pytestmark = pytest.mark.e2e


def message(device: Talker, conv: str, seq: int) -> dict[str, Any]:
    """One entry as it is now."""
    (entry,) = device.ok("sync.entries", {"conv": conv, "after": seq - 1, "limit": 1})["entries"]
    return dict(entry)


def test_a_message_is_edited_reacted_to_pinned_answered_forwarded_and_recalled(stack: Stack) -> None:
    conv = "d:kim:lea"
    with Talker(stack, "kim") as kim, Talker(stack, "lea") as lea, Talker(stack, "lea", "d2", "ios") as phone:
        kim.say("Hello.", "c1", to="lea")
        kim.ok("message.edit", {"conv": conv, "seq": 1, "body": {"text": "Hello, Lea."}, "cmid": "e1"})
        assert [lea.entry()["kind"], lea.entry()["body"]] == ["text", {"target": 1, "body": {"text": "Hello, Lea."}}]
        for _ in range(2):
            changed = lea.ok("message.react", {"conv": conv, "seq": 1, "emoji": "❤️", "on": True})
            assert changed["seq"] == 3
        lea.ok("message.pin", {"conv": conv, "seq": 1, "on": True})
        assert [kim.entry()["kind"], kim.entry()["kind"]] == ["reaction", "pin"]

        now = message(phone, conv, 1)
        assert (now["body"], now["changed"], now["pinned"]) == ({"text": "Hello, Lea."}, 4, True)
        assert now["reactions"] == {"❤️": {"count": 1, "users": ["lea"]}}
        assert phone.ok("sync.pins", {"conv": conv})["seqs"] == [1]
        assert phone.ok("sync.reactions", {"conv": conv, "seq": 1})["reactions"] == [{"user": "lea", "emoji": ["❤️"]}]
        said = [version["body"]["text"] for version in phone.ok("sync.edits", {"conv": conv, "seq": 1})["versions"]]
        assert said == ["Hello.", "Hello, Lea."]

        lea.ok("message.send", {"conv": conv, "cmid": "c2", "kind": "text", "body": {"text": "Kim!"}, "reply_to": 1})
        assert kim.entry()["quote"]["preview"] == "Hello, Lea."
        copied = lea.ok("message.forward", {"to": "mia", "cmid": "f1", "source": conv, "seqs": [1, 5]})
        assert message(lea, "d:lea:mia", copied["seq"])["kind"] == "merged"

        kim.ok("message.recall", {"conv": conv, "seq": 1})
        assert message(lea, conv, 1)["body"] == {}
        assert message(lea, conv, 5)["quote"]["recalled"] is True
        assert phone.ok("sync.pins", {"conv": conv})["seqs"] == []
        late = lea.ask("message.react", {"conv": conv, "seq": 1, "emoji": "❤️", "on": False})
        assert late["error"]["code"] == "conflict"

        assert lea.ok("message.delete", {"conv": conv, "seqs": [5]})["ranges"] == [[5, 5]]
        assert phone.push("deleted")["ranges"] == [[5, 5]]
        assert message(phone, conv, 5)["kind"] == "void"
        assert message(kim, conv, 5)["body"] == {"text": "Kim!"}


def test_what_one_device_sets_and_reads_shows_on_the_others(stack: Stack) -> None:
    conv = "d:ned:oma"
    with Talker(stack, "ned") as ned, Talker(stack, "oma") as oma, Talker(stack, "oma", "d2", "ios") as phone:
        ned.say("Hello.", "c1", to="oma")
        assert [oma.entry()["seq"], phone.entry()["seq"]] == [1, 1]
        ned.ok("message.typing", {"conv": conv, "on": True})
        assert oma.push("typing") == {"conv": conv, "user": "ned", "on": True}

        row = oma.ok("sync.settings", {"conv": conv, "pinned": True, "draft": "Dear Ned"})
        assert phone.push("row") == row
        assert oma.ok("sync.presence", {"users": ["ned", "nobody"]})["ned"]["online"] is True
        assert oma.ok("sync.read_all") == {"total_unread": 0}
        assert ned.push("read")["seq"] == 1
        assert phone.push("inbox") == {}
        assert ned.ok("sync.receipts", {"conv": conv, "seq": 1, "list": "read"})["users"] == ["oma"]

        assert oma.ok("sync.privacy", {"receipts": False, "presence": False}) == {"receipts": False, "presence": False}
        assert phone.push("privacy")["receipts"] is False
        assert ned.ok("sync.receipts", {"conv": conv, "seq": 1})["private"] == 1
        assert ned.ok("sync.presence", {"users": ["oma"]})["oma"]["online"] is False

    with Talker(stack, "oma", "new") as new:
        (row,) = new.ok("sync.inbox")["conversations"]
        assert (row["last"]["preview"], row["draft"], row["pinned"], row["unread"]) == ("Hello.", "Dear Ned", True, 0)


def test_reactions_of_many_at_once_are_all_counted(stack: Stack) -> None:
    people, conv = [f"rae{i}" for i in range(8)], "g:reactions"
    with Talker(stack, people[0]) as owner:
        owner.ok("group.create", {"gid": "reactions", "name": "Reactions", "members": people[1:]})
        seq = owner.say("Who comes?", "c1", conv=conv)["seq"]

        def react(user: str) -> int:
            with Talker(stack, user, "d2") as device:
                for i in range(6):
                    frame = {"conv": conv, "seq": seq, "emoji": "👍" if i % 2 else "🎉", "on": i < 4, "cmid": f"k{i}"}
                    while not (reply := device.ask("message.react", frame))["ok"]:
                        assert reply["error"]["retryable"], reply
                return len(people)

        with ThreadPoolExecutor(len(people)) as threads:
            list(threads.map(react, people))

        now = message(owner, conv, seq)
        assert "reactions" not in now, "each was put on and taken off again"
        assert now["changed"] == seq + 4 * len(people), json.dumps(now)
        log = owner.ok("sync.entries", {"conv": conv, "after": 0, "limit": 100})
        assert [entry["seq"] for entry in log["entries"]] == list(range(1, log["last_seq"] + 1))
