"""A right history, written by hand: what a server that keeps every promise would have told a few people, and stored.

It is kept as the lines of the recordings' files and the items of the tables, so a test can change any of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imclient.history import (
    TABLES_FILE,
    Recorder,
    Tables,
    Verdict,
    check,
    file_name,
    read_recordings,
    read_tables,
    write_tables,
)

Data = dict[str, Any]

DIRECT, TEAM = "d:alice:bob", "g:team"
COUNTABLE = {"text", "custom"}


@dataclass
class History:
    """The lines of each device's file, by `user.device`, and the items of the tables."""

    lines: dict[str, list[Data]]
    tables: dict[str, list[Data]]

    def check(self, folder: Path, *, lagging_reads: bool = False) -> Verdict:
        """Through files and back, then the verdict."""
        for name, lines in self.lines.items():
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        write_tables(folder / TABLES_FILE, self.tables)
        tables = Tables.from_items(read_tables(folder / TABLES_FILE))
        return check(read_recordings(folder), tables, lagging_reads=lagging_reads)

    def frames(self, device: str, way: str = "in") -> list[Data]:
        """The frames that a device sent or got, in order; they may be changed."""
        return [line["frame"] for line in self.lines[device] if line.get("event") == way]

    def reply(self, device: str, op: str, number: int = 0) -> Data:
        """The reply to a device's request `route.op`, the first of that name when not said otherwise."""
        route, _, name = op.partition(".")
        asked = [frame for frame in self.frames(device, "out") if (frame["route"], frame["op"]) == (route, name)]
        request_id = asked[number]["id"]
        return next(frame for frame in self.frames(device) if frame.get("id") == request_id)

    def request(self, device: str, op: str, number: int = 0) -> Data:
        """A device's request `route.op`, as its line."""
        route, _, name = op.partition(".")
        out = [line for line in self.lines[device] if line.get("event") == "out"]
        return [line for line in out if (line["frame"]["route"], line["frame"]["op"]) == (route, name)][number]

    def pushed(self, device: str, conv: str, seq: int) -> Data:
        """An entry that was pushed to a device."""
        return next(entry for entry in self.all_pushed(device, conv) if entry["seq"] == seq)

    def all_pushed(self, device: str, conv: str) -> list[Data]:
        """All entries of a conversation that were pushed to a device."""
        pushes = [frame["data"] for frame in self.frames(device) if frame.get("push") == "entries"]
        return [entry for push in pushes if push["conv"] == conv for entry in push["entries"]]

    def push(self, device: str, name: str) -> Data:
        """The data of the first push of a name to a device."""
        return next(frame["data"] for frame in self.frames(device) if frame.get("push") == name)

    def holds(self, device: str, conv: str) -> Data:
        """What a device says that it holds."""
        return next(line for line in self.lines[device] if line.get("event") == "holds" and line["conv"] == conv)

    def entry(self, conv: str, seq: int) -> Data:
        """An entry's item."""
        return self.item("Conversation", conv, f"MSG#{seq:012d}")

    def row(self, user: str, conv: str) -> Data:
        """A row's item."""
        return self.item("Inbox", user, f"CONV#{conv}")

    def item(self, table: str, pk: str, sk: str) -> Data:
        """An item by its key."""
        return next(i for i in self.tables[table] if (i["pk"]["S"], i["sk"]["S"]) == (pk, sk))


@dataclass
class World:
    """Plays, and notes what everybody sees. Time goes on by 10 ms with everything that is noted."""

    now: int = 1_000_000
    recorders: dict[str, Recorder] = field(default_factory=dict)
    links: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, list[Data]] = field(default_factory=dict)
    states: dict[tuple[str, int], Data] = field(default_factory=dict)
    ids: int = 0

    def clock(self) -> int:
        self.now += 10
        return self.now

    def connect(self, device: str) -> None:
        user, _, name = device.partition(".")
        recorder = self.recorders.setdefault(device, Recorder(user, name, "web", clock=self.clock))
        self.links[device] = recorder.connection()
        self.links[device].opened()

    def ask(self, device: str, op: str, data: Data, answer: Callable[[], Data] | Data, *, again: bool = False) -> Data:
        """A request and its reply, which is made between them. `again`: sent twice, answered twice."""
        self.ids += 1
        route, _, name = op.partition(".")
        frame = json.dumps({"route": route, "op": name, "id": f"r{self.ids}", "data": data})
        self.links[device].sent(frame)
        told = answer() if callable(answer) else answer
        if again:
            self.links[device].sent(frame)
        self.links[device].received(json.dumps({"id": f"r{self.ids}", "ok": True, "data": told}))
        if again:
            told = {**told, "duplicate": True}
            self.links[device].received(json.dumps({"id": f"r{self.ids}", "ok": True, "data": told}))
        return told

    def push(self, devices: Iterable[str], name: str, data: Data) -> None:
        for device in devices:
            self.links[device].received(json.dumps({"push": name, "data": data}))

    def write(self, conv: str, kind: str, sender: str, body: Data, **more: Any) -> Data:
        """Add an entry to a log."""
        log = self.logs.setdefault(conv, [])
        n = (log[-1]["n"] if log else 0) + (kind in COUNTABLE)
        entry = {"conv": conv, "seq": len(log) + 1, "n": n, "kind": kind, "from": sender, "ts": self.clock()}
        log.append(entry | {"body": body} | more)
        return log[-1]

    def does(
        self, device: str, op: str, data: Data, kind: str, body: Data, to: Iterable[str], *, again: bool = False
    ) -> Data:
        """What makes an entry: request, entry, reply, pushes."""
        user = device.partition(".")[0]
        made: Data = {}

        def answer() -> Data:
            more = {name: data[name] for name in ("cmid", "reply_to", "mentions") if name in data}
            made.update(self.write(data["conv"], kind, user, body, **more))
            return {name: made[name] for name in ("conv", "seq", "n", "ts")} | {"duplicate": False}

        self.ask(device, op, data, answer, again=again)
        self.push(to, "entries", {"conv": made["conv"], "entries": [made]})
        return made

    def says(self, device: str, conv: str, text: str, to: Iterable[str], *, again: bool = False, **more: Any) -> Data:
        cmid = f"c{self.ids}"
        data = {"conv": conv, "cmid": cmid, "kind": "text", "body": {"text": text}, **more}
        return self.does(device, "message.send", data, "text", {"text": text}, to, again=again)

    def change(self, device: str, op: str, kind: str, target: Data, says: Data, to: Iterable[str]) -> Data:
        data = {"conv": target["conv"], "seq": target["seq"], "cmid": f"c{self.ids}", **says}
        body = {"target": target["seq"], **says}
        return self.does(device, f"message.{op}", data, kind, body, to)


def right_history() -> History:
    """alice and bob talk; alice, bob and carol are in a group that dave joins later, which erin leaves."""
    world = World()
    phone, pc, bob, carol, dave, erin = "alice.phone", "alice.pc", "bob.pc", "carol.pc", "dave.pc", "erin.pc"
    for device in (phone, pc, bob, carol, dave, erin):
        world.connect(device)

    # Between two: everything that can become of a message, receipts, a frame that is sent twice.
    hello = world.says(phone, DIRECT, "hello", [pc, bob], again=True)
    answer = world.says(bob, DIRECT, "hello yourself", [phone, pc], reply_to=hello["seq"])
    quote = {name: hello[name] for name in ("seq", "kind", "from", "ts")} | {"preview": "hello"}
    for entry in (frame for device in (phone, pc) for frame in _pushed(world, device, DIRECT, 2)):
        entry["quote"] = quote
    edit = world.change(phone, "edit", "edit", hello, {"body": {"text": "good morning"}}, [pc, bob])
    secret = world.says(bob, DIRECT, "a secret", [phone, pc])
    recall = world.change(bob, "recall", "recall", secret, {}, [phone, pc])
    react = world.change(pc, "react", "reaction", answer, {"emoji": "👍", "on": True}, [phone, bob])
    pin = world.change(bob, "pin", "pin", answer, {"on": True}, [phone, pc])
    world.states[DIRECT, 1] = {"changed": 3, "edited": {"seq": 3, "ts": edit["ts"]}, "body": {"text": "good morning"}}
    world.states[DIRECT, 2] = {"changed": 7, "reactions": {"👍": {"count": 1, "users": ["alice"]}}, "pinned": True}
    world.states[DIRECT, 4] = {"changed": 5, "recalled": {"by": "bob", "ts": recall["ts"]}, "body": {}}
    assert (react["seq"], pin["seq"]) == (6, 7)
    world.ask(bob, "sync.ack", {"acks": [{"conv": DIRECT, "seq": 7}]}, {})
    world.push([phone, pc], "delivered", {"conv": DIRECT, "user": "bob", "seq": 7})
    counts = {"conv": DIRECT, "read_seq": 4, "unread": 0, "total_unread": 1}
    world.ask(phone, "sync.read", {"conv": DIRECT, "seq": 4}, counts)
    world.push([bob], "read", {"conv": DIRECT, "user": "alice", "seq": 4})
    world.push([pc], "read", {"conv": DIRECT, "user": "alice", "seq": 4, "n": 3, "unread": 0, "total_unread": 1})
    marks = {"read_seq": 4, "ack_seq": 0}
    receipts = {"conv": DIRECT, "seq": 4, "members": 1, "delivered": 1, "read": 1, "private": 0, "marks": marks}
    world.ask(bob, "sync.receipts", {"conv": DIRECT, "seq": 4}, receipts)

    # A group: who comes sees nothing of before, who goes nothing of after, somebody deletes for themself.
    about = {"name": "Team", "history": False, "join_mode": "open"}
    people = ["alice", "bob", "carol", "erin"]
    founded = {"added": people, "removed": [], "by": "alice", "group": about}
    first: Data = {}

    def found() -> Data:
        first.update(world.write(TEAM, "members", "alice", founded))
        return {"conv": TEAM}

    world.ask(phone, "group.create", {"gid": "team", "name": "Team", "members": people[1:]}, found)
    everybody = [pc, bob, carol, erin]
    world.push(everybody, "entries", {"conv": TEAM, "entries": [first]})
    world.says(phone, TEAM, "only us", everybody)

    def gone() -> Data:
        world.write(TEAM, "members", "erin", {"added": [], "removed": ["erin"], "by": "erin"})
        return {}

    world.ask(erin, "group.leave", {"conv": TEAM}, gone)
    world.push([phone, pc, bob, carol], "entries", {"conv": TEAM, "entries": [world.logs[TEAM][2]]})

    def joined() -> Data:
        world.write(TEAM, "members", "alice", {"added": ["dave"], "removed": [], "by": "alice"})
        return {"users": ["dave"]}

    world.ask(phone, "group.invite", {"conv": TEAM, "users": ["dave"]}, joined)
    world.push([pc, bob, carol, dave], "entries", {"conv": TEAM, "entries": [world.logs[TEAM][3]]})
    world.says(carol, TEAM, "welcome, dave", [phone, pc, bob, dave])
    world.push([bob], "entries", {"conv": TEAM, "entries": [world.logs[TEAM][4]]})  # twice: clients drop it
    gone_for_carol = {"conv": TEAM, "deleted": 1, "ranges": [[2, 2]]}
    world.ask(carol, "message.delete", {"conv": TEAM, "seqs": [2]}, gone_for_carol)
    page = [entry if entry["seq"] != 2 else _void(entry) for entry in world.logs[TEAM]]
    asked = {"conv": TEAM, "after": 0, "limit": 100}
    world.ask(carol, "sync.entries", asked, {"entries": page, "last_seq": 5, "more": False})
    theirs = world.logs[TEAM][3:]
    world.ask(dave, "sync.entries", asked, {"entries": theirs, "last_seq": 5, "more": False})
    us = world.logs[TEAM][1]
    edit = world.change(phone, "edit", "edit", us, {"body": {"text": "only us four"}}, [pc, bob, carol])
    world.push([dave], "entries", {"conv": TEAM, "entries": [edit | {"body": {"target": 2}}]})
    world.states[TEAM, 2] = {"changed": 6, "edited": {"seq": 6, "ts": edit["ts"]}, "body": {"text": "only us four"}}

    # bob's new device: everything at once.
    world.connect("bob.new")
    last = {name: answer[name] for name in ("seq", "kind", "from", "ts")}
    last = {name: world.logs[DIRECT][3][name] for name in last} | {"preview": "", "recalled": True, "changed": 5}
    rows = [
        _row(DIRECT, last_seq=7, last_n=3, read_seq=4, read_n=3, ack_seq=7, last=last),
        _row(TEAM, last_seq=6, last_n=2, read_seq=0, read_n=0, ack_seq=0, last=None),
    ]
    world.ask("bob.new", "sync.inbox", {}, {"conversations": rows, "inbox": "1", "privacy": {}})
    now = [_as_now(world, entry) for entry in world.logs[DIRECT]]
    now[1]["quote"] = quote | {"preview": "good morning", "changed": 3}
    now[2] = {**now[2], "body": {"target": 1, "body": {"text": "good morning"}}}
    down = {"conv": DIRECT, "before": 100, "limit": 100}
    world.ask("bob.new", "sync.entries", down, {"entries": now[::-1], "last_seq": 7, "more": False})
    up = {"conv": TEAM, "after": 0, "limit": 100}
    world.ask(
        "bob.new",
        "sync.entries",
        up,
        {"entries": [_as_now(world, e) for e in world.logs[TEAM]], "last_seq": 6, "more": False},
    )
    world.ask("bob.new", "sync.unread", {}, {"total_unread": 2, "conversations": {TEAM: 2}})

    seen = {"alice": (7, range(1, 7)), "bob": (7, range(1, 7)), "carol": (0, range(1, 7)), "dave": (0, range(4, 7))}
    for device, recorder in world.recorders.items():
        direct, team = seen.get(device.partition(".")[0], (0, range(1, 4)))
        if direct:
            recorder.holds(DIRECT, range(1, direct + 1))
        recorder.holds(TEAM, team)
    lines = {
        file_name(r.user, r.device).removesuffix(".jsonl"): [json.loads(line) for line in r.recording.lines()]
        for r in world.recorders.values()
    }
    return History(lines, {"Conversation": _items(world), "Inbox": _inbox()})


def _pushed(world: World, device: str, conv: str, seq: int) -> list[Data]:
    events = [event.frame for event in world.recorders[device].recording.events if hasattr(event, "frame")]
    pushes = [frame["data"] for frame in events if frame.get("push") == "entries"]
    return [entry for push in pushes if push["conv"] == conv for entry in push["entries"] if entry["seq"] == seq]


def _void(entry: Data) -> Data:
    return {name: entry[name] for name in ("conv", "seq", "n", "from", "ts")} | {"kind": "void", "body": {}}


def _as_now(world: World, entry: Data) -> Data:
    return entry | world.states.get((entry["conv"], entry["seq"]), {})


def _row(conv: str, **marks: Any) -> Data:
    return {"conv": conv, "unread": marks["last_n"] - marks["read_n"], "rev": 0, "deleted": 0, **marks}


def _n(number: int) -> Data:
    return {"N": str(number)}


def _items(world: World) -> list[Data]:
    items = []
    for entry in (entry for log in world.logs.values() for entry in log):
        now = _as_now(world, entry)
        item: Data = {"pk": {"S": entry["conv"]}, "sk": {"S": f"MSG#{entry['seq']:012d}"}}
        item |= {name: _n(entry[name]) for name in ("seq", "n", "ts")} | {"epoch": _n(1)}
        item |= {"kind": {"S": entry["kind"]}, "from": {"S": entry["from"]}, "body": {"S": json.dumps(now["body"])}}
        item |= {"cmid": {"S": entry["cmid"]}} if "cmid" in entry else {}
        item |= {"reply_to": _n(entry["reply_to"])} if "reply_to" in entry else {}
        item |= {"changed": _n(now["changed"])} if "changed" in now else {}
        if "edited" in now:
            at = {"seq": _n(now["edited"]["seq"]), "ts": _n(now["edited"]["ts"])}
            item |= {"edited": {"M": at}, "original": {"S": json.dumps(entry["body"])}}
        if "recalled" in now:
            by = {"seq": _n(now["changed"]), "by": {"S": now["recalled"]["by"]}, "ts": _n(now["recalled"]["ts"])}
            item["recalled"] = {"M": by}
        if "reactions" in now:
            one = {"count": _n(1), "users": {"L": [{"S": "alice"}]}}
            item["reactions"] = {"M": {emoji: {"M": one} for emoji in now["reactions"]}}
        item |= {"pinned": _n(now["changed"])} if "pinned" in now else {}
        items.append(item)
    return items


def _inbox() -> list[Data]:
    def row(user: str, conv: str, marks: tuple[int, int, int, int, int], left: int = 0) -> Data:
        named = zip(("last_seq", "last_n", "read_seq", "read_n", "ack_seq"), map(_n, marks), strict=True)
        more = {"left_seq": _n(left)} if left else {}
        return {"pk": {"S": user}, "sk": {"S": f"CONV#{conv}"}, **dict(named), **more}

    ranges = {"L": [_n(2), _n(2)]}
    return [
        row("alice", DIRECT, (7, 3, 4, 3, 0)),
        row("bob", DIRECT, (7, 3, 4, 3, 7)),
        row("alice", TEAM, (6, 2, 2, 1, 0)),
        row("bob", TEAM, (6, 2, 0, 0, 0)),
        row("carol", TEAM, (6, 2, 5, 2, 0)),
        row("dave", TEAM, (6, 2, 3, 1, 0)),
        row("erin", TEAM, (3, 1, 3, 1, 0), left=3),
        {"pk": {"S": "carol"}, "sk": {"S": f"WITHOUT#{TEAM}"}, "version": _n(1), "ranges": ranges},
    ]
