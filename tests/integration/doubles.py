"""The connection API and the log, for functions on tables in memory."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from types import SimpleNamespace

from botocore.exceptions import ClientError

from tests.integration.house import Device, House


class Gone(ClientError):
    """The connection API knows no such connection."""


@dataclass
class ConnectionApi:
    """A client of the connection API, for the devices of a house."""

    house: House
    exceptions = SimpleNamespace(GoneException=Gone)

    def open(self, connection: str) -> Device:
        device = self.house.devices.get(connection)
        if device is None or device.closed:
            raise Gone({"Error": {"Code": "GoneException"}}, "push")
        return device

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        self.open(ConnectionId).pushes.append(json.loads(Data))

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        self.open(ConnectionId).hang_up()


class LastError(logging.Handler):
    """Keeps what a function has logged as an error, in place of a line for each frame."""

    error: BaseException | str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.exc_info[1] if record.exc_info else record.getMessage()
