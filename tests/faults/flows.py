"""Everything that the functions do, each with what it needs, and with who does it again when nobody knows what came of
it: a client sends the same frame on another connection, SQS and the stream bring the same records again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jwt

from im.domain import group_rules
from im.flows import broadcast
from tests.faults.flow import Act, Again, Data, Flow, Prepare, batch, behind, done_before, frame, queued, text
from tests.faults.packet_flows import PACKETS
from tests.faults.world import DIRECT, LARGE, LARGE_MEMBERS, SMALL, Said, World
from tests.integration.house import Crash, sample

LATER: Final = 10**13
TWO_AT_ONCE: Final = ((group_rules, "MAX_PER_CHANGE", 2),)
SMALL_PARTS: Final = ((broadcast, "PART_MEMBERS", 4),)
"""The large group of six is pushed to in two parts."""


# ---- connections -----------------------------------------------------------------------------------------------------


def _knock(name: str) -> Act:
    def act(world: World) -> Said:
        client = world.clients[name]

        def knock() -> Data:
            opened = world.house.knock(client.user, client.name, client.platform)
            if opened.closed:
                raise ConnectionRefusedError
            client.link = opened
            return {}

        return world.call(knock)

    return act


def _knock_again(name: str) -> Again:
    """A client whose connection was refused tries again."""
    return lambda world, first: first if first.ok else _knock(name)(world)


def _hang_up(name: str) -> Act:
    def act(world: World) -> Said:
        link = world.link(name)

        def end() -> Data:
            link.hang_up()
            return {}

        return world.call(end)

    return act


def _lose(name: str) -> Prepare:
    """A client without a connection, of whom nobody has said so."""

    def prepare(world: World) -> None:
        world.link(name).closed = True

    return prepare


def _token(_: World) -> Data:
    event = sample("authorizer")
    event["queryStringParameters"]["token"] = jwt.encode({"sub": "alice", "iat": 1, "exp": 2**40}, "s" * 64, "HS256")
    return event


def _authorize(world: World) -> Said:
    return world.call(lambda: world.house.call("authorizer", _token(world)))


CONNECTIONS: Final = (
    Flow("authorize", "authorizer", _authorize, lambda world, _: _authorize(world), "authorizer"),
    Flow("connect", "connect", _knock("dave"), _knock_again("dave"), "connect", lambda world: _offline(world, "dave")),
    Flow("connect anew", "connect", _knock("carol"), _knock_again("carol"), "connect"),
    Flow("connect after a loss", "connect", _knock("erin"), _knock_again("erin"), "connect", _lose("erin")),
    Flow("disconnect", "connect", _hang_up("alice"), lambda world, _: _hang_up("alice")(world), "connect"),
    Flow("disconnect the last", "connect", _hang_up("erin"), lambda world, _: _hang_up("erin")(world), "connect"),
    frame("ping", "alice", "connect.ping", {}, tells=lambda _: None),
    frame(
        "ping without a slot",
        "carol",
        "connect.ping",
        {},
        again_by="carol",
        prepare=lambda world: _deaf(world, "carol"),
        tells=lambda _: None,
        in_parts=True,
        pending=True,
    ),
    frame("logout", "alice", "connect.logout", {}, again_by="alice", in_parts=True),
    frame("logout everywhere", "bob", "connect.logout", {"devices": "all"}, again_by="bob", in_parts=True),
)


def _offline(world: World, name: str) -> None:
    world.client(name)
    world.link(name).hang_up()


def _deaf(world: World, name: str) -> None:
    """A connection whose slot another one has taken that never came to be."""
    link = world.link(name)
    _knock(name)(world)
    world.link(name).closed = True
    link.closed = False
    world.clients[name].link = link


# ---- messages --------------------------------------------------------------------------------------------------------


def _place(data: Data) -> Data:
    return {name: data[name] for name in ("conv", "seq", "n")}


def _message(name: str, who: str, op: str, data: Data, **more: Any) -> Flow:
    return frame(name, who, f"message.{op}", data, tells=_place, **more)


EDIT: Final = {"conv": DIRECT, "seq": 3, "body": {"text": "How are you doing?"}}
SAID_MUCH: Final = (
    ("message.edit", "alice", {"conv": SMALL, "seq": 3, "body": {"text": "First."}}),
    ("message.edit", "alice", {"conv": SMALL, "seq": 3, "body": {"text": "Second."}}),
    ("message.pin", "alice", {"conv": SMALL, "seq": 3, "on": True}),
)


def _said_much(world: World) -> None:
    for op, who, data in SAID_MUCH:
        world.link(who).ok(op, data)


MESSAGES: Final = (
    _message("send direct", "alice", "send", text("m", to="bob")),
    behind(_message("send", "alice", "send", text("m", conv=SMALL))),
    behind(_message("pin", "alice", "pin", {"conv": DIRECT, "seq": 3, "on": True})),
    _message("send to a stranger", "frank", "send", text("m", to="gus")),
    _message("send to a group", "carol", "send", text("m", conv=SMALL)),
    _message("send to a large group", "erin", "send", text("m", conv=LARGE)),
    _message("answer", "bob", "send", text("m", conv=DIRECT, reply_to=3)),
    _message("mention some", "alice", "send", text("m", conv=SMALL, mentions=["bob", "carol"])),
    _message("mention all", "alice", "send", text("m", conv=LARGE, mentions=["@all"])),
    _message("forward one", "bob", "forward", {"cmid": "f", "conv": SMALL, "source": DIRECT, "seqs": [3]}),
    _message("forward several", "carol", "forward", {"cmid": "f", "to": "frank", "source": SMALL, "seqs": [3, 4]}),
    _message("edit", "alice", "edit", EDIT),
    _message("edit with a cmid", "alice", "edit", EDIT | {"cmid": "e"}),
    _message("edit in a group", "carol", "edit", {"conv": SMALL, "seq": 4, "body": {"text": "Three."}}),
    _message("recall", "alice", "recall", {"conv": SMALL, "seq": 3}, prepare=_said_much),
    _message("recall with a cmid", "bob", "recall", {"conv": SMALL, "seq": 4, "cmid": "r"}),
    _message("react", "alice", "react", {"conv": DIRECT, "seq": 2, "emoji": "👍", "on": True}),
    _message("react with a cmid", "carol", "react", {"conv": SMALL, "seq": 3, "emoji": "👍", "on": True, "cmid": "k"}),
    _message("react off", "alice", "react", {"conv": DIRECT, "seq": 2, "emoji": "🎉", "on": False}),
    _message("react in a large group", "erin", "react", {"conv": LARGE, "seq": 2, "emoji": "👍", "on": True}),
    _message("pin", "bob", "pin", {"conv": SMALL, "seq": 3, "on": True}),
    _message("unpin", "bob", "pin", {"conv": DIRECT, "seq": 1, "on": False}),
    _message("change nothing", "alice", "pin", {"conv": DIRECT, "seq": 1, "on": True, "cmid": "p"}),
    frame("delete", "bob", "message.delete", {"conv": DIRECT, "seqs": [1, 3]}),
    frame("delete more", "carol", "message.delete", {"conv": SMALL, "up_to": 4},
           prepare=done_before("message.delete", "carol", {"conv": SMALL, "seqs": [3]})),
    frame("typing", "alice", "message.typing", {"conv": DIRECT, "on": True}),
    frame("typing in a group", "carol", "message.typing", {"conv": SMALL, "on": True}),
)  # fmt: skip


# ---- sync ------------------------------------------------------------------------------------------------------------


def _sync(name: str, who: str, op: str, data: Data, **more: Any) -> Flow:
    return frame(name, who, f"sync.{op}", data, **more)


def _row(row: Data) -> Data:
    """A row, however often it was set."""
    return {name: value for name, value in row.items() if name != "rev"}


def _unread(world: World) -> None:
    """Frank hears from two, and in no group."""
    world.link("alice").ok("message.send", text("u1", to="frank"))
    world.link("bob").ok("message.send", text("u2", to="frank"))


SYNC: Final = (
    _sync("inbox", "alice", "inbox", {}),
    _sync("entries", "alice", "entries", {"conv": SMALL, "after": 0, "limit": 100}),
    _sync("entries backwards", "bob", "entries", {"conv": DIRECT, "before": 6, "limit": 3}),
    _sync("read", "alice", "read", {"conv": DIRECT, "seq": 5}),
    _sync("read in a large group", "carol", "read", {"conv": LARGE, "seq": 3}),
    _sync("read all", "frank", "read_all", {}, prepare=_unread, in_parts=True),
    _sync("ack", "bob", "ack", {"acks": [{"conv": DIRECT, "seq": 3}]}),
    _sync("ack in a large group", "carol", "ack", {"acks": [{"conv": LARGE, "seq": 3}]}),
    _sync("ack several", "alice", "ack", {"acks": [{"conv": DIRECT, "seq": 5}, {"conv": SMALL, "seq": 4}]},
          in_parts=True),
    _sync("unread", "bob", "unread", {}),
    _sync("receipts", "alice", "receipts", {"conv": DIRECT, "seq": 1}),
    _sync("receipts in a group", "alice", "receipts", {"conv": SMALL, "seq": 3, "list": "unread"}),
    _sync("reactions", "alice", "reactions", {"conv": DIRECT, "seq": 3}),
    _sync("edits", "bob", "edits", {"conv": DIRECT, "seq": 1}),
    _sync("pins", "bob", "pins", {"conv": DIRECT}),
    _sync("deleted", "bob", "deleted", {"conv": DIRECT}),
    _sync("settings", "alice", "settings", {"conv": DIRECT, "muted": True, "draft": "Dear Bob"}, tells=_row),
    _sync("hide", "alice", "settings", {"conv": LARGE, "hidden": True}, tells=_row),
    _sync("privacy", "alice", "privacy", {"receipts": False, "presence": False}, in_parts=True),
    _sync("presence", "alice", "presence", {"users": ["bob", "erin", "frank"]}),
)  # fmt: skip


# ---- groups ----------------------------------------------------------------------------------------------------------


def _group(name: str, who: str, op: str, data: Data, **more: Any) -> Flow:
    return frame(name, who, f"group.{op}", data, **more)


def _set(**settings: Any) -> Prepare:
    return done_before("group.update", "alice", {"conv": SMALL} | settings)


def _asked(world: World) -> None:
    """Frank asks to be let in."""
    _set(join_mode="approval")(world)
    world.link("frank").ok("group.join", {"conv": SMALL, "note": "Please."})


def _alone(world: World) -> None:
    world.link("frank").ok("group.create", {"gid": "own", "name": "Own", "members": []})


def _nothing(_: Data) -> None:
    """Users actually added or removed: those whom the first try came to are no news for the second."""


SMALL_NAME: Final = {"conv": SMALL}
FOUNDED: Final = {"gid": "new", "name": "New", "members": ["bob", "carol"]}
GROUPS: Final = (
    _group("create", "frank", "create", FOUNDED),
    _group("create in parts", "frank", "create", FOUNDED | {"members": ["bob", "carol", "dave", "erin"]},
           settings=TWO_AT_ONCE, in_parts=True),
    _group("create a large one", "frank", "create", FOUNDED | {"members": [*LARGE_MEMBERS[:4], "gus"]}),
    _group("invite", "carol", "invite", SMALL_NAME | {"users": ["erin", "frank"]}, tells=_nothing),
    _group("invite in parts", "carol", "invite", SMALL_NAME | {"users": ["erin", "frank", "gus"]}, tells=_nothing,
           settings=TWO_AT_ONCE, in_parts=True),
    _group("invite into a large one", "erin", "invite", {"conv": LARGE, "users": ["frank"]}, tells=_nothing),
    _group("remove", "bob", "remove", SMALL_NAME | {"users": ["carol"]}, tells=_nothing),
    _group("remove in parts", "alice", "remove", SMALL_NAME | {"users": ["erin", "carol", "bob"]}, tells=_nothing,
           prepare=done_before("group.invite", "alice", SMALL_NAME | {"users": ["erin"]}),
           settings=TWO_AT_ONCE, in_parts=True),
    _group("remove from a large one", "alice", "remove", {"conv": LARGE, "users": ["erin"]}, tells=_nothing),
    _group("join", "frank", "join", SMALL_NAME, prepare=_set(join_mode="open")),
    _group("ask to join", "frank", "join", SMALL_NAME | {"note": "Please."}, prepare=_set(join_mode="approval")),
    _group("let in", "bob", "decide", SMALL_NAME | {"user": "frank", "accept": True}, prepare=_asked),
    _group("do not let in", "bob", "decide", SMALL_NAME | {"user": "frank", "accept": False}, prepare=_asked,
           over=frozenset({"not_found"})),
    _group("leave", "carol", "leave", SMALL_NAME),
    _group("leave a large one", "erin", "leave", {"conv": LARGE}),
    _group("leave as the last", "frank", "leave", {"conv": "g:own"}, prepare=_alone, in_parts=True),
    _group("leave what is dissolved", "carol", "leave", SMALL_NAME,
           prepare=done_before("group.dissolve", "alice", SMALL_NAME)),
    _group("role", "alice", "role", SMALL_NAME | {"user": "carol", "role": "admin"}),
    _group("transfer", "alice", "transfer", SMALL_NAME | {"user": "bob"}),
    _group("mute", "bob", "mute", SMALL_NAME | {"user": "carol", "until": LATER}),
    _group("mute all", "bob", "mute", SMALL_NAME | {"until": LATER}),
    _group("update", "bob", "update", SMALL_NAME | {"name": "Other", "notice": "Read this."}),
    _group("dissolve", "alice", "dissolve", SMALL_NAME),
    _group("dissolve a large one", "alice", "dissolve", {"conv": LARGE}),
    _group("info", "carol", "info", SMALL_NAME),
    _group("mine", "bob", "mine", {}),
    _group("members", "carol", "members", SMALL_NAME),
    _group("requests", "bob", "requests", SMALL_NAME, prepare=_asked),
)  # fmt: skip


# ---- what is queued --------------------------------------------------------------------------------------------------


def _repair(world: World) -> None:
    """Carol's row has failed: her part of the work comes again alone."""
    queued(("alice", "message.send", text("q1", conv=SMALL, mentions=["carol"])))(world)

    def fail(call: Any) -> None:
        if call.user == "carol" and call.sort_key.startswith("CONV#"):
            raise OSError("made by a test")

    with world.house.watched(before=fail):
        world.house.deliver(world.house.take())


def _parts(world: World) -> None:
    queued(("erin", "message.send", text("q1", conv=LARGE)))(world)
    world.house.deliver(world.house.take())


SENDS: Final = {
    conv: queued(
        ("alice", "message.send", text("q1", conv=conv, reply_to=3)),
        (other, "message.send", text("q2", conv=conv, mentions=["bob"])),
    )
    for conv, other in ((DIRECT, "bob"), (SMALL, "carol"), (LARGE, "erin"))
}
QUEUES: Final = (
    batch("fan out direct", SENDS[DIRECT]),
    batch("fan out to a group", SENDS[SMALL]),
    batch("fan out to a large group", SENDS[LARGE]),
    batch("fan out in parts", SENDS[LARGE], settings=SMALL_PARTS),
    batch("fan out several at once", queued(
        ("alice", "message.send", text("q1", conv=DIRECT)), ("carol", "message.send", text("q2", conv=SMALL)))),
    batch("fan out a change", queued(("alice", "message.edit", EDIT))),
    batch("fan out who came", queued(
        ("carol", "group.invite", SMALL_NAME | {"users": ["frank"]}),
        ("frank", "message.send", text("q1", conv=SMALL)))),
    batch("fan out who went", queued(
        ("carol", "message.send", text("q1", conv=SMALL)),
        ("alice", "group.remove", SMALL_NAME | {"users": ["carol"]}))),
    batch("fan out what became large", queued(
        ("carol", "group.invite", SMALL_NAME | {"users": ["erin", "frank", "gus"]}))),
    batch("fan out the end", queued(("alice", "group.dissolve", SMALL_NAME))),
    batch("fan out the end of a large one", queued(("alice", "group.dissolve", {"conv": LARGE}))),
    batch("fan out to one", _repair),
    batch("push a part", _parts, parts=True, settings=SMALL_PARTS),
)  # fmt: skip


def _forgotten(world: World) -> None:
    """Alice's function has died between the log and the queue, Bob's has not: both entries are in the stream."""

    def die(call: Any) -> None:
        if call.service == "sqs":
            raise Crash

    with world.house.watched(before=die):
        world.ask("alice", "message.send", text("f1", conv=SMALL, mentions=["carol"]))
        world.ask("alice", "message.react", {"conv": DIRECT, "seq": 2, "emoji": "👍", "on": True})
    world.link("bob").ok("message.send", text("f2", conv=DIRECT))
    world.notes["images"] = list(world.house.stream)


def _audit(world: World) -> Said:
    def audit() -> Data:
        world.house.stream[:] = world.notes["images"]
        world.house.audit()
        return {}

    return world.call(audit)


def _unacknowledged(world: World) -> None:
    """Entries have been pushed, Bob's connection is half open, and nobody has acknowledged yet."""
    SENDS[SMALL](world)
    world.house.audit()
    world.house.fan_out()
    world.link("bob").pushes.clear()
    (world.notes["check"],) = world.house.checks


def _check(world: World) -> Said:
    due, body = world.notes["check"]
    world.house.now = max(world.house.now, due)
    record = sample("redelivery")["Records"][0] | {"body": body}
    try:
        failed = world.house.call("redelivery", {"Records": [record]})["batchItemFailures"]
    except Crash:
        return Said(None)
    if failed:
        return Said({"ok": False, "error": {"code": "unavailable", "retryable": True}})
    if (due, body) in world.house.checks:
        world.house.checks.remove((due, body))
    return Said({"ok": True, "data": {}})


MACHINERY: Final = (
    Flow("audit", "audit", _audit, lambda world, _: _audit(world), "audit", _forgotten, pending=True, in_parts=True),
    Flow(
        "redeliver",
        "redelivery",
        _check,
        lambda world, _: _check(world),
        "redelivery",
        _unacknowledged,
        environment={"REDELIVER_AFTER_SECONDS": "10"},
        pending=True,
        in_parts=True,
    ),
)

FLOWS: Final[Mapping[str, Flow]] = {
    flow.name: flow for flow in (*CONNECTIONS, *MESSAGES, *SYNC, *GROUPS, *QUEUES, *MACHINERY, *PACKETS)
}
