"""One connection after another: opened, kept alive, renewed before its end, opened again after its loss.

Rule 4 of the protocol: full-jitter backoff from 0.5 s to 30 s; a ping every four minutes, idle or busy, and at once
when a connection may be dead; a new connection before the two hours are over, beside the old one: there is no gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imclient.core.outputs import Dial, Hangup, Output, State, StateChanged
from imclient.core.settings import Settings
from imclient.core.timers import Then, Timer, Timers
from imclient.errors import ConnectionLostError, ImClientError, UpgradeRefusedError

_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the rest of the machine does about connections."""

    opened: Then
    lost: Callable[[], None]
    ended: Callable[[ImClientError], None]
    ping: Then


class Link:
    """Which connection is in use. A link is a connection's number: one that is not in use any more is not heard."""

    def __init__(
        self,
        settings: Settings,
        timers: Timers,
        out: Callable[[Output], None],
        draw: Callable[[int], int],
        hooks: Hooks,
    ) -> None:
        self.current: int | None = None
        self.state = State.ENDED
        self._settings, self._timers, self._out, self._draw, self._hooks = settings, timers, out, draw, hooks
        self._dialing: int | None = None
        self._fresh = False
        self._last = 0
        self._leaving = False
        self._attempt = 0
        self._opened_at = 0
        self._waits: dict[str, Timer] = {}

    # ---- what its owner says

    def start(self, now: int) -> None:
        """Connect. Also after an end."""
        if self.state is State.ENDED:
            self._leaving = False
            self._attempt = 0
            self._dial(now)

    def leave(self) -> None:
        """Stay away once this connection is lost: the next one of this device may be there already."""
        self._leaving = True
        if self.current is None:
            self.stop()

    def stop(self) -> None:
        """Stay away from now on."""
        self._end("stopped", ConnectionLostError())

    def opened(self, link: int, now: int) -> None:
        """A connection is open. One that nobody waits for any more is closed again."""
        if link != self._dialing:
            self._out(Hangup(link))
            return
        self._dialing, old, self.current = None, self.current, link
        self._cancel("dial", "retry", "pong")
        self._opened_at = now
        if old is not None:
            self._hooks.lost()
            self._out(Hangup(old))
        self._wait("ping", now + self._settings.ping_every, self._keep_alive)
        self._wait("renew", now + self._settings.renew - self._draw(self._settings.renew_spread), self._renew)
        self._is(State.ONLINE)
        self._hooks.opened(now)

    def failed(self, link: int, status: int | None, now: int) -> None:
        """A connection could not be opened: refused with an HTTP status, or not reached at all."""
        if link != self._dialing:
            return
        self._dialing = None
        self._cancel("dial")
        if status in _REFUSED and not self._fresh:
            self._dial(now, fresh=True)  # the token may have run out
        elif status in _REFUSED and self.current is None:
            self._end("refused", UpgradeRefusedError(status or 0))
        elif self.current is None:
            self._retry(now)
        else:
            self._wait("renew", now + self._backoff(), self._renew)

    def closed(self, link: int, code: int | None, now: int) -> None:
        """A connection is closed, by whomever."""
        if link == self._dialing:
            self.failed(link, None, now)
        elif link == self.current:
            self._lost(now, ConnectionLostError(code=code))

    def kicked(self, link: int, reason: str) -> None:
        """The server ends a connection, and says why: its client stays away (rule 4).

        While a connection is being opened, it is that one which has replaced this.
        """
        if link != self.current:
            return
        if self._dialing is not None and reason == "replaced":
            self._drop(link)
            self._is(State.CONNECTING)
        else:
            self._out(Hangup(link))
            self._end("kicked", ConnectionLostError(kicked=reason))

    def network(self, now: int, *, online: bool) -> None:
        """The machine's network has come or gone, as far as the machine can tell."""
        if online and self.state is State.WAITING:
            self._cancel("retry")
            self._attempt = 0
            self._dial(now)
        else:
            self.verify(now)

    # ---- what the rest of the machine says

    def verify(self, now: int) -> None:
        """Find out whether the connection is alive: without a pong within 10 s it is not."""
        if self.current is not None and "pong" not in self._waits:
            self._wait("pong", now + self._settings.ping_deadline, self._dead)
            self._wait("ping", now + self._settings.ping_every, self._keep_alive)
            self._hooks.ping(now)

    def alive(self) -> None:
        """A ping was answered, in whatever way."""
        self._cancel("pong")

    # ---- how

    def _dial(self, now: int, *, fresh: bool = False) -> None:
        self._last += 1
        self._dialing, self._fresh = self._last, fresh
        self._wait("dial", now + self._settings.dial, self._give_up)
        self._out(Dial(self._last, fresh))
        if self.current is None:
            self._is(State.CONNECTING)

    def _give_up(self, now: int) -> None:
        if self._dialing is not None:
            self._out(Hangup(self._dialing))
            self.failed(self._dialing, None, now)

    def _keep_alive(self, now: int) -> None:
        self.verify(now)

    def _renew(self, now: int) -> None:
        if self._dialing is None:
            self._dial(now)

    def _dead(self, now: int) -> None:
        if self.current is not None:
            self._out(Hangup(self.current))
            self._lost(now, ConnectionLostError())

    def _lost(self, now: int, error: ConnectionLostError) -> None:
        if now - self._opened_at >= self._settings.stable:
            self._attempt = 0
        self._drop(None)
        if self._leaving:
            self.stop()
        elif self._dialing is None:
            self._retry(now, error)
        else:
            self._is(State.CONNECTING)

    def _drop(self, hang_up: int | None) -> None:
        if hang_up is not None:
            self._out(Hangup(hang_up))
        self.current = None
        self._cancel("ping", "pong", "renew")
        self._hooks.lost()

    def _retry(self, now: int, error: ImClientError | None = None) -> None:
        self._wait("retry", now + self._backoff(), self._dial)
        self._is(State.WAITING, error=error)

    def _backoff(self) -> int:
        longest = min(self._settings.backoff_longest, self._settings.backoff_first << min(self._attempt, 20))
        self._attempt += 1
        return self._draw(longest)

    def _end(self, why: str, error: ImClientError) -> None:
        if self.state is State.ENDED:
            return
        for link in (self._dialing, self.current if why == "stopped" else None):
            if link is not None:
                self._out(Hangup(link))
        self._cancel(*self._waits)
        self._dialing = None
        if self.current is not None:
            self.current = None
            self._hooks.lost()
        self._is(State.ENDED, why, error)
        self._hooks.ended(error)

    def _is(self, state: State, why: str = "", error: ImClientError | None = None) -> None:
        if state is not self.state:
            self.state = state
            self._out(StateChanged(state, why, error))

    def _wait(self, name: str, due: int, then: Then) -> None:
        self._cancel(name)

        def fire(now: int) -> None:
            del self._waits[name]
            then(now)

        self._waits[name] = self._timers.at(due, fire)

    def _cancel(self, *names: str) -> None:
        for name in list(names):
            if (timer := self._waits.pop(name, None)) is not None:
                timer.cancel()
