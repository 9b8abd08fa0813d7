"""Every frame gets exactly one reply, whatever it is; every sample event drives its function."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError

from im.aws import check_queue, part_queue, queue
from im.domain.ids import ConvId, UserId
from im.runtime import logs
from im.store.audience import AudienceStore
from tests.integration.house import ROOT, START, Call, Context, Device, House, sample

SECRET = "s" * 64


def request(route: str, op: str, data: Any = None, **more: Any) -> str:
    return json.dumps({"route": route, "op": op, "id": "r1", "data": data or {}} | more)


def error(code: str, *, answered: bool = True) -> dict[str, Any]:
    """What is alike in all replies that refuse with `code`."""
    return {"id": "r1" if answered else None, "ok": False, "code": code}


def gist(reply: dict[str, Any]) -> dict[str, Any]:
    assert set(reply) == {"id", "ok", "error"}
    assert {"code", "message", "retryable"} <= set(reply["error"])
    return {"id": reply["id"], "ok": reply["ok"], "code": reply["error"]["code"]}


# ---- sample events ---------------------------------------------------------------------------------------------------


def authorizer(house: House) -> None:
    event = sample("authorizer")
    assert event["queryStringParameters"]["token"] == "TOKEN"
    event["queryStringParameters"]["token"] = jwt.encode({"sub": "alice", "iat": 1, "exp": 2**40}, SECRET, "HS256")

    answer = house.call("authorizer", event)

    assert answer["policyDocument"]["Statement"] == [
        {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}
    ]
    assert answer["context"] == {"user": "alice", "device": "phone-1", "platform": "ios"}


def connect(house: House) -> None:
    assert house.call("connect", sample("connect")) == {"statusCode": 200}
    (item,) = house.items("ConnectionTable")
    assert item["pk"] == {"S": "alice"}
    assert item["slot:mobile"]["M"]["connection"] == {"S": "ABCDEeZBCGwCJaQ="}


def disconnect(house: House) -> None:
    house.call("connect", sample("connect"))
    assert house.call("connect", sample("disconnect")) == {"statusCode": 200}
    (item,) = house.items("ConnectionTable")
    assert set(item) == {"pk", "ttl", "opened", "last_end"}


def frame(function: str, name: str, data: set[str]) -> Callable[[House], None]:
    def drive(house: House) -> None:
        house.call("connect", sample("connect"))
        answer = house.call(function, sample(name))
        reply = json.loads(answer["body"])
        assert answer["statusCode"] == 200
        assert (reply["id"], reply["ok"]) == ("r1", True)
        assert set(reply["data"]) == data

    return drive


def fanout(house: House) -> None:
    assert house.call("fanout", sample("fanout")) == {"batchItemFailures": []}
    assert {(i["pk"]["S"], i["sk"]["S"]) for i in house.items("InboxTable")} == {
        ("alice", "CONV#d:alice:bob"),
        ("bob", "CONV#d:alice:bob"),
    }


def express(house: House) -> None:
    bob = house.connect("bob")

    assert house.call("express", sample("express")) == {"batchItemFailures": []}

    assert [(e["kind"], e["body"]["greeting"]) for push in bob.got("entries") for e in push["entries"]] == [
        ("redpacket", "Happy birthday!")
    ]


def broadcast(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "friends", "name": "Friends", "members": ["bob"]})
    for i in range(8):
        alice.say(f"{i}", f"c{i}", conv="g:friends")
    AudienceStore(house.dynamodb, "AudienceTable").add(ConvId("g:friends"), UserId("bob"), 1, house.now)

    assert house.call("broadcast", sample("broadcast")) == {"batchItemFailures": []}

    assert bob.seen() == [7, 8]


def redelivery(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(8):
        alice.say(f"{i}", f"c{i}", to="bob")

    assert house.call("redelivery", sample("redelivery")) == {"batchItemFailures": []}

    assert bob.seen() == [7, 8]


def audit(house: House) -> None:
    bob = house.connect("bob")

    assert house.call("audit", sample("audit")) == {}
    house.fan_out()

    assert bob.seen() == [1]


def settlement(name: str) -> Callable[[House], None]:
    """Bob has claimed all of a packet of Alice's, and is paid."""

    def drive(house: House) -> None:
        claimed = sample("settlement")["Records"][0]["dynamodb"]["NewImage"]
        shares = {"pk": claimed["pk"], "sk": {"S": "SHARES"}, "shares": {"L": [claimed["total"]]}}
        for item in (claimed, shares):
            house.dynamodb.put_item(TableName="RedPacketTable", Item=item)
        wallet = house.apps["settlement"].settlement.payments
        wallet.hold(claimed["pk"]["S"], "alice", 800)

        assert house.call("settlement", sample(name)) in ({}, {"batchItemFailures": []})

        assert wallet.balance("bob") == 100_800

    return drive


def expiry(house: House) -> None:
    assert house.call("expiry", sample("expiry")) == {}


SAMPLES: dict[str, Callable[[House], None]] = {
    "authorizer": authorizer,
    "connect": connect,
    "disconnect": disconnect,
    "fanout": fanout,
    "broadcast": broadcast,
    "express": express,
    "settlement": settlement("settlement"),
    "settlement_queue": settlement("settlement_queue"),
    "expiry": expiry,
    "redelivery": redelivery,
    "audit": audit,
    "ping": frame("connect", "ping", {"ts", "inbox"}),
    "send": frame("message", "send", {"conv", "seq", "n", "ts", "duplicate"}),
    "sync": frame("sync", "sync", {"conversations", "inbox", "privacy"}),
    "group": frame(
        "group",
        "group",
        {
            *("conv", "name", "notice", "avatar", "custom", "owner", "admins", "members", "join_mode", "history"),
            *("who_invites", "who_mentions_all", "muted_until", "created", "me"),
        },
    ),
}


def test_there_is_a_driver_for_every_sample_event() -> None:
    assert set(SAMPLES) == {path.stem for path in (ROOT / "events").glob("*.json")}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_event_drives_its_function(house: House, name: str) -> None:
    SAMPLES[name](house)


@pytest.mark.parametrize(
    ("name", "rewritten"),
    [
        ("fanout", lambda body: queue.encode(queue.decode(body))),
        ("broadcast", lambda body: part_queue.encode(part_queue.decode(body))),
        ("express", lambda body: queue.encode(queue.decode(body))),
        ("redelivery", lambda body: check_queue.encode(check_queue.decode(body))),
    ],
)
def test_a_sample_of_a_queue_holds_what_is_queued_today(name: str, rewritten: Callable[[str], str]) -> None:
    (record,) = sample(name)["Records"]

    assert record["body"] == rewritten(record["body"])
    assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()


# ---- the authorizer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        ({}, {"user": "alice", "device": "phone-1", "platform": "ios"}),
        ({"platform": None}, {"user": "alice", "device": "phone-1", "platform": "other"}),
        ({"v": None}, {"user": "alice", "device": "phone-1", "platform": "ios"}),
        ({"later": "x"}, {"user": "alice", "device": "phone-1", "platform": "ios"}),
        ({"platform": "toaster"}, None),
        ({"v": "2"}, None),
        ({"v": ""}, None),
        ({"device": None}, None),
        ({"device": "a b"}, None),
        ({"device": "x" * 65}, None),
        ({"token": None}, None),
        ({"token": "nonsense"}, None),
        ({"token": "x" * 9000}, None),
        ({"token": jwt.encode({"sub": "alice", "exp": 2**40}, SECRET, "HS256")}, None),
        ({"token": jwt.encode({"sub": "a:b", "iat": 1, "exp": 2**40}, SECRET, "HS256")}, None),
    ],
)
def test_a_connection_opens_only_with_token_device_and_platform(
    house: House, changes: dict[str, str | None], identity: dict[str, str] | None
) -> None:
    event = sample("authorizer")
    good = jwt.encode({"sub": "alice", "iat": 1, "exp": 2**40}, SECRET, "HS256")
    query = event["queryStringParameters"] | {"token": good} | changes
    event["queryStringParameters"] = {name: value for name, value in query.items() if value is not None} or None

    answer = house.call("authorizer", event)

    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Resource"] == event["methodArn"]
    assert statement["Effect"] == ("Allow" if identity else "Deny")
    assert answer["context"] == (identity or {}), "a refusal says no more than that"
    assert answer["principalId"] == ("alice" if identity else "nobody")


def test_an_upgrade_without_a_query_is_refused(house: House) -> None:
    answer = house.call("authorizer", sample("authorizer") | {"queryStringParameters": None})

    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Deny"


# ---- frames that are none, or name nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", error("bad_request", answered=False)),
        ("nonsense", error("bad_request", answered=False)),
        ('{"id":"r1"', error("bad_request", answered=False)),
        ("[]", error("bad_request", answered=False)),
        ('"r1"', error("bad_request", answered=False)),
        ("null", error("bad_request", answered=False)),
        ("[" * 100_000, error("bad_request", answered=False)),
        ("x" * 200_000, error("too_large", answered=False)),
        ("{}", error("bad_request", answered=False)),
        ('{"route":"connect","op":"ping"}', error("bad_request", answered=False)),
        ('{"route":"connect","op":"ping","id":5}', error("bad_request", answered=False)),
        ('{"route":"connect","op":"ping","id":"r1","id":"r1"}', error("bad_request", answered=False)),
        ('{"op":"ping","id":"r1"}', error("bad_request")),
        ('{"route":"connect","id":"r1"}', error("bad_request")),
        ('{"route":5,"op":"ping","id":"r1"}', error("bad_request")),
        ('{"route":{"a":1},"op":"ping","id":"r1"}', error("bad_request")),
        ('{"route":"connect","op":"ping","id":"r1","data":[]}', error("bad_request")),
        (request("connect", "ping", {"x": "y" * 33_000}), error("too_large")),
        (request("connect", "dance"), error("unknown_route")),
        (request("connect", ""), error("unknown_route")),
        (request("connect", "__class__"), error("unknown_route")),
        (request("message", "dance"), error("unknown_route")),
        (request("sync", "dance"), error("unknown_route")),
        (request("group", "dance"), error("unknown_route")),
        (request("wallet", "ping"), error("unknown_route")),
        (request("", "ping"), error("unknown_route")),
        (request("x" * 10_000, "y" * 10_000), error("unknown_route")),
        (request("$default", "ping"), error("unknown_route")),
        (request("$connect", "ping"), error("unknown_route")),
        (request("$disconnect", "ping"), error("unknown_route")),
        (request("fanout", "ping"), error("unknown_route")),
        (request("broadcast", "ping"), error("unknown_route")),
        (request("express", "ping"), error("unknown_route")),
        (request("authorizer", "ping"), error("unknown_route")),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else value["code"],
)
def test_a_frame_that_is_no_request_has_its_reply(house: House, raw: str, expected: dict[str, Any]) -> None:
    alice = house.connect("alice")

    reply = alice.raw(raw)

    assert gist(reply) == expected
    assert len(json.dumps(reply)) < 1000
    assert alice.pushes == []


@pytest.mark.parametrize("route", ["$connect", "$disconnect"])
def test_a_frame_named_like_an_event_of_the_connection_changes_nothing(house: House, route: str) -> None:
    alice = house.connect("alice", "d1", "ios")
    mallory = house.connect("mallory", "d1", "ios")
    before = house.items("ConnectionTable")

    for op in ("$connect", "$disconnect", "ping", "logout"):
        mallory.raw(request(route, op, {"user": "alice"}, requestContext={"eventType": "CONNECT"}))

    assert house.items("ConnectionTable") == before
    assert not alice.closed
    assert not mallory.closed


def test_a_function_answers_its_own_route_alone(house: House) -> None:
    event = sample("send")
    event["body"] = request("sync", "inbox")

    reply = json.loads(house.call("message", event)["body"])

    assert gist(reply) == error("unknown_route")


# ---- who asks --------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, dict[str, Any]] = {
    "connect.ping": {},
    "connect.logout": {},
    "message.send": {"to": "bob", "cmid": "c1", "kind": "text", "body": {"text": "x"}},
    "message.edit": {"conv": "d:alice:bob", "seq": 2, "body": {"text": "y"}},
    "message.recall": {"conv": "d:alice:bob", "seq": 2},
    "message.react": {"conv": "d:alice:bob", "seq": 1, "emoji": "👍", "on": True},
    "message.pin": {"conv": "d:alice:bob", "seq": 1, "on": True},
    "message.forward": {"conv": "g:bobs", "cmid": "c1", "source": "d:alice:bob", "seqs": [1]},
    "message.delete": {"conv": "d:alice:bob", "seqs": [1]},
    "message.typing": {"conv": "d:alice:bob", "on": True},
    "sync.inbox": {},
    "sync.entries": {"conv": "d:alice:bob", "after": 0},
    "sync.unread": {},
    "sync.read": {"conv": "d:alice:bob", "seq": 1},
    "sync.ack": {"acks": [{"conv": "d:alice:bob", "seq": 1}]},
    "sync.read_all": {},
    "sync.receipts": {"conv": "d:alice:bob", "seq": 2},
    "sync.reactions": {"conv": "d:alice:bob", "seq": 1},
    "sync.edits": {"conv": "d:alice:bob", "seq": 1},
    "sync.pins": {"conv": "d:alice:bob"},
    "sync.deleted": {"conv": "d:alice:bob"},
    "sync.settings": {"conv": "d:alice:bob", "muted": True, "draft": "To be"},
    "sync.privacy": {"receipts": False},
    "sync.presence": {"users": ["bob"]},
    "group.create": {"name": "Friends", "gid": "friends"},
    "group.info": {"conv": "g:club"},
    "group.members": {"conv": "g:club"},
    "group.mine": {},
    "group.invite": {"conv": "g:club", "users": ["carol"]},
    "group.remove": {"conv": "g:club", "users": ["bob"]},
    "group.join": {"conv": "g:open"},
    "group.leave": {"conv": "g:bobs"},
    "group.requests": {"conv": "g:club"},
    "group.decide": {"conv": "g:club", "user": "dave", "accept": True},
    "group.role": {"conv": "g:club", "user": "bob", "role": "admin"},
    "group.transfer": {"conv": "g:club", "user": "bob"},
    "group.mute": {"conv": "g:club", "user": "bob", "until": START + 60_000},
    "group.update": {"conv": "g:club", "name": "Our club"},
    "group.dissolve": {"conv": "g:club"},
}
"""Every operation, with data that is good after `furnished`."""


def furnished(house: House) -> Device:
    alice, bob = house.connect("alice"), house.connect("bob")
    bob.say("Hello.", "b1", to="alice")
    alice.say("Hi.", "a1", to="bob")
    alice.ok("group.create", {"gid": "club", "name": "Club", "members": ["bob"], "join_mode": "approval"})
    house.connect("dave").ok("group.join", {"conv": "g:club"})
    bob.ok("group.create", {"gid": "open", "name": "Open", "join_mode": "open"})
    bob.ok("group.create", {"gid": "bobs", "name": "Bob's", "members": ["alice"]})
    house.fan_out()
    alice.pushes.clear()
    return alice


def test_the_table_has_every_operation(house: House) -> None:
    routers = {name: house.apps[name].router for name in ("connect", "message", "sync", "group")}

    assert set(OPERATIONS) == {f"{name}.{op}" for name, router in routers.items() for op in router.operations}


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op != "connect.logout"])
def test_every_operation_answers_with_one_reply(house: House, op: str) -> None:
    alice = furnished(house)

    alice.ok(op, OPERATIONS[op])

    assert [push for push in alice.pushes if "id" in push] == []


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize(
    "identity", [None, {}, {"user": "alice"}, {"user": "alice", "device": "d1"}, {"principalId": "alice"}]
)
def test_a_frame_without_a_verified_identity_is_refused(house: House, op: str, identity: object) -> None:
    furnished(house)
    route, _, name = op.partition(".")
    event = sample("ping")
    event["body"] = request(route, name, OPERATIONS[op] | {"user": "alice", "sender": "alice", "from": "alice"})
    event["requestContext"]["authorizer"] = identity

    with house.watched() as calls:
        reply = json.loads(house.call(route, event)["body"])

    assert gist(reply) == error("unauthorized")
    assert calls == []


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_failure_of_ours_is_internal_with_the_request_id_and_nothing_else(house: House, op: str) -> None:
    alice = furnished(house)

    def fail(_: Call) -> None:
        raise RuntimeError("the table's name and other secrets")

    with house.watched(before=fail) as calls:
        reply = alice.ask(op, OPERATIONS[op])

    assert calls, "nothing failed"
    quote = Context().aws_request_id
    assert reply == {
        "id": reply["id"],
        "ok": False,
        "error": {"code": "internal", "message": f"internal error, request {quote}", "retryable": True},
    }


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_failure_of_dynamodb_is_internal_too(house: House, op: str) -> None:
    alice = furnished(house)

    def fail(call: Call) -> None:
        if call.service == "dynamodb":
            raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, call.operation)

    with house.watched(before=fail):
        assert alice.error(op, OPERATIONS[op])["code"] == "internal"

    assert alice.ok("connect.ping")["ts"] == START, "the next frame is not as well"


def test_a_leaving_client_has_one_reply_before_the_end(house: House) -> None:
    alice = furnished(house)
    event = sample("ping")
    event["requestContext"] |= alice._context()
    event["body"] = request("connect", "logout")

    answer = house.call("connect", event)

    assert answer == {"statusCode": 200, "body": ""}
    assert alice.pushes == [
        {"id": "r1", "ok": True, "data": {}},
        {"push": "kicked", "data": {"reason": "logout"}},
    ]
    assert alice.closed


def test_a_sender_is_who_the_connection_says_and_not_who_the_frame_says(house: House) -> None:
    alice, mallory = house.connect("alice"), house.connect("mallory")
    data = {"to": "bob", "cmid": "c1", "kind": "text", "body": {"text": "x", "from": "alice"}}

    reply = mallory.ok("message.send", data | {"from": "alice", "sender": "alice", "user": "alice", "ts": 5, "seq": 99})

    assert reply["conv"] == "d:bob:mallory"
    assert (reply["seq"], reply["ts"]) == (1, START)
    (entry,) = mallory.ok("sync.entries", {"conv": "d:bob:mallory", "after": 0})["entries"]
    assert (entry["from"], entry["body"]) == ("mallory", {"text": "x"})
    assert alice.ok("sync.inbox")["conversations"] == []


def test_no_log_holds_a_text_a_token_or_the_secret(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logs.log.registered_handler, "stream", log)
    alice = house.connect("alice")
    token = jwt.encode({"sub": "alice", "iat": 1, "exp": 2**40}, SECRET, "HS256")
    for query in ({"token": token}, {"token": token + "A"}, {"token": token, "device": "a b"}, {"token": token[:50]}):
        event = sample("authorizer")
        event["queryStringParameters"] |= query
        house.call("authorizer", event)

    def fail(call: Call) -> None:
        if call.operation == "SendMessage":
            raise RuntimeError("no queue")

    alice.say("confidential", "c1", to="bob")
    there = {"conv": "d:alice:bob", "seq": 1}
    alice.ok("message.edit", there | {"body": {"text": "confidential, too"}})
    alice.ok("message.react", there | {"emoji": "confidential", "on": True})
    alice.error("message.react", there | {"emoji": "confi dential", "on": True})
    forwarded = {"to": "carol", "cmid": "c4", "source": "d:alice:bob", "seqs": [1], "title": "confidential"}
    alice.ok("message.forward", forwarded)
    alice.ok("sync.settings", {"conv": "d:alice:bob", "draft": "confidential"})
    alice.raw(request("message", "send", {"to": "b b", "cmid": "c2", "kind": "text", "body": {"text": "confidential"}}))
    alice.raw(request("message", "send", {"to": "bob", "cmid": "c2", "kind": "confidential", "body": "confidential"}))
    alice.raw('{"text": "confidential')
    with house.watched(before=fail):
        alice.ask("message.send", {"to": "bob", "cmid": "c3", "kind": "text", "body": {"text": "confidential"}})
    records = house.take()
    house.call("fanout", {"Records": [*records, sample("fanout")["Records"][0] | {"body": "confidential"}]})
    logged = log.getvalue()

    assert '"message":"internal error"' in logged
    assert '"message":"refused"' in logged
    assert '"message":"unreadable message"' in logged
    for secret in ("confidential", "confi dential", token[:60], token[-20:], SECRET):
        assert secret not in logged
