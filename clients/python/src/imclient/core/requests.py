"""Requests that survive lost replies and lost connections: each is sent again until its reply has come (rule 1).

Every operation may be repeated without harm, so the same frame goes out again, on the next connection if need be. A
request that the server would rather have later is made anew, with another id: a late reply to the first one is no reply
to the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from imclient.core.outputs import Output, Transmit
from imclient.core.settings import Settings
from imclient.core.timers import Timer, Timers
from imclient.errors import FrameTooLargeError, ImClientError, NoReplyError
from imclient.frames import JsonObject, Reply, encode_request

Done: TypeAlias = Callable[[JsonObject, ImClientError | None, int], None]
"""Told what came of a request, and when: the reply's data, which is empty when there is an error."""

Ask: TypeAlias = Callable[[str, str, JsonObject, Done, int], None]
"""Makes a request of a route, an operation and data, at a time."""


@dataclass(slots=True)
class Request:
    """One that has no reply yet.

    `patient`: it is sent until there is one. `once`: it is of this connection, and is sent once. `paused`: the server
    would rather have it later.
    """

    route: str
    op: str
    data: Mapping[str, Any]
    done: Done
    patient: bool = False
    once: bool = False
    paused: bool = False
    frame: str = ""
    sends: int = 0
    refusals: int = 0
    timer: Timer | None = None


class Requests:
    """Those under way. `link` tells which connection is open; `doubt` is called when a reply is late."""

    def __init__(
        self,
        settings: Settings,
        timers: Timers,
        out: Callable[[Output], None],
        draw: Callable[[int], int],
        link: Callable[[], int | None],
        doubt: Callable[[int], None],
    ) -> None:
        self.frames_resent = 0
        self._settings, self._timers, self._out, self._draw = settings, timers, out, draw
        self._link, self._doubt = link, doubt
        self._pending: dict[str, Request] = {}
        self._last = 0

    def make(self, route: str, op: str, data: Mapping[str, Any], done: Done, now: int, *, patient: bool = False) -> str:
        """Make a request; it goes out when there is a connection. Returns its first id."""
        return self._issue(Request(route, op, data, done, patient=patient), now)

    def ask_once(self, route: str, op: str, done: Done, now: int) -> None:
        """Ask over the connection that is open; without a reply from it, nothing comes of that."""
        self._issue(Request(route, op, {}, done, once=True), now)

    def answered(self, reply: Reply, now: int) -> bool:
        """A reply has come; False when nobody waits for it, as for the second reply to a frame that was sent twice."""
        request = self._pending.pop(reply.id, None)
        if request is None:
            return False
        self._stop(request)
        error = reply.error
        if error is None:
            request.done(reply.data, None, now)
            return True
        if not error.retryable or request.once or request.refusals + 1 >= self._settings.tries:
            request.done({}, error, now)
            return True
        wait = error.retry_after_ms if error.retry_after_ms is not None else self._backoff(request.refusals)
        request.refusals += 1
        request.paused = True
        # It keeps its old id until then, so that it is not lost from sight; no frame goes out under it any more.
        self._pending[reply.id] = request
        request.timer = self._timers.at(now + wait, lambda at: self._anew(reply.id, at))
        return True

    def opened(self, now: int) -> None:
        """There is a connection: what waits for one goes out, in its order."""
        for key, request in list(self._pending.items()):
            if request.timer is None:
                self._transmit(key, now)

    def lost(self) -> None:
        """The connection is gone; what waits for a reply waits for the next one."""
        for key, request in list(self._pending.items()):
            if request.once:
                self._stop(self._pending.pop(key))
            elif not request.paused:
                self._stop(request)

    def end(self, error: ImClientError, now: int) -> None:
        """There will be no connection any more."""
        pending, self._pending = self._pending, {}
        for request in pending.values():
            self._stop(request)
            request.done({}, error, now)

    def _issue(self, request: Request, now: int) -> str:
        self._last += 1
        key = f"r{self._last}"
        request.sends = 0
        try:
            request.frame = encode_request(request.route, request.op, key, request.data)
        except FrameTooLargeError as error:
            request.done({}, error, now)
            return key
        self._pending[key] = request
        self._transmit(key, now)
        return key

    def _anew(self, key: str, now: int) -> None:
        request = self._pending.pop(key)
        request.timer, request.paused = None, False
        self._issue(request, now)

    def _transmit(self, key: str, now: int) -> None:
        link, request = self._link(), self._pending[key]
        if link is None:
            return
        self.frames_resent += request.sends > 0
        request.sends += 1
        if not request.once:
            request.timer = self._timers.at(now + self._settings.reply, lambda at: self._late(key, at))
        self._out(Transmit(link, request.frame))

    def _late(self, key: str, now: int) -> None:
        request = self._pending[key]
        request.timer = None
        if request.sends >= self._settings.sends and not request.patient:
            del self._pending[key]
            request.done({}, NoReplyError(request.route, request.op, request.sends), now)
        else:
            self._transmit(key, now)
        self._doubt(now)

    def _backoff(self, attempt: int) -> int:
        return self._draw(min(self._settings.backoff_longest, self._settings.backoff_first << min(attempt, 20)))

    def _stop(self, request: Request) -> None:
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
