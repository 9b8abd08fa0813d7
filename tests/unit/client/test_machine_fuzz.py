"""Whatever comes in, in whatever order: the machine raises nothing, sends nothing where it must not, and loses nothing.

A world of a server that answers, answers too late, twice, with nonsense or never, of connections that come and go, of a
person and of a process that dies. The scenarios say what comes out; here is what must hold always.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imclient.core.outputs import State
from imclient.frames import Reply, decode
from tests.unit.client.scenario_player import Player

ME = "alice"
CONVS = ("d:alice:bob", "g:team", "g:club")
TIMES = (*(0, 1, 20, 300, 300, 300, 1_000, 1_000, 1_000, 5_000, 5_000, 11_000) * 2, 21_000, 240_000)
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**53 - 1, 2**53, 10**30, "", "x", "5", [], [1], [[1, "2"]], {}, {"seq": 1}),
    *({"conv": "g:team"}, [None, {}], "__proto__"),
)
ERRORS = ("internal", "unavailable", "not_member", "bad_request", "muted")
STEPS = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 999), st.integers(0, 999)), max_size=50)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(CONVS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PUSHES = ("entries", "read", "row", "deleted", "privacy", "typing", "inbox", "kicked", "x")
FIELDS = (
    *(
        "conv",
        "seq",
        "n",
        "kind",
        "from",
        "ts",
        "body",
        "entries",
        "conversations",
        "cursor",
        "inbox",
        "last_seq",
        "more",
    ),
    *(
        "last",
        "last_n",
        "read_seq",
        "read_n",
        "deleted",
        "ranges",
        "user",
        "reason",
        "rev",
        "left_seq",
        "members",
        "groups",
    ),
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=8)

FUZZ = settings(
    derandomize="CI" in os.environ,
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow],
)


@FUZZ
@given(STEPS, st.sampled_from((0, 3, None)), st.sampled_from((0.0, 0.5, 0.99)))
def test_no_order_of_inputs_breaks_the_machine(
    steps: list[tuple[int, int, int]], backlog: int | None, draw: float
) -> None:
    world = World(backlog, draw)
    world.do("start")
    for step in steps:
        world.step(*step)
    world.dies()


@FUZZ
@given(st.lists(st.tuples(st.sampled_from(PUSHES), OBJECTS) | OBJECTS | ANYTHING, max_size=8))
def test_no_frame_breaks_the_machine(frames: list[Any]) -> None:
    world = World(0, 0.5)
    world.do("start")
    world.step(0, 0, 0)
    for conv in CONVS:
        world.do("frame", 1, {"push": "entries", "data": {"conv": conv, "entries": [world.entry(conv, 5)]}})
        world.do("send", world.item(conv))
    world.do("older", CONVS[1], 5)
    for frame in frames:
        match frame:
            case (name, data):
                world.receive(1, {"push": name, "data": data})
            case dict():
                for pending in list(world.pending)[:2]:
                    world.receive(1, {"id": pending, "ok": True, "data": frame})
            case _:
                world.receive(1, frame)
    world.dies()


class World:
    """What is around a machine, and what must hold of what it does."""

    def __init__(self, backlog: int | None, draw: float) -> None:
        # Renewed so early that it happens beside all the rest.
        chosen = {"backlog": backlog, "renew": 15_000, "renew_spread": 10_000}
        self.player = Player({"user": ME, "settings": chosen, "draw": draw})
        self.at = 0
        self.dialing: int | None = None
        self.open: int | None = None
        self.old: int | None = None
        self.frames: dict[str, dict[str, Any]] = {}
        self.pending: dict[str, dict[str, Any]] = {}
        self.said = 0
        self.ends = dict.fromkeys(CONVS, 5)

    # ---- what happens

    def step(self, kind: int, one: int, other: int) -> None:  # noqa: C901, PLR0912 - a line for each thing that happens
        """Something happens, `kind` says what."""
        if self.open is None and self.dialing is not None and one % 3:
            kind, other = 0, other % 20
        self.at += TIMES[other % len(TIMES)] if kind % 3 == 0 else other % 50
        conv, ids = CONVS[one % 3], list(self.frames)
        match kind:
            case 0 | 1 | 2 | 3 if self.dialing is not None:
                self.do("opened", self.dialing)
            case 4:
                self.do("failed", self.dialing or one % 4, (None, 401, 403, 409, 503)[other % 5])
            case 5:
                self.do("closed", self.open or one % 4, (None, 1000, 1001, 1006)[other % 4])
            case 6 | 7 | 8 | 9 | 10 | 11 | 12 if ids:
                frame = self.frames[ids[-1 - one % min(len(ids), 4)]]
                self.receive(self.open, self.answer(frame, other))
            case 13 | 14 if ids:
                frame = self.frames[ids[one % len(ids)]]
                self.receive(self.open, spoilt(self.answer(frame, other), one, other))
            case 15 | 16 | 17:
                self.receive(self.open, self.push(conv, one, other))
            case 18:
                self.receive(self.open, spoilt(self.push(conv, one, other), one, other))
            case 19:
                self.receive(one % 4, self.push(conv, one, other))
            case 20 | 21 | 22:
                self.do("send", self.item(conv))
            case 23:
                data = {"seq": 1 + one % 9}
                self.do("change", conv, ("edit", "recall", "react", "pin")[other % 4], data, f"x{one}")
            case 24:
                self.do(("retry", "discard")[one % 2], f"c{other % (self.said + 1)}")
            case 25:
                self.do("read", conv, 1 + other % 12)
            case 26:
                self.do("older", conv, 1 + other % 30)
            case 27:
                self.do(
                    *(("expect", conv, other % 400), ("refresh",), ("call", "group", "info", {"conv": conv}))[one % 3]
                )
            case 28:
                self.do(*(("network", True), ("network", False), ("resumed",), ("sleep",))[one % 4])
            case 29:
                self.do(("leave", "stop", "start", "start")[one % 4])
            case 30:
                self.receive(self.open, {"push": "kicked", "data": {"reason": JUNK[other % len(JUNK)]}})
            case 31:
                self.dies()
            case _:
                self.do("start")

    def do(self, *what: Any) -> None:
        """One step, and what must hold of all that comes of it."""
        if what[0] == "sleep":
            self.see(self.player.step({"at": self.at, "do": ["sleep"]}))
            return
        self.see(self.player.step({"at": self.at, "do": ["wait"]}))
        if what[0] == "opened" and what[1] == self.dialing:
            self.old, self.dialing, self.open = self.open, None, what[1]
        elif what[0] in {"failed", "closed"}:
            self.dialing = None if what[1] == self.dialing else self.dialing
            self.open = None if what[0] == "closed" and what[1] == self.open else self.open
        if what[0] == "text" and what[1] == self.open and isinstance(reply := decode(what[2]), Reply):
            self.pending.pop(reply.id, None)
        if what[0] == "restart":
            self.dialing = self.open = None
            self.frames, self.pending = {}, {}
        self.see(self.player.step({"at": self.at, "do": list(what)}))
        assert self.old is None, "two connections are left open"
        due = self.player.machine.next_wake
        assert due is None or due >= self.at, "wants to be woken in the past"

    def receive(self, link: int | None, frame: Any) -> None:
        """A frame comes over a link."""
        self.do("text", link or 0, json.dumps(frame))

    def see(self, lines: list[list[Any]]) -> None:
        """What must hold of each output."""
        for line in lines:
            match line[1:]:
                case ["dial", link, *_]:
                    assert self.dialing is None, "dials beside another dial"
                    self.dialing = link
                case ["hangup", link]:
                    self.dialing = None if link == self.dialing else self.dialing
                    self.open = None if link == self.open else self.open
                    self.old = None if link == self.old else self.old
                case ["send", link, frame]:
                    assert link == self.open, "sends over a link that is not open"
                    self.sent(frame)
                case ["state", "ended", *_]:
                    self.pending = {}

    def sent(self, frame: dict[str, Any]) -> None:
        """A frame went out."""
        place = self.place(frame)
        if place is not None:
            others = [other for key, other in self.pending.items() if key != frame["id"] and self.place(other) == place]
            assert not others, f"two messages of {place} at once"
        assert self.frames.setdefault(frame["id"], frame) == frame, "another frame under the same id"
        self.pending[frame["id"]] = frame

    def dies(self) -> None:
        """The process dies, and a new one goes on from what was kept: it has the same logs and the same outbox."""
        self.do("wait")
        old = self.player.machine
        before = old.transcripts
        waiting = [(cmid, item["state"] == "failed") for cmid, item in old.outbox.items.items()]
        rows, reads, deleted = copy.deepcopy(old.rows), dict(old.marks.to_read), copy.deepcopy(old.deletions.of)
        value = old.inbox.value
        self.do("restart")
        new = self.player.machine
        assert new.rows == rows
        assert new.marks.to_read == reads
        assert new.deletions.of == deleted
        assert value is None or new.inbox.value == value, "the server is asked since an older value"
        assert [(cmid, item["state"] == "failed") for cmid, item in new.outbox.items.items()] == waiting
        assert {conv for conv, one in before.items() if len(one)} <= set(new.transcripts)
        for conv, now in new.transcripts.items():
            was = before[conv]
            assert (now.floor, now.watermark, now.horizon) == (was.floor, was.watermark, was.horizon)
            kept = self.player.tables["entries"].get(conv, {})
            for entry in was.current():
                assert kept[str(entry.seq)] == json.loads(json.dumps(entry.wire)), "what is held is not kept"
                assert entry.seq in now or entry.seq <= now.floor
            missing = [gap for gap in was.missing() if len(range(gap.first, gap.last + 1)) < 10_000]
            for seq in (seq for gap in missing for seq in range(gap.first, gap.last + 1)):
                assert seq not in now, "what is missing would not be fetched any more"

    # ---- the server

    def push(self, conv: str, one: int, other: int) -> dict[str, Any]:
        """Something the server says unasked."""
        if other % 8 == 7:
            last = self.ends[conv] + (one % 3) * 200
            row = {"conv": conv, "last_seq": last, "last_n": last, "rev": one % 3, "deleted": other % 3, "read_seq": 1}
            return {"push": "row", "data": row | ({"left_seq": last} if one % 5 == 4 else {})}
        if other % 8 == 6:
            return {"push": "read", "data": {"conv": conv, "user": ME, "seq": one % 9, "n": one % 9, "unread": one % 4}}
        if other % 8 == 5:
            return {"push": "deleted", "data": {"conv": conv, "deleted": one % 5, "ranges": [[1, 1 + one % 5]]}}
        first = max(1, self.ends[conv] + one % 5 - 1)
        entries = [self.entry(conv, seq, other) for seq in range(first, first + 1 + one % 3)]
        self.ends[conv] = max(self.ends[conv], first + one % 3)
        return {"push": "entries", "data": {"conv": conv, "entries": entries}}

    def answer(self, frame: dict[str, Any], how: int) -> dict[str, Any]:
        """An answer to a frame."""
        if how % 7 == 6:
            code = ERRORS[how % len(ERRORS)]
            wait = {} if how % 2 else {"retry_after_ms": how - 500}
            error = {"code": code, "message": "", "retryable": code in ERRORS[:2], **wait}
            return {"id": frame["id"], "ok": False, "error": error}
        return {"id": frame["id"], "ok": True, "data": self.data(frame, how)}

    def data(self, frame: dict[str, Any], how: int) -> dict[str, Any]:  # noqa: PLR0911 - one for each operation
        asked = frame["data"]
        conv = asked.get("conv", CONVS[0])
        match frame["route"], frame["op"]:
            case "sync", "inbox":
                rows = [{"conv": one, "last_seq": self.ends[one], "last_n": self.ends[one]} for one in CONVS]
                return {
                    "conversations": rows[how % 3 :],
                    "inbox": f"i{how % 3}",
                    **({"cursor": "c"} if how % 4 == 3 else {}),
                }
            case "sync", "entries":
                end = self.ends.get(conv, 5)
                if "before" in asked:
                    first = asked["before"] - 1
                    seqs = [seq for seq in range(first, max(0, first - asked["limit"]), -1) if seq % 4 or how % 2]
                else:
                    first = asked["after"] + 1
                    seqs = [seq for seq in range(first, min(end, first + asked["limit"]) + 1) if seq % 4 or how % 2]
                more = bool(seqs) and how % 3 == 0
                return {
                    "entries": [{**self.entry(conv, seq), "changed": how} for seq in seqs],
                    "last_seq": end,
                    "more": more,
                }
            case "sync", "deleted":
                return {"conv": conv, "deleted": how % 4, "ranges": [[1, 2]]}
            case "sync", "read":
                return {"conv": conv, "read_seq": asked["seq"], "unread": how % 3, "total_unread": 0}
            case "connect", "ping":
                return {"ts": 1, "inbox": f"i{how % 3}"}
            case "message", _:
                self.ends[conv] += 1
                return {"conv": conv, "seq": self.ends[conv], "n": self.ends[conv], "ts": self.at, "duplicate": False}
            case _:
                return {}

    def entry(self, conv: str, seq: int, how: int = 0) -> dict[str, Any]:
        kind = "text"
        body: dict[str, Any] = {"text": f"m{seq}"}
        if how and (how + seq) % 6 == 0:
            kind, body = "members", {"added": [ME], "removed": []}
        cmid = {"cmid": f"c{how % (self.said + 1)}", "from": ME} if how % 4 == 3 else {"from": "bob"}
        return {"conv": conv, "seq": seq, "n": seq, "kind": kind, "ts": seq, "body": body, **cmid}

    def item(self, conv: str) -> dict[str, Any]:
        self.said += 1
        return {"cmid": f"c{self.said}", "conv": conv, "kind": "text", "body": {"text": "hi"}, "ts": self.at}

    @staticmethod
    def place(frame: dict[str, Any]) -> str | None:
        """The conversation in which it says something."""
        if frame["route"] != "message":
            return None
        return str(frame["data"].get("conv", CONVS[0]))


def spoilt(frame: dict[str, Any], where: int, how: int) -> dict[str, Any]:
    """The frame with something else at one place, or without it."""
    spoilt = copy.deepcopy(frame)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            visit(value[key])

    visit(spoilt)
    holder, key = places[where % len(places)]
    if how % 5 == 4:
        del holder[key]
    else:
        holder[key] = JUNK[how % len(JUNK)]
    return spoilt


def test_a_machine_that_has_ended_does_nothing_and_wants_nothing() -> None:
    world = World(0, 0.5)
    world.do("start")
    world.step(0, 0, 0)
    world.do("stop")
    assert world.player.machine.state is State.ENDED
    for conv in CONVS:
        for what in (
            ("send", world.item(conv)),
            ("read", conv, 3),
            ("expect", conv, 9),
            ("older", conv, 3),
            ("refresh",),
        ):
            world.do(*what)
    assert world.player.machine.next_wake is None
