"""A client as docs/protocol.md wants it, and nothing more: it knows replies and pushes, no table and no server code.

What it has stored outlives its connections. `screen` is what its user sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.house import Device as Link
from tests.integration.house import House

CHANGES = frozenset({"edit", "recall", "reaction", "pin"})
OWN = {
    "message.send": "",
    "message.edit": "edit",
    "message.recall": "recall",
    "message.react": "reaction",
    "message.pin": "pin",
}
"""What makes an entry that the device knows whole from the reply: the entry's kind, where that is not said."""
NOTICES = frozenset({"members", "profile"})
FROM_THE_END = 2**53 - 1
NAMED = 16
"""Reactions of one message that name their user."""

Data = dict[str, Any]


@dataclass
class Log:
    """What a device holds of one conversation. Nothing is missing from `bottom` to `top`; `ahead` is beyond a hole."""

    bottom: int
    top: int
    whole: bool = False
    """Whether nothing older is left to load."""
    entries: dict[int, Data] = field(default_factory=dict)
    ahead: dict[int, Data] = field(default_factory=dict)

    def settle(self, entries: Iterable[Data], last: int) -> None:
        """Take in ascending entries from `top` on: with them nothing is missing up to `last`."""
        for entry in entries:
            self.entries.setdefault(entry["seq"], entry)
        self.top = max(self.top, last)
        for seq in sorted(self.ahead):
            if seq <= self.top + 1:
                self.entries.setdefault(seq, self.ahead.pop(seq))
                self.top = max(self.top, seq)

    def forget_before(self, seq: int) -> None:
        """Drop what is older than an entry: it has to be loaded anew."""
        if seq > self.bottom:
            self.entries = {s: entry for s, entry in self.entries.items() if s >= seq}
            self.bottom, self.whole = seq, False

    def changes_of(self, target: int, after: int) -> list[Data]:
        """The changes of a message that are above `after`, ascending."""
        held = self.entries | self.ahead
        return [
            held[seq]
            for seq in sorted(held)
            if seq > after and held[seq]["kind"] in CHANGES and held[seq]["body"]["target"] == target
        ]


@dataclass
class Device:
    """One device of a user."""

    house: House
    user: str
    name: str
    platform: str
    link: Link | None = None
    since: int = 0
    inbox: str | None = None
    privacy: Data = field(default_factory=dict)
    rows: dict[str, Data] = field(default_factory=dict)
    logs: dict[str, Log] = field(default_factory=dict)
    deleted: dict[str, tuple[int, list[list[int]]]] = field(default_factory=dict)
    """What its user has deleted for themself: the version, and the ranges."""
    peers: dict[str, Data] = field(default_factory=dict)
    """Of direct conversations: the marks of the other side; nothing where they do not show them."""
    transient: list[Data] = field(default_factory=list)
    """What was pushed that is over soon: that somebody types."""
    hears: Callable[[Device, str, Data], None] = lambda *_: None
    """Told of every push that it hears."""

    # ---- its connection

    @property
    def online(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        return self.link is not None and not self.link.closed

    def connect(self) -> None:
        """Open a connection; the server ends the old one."""
        self.receive()
        self.link = self.house.connect(self.user, self.name, self.platform)
        self.since = self.house.now

    def hang_up(self) -> None:
        """End the connection properly."""
        self.receive()
        if self.link is not None and not self.link.closed:
            self.house.devices.pop(self.link.connection, None)
            self.link.hang_up()
        self.link = None

    def vanish(self) -> None:
        """Lose the connection, and what was under way to it; nobody is told."""
        if self.link is not None:
            self.house.devices.pop(self.link.connection, None)
        self.link = None

    def forget_everything(self) -> None:
        """Be a new device."""
        self.vanish()
        self.inbox, self.privacy = None, {}
        for kept in (self.rows, self.logs, self.deleted, self.peers):
            kept.clear()

    def ask(self, op: str, data: Data) -> Data:
        """The reply to a request. What was pushed before it has come by then."""
        self.receive()
        assert self.link is not None
        return self.link.ask(op, data)

    def ok(self, op: str, data: Data) -> Data:
        """The data of a reply that must be a success."""
        reply = self.ask(op, data)
        assert reply["ok"], (self.user, self.name, op, data, reply["error"])
        return dict(reply["data"])

    # ---- pushes

    def receive(self) -> None:
        """Take in what has been pushed."""
        if self.link is None:
            return
        pushes, self.link.pushes[:] = list(self.link.pushes), []
        for push in pushes:
            self._hear(push["push"], push["data"])

    def _hear(self, name: str, data: Data) -> None:
        self.hears(self, name, data)
        if name == "entries":
            seqs = [entry["seq"] for entry in data["entries"]]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "consecutive entries"
            for entry in data["entries"]:
                self._pushed(data["conv"], entry)
        elif name == "read" and data["user"] == self.user:
            self._read_elsewhere(data)
        elif name in {"read", "delivered"}:
            self._told_of_peer(data["conv"], {"read_seq" if name == "read" else "ack_seq": data["seq"]})
        elif name == "row":
            self.merge_row(data)
        elif name == "deleted":
            self._deleted(data)
        elif name == "privacy":
            self.privacy = data
        else:
            self.transient.append({"push": name} | data)

    def _pushed(self, conv: str, entry: Data) -> None:
        """What is older than `top` it has, or it was closed: if that is open by now, an entry to come says so."""
        seq = entry["seq"]
        log = self.logs.setdefault(conv, Log(seq, seq - 1))
        if seq == log.top + 1:
            self._settle(conv, [entry], seq)
        elif seq > log.top:
            log.ahead.setdefault(seq, entry)

    def _settle(self, conv: str, entries: list[Data], last: int) -> None:
        """Nothing is missing up to `last`. Who joins again may see more or less of what was before, and may have missed
        recalls: that is loaded anew."""
        log = self.logs[conv]
        before = log.top
        log.settle(entries, last)
        joined = [
            seq
            for seq, entry in log.entries.items()
            if seq > before and entry["kind"] == "members" and self.user in entry["body"]["added"]
        ]
        log.forget_before(max(joined, default=0))

    def _read_elsewhere(self, data: Data) -> None:
        row = self.rows.get(data["conv"])
        if row is not None and row["read_seq"] < data["seq"]:
            self.rows[data["conv"]] = _counted(row | {"read_seq": data["seq"], "read_n": data["n"]})

    def _told_of_peer(self, conv: str, marks: Data) -> None:
        known = self.peers.setdefault(conv, {"read_seq": 0, "ack_seq": 0})
        self.peers[conv] = {name: max(known[name], marks.get(name, 0)) for name in known}

    def _deleted(self, data: Data) -> None:
        if data["deleted"] >= self.deleted.get(data["conv"], (0, []))[0]:
            self.deleted[data["conv"]] = data["deleted"], data["ranges"]

    def merge_row(self, new: Data) -> None:
        """Keep the further mark of each, the settings of the higher `rev`, and of the rest the newer."""
        old = self.rows.get(new["conv"])
        if old is None:
            self.rows[new["conv"]] = new
            return
        newer, older = (new, old) if _age(new) >= _age(old) else (old, new)
        row = dict(newer)
        if older["read_seq"] > row["read_seq"]:
            row |= {name: older[name] for name in ("read_seq", "read_n")}
        if older["rev"] > row["rev"]:
            row |= {name: older[name] for name in ("muted", "pinned", "draft", "hidden", "rev")}
            row["hidden"] = row["hidden"] and row["last_n"] <= older["last_n"]
        for name in ("ack_seq", "mention_seq", "deleted"):
            row[name] = max(row[name], older[name])
        self.rows[new["conv"]] = _counted(row)

    # ---- what it does when it connects, and when its user scrolls

    def sync(self, limit: int) -> None:
        """As on connect: the inbox since the stored version, what was deleted, the holes, the receipts."""
        self._sync_inbox(limit)
        for conv, row in sorted(self.rows.items()):
            if row["deleted"] != self.deleted.get(conv, (0, []))[0]:
                self._deleted(self.ok("sync.deleted", {"conv": conv}))
            if conv not in self.logs:
                self.logs[conv] = Log(row["last_seq"] + 1, row["last_seq"])
                self.scroll_back(conv, limit)
            self.mend(conv, limit)
        for conv in sorted(self.rows):
            self.ask_receipts(conv)

    def _sync_inbox(self, limit: int) -> None:
        data: Data = {"limit": limit} | ({"since": self.inbox} if self.inbox is not None else {})
        while True:
            page = self.ok("sync.inbox", data)
            assert len(page["conversations"]) <= limit
            for row in page["conversations"]:
                self.merge_row(row)
            self.privacy = page["privacy"]
            if "cursor" not in page:
                break
            data = {"limit": limit, "cursor": page["cursor"]}
        self.inbox = page["inbox"]

    def mend(self, conv: str, limit: int) -> None:
        """Fetch what is missing up to the newest entry that it knows of."""
        log = self.logs[conv]
        newest = max(self.rows.get(conv, {"last_seq": 0})["last_seq"], *log.ahead, 0)
        while log.top < newest:
            page = self.ok("sync.entries", {"conv": conv, "after": log.top, "limit": limit})
            seqs = [entry["seq"] for entry in page["entries"]]
            assert len(seqs) <= limit
            assert seqs == sorted(set(seqs))
            assert all(seq > log.top for seq in seqs)
            assert seqs or not page["more"], "more of nothing"
            before = log.top
            self._settle(conv, page["entries"], seqs[-1] if page["more"] else page["last_seq"])
            assert log.top > before, (self.user, conv, newest, page, "nothing new, and still something is missing")

    def scroll_back(self, conv: str, limit: int) -> None:
        """Load a page of older history, downwards from what it has."""
        log = self.logs.get(conv)
        if log is None or log.whole:
            return
        page = self.ok("sync.entries", {"conv": conv, "before": log.bottom, "limit": limit})
        seqs = [entry["seq"] for entry in page["entries"]]
        assert len(seqs) <= limit
        assert seqs == sorted(set(seqs), reverse=True)
        assert all(seq < log.bottom for seq in seqs)
        assert seqs or not page["more"], "more of nothing"
        for entry in page["entries"]:
            log.entries[entry["seq"]] = entry
        log.bottom = seqs[-1] if seqs else log.bottom
        log.whole = not page["more"]

    def load_everything(self, limit: int) -> None:
        """Scroll to the start of every conversation. One that its user has left is loaded anew: it has no news."""
        for conv, row in sorted(self.rows.items()):
            if "left_seq" in row:
                self.logs[conv] = Log(row["last_seq"] + 1, row["last_seq"])
            while not self.logs[conv].whole:
                self.scroll_back(conv, limit)
        for conv in sorted(self.rows):
            self.ask_receipts(conv)

    def ask_receipts(self, conv: str) -> None:
        """Of the newest own message of a direct conversation."""
        own = self._newest_own(conv) if conv.startswith("d:") else 0
        if own:
            marks = self.ok("sync.receipts", {"conv": conv, "seq": own}).get("marks")
            if marks is None:
                self.peers.pop(conv, None)
            else:
                self._told_of_peer(conv, marks)

    # ---- what its user does

    def do(self, op: str, data: Data) -> Data:
        """The reply to what its user does. Its own entry it has without being pushed it; a forwarded message and a
        quote, which the server makes, it fetches as it would any other hole."""
        reply = self.ask(op, data)
        if not reply["ok"]:
            return reply
        told = reply["data"]
        if op == "sync.settings":
            self.merge_row(told)
        elif op == "message.delete":
            self._deleted(told)
        elif op == "sync.privacy":
            self.privacy = told
        elif op in OWN and not told["duplicate"] and "reply_to" not in data:
            said: Data = {name: data[name] for name in ("cmid", "mentions") if name in data}
            said["from"] = self.user
            said |= {name: told[name] for name in ("conv", "seq", "n", "ts")}
            if op == "message.send":
                said |= {name: data[name] for name in ("kind", "body")}
            else:
                says = {name: data[name] for name in ("body", "emoji", "on") if name in data}
                said["kind"], said["body"] = OWN[op], {"target": data["seq"], **says}
            self._pushed(told["conv"], said)
        return reply

    # ---- what its user sees

    def conversations(self) -> list[str]:
        """The conversations: pinned ones first, then newest first."""

        def place(row: Data) -> tuple[bool, int, str]:
            return not row["pinned"], -row["at"], row["conv"]

        return [row["conv"] for row in sorted(self.rows.values(), key=place)]

    def row(self, conv: str) -> Data:
        """What it shows of a conversation in the list."""
        told = dict(self.rows[conv])
        for name in ("updated", "rev", "read_n", "last_n", "deleted", "ack_seq"):
            told.pop(name)
        if told["last"] is not None:
            told["last"] = _line(told["last"], self.logs[conv])
        return told

    def messages(self, conv: str) -> dict[int, Data]:
        """What it shows of a conversation: messages as they are now, and notices."""
        log, shown = self.logs[conv], {}
        assert not log.ahead, (self.user, self.name, conv, "a hole is left")
        for seq, entry in sorted(log.entries.items()):
            if entry["kind"] in CHANGES or entry["kind"] == "void" or self._has_deleted(conv, seq):
                continue
            shown[seq] = {name: entry[name] for name in ("n", "kind", "from", "ts", "body")}
            if entry["kind"] not in NOTICES:
                shown[seq] |= _state(entry, log) | {"quote": self._quote(entry, log)}
                shown[seq] |= {name: entry.get(name) for name in ("mentions", "reply_to", "forwarded")}
        return shown

    def story(self, conv: str, seq: int) -> list[Data | None]:
        """What it was told of an entry and its changes."""
        return [self.logs[conv].entries.get(seq), *self.logs[conv].changes_of(seq, 0)]

    def peer(self, conv: str) -> Data | None:
        """The ticks at own messages: how far the other side has read and received."""
        return self.peers.get(conv) if self._newest_own(conv) else None

    def _newest_own(self, conv: str) -> int:
        if conv not in self.logs:
            return 0
        own = [
            seq
            for seq, entry in self.logs[conv].entries.items()
            if entry["from"] == self.user
            and entry["kind"] not in CHANGES | NOTICES | {"void"}
            and not self._has_deleted(conv, seq)
        ]
        return max(own, default=0)

    def _has_deleted(self, conv: str, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.deleted.get(conv, (0, []))[1])

    def _quote(self, entry: Data, log: Log) -> Data | None:
        quote = entry.get("quote")
        if quote is None or self._has_deleted(entry["conv"], quote["seq"]):
            return None
        return _line(quote, log)


def _line(told: Data, log: Log) -> Data:
    """An entry in one line: as it was told, and the changes after that."""
    now = {name: told[name] for name in ("seq", "kind", "from", "ts", "preview")}
    now["recalled"] = bool(told.get("recalled"))
    for change in log.changes_of(told["seq"], told.get("changed", 0)):
        if change["kind"] == "recall":
            now |= {"preview": "", "recalled": True}
        elif change["kind"] == "edit" and "body" in change["body"] and not now["recalled"]:
            now["preview"] = change["body"]["body"].get("text", "")
    return now


def _age(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["last_seq"], row["updated"]


def _counted(row: Data) -> Data:
    """A row whose marks have moved."""
    row["unread"] = max(0, row["last_n"] - row["read_n"])
    if row["mention_seq"] <= row["read_seq"]:
        row["mention_seq"] = 0
    return row


def _state(entry: Data, log: Log) -> Data:
    """What has become of a message: what the copy says, and the changes after that."""
    now: Data = {"body": entry["body"], "edited": entry.get("edited"), "recalled": entry.get("recalled")}
    now["pinned"] = entry.get("pinned", False)
    reactions = {emoji: (it["count"], list(it["users"])) for emoji, it in entry.get("reactions", {}).items()}
    for change in log.changes_of(entry["seq"], entry.get("changed", 0)):
        what = change["body"]
        if change["kind"] == "recall":
            now |= {"body": {}, "edited": None, "recalled": {"by": change["from"], "ts": change["ts"]}, "pinned": False}
            reactions = {}
        elif change["kind"] == "edit":
            if "body" in what:
                now |= {"body": what["body"], "edited": {"seq": change["seq"], "ts": change["ts"]}}
        elif change["kind"] == "pin":
            now["pinned"] = what["on"]
        else:
            _react(reactions, what["emoji"], change["from"], on=what["on"])
    return now | {"reactions": {emoji: (count, sorted(users)) for emoji, (count, users) in reactions.items()}}


def _react(reactions: dict[str, tuple[int, list[str]]], emoji: str, user: str, *, on: bool) -> None:
    """One more or one less. One less may be of a reaction that it was never told of, one more of one that it has: what
    was between is closed to its user."""
    count, users = reactions.get(emoji, (0, []))
    if on and user in users:
        return
    if on:
        named = sum(len(some) for _, some in reactions.values())
        reactions[emoji] = count + 1, [*users, user] if named < NAMED else users
        return
    users = [other for other in users if other != user]
    count = max(count - 1, len(users))
    if count:
        reactions[emoji] = count, users
    else:
        reactions.pop(emoji, None)
