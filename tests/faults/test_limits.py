"""Every limit: at it accepted, one more refused with the code that docs/protocol.md names, and without a trace.

The rows are those of its table "Limits of this server"; under `elsewhere` stand those that other parts of it name.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from im.wire.frames import MAX_MESSAGE_BYTES
from tests.faults.fuzz_stage import PACKETS, Stage, built_stage, copied, dumped, filled, image
from tests.integration.house import Device, sample, template

Data = dict[str, Any]

DIRECT: Data = {"conv": "d:alice:bob"}
CLUB: Data = {"conv": "g:club"}
OWL = "🦉"
"""Four bytes, one character."""
MEMBERS = 1001
"""One more than sync.receipts serves."""


@pytest.fixture(scope="module")
def built() -> Iterator[Stage]:
    """The limits as deployed, that of members apart."""
    with built_stage(LARGE_GROUP_ABOVE="200", MAX_GROUP_MEMBERS=str(MEMBERS), NEW_WALLET_AMOUNT="5000000") as stage:
        yield stage


@pytest.fixture
def stage(built: Stage) -> Stage:
    """The world as it was built."""
    built.begin()
    return built


@dataclass
class Case:
    """A request at a limit, and one beyond it."""

    at: str
    over: str
    code: str
    device: str = "alice"
    unread: bool = False
    """Whether what is beyond it is not even read for its id."""


Make = Callable[[Stage], Case]


def frame(op: str, data: Data, **more: Data) -> str:
    """The text of a request."""
    route, _, name = op.partition(".")
    return dumped({"route": route, "op": name, "id": "r", "data": data | more})


def pair(op: str, data: Data, name: str, values: tuple[Any, Any], code: str, device: str = "alice") -> Case:
    """One field at its limit and beyond it."""
    at, over = (frame(op, data | {name: value}) for value in values)
    return Case(at, over, code, device)


def field(
    op: str, data: Data, name: str, values: tuple[Any, Any], code: str = "bad_request"
) -> Callable[[Stage], Case]:
    """A case that needs nothing but the world."""
    return lambda _: pair(op, data, name, values, code)


def sized(make: Callable[[str], str], size: int) -> str:
    """What `make` makes of some text of many bytes a character, so that it has `size` bytes."""
    room = size - len(make("").encode())
    return make(OWL * (room // 4) + "x" * (room % 4))


def both(make: Callable[[str], str], limit: int, code: str, **more: Any) -> Case:
    """What `make` makes, of `limit` bytes and one more."""
    return Case(sized(make, limit), sized(make, limit + 1), code, **more)


SEND: Data = DIRECT | {"cmid": "new", "kind": "text", "body": {"text": "x"}}


def text(op: str, data: Data, size: int) -> str:
    """A text of so many bytes."""
    return frame(op, data | {"body": {"text": sized(lambda body: body, size)}})


def custom(size: int) -> str:
    """A message whose body has so many bytes as JSON."""
    body = sized(lambda payload: dumped({"type": "x", "payload": payload}), size)
    return frame("message.send", SEND | {"kind": "custom", "body": json.loads(body)})


def nested(levels: int) -> str:
    """A frame of so many levels."""
    inner: Any = 0
    for _ in range(levels - 2):
        inner = [inner]
    return frame("connect.ping", {"x": inner})


def say(stage: Stage, count: int, conv: str = "d:alice:bob") -> list[int]:
    """The seqs of so many new messages."""
    return [stage.devices["alice"].say(f"{i}", f"said {i}", conv=conv)["seq"] for i in range(count)]


def merged(stage: Stage, size: int) -> Callable[[int], str]:
    """A forward of two new messages whose body has `size` bytes, or as many more as are asked for."""
    alice = stage.devices["alice"]

    def make(more: int) -> str:
        empty = {"from": "alice", "ts": stage.house.now, "kind": "text", "body": {"text": ""}}
        room = size + more - len(dumped({"title": "", "messages": [empty, empty]}).encode())
        texts = OWL * 3000, OWL * ((room - 12000) // 4) + "x" * (room % 4)
        seqs = [alice.say(said, f"{more} {i}", conv="d:alice:bob")["seq"] for i, said in enumerate(texts)]
        return frame("message.forward", {"to": "bob", "cmid": f"{more}", "source": "d:alice:bob", "seqs": seqs})

    return make


def edits(stage: Stage) -> Case:
    """19 edits were made, of a message that nobody has changed."""
    for i in range(19):
        stage.devices["alice"].ok("message.edit", DIRECT | {"seq": 5, "body": {"text": f"edit {i}"}})
    at, over = (frame("message.edit", DIRECT | {"seq": 5, "body": {"text": body}}) for body in "ab")
    return Case(at, over, "too_large")


def emoji(stage: Stage) -> Case:
    """19 emoji are there, of a message that had none."""
    for i in range(19):
        stage.devices["bob"].ok("message.react", DIRECT | {"seq": 5, "emoji": chr(0x1F600 + i), "on": True})
    at, over = (frame("message.react", DIRECT | {"seq": 5, "emoji": one, "on": True}) for one in "ab")
    return Case(at, over, "too_large")


def pins(stage: Stage) -> Case:
    """49 messages are pinned: one from the start."""
    *more, last, beyond = say(stage, 50)
    for seq in more:
        stage.devices["alice"].ok("message.pin", DIRECT | {"seq": seq, "on": True})
    return Case(*(frame("message.pin", DIRECT | {"seq": seq, "on": True}) for seq in (last, beyond)), "too_large")


def ranges(stage: Stage) -> Case:
    """Every other message of a thousand is deleted."""
    seqs = say(stage, 1003)[::2]
    for at in range(0, 499, 100):
        stage.devices["alice"].ok("message.delete", DIRECT | {"seqs": seqs[at : min(at + 100, 499)]})
    return Case(*(frame("message.delete", DIRECT | {"seqs": [seq]}) for seq in seqs[499:501]), "too_large")


def deleted_at_once(stage: Stage) -> Case:
    """More messages than one request may name."""
    seqs = say(stage, 101)
    return pair("message.delete", DIRECT, "seqs", (seqs[:100], seqs), "bad_request")


def forwarded_at_once(stage: Stage) -> Case:
    """More messages than one request may name."""
    seqs = say(stage, 31)
    data = {"to": "carol", "cmid": "new", "source": "d:alice:bob"}
    return pair("message.forward", data, "seqs", (seqs[:30], seqs), "bad_request")


def crowd(stage: Stage, members: int) -> Device:
    """Alice's group `crowd` of so many members, 200 at a time."""
    alice = stage.devices["alice"]
    names = [f"u{i:04d}" for i in range(members - 1)]
    alice.ok("group.create", {"gid": "crowd", "name": "Crowd", "members": names[:200]})
    for at in range(200, len(names), 200):
        alice.ok("group.invite", {"conv": "g:crowd", "users": names[at : at + 200]})
    assert alice.ok("group.info", {"conv": "g:crowd"})["members"] == members
    return alice


def members(stage: Stage) -> Case:
    """One is missing."""
    crowd(stage, MEMBERS - 1)
    at, over = (frame("group.invite", {"conv": "g:crowd", "users": [user]}) for user in ("dave", "erin"))
    return Case(at, over, "too_large")


def readers(stage: Stage) -> Case:
    """A group of a thousand, and one of one more: the same one later."""
    alice = crowd(stage, 1000)
    seq = alice.say("x", "x", conv="g:crowd")["seq"]
    asked = frame("sync.receipts", {"conv": "g:crowd", "seq": seq})
    assert reply_to(stage, alice, asked)["ok"]
    alice.ok("group.invite", {"conv": "g:crowd", "users": ["dave"]})
    return Case(frame("sync.receipts", DIRECT | {"seq": 1}), asked, "too_large")


def groups(stage: Stage) -> Case:
    """Frank is in 499 groups."""
    for i in range(500):
        owner, members = stage.devices[("bob", "carol")[i % 2]], ["frank"] if i else []
        owner.ok("group.create", {"gid": f"f{i}", "name": "F", "members": members})
    at, over = (frame("group.create", {"gid": gid, "name": "F", "members": ["frank"]}) for gid in ("last", "beyond"))
    return Case(at, over, "too_large")


def admins(stage: Stage) -> Case:
    """19 admins, and two to come."""
    names = [f"u{i:02d}" for i in range(21)]
    alice = stage.devices["alice"]
    alice.ok("group.create", {"gid": "many", "name": "Many", "members": names})
    for name in names[:19]:
        alice.ok("group.role", {"conv": "g:many", "user": name, "role": "admin"})
    roles = (frame("group.role", {"conv": "g:many", "user": name, "role": "admin"}) for name in names[19:])
    return Case(*roles, "too_large")


def users(count: int) -> list[str]:
    """So many users that nobody knows."""
    return [f"n{i:03d}" for i in range(count)]


def removed(stage: Stage) -> Case:
    """There is somebody to remove."""
    crowd(stage, 202)
    names = [f"u{i:04d}" for i in range(201)]
    return pair("group.remove", {"conv": "g:crowd"}, "users", (names[:200], names), "too_large")


def busy(stage: Stage) -> Case:
    """Others are always faster: at first three times, then for ever."""
    held = iter(range(3))
    put = stage.tables.put_item

    def faster(**request: Any) -> Data:
        item = request["Item"]
        held_up = item["sk"]["S"].startswith("MSG#") and (
            item["cmid"] == {"S": "unlucky"} or (item["cmid"] == {"S": "patient"} and next(held, None) is not None)
        )
        if held_up:
            put(**request | {"Item": item | {"cmid": {"S": item["sk"]["S"]}}})
        return put(**request)

    stage.tables.put_item = faster  # type: ignore[method-assign]
    at, over = (frame("message.send", SEND | {"cmid": cmid}) for cmid in ("patient", "unlucky"))
    return Case(at, over, "unavailable")


PACKET: Data = CLUB | {"cmid": "new", "kind": "lucky", "total": 600, "count": 3}


def figures(kind: str, *pairs: tuple[int, int]) -> Callable[[Stage], Case]:
    """Red packets of so much money in so many shares; the second is refused."""
    asked = (PACKET | {"kind": kind, "total": total, "count": count} for total, count in pairs)
    at, over = (frame("redpacket.create", data | {"cmid": f"{i}"}) for i, data in enumerate(asked))
    return lambda _: Case(at, over, "bad_request")


PAGE = {"limit": (100, 101)}
PROFILE: Data = {"name": "X", "gid": "new"}

Cases = Mapping[str, Make]

PACKET_LIMITS: Cases = {
    "cmid": field("redpacket.create", PACKET, "cmid", (OWL * 64, OWL * 65)),
    "claims a page": field("redpacket.detail", {"packet": PACKETS["lucky"]}, "limit", PAGE["limit"]),
    "last page": field("redpacket.detail", {"packet": PACKETS["lucky"]}, "cursor", ("9999", "10000")),
    "packets a page": field("redpacket.mine", {"which": "sent"}, "limit", (50, 51)),
    "postings a page": field("redpacket.ledger", {}, "limit", PAGE["limit"]),
    **{
        f"cursor of {op}": field(op, data, "cursor", (OWL * 128, OWL * 129))
        for op, data in {"redpacket.mine": {"which": "received"}, "redpacket.ledger": {}}.items()
    },
}

LIMITS: Mapping[str, Cases] = {
    "frame": {
        "of a request": lambda _: both(lambda pad: frame("connect.ping", {"x": pad}), 32 * 1024, "too_large"),
        "that API Gateway takes": lambda _: Case(
            frame("connect.ping", {}),
            sized(lambda pad: frame("connect.ping", {"x": pad}), MAX_MESSAGE_BYTES + 1),
            "too_large",
            unread=True,
        ),
    },
    "nesting of a frame": {"of lists": lambda _: Case(nested(32), nested(33), "bad_request")},
    "`kind` of message.send": {
        "text": field("message.send", SEND, "kind", ("text", "image")),
        "custom": field("message.send", SEND | {"body": {"type": "x"}}, "kind", ("custom", "redpacket")),
    },
    "text": {
        op: lambda _, op=op, data=data: Case(*(text(op, data, 16 * 1024 + more) for more in (0, 1)), "too_large")  # type: ignore[misc]
        for op, data in {"message.send": SEND, "message.edit": DIRECT | {"seq": 5}}.items()
    },
    "body as JSON": {"of a custom": lambda _: Case(custom(24 * 1024), custom(24 * 1024 + 1), "too_large")},
    "mentions": {
        "users": field("message.send", SEND, "mentions", (users(50), users(51))),
        "everybody": lambda _: Case(
            frame("message.send", SEND | CLUB | {"mentions": ["carol"]}),
            frame("message.send", SEND | CLUB | {"cmid": "all", "mentions": ["@all"]}),
            "forbidden",
            "bob",
        ),
    },
    "acks in one sync.ack": {
        "marks": field("sync.ack", {}, "acks", ([DIRECT | {"seq": 1}] * 50, [DIRECT | {"seq": 1}] * 51)),
    },
    "edits of one message": {"edits": edits},
    "emoji of one message, one emoji": {
        "kinds": emoji,
        "bytes": field("message.react", DIRECT | {"seq": 5, "on": True}, "emoji", (OWL * 12, OWL * 12 + "x")),
    },
    "title of a forward": {
        "characters": field(
            "message.forward",
            {"to": "carol", "cmid": "new", "source": "d:alice:bob", "seqs": [5, 6]},
            "title",
            (OWL * 100, OWL * 101),
        ),
    },
    "pinned messages of a conversation": {"pins": pins},
    "messages in one forward": {
        "messages": forwarded_at_once,
        "body": lambda stage: Case(*map(merged(stage, 24 * 1024), (0, 1)), "too_large"),
    },
    "seqs in one message.delete; ranges a conversation": {"seqs": deleted_at_once, "ranges": ranges},
    "draft": {"characters": field("sync.settings", DIRECT, "draft", (OWL * 1000, OWL * 1001))},
    "sync.receipts": {"members": readers},
    "rows and entries a page": {
        "rows": field("sync.inbox", {}, "limit", PAGE["limit"]),
        "entries": field("sync.entries", DIRECT | {"after": 0}, "limit", PAGE["limit"]),
    },
    "members of a group": {"members": members},
    "groups of a user": {"groups": groups},
    "admins of a group": {"admins": admins},
    "users in one create, invite, remove": {
        "create": field("group.create", {"name": "X"}, "members", (users(200), users(201)), "too_large"),
        "invite": field("group.invite", CLUB, "users", (users(200), users(201)), "too_large"),
        "remove": removed,
    },
    "name of a group": {
        "of a new one": field("group.create", PROFILE, "name", (OWL * 64, OWL * 65), "too_large"),
        "of an old one": field("group.update", CLUB, "name", (OWL * 64, OWL * 65), "too_large"),
    },
    "notice, avatar, note to a request": {
        "notice": field("group.update", CLUB, "notice", (OWL * 1000, OWL * 1001)),
        "avatar": field("group.create", PROFILE, "avatar", (OWL * 512, OWL * 513)),
        "note": lambda _: pair("group.join", CLUB, "note", (OWL * 200, OWL * 201), "bad_request", "erin"),
    },
    "custom fields of a group": {
        op: lambda _, op=op, data=data: pair(  # type: ignore[misc]
            op,
            data,
            "custom",
            tuple(json.loads(sized(lambda pad: dumped({"x": pad}), 2048 + more)) for more in (0, 1)),
            "bad_request",
        )
        for op, data in {"group.create": PROFILE, "group.update": CLUB}.items()
    },
    "shares of a red packet": {
        "shares": figures("lucky", (600, 500), (600, 501)),
        "least": figures("lucky", (3, 3), (3, 4)),
        "equal": figures("equal", (6, 3), (7, 3)),
    },
    "money in a red packet": {"money": figures("equal", (2_000_000, 1), (2_000_001, 1))},
    "greeting of a red packet": {"greeting": field("redpacket.create", PACKET, "greeting", (OWL * 120, OWL * 121))},
    "one conversation": {"writers": busy},
    "elsewhere": {
        **{f"{name} of red packets": make for name, make in PACKET_LIMITS.items()},
        "cmid": field("message.send", SEND, "cmid", (OWL * 64, OWL * 65)),
        "cmid of a change": field("message.recall", CLUB | {"seq": 2}, "cmid", (OWL * 64, OWL * 65)),
        "user id": field(
            "message.send",
            {name: value for name, value in SEND.items() if name != "conv"},
            "to",
            ("A_b-9" + "x" * 59, "A_b-9" + "x" * 60),
        ),
        "group id": field("group.create", {"name": "X"}, "gid", ("x" * 64, "x" * 65)),
        "conversation": field("sync.deleted", {}, "conv", (f"d:{'-' * 64}:alice", f"d:{'-' * 65}:alice")),
        "id of a frame": lambda _: Case(
            *(dumped({"route": "connect", "op": "ping", "id": OWL * n, "data": {}}) for n in (64, 65)),
            "bad_request",
            unread=True,
        ),
        "users whose presence is asked for": field("sync.presence", {}, "users", (users(100), users(101))),
        "type of a custom": field(
            "message.send", SEND | {"kind": "custom"}, "body", ({"type": OWL * 64}, {"type": OWL * 65})
        ),
        "seq": field("message.send", SEND, "reply_to", (5, 2**53)),
        "time": field("group.mute", CLUB | {"user": "bob"}, "until", (2**53 - 1, 2**53)),
        **{
            f"page of {op}": field(f"{op}", data, "limit", PAGE["limit"])
            for op, data in {
                "sync.receipts": DIRECT | {"seq": 1, "list": "read"},
                "sync.reactions": DIRECT | {"seq": 1},
                "group.mine": {},
                "group.members": CLUB,
                "group.requests": CLUB,
            }.items()
        },
    },
}
OTHERWISE = {"URL of a connection, token included", "stays of one user in one group"}
"""Rows that have tests of their own below: no request is at their limit."""


def documented() -> dict[str, str]:
    """The rows of the table, each with its limit."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()
    table = page.split("## Limits of this server")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: limit for name, limit, _ in rows}


def test_every_documented_limit_has_its_cases() -> None:
    assert set(documented()) == set(LIMITS) - {"elsewhere"} | OTHERWISE


def test_the_documented_parameters_are_the_defaults() -> None:
    parameters = template()["Parameters"]
    named = {name: re.search(r"`(\w+)` \(([\d,]+)\)", limit) for name, limit in documented().items()}
    told = {found[1]: int(found[2].replace(",", "")) for found in named.values() if found is not None}

    assert len(told) == 7
    assert told == {name: parameters[name]["Default"] for name in told}


def reply_to(stage: Stage, device: Device, asked: str) -> Data:
    """The reply to a frame. Nothing may fail."""
    reply = json.loads(stage.send(device, asked))
    assert stage.errors.error is None, stage.errors.error
    return dict(reply)


@pytest.mark.parametrize(("row", "name"), [(row, name) for row, cases in LIMITS.items() for name in cases])
def test_what_is_at_a_limit_is_accepted_and_what_is_beyond_it_refused(stage: Stage, row: str, name: str) -> None:
    case = LIMITS[row][name](stage)
    device = stage.devices[case.device]
    try:
        assert reply_to(stage, device, case.at)["ok"]
        before = copied(filled(stage.tables.tables))

        refused = reply_to(stage, device, case.over)
    finally:
        vars(stage.tables).pop("put_item", None)

    assert refused["id"] == (None if case.unread else "r")
    assert refused["error"]["code"] == case.code
    assert refused["error"]["retryable"] is (case.code == "unavailable")
    if case.code != "unavailable":
        assert filled(stage.tables.tables) == before
    stage.settle()


def test_everything_in_one_page_fits_into_a_frame(stage: Stage) -> None:
    alice = stage.devices["alice"]
    for i in range(4):
        alice.say(OWL * 4000, f"large {i}", conv="d:alice:bob")
    for i in range(100):
        alice.say(f"{i}", f"small {i}", conv="d:alice:bob")
    got, more = 0, True
    while more:
        answer = stage.send(alice, frame("sync.entries", DIRECT | {"after": got, "limit": 100}))
        page = json.loads(answer)["data"]
        assert len(answer.encode()) <= 32 * 1024
        assert 1 <= len(page["entries"]) <= 100
        got, more = page["entries"][-1]["seq"], page["more"]
    assert got == 12 + 104


@pytest.mark.parametrize(("stays", "open_"), [(20, True), (21, False)])
def test_a_stay_is_remembered_as_long_as_there_are_no_twenty_later_ones(stage: Stage, stays: int, open_: bool) -> None:  # noqa: FBT001
    erin, bob = stage.devices["erin"], stage.devices["bob"]
    seqs = []
    for i in range(stays):
        erin.ok("group.join", {"conv": "g:open"})
        seqs.append(bob.say(f"{i}", f"stay {i}", conv="g:open")["seq"])
        erin.ok("group.leave", {"conv": "g:open"})

    page: Data = {"more": True, "entries": [{"seq": 0}]}
    seen: set[int] = set()
    while page["more"]:
        page = erin.ok("sync.entries", {"conv": "g:open", "after": page["entries"][-1]["seq"], "limit": 100})
        seen |= {entry["seq"] for entry in page["entries"]}

    assert (seqs[0] in seen) is open_
    assert set(seqs[1:]) <= seen


def token_of(size: int) -> str:
    """A good token of so many characters; its header and claims make up what base 64 rounds."""
    make = partial(jwt.encode, key="s" * 64, algorithm="HS256")
    claims = {"sub": "x" * 64, "iat": 1, "exp": 2**40}
    room = (size - len(make(claims | {"x": ""}))) * 3 // 4
    pads = itertools.product(range(40), range(8))
    made = (make(claims | {"x": "x" * (room - less)}, headers={"y": "y" * more}) for less, more in pads)
    return next(token for token in made if len(token) == size)


@pytest.mark.parametrize(("size", "effect"), [(4096, "Allow"), (8 * 1024, "Allow"), (8 * 1024 + 1, "Deny")])
def test_a_token_may_be_longer_than_a_url(stage: Stage, size: int, effect: str) -> None:
    event = sample("authorizer")
    event["queryStringParameters"]["token"] = token_of(size)

    answer = stage.house.call("authorizer", event)

    assert answer["policyDocument"]["Statement"][0]["Effect"] == effect


@pytest.mark.parametrize(("device", "effect"), [("a.b-_" + "x" * 59, "Allow"), ("a.b-_" + "x" * 60, "Deny")])
def test_a_device_has_64_characters(stage: Stage, device: str, effect: str) -> None:
    event = sample("authorizer")
    token = jwt.encode({"sub": "alice", "iat": 1, "exp": 2**40}, "s" * 64, "HS256")
    event["queryStringParameters"] |= {"token": token, "device": device}

    answer = stage.house.call("authorizer", event)

    assert answer["policyDocument"]["Statement"][0]["Effect"] == effect


# ---- what AWS takes --------------------------------------------------------------------------------------------------


def test_the_largest_batch_of_the_stream_is_queued_in_requests_that_sqs_takes(stage: Stage) -> None:
    """100 records with the largest bodies: aws_rules.py refuses more than 10 in a request, or than 256 KiB."""
    item = stage.tables.tables["ConversationTable"]["d:alice:bob"]["MSG#000000000002"]
    body = {"S": dumped({"text": "x" * 16_000})}
    records = [image(item | {"seq": {"N": str(i + 1)}, "body": body}) for i in range(100)]

    assert stage.house.call("audit", {"Records": records}) == {}

    assert len(stage.queues.take(stage.house.queue_url)) == 100
    assert stage.errors.error is None
