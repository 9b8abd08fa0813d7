"""A payment system of somebody else, reached over HTTPS. One of the payment systems of flows/payments.py.

docs/redpacket.md says what a gateway must keep, tests/contracts asks for it. A movement of money is one POST under its
own name, the idempotency key: when nobody knows whether it was made, it is made again.

The longest movement takes 14 s: 2 attempts of 1 s to connect, 5 s to be answered and half a second to read the rest,
with at most half a second between them; 1 s more for each further address of the gateway that does not answer. That is
no more than a call to AWS may take (clients.py), and below the functions' time-out of 25 s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final, Literal

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError

from im.aws.clients import POOL
from im.aws.secrets import RotatingSecret
from im.domain.errors import Conflict, InsufficientFunds, Unavailable
from im.domain.ids import UserId
from im.domain.red_packet import PacketId

Movement = Literal["hold", "pay", "refund", "release"]

PATHS: Final[Mapping[Movement, str]] = {
    "hold": "/holds",
    "pay": "/payments",
    "refund": "/refunds",
    "release": "/releases",
}

KEY_HEADER: Final = "Idempotency-Key"
TIME_HEADER: Final = "Im-Timestamp"
SIGNATURE_HEADER: Final = "Im-Signature"
SIGNATURE_VERSION: Final = "v1"

MADE: Final = frozenset({200, 201, 204})
POOR: Final = 402
VOID: Final = 409
SIGNATURE_REFUSED: Final = 401
PASSING: Final = frozenset({408, 425, 429})
"""Beside 5xx: the gateway cannot do it now, and may later."""
NOT_AT_ONCE: Final = frozenset({429, 503})
"""The gateway has too much to do: a second attempt at once would be one thing more."""

MIN_SECRET_BYTES: Final = 32
"""A key for HMAC-SHA256 has at least as many bits as its hash (RFC 2104, 3)."""
MAX_REST: Final = 16 * 1024
"""Bytes of an answer that are read, and thrown away, to keep its connection."""
LATER_MS: Final = 1_000
LATEST_MS: Final = 60_000
"""The shortest and the longest time after which callers are told to come again."""

log = logging.getLogger("im")


class GatewayDefect(Exception):
    """The gateway and we do not understand each other: no repeat mends it, a human must."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a gateway has, in seconds."""

    connect: float = 1
    """For each address that its name has."""
    answer: float = 5
    """From the request to the end of the answer's headers."""
    rest: float = 0.5
    """For the body, which says nothing."""
    attempts: int = 2
    again_within: float = 8
    """From the start of a movement: no attempt begins later."""
    pause: float = 0.5
    """At most, between two attempts."""


PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one attempt."""

    status: int
    """0 when there was no answer."""
    key: str | None = None
    """Which movement the answer is about."""
    wait_ms: int = LATER_MS
    why: str = ""
    """Why there was none: the kind of failure."""


class HttpPaymentGateway:
    """The gateway at `url`. Safe to share between threads.

    `secret` signs the requests. Raises ValueError for an URL that is more or less than https://host[:port][/path];
    http://127.0.0.1 is good with `plain_loopback`, which is for tests and the local stack.
    """

    def __init__(
        self,
        url: str,
        secret: RotatingSecret,
        clock: Callable[[], int],
        *,
        patience: Patience = PATIENCE,
        plain_loopback: bool = False,
    ) -> None:
        self._pool, self._path = _pool_for(url, patience, plain_loopback=plain_loopback)
        self._secret = secret
        self._clock = clock
        self._patience = patience

    # ---- the payment system ------------------------------------------------------------------------------------------

    def check(self, sender: UserId, amount: int) -> None:
        """Says nothing: the gateway is asked once, for the money."""

    def hold(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Take the money of a packet from its sender. 1 request, as the others.

        Raises InsufficientFunds, and Conflict for a packet that was released before; as the others, Unavailable when
        nobody knows whether it was made, GatewayDefect, and what RotatingSecret raises.
        """
        status = self._move("hold", f"{packet}:hold", {"packet": packet, "user": sender, "amount": amount})
        if status == POOR:
            raise InsufficientFunds(amount)
        if status == VOID:
            raise Conflict("this red packet was given up")

    def pay(self, packet: PacketId, share: int, user: UserId, amount: int) -> None:
        """Give a share of a packet's money to who has claimed it."""
        self._move("pay", f"{packet}:pay:{share}", {"packet": packet, "share": share, "user": user, "amount": amount})

    def refund(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back what nobody has claimed."""
        self._move("refund", f"{packet}:refund", {"packet": packet, "user": sender, "amount": amount})

    def release(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back the money of a packet that never came to be, or see to it that it is not taken any more."""
        self._move("release", f"{packet}:release", {"packet": packet, "user": sender, "amount": amount})

    # ---- attempts ----------------------------------------------------------------------------------------------------

    def _move(self, movement: Movement, key: str, what: Mapping[str, str | int]) -> int:
        """Ask for a movement. Returns the status of an answer that decides: made, or, of a hold, refused."""
        # The signature covers the body alone: so the body says everything that the path and the headers say.
        body = json.dumps({"key": key, "movement": movement, **what}, separators=(",", ":")).encode()
        deciding = MADE | {POOR, VOID} if movement == "hold" else MADE
        started = time.monotonic()
        for attempt in range(1, self._patience.attempts + 1):
            secret = self._secret.values()[0]
            answer = self._ask(movement, key, body, secret)
            if answer.status in deciding and answer.key == key:
                return answer.status
            if answer.status in deciding:
                # Not the gateway's, but something's that stands before it: a page that says "back soon".
                answer = _Answer(0, why=f"{answer.status} without its key")
            passes = answer.status in PASSING or 500 <= answer.status < 600 or not answer.status
            if answer.status == SIGNATURE_REFUSED:
                passes = self._is_rotated(secret)
            taken = time.monotonic() - started
            log.warning(
                "payment gateway failed",
                extra={
                    "movement": movement,
                    "key": key,
                    "why": answer.why or answer.status,
                    "attempt": attempt,
                    "ms": round(taken * 1000),
                },
            )
            if not passes:
                raise GatewayDefect(key, f"the payment gateway answered {answer.status}")
            if answer.status in NOT_AT_ONCE or taken > self._patience.again_within:
                break
            if attempt < self._patience.attempts:
                time.sleep(random.uniform(0, self._patience.pause))  # noqa: S311 - spreads load, guards nothing
        raise Unavailable("the payment system does not answer", answer.wait_ms)

    def _is_rotated(self, used: str) -> bool:
        """Whether the secret is another one than the one that was used, which the gateway refuses."""
        self._secret.values_now()
        return self._secret.values()[0] != used

    def _ask(self, movement: Movement, key: str, body: bytes, secret: str) -> _Answer:
        """One attempt."""
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise GatewayDefect(key, f"the secret of the payment gateway is shorter than {MIN_SECRET_BYTES} bytes")
        timestamp = str(self._clock())
        try:
            response = self._pool.urlopen(
                "POST",
                self._path + PATHS[movement],
                body=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "serverless-im",
                    KEY_HEADER: key,
                    TIME_HEADER: timestamp,
                    SIGNATURE_HEADER: signature(secret, timestamp, body),
                },
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, HTTPException, OSError) as e:
            # Only what kind it is: its text may quote whatever has come instead of an answer.
            return _Answer(0, why=_kind(e))
        try:
            wait_ms = _wait_ms(response.headers.get("Retry-After", ""))
            return _Answer(response.status, response.headers.get(KEY_HEADER), wait_ms)
        finally:
            _let_go(response, self._patience.rest)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What proves that a request is ours and new."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"{SIGNATURE_VERSION}={digest}"


# ---- HTTP ------------------------------------------------------------------------------------------------------------


class _Prompt(HTTPConnection):
    """A connection whose time-out is one for the whole head of an answer.

    Of itself it counts from byte to byte: an answer that drips would hold a function until that dies.
    """

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3's own
        """The answer, its body not yet read. Raises TimeoutError."""
        with _cut_after(self.timeout, self.sock):
            return super().getresponse()


class _PromptTls(_Prompt, HTTPSConnection):
    """The same over TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Prompt


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PromptTls


@contextmanager
def _cut_after(seconds: float | None, sock: socket.socket) -> Iterator[None]:
    """Shut a socket down when the block takes longer. Raises TimeoutError then, whatever the block made of it: a head
    that was cut off looks like a short one."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            # Not the method of a TLS socket, which takes its state away under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds or 0, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as e:
        if late.is_set():
            raise TimeoutError from e
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def _let_go(response: urllib3.BaseHTTPResponse, seconds: float) -> None:
    """Keep the connection of an answer for the next request if its body is short and here soon, else close it.

    The answer is known: whatever happens here changes nothing.
    """
    sock = getattr(response.connection, "sock", None)
    length = getattr(response, "length_remaining", None)
    try:
        if sock is not None and length is not None and length <= MAX_REST:
            sock.settimeout(seconds)
            end = time.monotonic() + seconds
            while response.read1(MAX_REST) and time.monotonic() < end:
                pass
    except (HTTPError, HTTPException, OSError):
        pass
    finally:
        response.close()


def _pool_for(url: str, patience: Patience, *, plain_loopback: bool) -> tuple[urllib3.HTTPConnectionPool, str]:
    """Connections to the host of an URL, and its path. Raises ValueError."""
    problem = "the URL of the payment gateway must be https://host[:port][/path] and no more"
    try:
        parts = urllib3.util.parse_url(url)
    except LocationParseError:
        # Neither error quotes the URL: a password in it would stand in the log.
        raise ValueError(problem) from None
    plain = plain_loopback and parts.scheme == "http" and parts.host == "127.0.0.1"
    if not (parts.scheme == "https" or plain) or not parts.host:
        raise ValueError(problem)
    if (parts.auth, parts.query, parts.fragment) != (None, None, None):
        raise ValueError(problem)
    timeout = urllib3.Timeout(connect=patience.connect, read=patience.answer)
    pool = (_Pool if plain else _TlsPool)(parts.host, parts.port, timeout=timeout, maxsize=POOL)
    return pool, (parts.path or "").rstrip("/")


def _kind(error: Exception) -> str:
    """The types of an error and of what it wraps, without what they say."""
    inner = [type(arg).__name__ for arg in error.args if isinstance(arg, Exception)]
    return " of ".join([type(error).__name__, *inner])


def _wait_ms(retry_after: str) -> int:
    """How long a gateway asks to be left alone, within limits. A date, which HTTP allows too, counts as nothing."""
    seconds = int(retry_after[:9]) if retry_after.isdecimal() else 0
    return min(max(seconds * 1000, LATER_MS), LATEST_MS)
