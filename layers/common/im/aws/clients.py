"""How clients are made: explicit time-outs and retries. Only runtime/wiring.py calls this.

The longest call takes 15 s: 3 attempts of 1 s to connect and 3 s to read, with waits of at most 1 and 2 s between them.
That is below the functions' time-out of 25 s. A request makes several calls; when more than one of them is that slow,
API Gateway answers in the handler's place and the client sends again, which every operation allows.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, cast

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

POOL: Final = 32
"""Connections kept open a client: as many as the fan-out has threads."""

_CONFIG: Final = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=POOL,
    tcp_keepalive=True,
    parameter_validation=False,  # costs CPU a call, and DynamoDB checks the same again
)
_PUSH_CONFIG: Final = _CONFIG.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))
"""A push is a courtesy to a stored entry: a slow connection must not hold up the others."""


CONFLICT_ATTEMPTS: Final = 5


def dynamodb() -> DynamoDBClient:
    """A client for tables.

    DynamoDB refuses a single write to an item that a transaction is changing at that moment
    (TransactionConflictException), and botocore does not make it again. (Neither moto nor MiniStack ever refuse one.)
    """
    client = boto3.client("dynamodb", config=_CONFIG)
    client.meta.events.register("needs-retry.dynamodb", cast("Any", _again_after_conflict))
    return client


def _again_after_conflict(response: Any, attempts: int, **_: object) -> float | None:
    """How many seconds to wait before a call is made again that met a transaction; None for any other answer."""
    error = response[1].get("Error", {}) if response is not None else {}
    if error.get("Code") != "TransactionConflictException" or attempts > CONFLICT_ATTEMPTS:
        return None
    return random.uniform(0.005, 0.02 * 2**attempts)  # noqa: S311 - spreads load, guards nothing


def sqs() -> SQSClient:
    """A client for queues."""
    return boto3.client("sqs", config=_CONFIG)


def secrets() -> SecretsManagerClient:
    """A client for secrets."""
    return boto3.client("secretsmanager", config=_CONFIG)


def connections(endpoint: str) -> ApiGatewayManagementApiClient:
    """A client for pushes to the connections of the API stage at `endpoint`."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, config=_PUSH_CONFIG)
