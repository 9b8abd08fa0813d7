"""Pushes to open connections, through API Gateway's connection API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from im.domain.push import PushOutcome

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

    from im.domain.ids import ConnectionId


@dataclass(frozen=True, slots=True)
class ConnectionPusher:
    """Posts to the connections of one API stage. Safe to share between threads."""

    client: ApiGatewayManagementApiClient

    def push(self, connection: ConnectionId, frame: str) -> PushOutcome:
        """Send one frame of at most 32 KiB. Never raises for what is wrong with the connection or the network."""
        try:
            self.client.post_to_connection(ConnectionId=connection, Data=frame.encode())
        except self.client.exceptions.GoneException:
            return PushOutcome.GONE
        except (ClientError, BotoCoreError) as e:
            if _denied(e):
                raise
            return PushOutcome.FAILED
        return PushOutcome.SENT

    def close(self, connection: ConnectionId) -> PushOutcome:
        """End a connection."""
        try:
            self.client.delete_connection(ConnectionId=connection)
        except self.client.exceptions.GoneException:
            return PushOutcome.GONE
        except (ClientError, BotoCoreError) as e:
            if _denied(e):
                raise
            return PushOutcome.FAILED
        return PushOutcome.SENT


def _denied(error: Exception) -> bool:
    """Whether the function's policy forbids the call: a mistake in the deployment, which must not stay silent.

    AWS names it ForbiddenException here; the emulated cloud answers AccessDenied.
    """
    if not isinstance(error, ClientError):
        return False
    return error.response["Error"]["Code"] in {"ForbiddenException", "AccessDeniedException", "AccessDenied"}
