"""The conversation list, kept in step with the server's: all of it once, then what has changed (rule 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imclient.core.deletions import Deletions
from imclient.core.logs import Logs
from imclient.core.marks import Marks
from imclient.core.outputs import Change, Noted, Output, Pushed, RowChanged
from imclient.core.requests import Ask
from imclient.core.rows import from_wire, merged, read, with_entry
from imclient.core.settings import Settings
from imclient.core.timers import Timer, Timers
from imclient.errors import ImClientError, ReplyError
from imclient.frames import Entry, JsonObject, is_integer
from imclient.ids import ConvId, UserId


class Inbox:
    """Rows by conversation, and the server's `inbox` value that they are as of."""

    def __init__(
        self,
        user: UserId,
        settings: Settings,
        timers: Timers,
        out: Callable[[Output], None],
        ask: Ask,
        logs: Logs,
        marks: Marks,
        deletions: Deletions,
        save: Callable[[Iterable[Change]], None],
    ) -> None:
        self.rows: dict[ConvId, JsonObject] = {}
        self.value: object = None
        self._settings, self._timers, self._out, self._ask = settings, timers, out, ask
        self._user, self._logs, self._marks, self._deletions, self._save = user, logs, marks, deletions, save
        self._reading = False
        self._again = False
        self._first_value: object = None
        self._timer: Timer | None = None
        self._wanted: list[Callable[[ImClientError | None, int], None]] = []

    def heard(self, value: object, now: int) -> None:
        """The server has said what the value is now; anything but a value stands for another one."""
        if value is None or value != self.value:
            self.soon(now)

    def soon(self, now: int, wait: int | None = None) -> None:
        """Read what has changed in a moment."""
        if self._timer is None:
            self._timer = self._timers.at(now + (self._settings.inbox if wait is None else wait), self.refresh)

    def refresh(self, now: int) -> None:
        """Read what has changed. What changes while that is read is read after it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reading:
            self._again = True
            return
        self._reading, self._again, self._first_value = True, False, None
        self._page({} if self.value is None else {"since": self.value}, now)

    def opened(self, now: int) -> None:
        """There is a connection. What is being read goes on over it; pages that were read before may be old by now."""
        if self._reading:
            self._again = self._again or self._first_value is not None
        else:
            self.refresh(now)

    def when_read(self, then: Callable[[ImClientError | None, int], None], now: int) -> None:
        """Read what has changed, and say so once that is done, or what went wrong."""
        self._wanted.append(then)
        self.refresh(now)

    def take(self, wire: object, now: int) -> None:
        """A row has come, in whatever way. Anything else is left alone."""
        row = from_wire(wire)
        if row is None:
            return
        conv, last_seq = ConvId(row["conv"]), int(row["last_seq"])
        known = self.rows.get(conv)
        now_known = self.rows[conv] = merged(known, row)
        self._marks.knows(conv, row.get("ack_seq", 0))
        self._deletions.heard(conv, row.get("deleted", 0), now)
        self._save([Change("rows", conv, now_known)])
        if known is not None and known.get("left_seq") != now_known.get("left_seq"):
            self._logs.away(conv, last_seq)
        if conv in self._logs.transcripts or self._settings.backlog is None:
            self._logs.expect(conv, last_seq, now)
        if now_known != known:
            self._out(RowChanged(now_known))

    def arrived(self, entry: Entry, now: int) -> None:
        """A new entry has come. Of a conversation that is not in the list yet, the server has the row."""
        row = self.rows.get(entry.conv)
        if row is None:
            self.soon(now, self._settings.inbox_unknown)
        else:
            self._becomes(entry.conv, with_entry(row, entry, self._user))

    def reads(self, conv: ConvId, seq: int, n: int | None) -> None:
        """The user reads up to `seq`, here and now."""
        row = self.rows.get(conv)
        if row is not None:
            self._becomes(conv, read(row, seq, row.get("last_n") if seq >= row["last_seq"] else n))

    def _becomes(self, conv: ConvId, row: JsonObject) -> None:
        if row != self.rows[conv]:
            self.rows[conv] = row
            self._save([Change("rows", conv, row)])
            self._out(RowChanged(row))

    def was_read(self, data: JsonObject, now: int) -> None:
        """This user has read something: a reply to `sync.read`, or the push to their other devices."""
        match data:
            case {"conv": str(name), "read_seq": seq} | {"conv": str(name), "seq": seq} if (
                name in self.rows and is_integer(seq)
            ):
                row, n, unread = self.rows[ConvId(name)], data.get("n"), data.get("unread")
                changed = read(row, seq, row.get("last_n") if seq >= row["last_seq"] else n if is_integer(n) else None)
                if is_integer(unread) and seq >= changed["read_seq"] and unread != changed.get("unread"):
                    self.soon(now)
                self._becomes(ConvId(name), changed)

    def resume(self) -> None:
        """Go on after an end."""
        self._reading, self._timer = False, None

    def _page(self, query: JsonObject, now: int) -> None:
        self._ask("sync", "inbox", query, lambda data, error, at: self._read(query, data, error, at), now)

    def _read(self, query: JsonObject, data: JsonObject, error: ImClientError | None, now: int) -> None:
        if error is not None:
            if isinstance(error, ReplyError) and not error.retryable and "since" in query:
                # The server does not know this value of `inbox` any more: read all of it.
                self.value = None
                self._reading = False
                self.refresh(now)
            else:
                self._done(error, now)
            return
        rows, privacy = data.get("conversations"), data.get("privacy")
        for row in rows if isinstance(rows, list) else ():
            self.take(row, now)
        if isinstance(privacy, dict):
            self._out(Pushed("privacy", privacy))
        # The first page's value: what changes while the others are read is then read again, and not missed.
        if self._first_value is None:
            self._first_value = data.get("inbox")
        if data.get("cursor") is not None:
            self._page({**query, "cursor": data["cursor"]}, now)
            return
        if self._first_value is not None:
            self.value = self._first_value
            self._save([Change("meta", "inbox", {"value": self.value})])
        self._done(None, now)

    def _done(self, error: ImClientError | None, now: int) -> None:
        self._reading = False
        wanted, self._wanted = self._wanted, []
        for then in wanted:
            then(error, now)
        if error is not None:
            self._out(Noted(f"cannot read the inbox now: {error}"))
            self.soon(now, self._settings.inbox_retry)
        elif self._again:
            self.refresh(now)
