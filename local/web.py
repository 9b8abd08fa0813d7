"""Serves the chat page on loopback, with what it needs to know about the local stack."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local.demo import GROUP, GROUP_NAME, USERS
from local.deploy import Stack
from local.paths import WEB
from local.processes import LOOPBACK, require_free_port

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' wss: ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}

Configuration = Callable[[], dict[str, Any]]


@contextlib.contextmanager
def serving_web(port: int, stack: Stack, directory: Path = WEB) -> Iterator[str]:
    """The page's address, where it is served while the context lasts. Raises LocalStackError if the port is taken."""
    require_free_port(port, "WEB_PORT")
    handler = partial(_Page, directory=directory.resolve(), configuration=partial(page_configuration, stack))
    with _Server((LOOPBACK, port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOOPBACK}:{port}"
        finally:
            server.shutdown()


def page_configuration(stack: Stack) -> dict[str, Any]:
    """What `GET /config.json` answers: the demo users with tokens that are new each time, good for 24 hours."""
    return {
        "websocket": stack.websocket,
        "users": [{"id": user, "name": name, "token": stack.token(user)} for user, name in USERS.items()],
        "group": {"conv": GROUP, "name": GROUP_NAME},
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, *connection: Any, directory: Path, configuration: Configuration) -> None:
        self.directory = directory
        self.configuration = configuration
        super().__init__(*connection)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not self._asked_by_name():
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"")
        elif path == "/config.json":
            self._answer(HTTPStatus.OK, CONTENT_TYPES[".json"], json.dumps(self.configuration()).encode())
        elif (file := self._file(path)) is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"Not found\n")
        else:
            self._answer(HTTPStatus.OK, CONTENT_TYPES[file.suffix], file.read_bytes())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _asked_by_name(self) -> bool:
        """False for a page elsewhere that has its own host name point here: it must not read the tokens."""
        name, _, _ = self.headers.get("Host", "").partition(":")
        return name in {LOOPBACK, "localhost"}

    def _file(self, path: str) -> Path | None:
        """The file that a path names, if it is one of the page's own."""
        try:
            file = (self.directory / (path.lstrip("/") or "index.html")).resolve()
            is_ours = file.is_relative_to(self.directory) and file.suffix in CONTENT_TYPES and file.is_file()
        except (OSError, ValueError):  # a name that no file can have
            return None
        return file if is_ours else None

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": content_type, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "serverless-im"

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is for the steps of the local stack."""
