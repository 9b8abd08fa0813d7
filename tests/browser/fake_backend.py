"""A backend for the chat page in this process: enough of protocol version 1 for a few users, and ways to make it fail.

Two servers on loopback: WebSocket for the protocol, HTTP for the page with the same Content-Security-Policy as in
production. The state lives on one event loop in a thread; the public methods may be called from any other thread.
"""

import asyncio
import base64
import contextlib
import copy
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
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' wss: ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'"
)
COUNTABLE = {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged"}
CHANGES = {"edit", "recall", "reaction", "pin"}
NAMED_REACTIONS = 16

Data = dict[str, Any]
T = TypeVar("T")


class RefusedError(Exception):
    """Becomes the error of a reply."""

    def __init__(
        self, code: str, *, retryable: bool = False, retry_after_ms: int | None = None, amount: int | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.retryable = retryable
        self.more = {"retry_after_ms": retry_after_ms, "amount": amount}


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
    """A conversation. `entries` are as they were sent, `states` is what the changes made of them. `stays` has, for each
    who ever was in it, the first and the last seq (None: they are in it) of every stay: that is what they may see.
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
    states: dict[int, Data] = field(default_factory=dict)
    settings: dict[str, Data] = field(default_factory=dict)
    deleted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    admins: set[str] = field(default_factory=set)
    version: int = 0

    def __post_init__(self) -> None:
        self.stays = {user: [(1, None)] for user in self.members}

    def seen_by(self, user: str) -> list[Data]:
        """The entries that the user may see."""
        stays = self.stays.get(user, [])
        return [e for e in self.entries if any(a <= e["seq"] and (b is None or e["seq"] <= b) for a, b in stays)]

    def count_at(self, seq: int) -> int:
        """Countable entries up to `seq`."""
        return int(self.entries[seq - 1]["n"]) if seq else 0

    def unread(self, user: str) -> int:
        last = self.seen_by(user)[-1]["n"] if self.seen_by(user) else 0
        return max(0, int(last) - self.count_at(self.read_seq.get(user, 0)))

    def is_deleted(self, user: str, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.deleted.get(user, []))

    def take(self, change: Data) -> None:
        """Puts a change into the state of the message that it is about."""
        target, body = change["body"].get("target"), change["body"]
        if change["kind"] not in CHANGES or not isinstance(target, int) or target > len(self.entries):
            return
        state = self.states.setdefault(target, {})
        state["changed"] = change["seq"]
        match change["kind"]:
            case "edit":
                state |= {"body": body["body"], "edited": {"seq": change["seq"], "ts": change["ts"]}}
            case "recall":
                self.states[target] = {
                    "body": {},
                    "changed": change["seq"],
                    "recalled": {"by": change["from"], "ts": change["ts"]},
                }
                self.entries[target - 1]["body"] = {}
                for entry in self.entries:
                    if entry["kind"] == "edit" and entry["body"].get("target") == target:
                        entry["body"] = {"target": target}
            case "reaction":
                reactions = state.setdefault("reactions", {})
                named = sum(len(each["users"]) for each in reactions.values())
                each = reactions.setdefault(body["emoji"], {"count": 0, "users": []})
                each["count"] += 1 if body["on"] else -1
                if body["on"] and named < NAMED_REACTIONS:
                    each["users"].append(change["from"])
                elif not body["on"] and change["from"] in each["users"]:
                    each["users"].remove(change["from"])
                if not each["count"]:
                    del reactions[body["emoji"]]
                if not reactions:
                    del state["reactions"]
            case _:
                state.pop("pinned", None)
                state |= {"pinned": True} if body["on"] else {}

    def glimpse(self, seq: int) -> Data:
        """A message in one line, as it is now."""
        now = {**self.entries[seq - 1], **self.states.get(seq, {})}
        said = now["body"].get("title" if now["kind"] == "merged" else "text", "")
        out = {key: now[key] for key in ("seq", "kind", "from", "ts")} | {"preview": " ".join(str(said).split())[:80]}
        out |= {"changed": now["changed"]} if "changed" in now else {}
        return out | ({"recalled": True, "preview": ""} if "recalled" in now else {})

    def as_seen(self, user: str, entry: Data) -> Data:
        """An entry as `sync.entries` gives it to the user."""
        seq, answered = entry["seq"], entry.get("reply_to")
        if self.is_deleted(user, seq):
            return {**entry, "kind": "void", "body": {}}
        now = {**entry, **self.states.get(seq, {})}
        if answered and any(e["seq"] == answered for e in self.seen_by(user)) and not self.is_deleted(user, answered):
            now["quote"] = self.glimpse(answered)
        return now

    def row(self, user: str) -> Data:
        seen = self.seen_by(user)
        last = seen[-1]
        said = [e for e in seen if e["kind"] not in CHANGES]
        shown = [e for e in said if not self.is_deleted(user, e["seq"])]
        left = {"left_seq": last["seq"]} if self.dissolved or user not in self.members else {}
        settings = self.settings.get(user, NO_SETTINGS)
        return {
            "conv": self.conv,
            "last_seq": last["seq"],
            "last_n": last["n"],
            "last": self.glimpse(shown[-1]["seq"]) if shown else None,
            "unread": self.unread(user),
            "read_seq": self.read_seq.get(user, 0),
            "read_n": self.count_at(self.read_seq.get(user, 0)),
            "ack_seq": self.ack_seq.get(user, 0),
            "mention_seq": 0,
            "muted": settings["muted"],
            "pinned": settings["pinned"],
            "draft": settings["draft"],
            "hidden": settings["hidden_n"] >= last["n"],
            "rev": settings["rev"],
            "deleted": len(self.deleted.get(user, [])),
            "at": said[-1]["ts"] if said else 0,
            "updated": last["ts"],
            **left,
        }


NO_SETTINGS: Data = {"muted": False, "pinned": False, "draft": "", "hidden_n": -1, "rev": 0}


@dataclass
class Socket:
    user: str
    device: str
    _connection: ServerConnection | None = None
    """None: of a device that nobody pushes to."""

    @property
    def connection(self) -> ServerConnection:
        assert self._connection is not None
        return self._connection


@dataclass
class Received:
    """A request frame, and who sent it."""

    user: str
    route: str
    op: str
    data: Data


class FakeBackend:
    """Use as a context manager. `page_url` serves the page; `frames` holds every request in the order of arrival."""

    def __init__(self, users: dict[str, str], page: Path = WEB_ROOT) -> None:
        self.users = users
        self._files = page
        self.frames: list[Received] = []
        self.private: set[str] = set()
        self.hidden: set[str] = set()
        """Who does not show whether they are online."""
        self.last_seen: dict[str, int] = {}
        self.upgrades: list[str] = []
        self.config: Data = {}
        self.page_url = ""
        self._logs: dict[str, Log] = {}
        self._by_cmid: dict[tuple[str, str, str], Data] = {}
        self._changes_by_cmid: dict[tuple[str, str, str], int] = {}
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
            "message.edit": self._edit,
            "message.recall": self._recall,
            "message.react": self._react,
            "message.pin": self._pin,
            "message.delete": self._delete,
            "message.typing": self._typing,
            "sync.settings": self._settings,
            "sync.deleted": self._deleted,
            "sync.receipts": self._receipts,
            "sync.read_all": self._read_all,
            "sync.privacy": self._set_privacy,
            "sync.presence": self._presence,
            "sync.pins": self._pins,
            "message.forward": self._forward,
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
        self._http = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_PageHandler, page=self._files, config=lambda: self.config)
        )
        self._http.daemon_threads = True
        # It looks that often whether it should stop, and every test waits for that.
        serve_pages = partial(self._http.serve_forever, poll_interval=0.01)
        self._http_thread = threading.Thread(target=serve_pages, name="fake-page", daemon=True)
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

    def post(
        self, conv: str, sender: str, body: Data | str, *, kind: str = "text", ts: int | None = None, **more: Any
    ) -> int:
        """Appends an entry, with `more` fields, pushes it to every connected member, and returns its seq."""
        content = {"text": body} if isinstance(body, str) else body

        async def append() -> int:
            entry = self._append(conv, sender, kind, content, ts=ts, **more)
            await self._fan_out(conv, [entry])
            return int(entry["seq"])

        return self._call(append())

    def fill(self, conv: str, messages: list[tuple[str, str, int]]) -> None:
        """Appends texts (sender, text, time) that were said long ago: nobody is told, and all have read them."""

        def append() -> None:
            for sender, text, ts in messages:
                self._append(conv, sender, "text", {"text": text}, ts=ts)
            log = self._logs[conv]
            for user in log.members:
                log.read_seq[user] = log.ack_seq[user] = len(log.entries)

        self._run(append)

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

    def act(self, user: str, name: str, data: Data) -> Data:
        """Does an operation as another device of the user would: every connection of theirs is told, too."""
        reply = self._call(self._operations[name](Socket(user, "elsewhere"), data))
        return copy.deepcopy(reply)

    def appoint(self, conv: str, user: str) -> None:
        """Makes a member an admin, without a word about it."""
        self._run(lambda: self._logs[conv].admins.add(user))

    def settings(self, conv: str, user: str) -> Data:
        """What the user has set for a conversation."""
        return self._run(lambda: dict(self._logs[conv].settings.get(user, NO_SETTINGS)))

    def now(self, conv: str, seq: int) -> Data:
        """A message with what the changes have made of it."""
        log = self._logs[conv]
        return self._run(lambda: {**log.entries[seq - 1], **log.states.get(seq, {})})

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
        return {"ts": now_ms(), "inbox": str(self._version)}

    async def _send(self, socket: Socket, data: Data) -> Data:
        conv = data.get("conv") or _direct(socket.user, data["to"])
        key = (socket.user, conv, data["cmid"])
        duplicate = key in self._by_cmid
        if not duplicate:
            more = {"reply_to": data["reply_to"]} if "reply_to" in data else {}
            entry = self._append(conv, socket.user, data["kind"], data["body"], cmid=data["cmid"], **more)
            self._by_cmid[key] = entry
            await self._fan_out(conv, [entry], but=socket)
        entry = self._by_cmid[key]
        return reply_of(entry, duplicate=duplicate)

    async def _inbox(self, socket: Socket, data: Data) -> Data:
        since = int(data.get("since", -1))
        logs = [log for log in self._logs.values() if log.version > since and log.seen_by(socket.user)]
        rows = sorted((log.row(socket.user) for log in logs), key=lambda row: (not row["pinned"], -row["at"]))
        privacy = {"receipts": socket.user not in self.private, "presence": socket.user not in self.hidden}
        return {"conversations": rows, "inbox": str(self._version), "privacy": privacy}

    async def _entries(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        seen = log.seen_by(socket.user)
        limit = int(data["limit"])
        if "after" in data:
            found = [e for e in seen if e["seq"] > data["after"]]
        else:
            found = [e for e in reversed(seen) if e["seq"] < data["before"]]
        last_seq = seen[-1]["seq"] if seen else 0
        entries = [log.as_seen(socket.user, entry) for entry in found[:limit]]
        return {"entries": entries, "last_seq": last_seq, "more": len(found) > limit}

    async def _ack(self, socket: Socket, data: Data) -> Data:
        for ack in data["acks"]:
            log = self._visible_to(socket.user, ack["conv"])
            _require_seen(log, socket.user, ack["seq"])
            log.ack_seq[socket.user] = max(ack["seq"], log.ack_seq.get(socket.user, 0))
            await self._tell_peer(log, socket.user, "delivered", log.ack_seq[socket.user])
        return {}

    async def _read(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        _require_seen(log, socket.user, data["seq"])
        return await self._mark_read(log, socket.user, int(data["seq"]), but=socket)

    async def _edit(self, socket: Socket, data: Data) -> Data:
        def allowed(_log: Log, message: Data) -> bool:
            return bool(message["from"] == socket.user)

        body = {"target": data["seq"], "body": data["body"]}
        return await self._change_message(socket, data, "edit", body, allowed, lambda now: now["body"] == data["body"])

    async def _recall(self, socket: Socket, data: Data) -> Data:
        def allowed(log: Log, message: Data) -> bool:
            return message["from"] == socket.user or socket.user in {log.owner, *log.admins}

        body = {"target": data["seq"]}
        return await self._change_message(socket, data, "recall", body, allowed, lambda now: "recalled" in now)

    async def _react(self, socket: Socket, data: Data) -> Data:
        emoji, on = data["emoji"], data["on"]

        def done(now: Data) -> bool:
            return bool((socket.user in now.get("reactions", {}).get(emoji, {}).get("users", [])) == on)

        body = {"target": data["seq"], "emoji": emoji, "on": on}
        return await self._change_message(socket, data, "reaction", body, lambda *_: True, done)

    async def _pin(self, socket: Socket, data: Data) -> Data:
        def allowed(log: Log, _message: Data) -> bool:
            return log.conv.startswith("d:") or socket.user in {log.owner, *log.admins}

        body = {"target": data["seq"], "on": data["on"]}
        return await self._change_message(
            socket, data, "pin", body, allowed, lambda now: now.get("pinned", False) == data["on"]
        )

    async def _change_message(
        self,
        socket: Socket,
        data: Data,
        kind: str,
        body: Data,
        allowed: Callable[[Log, Data], bool],
        done: Callable[[Data], bool],
    ) -> Data:
        log = self._log_for(socket.user, data["conv"])
        key = (socket.user, log.conv, data["cmid"])
        if key in self._changes_by_cmid:
            return reply_of(log.entries[self._changes_by_cmid[key] - 1], duplicate=True)
        _require_seen(log, socket.user, data["seq"])
        now = {**log.entries[data["seq"] - 1], **log.states.get(data["seq"], {})}
        if not allowed(log, now):
            raise RefusedError("forbidden")
        if "recalled" in now and kind != "recall":
            raise RefusedError("conflict")
        if done(now):
            return reply_of(log.entries[now.get("changed", now["seq"]) - 1], duplicate=True)
        entry = self._append(log.conv, socket.user, kind, body, cmid=data["cmid"])
        self._changes_by_cmid[key] = entry["seq"]
        await self._fan_out(log.conv, [entry], but=socket)
        return reply_of(entry, duplicate=False)

    async def _delete(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        log.deleted.setdefault(socket.user, []).extend((seq, seq) for seq in data["seqs"])
        self._touch(log)
        reply = await self._deleted(socket, data)
        await self._push(socket.user, {"push": "deleted", "data": reply}, but=socket)
        return reply

    async def _deleted(self, socket: Socket, data: Data) -> Data:
        ranges = self._visible_to(socket.user, data["conv"]).deleted.get(socket.user, [])
        return {"conv": data["conv"], "deleted": len(ranges), "ranges": ranges}

    async def _typing(self, socket: Socket, data: Data) -> Data:
        log = self._log_for(socket.user, data["conv"])
        for user in log.members:
            if user != socket.user:
                await self._push(user, {"push": "typing", "data": {**data, "user": socket.user}})
        return {}

    async def _settings(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        settings = {**log.settings.get(socket.user, NO_SETTINGS)}
        if len(data.get("draft", "")) > 1_000:
            raise RefusedError("bad_request")
        settings |= {key: data[key] for key in ("muted", "pinned", "draft") if key in data}
        if "hidden" in data:
            settings["hidden_n"] = log.seen_by(socket.user)[-1]["n"] if data["hidden"] else -1
        log.settings[socket.user] = {**settings, "rev": settings["rev"] + 1}
        self._touch(log)
        await self._push(socket.user, {"push": "row", "data": log.row(socket.user)}, but=socket)
        return log.row(socket.user)

    async def _receipts(self, socket: Socket, data: Data) -> Data:
        log = self._log_for(socket.user, data["conv"])
        seq = data["seq"]
        others = [user for user in log.members if user != log.entries[seq - 1]["from"]]
        shown = sorted(user for user in others if user not in self.private)
        read = [user for user in shown if log.read_seq.get(user, 0) >= seq]
        reply: Data = {
            "conv": log.conv,
            "seq": seq,
            "members": len(others),
            "delivered": sum(user in read or log.ack_seq.get(user, 0) >= seq for user in shown),
            "read": len(read),
            "private": len(others) - len(shown),
        }
        if "list" in data:
            reply["users"] = read if data["list"] == "read" else [user for user in shown if user not in read]
        if log.conv.startswith("d:") and shown:
            (peer,) = (user for user in log.members if user != socket.user)
            reply["marks"] = {"read_seq": log.read_seq.get(peer, 0), "ack_seq": log.ack_seq.get(peer, 0)}
        return reply

    async def _read_all(self, socket: Socket, _data: Data) -> Data:
        for log in self._logs.values():
            if socket.user in log.members and log.entries:
                log.read_seq[socket.user] = len(log.entries)
                self._touch(log)
        await self._push(socket.user, {"push": "inbox", "data": {}}, but=socket)
        return {"total_unread": 0}

    async def _set_privacy(self, socket: Socket, data: Data) -> Data:
        for name, hiding in (("receipts", self.private), ("presence", self.hidden)):
            if name in data:
                (hiding.discard if data[name] else hiding.add)(socket.user)
        reply = {"receipts": socket.user not in self.private, "presence": socket.user not in self.hidden}
        await self._push(socket.user, {"push": "privacy", "data": reply}, but=socket)
        return reply

    async def _presence(self, _socket: Socket, data: Data) -> Data:
        online = {each.user for each in self._sockets} - self.hidden
        return {
            user: {
                "online": user in online,
                "platforms": ["web"] if user in online else [],
                "last_seen": None if user in online | self.hidden else self.last_seen.get(user),
            }
            for user in data["users"]
        }

    async def _pins(self, socket: Socket, data: Data) -> Data:
        log = self._visible_to(socket.user, data["conv"])
        pins = [entry for e in log.seen_by(socket.user) if (entry := log.as_seen(socket.user, e)).get("pinned")]
        return {"seqs": [entry["seq"] for entry in pins], "entries": pins}

    async def _forward(self, socket: Socket, data: Data) -> Data:
        source = self._visible_to(socket.user, data["source"])
        messages = [source.as_seen(socket.user, source.entries[seq - 1]) for seq in data["seqs"]]
        if any("recalled" in message for message in messages):
            raise RefusedError("conflict")
        kind, body = messages[0]["kind"], messages[0]["body"]
        more: Data = {}
        if len(messages) == 1:
            more["forwarded"] = {"from": messages[0]["from"], "ts": messages[0]["ts"]}
        else:
            said = [{key: message[key] for key in ("from", "ts", "kind", "body")} for message in messages]
            kind, body = "merged", {"title": data["title"], "messages": said}
        entry = self._append(data["conv"], socket.user, kind, body, cmid=data["cmid"], **more)
        await self._fan_out(data["conv"], [entry], but=socket)
        return reply_of(entry, duplicate=False)

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
        role = "owner" if socket.user == log.owner else "admin" if socket.user in log.admins else "member"
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
        roles = {**dict.fromkeys(log.admins, "admin"), log.owner: "owner"}
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
        self,
        conv: str,
        sender: str,
        kind: str,
        body: Data,
        *,
        cmid: str | None = None,
        ts: int | None = None,
        **more: Any,
    ) -> Data:
        if conv.startswith("d:") and conv not in self._logs:
            self._logs[conv] = Log(conv, conv.split(":")[1:])
        log = self._log_for(sender, conv)
        n = (log.entries[-1]["n"] if log.entries else 0) + (kind in COUNTABLE)
        entry: Data = {"conv": conv, "seq": len(log.entries) + 1, "n": n, "kind": kind, "from": sender}
        entry |= {"ts": now_ms() if ts is None else ts, "body": body, **more}
        if cmid:
            entry["cmid"] = cmid
        log.entries.append(entry)
        log.take(entry)
        if kind == "profile":
            log.name = body.get("name", log.name)
        if kind in COUNTABLE:
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
        own |= {"n": log.count_at(log.read_seq[user]), "unread": reply["unread"], "total_unread": total}
        await self._push(user, {"push": "read", "data": own}, but=but)
        await self._tell_peer(log, user, "read", log.read_seq[user])
        return reply

    async def _tell_peer(self, log: Log, user: str, push: str, seq: int) -> None:
        """Says how far the user has come to the other one of a direct conversation."""
        if log.conv.startswith("d:") and user not in self.private:
            (peer,) = (member for member in log.members if member != user)
            await self._push(peer, {"push": push, "data": {"conv": log.conv, "user": user, "seq": seq}})

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
        socket = Socket(subject_of(query["token"]) or "", query["device"], connection)
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
            more = {name: value for name, value in error.more.items() if value is not None}
            reply["error"] = {"code": error.code, "message": "", "retryable": error.retryable, **more}
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

    def __init__(self, *args: Any, page: Path, config: Callable[[], Data], **kwargs: Any) -> None:
        self._config = config
        super().__init__(*args, directory=str(page), **kwargs)

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


def reply_of(entry: Data, *, duplicate: bool) -> Data:
    return {key: entry[key] for key in ("conv", "seq", "n", "ts")} | {"duplicate": duplicate}


def _require_seen(log: Log, user: str, seq: int) -> None:
    if not any(entry["seq"] == seq for entry in log.seen_by(user)):
        raise RefusedError("not_found")


def now_ms() -> int:
    return int(time.time() * 1000)
