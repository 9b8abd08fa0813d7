"""Pushes to open connections, through API Gateway's connection API."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from im.domain.push import PushOutcome

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

    from im.domain.ids import ConnectionId


log = logging.getLogger("im")


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
            return _failed(connection, e)
        return PushOutcome.SENT

    def close(self, connection: ConnectionId) -> PushOutcome:
        """End a connection."""
        try:
            self.client.delete_connection(ConnectionId=connection)
        except self.client.exceptions.GoneException:
            return PushOutcome.GONE
        except (ClientError, BotoCoreError) as e:
            return _failed(connection, e)
        return PushOutcome.SENT


def _failed(connection: ConnectionId, error: Exception) -> PushOutcome:
    """Note a push that failed. A line of level ERROR, which an alarm counts, when the function's policy forbids it."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    # AWS names it ForbiddenException here; the emulated cloud answers AccessDenied.
    denied = code in {"ForbiddenException", "AccessDeniedException", "AccessDenied"}
    log.log(
        logging.ERROR if denied else logging.WARNING,
        "connection API failed",
        extra={"connection": connection, "error": code},
    )
    return PushOutcome.FAILED
