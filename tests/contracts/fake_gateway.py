"""A payment gateway on loopback that keeps books, and goes wrong when it is told to.

It reads docs/redpacket.md as whoever writes a gateway does: nothing of the product is used here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, get_args

Fault = Literal[
    "hang before",  # no answer; nothing is moved
    "hang after",  # the money is moved, and no answer
    "late",  # arrives when the test lets it; whoever asked has hung up
    "error before",
    "error after",
    "reset before",
    "reset after",
    "busy",
    "in progress",
    "garbage after",
    "cut head after",  # "200", and the connection breaks before the headers are there
    "drip head after",
    "drip body after",
    "stall body after",
    "huge head after",
    "huge body after",
    "large body after",
    "chunked after",
    "redirect",
    "page",  # something before the gateway answers 200
    "other key",  # the answer to something else
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

MOVEMENTS = {"/holds": "hold", "/payments": "pay", "/refunds": "refund", "/releases": "release"}
SECRET = "the secret of the gateway and of us"
NO_BODY = {204, 304}
MAX_AGE_MS = 5 * 60_000


class Books:
    """Who has what. Every movement is made once, and all money together stays the same."""

    def __init__(self, opening: int) -> None:
        self.opening = opening
        self.users: dict[str, int] = {}
        self.packets: dict[str, int] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.released: set[str] = set()
        self._lock = threading.Lock()

    def balance(self, user: str) -> int:
        """What a user has; whoever was never named before has the opening amount."""
        with self._lock:
            return self.users.setdefault(user, self.opening)

    def make(self, movement: dict[str, Any]) -> int:
        """Make a movement, or not. Returns the status to answer."""
        with self._lock:
            status = self._make(movement)
            assert sum(self.users.values()) + sum(self.packets.values()) == self.opening * len(self.users)
            assert min([*self.users.values(), *self.packets.values()], default=0) >= 0
        return status

    def _make(self, movement: dict[str, Any]) -> int:
        key, kind, packet = movement["key"], movement["movement"], movement["packet"]
        user, amount = movement["user"], movement["amount"]
        if kind == "hold" and packet in self.released:
            return 409
        if key in self.made:
            return 200 if self.made[key] == movement else 422
        held, has = self.packets.get(packet, 0), self.users.setdefault(user, self.opening)
        if kind == "hold":
            if has < amount:
                return 402
            amount = -amount
        elif kind == "release":
            self.released.add(packet)
            amount = held
        elif held < amount:
            return 422
        self.users[user] += amount
        self.packets[packet] = held - amount
        self.made[key] = movement
        return 201


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class FakeGateway:
    """The gateway. Faults come as `faults` says, one a request; after them each movement meets those of `each`, one
    after the other, and then none."""

    url: str
    books: Books
    secrets: list[str]
    """Those that are good."""
    clock: Callable[[], int]
    faults: deque[Fault | int] = field(default_factory=deque)
    """A number is a status that is answered without any effect."""
    each: tuple[Fault | int, ...] = ()
    retry_after: str | None = None
    asked: list[Asked] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What it has decided, answered or not."""
    arrive: threading.Event = field(default_factory=threading.Event)
    """Lets what is late arrive."""
    closing: threading.Event = field(default_factory=threading.Event)
    _met: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, asked: Asked) -> Fault | int | None:
        """A request has come. Returns what goes wrong with it."""
        with self._lock:
            self.asked.append(asked)
            if self.faults:
                return self.faults.popleft()
            key = asked.headers.get("idempotency-key", "")
            self._met[key] += 1
            return self.each[self._met[key] - 1] if self._met[key] <= len(self.each) else None

    def decide(self, asked: Asked) -> int:
        """The status to answer a request that is understood, and its effect."""
        status = self._decide(asked)
        with self._lock:
            self.statuses.append(status)
        return status

    def _decide(self, asked: Asked) -> int:
        timestamp = asked.headers.get("im-timestamp", "")
        signed = timestamp.encode() + b"." + asked.body
        good = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in self.secrets]
        if not any(hmac.compare_digest(one, asked.headers.get("im-signature", "")) for one in good):
            return 401
        if abs(self.clock() - int(timestamp)) > MAX_AGE_MS:
            return 401
        if asked.path not in MOVEMENTS:
            return 404
        movement = json.loads(asked.body)
        named = {"key", "movement", "packet", "user", "amount"} | (
            {"share"} if movement["movement"] == "pay" else set()
        )
        if (
            movement["key"] != asked.headers.get("idempotency-key")
            or movement["movement"] != MOVEMENTS[asked.path]
            or set(movement) != named
            or movement["amount"] < 1
            or asked.headers.get("content-type") != "application/json"
        ):
            return 400
        return self.books.make(movement)


@contextmanager
def running_gateway(
    *,
    opening: int = 1000,
    secret: str = SECRET,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    tls: ssl.SSLContext | None = None,
) -> Iterator[FakeGateway]:
    """A gateway that serves until the block ends."""

    class Handler(_Handler):
        pass

    server = _Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    Handler.gateway = gateway = FakeGateway(url=url, books=Books(opening), secrets=[secret], clock=clock)
    serving = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    serving.start()
    try:
        yield gateway
    finally:
        gateway.closing.set()
        gateway.arrive.set()
        server.shutdown()
        serving.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients hang up: that is what some of them are for."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    gateway: FakeGateway

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Where a redirect leads whoever follows it."""
        self.gateway.asked.append(Asked(f"GET {self.path}", {}, b"", 0))
        self.answer(200, "")

    def do_POST(self) -> None:
        """A movement."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers, body, self.client_address[1])
        fault = self.gateway.note(asked)
        key = headers.get("idempotency-key", "")
        if isinstance(fault, int):
            self.answer(fault, key)
        elif fault is None:
            self.answer(self.gateway.decide(asked), key)
        elif fault == "late":
            self.gateway.arrive.wait(10)
            self.gateway.decide(asked)
            self.hang_up()
        elif fault.endswith("after"):
            status = self.gateway.decide(asked)
            AFTER[fault](self, status, key)
        else:
            BEFORE[fault](self, key)

    # ---- answers

    def answer(self, status: int, key: str, body: bytes = b"{}", **headers: str) -> None:
        """A whole answer."""
        if status in NO_BODY:
            body = b""
        self.send_response(status)
        if key:
            self.send_header("Idempotency-Key", key)
        if self.gateway.retry_after is not None:
            self.send_header("Retry-After", self.gateway.retry_after)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in NO_BODY:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """End the connection."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def hang(self, said: bytes = b"") -> None:
        """Say something, and no more."""
        self.wfile.write(said)
        self.gateway.closing.wait(10)
        self.hang_up()

    def write(self, data: bytes) -> None:
        """Say something, and end the connection."""
        with suppress(OSError):
            self.wfile.write(data)
        self.hang_up()

    def drip(self, said: bytes) -> None:
        """Say something, and then one byte after the other for as long as anybody listens."""
        self.wfile.write(said)
        with suppress(OSError):
            while not self.gateway.closing.wait(0.02):
                self.wfile.write(b"x")
        self.hang_up()

    def flood(self, said: bytes) -> None:
        """Say something, and then as much as anybody takes."""
        self.wfile.write(said)
        with suppress(OSError):
            while not self.gateway.closing.is_set():
                self.wfile.write(b"x" * 65536)
        self.hang_up()

    def told(self) -> bytes:
        """All that a request has told, as a badly made gateway may send it back."""
        return b" ".join(f"{name}={value}".encode() for name, value in self.headers.items())


BEFORE: Final[dict[str, Callable[[Any, str], None]]] = {
    "hang before": lambda it, _: it.hang(),
    "error before": lambda it, key: it.answer(500, key),
    "reset before": lambda it, _: it.hang_up(),
    "busy": lambda it, key: it.answer(429, key),
    "in progress": lambda it, key: it.answer(425, key),
    "redirect": lambda it, key: it.answer(307, key, Location=f"{it.gateway.url}/elsewhere"),
    "page": lambda it, _: it.answer(200, "", b"<h1>Back soon</h1>"),
    "other key": lambda it, _: it.answer(200, "rp" + "x" * 26 + ":hold"),
}
"""What happens instead of a movement."""

AFTER: Final[dict[str, Callable[[Any, int, str], None]]] = {
    "hang after": lambda it, _status, _key: it.hang(),
    "error after": lambda it, _, key: it.answer(500, key),
    "reset after": lambda it, _status, _key: it.hang_up(),
    "garbage after": lambda it, _status, _key: it.write(b"\x00\xff all sorts of things " + it.told() + b"\r\n"),
    "cut head after": lambda it, status, _: it.write(f"HTTP/1.1 {status} OK\r\n".encode()),
    "drip head after": lambda it, status, _: it.drip(f"HTTP/1.1 {status} OK\r\nX-Slow: ".encode()),
    "drip body after": lambda it, status, key: it.drip(head(status, key, "Content-Length: 1000")),
    "stall body after": lambda it, status, key: it.hang(head(status, key, "Content-Length: 1000")),
    "huge head after": lambda it, status, _: it.write(f"HTTP/1.1 {status} ".encode() + b"x" * 10**6),
    "huge body after": lambda it, status, key: it.flood(head(status, key, f"Content-Length: {10**12}")),
    "large body after": lambda it, status, key: it.answer(status, key, b"x" * 20_000),
    "chunked after": lambda it, status, key: it.write(
        head(status, key, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
    ),
}
"""What happens once a movement was made, or refused."""


def head(status: int, key: str, more: str) -> bytes:
    """The head of an answer."""
    return f"HTTP/1.1 {status} OK\r\nIdempotency-Key: {key}\r\n{more}\r\n\r\n".encode()
