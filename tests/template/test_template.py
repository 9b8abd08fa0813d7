"""template.yaml: what is stored is kept, queues and time-outs fit each other, every frame can be answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from im.aws.check_queue import MAX_DELAY_S
from im.aws.retries import delay_s
from im.domain.ids import ConvId, Seq
from im.domain.red_packet import PacketId
from im.flows.redeliver import LATER
from im.store import keys
from im.store.packets import DUE
from im.wire.requests import MAX_MONEY
from tests.integration.house import FUNCTIONS, ROOT, template

RESOURCES: dict[str, dict[str, Any]] = template()["Resources"]
GLOBALS: dict[str, Any] = template()["Globals"]["Function"]
TWO_WAY = ("$default", "connect", "message", "sync", "group", "redpacket")
EXPIRING = {"ConversationTable", "ConnectionTable", "AudienceTable"}
"""Tables with items that expire."""
REBUILT = {"ConnectionTable"}
"""Tables that fill again by themselves within two hours."""
HINTS = {"AudienceTable"}
"""Tables of what saves work when it is there: nothing in them is worth keeping, or paying for copies of it."""


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type, by name."""
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


def function_timeout(properties: dict[str, Any]) -> int:
    return int(properties.get("Timeout", GLOBALS["Timeout"]))


FUNCTION_RESOURCES = of_type("AWS::Serverless::Function")


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_costs_what_is_used_and_what_it_keeps_does_not_end_with_its_stack(name: str) -> None:
    table = RESOURCES[name]

    assert table["Properties"]["BillingMode"] == "PAY_PER_REQUEST"
    if name in HINTS:
        assert "PointInTimeRecoverySpecification" not in table["Properties"]
        assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Delete"
    elif name not in REBUILT:
        assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    ttl = table["Properties"].get("TimeToLiveSpecification")
    assert ttl == ({"AttributeName": "ttl", "Enabled": True} if name in EXPIRING else None)


def test_there_is_no_table_that_this_does_not_know() -> None:
    assert set(of_type("AWS::DynamoDB::Table")) == {
        *("ConversationTable", "InboxTable", "ConnectionTable", "AudienceTable", "RedPacketTable", "WalletTable")
    }


# ---- queues ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tries"), [("Fanout", 10), ("Broadcast", 8), ("Express", 10), ("ExpressParts", 8)])
def test_work_that_fails_comes_again_in_order_and_ends_where_somebody_looks(name: str, tries: int) -> None:
    queues = of_type("AWS::SQS::Queue")
    queue, dead = queues[f"{name}Queue"], queues["FanoutDeadLetterQueue"]
    timeout = function_timeout(FUNCTION_RESOURCES[served_by(name)])

    for each in (queue, dead):
        assert each["FifoQueue"] is True
        assert each["QueueName"].endswith(".fifo")
        assert each["SqsManagedSseEnabled"] is True
    assert queue["VisibilityTimeout"] >= 6 * timeout
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "FanoutDeadLetterQueue.Arn"
    assert queue["RedrivePolicy"]["maxReceiveCount"] == tries
    waits = [delay_s(receives) for receives in range(1, tries + 1)]
    assert 5 * 60 < sum(waits) < queue["MessageRetentionPeriod"], "an outage of some minutes is none of a human's"
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
    assert (queue["DeduplicationScope"], queue["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")
    assert "ContentBasedDeduplication" not in queue


def served_by(queue: str) -> str:
    """The function of a queue."""
    return f"{queue.removesuffix('Parts')}Function"


def test_what_overtakes_is_kept_as_what_it_overtakes_is() -> None:
    queues = of_type("AWS::SQS::Queue")
    for fast, slow in (("Express", "Fanout"), ("ExpressParts", "Broadcast")):
        properties = [queues[f"{name}Queue"] | {"QueueName": ""} for name in (fast, slow)]
        assert properties[0] == properties[1]


def test_there_is_no_queue_that_this_does_not_know() -> None:
    assert set(of_type("AWS::SQS::Queue")) == {
        *("FanoutQueue", "BroadcastQueue", "RedeliveryQueue", "FanoutDeadLetterQueue"),
        *("ExpressQueue", "ExpressPartsQueue", "SettlementQueue"),
    }
    assert set(of_type("AWS::Lambda::EventSourceMapping")) == {
        *("FanoutEvents", "BroadcastEvents", "RedeliveryEvents", "AuditEvents", "ExpressEvents", "ExpressPartsEvents"),
        *("SettlementRecords", "SettlementEvents"),
    }


def test_checks_come_in_any_order_and_are_given_up_when_they_are_of_no_use() -> None:
    queue = of_type("AWS::SQS::Queue")["RedeliveryQueue"]

    assert not {"FifoQueue", "RedrivePolicy"} & {*queue}
    assert queue["VisibilityTimeout"] >= 6 * function_timeout(FUNCTION_RESOURCES["RedeliveryFunction"])
    latest = template()["Parameters"]["RedeliverAfterSeconds"]["MaxValue"] * LATER
    assert latest <= MAX_DELAY_S, "SQS delays nothing for longer"
    assert queue["MessageRetentionPeriod"] > latest + 10 * 60, "it counts from the sending on"
    assert queue["SqsManagedSseEnabled"] is True


def test_the_auditor_is_told_of_every_entry_soon_and_of_nothing_else() -> None:
    mapping = of_type("AWS::Lambda::EventSourceMapping")["AuditEvents"]
    (pattern,) = mapping["FilterCriteria"]["Filters"]

    assert RESOURCES["ConversationTable"]["Properties"]["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}
    assert mapping["EventSourceArn"] == "ConversationTable.StreamArn"
    assert mapping["FunctionName"] == "AuditFunction.Arn"
    assert json.loads(pattern["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {"Keys": {"sk": {"S": [{"prefix": keys.entry(ConvId("g:g"), Seq(1))["sk"]["S"][:4]}]}}},
    }
    assert mapping["StartingPosition"] == "TRIM_HORIZON", "nothing is left out before the mapping works"
    assert mapping["MaximumBatchingWindowInSeconds"] < 60, "SQS forgets after five minutes what it has had"
    assert not {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds"} & {*mapping}, "nothing is given up"


@pytest.mark.parametrize("name", ["Fanout", "Broadcast", "Express", "ExpressParts", "Redelivery", "Settlement"])
def test_one_message_that_fails_does_not_take_its_batch_along(name: str) -> None:
    mapping = of_type("AWS::Lambda::EventSourceMapping")[f"{name}Events"]

    assert mapping["EventSourceArn"] == f"{name}Queue.Arn"
    assert mapping["FunctionName"] == f"{served_by(name)}.Arn"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] <= 10 or name == "Redelivery", "FIFO takes no more"


def test_a_part_of_a_push_has_the_whole_time_of_a_function() -> None:
    for name in ("Broadcast", "ExpressParts"):
        assert of_type("AWS::Lambda::EventSourceMapping")[f"{name}Events"]["BatchSize"] == 1


def test_a_packet_waits_for_no_other_packet() -> None:
    assert of_type("AWS::Lambda::EventSourceMapping")["ExpressEvents"]["BatchSize"] == 1


def test_a_backlog_leaves_executions_to_others_and_keeps_none_unless_told_to() -> None:
    mappings, parameters = of_type("AWS::Lambda::EventSourceMapping"), template()["Parameters"]
    limit = parameters["FanoutConcurrency"]

    for name in ("Fanout", "Broadcast"):
        assert mappings[f"{name}Events"]["ScalingConfig"] == {"MaximumConcurrency": "FanoutConcurrency"}
    assert (limit["MinValue"], limit["MaxValue"]) == (2, 1000), "what AWS takes"
    assert 2 * limit["Default"] < 1000, "the default quota of an account"
    assert parameters["ExpressConcurrency"]["Default"] == 0, "a new account has too few"
    kept = FUNCTION_RESOURCES["ExpressFunction"]["ReservedConcurrentExecutions"]
    assert kept == ["KeepsForExpress", "ExpressConcurrency", "AWS::NoValue"]
    assert not [
        name for name, p in FUNCTION_RESOURCES.items() if "ReservedConcurrentExecutions" in p and "Exp" not in name
    ]


def test_what_is_kept_for_red_packets_is_never_taken_for_more_than_there_is() -> None:
    """Lambda throttles a function that has no room, and its messages wait for three minutes."""
    shares, mappings = template()["Mappings"]["ExpressShares"], of_type("AWS::Lambda::EventSourceMapping")

    assert set(shares) == {str(kept) for kept in template()["Parameters"]["ExpressConcurrency"]["AllowedValues"]}
    for kept, share in shares.items():
        assert 2 <= share["Parts"] <= share["Entries"] <= 1000
        assert share["Entries"] + share["Parts"] == int(kept) or kept == "0"
    for name, part in (("Express", "Entries"), ("ExpressParts", "Parts")):
        lookup = mappings[f"{name}Events"]["ScalingConfig"]["MaximumConcurrency"]
        assert lookup == ["ExpressShares", "ExpressConcurrency", part]


def test_letters_that_nobody_could_deliver_ring() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    watched = {
        (alarm.get("MetricName"), dimension["Value"])
        for alarm in alarms.values()
        for dimension in alarm.get("Dimensions", [])
    }

    assert ("ApproximateNumberOfMessagesVisible", "FanoutDeadLetterQueue.QueueName") in watched
    assert ("ApproximateAgeOfOldestMessage", "FanoutQueue.QueueName") in watched
    for name in ("Broadcast", "Express", "ExpressParts", "Settlement"):
        assert ("ApproximateAgeOfOldestMessage", f"{name}Queue.QueueName") in watched


def test_a_function_that_dies_over_a_batch_rings() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["FunctionDiedAlarm"]
    metrics = [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]
    sources = {mapping["FunctionName"] for mapping in of_type("AWS::Lambda::EventSourceMapping").values()}
    sources |= {target["Arn"] for rule in of_type("AWS::Events::Rule").values() for target in rule["Targets"]}

    assert {metric["Dimensions"][0]["Value"] + ".Arn" for metric in metrics} == sources
    assert {metric["MetricName"] for metric in metrics} == {"Errors"}
    ids = {query["Id"] for query in alarm["Metrics"] if "MetricStat" in query}
    assert all(f"FILL({name}, 0)" in alarm["Metrics"][0]["Expression"] for name in ids)


def test_one_line_is_enough_for_what_is_lost_or_stands_still() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["StuckAlarm"]
    filters = {f["LogGroupName"]: f["FilterPattern"] for f in stuck_filters()}

    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1)
    assert filters == {
        "FanoutLogs": '{ $.message = "still failing" }',
        "BroadcastLogs": '{ $.message = "still failing" }',
        "ExpressLogs": '{ $.message = "still failing" }',
        "AuditLogs": '{ $.level = "ERROR" }',
        "ExpiryLogs": '{ $.level = "ERROR" }',
        "SettlementLogs": (
            '{ ($.message = "still failing") || ($.message = "not settled") || ($.message = "unreadable record") }'
        ),
    }


def stuck_filters() -> list[dict[str, Any]]:
    return [
        f for f in of_type("AWS::Logs::MetricFilter").values() if f["MetricTransformations"][0]["MetricName"] == "Stuck"
    ]


# ---- money ----------------------------------------------------------------------------------------------------------


def test_settlement_is_told_of_every_change_of_a_packet_and_of_nothing_else() -> None:
    mapping = of_type("AWS::Lambda::EventSourceMapping")["SettlementRecords"]
    table = of_type("AWS::DynamoDB::Table")["RedPacketTable"]
    (pattern,) = mapping["FilterCriteria"]["Filters"]

    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert mapping["EventSourceArn"] == "RedPacketTable.StreamArn"
    assert mapping["FunctionName"] == "SettlementFunction.Arn"
    key = keys.packet(PacketId("x"))["sk"]
    assert json.loads(pattern["Pattern"]) == {
        "eventName": ["MODIFY"],
        "dynamodb": {"Keys": {"sk": {name: [value] for name, value in key.items()}}},
    }
    assert mapping["StartingPosition"] == "TRIM_HORIZON", "nothing is left out before the mapping works"
    assert mapping["BisectBatchOnFunctionError"] is True, "one packet stops no other"
    assert not {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds"} & {*mapping}, "nothing is given up"


def test_what_could_not_be_settled_waits_for_hours_and_then_for_a_human() -> None:
    queue = of_type("AWS::SQS::Queue")["SettlementQueue"]
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    waits = sum(delay_s(receives) for receives in range(1, tries + 1))

    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "FanoutDeadLetterQueue.Arn"
    assert 4 * 3600 < waits < queue["MessageRetentionPeriod"], "a payment system may be away for hours"
    assert queue["VisibilityTimeout"] >= 6 * function_timeout(FUNCTION_RESOURCES["SettlementFunction"])
    assert (queue["FifoQueue"], queue["SqsManagedSseEnabled"]) == (True, True)
    assert (queue["DeduplicationScope"], queue["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")
    assert of_type("AWS::Lambda::EventSourceMapping")["SettlementEvents"]["BatchSize"] == 1, (
        "all of its time is a packet's"
    )


def test_packets_that_are_over_are_found_by_their_time_every_minute() -> None:
    table = of_type("AWS::DynamoDB::Table")["RedPacketTable"]
    ((_, rule),) = of_type("AWS::Events::Rule").items()
    (target,) = rule["Targets"]
    permission = RESOURCES["ExpiryPermission"]["Properties"]
    (index,) = table["GlobalSecondaryIndexes"]

    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert target["Arn"] == "ExpiryFunction.Arn"
    assert permission == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": "ExpiryFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": "ExpiryClock.Arn",
    }
    assert index["IndexName"] == DUE
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["due_shard", "due"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}, "a claim does not touch it"


def test_a_clock_that_stands_still_and_money_that_does_not_move_ring() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    lag, silent = alarms["SettlementLagAlarm"], alarms["ExpirySilentAlarm"]

    assert (lag["MetricName"], lag["Dimensions"][0]["Value"]) == ("IteratorAge", "SettlementFunction")
    assert (silent["MetricName"], silent["Dimensions"][0]["Value"]) == ("Invocations", "ExpiryFunction")
    assert (silent["ComparisonOperator"], silent["TreatMissingData"]) == ("LessThanThreshold", "breaching")


def test_the_limits_of_packets_are_parameters_within_what_the_protocol_allows() -> None:
    parameters = template()["Parameters"]
    told = {name: [parameters[name][bound] for bound in ("MinValue", "Default", "MaxValue")] for name in MONEY}

    assert told == MONEY
    assert parameters["MaxRedPacketAmount"]["MaxValue"] * 1000 < MAX_MONEY, "a wallet of many packets is a number too"
    assert parameters["PaymentGatewayUrl"]["Default"] == parameters["PaymentGatewaySecretArn"]["Default"] == ""


MONEY = {
    "MaxRedPacketShares": [1, 500, 500],
    "MaxRedPacketAmount": [0, 2_000_000, 10**12],
    "RedPacketLifeSeconds": [1, 86_400, 604_800],
    "NewWalletAmount": [0, 0, 10**9],
}


# ---- functions -------------------------------------------------------------------------------------------------------


def test_every_function_is_deployed_and_no_other() -> None:
    assert {properties["CodeUri"] for properties in FUNCTION_RESOURCES.values()} == {
        f"functions/{f}" for f in FUNCTIONS
    }
    assert {path.parent.name for path in (ROOT / "functions").glob("*/app.py")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTION_RESOURCES)
def test_a_function_answers_before_api_gateway_gives_up(name: str) -> None:
    properties = FUNCTION_RESOURCES[name]

    assert function_timeout(properties) < 29 or name == "SettlementFunction", "nobody waits for settlement"
    assert "Runtime" not in properties
    assert "Architectures" not in properties
    assert (GLOBALS["Runtime"], GLOBALS["Architectures"]) == ("python3.13", ["arm64"])


def test_the_layer_is_built_for_what_the_functions_run_on() -> None:
    layer = RESOURCES["CommonLayer"]

    assert layer["Properties"]["CompatibleRuntimes"] == [GLOBALS["Runtime"]]
    assert layer["Properties"]["CompatibleArchitectures"] == GLOBALS["Architectures"]
    assert [layer["Metadata"]["BuildArchitecture"]] == GLOBALS["Architectures"]
    assert GLOBALS["Layers"] == ["CommonLayer"]


@pytest.mark.parametrize("name", FUNCTION_RESOURCES)
def test_the_logs_of_a_function_end(name: str) -> None:
    logs = FUNCTION_RESOURCES[name]["LoggingConfig"]["LogGroup"]

    assert RESOURCES[logs]["Type"] == "AWS::Logs::LogGroup"
    assert "RetentionInDays" in RESOURCES[logs]["Properties"]


# ---- the API ---------------------------------------------------------------------------------------------------------


def routes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every route by its key: its resource's name, and its properties."""
    return {p["RouteKey"]: (name, p) for name, p in of_type("AWS::ApiGatewayV2::Route").items()}


def test_the_routes_are_those_of_the_protocol() -> None:
    assert set(routes()) == {"$connect", "$disconnect", *TWO_WAY}
    assert of_type("AWS::ApiGatewayV2::Api")["Api"]["RouteSelectionExpression"] == "$request.body.route"


@pytest.mark.parametrize("key", TWO_WAY)
def test_a_route_with_replies_has_what_api_gateway_needs_to_send_them(key: str) -> None:
    name, route = routes()[key]
    responses = [
        (resource["Condition"], resource["Properties"])
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::ApiGatewayV2::RouteResponse" and resource["Properties"]["RouteId"] == name
    ]

    assert route["RouteResponseSelectionExpression"] == "$default"
    assert responses == [("OnAws", {"ApiId": "Api", "RouteId": name, "RouteResponseKey": "$default"})]


@pytest.mark.parametrize("key", ["$connect", "$disconnect"])
def test_a_route_without_replies_has_none(key: str) -> None:
    assert "RouteResponseSelectionExpression" not in routes()[key][1]


@pytest.mark.parametrize(
    ("key", "function"),
    [
        ("$connect", "Connect"),
        ("$disconnect", "Connect"),
        ("$default", "Connect"),
        ("connect", "Connect"),
        ("message", "Message"),
        ("sync", "Sync"),
        ("group", "Group"),
        ("redpacket", "RedPacket"),
    ],
)
def test_a_route_leads_to_its_function_which_api_gateway_may_call(key: str, function: str) -> None:
    _, route = routes()[key]
    integration = RESOURCES[f"{function}Integration"]["Properties"]
    permission = RESOURCES[f"{function}Permission"]["Properties"]

    assert route["Target"] == f"integrations/${{{function}Integration}}"
    assert integration["IntegrationType"] == "AWS_PROXY"
    assert f"${{{function}Function.Arn}}" in integration["IntegrationUri"]
    assert permission["FunctionName"] == f"{function}Function"
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["SourceArn"].endswith(":${Api}/${Stage}/" + ("*" if function == "Connect" else key))


def test_nobody_connects_without_a_token() -> None:
    _, open_route = routes()["$connect"]
    authorizer = RESOURCES["TokenAuthorizer"]["Properties"]

    assert (open_route["AuthorizationType"], open_route["AuthorizerId"]) == ("CUSTOM", "TokenAuthorizer")
    assert authorizer["AuthorizerType"] == "REQUEST"
    assert authorizer["IdentitySource"] == ["route.request.querystring.token"]
    assert "${AuthorizerFunction.Arn}" in authorizer["AuthorizerUri"]
    assert RESOURCES["AuthorizerPermission"]["Properties"]["SourceArn"].endswith(
        ":${Api}/authorizers/${TokenAuthorizer}"
    )


def test_nothing_that_could_be_read_is_a_secret() -> None:
    assert not [name for name, p in of_type("AWS::SecretsManager::Secret").items() if "SecretString" in p]
    assert "GenerateSecretString" in RESOURCES["JwtSecret"]["Properties"]
    assert not [name for name, p in template()["Parameters"].items() if "secret" in name.lower() and p.get("Default")]


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_file_uses_nothing_of_yaml_that_cloudformation_does_not() -> None:
    tokens = list(yaml.scan((ROOT / "template.yaml").read_text()))

    assert not [t for t in tokens if isinstance(t, (yaml.AnchorToken, yaml.AliasToken, yaml.DocumentStartToken))]
    assert "<<:" not in (ROOT / "template.yaml").read_text()


def test_every_reference_in_the_file_leads_somewhere() -> None:
    text = (ROOT / "template.yaml").read_text()
    known = {*RESOURCES, *template()["Parameters"]}
    loader = yaml.SafeLoader(text)
    references: set[str] = set()
    try:
        node = loader.get_single_node()
        assert node is not None
        todo: list[yaml.Node] = [node]
        while todo:
            current = todo.pop()
            if isinstance(current, yaml.ScalarNode):
                if current.tag in {"!Ref", "!GetAtt"}:
                    references.add(current.value.split(".")[0])
                if current.tag == "!Sub":
                    references |= {part.split("}")[0].split(".")[0] for part in current.value.split("${")[1:]}
            elif isinstance(current, yaml.SequenceNode):
                todo += current.value
            elif isinstance(current, yaml.MappingNode):
                todo += [child for pair in current.value for child in pair]
    finally:
        loader.dispose()

    assert {name for name in references if not name.startswith("AWS::")} <= known
    assert len(references) > 20
