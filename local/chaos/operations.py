"""Which call of the AWS SDK a request is, and what the cloud answers to one that it refuses."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from local.chaos.faults import PUSH, Call, Kind
from local.chaos.messages import Message

_CREDENTIAL = re.compile(r"Credential=([A-Z0-9]+)/[^/]*/[^/]*/([a-z0-9-]+)/")
_CONNECTION_API = {"POST": PUSH, "DELETE": "execute-api.DeleteConnection", "GET": "execute-api.GetConnection"}
_SERVICES = {"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs", "secretsmanager": "secretsmanager"}


def call_of(request: Message, functions: Mapping[str, str]) -> Call:
    """What a request asks for. `functions` has their names by their access keys."""
    credential = _CREDENTIAL.search(request.header("authorization"))
    key, service = credential.groups() if credential else ("", "unknown")
    return Call(_operation(request, service), functions.get(key), request.header("amz-sdk-invocation-id") or None)


def _operation(request: Message, service: str) -> str:
    method, _, rest = request.start.partition(" ")
    if target := request.header("x-amz-target"):
        prefix, _, name = target.rpartition(".")
        return f"{_SERVICES.get(prefix, prefix)}.{name}"
    if "/@connections/" in rest:
        return _CONNECTION_API.get(method, f"execute-api.{method}")
    return f"{service}.{method}"


def refusal(call: Call, kind: Kind) -> Message:
    """The answer to a call that fails with `kind`, or that is said to have been done and was not."""
    if kind is Kind.DROPPED:
        return _response(HTTPStatus.OK, "", b"")
    if kind is Kind.GONE:
        return _response(HTTPStatus.GONE, "GoneException", b"{}")
    if kind is Kind.ERROR:
        status, error = HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError"
    elif call.operation.startswith("execute-api."):
        status, error = HTTPStatus.TOO_MANY_REQUESTS, "LimitExceededException"
    else:
        status, error = HTTPStatus.BAD_REQUEST, "ThrottlingException"
    return _response(status, error, json.dumps({"__type": error, "message": "Injected by local/chaos"}).encode())


def _response(status: HTTPStatus, error: str, body: bytes) -> Message:
    headers = [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))]
    if error:
        headers.append(("x-amzn-ErrorType", error))
    return Message(f"HTTP/1.1 {status.value} {status.phrase}", headers, body)
