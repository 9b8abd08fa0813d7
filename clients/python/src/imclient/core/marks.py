"""What the server is told of what has come and what was read: at most once a second (rule 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from imclient.core.logs import Logs
from imclient.core.outputs import Change, Noted, Output
from imclient.core.requests import Ask
from imclient.core.settings import Settings
from imclient.core.timers import Timer, Timers
from imclient.errors import ImClientError, ReplyError
from imclient.frames import JsonObject, is_integer
from imclient.ids import ConvId

ACKS_A_FRAME = 50
LARGE = 100
"""Members of larger groups do not acknowledge."""


class Marks:
    """What is told already, and what is not. `told_read` gets the reply to a read."""

    def __init__(
        self,
        settings: Settings,
        timers: Timers,
        out: Callable[[Output], None],
        ask: Ask,
        logs: Logs,
        save: Callable[[Iterable[Change]], None],
        told_read: Callable[[JsonObject], None],
    ) -> None:
        self.sizes: dict[ConvId, int] = {}
        """How many members groups have, as far as that is known."""
        self.to_read: dict[ConvId, int] = {}
        self._settings, self._timers, self._out, self._ask = settings, timers, out, ask
        self._logs, self._save, self._told_read = logs, save, told_read
        self._acked: dict[ConvId, int] = {}
        self._more: dict[ConvId, None] = {}  # where there may be more to acknowledge, in the order in which it came
        self._ack_timer: Timer | None = None
        self._acking = False
        self._read_timer: Timer | None = None
        self._reading: set[ConvId] = set()
        self._flushed: list[Callable[[], None]] = []

    def resume(self, now: int) -> None:
        """Go on after an end."""
        self._acking, self._ack_timer, self._read_timer = False, None, None
        self._reading.clear()
        self._more.clear()
        for conv in self._logs.transcripts:
            self.advanced(conv, now)
        self.wake(now)

    def flush(self, then: Callable[[], None], now: int) -> None:
        """Tell now what is to be told, as much as a frame takes, and say so when the server has answered."""
        for timer in (self._ack_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        self._flushed.append(then)
        if not self._acking:
            self._ack(now)
        self._tell_reads(now)
        self._check_flushed()

    def _check_flushed(self) -> None:
        if not self._acking and not self._reading:
            flushed, self._flushed = self._flushed, []
            for then in flushed:
                then()

    # ---- received

    def knows(self, conv: ConvId, ack_seq: int) -> None:
        """The server knows that this user has received so much."""
        self._acked[conv] = max(ack_seq, self._acked.get(conv, 0))

    def advanced(self, conv: ConvId, now: int) -> None:
        """More of a conversation may be whole."""
        if self._settings.acknowledges and self._due(conv):
            self._more[conv] = None
            self._ack_soon(now)

    def learn_sizes(self, data: JsonObject) -> None:
        """A reply of the route `group`: it may say how many members groups have."""
        groups = data.get("groups")
        for group in (data, *(groups if isinstance(groups, list) else ())):
            match group:
                case {"conv": str(conv), "members": members} if is_integer(members):
                    self.sizes[ConvId(conv)] = members

    def _ack_soon(self, now: int) -> None:
        if self._more and self._ack_timer is None and not self._acking:
            self._ack_timer = self._timers.at(now + self._settings.acknowledge, self._ack)

    def _due(self, conv: ConvId) -> bool:
        transcript = self._logs.transcripts[conv]
        known = max(self._acked.get(conv, 0), transcript.floor)
        return transcript.watermark > known and self.sizes.get(conv, 0) <= LARGE

    def _ack(self, now: int) -> None:
        self._ack_timer = None
        self._more = {conv: None for conv in self._more if self._due(conv)}
        acks = {conv: self._logs.transcripts[conv].watermark for conv in islice(self._more, ACKS_A_FRAME)}
        if not acks:
            return
        self._acking = True

        def done(_: JsonObject, error: ImClientError | None, now: int) -> None:
            self._acking = False
            if error is not None:
                self._out(Noted(f"the server did not take what was received: {error}"))
            if error is None or (isinstance(error, ReplyError) and not error.retryable):
                for conv, seq in acks.items():
                    self.knows(conv, seq)
            self._more = {conv: None for conv in self._more if self._due(conv)}
            self._ack_soon(now)
            self._check_flushed()

        self._ask("sync", "ack", {"acks": [{"conv": conv, "seq": seq} for conv, seq in acks.items()]}, done, now)

    # ---- read

    def read(self, conv: ConvId, seq: int, now: int) -> None:
        """The user has read up to `seq`; the server is told within a second, together with what follows."""
        if seq > self.to_read.get(conv, 0):
            self.to_read[conv] = seq
            self._save([Change("reads", conv, {"seq": seq})])
            self.wake(now)

    def wake(self, now: int) -> None:
        """Tell what is to be told, in a second."""
        if self.to_read and self._read_timer is None:
            self._read_timer = self._timers.at(now + self._settings.read, self._tell_reads)

    def _tell_reads(self, now: int) -> None:
        self._read_timer = None
        for conv, seq in list(self.to_read.items()):
            if conv not in self._reading:
                self._reading.add(conv)
                self._tell_read(conv, seq, now)

    def _tell_read(self, conv: ConvId, seq: int, now: int) -> None:
        def done(data: JsonObject, error: ImClientError | None, now: int) -> None:
            self._reading.discard(conv)
            if error is not None:
                self._out(Noted(f"the server did not take what was read: {error}"))
            if error is None or (isinstance(error, ReplyError) and not error.retryable):
                if self.to_read.get(conv) == seq:
                    del self.to_read[conv]
                    self._save([Change("reads", conv, None)])
                if error is None:
                    self._told_read(data)
            self.wake(now)
            self._check_flushed()

        self._ask("sync", "read", {"conv": conv, "seq": seq}, done, now)
