"""Each function may do what it does, and nothing else; it is told what it reads, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from im.flows import broadcast
from im.runtime import settings
from tests.integration.house import FUNCTIONS, Call, Crash, Device, House, built_house, load_function, sample, template

RESOURCES: dict[str, dict[str, Any]] = template()["Resources"]
GLOBALS: dict[str, Any] = template()["Globals"]["Function"]

NEEDS: dict[str, set[tuple[str, str]]] = {
    "authorizer": {("secretsmanager:GetSecretValue", "JwtSecret")},
    "connect": {
        ("dynamodb:GetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("dynamodb:BatchGetItem", "InboxTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:Query", "InboxTable"),
        ("dynamodb:DeleteItem", "AudienceTable"),
        ("dynamodb:UpdateItem", "AudienceTable"),
        ("execute-api:ManageConnections", "POST"),
        ("execute-api:ManageConnections", "DELETE"),
    },
    "message": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:DeleteItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:PutItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:UpdateItem", "ConversationTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:PutItem", "InboxTable"),
        ("dynamodb:UpdateItem", "InboxTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "FanoutQueue"),
    },
    "sync": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:BatchGetItem", "InboxTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:Query", "InboxTable"),
        ("dynamodb:UpdateItem", "InboxTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
    },
    "group": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:ConditionCheckItem", "ConversationTable"),
        ("dynamodb:DeleteItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:PutItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:BatchGetItem", "InboxTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:Query", "InboxTable"),
        ("dynamodb:UpdateItem", "InboxTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "FanoutQueue"),
    },
    "fanout": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:UpdateItem", "InboxTable"),
        ("dynamodb:Query", "AudienceTable"),
        ("dynamodb:UpdateItem", "AudienceTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "FanoutQueue"),
        ("sqs:SendMessage", "BroadcastQueue"),
        ("sqs:SendMessage", "RedeliveryQueue"),
        ("sqs:SendMessage", "FanoutDeadLetterQueue"),
        ("sqs:ChangeMessageVisibility", "FanoutQueue"),
    },
    "broadcast": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:Query", "AudienceTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "FanoutDeadLetterQueue"),
        ("sqs:ChangeMessageVisibility", "BroadcastQueue"),
    },
    "redelivery": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:BatchGetItem", "InboxTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "RedeliveryQueue"),
        ("sqs:ChangeMessageVisibility", "RedeliveryQueue"),
    },
    "audit": {("sqs:SendMessage", "FanoutQueue"), ("sqs:SendMessage", "ExpressQueue")},
    "express": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:GetItem", "InboxTable"),
        ("dynamodb:UpdateItem", "InboxTable"),
        ("dynamodb:Query", "AudienceTable"),
        ("dynamodb:UpdateItem", "AudienceTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "ExpressQueue"),
        ("sqs:SendMessage", "ExpressPartsQueue"),
        ("sqs:SendMessage", "RedeliveryQueue"),
        ("sqs:SendMessage", "FanoutDeadLetterQueue"),
        ("sqs:ChangeMessageVisibility", "ExpressQueue"),
        ("sqs:ChangeMessageVisibility", "ExpressPartsQueue"),
    },
    "redpacket": {
        ("dynamodb:BatchGetItem", "ConversationTable"),
        ("dynamodb:GetItem", "ConversationTable"),
        ("dynamodb:PutItem", "ConversationTable"),
        ("dynamodb:Query", "ConversationTable"),
        ("dynamodb:BatchGetItem", "RedPacketTable"),
        ("dynamodb:GetItem", "RedPacketTable"),
        ("dynamodb:PutItem", "RedPacketTable"),
        ("dynamodb:Query", "RedPacketTable"),
        ("dynamodb:UpdateItem", "RedPacketTable"),
        ("dynamodb:BatchGetItem", "WalletTable"),
        ("dynamodb:GetItem", "WalletTable"),
        ("dynamodb:PutItem", "WalletTable"),
        ("dynamodb:Query", "WalletTable"),
        ("dynamodb:UpdateItem", "WalletTable"),
        ("sqs:SendMessage", "ExpressQueue"),
    },
    "settlement": {
        ("dynamodb:BatchGetItem", "RedPacketTable"),
        ("dynamodb:GetItem", "RedPacketTable"),
        ("dynamodb:PutItem", "RedPacketTable"),
        ("dynamodb:GetItem", "WalletTable"),
        ("dynamodb:PutItem", "WalletTable"),
        ("dynamodb:UpdateItem", "WalletTable"),
        ("dynamodb:BatchGetItem", "ConnectionTable"),
        ("dynamodb:UpdateItem", "ConnectionTable"),
        ("execute-api:ManageConnections", "POST"),
        ("sqs:SendMessage", "SettlementQueue"),
        ("sqs:SendMessage", "FanoutDeadLetterQueue"),
        ("sqs:ChangeMessageVisibility", "SettlementQueue"),
    },
    "expiry": {
        ("dynamodb:Query", "RedPacketTable.due"),
        ("dynamodb:GetItem", "RedPacketTable"),
        ("dynamodb:UpdateItem", "RedPacketTable"),
    },
}
"""What the code of each function calls. A transaction needs the actions of its parts, a batch of messages that of one
message."""

TAKING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"}

BY_LAMBDA = {
    "fanout": {(action, "FanoutQueue") for action in TAKING},
    "broadcast": {(action, "BroadcastQueue") for action in TAKING},
    "express": {(action, queue) for action in TAKING for queue in ("ExpressQueue", "ExpressPartsQueue")},
    "redelivery": {(action, "RedeliveryQueue") for action in TAKING},
    "audit": {
        ("dynamodb:DescribeStream", "ConversationTable.Stream"),
        ("dynamodb:GetRecords", "ConversationTable.Stream"),
        ("dynamodb:GetShardIterator", "ConversationTable.Stream"),
    },
    "settlement": {
        *((action, "SettlementQueue") for action in TAKING),
        ("dynamodb:DescribeStream", "RedPacketTable.Stream"),
        ("dynamodb:GetRecords", "RedPacketTable.Stream"),
        ("dynamodb:GetShardIterator", "RedPacketTable.Stream"),
    },
}
"""What Lambda itself does in the name of a function that takes from a queue or a stream."""

READS: dict[str, set[str]] = {
    "authorizer": {"JWT_SECRET_ID", "JWT_ISSUER", "JWT_AUDIENCE", "JWKS_URL"},
    "connect": {"CONNECTION_TABLE", "INBOX_TABLE", "AUDIENCE_TABLE", "CONNECTIONS_ENDPOINT", "SIGN_IN_POLICY"},
    "message": {
        *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL"),
        *("RECALL_WINDOW_SECONDS", "EDIT_WINDOW_SECONDS"),
    },
    "sync": {"CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT"},
    "group": {
        *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL"),
        *("MAX_GROUP_MEMBERS", "LARGE_GROUP_ABOVE", "MAX_GROUPS_PER_USER", "MAX_GROUP_ADMINS", "MAX_GROUP_NAME"),
        "MAX_USERS_AT_ONCE",
    },
    "fanout": {
        *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
        *("CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL", "BROADCAST_QUEUE_URL"),
        *("REDELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "REDELIVER_AFTER_SECONDS"),
    },
    "broadcast": {
        *("CONVERSATION_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
        *("CONNECTIONS_ENDPOINT", "BROADCAST_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
    },
    "redelivery": {
        *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT", "REDELIVERY_QUEUE_URL"),
        "REDELIVER_AFTER_SECONDS",
    },
    "audit": {"FANOUT_QUEUE_URL", "EXPRESS_QUEUE_URL"},
    "express": {
        *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
        *("CONNECTIONS_ENDPOINT", "EXPRESS_QUEUE_URL", "EXPRESS_PARTS_QUEUE_URL"),
        *("REDELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "REDELIVER_AFTER_SECONDS"),
    },
    "redpacket": {
        *("CONVERSATION_TABLE", "RED_PACKET_TABLE", "EXPRESS_QUEUE_URL"),
        *("MAX_RED_PACKET_SHARES", "MAX_RED_PACKET_AMOUNT", "RED_PACKET_LIFE_SECONDS"),
        *("WALLET_TABLE", "NEW_WALLET_AMOUNT", "PAYMENT_GATEWAY_URL", "PAYMENT_GATEWAY_SECRET_ID"),
    },
    "settlement": {
        *("RED_PACKET_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT"),
        *("SETTLEMENT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
        *("WALLET_TABLE", "NEW_WALLET_AMOUNT", "PAYMENT_GATEWAY_URL", "PAYMENT_GATEWAY_SECRET_ID"),
    },
    "expiry": {"RED_PACKET_TABLE"},
}
"""The environment variables that each function reads."""

OF_WALLETS = {"WALLET_TABLE", "NEW_WALLET_AMOUNT"}
OF_A_GATEWAY = {"PAYMENT_GATEWAY_SECRET_ID"}
"""What is read only when money is here, or with somebody else."""


def resource_of(function: str) -> dict[str, Any]:
    """The properties of a function in the template."""
    return next(
        dict(r["Properties"])
        for r in RESOURCES.values()
        if r["Type"] == "AWS::Serverless::Function" and r["Properties"]["CodeUri"] == f"functions/{function}"
    )


def statements(function: str) -> list[dict[str, Any]]:
    """The statements of a function's policies that it always has."""
    return [one for policy in resource_of(function)["Policies"] for one in policy["Statement"] if isinstance(one, dict)]


def conditional(function: str) -> list[Any]:
    """Those that it has on some condition, each with what it is."""
    return [one for policy in resource_of(function)["Policies"] for one in policy["Statement"] if isinstance(one, list)]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def what(arn: str) -> str:
    """What an ARN of a policy names: a resource of the template, or a verb of the connection API."""
    if connection := re.fullmatch(r"arn:[^/]+:\$\{Api\}/\$\{Stage\}/([A-Z]+)/@connections/\*", arn):
        return connection.group(1)
    if index := re.fullmatch(r"\$\{(\w+)\.Arn\}/index/(\w+)", arn):
        return ".".join(index.groups())
    # The Id of a secret is its ARN, too.
    return re.sub(r"\.(Arn|Id)$", "", re.sub(r"\.StreamArn$", ".Stream", arn))


def granted(function: str) -> set[tuple[str, str]]:
    """What the template lets a function do."""
    return {
        (action, what(arn))
        for statement in statements(function)
        for action in as_list(statement["Action"])
        for arn in as_list(statement["Resource"])
    }


def test_the_tables_know_every_function() -> None:
    assert set(NEEDS) == set(READS) == set(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_what_its_code_does_and_nothing_else(function: str) -> None:
    assert granted(function) == NEEDS[function] | BY_LAMBDA.get(function, set())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_statement_allows_everything(function: str) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        for action in as_list(statement["Action"]):
            assert re.fullmatch(r"[a-z-]+:[A-Za-z]+", action), action
        for arn in as_list(statement["Resource"]):
            assert "*" not in arn.removesuffix("/@connections/*"), arn
            assert what(arn).partition(".")[0] in {*RESOURCES, "POST", "DELETE"}, arn


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_moves_money_reads_the_secret_of_a_payment_system_where_there_is_one(function: str) -> None:
    signs = {"Sid": "SignPayments", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue"}
    has = ["HasPaymentGateway", signs | {"Resource": "PaymentGatewaySecretArn"}, "AWS::NoValue"]

    assert conditional(function) == ([has] if function in {"redpacket", "settlement"} else [])


def test_no_function_has_a_role_or_a_managed_policy() -> None:
    for function in FUNCTIONS:
        assert "Role" not in resource_of(function)
        assert "Events" not in resource_of(function), "SAM would add a policy of its own"
        assert all(
            isinstance(policy, dict) and set(policy) == {"Statement"} for policy in resource_of(function)["Policies"]
        )


def used(call: Call) -> set[tuple[str, str]]:
    """What a policy must grant for an AWS call."""
    params = call.params
    match call.service:
        case "dynamodb" if "TransactItems" in params:
            parts = [(kind, part) for item in params["TransactItems"] for kind, part in item.items()]
            actions = {"ConditionCheck": "ConditionCheckItem"}
            return {(f"dynamodb:{actions.get(kind, f'{kind}Item')}", part["TableName"]) for kind, part in parts}
        case "dynamodb":
            if "IndexName" in params:
                return {(call.action, f"{params['TableName']}.{params['IndexName']}")}
            tables = [params["TableName"]] if "TableName" in params else list(params["RequestItems"])
            return {(call.action, table) for table in tables}
        case "sqs":
            queue = {
                "fanout.fifo": "FanoutQueue",
                "parts.fifo": "BroadcastQueue",
                "express.fifo": "ExpressQueue",
                "express-parts.fifo": "ExpressPartsQueue",
                "settlement.fifo": "SettlementQueue",
                "checks": "RedeliveryQueue",
                "dead.fifo": "FanoutDeadLetterQueue",
            }[params["QueueUrl"].split("/")[-1]]
            return {(call.action.removesuffix("Batch"), queue)}
        case "secretsmanager":
            return {(call.action, "JwtSecret")}
        case _:
            verb = {"PostToConnection": "POST", "DeleteConnection": "DELETE"}[call.operation]
            return {("execute-api:ManageConnections", verb)}


@pytest.fixture
def busy_house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A group of more than two is large; of more than three, too large to be pushed to at once."""
    monkeypatch.setattr(broadcast, "PART_MEMBERS", 3)
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="2") as built:
        yield built


def test_the_code_calls_what_the_tables_say_and_nothing_else(busy_house: House) -> None:
    """A day in the life of all functions, with everything that makes them call AWS."""
    house = busy_house
    authorize = sample("authorizer")
    authorize["queryStringParameters"]["token"] = "x.y.z"
    house.call("authorizer", authorize)
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    alice.ok("group.info", {"conv": "g:g"})
    alice.ok("group.members", {"conv": "g:g"})
    alice.say("x", "c1", conv="g:g")
    alice.say("x", "c1", conv="g:g")
    alice.say("x", "c2", to="bob")
    bob.ok("sync.ack", {"acks": [{"conv": "d:alice:bob", "seq": 1}]})
    house.fan_out()
    bob.ok("sync.entries", {"conv": "g:g", "after": 0})
    bob.ok("sync.read", {"conv": "g:g", "seq": 2})
    bob.ok("sync.unread")
    bob.ok("sync.inbox")
    bob.ok("connect.ping")
    house.connect("bob", "other", "other")
    for conv in ("g:g", "d:alice:bob"):
        loses_its_network(house, "bob")
        alice.say("x", f"c-{conv}", conv=conv)
        house.fan_out()
        house.connect("bob", conv.replace(":", "."))
    house.connect("alice", "phone", "ios")
    loses_its_network(house, "alice", "phone")
    the_open_one(house, "bob").ok("sync.read", {"conv": "d:alice:bob", "seq": 2})
    a_row_fails(house, alice)
    nobody_acknowledges(house, alice)
    packets_overtake(house, alice)
    money_moves(house, alice)
    batches_fail(house, alice)
    people_look_and_write(house, alice)
    messages_change(house, alice)
    people_come_and_go(house, alice)
    groups_are_large(house, alice)
    alice.ok("connect.logout", {"devices": "all"})

    for function in FUNCTIONS:
        calls = {grant for call in house.calls if call.function == function for grant in used(call)}
        assert calls == NEEDS[function], function


def the_open_one(house: House, user: str, device: str | None = None) -> Device:
    """The open connection of a user, of that device if one is named."""
    return next(d for d in house.devices.values() if d.user == user and device in {None, d.device} and not d.closed)


def loses_its_network(house: House, user: str, device: str | None = None) -> None:
    """A connection is gone, and is no young one: the next push takes its slot."""
    house.devices.pop(the_open_one(house, user, device).connection)
    house.now += 60_000


def people_look_and_write(house: House, alice: Device) -> None:
    """Who is there, and who is writing; one device is dead when it is told."""
    alice.ok("sync.presence", {"users": ["bob", "carol"]})
    house.connect("bob", "phone", "ios")
    loses_its_network(house, "bob", "phone")
    alice.ok("message.typing", {"conv": "g:g", "on": True})


def messages_change(house: House, alice: Device) -> None:
    """Everything that is done with messages, and with what belongs to them; another device of who does it is dead."""
    there = {"conv": "d:alice:bob"}
    seq = alice.say("One.", "m1", to="bob")["seq"]
    alice.ok("message.send", there | {"cmid": "m2", "kind": "text", "body": {"text": "Two."}, "reply_to": seq})
    alice.ok("message.edit", there | {"seq": seq, "body": {"text": "First."}, "cmid": "m3"})
    for on in (True, False):
        alice.ok("message.react", there | {"seq": seq, "emoji": "👍", "on": on})
        alice.ok("message.pin", there | {"seq": seq, "on": on})
    alice.ok("message.forward", {"to": "carol", "cmid": "m4", "source": "d:alice:bob", "seqs": [seq, seq + 1]})
    for question in ("reactions", "edits", "receipts"):
        alice.ok(f"sync.{question}", there | {"seq": seq})
    alice.ok("message.recall", there | {"seq": seq})
    alice.ok("sync.pins", there)
    house.connect("alice", "phone", "ios")
    loses_its_network(house, "alice", "phone")
    alice.ok("message.delete", there | {"seqs": [seq]})
    alice.ok("sync.deleted", there)
    house.fan_out()
    alice.ok("sync.inbox")
    alice.ok("sync.settings", there | {"hidden": True})
    alice.ok("sync.privacy", {"receipts": False})
    alice.ok("sync.read_all")


def people_come_and_go(house: House, alice: Device) -> None:
    """Everything that is done with a group; one of its owner's devices is dead when it is told of a request."""
    carol = house.connect("carol")
    alice.ok("group.update", {"conv": "g:g", "join_mode": "approval"})
    house.connect("alice", "phone", "ios")
    loses_its_network(house, "alice", "phone")
    for accept in (False, True):
        carol.ok("group.join", {"conv": "g:g"})
        alice.ok("group.requests", {"conv": "g:g"})
        alice.ok("group.decide", {"conv": "g:g", "user": "carol", "accept": accept})
    carol.ok("group.mine")
    alice.ok("group.mute", {"conv": "g:g", "user": "carol", "until": house.now + 1})
    alice.ok("group.mute", {"conv": "g:g", "until": house.now + 1})
    alice.ok("group.role", {"conv": "g:g", "user": "carol", "role": "admin"})
    alice.ok("group.transfer", {"conv": "g:g", "user": "carol"})
    carol.ok("group.invite", {"conv": "g:g", "users": ["dave"]})
    carol.ok("group.remove", {"conv": "g:g", "users": ["alice"]})
    house.connect("bob", "pc", "desktop").ok("group.leave", {"conv": "g:g"})
    carol.ok("group.dissolve", {"conv": "g:g"})
    house.fan_out()


def groups_are_large(house: House, alice: Device) -> None:
    """One that is pushed to at once, one in parts; members connect, vanish, hang up and leave."""
    carol = house.connect("carol")
    for gid, members in (("large", ["bob", "dave"]), ("huge", ["bob", "carol", "dave", "erin"])):
        alice.ok("group.create", {"gid": gid, "name": gid, "members": members})
        house.fan_out()
        if "carol" in members:
            carol.ok("group.leave", {"conv": f"g:{gid}"})
        alice.say("x", "c1", conv=f"g:{gid}", mentions=["bob"])
        house.fan_out()
        dave = house.connect("dave")
        dave.ok("connect.ping")
        dave.ok("sync.inbox")
        dave.ok("group.mine")
        loses_its_network(house, "dave")
        alice.say("x", "c2", conv=f"g:{gid}")
        house.fan_out()
        house.connect("dave").hang_up()


def a_row_fails(house: House, alice: Any) -> None:
    """One member's row cannot be written: the fan-out queues it again."""
    alice.say("x", "c-last", to="bob")

    def fail(call: Call) -> None:
        if call.user == "bob" and call.sort_key:
            raise RuntimeError("no row")

    with house.watched(before=fail):
        house.deliver(house.take())


def nobody_acknowledges(house: House, alice: Device) -> None:
    """In a direct conversation and in a group, whose members the function does not know yet; one device is dead."""
    said = alice.say("x", "n1", to="bob")
    house.fan_out()
    alice.say("Answered.", "n2", to="bob", reply_to=said["seq"])
    alice.ok("group.create", {"gid": "quiet", "name": "Q", "members": ["bob"]})
    house.fan_out()
    house.redeliver()
    alice.say("y", "n3", to="bob")
    house.fan_out()
    loses_its_network(house, "bob")
    house.redeliver()
    house.connect("bob")
    house.audit()


def packet(sender: Device, cmid: str, conv: str) -> None:
    sender.ok("redpacket.create", {"conv": conv, "cmid": cmid, "kind": "equal", "total": 2, "count": 2})


def packets_overtake(house: House, alice: Device) -> None:
    """To one whose row fails and whose connection is dead; to a group whose becoming large they overtake."""
    data = {"conv": "d:alice:bob", "cmid": "o1", "kind": "direct", "total": 1}
    loses_its_network(house, "bob")
    alice.ok("redpacket.create", data)

    def fail(call: Call) -> None:
        if call.user == "bob" and call.sort_key.startswith("CONV#"):
            raise RuntimeError("no row")

    with house.watched(before=fail):
        house.deliver(house.take(express=True), express=True)
    house.fan_out()
    house.connect("bob")
    for gid, members in (("few", ["bob"]), ("some", ["bob", "dave"]), ("many", ["bob", "carol", "dave", "erin"])):
        alice.ok("group.create", {"gid": gid, "name": gid, "members": members})
        packet(alice, f"o-{gid}", f"g:{gid}")
    while records := house.take(express=True):
        house.deliver(records, express=True)
    house.fan_out()
    house.audit()


def money_moves(house: House, alice: Device) -> None:
    """Everything that is done with packets and wallets: claimed, looked at, given back; never sent; not settled at
    first, and never."""
    bob = house.connect("bob", "pc", "desktop")
    claimed, left = (alice.ok("redpacket.create", lucky(cmid))["packet"] for cmid in ("m-claimed", "m-left"))
    bob.ok("redpacket.claim", {"packet": claimed})
    house.connect("bob", "phone", "ios")
    loses_its_network(house, "bob", "phone")
    house.packets.settle()
    for device, which in ((alice, "sent"), (bob, "received")):
        device.ok("redpacket.mine", {"which": which})
        device.ok("redpacket.ledger")
        device.ok("redpacket.wallet")
        device.ok("redpacket.detail", {"packet": claimed})
    for cmid, table in (("m-unsent", "ConversationTable"), ("m-unpaid", "WalletTable")):
        dies(house, alice, cmid, table)
    house.now += 5 * 60_000
    released_before_it_was_held(house, alice)
    house.packets.sweep()
    bob.ok("redpacket.claim", {"packet": left})
    with house.watched(before=fails("WalletTable")):
        house.packets.follow()
    record = house.packets.take()
    assert record is not None
    with house.watched(before=fails("RedPacketTable")):
        house.packets.deliver(record)
    house.call("settlement", {"Records": [record | {"body": "{}"}]})
    house.packets.settle()


def lucky(cmid: str) -> dict[str, Any]:
    return {"conv": "g:g", "cmid": cmid, "kind": "lucky", "total": 3, "count": 3}


def fails(table: str) -> Callable[[Call], None]:
    """Calls to a table fail for a reason that may pass."""

    def fail(call: Call) -> None:
        if table in str(call.params):
            raise ConnectTimeoutError(endpoint_url="x")

    return fail


def dies(house: House, alice: Device, cmid: str, table: str) -> None:
    """The function has died before it wrote to a table."""

    def fail(call: Call) -> None:
        if call.operation == "TransactWriteItems" and table in str(call.params["TransactItems"][0]):
            raise Crash

    with house.watched(before=fail), pytest.raises(Crash):
        alice.ask("redpacket.create", lucky(cmid))


def released_before_it_was_held(house: House, alice: Device) -> None:
    """A packet is given up while its function is about to take its money."""

    def late(call: Call) -> None:
        if call.operation == "TransactWriteItems" and "WalletTable" in str(call.params):
            house.before = None
            house.now += 5 * 60_000
            house.packets.sweep()
            house.packets.settle()

    with house.watched(before=late):
        assert alice.error("redpacket.create", lucky("m-late"))["code"] == "conflict"


def batches_fail(house: House, alice: Device) -> None:
    """A message for which there is a repeat, and one for which there is none, of each queue."""
    urls = {
        (False, False): house.queue_url,
        (True, False): house.parts_url,
        (False, True): house.express_url,
        (True, True): house.express_parts_url,
    }
    for (parts, express), url in urls.items():
        alice.say("x", f"f{parts}{express}", conv="g:g")
        if express:
            packet(alice, f"p{parts}", "g:g")
        house.fan_out() if parts else None
        name = f"m{parts}{express}"
        house.sqs.send_message(QueueUrl=url, MessageBody="{}", MessageGroupId="m", MessageDeduplicationId=name)
        record = house.take(parts=parts, express=express)[0]
        part = '{"v":1,"conv":"g:g","seqs":[1],"number":0,"of":1,"origins":{}}'
        again = {**record, "body": part} if parts else record

        def fail(call: Call) -> None:
            if call.service == "dynamodb":
                raise ConnectTimeoutError(endpoint_url="x")

        house.load("express" if express else "broadcast" if parts else "fanout")
        with house.watched(before=fail):
            house.deliver([again], parts=parts, express=express)
        house.fan_out()
    check = sample("redelivery")
    with house.watched(before=fail):
        house.call("redelivery", check)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_told_what_it_reads_and_nothing_else(function: str) -> None:
    own = resource_of(function)["Environment"]["Variables"]

    assert set(own) == READS[function]
    assert set(GLOBALS["Environment"]["Variables"]) == {"LOG_LEVEL"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_reads_what_the_table_says(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()

    class Recording(settings.Settings):
        def optional(self, name: str) -> str | None:
            read.add(name)
            return super().optional(name)

        def text(self, name: str) -> str:
            read.add(name)
            return super().text(name)

    with built_house(monkeypatch):
        monkeypatch.setattr(settings, "Settings", Recording)
        load_function(function)
        assert read == READS[function] - OF_A_GATEWAY
        monkeypatch.setenv("PAYMENT_GATEWAY_URL", "https://pay.example.com")
        monkeypatch.setenv("PAYMENT_GATEWAY_SECRET_ID", "PaymentSecret")
        read.clear()
        load_function(function)

    assert read == READS[function] - OF_WALLETS


def test_every_variable_leads_to_a_resource_or_a_parameter() -> None:
    known = {*RESOURCES, *template()["Parameters"]}
    for function in FUNCTIONS:
        for name, value in resource_of(function)["Environment"]["Variables"].items():
            if name == "CONNECTIONS_ENDPOINT":
                assert value[0] == "OnAws"
                assert value[1].startswith("https://${Api}.execute-api.")
                assert "${LocalEndpoint}" in value[2]
            else:
                assert value.removesuffix(".Id") in known, name
