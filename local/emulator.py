"""Starts MiniStack behind a guard that lets programs of this machine in, and of web pages nothing but their WebSockets.

With some corrections, each with its reason below: what clients are told when a function has failed, which permission
batches for SQS need, and where event sources begin to read DynamoDB streams after a restart.

Run as a script by the Python of `.venv-cloud`. Its settings are MiniStack's, from the environment; it listens on
loopback unless they say otherwise. With an argument, the Python for the functions, it also ends when its standard input
does: whoever started it is gone then, in whatever way, and MiniStack still stores its state and leaves nothing running.
"""

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

# This file is a script: it cannot import from its neighbours.
LOOPBACK = "127.0.0.1"
_THIS_MACHINE = frozenset({LOOPBACK, "localhost"})

WEBSOCKET_APIS = "/_aws/execute-api/"

# Browsers send one of these with whatever a page, a link or the address bar makes them ask for; the SDKs send none.
# `Sec-Fetch-Site: none` counts as well: so comes a link out of a mail, and a mere GET can create a stack.
_OF_BROWSERS = frozenset(
    {
        "origin",
        "referer",
        "sec-fetch-site",
        "access-control-request-method",
        "access-control-request-headers",
        "access-control-request-private-network",
    }
)

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI app that hands to another one only what no foreign web page can have sent.

    MiniStack takes a request that names root's key for root's whatever its signature, gives every page leave to send it
    (`Access-Control-Allow-Origin: *`), and runs the functions that it is given as the user who started it. Without
    this, every page that somebody visits while it runs could run programs on their machine.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else refusal_of(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        # No CORS headers: a page may neither read the answer nor follow a preflight with the request.
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        body = f"{refusal.phrase}\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": f"{kind}.start", "status": refusal.value, "headers": headers})
        await send({"type": f"{kind}.body", "body": body, "more_body": False})


def refusal_of(scope: Scope) -> HTTPStatus | None:
    """What a request is answered with that a foreign web page may have sent; None for any other."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    hosts = [value for name, value in headers if name == "host"]
    # Another name that leads here is a page's own, which would make us a part of its site (DNS rebinding).
    if len(hosts) != 1 or not _is_this_machine(hosts[0]):
        return HTTPStatus.MISDIRECTED_REQUEST
    if scope["type"] == "websocket":
        allowed = scope["path"].startswith(WEBSOCKET_APIS) and all(
            _is_page_of_this_machine(value) for name, value in headers if name == "origin"
        )
    else:
        allowed = not any(_is_of_a_browser(name, value) for name, value in headers)
    return None if allowed else HTTPStatus.FORBIDDEN


def _is_of_a_browser(name: str, value: str) -> bool:
    # Old browsers send nothing else with an image, say; but all of them call themselves this.
    return name in _OF_BROWSERS or (name == "user-agent" and value.startswith("Mozilla/"))


def _is_page_of_this_machine(origin: str) -> bool:
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and _is_this_machine(host)


def _is_this_machine(host: str) -> bool:
    name, colon, port = host.partition(":")
    return name.lower() in _THIS_MACHINE and (not colon or (port.isascii() and port.isdigit()))


class FailedUpgrades:
    """An ASGI app that answers an upgrade whose `$connect` has failed as API Gateway does: with 500, and not with 403.

    A client that is told 403 takes its token for refused and stays away; after a 500 it comes again. MiniStack closes
    such a socket, which its server turns into 403. What the authorizer refuses, MiniStack answers for itself.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = scope["type"] != "websocket"

        async def sent(message: Message) -> None:
            nonlocal accepted
            if not accepted and message["type"] == "websocket.close":
                headers = [(b"content-type", b"text/plain"), (b"content-length", b"0")]
                await send({"type": "websocket.http.response.start", "status": 500, "headers": headers})
                await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
                return
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        await self._app(scope, receive, sent)


Invoke = Callable[..., Awaitable[dict[str, Any] | None]]


def with_failures_in_the_gateways_words(invoke: Invoke) -> Invoke:
    """`_invoke_ws_lambda` of MiniStack, whose answer for a function that died is what API Gateway itself says then.

    MiniStack sends the client the text of the error as a frame.
    """

    async def invoked(*request: Any, **more: Any) -> dict[str, Any] | None:
        answer = await invoke(*request, **more)
        if answer is None or answer.get("statusCode") != HTTPStatus.INTERNAL_SERVER_ERROR:
            return answer
        connection, message = request[5], request[7]
        told = {"message": "Internal server error", "connectionId": connection, "requestId": message}
        return {**answer, "body": json.dumps(told)}

    return invoked


Load = Callable[[Any], None]


def from_the_start_of_streams(load: Load) -> Load:
    """`load_persisted_state` of MiniStack's Lambda, with every event source at the beginning of its DynamoDB stream.

    MiniStack stores how far each source has read, but not what was in the streams: after a restart they begin anew, and
    as many records as had been read before would be passed over. (Forgetting the places is not enough: a source that
    starts at LATEST would pass over the first record.)
    """

    def load_persisted_state(data: Any) -> None:
        places = (data or {}).get("dynamodb_stream_positions")
        if places:
            for (account, region, source), _ in list(places.all_items()):
                places.set_scoped(account, region, source, 0)
        load(data)

    return load_persisted_state


ActionOf = Callable[..., str | None]


def by_the_permissions_of_iam(action_of: ActionOf) -> ActionOf:
    """`extract_iam_action` of MiniStack, without the permissions that IAM does not have.

    MiniStack asks for `sqs:SendMessageBatch`. To AWS a batch is as many messages: its permission is that of one.
    """

    def permission_for(*request: Any) -> str | None:
        action = action_of(*request)
        return action.removesuffix("Batch") if action is not None and action.startswith("sqs:") else action

    return permission_for


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # MiniStack runs the functions with its own interpreter, which has boto3 and much more installed: a library that
        # is missing in the layer would be found there, and its absence noticed on AWS only.
        sys.executable = sys.argv.pop()
        threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("BIND_HOST", LOOPBACK)  # MiniStack's own default is every interface.
    ministack: Any = importlib.import_module("ministack.app")
    ministack.app = Guard(FailedUpgrades(ministack.app))
    gateway: Any = importlib.import_module("ministack.services.apigateway")
    gateway._invoke_ws_lambda = with_failures_in_the_gateways_words(gateway._invoke_ws_lambda)
    permissions: Any = importlib.import_module("ministack.core.iam_actions")
    permissions.extract_iam_action = by_the_permissions_of_iam(permissions.extract_iam_action)
    functions: Any = importlib.import_module("ministack.services.lambda_svc")
    functions.load_persisted_state = from_the_start_of_streams(functions.load_persisted_state)
    ministack.main()
