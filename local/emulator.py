"""Starts MiniStack behind a guard that lets programs of this machine in, and of web pages nothing but their WebSockets.

Run as a script by the Python of `.venv-cloud`. Its settings are MiniStack's, from the environment; it listens on
loopback unless they say otherwise. With an argument, the Python for the functions, it also ends when its standard input
does: whoever started it is gone then, in whatever way, and MiniStack still stores its state and leaves nothing running.
"""

import importlib
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
        refusal = None if scope["type"] == "lifespan" else _refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        # No CORS headers: a page may neither read the answer nor follow a preflight with the request.
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        body = f"{refusal.phrase}\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": f"{kind}.start", "status": refusal.value, "headers": headers})
        await send({"type": f"{kind}.body", "body": body, "more_body": False})


def _refusal(scope: Scope) -> HTTPStatus | None:
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
    ministack.app = Guard(ministack.app)
    ministack.main()
