"""A backend for the chat page in this process: enough of protocol version 1 for a few users, and ways to make it fail.

Two servers on loopback: WebSocket for the protocol, HTTP for the page with the same Content-Security-Policy as in
production. The state lives on one event loop in a thread; the public methods may be called from any other thread.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WEB_ROOT = Path(__file__).resolve().parents[2] / "clients" / "web"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
COUNTABLE = {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket"}

Data = dict[str, Any]
T = TypeVar("T")


class RefusedError(Exception):
    """Becomes the error of a reply."""

    def __init__(self, code: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


def make_token(user: str) -> str:
    """A token in the right form; this backend reads its subject and checks no signature."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": user, "iat": 0, "exp": 4_102_444_800})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def subject_of(token: str) -> str | None:
    try:
        payload = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
    except (IndexError, ValueError, KeyError):
        return None


@dataclass
class Log:
    """A conversation. `stays` has, for each who ever was in it, the first and the last seq (None: they are in it) of
    every stay: that is what they may see.
    """

    conv: str
    members: list[str]
    name: str = ""
    owner: str = ""
    history: bool = False
    dissolved: bool = False
    entries: list[Data] = field(default_factory=list)
    stays: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)
    read_seq: dict[str, int] = field(default_factory=dict)
    ack_seq: dict[str, int] = field(default_factory=dict)
    version: int = 0

    def __post_init__(self) -> None:
        self.stays = {user: [(1, None)] for user in self.members}

    def seen_by(self, user: str) -> list[Data]:
        """The entries that the user may see."""
        stays = self.stays.get(user, [])
        return [e for e in self.entries if any(a <= e["seq"] and (b is None or e["seq"] <= b) for a, b in stays)]

    def unread(self, user: str) -> int:
        after = self.read_seq.get(user, 0)
        return sum(e["seq"] > after and e["from"] != user and e["kind"] in COUNTABLE for e in self.seen_by(user))

    def row(self, user: str) -> Data:
        seen = self.seen_by(user)
        last = seen[-1]
        left = {"left_seq": last["seq"]} if self.dissolved or user not in self.members else {}
        return {
            "conv": self.conv,
            "last_seq": last["seq"],
            "last": {
                "kind": last["kind"],
                "from": last["from"],
                "ts": last["ts"],
                "preview": str(last["body"].get("text", ""))[:60],
            },
            "unread": self.unread(user),
            "read_seq": self.read_seq.get(user, 0),
            "ack_seq": self.ack_seq.get(user, 0),
            "mention_seq": 0,
            "muted": False,
            "pinned": False,
            "draft": "",
            "hidden": False,
            "updated": last["ts"],
            **left,
        }


@dataclass
class Socket:
    connection: ServerConnection
    user: str
    device: str


@dataclass
class Received:
    """A request frame, and who sent it."""

    user: str
    route: str
    op: str
    data: Data


class FakeBackend:
    """Use as a context manager. `page_url` serves the page; `frames` holds every request in the order of arrival."""

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users
        self.frames: list[Received] = []
        self.upgrades: list[str] = []
        self.config: Data = {}
        self.page_url = ""
        self._logs: dict[str, Log] = {}
        self._by_cmid: dict[tuple[str, str, str], Data] = {}
        self._sockets: list[Socket] = []
        self._version = 0
        self._drop_replies: list[str] = []
        self._refusals: list[tuple[str, RefusedError]] = []
        self._drop_pushes: list[str] = []
        self._duplicate_pushes: list[str] = []
        self._refuse_upgrades = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-backend", daemon=True)
        self._operations: dict[str, Callable[[Socket, Data], Coroutine[Any, Any, Data]]] = {
            "connect.ping": self._ping,
            "message.send": self._send,
            "sync.inbox": self._inbox,
            "sync.entries": self._entries,
            "sync.ack": self._ack,
            "sync.read": self._read,
            "group.create": self._create_group,
            "group.info": self._group_info,
            "group.members": self._group_members,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(self._serve())
        port = self._server.sockets[0].getsockname()[1]
        self.config = {
            "websocket": f"ws://127.0.0.1:{port}/_aws/execute-api/fake/v1",
            "users": [{"id": user, "name": name, "token": make_token(user)} for user, name in self.users.items()],
            "group": {"conv": "g:demo", "name": "Demo group"},
        }
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_PageHandler, config=lambda: self.config))
        self._http.daemon_threads = True
        self._http_thread = threading.Thread(target=self._http.serve_forever, name="fake-page", daemon=True)
        self._http_thread.start()
        self.page_url = f"http://127.0.0.1:{self._http.server_address[1]}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http_thread.join()
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what a test may do ---------------------------------------------------------------------------------------

    def group(self, conv: str, name: str, members: list[str]) -> None:
        """Makes a group, as if its first member had."""
        self._run(lambda: self._make_group(conv, name, members))

    def post(self, conv: str, sender: str, body: Data | str, *, kind: str = "text", ts: int | None = None) -> int:
        """Appends an entry, pushes it to every connected member, and returns its seq."""
        content = {"text": body} if isinstance(body, str) else body

        async def append() -> int:
            entry = self._append(conv, sender, kind, content, ts=ts)
            await self._fan_out(conv, [entry])
            return int(entry["seq"])

        return self._call(append())

    def add(self, conv: str, user: str, *, by: str) -> int:
        """Adds a member, or lets them join by themself, and returns the entry's seq."""

        def joined(log: Log, seq: int) -> None:
            log.stays[user] = [(1, None)] if log.history else [*log.stays.get(user, []), (seq, None)]
            log.members.append(user)
            log.read_seq[user] = seq - 1

        return self._change(conv, by, "members", {"added": [user], "removed": [], "by": by}, joined)

    def remove(self, conv: str, user: str, *, by: str) -> int:
        """Removes a member, or lets them leave by themself, and returns the entry's seq: the last one they see."""

        def left(log: Log, seq: int) -> None:
            first, _ = log.stays[user].pop()
            log.stays[user].append((first, seq))
            log.members.remove(user)

        return self._change(conv, by, "members", {"added": [], "removed": [user], "by": by}, left)

    def dissolve(self, conv: str, *, by: str) -> int:
        """Ends a group, and returns the entry's seq."""

        def ended(log: Log, _seq: int) -> None:
            log.dissolved = True

        return self._change(conv, by, "profile", {"dissolved": True}, ended)

    def read_elsewhere(self, conv: str, user: str, seq: int) -> None:
        """Reads up to `seq`, as if on another device of the user."""

        async def read() -> None:
            await self._mark_read(self._logs[conv], user, seq, but=None)

        self._call(read())

    def drop_next_reply(self, op: str) -> None:
        """Does what the next `op` asks, and loses the reply."""
        self._run(lambda: self._drop_replies.append(op))

    def refuse_next(self, op: str, code: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> None:
        """Answers the next `op` with an error."""
        error = RefusedError(code, retryable=retryable, retry_after_ms=retry_after_ms)
        self._run(lambda: self._refusals.append((op, error)))

    def drop_next_push(self, user: str) -> None:
        """Loses the next `entries` push to the user: a hole."""
        self._run(lambda: self._drop_pushes.append(user))

    def duplicate_next_push(self, user: str) -> None:
        """Delivers the next `entries` push to the user twice."""
        self._run(lambda: self._duplicate_pushes.append(user))

    def push(self, user: str, frame: Data) -> None:
        """Pushes any frame to every connection of the user."""
        self._call(self._push(user, frame))

    def disconnect(self, user: str) -> None:
        """Closes the user's connections, without a word before."""

        async def close() -> None:
            for socket in [s for s in self._sockets if s.user == user]:
                await socket.connection.close()

        self._call(close())

    def refuse_upgrades(self, *, refuse: bool) -> None:
        """While on, nobody gets a connection."""

        def switch() -> None:
            self._refuse_upgrades = refuse

        self._run(switch)

    def texts(self, conv: str) -> list[str]:
        """The texts stored in a conversation."""
        return self._run(lambda: [e["body"]["text"] for e in self._logs[conv].entries if e["kind"] == "text"])

    def requests(self, op: str, user: str | None = None) -> list[Received]:
        """The requests so far of one operation, `route.op`."""
        frames = self._run(lambda: list(self.frames))
        return [f for f in frames if f"{f.route}.{f.op}" == op and user in {None, f.user}]

    def connections(self, user: str) -> int:
        """How many connections the user holds now."""
        return self._run(lambda: sum(s.user == user for s in self._sockets))

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def _ping(self, _socket: Socket, _data: Data) -> Data:
        return {"ts": _now(), "inbox": str(self._version)}

    async def _send(self, socket: Socket, data: Data) -> Data:
        conv = data.get("conv") or _direct(socket.user, data["to"])
        key = (socket.user, conv, data["cmid"])
        duplicate = key in self._by_cmid
        if not duplicate:
            entry = self._append(conv, socket.user, data["kind"], data["body"], cmid=data["cmid"])
            self._by_cmid[key] = entry
            await self._fan_out(conv, [entry], but=socket)
        entry = self._by_cmid[key]
        return {"conv": conv, "seq": entry["seq"], "n": entry["n"], "ts": entry["ts"], "duplicate": duplicate}

    async def _inbox(self, socket: Socket, data: Data) -> Data:
        since = int(data.get("since", -1))
        logs = [log for log in self._logs.values() if log.version > since and log.seen_by(socket.user)]
        return {"conversations": [log.row(socket.user) for log in logs], "inbox": str(self._version)}

    async def _entries(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        seen = log.seen_by(socket.user)
        limit = int(data["limit"])
        if "after" in data:
            found = [e for e in seen if e["seq"] > data["after"]]
        else:
            found = [e for e in reversed(seen) if e["seq"] < data["before"]]
        last_seq = seen[-1]["seq"] if seen else 0
        return {"entries": found[:limit], "last_seq": last_seq, "more": len(found) > limit}

    async def _ack(self, socket: Socket, data: Data) -> Data:
        for ack in data["acks"]:
            log = self._visible_to(socket.user, ack["conv"])
            _require_seen(log, socket.user, ack["seq"])
            log.ack_seq[socket.user] = max(ack["seq"], log.ack_seq.get(socket.user, 0))
        return {}

    async def _read(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        _require_seen(log, socket.user, data["seq"])
        return await self._mark_read(log, socket.user, int(data["seq"]), but=socket)

    async def _create_group(self, socket: Socket, data: Data) -> Data:
        conv = f"g:{data['gid']}"
        members = [socket.user, *(user for user in data["members"] if user != socket.user)]
        if conv not in self._logs:
            self._make_group(conv, data["name"], members)
            group = {"name": data["name"], "notice": "", "join_mode": "invite", "history": False}
            body = {"added": members, "removed": [], "by": socket.user, "group": group}
            await self._fan_out(conv, [self._append(conv, socket.user, "members", body)])
        return await self._group_info(socket, {"conv": conv})

    async def _group_info(self, socket: Socket, data: Data) -> Data:
        log = self._log_for(socket.user, data["conv"])
        role = "owner" if socket.user == log.owner else "member"
        return {
            "conv": log.conv,
            "name": log.name,
            "notice": "",
            "owner": log.owner,
            "members": len(log.members),
            "join_mode": "invite",
            "history": log.history,
            "me": {"role": role, "joined_seq": 0},
        }

    async def _group_members(self, socket: Socket, data: Data) -> Data:
        log = self._log_for(socket.user, data["conv"])
        roles = {log.owner: "owner"}
        return {
            "members": [
                {"user": user, "role": roles.get(user, "member"), "joined_at": 0, "muted_until": 0}
                for user in log.members
            ]
        }

    def _change(self, conv: str, by: str, kind: str, body: Data, then: Callable[[Log, int], None]) -> int:
        """Appends an entry that changes a group, changes it, and then pushes the entry: the rows come first."""

        async def change() -> int:
            entry = self._append(conv, by, kind, body)
            then(self._logs[conv], int(entry["seq"]))
            await self._fan_out(conv, [entry])
            return int(entry["seq"])

        return self._call(change())

    # --- state ----------------------------------------------------------------------------------------------------

    def _make_group(self, conv: str, name: str, members: list[str]) -> None:
        self._logs[conv] = Log(conv, list(members), name, members[0])

    def _log_for(self, user: str, conv: str) -> Log:
        log = self._logs.get(conv)
        if log is None:
            raise RefusedError("not_found")
        if user not in log.members or log.dissolved:
            raise RefusedError("not_member")
        return log

    def _visible_to(self, user: str, conv: str) -> Log:
        """A conversation to read in: whoever left it may still do so."""
        log = self._logs.get(conv)
        return log if log is not None and user in log.stays else self._log_for(user, conv)

    def _append(
        self, conv: str, sender: str, kind: str, body: Data, *, cmid: str | None = None, ts: int | None = None
    ) -> Data:
        if conv.startswith("d:") and conv not in self._logs:
            self._logs[conv] = Log(conv, conv.split(":")[1:])
        log = self._log_for(sender, conv)
        n = (log.entries[-1]["n"] if log.entries else 0) + (kind in COUNTABLE)
        entry: Data = {"conv": conv, "seq": len(log.entries) + 1, "n": n, "kind": kind, "from": sender}
        entry |= {"ts": _now() if ts is None else ts, "body": body}
        if cmid:
            entry["cmid"] = cmid
        log.entries.append(entry)
        if kind == "profile":
            log.name = body.get("name", log.name)
        log.read_seq[sender] = entry["seq"]
        self._touch(log)
        return entry

    def _touch(self, log: Log) -> None:
        self._version += 1
        log.version = self._version

    async def _mark_read(self, log: Log, user: str, seq: int, *, but: Socket | None) -> Data:
        log.read_seq[user] = max(log.read_seq.get(user, 0), min(seq, len(log.entries)))
        self._touch(log)
        total = sum(other.unread(user) for other in self._logs.values() if user in other.members)
        reply = {"conv": log.conv, "read_seq": log.read_seq[user], "unread": log.unread(user), "total_unread": total}
        own = {"conv": log.conv, "user": user, "seq": log.read_seq[user]}
        own |= {"unread": reply["unread"], "total_unread": total}
        await self._push(user, {"push": "read", "data": own}, but=but)
        return reply

    async def _fan_out(self, conv: str, entries: list[Data], but: Socket | None = None) -> None:
        frame = {"push": "entries", "data": {"conv": conv, "entries": entries}}
        for user in [user for user in self._logs[conv].stays if entries[0] in self._logs[conv].seen_by(user)]:
            if user in self._drop_pushes:
                self._drop_pushes.remove(user)
                continue
            await self._push(user, frame, but=but)
            if user in self._duplicate_pushes:
                self._duplicate_pushes.remove(user)
                await self._push(user, frame, but=but)

    async def _push(self, user: str, frame: Data, but: Socket | None = None) -> None:
        for socket in [s for s in self._sockets if s.user == user and s is not but]:
            await _deliver(socket.connection, frame)

    # --- sockets --------------------------------------------------------------------------------------------------

    async def _serve(self) -> Server:
        return await serve(self._on_socket, "127.0.0.1", 0, process_request=self._on_upgrade)

    async def _close(self) -> None:
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    def _on_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        user = self._query(request).get("token", "")
        self.upgrades.append(subject_of(user) or "")
        if not user:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        if self._refuse_upgrades or subject_of(user) not in self.users:
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        return None

    async def _on_socket(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = self._query(connection.request)
        socket = Socket(connection, subject_of(query["token"]) or "", query["device"])
        # One web connection a user: the newer one wins, and says so to the older.
        for older in [s for s in self._sockets if s.user == socket.user]:
            self._sockets.remove(older)
            await _deliver(older.connection, {"push": "kicked", "data": {"reason": "replaced"}})
            await older.connection.close()
        self._sockets.append(socket)
        try:
            async for message in connection:
                await self._answer(socket, str(message))
        except ConnectionClosed:
            pass
        finally:
            if socket in self._sockets:
                self._sockets.remove(socket)

    async def _answer(self, socket: Socket, message: str) -> None:
        frame = json.loads(message)
        name = f"{frame['route']}.{frame['op']}"
        self.frames.append(Received(socket.user, frame["route"], frame["op"], frame["data"]))
        reply: Data = {"id": frame["id"], "ok": True}
        try:
            refusal = next((r for r in self._refusals if r[0] == name), None)
            if refusal:
                self._refusals.remove(refusal)
                raise refusal[1]
            if name not in self._operations:
                raise RefusedError("unknown_route")
            reply["data"] = await self._operations[name](socket, frame["data"])
        except RefusedError as error:
            reply["ok"] = False
            reply["error"] = {"code": error.code, "message": "", "retryable": error.retryable}
            if error.retry_after_ms is not None:
                reply["error"]["retry_after_ms"] = error.retry_after_ms
        if name in self._drop_replies:
            self._drop_replies.remove(name)
            return
        await _deliver(socket.connection, reply)

    @staticmethod
    def _query(request: Request) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}

    # --- threads --------------------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def _run(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return self._call(run())


class _PageHandler(SimpleHTTPRequestHandler):
    """Static files of the page and `config.json`, with the policy of production."""

    def __init__(self, *args: Any, config: Callable[[], Data], **kwargs: Any) -> None:
        self._config = config
        super().__init__(*args, directory=str(WEB_ROOT), **kwargs)

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/config.json":
            super().do_GET()
            return
        body = json.dumps(self._config()).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        pass


async def _deliver(connection: ServerConnection, frame: Data) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.send(json.dumps(frame, ensure_ascii=False))


def _direct(a: str, b: str) -> str:
    return "d:" + ":".join(sorted((a, b)))


def _require_seen(log: Log, user: str, seq: int) -> None:
    if not any(entry["seq"] == seq for entry in log.seen_by(user)):
        raise RefusedError("not_found")


def _now() -> int:
    return int(time.time() * 1000)
