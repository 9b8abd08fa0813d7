"""Red packets in every situation: done, or refused with one code, with nothing stored and no money moved.

The tables below are the promise. Rows are situations, columns operations; a cell is `ok` or the code of the error.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration import packet_books
from tests.integration.group_state import code_of, everything, people_of, stored, undone
from tests.integration.house import Device, House, built_house

Data = dict[str, Any]

DIRECT, GROUP, OPEN = "d:alice:bob", "g:g", "g:open"
DAY = 24 * 3_600_000
MINUTES = 5 * 60_000
OPENING = 100_000
LATER = 10**13
NOBODYS = "rp" + "a" * 26

CODES = {
    "ok": "ok",
    "bad": "bad_request",
    "member": "not_member",
    "found": "not_found",
    "forbid": "forbidden",
    "sold": "sold_out",
    "again": "already_claimed",
    "exp": "expired",
    "conf": "conflict",
    "funds": "insufficient_funds",
    "muted": "muted",
}

CLAIMS = """
situation               claim  detail

member                  ok     ok
sender                  ok     ok
muted                   ok     ok
all muted               ok     ok
recalled                ok     ok
recalled, sender        ok     ok
deleted                 ok     ok
to the caller           ok     ok
direct                  ok     ok

claimed before          again  ok
claimed, and over       again  ok
sold out                sold   ok
sold out, sender        sold   ok
sold out, and over      sold   ok
over                    exp    ok
over, ended             exp    ok
to another              forbid ok
to another, sender      forbid ok
direct, sender          forbid ok

no packet               found  found
being made              found  found
being made, direct      found  found
given up                found  found
wrong form              bad    bad
no form                 bad    bad

stranger                member member
other's direct          member member
left since              member ok
removed since           member ok
left before             member found
came since              forbid found
came since, history     forbid ok
came back               forbid ok
dissolved               member ok
dissolved, sender       member ok
"""
"""`left since`, `came since`: the group, since the packet was sent. `over`: its time is; `ended`: and it is closed.
`dissolved`: all have left then, and what nobody has claimed goes back."""

CREATES = """
situation               create

lucky                   ok
equal                   ok
for a member            ok
direct                  ok
direct, named           ok
direct, new             ok
all muted, owner        ok
one share               ok
all that there is       ok
long greeting           ok
the same again          ok
claimed, again          ok
over, again             ok

lucky, direct           bad
equal, direct           bad
direct to a third       bad
direct to oneself       bad
direct in a group       bad
lucky for one           bad
for oneself             bad
no count                bad
direct, two             bad
no shares               bad
too many shares         bad
too little              bad
not equal               bad
too much                bad
no money                bad
negative                bad
a fraction              bad
a text                  bad
longer greeting         bad
other kind              bad
no conversation         bad
wrong conversation      bad
no cmid                 bad

stranger                member
left                    member
no such group           member
other's direct          member
dissolved               member
for a stranger          found
for who has left        found
muted                   muted
all muted               muted

more than there is      funds
cmid of a message       conf
cmid of a change        conf
other total             conf
other count             conf
other kind again        conf
other greeting          conf
other member            conf
cmid given up           conf
"""

MESSAGES = """
situation               asked

send its cmid           ok
send its kind           bad
edit                    bad
forward                 bad
forward, with others    bad
react                   ok
pin                     ok
answer                  ok
read                    ok
recall                  ok
recall, other           forbid
delete                  ok
"""


def rows_in(table: str) -> dict[str, list[str]]:
    """What a table says: the codes by situation. No cell may be missing."""
    head, *lines = [line for line in table.strip().splitlines() if line]
    out: dict[str, list[str]] = {}
    for line in lines:
        name, cells = line[:24].strip(), line[24:].split()
        assert name not in out, f"{name}: twice"
        assert len(cells) == len(head[24:].split()), f"{name}: {cells}"
        out[name] = [CODES[cell] for cell in cells]
    return out


# ---- the scene -------------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A request, and who makes it."""

    device: Device
    op: str
    data: Data = field(default_factory=dict)


class Scene:
    """A group in which people have come and gone, a direct conversation, and packets of every kind."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.people = people = people_of(house, "alice bob mia leo rem old new back sam carol dan his")
        alice = people["alice"]
        members = ["mia", "bob", "leo", "rem", "old", "back"]
        alice.ok("group.create", {"gid": "g", "name": "G", "members": members})
        alice.ok("group.create", {"gid": "open", "name": "O", "members": ["mia"], "history": True})
        people["old"].ok("group.leave", {"conv": GROUP})
        alice.say("hello", "hello", conv=GROUP)
        alice.ok("message.react", {"conv": GROUP, "seq": 3, "emoji": "👍", "on": True, "cmid": "reacted"})
        alice.ok("message.send", {"to": "bob", "cmid": "said", "kind": "text", "body": {"text": "Hello."}})
        self.packets: dict[str, str] = {"nobody": NOBODYS}
        self.seqs: dict[str, int] = {}
        for name in ("lucky", "claimed", "recalled"):
            self.create(name)
        self.create("sold out", count=1)
        self.create("open", conv=OPEN)
        self.create("exclusive", kind="direct", to="mia")
        self.create("direct", conv=DIRECT, kind="direct")
        self.create("others", by="carol", conv="d:carol:dan", kind="direct")
        self.claim("mia", "claimed")
        self.claim("mia", "recalled")
        self.claim("bob", "sold out")
        people["leo"].ok("group.leave", {"conv": GROUP})
        people["back"].ok("group.leave", {"conv": GROUP})
        alice.ok("group.remove", {"conv": GROUP, "users": ["rem"]})
        alice.ok("group.invite", {"conv": GROUP, "users": ["new", "back"]})
        alice.ok("group.invite", {"conv": OPEN, "users": ["his"]})
        self.settle()
        house.now += 1000

    def create(self, name: str, by: str = "alice", **more: Any) -> None:
        """A packet that is known by a name, which is its cmid too."""
        told = self.people[by].ok("redpacket.create", packet(cmid=name, **more))
        self.packets[name], self.seqs[name] = told["packet"], told["seq"]

    def claim(self, who: str, name: str) -> None:
        """Somebody claims it."""
        self.people[who].ok("redpacket.claim", {"packet": self.packets[name]})

    def settle(self) -> None:
        """Everything is delivered and settled; what was pushed is forgotten."""
        self.house.fan_out()
        self.house.packets.settle()
        self.house.audit()
        for device in self.house.devices.values():
            device.pushes.clear()
        assert not self.wrong()

    def wrong(self) -> list[str]:
        """What is wrong with the books."""
        return packet_books.wrong(self.books(), opening=OPENING, settled=True)

    def books(self) -> packet_books.Books:
        """The books of all money."""
        return packet_books.read(stored("RedPacketTable"), stored("WalletTable"))

    def balances(self) -> dict[str, int]:
        """What users have."""
        return {account: n for account, n in self.books().balances.items() if account.startswith("user:")}

    def everything(self) -> Data:
        """All that is stored, queued, or waits in a stream."""
        money = {
            table: sorted(json.dumps(item, sort_keys=True) for item in stored(table))
            for table in ("RedPacketTable", "WalletTable")
        }
        express = [record["body"] for record in self.house.take(express=True)]
        return everything(self.house) | money | {"express": express, "stream": list(self.house.packets.records)}

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever is done inside is taken back."""
        house = self.house
        kept, records = copy.copy(house.packets.newest), list(house.packets.records)
        with undone(house):
            house.load("redpacket")  # it knows no packet, and nobody
            yield
            while taken := house.take(express=True):
                house.sqs.delete_message(QueueUrl=house.express_url, ReceiptHandle=taken[0]["receiptHandle"])
        house.packets.newest, house.packets.records[:] = kept, records
        house.stream.clear()

    # ---- what happens before a request

    def over(self) -> None:
        """A day has gone by."""
        self.house.now += DAY
        for name, device in list(self.people.items()):
            device.closed = True
            self.people[name] = self.house.connect(name)

    def ended(self) -> None:
        """A day has gone by, and the clock has struck."""
        self.over()
        self.house.packets.sweep()
        self.settle()

    def being_made_direct(self) -> None:
        self.being_made(conv=DIRECT, kind="direct")

    def being_made(self, **more: Any) -> None:
        """Its money is held, its message is not there."""

        def fail(call: Any) -> None:
            if call.operation == "TransactWriteItems" and "ConversationTable" in str(call.params):
                raise OSError("made by a test")

        with self.house.watched(before=fail):
            error = self.people["alice"].error("redpacket.create", packet(cmid="made", **more))
        assert error["code"] == "internal"
        made = [item["pk"]["S"] for item in stored("RedPacketTable") if item.get("state") == {"S": "new"}]
        (self.packets["made"],) = made

    def given_up(self) -> None:
        """Nobody has gone on with it."""
        self.being_made()
        self.house.now += MINUTES
        self.house.packets.sweep()
        self.settle()

    def recalled(self) -> None:
        self.people["alice"].ok("message.recall", {"conv": GROUP, "seq": self.seqs["recalled"]})

    def deleted(self) -> None:
        self.people["mia"].ok("message.delete", {"conv": GROUP, "seqs": [self.seqs["lucky"]]})

    def muted(self) -> None:
        self.people["alice"].ok("group.mute", {"conv": GROUP, "user": "mia", "until": LATER})

    def all_muted(self) -> None:
        self.people["alice"].ok("group.mute", {"conv": GROUP, "until": LATER})

    def dissolved(self) -> None:
        self.people["alice"].ok("group.dissolve", {"conv": GROUP})


def packet(**more: Any) -> Data:
    """The data of redpacket.create; a name that is given None is left out."""
    asked = {"conv": GROUP, "cmid": "new", "kind": "lucky", "total": 1000, "count": 3, "greeting": "Best wishes"} | more
    if more.get("kind") == "direct" and "count" not in more:
        asked.pop("count")
    return {name: value for name, value in asked.items() if value is not None}


Step = Callable[[Scene], None]

WHO: dict[str, tuple[str, str, Step | None]] = {
    "member": ("mia", "lucky", None),
    "sender": ("alice", "lucky", None),
    "muted": ("mia", "lucky", Scene.muted),
    "all muted": ("mia", "lucky", Scene.all_muted),
    "recalled": ("bob", "recalled", Scene.recalled),
    "recalled, sender": ("alice", "recalled", Scene.recalled),
    "deleted": ("mia", "lucky", Scene.deleted),
    "to the caller": ("mia", "exclusive", None),
    "direct": ("bob", "direct", None),
    "claimed before": ("mia", "claimed", None),
    "claimed, and over": ("mia", "claimed", Scene.ended),
    "sold out": ("mia", "sold out", None),
    "sold out, sender": ("alice", "sold out", None),
    "sold out, and over": ("mia", "sold out", Scene.ended),
    "over": ("mia", "lucky", Scene.over),
    "over, ended": ("mia", "lucky", Scene.ended),
    "to another": ("bob", "exclusive", None),
    "to another, sender": ("alice", "exclusive", None),
    "direct, sender": ("alice", "direct", None),
    "no packet": ("alice", "nobody", None),
    "being made": ("alice", "made", Scene.being_made),
    "being made, direct": ("bob", "made", Scene.being_made_direct),
    "given up": ("alice", "made", Scene.given_up),
    "wrong form": ("alice", "lucky", None),
    "no form": ("alice", "lucky", None),
    "stranger": ("sam", "lucky", None),
    "other's direct": ("alice", "others", None),
    "left since": ("leo", "lucky", None),
    "removed since": ("rem", "lucky", None),
    "left before": ("old", "lucky", None),
    "came since": ("new", "lucky", None),
    "came since, history": ("his", "open", None),
    "came back": ("back", "lucky", None),
    "dissolved": ("mia", "lucky", Scene.dissolved),
    "dissolved, sender": ("alice", "lucky", Scene.dissolved),
}
ODD_DATA: dict[str, Data] = {"wrong form": {"packet": "rp" + "A" * 26}, "no form": {"packet": None}}


@pytest.fixture(scope="module")
def built() -> Iterator[Scene]:
    """One scene for all: what is done in it is undone."""
    with pytest.MonkeyPatch.context() as monkeypatch, built_house(monkeypatch) as house:
        yield Scene(house)


@pytest.fixture
def scene(built: Scene) -> Iterator[Scene]:
    """As it was at first."""
    people = dict(built.people)
    devices = dict(built.house.devices)
    with built.undone():
        yield built
    built.people = people
    built.house.devices.clear()
    built.house.devices.update(devices)
    for device in devices.values():
        device.closed = False


def refused_without_a_trace(scene: Scene, asked: Asked, code: str, before: Data) -> Data:
    """What was refused has stored nothing and told nobody."""
    reply = asked.device.ask(asked.op, asked.data)
    assert code_of(reply) == code, reply
    assert scene.everything() == before
    assert not any(device.pushes for device in scene.house.devices.values())
    error: Data = reply["error"]
    assert error["retryable"] is False
    assert ("retry_after_ms" in error) == (code == "muted")
    assert ("amount" in error) == (code == "already_claimed")
    return error


# ---- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["claim", "detail"])
@pytest.mark.parametrize("situation", rows_in(CLAIMS))
def test_a_claim_is_made_once_by_those_whom_it_is_for_and_else_refused(scene: Scene, situation: str, op: str) -> None:
    who, name, prepare = WHO[situation]
    if prepare is not None:
        prepare(scene)
        scene.settle() if op == "claim" and name != "made" else None
    code = rows_in(CLAIMS)[situation][["claim", "detail"].index(op)]
    data = {"packet": scene.packets[name]} | ODD_DATA.get(situation, {})
    asked = Asked(scene.people[who], f"redpacket.{op}", data)
    before, had = scene.everything(), scene.balances()

    if code != "ok":
        error = refused_without_a_trace(scene, asked, code, before)
        if code == "already_claimed":
            assert error["amount"] == asked.device.ok("redpacket.detail", data)["amount"]
    elif op == "detail":
        asked.device.ok(asked.op, asked.data)
        assert scene.everything() == before
    else:
        amount = asked.device.ok(asked.op, asked.data)["amount"]
        assert scene.balances() == had, "the money moves later"
        scene.settle()
        assert scene.balances()[f"user:{who}"] == had.get(f"user:{who}", OPENING) + amount


# ---- creation --------------------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[str, Data]] = {
    "lucky": ("mia", {}),
    "equal": ("mia", {"kind": "equal", "total": 900}),
    "for a member": ("mia", {"kind": "direct", "to": "alice"}),
    "direct": ("bob", {"conv": DIRECT, "kind": "direct"}),
    "direct, named": ("bob", {"conv": DIRECT, "kind": "direct", "to": "alice", "count": 1}),
    "direct, new": ("sam", {"conv": "d:new:sam", "kind": "direct"}),
    "all muted, owner": ("alice", {}),
    "one share": ("mia", {"count": 1}),
    "all that there is": ("his", {"conv": OPEN, "total": OPENING}),
    "long greeting": ("mia", {"greeting": "🦉" * 120}),
    "the same again": ("alice", {"cmid": "lucky"}),
    "claimed, again": ("alice", {"cmid": "claimed"}),
    "over, again": ("alice", {"cmid": "lucky"}),
    "lucky, direct": ("bob", {"conv": DIRECT}),
    "equal, direct": ("bob", {"conv": DIRECT, "kind": "equal", "total": 900}),
    "direct to a third": ("bob", {"conv": DIRECT, "kind": "direct", "to": "mia"}),
    "direct to oneself": ("bob", {"conv": DIRECT, "kind": "direct", "to": "bob"}),
    "direct in a group": ("mia", {"kind": "direct"}),
    "lucky for one": ("mia", {"to": "alice"}),
    "for oneself": ("mia", {"kind": "direct", "to": "mia"}),
    "no count": ("mia", {"count": None}),
    "direct, two": ("mia", {"kind": "direct", "to": "alice", "count": 2}),
    "no shares": ("mia", {"count": 0}),
    "too many shares": ("mia", {"count": 501}),
    "too little": ("mia", {"total": 2}),
    "not equal": ("mia", {"kind": "equal", "total": 1000}),
    "too much": ("mia", {"total": 2_000_001}),
    "no money": ("mia", {"total": 0}),
    "negative": ("mia", {"total": -1}),
    "a fraction": ("mia", {"total": 1000.5}),
    "a text": ("mia", {"total": "1000"}),
    "longer greeting": ("mia", {"greeting": "x" * 121}),
    "other kind": ("mia", {"kind": "unlucky"}),
    "no conversation": ("mia", {"conv": None}),
    "wrong conversation": ("mia", {"conv": "d:bob:alice"}),
    "no cmid": ("mia", {"cmid": None}),
    "stranger": ("sam", {}),
    "left": ("leo", {}),
    "no such group": ("mia", {"conv": "g:none"}),
    "other's direct": ("mia", {"conv": DIRECT, "kind": "direct"}),
    "dissolved": ("mia", {}),
    "for a stranger": ("mia", {"kind": "direct", "to": "sam"}),
    "for who has left": ("mia", {"kind": "direct", "to": "leo"}),
    "muted": ("mia", {}),
    "all muted": ("mia", {}),
    "more than there is": ("carol", {"conv": "d:carol:dan", "kind": "direct", "total": OPENING}),
    "cmid of a message": ("alice", {"cmid": "hello"}),
    "cmid of a change": ("alice", {"cmid": "reacted"}),
    "other total": ("alice", {"cmid": "lucky", "total": 1001}),
    "other count": ("alice", {"cmid": "lucky", "count": 4}),
    "other kind again": ("alice", {"cmid": "lucky", "kind": "equal", "total": 999}),
    "other greeting": ("alice", {"cmid": "lucky", "greeting": "x"}),
    "other member": ("alice", {"cmid": "exclusive", "kind": "direct", "to": "bob"}),
    "cmid given up": ("alice", {"cmid": "made"}),
}
BEFORE: dict[str, Step] = {
    "all muted, owner": Scene.all_muted,
    "all muted": Scene.all_muted,
    "muted": Scene.muted,
    "dissolved": Scene.dissolved,
    "over, again": Scene.ended,
    "cmid given up": Scene.given_up,
}
STORED_FIRST = {"cmid of a message", "cmid of a change"}
"""That is known only when the packet is stored and paid for; it is given up then."""
REPEATS = {"the same again", "claimed, again", "over, again"}


@pytest.mark.parametrize("situation", rows_in(CREATES))
def test_a_packet_is_sent_by_those_who_may_and_can_or_nothing_of_it_is_left(scene: Scene, situation: str) -> None:
    (code,) = rows_in(CREATES)[situation]
    if (prepare := BEFORE.get(situation)) is not None:
        prepare(scene)
        scene.settle()
    who, more = ASKED[situation]
    data = packet(**more)
    asked = Asked(scene.people[who], "redpacket.create", data)
    scene.house.queued.clear()  # five minutes later
    before, had = scene.everything(), scene.balances()

    if code != "ok" and situation not in STORED_FIRST:
        refused_without_a_trace(scene, asked, code, before)
    elif code != "ok":
        assert code_of(asked.device.ask(asked.op, data)) == code
        assert not any(device.pushes for device in scene.house.devices.values())
        scene.house.now += MINUTES
        scene.house.packets.sweep()
        scene.settle()
        assert scene.balances() == had | {f"user:{who}": had.get(f"user:{who}", OPENING)}
        after = scene.everything()
        assert {name for name in before if before[name] != after[name]} <= {"RedPacketTable", "WalletTable"}
        again = "insufficient_funds" if situation == "more than there is" else "conflict"
        assert asked.device.error(asked.op, data)["code"] == again, "its cmid is used up, if anything was stored"
    else:
        told = asked.device.ok(asked.op, data)
        assert told["duplicate"] == (situation in REPEATS)
        paid = 0 if situation in REPEATS else data["total"]
        assert scene.balances()[f"user:{who}"] == had.get(f"user:{who}", OPENING) - paid
        if situation in REPEATS:
            assert told["packet"] == scene.packets[data["cmid"]]
            assert told["seq"] == scene.seqs[data["cmid"]]
        scene.settle()


# ---- its message -----------------------------------------------------------------------------------------------------


def about(scene: Scene, situation: str) -> Asked:
    """What is done with the message of a packet that has been claimed once."""
    alice, mia = scene.people["alice"], scene.people["mia"]
    seq, there = scene.seqs["claimed"], {"conv": GROUP}
    text: Data = {"kind": "text", "body": {"text": "Hello."}}
    both = [3, seq]
    return {
        "send its cmid": Asked(alice, "message.send", there | text | {"cmid": "claimed"}),
        "send its kind": Asked(
            alice,
            "message.send",
            there | {"cmid": "x", "kind": "redpacket", "body": {"packet": scene.packets["claimed"], "kind": "lucky"}},
        ),
        "edit": Asked(alice, "message.edit", there | {"seq": seq, "body": {"text": "x"}}),
        "forward": Asked(mia, "message.forward", {"source": GROUP, "seqs": [seq], "to": "sam", "cmid": "f"}),
        "forward, with others": Asked(
            mia, "message.forward", {"source": GROUP, "seqs": both, "to": "sam", "cmid": "f"}
        ),
        "react": Asked(mia, "message.react", there | {"seq": seq, "emoji": "🎉", "on": True}),
        "pin": Asked(alice, "message.pin", there | {"seq": seq, "on": True}),
        "answer": Asked(mia, "message.send", there | text | {"cmid": "x", "reply_to": seq}),
        "read": Asked(mia, "sync.read", there | {"seq": seq}),
        "recall": Asked(alice, "message.recall", there | {"seq": seq}),
        "recall, other": Asked(mia, "message.recall", there | {"seq": seq}),
        "delete": Asked(alice, "message.delete", there | {"seqs": [seq]}),
    }[situation]


@pytest.mark.parametrize("situation", rows_in(MESSAGES))
def test_whatever_is_done_with_its_message_the_money_does_not_mind(scene: Scene, situation: str) -> None:
    (code,) = rows_in(MESSAGES)[situation]
    scene.house.queued.clear()  # five minutes later
    before, had = scene.everything(), scene.balances()
    asked = about(scene, situation)

    if code != "ok":
        refused_without_a_trace(scene, asked, code, before)
        return
    told = asked.device.ok(asked.op, asked.data)
    after = scene.everything()
    assert all(after[table] == before[table] for table in ("RedPacketTable", "WalletTable"))
    if situation == "send its cmid":
        assert (told["duplicate"], told["seq"]) == (True, scene.seqs["claimed"])
        assert after["ConversationTable"] == before["ConversationTable"]
    amount = scene.people["bob"].ok("redpacket.claim", {"packet": scene.packets["claimed"]})["amount"]
    scene.settle()
    assert scene.balances()["user:bob"] == had["user:bob"] + amount
    scene.ended()
    left = 1000 - sum(claim["amount"] for claim in claims_of(scene.people["mia"], scene.packets["claimed"]))
    assert left > 0
    assert scene.people["alice"].ok("redpacket.detail", {"packet": scene.packets["claimed"]})["refunded"] == left


def claims_of(device: Device, name: str) -> list[Data]:
    return list(device.ok("redpacket.detail", {"packet": name})["claims"])


# ---- the tables themselves -------------------------------------------------------------------------------------------


def test_the_tables_have_every_situation_and_every_code(scene: Scene) -> None:
    assert set(rows_in(CLAIMS)) == set(WHO)
    assert set(rows_in(CREATES)) == set(ASKED)
    told = {code for table in (CLAIMS, CREATES, MESSAGES) for row in rows_in(table).values() for code in row}
    assert told == set(CODES.values())
    operations = {"create", "claim", "detail", "mine", "wallet", "ledger"}
    assert set(scene.house.apps["redpacket"].router.operations) == operations


@pytest.mark.parametrize(
    ("op", "data", "named"),
    [
        ("create", packet(total="1"), "data.total"),
        ("create", packet(greeting="x" * 121), "data.greeting"),
        ("create", packet(kind="x"), "data.kind"),
        ("create", packet(to="a b"), "data.to"),
        ("create", packet(count=None), "data.count"),
        ("create", packet(total=2_000_001), "data.total"),
        ("claim", {}, "data.packet"),
        ("detail", {"packet": NOBODYS, "limit": 101}, "data.limit"),
        ("detail", {"packet": NOBODYS, "cursor": "x"}, "data.cursor"),
        ("mine", {"which": "all"}, "data.which"),
        ("mine", {"which": "sent", "limit": 51}, "data.limit"),
        ("ledger", {"cursor": ""}, "data.cursor"),
    ],
)
def test_whatever_is_of_the_wrong_form_is_named(scene: Scene, op: str, data: Data, named: str) -> None:
    error = scene.people["alice"].error(f"redpacket.{op}", data)

    assert error["code"] == "bad_request"
    assert error["message"].startswith(f"{named}: ")
