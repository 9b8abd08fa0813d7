"""How clients are made: explicit time-outs and retries. Only runtime/wiring.py calls this.

The longest call takes 15 s: 3 attempts of 1 s to connect and 3 s to read, with waits of at most 1 and 2 s between them.
That is below the functions' time-out of 25 s. A request makes several calls; when more than one of them is that slow,
API Gateway answers in the handler's place and the client sends again, which every operation allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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


def dynamodb() -> DynamoDBClient:
    """A client for tables."""
    return boto3.client("dynamodb", config=_CONFIG)


def sqs() -> SQSClient:
    """A client for queues."""
    return boto3.client("sqs", config=_CONFIG)


def secrets() -> SecretsManagerClient:
    """A client for secrets."""
    return boto3.client("secretsmanager", config=_CONFIG)


def connections(endpoint: str) -> ApiGatewayManagementApiClient:
    """A client for pushes to the connections of the API stage at `endpoint`."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, config=_PUSH_CONFIG)
