"""A client that does no more than it is told, over a real socket."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from local import Stack

PATIENCE_S = 30.0
"""A function that starts for the first time takes seconds here."""


class Talker:
    """One connection of one user."""

    def __init__(self, stack: Stack, user: str, device: str = "d1", platform: str = "web") -> None:
        self.user = user
        self._ids = itertools.count(1)
        self._pushes: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        self._known: set[tuple[str, int]] = set()
        """What has come, or was sent here: a push may come again, and that of one's own when the auditor was first."""
        self._open = ExitStack()
        socket = connect(
            f"{stack.websocket}?token={stack.token(user)}&device={device}&platform={platform}",
            open_timeout=PATIENCE_S,
            proxy=None,
        )
        self._socket = self._open.enter_context(socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, where)

    def ask(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request and return its reply; pushes on the way are kept."""
        request_id = self.begin(op, data)
        return self.end(request_id)

    def begin(self, op: str, data: dict[str, Any] | None = None) -> str:
        """Send one request; its id."""
        route, _, name = op.partition(".")
        request_id = f"r{next(self._ids)}"
        self._socket.send(json.dumps({"route": route, "op": name, "id": request_id, "data": data or {}}))
        return request_id

    def end(self, request_id: str | None) -> dict[str, Any]:
        """The reply to a request."""
        while True:
            frame = self._frame()
            if "push" in frame:
                self._pushes.append(frame)
            else:
                assert frame["id"] == request_id, frame
                return frame

    def ok(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a reply that must be a success."""
        reply = self.ask(op, data)
        assert reply.get("ok"), reply
        data = dict(reply["data"])
        if op.startswith("message.") and "seq" in data:
            self._known.add((data["conv"], data["seq"]))
        return data

    def raw(self, text: str) -> dict[str, Any]:
        """Send any text as a frame; the reply."""
        self._socket.send(text)
        frame = self._frame()
        while "push" in frame:
            self._pushes.append(frame)
            frame = self._frame()
        return frame

    def push(self, name: str) -> dict[str, Any]:
        """The data of the next push of that name."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for i, kept in enumerate(self._pushes):
                if kept["push"] == name:
                    return dict(self._pushes.pop(i)["data"])
            frame = self._frame()
            assert "push" in frame, frame
            self._pushes.append(frame)
        raise AssertionError(f"no push {name!r} came: {self._pushes}")

    def entry(self) -> dict[str, Any]:
        """The next entry that is pushed, whether it comes alone or with others. Repeats are dropped, as clients do."""
        while True:
            while not self._entries:
                self._entries += self.push("entries")["entries"]
            entry = self._entries.pop(0)
            if (place := (entry["conv"], entry["seq"])) not in self._known:
                self._known.add(place)
                return dict(entry)

    def say(self, text: str, cmid: str, **where: Any) -> dict[str, Any]:
        """message.send of a text; the data of the reply."""
        return self.ok("message.send", {"cmid": cmid, "kind": "text", "body": {"text": text}, **where})

    def until_closed(self) -> list[dict[str, Any]]:
        """All frames up to the end of the connection."""
        frames = self._pushes
        for text in self._socket:
            frames.append(json.loads(text))
        return frames

    def _frame(self) -> dict[str, Any]:
        return dict(json.loads(self._socket.recv(PATIENCE_S)))
