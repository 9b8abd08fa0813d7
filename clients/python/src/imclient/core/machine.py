"""The client as a whole: what its owner says goes in, with the time; what is to be done and told comes out.

    machine = Machine(user, Settings(), draw=random.randrange)
    machine.start(now)
    for output in machine.outputs(): ...      # Dial, Transmit, Hangup, Save, Answer, and what there is to tell
    machine.received(link, text, now)         # and so on; then the outputs again
    machine.wake(now)                         # at `machine.next_wake`

After every call the outputs are to be taken and done, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from imclient.core.deletions import Deletions
from imclient.core.inbox import Inbox
from imclient.core.link import Hooks, Link
from imclient.core.logs import Logs
from imclient.core.marks import Marks
from imclient.core.outbox import Outbox
from imclient.core.outputs import Answer, Arrived, Change, Output, Pushed, Save, Source, State
from imclient.core.requests import Done, Requests
from imclient.core.settings import Settings
from imclient.core.timers import Timers
from imclient.errors import ImClientError, MalformedEntryError
from imclient.frames import Entry, JsonObject, Push, Reply, decode
from imclient.ids import ConvId, UserId
from imclient.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Kept:
    """What was saved before: the rows of each table, and of each conversation the seqs above its watermark."""

    inbox: object = None
    rows: Mapping[str, JsonObject] = field(default_factory=dict)
    logs: Mapping[str, JsonObject] = field(default_factory=dict)
    above: Mapping[str, Iterable[int]] = field(default_factory=dict)
    reads: Mapping[str, JsonObject] = field(default_factory=dict)
    deleted: Mapping[str, JsonObject] = field(default_factory=dict)
    outbox: tuple[JsonObject, ...] = ()
    """In the order in which they were said."""


class Machine:
    """One user on one device. `draw(n)` gives an integer from 0 to below n, or 0 for an n of 0."""

    def __init__(self, user: UserId, settings: Settings, draw: Callable[[int], int], kept: Kept | None = None) -> None:
        self.user, self.settings = user, settings
        self.messages_ignored = 0
        self._out: list[Output] = []
        self._timers = Timers()
        self._calls = 0
        self._ended: ImClientError | None = None
        self._now = 0
        timers, out = self._timers, self._tell
        self.link = Link(settings, timers, out, draw, Hooks(self._opened, self._lost, self._end, self._ping))
        self.requests = Requests(settings, timers, out, draw, lambda: self.link.current, self.link.verify)
        self.logs = Logs(user, settings, timers, out, self._ask, self._save, self._advanced, self._row_end)
        self.marks = Marks(settings, timers, out, self._ask, self.logs, self._save, self._was_read)
        self.deletions = Deletions(out, self._ask, self._save)
        self.inbox = Inbox(user, settings, timers, out, self._ask, self.logs, self.marks, self.deletions, self._save)
        self.outbox = Outbox(user, out, self._ask_patiently, self.logs, self._save)
        self._kept = kept

    # ---- what comes out

    def outputs(self) -> list[Output]:
        """What is to be done and told since the last time."""
        out, self._out = self._out, []
        return out

    @property
    def next_wake(self) -> int | None:
        """When to call `wake`, in ms; None while there is nothing to wait for."""
        return self._timers.next if self._ended is None else None

    @property
    def state(self) -> State:
        """How the client is connected."""
        return self.link.state

    @property
    def ended(self) -> ImClientError | None:
        """Why the client stays away."""
        return self._ended

    @property
    def transcripts(self) -> dict[ConvId, Transcript]:
        """What there is of each conversation."""
        return self.logs.transcripts

    @property
    def rows(self) -> dict[ConvId, JsonObject]:
        """The conversation list."""
        return self.inbox.rows

    # ---- time and connections

    def start(self, now: int) -> None:
        """Connect, and go on with what was kept. Also after an end. Does nothing while it is started already."""
        if self.state is not State.ENDED:
            return
        self._now = now
        self._ended = None
        self._timers.clear()
        kept, self._kept = self._kept, None
        if kept is not None:
            self._restore(kept, now)
        self.inbox.resume()
        self.deletions.resume()
        self.logs.resume(now)
        self.marks.resume(now)
        self.outbox.resume(now)
        self.link.start(now)

    def stop(self, now: int) -> None:
        """Stay away."""
        self._now = now
        self.link.stop()

    def opened(self, link: int, now: int) -> None:
        """The connection `link` is open."""
        self._now = now
        self.link.opened(link, now)

    def failed(self, link: int, status: int | None, now: int) -> None:
        """The connection `link` was refused with this HTTP status, or not reached at all."""
        self._now = now
        self.link.failed(link, status, now)

    def closed(self, link: int, code: int | None, now: int) -> None:
        """The connection `link` is closed."""
        self._now = now
        self.link.closed(link, code, now)

    def received(self, link: int, message: str | bytes, now: int) -> None:
        """A message has come over the connection `link`. One that is not in use any more is not heard."""
        self._now = now
        if link != self.link.current:
            return
        match decode(message):
            case Reply() as reply:
                self.messages_ignored += not self.requests.answered(reply, now)
            case Push() as push:
                self._pushed(link, push, now)
            case None:
                self.messages_ignored += 1

    def wake(self, now: int) -> None:
        """It is time for what was to be done later. So late that the machine has slept: the connection may be dead."""
        self._now = now
        due = self.next_wake
        if due is None:
            return
        if now - due > self.settings.late:
            self.link.verify(now)
        self._timers.fire(now)

    def network(self, now: int, *, online: bool) -> None:
        """The network has come or gone."""
        self._now = now
        self.link.network(now, online=online)

    def resumed(self, now: int) -> None:
        """A person looks again: connect now, or find out whether the connection is alive."""
        self.network(now, online=True)

    # ---- what a program asks for

    def call(self, route: str, op: str, data: Mapping[str, Any], now: int) -> int:
        """Make a request. What comes of it is the Answer with the number that this returns."""
        self._now = now

        def ask(done: Done) -> None:
            def learn(data: JsonObject, error: ImClientError | None, at: int) -> None:
                if route == "group" and error is None:
                    self.marks.learn_sizes(data)
                done(data, error, at)

            self.requests.make(route, op, data, learn, now)

        return self._numbered(ask)

    def send(self, item: JsonObject, now: int) -> None:
        """Send a message, now or when there is a connection: `{cmid, conv, kind, body, mentions?, reply_to?, ts}`."""
        self._now = now
        self.outbox.add(item, now)

    def change(self, conv: ConvId, op: str, data: JsonObject, cmid: str, now: int) -> int:
        """Change a message (`edit`, `recall`, `react`, `pin`), after what was asked for before in its conversation.

        What comes of it is the Answer with the number that this returns.
        """
        self._now = now
        return self._numbered(lambda done: self.outbox.change(conv, op, data, cmid, done, now))

    def retry(self, cmid: str, now: int) -> None:
        """Send a message again that has failed."""
        self.outbox.retry(cmid, now)

    def discard(self, cmid: str) -> None:
        """Forget a message that has failed, or was not sent yet."""
        self.outbox.discard(cmid)

    def read(self, conv: ConvId, seq: int, now: int) -> None:
        """The user has read up to `seq`. What was read before is no news."""
        row = self.rows.get(conv)
        if row is not None and seq <= row.get("read_seq", 0):
            return
        held = self.transcripts.get(conv)
        self.inbox.reads(conv, seq, held[seq].n if held is not None and held.holds(seq) else None)
        self.marks.read(conv, seq, now)

    def expect(self, conv: ConvId, last_seq: int, now: int) -> None:
        """A conversation has entries up to `last_seq`."""
        self.logs.expect(conv, last_seq, now)

    def older(self, conv: ConvId, limit: int, now: int) -> bool:
        """Fetch the page of history below what is here. `Settled` tells when it is there."""
        return self._ended is None and self.logs.older(conv, limit, now)

    def refresh(self, now: int) -> int:
        """Read what has changed in the inbox. The Answer with the number that this returns comes when that is done."""
        return self._numbered(lambda done: self.inbox.when_read(lambda error, at: done({}, error, at), now))

    def leave(self, now: int) -> int:
        """Tell the server now what has come and was read; `stop` when the Answer with this number has come.

        It does not connect for it: the next connection of this device may be there already, and would be kicked.
        """
        self._now = now
        self._calls += 1
        number = self._calls
        connected = self.link.current is not None
        self.link.leave()
        if not connected:
            self._tell(Answer(number, {}))
        else:
            self.marks.flush(lambda: self._tell(Answer(number, {})), now)
        return number

    # ---- how

    def _numbered(self, ask: Callable[[Done], None]) -> int:
        """Ask for something, unless there was an end. What comes of it is the Answer with the number returned."""
        self._calls += 1
        number = self._calls

        def done(data: JsonObject, error: ImClientError | None, _: int) -> None:
            self._tell(Answer(number, data) if error is None else Answer(number, error=error))

        if self._ended is not None:
            done({}, self._ended, self._now)
        else:
            ask(done)
        return number

    def _tell(self, output: Output) -> None:
        self._out.append(output)
        if isinstance(output, Arrived):
            self.outbox.arrived(output.entry)
            if output.new and output.source is not Source.OLDER:
                self.inbox.arrived(output.entry, self._now)

    def _save(self, changes: Iterable[Change]) -> None:
        if self.settings.stores:
            self._out.append(Save(tuple(changes)))

    def _ask(self, route: str, op: str, data: JsonObject, done: Done, now: int) -> None:
        self.requests.make(route, op, data, done, now)

    def _ask_patiently(self, route: str, op: str, data: JsonObject, done: Done, now: int) -> None:
        self.requests.make(route, op, data, done, now, patient=True)

    def _advanced(self, conv: ConvId, now: int) -> None:
        self.marks.advanced(conv, now)

    def _row_end(self, conv: ConvId) -> int | None:
        row = self.rows.get(conv)
        return None if row is None else int(row["last_seq"])

    def _was_read(self, data: JsonObject) -> None:
        self.inbox.was_read(data, self._now)

    def _opened(self, now: int) -> None:
        self.requests.opened(now)
        self.inbox.opened(now)

    def _lost(self) -> None:
        self.requests.lost()

    def _end(self, error: ImClientError) -> None:
        self._ended = error
        self.outbox.end(error, self._now)
        self.requests.end(error, self._now)
        self._timers.clear()

    def _ping(self, now: int) -> None:
        def pong(data: JsonObject, error: ImClientError | None, now: int) -> None:
            self.link.alive()
            if error is None:
                self.inbox.heard(data.get("inbox"), now)

        self.requests.ask_once("connect", "ping", pong, now)

    def _pushed(self, link: int, push: Push, now: int) -> None:
        match push.name, push.data:
            case "entries", data:
                wires = data.get("entries")
                self._take(wires if isinstance(wires, list) else [], now)
            case "inbox", data:
                self.inbox.heard(data.get("inbox"), now)
            case "kicked", data:
                self._tell(Pushed("kicked", data))
                reason = data.get("reason")
                self.link.kicked(link, reason if isinstance(reason, str) else "unknown")
            case "deleted", data:
                self.deletions.take(data)
            case "row", row:
                self.inbox.take(row, now)
            case "read", {"user": self.user} as data:
                self.inbox.was_read(data, now)
                self._tell(Pushed("read", data))
            case name, data:
                self._tell(Pushed(name, data))

    def _take(self, wires: list[object], now: int) -> None:
        seen: dict[ConvId, None] = {}
        for wire in wires:
            # The seq of one that cannot be read stays a hole, and is fetched.
            with suppress(MalformedEntryError):
                entry = Entry.from_wire(wire)
                self.logs.take(entry, Source.PUSH, now)
                seen[entry.conv] = None
        for conv in seen:
            self.logs.mend(conv, now)

    def _restore(self, kept: Kept, now: int) -> None:
        self.inbox.value = kept.inbox
        for name, row in kept.rows.items():
            self.inbox.rows[ConvId(name)] = row
            self.marks.knows(ConvId(name), row.get("ack_seq", 0))
        for name, log in kept.logs.items():
            conv = ConvId(name)
            self.logs.transcripts[conv] = Transcript.restored(conv, **log, above=kept.above.get(name, ()))
        self.deletions.of.update({ConvId(name): deleted for name, deleted in kept.deleted.items()})
        for name, read in kept.reads.items():
            self.marks.to_read[ConvId(name)] = read["seq"]
        self.outbox.restore(kept.outbox, now)
