"""The queues on moto, with a clock of their own and faults at any call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, get_args

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs import models as moto_sqs

from imclient.admin.dead_letters import Source
from imclient.admin.queues import Queues

REGION = "eu-central-1"
HOLD_S = 120

Hook = Callable[[str, dict[str, Any]], None]


class Killed(BaseException):
    """The program ends: no handler of it sees this."""


class Client:
    """An SQS client that tells each call before and after it is made."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.calls: list[str] = []
        self.before: Hook = lambda _op, _params: None
        self.after: Hook = lambda _op, _params: None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            self.calls.append(name)
            self._cloud.pass_s(0.001)
            self.before(name, params)
            if name == "receive_message":
                self._cloud.expire()
                params["WaitTimeSeconds"] = 0  # nobody waits for what does not come
            out = getattr(self._cloud.sqs, name)(**params)
            self.after(name, params)
            out["ResponseMetadata"]["HTTPHeaders"]["date"] = formatdate(self._cloud.now, usegmt=True)
            return out

        return call


class Cloud:
    """What AWS holds."""

    def __init__(self) -> None:
        self.now = time.time()
        self.sqs = boto3.client("sqs", REGION, aws_access_key_id="test", aws_secret_access_key="test")
        self.urls = {name: self._queue(name) for name in (*get_args(Source), "dead")}

    def _queue(self, name: str) -> str:
        return str(self.sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"])

    def queues(self, client: Client | None = None) -> Queues:
        """The queues, through a client of one's own."""
        of = client or Client(self)
        return Queues(of, self.urls["dead"], {name: self.urls[name] for name in get_args(Source)})  # type: ignore[arg-type]

    def bury(self, body: str, group: str, **attributes: str) -> str:
        """Put a message into the dead-letter queue; its id."""
        self.now += 0.001
        out = self.sqs.send_message(
            QueueUrl=self.urls["dead"],
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=f"{group}:{self.now}",
            MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
        )
        return str(out["MessageId"])

    def entry(self, conv: str, seq: int) -> str:
        """Bury an entry; its id."""
        return self.bury(entry_body(conv, seq), conv)

    def content(self, queue: str) -> list[tuple[str, str]]:
        """Group and body of all that a queue holds, whoever has received it."""
        return [(str(message.group_id), message.body) for message in self._model(queue)._messages]

    def expire(self) -> None:
        """Make visible what nobody holds any more.

        moto does it message by message while it looks for some, and so begins with the last one of a group.
        """
        dead = self._model("dead")
        for message in list(dead.pending_messages):
            if message.visible:
                dead.pending_messages.remove(message)

    def _model(self, queue: str) -> moto_sqs.Queue:
        return moto_sqs.sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[f"{queue}.fifo"]

    def clear(self) -> None:
        """Empty all queues. Quicker than other ones."""
        for name in self.urls:
            model = self._model(name)
            model._messages.clear()
            model.pending_messages.clear()

    def pass_s(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds


@contextmanager
def cloud_on_moto() -> Iterator[Cloud]:
    """Empty queues."""
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        cloud = Cloud()
        patch.setattr(moto_sqs, "unix_time", lambda: cloud.now)
        patch.setattr(moto_sqs, "unix_time_millis", lambda: cloud.now * 1000)
        yield cloud


def entry_body(conv: str, seq: int, text: str = "secret", kind: str = "text") -> str:
    """A message of the fan-out queues."""
    entry = {
        "conv": conv,
        "seq": seq,
        "n": seq,
        "epoch": 0,
        "kind": kind,
        "sender": "ann",
        "ts": 1_763_717_400_000,
        "body": json.dumps({"text": text}),
        "cmid": f"c{seq}",
        "mentions": [],
        "reply_to": None,
    }
    return json.dumps({"v": 1, "entry": entry, "origin": None, "only": None})


def part_body(conv: str, first: int, last: int, number: int = 0, of: int = 2) -> str:
    """A message of the queue of parts."""
    seqs = list(range(first, last + 1))
    return json.dumps({"v": 1, "conv": conv, "seqs": seqs, "number": number, "of": of, "origins": {}})


def lost_answer() -> Exception:
    """The call was made, and nobody knows."""
    return ReadTimeoutError(endpoint_url="https://sqs")
