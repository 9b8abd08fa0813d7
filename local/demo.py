"""What a new local stack has in it: four users who share a group with one message."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

from local.deploy import Stack
from local.errors import LocalStackError

USERS = {"alice": "Alice", "bob": "Bob", "carol": "Carol", "dave": "Dave"}
GROUP = "g:demo"
GROUP_NAME = "Demo"
WELCOME = "Welcome! Open this page in a second window as somebody else, and write."

# The functions start for the first time, one after the other.
TIMEOUT_S = 60.0


def prepare_demo(stack: Stack) -> None:
    """Creates the group and its first message through the stack's own protocol, if they are not there yet.

    Raises LocalStackError if the stack refuses, or does not answer.
    """
    owner, *others = USERS
    with _connected(stack, owner) as connection:
        _request(connection, "group", "create", {"gid": "demo", "name": GROUP_NAME, "members": others})
        first = _request(connection, "sync", "entries", {"conv": GROUP, "after": 0, "limit": 10})["entries"]
        if not any(entry["kind"] == "text" for entry in first):
            text = {"conv": GROUP, "cmid": "demo-welcome", "kind": "text", "body": {"text": WELCOME}}
            _request(connection, "message", "send", text)


@contextlib.contextmanager
def _connected(stack: Stack, user: str) -> Iterator[ClientConnection]:
    url = f"{stack.websocket}?token={stack.token(user)}&device=demo&platform=other"
    try:
        with connect(url, open_timeout=TIMEOUT_S, proxy=None) as connection:
            yield connection
    except (OSError, TimeoutError, ValueError) as failed:
        raise LocalStackError(
            f"The stack does not answer {user}: {failed}. See {stack.cloud.state.cloud_log}"
        ) from failed


def _request(connection: ClientConnection, route: str, op: str, data: dict[str, Any]) -> dict[str, Any]:
    """Sends one frame and returns the data of its reply; pushes in between are not for us."""
    request = {"route": route, "op": op, "id": f"{route}.{op}", "data": data}
    connection.send(json.dumps(request))
    while True:
        frame: dict[str, Any] = json.loads(connection.recv(TIMEOUT_S))
        if frame.get("id") == request["id"]:
            break
    if not frame.get("ok"):
        raise LocalStackError(f"The stack refuses {route}.{op}: {frame.get('error')}")
    reply: dict[str, Any] = frame["data"]
    return reply
