"""A short way from a client's method to moto's tables, and to the house's connections.

botocore and moto spend most of a call on signing, HTTP and putting answers together: thousands of cases have no time
for that. Here a call goes straight to the code of moto that has the effect. That it is the same call is checked: each
flow is also played through all of botocore (Stage.learn in play.py), and so is every call that botocore makes twice.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

from botocore import xform_name
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.exceptions import DynamodbException
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.dynamodb.responses import DynamoHandler
from moto.sqs.models import sqs_backends

from tests.integration.house import ENDPOINT, REGION, Call, in_use

Data = dict[str, Any]

SERVICES: Final = frozenset({"dynamodb", "execute-api", "sqs"})


class _Tables(DynamoHandler):
    """moto's operations on tables, without a request around them."""

    @property
    def dynamodb_backend(self) -> Any:
        return dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION]


def call_tables(operation: str, params: Data) -> tuple[int, Data]:
    """The status and the answer of one DynamoDB call."""
    handler = _Tables()
    handler.body = json.loads(json.dumps(params))
    try:
        result = getattr(handler, xform_name(operation))().result
    except DynamodbException as e:
        told: Data = json.loads(str(e.description))
        code = str(told.pop("__type")).rpartition("#")[2]
        message = told.pop("Message", None) or told.pop("message", "")
        return 400, {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}} | told
    answer: Data = json.loads(dynamo_json_dump(result))
    return 200, {name: value for name, value in answer.items() if value is not None}


def call_connections(operation: str, params: Data) -> tuple[int, Data]:
    """The status and the answer of one call to the connection API."""
    request = SimpleNamespace(
        url=f"{ENDPOINT}/@connections/{quote(params['ConnectionId'], safe='')}",
        method="DELETE" if operation == "DeleteConnection" else "POST",
        body=params.get("Data", b""),
    )
    response = in_use[-1].answer_push(request)
    if response.status_code < 300:
        return response.status_code, {}
    return response.status_code, {"Error": {"Code": response.headers["x-amzn-ErrorType"], "Message": ""}}


def call_queues(operation: str, params: Data) -> tuple[int, Data]:
    """The status and the answer of one message that is sent or deleted."""
    backend, name = sqs_backends[DEFAULT_ACCOUNT_ID][REGION], params["QueueUrl"].rpartition("/")[2]
    if operation == "DeleteMessage":
        backend.delete_message(name, params["ReceiptHandle"])
        return 200, {}
    sent = backend.send_message(
        name,
        params["MessageBody"],
        delay_seconds=params.get("DelaySeconds"),
        deduplication_id=params.get("MessageDeduplicationId"),
        group_id=params.get("MessageGroupId"),
    )
    return 200, {"MessageId": sent.id}


def has_messages(url: str) -> bool:
    """Whether a queue holds anything."""
    return bool(sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[url.rpartition("/")[2]]._messages)


EFFECTS: Final = {"dynamodb": call_tables, "execute-api": call_connections, "sqs": call_queues}


def is_short(service: str, operation: str, params: Data) -> bool:
    """Whether a call has a short way."""
    return service != "sqs" or (operation in {"SendMessage", "DeleteMessage"} and "MessageAttributes" not in params)


def make_call(client: Any, function: str, service: str, operation: str, params: Data) -> Data:
    """What the method of a client returns or raises, the house being told as ever."""
    house, call = in_use[-1], Call(function, service, operation, params)
    house.begin(call)
    status, answer = EFFECTS[service](operation, params)
    house.end(call, answer)
    if status >= 300:
        raise client.exceptions.from_code(answer["Error"]["Code"])(answer, operation)
    return answer
