"""Every operation on messages in every situation: done, or refused with one code and without a trace.

The table below is the promise. Rows are situations, columns operations; a cell is `ok`, the code of the error, or `-`
where an operation has no such situation. Whatever is refused leaves tables, queues and devices as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.group_state import code_of, drop_queued, everything, people_of, undone
from tests.integration.house import START, Device, House
from tests.integration.message_state import GROUP, check_messages, edit, pin, react, recall, settle

Data = dict[str, Any]

OPS = (
    "edit",
    "recall",
    "react",
    "pin",
    "delete",
    "forward",
    "reply",
    "typing",
    "reactions",
    "edits",
    "pins",
    "deleted",
    "receipts",
    "read",
    "settings",
)
ROUTES = {
    **{op: f"message.{op}" for op in ("edit", "recall", "react", "pin", "delete", "forward", "typing")},
    "reply": "message.send",
    **{op: f"sync.{op}" for op in ("reactions", "edits", "pins", "deleted", "receipts", "read", "settings")},
}

CODES = {
    "ok": "ok",
    "-": "-",
    "bad": "bad_request",
    "member": "not_member",
    "found": "not_found",
    "forbid": "forbidden",
    "conf": "conflict",
    "large": "too_large",
    "muted": "muted",
    "exp": "expired",
    "rate": "rate_limited",
}

TABLE = """
situation       edit   recall react  pin    delete forwrd reply  typing reacts edits  pins   deletd recpts read   settng

own             ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok
another's       forbid ok     ok     ok     ok     ok     ok     -      ok     ok     -      -      ok     ok     -
by a member     forbid forbid ok     forbid ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok
direct own      ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok     ok
direct other's  forbid forbid ok     ok     ok     ok     ok     -      ok     ok     -      -      ok     ok     -

no such group   member member member member member member member member member member member member member member member
stranger        member member member member member member member member member member member member member member member
other's direct  member member member member member member member member member member member member member member member
left            member member member member ok     ok     member member ok     ok     ok     ok     member ok     ok
removed         member member member member ok     ok     member member ok     ok     ok     ok     member ok     ok
left since      member member member member found  found  member -      found  found  -      -      member found  -
dissolved       member member member member ok     ok     member member ok     ok     ok     ok     member ok     ok

unknown         found  found  found  found  found  found  found  -      found  found  -      -      found  found  -
far too large   found  found  found  found  found  found  found  -      found  found  -      -      found  found  -
2**53           bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
zero            bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
negative        bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
text            bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
float           bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
true            bad    bad    bad    bad    bad    bad    bad    -      bad    bad    -      -      bad    bad    -
null            bad    bad    bad    bad    bad    bad    ok     -      bad    bad    -      -      bad    bad    -
none            bad    bad    bad    bad    bad    bad    ok     -      bad    bad    -      -      bad    bad    -
before joining  found  found  found  found  found  found  found  -      found  found  -      -      found  found  -

founding        bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
profile         bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
an edit         bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
a recall        bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
a reaction      bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
a pin           bad    bad    bad    bad    ok     bad    bad    -      bad    bad    -      -      bad    ok     -
recalled        conf   ok     conf   conf   ok     conf   ok     -      ok     ok     -      -      ok     ok     -
forwarded       bad    ok     ok     ok     ok     ok     ok     -      ok     ok     -      -      ok     ok     -
merged          bad    ok     ok     ok     ok     ok     ok     -      ok     ok     -      -      ok     ok     -

too late        exp    exp    ok     forbid   ok     ok     ok     -      ok     ok     -      -      ok     ok     -
too late, owner exp    ok     ok     ok     ok     ok     ok     -      ok     ok     -      -      ok     ok     -
muted           muted  ok     muted  muted  ok     muted  muted  muted  ok     ok     ok     ok     ok     ok     ok
all muted       muted  ok     muted  muted  ok     muted  muted  muted  ok     ok     ok     ok     ok     ok     ok
full            large  ok     large  large  large  bad    -      rate   -      -      -      -      -      -      -
too much        large  -      bad    -      bad    large  large  -      bad    -      -      -      bad    -      bad
wrong form      bad    bad    bad    bad    bad    bad    bad    bad    bad    bad    bad    bad    bad    bad    bad
"""
"""`left since`: what was said after the caller had left. `full`: a limit on what is there already. `too much`: a limit
on what is asked for."""


def rows_in(table: str) -> dict[str, dict[str, str]]:
    """What the table says: by situation, then by operation. No cell may be missing."""
    _, *lines = [line for line in table.strip().splitlines() if line]
    out: dict[str, dict[str, str]] = {}
    for line in lines:
        name, cells = line[:16].strip(), line[16:].split()
        assert name not in out, f"{name}: twice"
        assert len(cells) == len(OPS), f"{name}: {cells}"
        out[name] = {op: CODES[cell] for op, cell in zip(OPS, cells, strict=True)}
    return out


@dataclass
class Place:
    """Who asks for what."""

    device: Device
    conv: str
    seq: Any
    more: Data
    """What is different about the request."""


def data_of(op: str, place: Place) -> Data:
    """The data of a request."""
    conv, seq = {"conv": place.conv}, place.seq
    usual: dict[str, Data] = {
        "edit": {"seq": seq, "body": {"text": "other"}},
        "recall": {"seq": seq},
        "react": {"seq": seq, "emoji": "🎉", "on": True},
        "pin": {"seq": seq, "on": True},
        "delete": {"seqs": [seq]},
        "forward": {"source": place.conv, "seqs": [seq], "cmid": "f", "conv": place.more.get("target", place.conv)},
        "reply": {"cmid": "r", "kind": "text", "body": {"text": "re"}, "reply_to": seq},
        "typing": {"on": True},
        "reactions": {"seq": seq},
        "edits": {"seq": seq},
        "pins": {},
        "deleted": {},
        "receipts": {"seq": seq},
        "read": {"seq": seq},
        "settings": {"muted": True},
    }
    data = conv | usual[op] | place.more.get(op, {})
    if seq is ABSENT:
        data = {name: value for name, value in data.items() if name != "reply_to" and value not in (ABSENT, [ABSENT])}
    return data


ABSENT = object()
LATER = 10**13
WRONG: dict[str, Data] = {
    "edit": {"body": "other"},
    "recall": {"cmid": ""},
    "react": {"on": "yes"},
    "pin": {"on": None},
    "delete": {"up_to": 1},
    "forward": {"to": "bob"},
    "reply": {"kind": "merged"},
    "typing": {"on": 1},
    "reactions": {"limit": 0},
    "edits": {"cursor": "x"},
    "pins": {"conv": "g:"},
    "deleted": {"conv": "d:bob:alice"},
    "receipts": {"list": "all"},
    "read": {"conv": 5},
    "settings": {"muted": "yes"},
}
TOO_MUCH: dict[str, Data] = {
    "edit": {"body": {"text": "x" * 16385}},
    "react": {"emoji": "x" * 49},
    "delete": {"seqs": list(range(1, 102))},
    "forward": {},
    "reply": {"body": {"text": "x" * 16385}},
    "reactions": {"limit": 101},
    "receipts": {"limit": 101},
    "settings": {"draft": "x" * 1001},
}


class Scene:
    """A group with everybody in it, a direct conversation, and one message for each situation."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.people = people = people_of(house, "alice bob mia leo rem new sam carol dan")
        alice = people["alice"]
        alice.ok("group.create", {"gid": "g", "name": "G", "members": ["mia", "leo", "rem", "bob"]})
        self.seqs: dict[str, int] = {"founding": 1}
        self.say("alice", "early")
        for name in ("leo", "rem"):
            self.say(name, f"{name}'s")
        people["leo"].ok("group.leave", {"conv": GROUP})
        alice.ok("group.remove", {"conv": GROUP, "users": ["rem"]})
        self.say("alice", "own")
        self.say("mia", "mia's")
        self.say("mia", "mia's other")
        for name, change in (
            ("an edit", lambda seq: edit(alice, seq, "x", GROUP)),
            ("a reaction", lambda seq: react(alice, seq, "👍", GROUP)),
            ("a pin", lambda seq: pin(alice, seq, GROUP)),
            ("a recall", lambda seq: recall(alice, seq, GROUP)),
        ):
            self.seqs[name] = change(self.say("alice", f"of {name}"))["seq"]
        self.seqs["recalled"] = self.seqs["of a recall"]
        self.seqs["forwarded"] = self._forward([self.seqs["own"]])
        self.seqs["merged"] = self._forward([self.seqs["own"], self.seqs["mia's"]])
        alice.ok("group.update", {"conv": GROUP, "name": "H"})
        self.seqs["profile"] = self.seqs["merged"] + 1
        alice.ok("group.invite", {"conv": GROUP, "users": ["new"]})
        for name in ("alice", "bob"):
            people[name].say(name, f"d{name}", conv="d:alice:bob")
        people["carol"].say("x", "x", to="dan")
        settle(house)

    def say(self, user: str, what: str) -> int:
        self.seqs[what] = int(self.people[user].say(what, what, conv=GROUP)["seq"])
        return self.seqs[what]

    def _forward(self, seqs: list[int]) -> int:
        data = {"conv": GROUP, "cmid": f"{seqs}", "source": GROUP, "seqs": seqs}
        return int(self.people["alice"].ok("message.forward", data)["seq"])

    def place(self, situation: str, op: str) -> Place:
        """Make the situation, and say who asks for what in it."""
        if situation in VALUES:
            return Place(self.people["alice"], GROUP, VALUES[situation], {})
        if situation in self.seqs and situation not in {"own"}:
            return Place(self.people["alice"], GROUP, self.seqs[situation], {})
        user, conv, what = WHERE.get(situation, ("alice", GROUP, "own"))
        seq = self.seqs.get(what, 1)
        place = Place(self.people[user], conv, seq, {})
        prepare: Callable[[Place, str], None] | None = getattr(self, f"_{METHODS.get(situation, '')}", None)
        if prepare is not None:
            prepare(place, op)
            for device in self.house.devices.values():
                device.pushes.clear()
        return place

    def _former(self, place: Place, _: str) -> None:
        """Who has left may still forward what they saw, elsewhere."""
        place.more["target"] = f"d:alice:{place.device.user}"

    def _dissolved(self, place: Place, op: str) -> None:
        self.people["alice"].ok("group.dissolve", {"conv": GROUP})
        self._former(place, op)
        drop_queued(self.house)

    def _late(self, _: Place, __: str) -> None:
        self.house.now = START + 24 * 60 * 60 * 1000 + 1

    def _muted(self, _: Place, __: str) -> None:
        self.people["alice"].ok("group.mute", {"conv": GROUP, "user": "mia", "until": LATER})
        drop_queued(self.house)

    def _all_muted(self, _: Place, __: str) -> None:
        self.people["alice"].ok("group.mute", {"conv": GROUP, "until": LATER})
        drop_queued(self.house)

    def _full(self, place: Place, op: str) -> None:
        alice, own = self.people["alice"], self.seqs["own"]
        if op == "edit":
            for i in range(20):
                edit(alice, own, f"{i}", GROUP)
        elif op == "react":
            for i in range(20):
                react(alice, own, f"{i}", GROUP)
        elif op == "pin":
            for i in range(49):  # one is pinned
                pin(alice, self.say("alice", f"pinned {i}"), GROUP)
        elif op == "delete":
            place.more["delete"] = {"seqs": [1]}
            ranges = [{"N": f"{2 * i + 3}"} for i in range(500) for _ in range(2)]
            self.house.dynamodb.put_item(
                TableName="InboxTable",
                Item={
                    "pk": {"S": "alice"},
                    "sk": {"S": f"WITHOUT#{GROUP}"},
                    "version": {"N": "9"},
                    "ranges": {"L": ranges},
                },
            )
        elif op == "forward":
            place.more["forward"] = {"seqs": list(range(1, 32))}
        elif op == "typing":
            alice.ok("message.typing", {"conv": GROUP, "on": True})
        drop_queued(self.house)

    def _too_much(self, place: Place, op: str) -> None:
        place.more[op] = TOO_MUCH[op]
        if op == "forward":
            texts = [int(self.people["alice"].say("x" * 12000, f"{i}", conv=GROUP)["seq"]) for i in range(3)]
            place.more[op] = {"seqs": texts}
            drop_queued(self.house)

    def _wrong(self, place: Place, op: str) -> None:
        place.more[op] = WRONG[op]


VALUES: Data = {
    "unknown": 99,
    "far too large": 2**53 - 1,
    "2**53": 2**53,
    "zero": 0,
    "negative": -1,
    "text": "5",
    "float": 5.0,
    "true": True,
    "null": None,
    "none": ABSENT,
}
WHERE: dict[str, tuple[str, str, str]] = {
    "another's": ("alice", GROUP, "mia's"),
    "by a member": ("mia", GROUP, "own"),
    "direct own": ("alice", "d:alice:bob", ""),
    "direct other's": ("bob", "d:alice:bob", ""),
    "no such group": ("alice", "g:none", ""),
    "stranger": ("sam", GROUP, "own"),
    "other's direct": ("alice", "d:carol:dan", ""),
    "left": ("leo", GROUP, "leo's"),
    "removed": ("rem", GROUP, "rem's"),
    "left since": ("leo", GROUP, "own"),
    "before joining": ("new", GROUP, "own"),
    "dissolved": ("mia", GROUP, "mia's"),
    "too late": ("mia", GROUP, "mia's"),
    "muted": ("mia", GROUP, "mia's"),
    "all muted": ("mia", GROUP, "mia's"),
}
METHODS = {
    "left": "former",
    "removed": "former",
    "left since": "former",
    "dissolved": "dissolved",
    "too late": "late",
    "too late, owner": "late",
    "muted": "muted",
    "all muted": "all_muted",
    "full": "full",
    "too much": "too_much",
    "wrong form": "wrong",
}
READING = {"reactions", "edits", "pins", "deleted", "receipts"}


@pytest.fixture
def scene(house: House) -> Scene:
    """Everything is there, and delivered."""
    return Scene(house)


def test_every_operation_in_every_situation_is_done_or_refused_without_a_trace(scene: Scene) -> None:
    house = scene.house
    house.queued.clear()  # five minutes later
    before = everything(house)

    for situation, cells in rows_in(TABLE).items():
        for op, code in cells.items():
            writes = code == "ok" and op not in READING
            if code == "-":
                continue
            if situation in METHODS or writes:
                with undone(house):
                    house.load("message")  # it knows nobody, and nobody has typed
                    place = scene.place(situation, op)
                    _try(house, op, place, code, None if writes else everything(house), situation)
            else:
                _try(house, op, scene.place(situation, op), code, before, situation)


def _try(house: House, op: str, place: Place, code: str, before: Data | None, situation: str) -> None:
    """Ask; compare the reply with the table, and what is stored then with what was `before`, if that is to stay."""
    with house.watched() as calls:
        reply = place.device.ask(ROUTES[op], data_of(op, place))
    where = f"{op}, {situation}: {reply}"
    assert code_of(reply) == code, where
    if before is None:
        check_messages()
        return
    assert {call.operation for call in calls} <= {"GetItem", "BatchGetItem", "TransactGetItems", "Query"} | (
        # That a pin would be one too many is what the transaction finds out.
        {"TransactWriteItems"} if code == "too_large" and op == "pin" else set()
    ), where
    assert everything(house) == before, where
    assert not any(device.pushes for device in house.devices.values()), where
    if code != "ok":
        assert reply["error"]["retryable"] is False
        assert ("retry_after_ms" in reply["error"]) == (code in {"muted", "rate_limited"}), where


def test_the_table_has_every_operation_that_concerns_messages(house: House) -> None:
    asked = set(ROUTES.values())
    others = {"sync.inbox", "sync.entries", "sync.ack", "sync.read_all", "sync.unread", "sync.privacy", "sync.presence"}
    served = {f"{route}.{op}" for route in ("message", "sync") for op in house.apps[route].router.operations}

    assert asked | others == served
    assert set(rows_in(TABLE)["own"]) == set(ROUTES) == set(OPS) == set(WRONG)
    situations = set(rows_in(TABLE))
    assert situations >= {*VALUES, *WHERE, *METHODS}
    assert {cell for row in rows_in(TABLE).values() for cell in row.values()} == set(CODES.values())


def test_whatever_is_of_the_wrong_form_is_named(scene: Scene) -> None:
    for op in OPS:
        place = scene.place("wrong form", op)
        error = place.device.error(ROUTES[op], data_of(op, place))
        assert error["message"].startswith("data"), (op, error)
