"""`im admin settle` puts packets into the queue of settlement; how a stack is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from moto import mock_aws

from im.aws import settlement_queue
from im.domain.red_packet import PACKET_ID as IDS_OF_THE_SERVER
from imclient.admin.deployed import Deployed, stack_of_account
from imclient.admin.settling import PACKET_ID, Settling
from imclient.cli import admin_settle, main
from imclient.errors import StackError

REGION = "eu-central-1"
KEYS = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
TYPES = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}]
ONE, TWO, NONE = "rp" + "a" * 26, "rp" + "b" * 26, "rp" + "c" * 26


class Cloud:
    """A table with two packets, and the queue."""

    def __init__(self) -> None:
        self.sqs: Any = boto3.client("sqs", REGION)
        self.dynamodb: Any = boto3.client("dynamodb", REGION)
        attributes = {"FifoQueue": "true"}
        self.url = self.sqs.create_queue(QueueName="settlement.fifo", Attributes=attributes)["QueueUrl"]
        self.dynamodb.create_table(
            TableName="packets", KeySchema=KEYS, AttributeDefinitions=TYPES, BillingMode="PAY_PER_REQUEST"
        )
        for packet in (ONE, TWO):
            self.dynamodb.put_item(TableName="packets", Item={"pk": {"S": packet}, "sk": {"S": "META"}})

    def queued(self) -> list[tuple[str, str, str]]:
        """Body, group and deduplication id of what is in the queue; it is received."""
        out = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"])
        return [
            (m["Body"], m["Attributes"]["MessageGroupId"], m["Attributes"]["MessageDeduplicationId"])
            for m in out.get("Messages", [])
        ]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with mock_aws():
        for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
            monkeypatch.setenv(name, value)
        made = Cloud()
        outputs = {"SettlementQueueUrl": made.url, "RedPacketTableName": "packets"}
        found = Deployed("im", outputs, {}, _session=boto3.Session(region_name=REGION), _options={})
        monkeypatch.setattr(admin_settle, "deployed", lambda *_: found)
        yield made


def settle(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["admin", "settle", *arguments], input=stdin)


def test_packets_are_queued_as_the_server_queues_them(cloud: Cloud) -> None:
    ended = settle(ONE, TWO, ONE)

    assert (ended.exit_code, ended.output) == (0, f"queued: {ONE}\nqueued: {TWO}\n2 queued\n")
    queued = cloud.queued()
    assert [settlement_queue.decode(body) for body, _, _ in queued] == [ONE, TWO]
    assert [group for _, group, _ in queued] == [ONE, TWO]


def test_sqs_takes_no_packet_for_a_repeat(cloud: Cloud) -> None:
    settlement_queue.SettlementQueue(cloud.sqs, cloud.url).put(ONE, "closed:1")  # type: ignore[arg-type]

    assert [settle(ONE).exit_code, settle(ONE).exit_code] == [0, 0]

    assert len({name for _, _, name in cloud.queued()}) == 3


def test_there_is_no_such_packet(cloud: Cloud) -> None:
    ended = settle(NONE, ONE)

    assert (ended.exit_code, ended.output) == (1, f"no such packet: {NONE}\nqueued: {ONE}\n1 queued\n")
    assert [group for _, group, _ in cloud.queued()] == [ONE]


def test_what_an_audit_calls_unsettled_is_queued(cloud: Cloud, tmp_path: Path) -> None:
    late = [
        {"kind": "unsettled", "packet": ONE, "since": 1, "problem": "1 claims of 5 together are not paid"},
        {"kind": "not ended", "packet": TWO, "since": 1, "problem": "is still open"},
        {"kind": "unsettled", "packet": ONE, "since": 2, "problem": "6 is not given back"},
    ]
    audit = json.dumps({"late": late, "findings": []})
    (tmp_path / "audit.json").write_text(audit)

    ended = [settle("--from-audit", str(tmp_path / "audit.json")), settle("--from-audit", "-", TWO, stdin=audit)]

    assert [one.output.splitlines()[-1] for one in ended] == ["1 queued", "2 queued"]
    assert settle("--from-audit", "-", stdin='{"late": []}').output == "0 queued\n"


@pytest.mark.parametrize(
    "arguments", [(), ("rp1",), (ONE.upper(),), (f"{ONE}\n",), ("--from-audit", "-"), ("--from-audit", "/nowhere")]
)
def test_wrong_usage(cloud: Cloud, arguments: tuple[str, ...]) -> None:
    ended = settle(*arguments, stdin="[]")

    assert ended.exit_code == 2
    assert "Usage:" in ended.output
    assert cloud.queued() == []


def test_when_aws_refuses_it_is_said_how_much_is_queued(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Settling.settle

    def refuse(settling: Settling, packet: str) -> bool:
        if packet == ONE:
            return real(settling, packet)
        refusal: Any = {"Error": {"Code": "AccessDenied", "Message": "not for you"}}
        monkeypatch.setattr(
            "botocore.client.BaseClient._make_api_call",
            lambda *_: (_ for _ in ()).throw(ClientError(refusal, "SendMessage")),
        )
        return real(settling, packet)

    monkeypatch.setattr(Settling, "settle", refuse)

    ended = settle(ONE, TWO)

    assert ended.exit_code == 2
    assert "stopped; 1 queued until then" in ended.output
    assert "AccessDenied" in ended.output


def test_the_form_of_ids_is_the_servers() -> None:
    assert PACKET_ID.pattern == IDS_OF_THE_SERVER.pattern


# ---- the stack -------------------------------------------------------------------------------------------------------


def test_a_stack_says_its_outputs_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {
        "Parameters": [
            {"ParameterKey": "PaymentGatewayUrl", "ParameterValue": "https://pay.example.com"},
            {"ParameterKey": "FromAnotherStack", "ResolvedValue": "x"},
        ],
        "Outputs": [{"OutputKey": "RedPacketTableName", "OutputValue": "packets"}],
    }
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", lambda *_: {"Stacks": [described]})

    found = stack_of_account("im", region=REGION)

    assert found.output("RedPacketTableName") == "packets"
    assert found.parameters == {"PaymentGatewayUrl": "https://pay.example.com", "FromAnotherStack": ""}
    assert found.client("dynamodb").meta.region_name == REGION
    with pytest.raises(StackError, match="no output WalletTableName"):
        found.output("WalletTableName")
