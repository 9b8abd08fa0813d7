"""A small server of the protocol in this process, with faults to order: what the client must survive, and what it must
find. It keeps everything in memory, knows groups and direct conversations, and binds loopback only.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

SECRET = "a-secret-that-is-long-enough-for-hs256-in-tests"

# What API Gateway itself says when an integration fails: no reply of the protocol.
CHANGES = {"edit", "recall", "reaction", "pin"}
GATEWAY_FAILURE = {"message": "Internal server error", "connectionId": "abc=", "requestId": "req"}

JsonObject = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: str, **more: object) -> None:
        self.error = {"code": code, "message": code, "retryable": False, **more}
        super().__init__(code)


@dataclass
class Faults:
    """What goes wrong. Members are meant by their place in the group, the creator is 0."""

    lost_replies: int = 0  # the first so many messages are stored and pushed, but get no reply
    lost_replies_of: dict[str, int] = field(default_factory=dict)  # the same for "route.op", before anything is done
    no_idempotency: bool = False  # a second frame with the same cmid is stored again
    pushed_twice: frozenset[int] = frozenset()  # seqs
    not_pushed: frozenset[tuple[int, int]] = frozenset()  # (member, seq): fetching still gives it
    lost_for_good: frozenset[tuple[int, int]] = frozenset()  # (member, seq): neither pushed nor given, as if closed
    withheld: frozenset[tuple[int, int]] = frozenset()  # (member, seq): not pushed, and every page ends before it
    muted: frozenset[str] = frozenset()  # users whose messages are refused
    refused_entries: str | None = None  # sync.entries is answered with this error
    swapped: tuple[int, int, int] | None = None  # member, and two seqs whose messages it gets in each other's place
    pushed_in_reverse: bool = False  # every two entries are pushed the later one first
    unread_off_by: dict[int, int] = field(default_factory=dict)  # member -> error of its unread counts
    closed_after: dict[int, int] = field(
        default_factory=dict
    )  # member -> seq after which its connection is closed, once
    busy_replies: int = 0  # the first so many messages are answered with a retryable error
    busy_of: dict[str, int] = field(default_factory=dict)  # the same for "route.op"
    answers: dict[str, JsonObject | Refusal] = field(default_factory=dict)  # to "route.op", instead of what it knows


@dataclass
class Conversation:
    """`members` are all who ever were in it, `away` those who are not now, `closed` what each may not see."""

    conv: str
    members: list[str]
    away: set[str] = field(default_factory=set)
    closed: dict[str, set[int]] = field(default_factory=dict)
    log: list[JsonObject] = field(default_factory=list)
    results: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, list[list[int]]] = field(default_factory=dict)
    held_back: list[JsonObject] = field(default_factory=list)

    def seen_by(self, user: str) -> list[JsonObject]:
        """What of the log `user` may see."""
        return [entry for entry in self.log if entry["seq"] not in self.closed.get(user, ())]


class FakeServer:
    """Runs on its own thread while it is entered as a context manager."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.conversations: dict[str, Conversation] = {}
        self.connections: dict[str, ServerConnection] = {}
        self.frames: list[tuple[str, JsonObject]] = []  # (user, frame), everything that came in
        self.upgrades = 0
        self.rows: list[JsonObject] | None = None  # what every inbox has, instead of the conversations
        self.url = ""
        self._started = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def stack_file(self, folder: Path) -> Path:
        path = folder / "stack.json"
        path.write_text(
            json.dumps(
                {
                    "websocket": self.url,
                    "http": "",
                    "web": "",
                    "endpoint": "",
                    "region": "eu-central-1",
                    "stack": "fake",
                    "jwt": {"alg": "HS256", "secret": SECRET},
                }
            )
        )
        return path

    def tell(self, user: str, *messages: object) -> None:
        """Send messages to a user's connection as they are."""

        async def send() -> None:
            for message in messages:
                await self.connections[user].send(message if isinstance(message, str) else json.dumps(message))

        self._do(send())

    def join(self, conv: str, user: str) -> None:
        """The creator adds `user`: what was said before they came, or while they were away, stays closed to them."""
        conversation = self.conversations[conv]
        if user not in conversation.members:
            conversation.members.append(user)
            conversation.closed[user] = {entry["seq"] for entry in conversation.log}
        conversation.away.discard(user)
        self._change_members(conversation, {"added": [user], "removed": []})

    def leave(self, conv: str, user: str) -> None:
        """The creator removes `user`: the entry that says so is the last one they see."""
        conversation = self.conversations[conv]
        self._change_members(conversation, {"added": [], "removed": [user]})
        conversation.away.add(user)

    def _change_members(self, conversation: Conversation, body: JsonObject) -> None:
        by = conversation.members[0]
        self._do(self._append(conversation, "members", by, {**body, "by": by}, ""))

    def close_connection(self, user: str) -> None:
        self._do(self.connections[user].close(1001))

    def ops_of(self, user: str) -> list[str]:
        return [f"{frame['route']}.{frame['op']}" for who, frame in self.frames if who == user]

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with serve(self._talk, "127.0.0.1", 0, process_request=self._authorize, close_timeout=1) as server:
            host, port = server.sockets[0].getsockname()[:2]
            self.url = f"ws://{host}:{port}/dev"
            self._started.set()
            await self._stop.wait()

    def _authorize(self, connection: ServerConnection, request: Request) -> Response | None:
        query = parse_qs(urlsplit(request.path).query)
        self.upgrades += 1
        if "token" not in query:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        try:
            claims = jwt.decode(query["token"][0], SECRET, algorithms=["HS256"], options={"require": ["exp", "iat"]})
        except jwt.InvalidTokenError:
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        connection.user = claims["sub"]  # type: ignore[attr-defined]
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        user: str = connection.user  # type: ignore[attr-defined]
        self.connections[user] = connection
        try:
            async for message in connection:
                frame = json.loads(message)
                self.frames.append((user, frame))
                await self._answer(user, connection, frame)
        except ConnectionClosed:
            pass
        finally:
            if self.connections.get(user) is connection:
                del self.connections[user]

    async def _answer(self, user: str, connection: ServerConnection, frame: JsonObject) -> None:
        name = f"{frame['route']}.{frame['op']}"
        if self.faults.lost_replies_of.get(name, 0) > 0:
            self.faults.lost_replies_of[name] -= 1
            await connection.send(json.dumps(GATEWAY_FAILURE))
            return
        try:
            if self.faults.busy_of.get(name, 0) > 0:
                self.faults.busy_of[name] -= 1
                raise Refusal("unavailable", retryable=True, retry_after_ms=1)
            if isinstance(ordered := self.faults.answers.get(name), Refusal):
                raise ordered
            known = None if ordered is not None else getattr(self, name.replace(".", "_"))
            data = ordered if known is None else await known(user, frame["data"])
        except Refusal as refusal:
            await connection.send(json.dumps({"id": frame["id"], "ok": False, "error": refusal.error}))
            return
        if name == "message.send" and self.faults.lost_replies > 0:
            self.faults.lost_replies -= 1
            await connection.send(json.dumps(GATEWAY_FAILURE))
            return
        await connection.send(json.dumps({"id": frame["id"], "ok": True, "data": data}))

    async def _append(
        self,
        conversation: Conversation,
        kind: str,
        sender: str,
        body: JsonObject,
        cmid: str,
        more: JsonObject | None = None,
    ) -> JsonObject:
        log = conversation.log
        entry = {
            "conv": conversation.conv,
            "seq": len(log) + 1,
            "n": (log[-1]["n"] if log else 0) + (kind == "text"),
            "kind": kind,
            "from": sender,
            "ts": int(time.time() * 1000),
            "cmid": cmid,
            "body": body,
            **(more or {}),
        }
        log.append(entry)
        for user in conversation.away:
            conversation.closed.setdefault(user, set()).add(len(log))
        conversation.held_back.append(entry)
        if not self.faults.pushed_in_reverse or len(conversation.held_back) == 2:
            for held in reversed(conversation.held_back):
                await self._push(conversation, held)
            conversation.held_back.clear()
        return entry

    async def _push(self, conversation: Conversation, entry: JsonObject) -> None:
        seq = entry["seq"]
        for place, member in enumerate(conversation.members):
            connection = self.connections.get(member)
            if connection is None or member == entry["from"]:
                continue
            faults = self.faults
            kept_back = faults.not_pushed | faults.lost_for_good | faults.withheld
            if (place, seq) not in kept_back and seq not in conversation.closed.get(member, ()):
                seen = self._as_seen(conversation, place, entry)
                push = json.dumps({"push": "entries", "data": {"conv": conversation.conv, "entries": [seen]}})
                for _ in range(2 if seq in self.faults.pushed_twice else 1):
                    await connection.send(push)
            if self.faults.closed_after.get(place) == seq:
                del self.faults.closed_after[place]
                await connection.close(1001)

    def _as_seen(self, conversation: Conversation, place: int, entry: JsonObject) -> JsonObject:
        if self.faults.swapped is None or self.faults.swapped[0] != place:
            return entry
        _, one, other = self.faults.swapped
        instead = {one: other, other: one}.get(entry["seq"])
        if instead is None or instead > len(conversation.log):
            return entry
        source = conversation.log[instead - 1]
        return {**entry, "from": source["from"], "body": source["body"]}

    def _of(self, user: str, conv: str) -> Conversation:
        conversation = self.conversations.get(conv)
        if conversation is None:
            raise Refusal("not_found")
        if user not in conversation.members:
            raise Refusal("not_member")
        return conversation

    def _unread(self, user: str, conversation: Conversation) -> int:
        read = conversation.read.get(user, 0)
        seen = conversation.seen_by(user)
        count: int = sum(e["kind"] == "text" and e["seq"] > read and e["from"] != user for e in seen)
        return count + self.faults.unread_off_by.get(conversation.members.index(user), 0)

    async def connect_ping(self, _user: str, _data: JsonObject) -> JsonObject:
        return {"ts": int(time.time() * 1000), "inbox": "1"}

    async def group_create(self, user: str, data: JsonObject) -> JsonObject:
        conv = f"g:{data['gid']}"
        if conv not in self.conversations:
            members = [user, *(member for member in data["members"] if member != user)]
            conversation = self.conversations[conv] = Conversation(conv, members)
            await self._append(conversation, "members", user, {"added": members, "removed": [], "by": user}, "")
        return {"conv": conv, "name": data["name"], "members": len(self.conversations[conv].members)}

    async def message_send(self, user: str, data: JsonObject) -> JsonObject:
        if self.faults.busy_replies > 0:
            self.faults.busy_replies -= 1
            raise Refusal("unavailable", retryable=True, retry_after_ms=1)
        if "to" in data:
            first, second = sorted((user, data["to"]))
            conv = f"d:{first}:{second}"
            conversation = self.conversations.setdefault(conv, Conversation(conv, [first, second]))
        else:
            conversation = self._of(user, data["conv"])
        if user in conversation.away:
            raise Refusal("not_member")
        if user in self.faults.muted:
            raise Refusal("muted", retry_after_ms=1)
        known = conversation.results.get((user, data["cmid"]))
        if known is not None and not self.faults.no_idempotency:
            return {**known, "duplicate": True}
        more: JsonObject = {name: data[name] for name in ("reply_to", "mentions") if name in data}
        entry = await self._append(conversation, data["kind"], user, data["body"], data["cmid"], more)
        conversation.read[user] = entry["seq"]
        result = {name: entry[name] for name in ("conv", "seq", "n", "ts")} | {"duplicate": False}
        conversation.results[user, data["cmid"]] = result
        return result

    async def message_edit(self, user: str, data: JsonObject) -> JsonObject:
        return await self._change(user, data, "edit", {"body": data["body"]})

    async def message_recall(self, user: str, data: JsonObject) -> JsonObject:
        return await self._change(user, data, "recall", {})

    async def message_react(self, user: str, data: JsonObject) -> JsonObject:
        return await self._change(user, data, "reaction", {"emoji": data["emoji"], "on": data["on"]})

    async def message_pin(self, user: str, data: JsonObject) -> JsonObject:
        return await self._change(user, data, "pin", {"on": data["on"]})

    async def _change(self, user: str, data: JsonObject, kind: str, body: JsonObject) -> JsonObject:
        conversation = self._of(user, data["conv"])
        key = (user, data["cmid"])
        if key not in conversation.results:
            entry = await self._append(conversation, kind, user, {"target": data["seq"], **body}, data["cmid"])
            told = {name: entry[name] for name in ("conv", "seq", "n", "ts")}
            conversation.results[key] = {**told, "duplicate": False}
            return conversation.results[key]
        return {**conversation.results[key], "duplicate": True}

    async def sync_entries(self, user: str, data: JsonObject) -> JsonObject:
        conversation = self._of(user, data["conv"])
        assert 1 <= data["limit"] <= 100
        if self.faults.refused_entries is not None:
            raise Refusal(self.faults.refused_entries)
        place = conversation.members.index(user)
        seen = conversation.seen_by(user)
        last_seq = seen[-1]["seq"] if seen else 0
        seen = [entry for entry in seen if (place, entry["seq"]) not in self.faults.lost_for_good]
        if "after" in data:
            chosen = [entry for entry in seen if entry["seq"] > data["after"]]
        else:
            chosen = [entry for entry in reversed(seen) if entry["seq"] < data["before"]]
        given = takewhile(lambda entry: (place, entry["seq"]) not in self.faults.withheld, chosen[: data["limit"]])
        entries = [self._as_seen(conversation, place, entry) for entry in given]
        return {"entries": entries, "last_seq": last_seq, "more": len(entries) < len(chosen)}

    async def sync_inbox(self, user: str, data: JsonObject) -> JsonObject:
        if self.rows is not None:
            return {"conversations": self.rows, "inbox": "1"}
        rows = []
        for conversation in self.conversations.values():
            if user in conversation.members and (seen := conversation.seen_by(user)):
                last = next(entry for entry in reversed(seen) if entry["kind"] not in CHANGES)
                read_seq = conversation.read.get(user, 0)
                left = {"left_seq": seen[-1]["seq"]} if user in conversation.away else {}
                rows.append(
                    {
                        "conv": conversation.conv,
                        "last_seq": seen[-1]["seq"],
                        "last_n": seen[-1]["n"],
                        "last": {
                            "seq": last["seq"],
                            "kind": last["kind"],
                            "from": last["from"],
                            "ts": last["ts"],
                            "preview": last["body"].get("text", ""),
                        },
                        "unread": self._unread(user, conversation),
                        "read_seq": read_seq,
                        "read_n": conversation.log[read_seq - 1]["n"] if read_seq else 0,
                        "at": last["ts"],
                        "updated": last["ts"],
                        **left,
                    }
                )
        # Two rows a page, so that paging is used.
        start = int(data.get("cursor", 0))
        more = {"cursor": str(start + 2)} if len(rows) > start + 2 else {}
        return {"conversations": rows[start : start + 2], "inbox": "1", **more}

    async def sync_unread(self, user: str, _data: JsonObject) -> JsonObject:
        mine = [conversation for conversation in self.conversations.values() if user in conversation.members]
        counts = {c.conv: count for c in mine if (count := self._unread(user, c))}
        return {"total_unread": sum(counts.values()), "conversations": counts}

    async def sync_deleted(self, user: str, data: JsonObject) -> JsonObject:
        ranges = self._of(user, data["conv"]).deleted.get(user, [])
        return {"conv": data["conv"], "deleted": len(ranges), "ranges": ranges}

    async def message_delete(self, user: str, data: JsonObject) -> JsonObject:
        self._of(user, data["conv"]).deleted.setdefault(user, []).extend([seq, seq] for seq in data["seqs"])
        return await self.sync_deleted(user, data)

    async def sync_ack(self, _user: str, _data: JsonObject) -> JsonObject:
        return {}

    async def sync_read(self, user: str, data: JsonObject) -> JsonObject:
        conversation = self._of(user, data["conv"])
        conversation.read[user] = max(conversation.read.get(user, 0), data["seq"])
        unread = self._unread(user, conversation)
        return {
            "conv": conversation.conv,
            "read_seq": conversation.read[user],
            "unread": unread,
            "total_unread": unread,
        }
