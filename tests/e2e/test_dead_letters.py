"""Dead letters of a deployed stack go back with `im admin redrive`, and members get their entries once in effect."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imclient.cli import main
from local import Stack
from local.cloud import REGION, ROOT_CREDENTIALS
from local.stack_file import write_stack_file
from tests.e2e.crowd import fan_out_held_up
from tests.e2e.talker import Talker

pytestmark = pytest.mark.e2e

CONV, GROUP = "d:dave:dora", "g:redrive"
PATIENCE_S = 60.0


def fail_again_and_again(stack: Stack) -> None:
    """Receive everything in the fan-out queue so often that SQS moves it to the dead-letter queue."""
    sqs, url = stack.cloud.client("sqs"), stack.outputs["FanoutQueueUrl"]
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    for _ in range(int(json.loads(policy)["maxReceiveCount"]) + 1):
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)


def bury(stack: Stack, body: str, group: str, deduplication: str) -> None:
    stack.cloud.client("sqs").send_message(
        QueueUrl=stack.outputs["FanoutDeadLetterQueueUrl"],
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=deduplication,
    )


def bodies(stack: Stack) -> list[tuple[str, str]]:
    """Group and body of each message in the fan-out queue; they stay there."""
    received = stack.cloud.client("sqs").receive_message(
        QueueUrl=stack.outputs["FanoutQueueUrl"],
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
        MessageSystemAttributeNames=["MessageGroupId"],
    )
    return [(message["Attributes"]["MessageGroupId"], message["Body"]) for message in received["Messages"]]


def is_done(stack: Stack) -> bool:
    """Nothing waits in the queues to the functions, or is in their hands."""
    sqs = stack.cloud.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return not any(
        int(count)
        for queue in ("FanoutQueueUrl", "BroadcastQueueUrl", "ExpressQueueUrl", "ExpressPartsQueueUrl")
        for count in sqs.get_queue_attributes(QueueUrl=stack.outputs[queue], AttributeNames=names)[
            "Attributes"
        ].values()
    )


def until_done(stack: Stack) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_done(stack):
        assert time.monotonic() < deadline, "the queues do not become empty"
        time.sleep(0.1)


def dead(stack: Stack) -> list[dict[str, Any]]:
    ended = im("dead", "--json")
    assert ended.exit_code == 0, ended.output
    return list(json.loads(ended.output)["dead"])


def im(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["admin", *arguments])


def until_seq(person: Talker, conv: str, seq: int) -> list[int]:
    """The seqs of the entries that are pushed, in order, until one comes; acked, and repeats dropped, as clients do."""
    seqs: list[int] = []
    while seq not in seqs:
        entry = person.entry()
        if entry["conv"] == conv and entry["seq"] not in seqs:
            seqs.append(entry["seq"])
        person.ok("sync.ack", {"acks": [{"conv": entry["conv"], "seq": entry["seq"]}]})
    return seqs


def rows(person: Talker) -> list[dict[str, Any]]:
    return list(person.ok("sync.inbox")["conversations"])


@pytest.fixture(autouse=True)
def stack_file(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack_file(tmp_path / "stack.json", stack, "")
    monkeypatch.setenv("IM_STACK", str(tmp_path / "stack.json"))


def test_members_get_what_was_dead_once_and_in_order_however_often_it_is_moved(stack: Stack) -> None:
    with Talker(stack, "dora") as dora, Talker(stack, "dave") as dave:
        dora.ok("group.create", {"gid": "redrive", "name": "Redrive", "members": ["dave"]})
        assert until_seq(dave, GROUP, 1) == [1]
        with fan_out_held_up(stack):
            for i in range(1, 4):
                dora.say(f"Message {i}", f"c{i}", to="dave")
            queued = bodies(stack)
            fail_again_and_again(stack)
        bury(stack, json.dumps({"v": 99, "secret": "x"}), CONV, "poison")
        part = {"v": 1, "conv": GROUP, "seqs": [1], "number": 0, "of": 1, "origins": {}}
        bury(stack, json.dumps(part), f"{GROUP}#0", "part")

        listed = dead(stack)
        assert [(d["source"], d["conv"], d["first"], d["last"]) for d in listed if d["readable"]] == [
            *(("fanout", CONV, seq, seq) for seq in range(1, 4)),
            ("broadcast", GROUP, 1, 1),
        ]
        (poison,) = [d["id"] for d in listed if not d["readable"]]
        assert [row["conv"] for row in rows(dave)] == [GROUP]

        moved = im("redrive", "--conv", CONV)
        assert moved.exit_code == 0, moved.output
        assert "3 moved" in moved.output
        assert "Message" not in moved.output
        assert until_seq(dave, CONV, 3) == [1, 2, 3]
        until_done(stack)
        before = rows(dave)
        assert [(row["conv"], row["last_seq"], row["unread"]) for row in before] == [(CONV, 3, 3), (GROUP, 1, 0)]

        # As after a redrive that was broken off, when SQS has forgotten what it was sent.
        for i, (group, body) in enumerate(queued):
            bury(stack, body, group, f"again{i}")
        again = im("redrive")
        assert again.exit_code == 1, again.output
        assert "4 moved" in again.output
        assert f"stays, unreadable: {poison}" in again.output
        until_done(stack)
        assert rows(dave) == before
        history = dave.ok("sync.entries", {"conv": CONV, "after": 0})["entries"]
        assert [(entry["seq"], entry["body"]["text"]) for entry in history] == [
            (seq, f"Message {seq}") for seq in range(1, 4)
        ]

        assert [d["id"] for d in dead(stack)] == [poison]
        assert im("redrive", "--drop", poison, "--yes").exit_code == 0
        assert dead(stack) == []


def test_what_a_function_cannot_read_is_dead_at_once_and_fails_no_other_message(stack: Stack) -> None:
    with Talker(stack, "dina") as dina, Talker(stack, "dean") as dean:
        stack.cloud.client("sqs").send_message(
            QueueUrl=stack.outputs["FanoutQueueUrl"],
            MessageBody='{"v": 1, "entry": {"secret": "x"}}',
            MessageGroupId="d:dean:dina",
            MessageDeduplicationId="poison",
        )
        dina.say("And me?", "c1", to="dean")
        assert dean.entry()["body"] == {"text": "And me?"}
        until_done(stack)

        (letter,) = dead(stack)
        assert (letter["readable"], letter["source"], letter["conv"]) == (False, "fanout", None)
        assert letter["reason"].startswith("UnreadableMessage")
        assert "secret" not in im("dead").output
        assert im("redrive").exit_code == 1
        assert [d["id"] for d in dead(stack)] == [letter["id"]]
        assert im("redrive", "--drop", letter["id"], "--yes").exit_code == 0


def test_a_red_packet_that_was_dead_goes_back_to_its_own_queue(stack: Stack) -> None:
    with Talker(stack, "drew") as drew, Talker(stack, "dale") as dale:
        with fan_out_held_up(stack, "ExpressQueueUrl"):
            packet = {"conv": "d:dale:drew", "cmid": "p1", "kind": "direct", "total": 100}
            sent = drew.ok("redpacket.create", packet)
            sqs, url = stack.cloud.client("sqs"), stack.outputs["ExpressQueueUrl"]
            (queued,) = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["All"])["Messages"]
            bury(stack, queued["Body"], queued["Attributes"]["MessageGroupId"], "packet")
            sqs.delete_message(QueueUrl=url, ReceiptHandle=queued["ReceiptHandle"])
        (letter,) = dead(stack)
        assert (letter["source"], letter["conv"], letter["first"]) == ("express", "d:dale:drew", sent["seq"])

        with fan_out_held_up(stack):
            moved = im("redrive")
            assert (moved.exit_code, moved.output.splitlines()[-1]) == (0, "1 moved")
            assert dale.entry()["seq"] == sent["seq"]
        until_done(stack)


def test_a_stack_is_found_by_its_name_too(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ROOT_CREDENTIALS | {"AWS_ENDPOINT_URL": stack.cloud.endpoint}).items():
        monkeypatch.setenv(name, value)

    found = im("dead", "--stack", stack.name, "--region", REGION)
    missing = im("dead", "--stack", "nobody", "--region", REGION)

    assert (found.exit_code, found.output) == (0, "0 dead letters\n")
    assert missing.exit_code == 2
    assert "cannot look up the stack nobody" in missing.output
