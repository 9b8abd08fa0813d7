"""What is stored of messages, checked against what their logs say; and the requests that change messages.

The log alone tells what has become of a message. `check_messages` plays the logs of a house and compares the messages
in them, the reactions and pins beside them and the marks of `cmid`s with that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.integration.group_state import log_of, people_of, stored
from tests.integration.house import Device, House

Data = dict[str, Any]

DIRECT = "d:alice:bob"
GROUP = "g:g"
CHANGES = ("edit", "recall", "reaction", "pin")
MESSAGES = ("text", "custom", "merged", "redpacket")
NAMED = 16
"""Reactions of one message that name their user."""
FROM_THE_END = 2**53 - 1


# ---- what people do --------------------------------------------------------------------------------------------------


def edit(device: Device, seq: int, said: str, conv: str = DIRECT, **more: Any) -> Data:
    return device.ok("message.edit", {"conv": conv, "seq": seq, "body": {"text": said}} | more)


def recall(device: Device, seq: int, conv: str = DIRECT, **more: Any) -> Data:
    return device.ok("message.recall", {"conv": conv, "seq": seq} | more)


def react(device: Device, seq: int, emoji: str = "👍", conv: str = DIRECT, *, on: bool = True, **more: Any) -> Data:
    return device.ok("message.react", {"conv": conv, "seq": seq, "emoji": emoji, "on": on} | more)


def pin(device: Device, seq: int, conv: str = DIRECT, *, on: bool = True, **more: Any) -> Data:
    return device.ok("message.pin", {"conv": conv, "seq": seq, "on": on} | more)


def forward(device: Device, source: str, seqs: list[int], cmid: str, **where: Any) -> Data:
    return device.ok("message.forward", {"source": source, "seqs": seqs, "cmid": cmid} | where)


def chat(house: House, *said: str) -> tuple[Device, Device]:
    """Alice has sent Bob these; delivered, the pushes forgotten."""
    alice, bob = house.connect("alice"), house.connect("bob")
    for i, words in enumerate(said):
        alice.say(words, f"a{i}", to="bob")
    settle(house)
    return alice, bob


def group(house: House, names: str, *said: str, gid: str = "g", **settings: Any) -> dict[str, Device]:
    """A group of these, made by the first of them, who then sends these; delivered, the pushes forgotten."""
    people = people_of(house, names)
    first, *others = people
    people[first].ok("group.create", {"gid": gid, "name": "G", "members": others} | settings)
    for i, words in enumerate(said):
        people[first].say(words, f"a{i}", conv=f"g:{gid}")
    settle(house)
    return people


def settle(house: House) -> None:
    """Everything is delivered, and what was pushed forgotten."""
    house.fan_out()
    for device in house.devices.values():
        device.pushes.clear()


# ---- what people see -------------------------------------------------------------------------------------------------


def entries_of(device: Device, conv: str = DIRECT, limit: int = 100) -> dict[int, Data]:
    """All that a user sees of a conversation, by seq. The pages of both directions must tell the same."""
    both: list[dict[int, Data]] = []
    for ascending in (True, False):
        found: dict[int, Data] = {}
        at, more = (0 if ascending else FROM_THE_END), True
        while more:
            page = device.ok("sync.entries", {"conv": conv, "limit": limit, "after" if ascending else "before": at})
            assert len(json.dumps(page, ensure_ascii=False).encode()) <= 32 * 1024
            assert page["entries"] or not page["more"]
            for entry in page["entries"]:
                assert entry["seq"] not in found
                found[entry["seq"]] = entry
                at = entry["seq"]
            more = page["more"]
        both.append(found)
    assert both[0] == both[1]
    return dict(sorted(both[0].items()))


def message(device: Device, seq: int, conv: str = DIRECT) -> Data:
    """One entry as a user sees it now, without what never changes."""
    found = entries_of(device, conv)[seq]
    return {name: value for name, value in found.items() if name not in {"conv", "seq", "n", "from", "ts", "cmid"}}


def pushed(device: Device, conv: str = DIRECT) -> list[Data]:
    """All entries pushed so far, in order of arrival."""
    pushes = [data for data in device.got("entries") if data["conv"] == conv]
    return [entry for data in pushes for entry in data["entries"]]


def versions_of(device: Device, seq: int, conv: str = DIRECT) -> list[Data]:
    """What a message said, from all pages of sync.edits."""
    return _all(device, "sync.edits", "versions", {"conv": conv, "seq": seq})


def said_by(device: Device, seq: int, conv: str = DIRECT) -> list[str]:
    """The texts of a message, oldest first."""
    return [version["body"]["text"] for version in versions_of(device, seq, conv)]


def reactions_of(device: Device, seq: int, conv: str = DIRECT, limit: int = 100) -> dict[str, list[str]]:
    """Who has reacted to a message and how, from all pages of sync.reactions."""
    found = _all(device, "sync.reactions", "reactions", {"conv": conv, "seq": seq, "limit": limit})
    users = [reaction["user"] for reaction in found]
    assert users == sorted(set(users))
    return {reaction["user"]: reaction["emoji"] for reaction in found}


def pins_of(device: Device, conv: str = DIRECT) -> list[int]:
    """The seqs of sync.pins."""
    page = device.ok("sync.pins", {"conv": conv})
    assert len(json.dumps(page, ensure_ascii=False).encode()) <= 32 * 1024
    seqs = [int(seq) for seq in page["seqs"]]
    assert [entry["seq"] for entry in page["entries"]] == seqs[: len(page["entries"])]
    return seqs


def _all(device: Device, op: str, name: str, data: Data) -> list[Data]:
    found: list[Data] = []
    while True:
        page = device.ok(op, data)
        assert len(json.dumps(page, ensure_ascii=False).encode()) <= 32 * 1024
        assert len(page[name]) <= data.get("limit", 100)
        found += page[name]
        if "cursor" not in page:
            return found
        assert page[name], "more of nothing"
        data = data | {"cursor": page["cursor"]}


# ---- what is stored --------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """A message as its log tells it."""

    kind: str
    sender: str
    changed: int = 0
    edits: list[int] = field(default_factory=list)
    body: Data | None = None
    """Of its newest edit."""
    recalled: tuple[int, str] | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    """By emoji, in order of coming."""
    named: dict[str, list[str]] = field(default_factory=dict)
    at: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By user and emoji, the change that says so."""
    pinned: int = 0

    def hear(self, seq: int, kind: str, by: str, what: Data) -> None:
        """Take in a change. It must really change something, and have been allowed."""
        assert self.recalled is None, f"{seq} changes what is recalled"
        self.changed = seq
        if kind == "edit":
            assert by == self.sender, f"{seq}: not theirs"
            self.edits.append(seq)
            self.body = what.get("body")
        elif kind == "recall":
            self.recalled = (seq, by)
        elif kind == "pin":
            assert bool(self.pinned) != what["on"], f"{seq} changes nothing"
            self.pinned = seq if what["on"] else 0
        else:
            self._react(seq, by, what["emoji"], on=what["on"])

    def _react(self, seq: int, by: str, emoji: str, *, on: bool) -> None:
        users = self.reactions.setdefault(emoji, [])
        assert (by in users) != on, f"{seq} changes nothing"
        if on:
            if sum(len(names) for names in self.named.values()) < NAMED:
                self.named.setdefault(emoji, []).append(by)
            users.append(by)
            self.at[by][emoji] = seq
            return
        users.remove(by)
        del self.at[by][emoji]
        if by in self.named.get(emoji, []):
            self.named[emoji].remove(by)
        if not users:
            del self.reactions[emoji]


def check_messages() -> dict[tuple[str, int], Told]:
    """Compare what is stored of every message with its log. Returns what the logs say."""
    items = {(item["pk"]["S"], item["sk"]["S"]): item for item in stored("ConversationTable")}
    out: dict[tuple[str, int], Told] = {}
    for conv in sorted({pk for pk, sk in items if sk.startswith("MSG#")}):
        log = log_of(conv)
        told = _told(log)
        for seq, one in told.items():
            _check_message(log[seq - 1], one, log)
            out[conv, seq] = one
        wanted = {
            f"REACT#{seq:012d}#{user}": {emoji: {"N": str(at)} for emoji, at in emojis.items()}
            for seq, one in told.items()
            if one.recalled is None
            for user, emojis in one.at.items()
            if emojis
        }
        beside = {sk: item["emoji"]["M"] for (pk, sk), item in items.items() if pk == conv and sk.startswith("REACT#")}
        gone = tuple(f"REACT#{seq:012d}#" for seq, one in told.items() if one.recalled is not None)
        assert {sk: emoji for sk, emoji in beside.items() if not (gone and sk.startswith(gone))} == wanted, conv
        pinned = {int(seq) for seq in items.get((conv, "PINS"), {}).get("seqs", {"NS": []})["NS"]}
        assert pinned == {seq for seq, one in told.items() if one.pinned and one.recalled is None}, conv
        assert len(pinned) <= 50
        _check_cmids(conv, log, items)
    return out


def _told(log: list[Data]) -> dict[int, Told]:
    told: dict[int, Told] = {}
    n = 0
    for i, entry in enumerate(log, start=1):
        n += entry["kind"] in MESSAGES
        assert (int(entry["seq"]), int(entry["n"])) == (i, n), "a hole, a repeat or a wrong count"
        if entry["kind"] in MESSAGES:
            told[i] = Told(entry["kind"], entry["from"])
        elif entry["kind"] in CHANGES:
            what = json.loads(entry["body"])
            assert "changed" not in entry, "a change that was changed"
            told[what["target"]].hear(i, entry["kind"], entry["from"], what)
    return told


def _check_message(entry: Data, told: Told, log: list[Data]) -> None:
    where = (entry["pk"], entry["seq"])
    assert int(entry.get("changed", 0)) == told.changed, where
    if told.recalled is not None:
        assert entry["body"] == "{}", where
        recalled = entry["recalled"]
        assert (int(recalled["seq"]["N"]), recalled["by"]["S"]) == told.recalled, where
        assert not {"edited", "edits", "original", "reactions", "pinned"} & entry.keys(), where
        assert all(json.loads(log[seq - 1]["body"]) == {"target": int(entry["seq"])} for seq in told.edits), where
        return
    assert [int(seq["N"]) for seq in entry.get("edits", [])] == told.edits, where
    assert ("original" in entry) == ("edited" in entry) == bool(told.edits), where
    if told.edits:
        assert int(entry["edited"]["seq"]["N"]) == told.edits[-1], where
        assert entry["edited"]["ts"]["N"] == log[told.edits[-1] - 1]["ts"], where
        assert json.loads(entry["body"]) == told.body, where
    assert int(entry.get("pinned", 0)) == told.pinned, where
    reactions = {
        emoji: (int(it["M"]["count"]["N"]), [user["S"] for user in it["M"]["users"]["L"]])
        for emoji, it in entry.get("reactions", {}).items()
    }
    assert reactions == {emoji: (len(users), told.named.get(emoji, [])) for emoji, users in told.reactions.items()}, (
        where
    )


def _check_cmids(conv: str, log: list[Data], items: dict[tuple[str, str], Data]) -> None:
    used = [(entry["from"], entry["cmid"]) for entry in log if "cmid" in entry]
    assert len(set(used)) == len(used), f"{conv}: one cmid, two entries"
    for entry in log:
        if "cmid" in entry:
            first = int(items[conv, f"CMID#{entry['from']}#{entry['cmid']}"]["first"]["N"])
            assert first == int(entry["seq"]) if entry["kind"] in CHANGES else first <= int(entry["seq"])
