"""Messages, and changes to messages, on their way: one at a time in a conversation, for only a reply fixes their order.

That is rule 1. A message is kept until the server has it, also over a restart; under its `cmid` it counts once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from imclient.core.logs import Logs
from imclient.core.outputs import Change, OutgoingChanged, Output, Source
from imclient.core.requests import Ask, Done
from imclient.errors import FrameTooLargeError, ImClientError, ReplyError
from imclient.frames import Entry, JsonObject, is_integer
from imclient.ids import ConvId, UserId, peer_in

_MESSAGE = ("kind", "body", "mentions", "reply_to")


@dataclass(slots=True)
class _Message:
    """One of the items."""

    cmid: str


@dataclass(slots=True)
class _Change:
    """A change to a message; `done` is told of its reply."""

    op: str
    data: JsonObject
    done: Done


class Outbox:
    """Items by cmid: `{cmid, conv, kind, body, mentions?, reply_to?, ts, state, code?, retry_after_ms?}`."""

    def __init__(
        self,
        user: UserId,
        out: Callable[[Output], None],
        ask: Ask,
        logs: Logs,
        save: Callable[[Iterable[Change]], None],
    ) -> None:
        self.items: dict[str, JsonObject] = {}
        self._user, self._out, self._ask, self._logs, self._save = user, out, ask, logs, save
        self._jobs: dict[ConvId, deque[_Message | _Change]] = {}
        self._busy: set[ConvId] = set()
        self._held = False

    def add(self, item: JsonObject, now: int) -> None:
        """Take in a message. Does nothing for a `cmid` that is on its way already."""
        cmid = item["cmid"]
        if cmid in self.items:
            return
        self.items[cmid] = item | {"state": "queued"}
        self._tell(cmid)
        self._queue(ConvId(item["conv"]), _Message(cmid), now)

    def change(self, conv: ConvId, op: str, data: JsonObject, cmid: str, done: Done, now: int) -> None:
        """Change a message: after what was asked for before in its conversation."""
        self._queue(conv, _Change(op, {"conv": conv, **data, "cmid": cmid}, done), now)

    def retry(self, cmid: str, now: int) -> None:
        """Send a message again that has failed, under the same `cmid`."""
        item = self.items.get(cmid)
        if item is not None and item["state"] == "failed":
            fresh = {name: value for name, value in item.items() if name not in {"code", "retry_after_ms"}}
            self.items[cmid] = fresh | {"state": "queued"}
            self._tell(cmid)
            self._queue(ConvId(item["conv"]), _Message(cmid), now)

    def discard(self, cmid: str) -> None:
        """Forget a message that has failed, or that has not been sent yet."""
        item = self.items.get(cmid)
        if item is not None and item["state"] != "sending":
            self._forget(cmid, "discarded")

    def restore(self, items: Iterable[JsonObject], now: int) -> None:
        """Go on with what was kept: what was on its way may have arrived, and is sent again."""
        for item in items:
            failed = item["state"] == "failed"
            self.items[item["cmid"]] = item if failed else item | {"state": "queued"}
            if not failed:
                self._queue(ConvId(item["conv"]), _Message(item["cmid"]), now)

    def resume(self, now: int) -> None:
        """Go on after an end."""
        self._held = False
        for conv in list(self._jobs):
            self._next(conv, now)

    def arrived(self, entry: Entry) -> None:
        """An entry has come. If it is one of these messages, then that is sent, whatever becomes of its reply."""
        if entry.sender == self._user and entry.cmid in self.items:
            self._forget(entry.cmid or "", "sent", seq=entry.seq)

    def end(self, error: ImClientError, now: int) -> None:
        """There will be no connection any more: nothing can be changed, and messages wait for another start."""
        self._held = True
        for conv, jobs in self._jobs.items():
            self._jobs[conv] = deque(job for job in jobs if isinstance(job, _Message))
            for job in jobs:
                if isinstance(job, _Change):
                    job.done({}, error, now)

    # ---- how

    def _queue(self, conv: ConvId, job: _Message | _Change, now: int) -> None:
        self._jobs.setdefault(conv, deque()).append(job)
        self._next(conv, now)

    def _next(self, conv: ConvId, now: int) -> None:
        jobs = self._jobs.get(conv)
        while jobs and conv not in self._busy and not self._held:
            job = jobs.popleft()
            if isinstance(job, _Change):
                self._busy.add(conv)
                self._ask("message", job.op, job.data, self._changed(conv, job), now)
            elif self.items.get(job.cmid, {}).get("state") == "queued":  # not discarded meanwhile
                self._busy.add(conv)
                self._send(conv, job, now)
        if not jobs:
            self._jobs.pop(conv, None)

    def _send(self, conv: ConvId, job: _Message, now: int) -> None:
        item = self.items[job.cmid] = self.items[job.cmid] | {"state": "sending"}
        self._tell(job.cmid)
        peer = peer_in(conv, self._user)
        target: JsonObject = {"conv": conv} if peer is None else {"to": peer}
        message = {name: item[name] for name in _MESSAGE if name in item}
        self._ask("message", "send", {**target, "cmid": job.cmid, **message}, self._sent(conv, job), now)

    def _sent(self, conv: ConvId, job: _Message) -> Done:
        def done(data: JsonObject, error: ImClientError | None, now: int) -> None:
            self._busy.discard(conv)
            item = self.items.get(job.cmid)  # missing: its entry has come before the reply
            error = error or _unreadable(data)
            if error is None:
                if item is not None:
                    told = {name: data[name] for name in ("n", "ts") if is_integer(data.get(name))}
                    self._forget(job.cmid, "sent", seq=data["seq"], duplicate=data.get("duplicate") is True, **told)
                self._take_own(conv, job.cmid, item, data, now)
            elif item is not None and isinstance(error, ReplyError):
                self._fail(item, _why(error), error)
            elif item is not None and isinstance(error, FrameTooLargeError):
                self._fail(item, {"code": "too_large"}, error)
            elif item is not None:  # ended
                self.items[job.cmid] = item | {"state": "queued"}
                self._tell(job.cmid)
                self._jobs.setdefault(conv, deque()).appendleft(job)
            self._next(conv, now)

        return done

    def _fail(self, item: JsonObject, why: JsonObject, error: ImClientError) -> None:
        self.items[item["cmid"]] = item | {"state": "failed", **why}
        self._tell(item["cmid"], error)

    def _take_own(self, conv: ConvId, cmid: str, item: JsonObject | None, data: JsonObject, now: int) -> None:
        """Its entry, unless that has come before the reply. What has become of it since is in the log above it."""
        if item is None or not (is_integer(data.get("n")) and is_integer(data.get("ts"))):
            self._logs.expect(conv, data["seq"], now)
            return
        message = {name: item[name] for name in _MESSAGE if name in item}
        wire: JsonObject = {"conv": conv, **{name: data[name] for name in ("seq", "n", "ts")}}
        entry = Entry.from_wire({**wire, "from": self._user, "cmid": cmid, **message})
        self._logs.take(entry, Source.REPLY, now)
        self._logs.mend(conv, now)

    def _changed(self, conv: ConvId, job: _Change) -> Done:
        def done(data: JsonObject, error: ImClientError | None, now: int) -> None:
            self._busy.discard(conv)
            error = error or _unreadable(data)
            if error is None:
                # Nobody pushes the entry of the change to who has made it: it is fetched.
                self._logs.expect(conv, data["seq"], now)
            job.done(data if error is None else {}, error, now)
            self._next(conv, now)

        return done

    def _forget(self, cmid: str, state: str, **more: Any) -> None:
        item = self.items.pop(cmid)
        self._save([Change("outbox", cmid, None)])
        self._out(OutgoingChanged(item | {"state": state} | more))

    def _tell(self, cmid: str, error: ImClientError | None = None) -> None:
        item = self.items[cmid]
        self._save([Change("outbox", cmid, item)])
        self._out(OutgoingChanged(item, error))


def _unreadable(data: JsonObject) -> ReplyError | None:
    """What is wrong with a reply that says success, but not where in the log: the same `cmid` may be sent again."""
    seq = data.get("seq")
    if is_integer(seq) and seq >= 1:
        return None
    return ReplyError("internal", "a reply without a seq", retryable=True)


def _why(error: ReplyError) -> JsonObject:
    wait = {} if error.retry_after_ms is None else {"retry_after_ms": error.retry_after_ms}
    return {"code": error.code, **wait}
