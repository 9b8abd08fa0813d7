"""The control service of chaos, on loopback, for programs of this machine: `POST /start`, `POST /stop`, `GET /log`.

`/start` takes `{"seed": 7, "faults_per_minute": 60, "kills_per_minute": 10}`, each of them optional; `/log` answers
with a list of `{"at": milliseconds, "kind", "operation", "function"}`, oldest first.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.chaos.injector import Chaos
from local.emulator import refusal_of
from local.processes import LOOPBACK

MAX_BODY = 4096
MAX_RATE = 60_000
DEFAULTS = {"seed": 0, "faults_per_minute": 60, "kills_per_minute": 0}


@contextlib.contextmanager
def serving_chaos(chaos: Chaos) -> Iterator[None]:
    """Serve while the context lasts; `chaos.url` says where. It is calm afterwards."""
    with ThreadingHTTPServer((LOOPBACK, 0), partial(_Control, chaos=chaos)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), name="chaos-control", daemon=True).start()
        chaos.url = f"http://{LOOPBACK}:{server.server_address[1]}"
        try:
            yield
        finally:
            server.shutdown()
            chaos.stop()


class _Control(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, *connection: Any, chaos: Chaos) -> None:
        self.chaos = chaos
        super().__init__(*connection)

    def do_GET(self) -> None:
        if self._is_refused():
            return
        if self.path == "/log":
            self._answer(HTTPStatus.OK, [asdict(injected) for injected in self.chaos.log()])
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "GET /log"})

    def do_POST(self) -> None:
        if self._is_refused():
            return
        if self.path == "/stop":
            self.chaos.stop()
            self._answer(HTTPStatus.OK, {})
        elif self.path != "/start":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "POST /start, POST /stop"})
        elif (asked := self._asked()) is None:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": f"a JSON object of whole numbers: {', '.join(DEFAULTS)}"})
        else:
            self.chaos.start(**asked)
            self._answer(HTTPStatus.OK, asked)

    def _is_refused(self) -> bool:
        """Whether a foreign web page may have sent this: it is answered then."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        refusal = refusal_of({"type": "http", "path": self.path, "headers": headers})
        if refusal is not None:
            self._answer(refusal, {"error": refusal.phrase})
        return refusal is not None

    def _asked(self) -> dict[str, int] | None:
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY:
            return None
        try:
            asked = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            return None
        if not isinstance(asked, dict) or not asked.keys() <= DEFAULTS.keys():
            return None
        if any(type(value) is not int or value < 0 for value in asked.values()):
            return None
        if max(asked.get("faults_per_minute", 0), asked.get("kills_per_minute", 0)) > MAX_RATE:
            return None
        return DEFAULTS | asked

    def _answer(self, status: HTTPStatus, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # What a refused request carries is not read, so nothing may come after it.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is for the steps of the local stack."""
