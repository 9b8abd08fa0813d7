"""The logs of all conversations: what has come of them, what is missing, and fetching that (rule 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from imclient.core.outputs import Arrived, Change, Noted, Output, Settled, Source
from imclient.core.requests import Ask
from imclient.core.settings import Settings
from imclient.core.timers import Timers
from imclient.errors import ImClientError, MalformedEntryError, ReplyError
from imclient.frames import Entry, JsonObject, Page, entries_of, is_integer
from imclient.ids import ConvId, UserId
from imclient.transcript import Gap, Transcript

PAGE = 100


@dataclass(slots=True)
class _Fill:
    """Fetching what is missing of one conversation, from when that was seen until nothing is or nothing comes."""

    transcript: Transcript
    wait: int
    seen: int = 0
    """Holes below it are as old as this wait; the younger ones wait their turn."""
    era: int = 0
    before: tuple[int, int] = (0, 0)
    more: bool = True
    gaps: list[Gap] = field(default_factory=list)
    after: int = 0


class Logs:
    """Transcripts by conversation. `save` keeps what is to outlive the process; `advanced` is told of every change of
    a watermark, perhaps once too often; `row_end` knows how far the conversation list has a conversation."""

    def __init__(
        self,
        user: UserId,
        settings: Settings,
        timers: Timers,
        out: Callable[[Output], None],
        ask: Ask,
        save: Callable[[Iterable[Change]], None],
        advanced: Callable[[ConvId, int], None],
        row_end: Callable[[ConvId], int | None],
    ) -> None:
        self.transcripts: dict[ConvId, Transcript] = {}
        self._user, self._settings, self._timers = user, settings, timers
        self._out, self._ask, self._save, self._advanced, self._row_end = out, ask, save, advanced, row_end
        self._fills: dict[ConvId, _Fill] = {}
        self._older: set[ConvId] = set()

    def transcript(self, conv: ConvId, first_seen: int | None = None) -> Transcript:
        """The transcript of a conversation. A new one starts `backlog` entries before the seq that is seen first, and
        before what its row does not have yet, unless that is much."""
        known = self.transcripts.get(conv)
        if known is None:
            backlog, row_end = self._settings.backlog, self._row_end(conv)
            start = 1 if first_seen is None else first_seen
            if row_end is not None and (first_seen is None or first_seen - row_end <= self._settings.passed_over):
                start = row_end + 1 if first_seen is None else min(first_seen, row_end + 1)
            floor = 0 if backlog is None else max(0, start - 1 - backlog)
            known = self.transcripts[conv] = Transcript(conv, floor=floor)
        return known

    def expect(self, conv: ConvId, last_seq: int, now: int) -> None:
        """Learn that a conversation has entries up to `last_seq`; what is missing is fetched, after the usual wait."""
        transcript = self.transcript(conv, last_seq + 1)
        settings = self._settings
        if settings.backlog is not None and last_seq - transcript.watermark > max(
            settings.passed_over, settings.backlog
        ):
            self._restart(transcript, last_seq - settings.backlog)
        transcript.expect(last_seq)
        self._keep(transcript)
        self.mend(conv, now)

    def away(self, conv: ConvId, last_seq: int) -> None:
        """Learn from a row that this user has left, or is back: what was closed of the conversation may be open, and
        what was open recalled. It is history, to be loaded anew. Where all is needed, the entry that says so does that.
        """
        transcript = self.transcripts.get(conv)
        if transcript is not None and self._settings.backlog is not None and last_seq >= transcript.watermark:
            self._restart(transcript, last_seq)

    def take(self, entry: Entry, source: Source, now: int, as_of: int = 0) -> None:
        """An entry has come."""
        transcript = self.transcript(entry.conv, entry.seq)
        if entry.seq <= transcript.floor and self._settings.backlog is not None:
            return  # it is history, and comes with its page
        new = transcript.insert(entry, as_of)
        changes = self._held(transcript, entry.seq)
        added = entry.body.get("added")
        if new and entry.kind == "members" and isinstance(added, list) and self._user in added:
            # Whoever comes back may see all of a group that shows its history, and was not told of recalls.
            if self._settings.backlog is None:
                transcript.reopen(entry.seq)
                self._forget_kept(transcript)
            elif transcript.floor < entry.seq - 1:
                self._restart(transcript, entry.seq - 1)
        if new or as_of:
            self._save([*changes, self._log(transcript)])
        self._out(Arrived(entry, source, new))
        self._advanced(entry.conv, now)

    def mend(self, conv: ConvId, now: int) -> None:
        """Fetch a hole 300 ms after it was seen, unless pushes have filled it by then.

        What the server leaves out is closed to the user, and no hole. One that it refuses, or that lies above all that
        they may see, is not asked for again before something else of the conversation comes. A server that is busy or
        out of reach is asked until it answers: nothing else might ever tell of the hole again.
        """
        transcript = self.transcripts[conv]
        if conv not in self._fills and not transcript.complete:
            self._fills[conv] = _Fill(transcript, self._settings.hole)
            self._wait(conv, now)

    def resume(self, now: int) -> None:
        """Go on after an end."""
        self._fills.clear()
        self._older.clear()
        for conv in self.transcripts:
            self.mend(conv, now)

    def loading(self, conv: ConvId) -> bool:
        """Whether a page of history is on its way."""
        return conv in self._older

    def older(self, conv: ConvId, limit: int, now: int) -> bool:
        """Fetch the page of history below what is here, downwards. False when there is nothing, or it is on its way."""
        transcript = self.transcript(conv)
        if transcript.floor == 0 or conv in self._older:
            return False
        self._older.add(conv)
        era, floor = transcript.era, transcript.floor

        def done(data: JsonObject, error: ImClientError | None, now: int) -> None:
            self._older.discard(conv)
            try:
                if error is not None:
                    raise error
                entries = entries_of(data, conv)
            except ImClientError as failed:
                self._out(Noted(f"cannot fetch older entries of {conv}: {failed}"))
            else:
                if (transcript.era, transcript.floor) == (era, floor):
                    self._take_older(transcript, entries, data, now)
            self._out(Settled(conv))

        self._ask("sync", "entries", {"conv": conv, "before": floor + 1, "limit": min(limit, PAGE)}, done, now)
        return True

    def _take_older(self, transcript: Transcript, entries: Iterable[Entry], data: JsonObject, now: int) -> None:
        last_seq = data.get("last_seq")
        newest = last_seq if is_integer(last_seq) else 0
        for entry in sorted(entries, key=lambda entry: entry.seq):
            self._out(Arrived(entry, Source.OLDER, transcript.insert(entry, newest)))
        lowest = min((entry.seq for entry in entries), default=1)
        transcript.lower(lowest - 1 if data.get("more") is True else 0)
        kept = [change for entry in entries for change in self._held(transcript, entry.seq)]
        self._save([*kept, self._log(transcript)])
        self._advanced(transcript.conv, now)

    # ---- holes

    def _wait(self, conv: ConvId, now: int) -> None:
        fill = self._fills[conv]
        fill.seen = fill.transcript.horizon
        self._timers.at(now + fill.wait, lambda at: self._begin(conv, at))

    def _begin(self, conv: ConvId, now: int) -> None:
        fill = self._fills[conv]
        transcript = fill.transcript
        if transcript.complete:
            del self._fills[conv]
            return
        fill.before, fill.more = (transcript.watermark, len(transcript)), True
        fill.era = transcript.era
        fill.gaps = transcript.missing(up_to=fill.seen)
        self._next_gap(conv, now)

    def _next_gap(self, conv: ConvId, now: int) -> None:
        fill = self._fills[conv]
        if fill.gaps:
            fill.after = fill.gaps[0].first - 1
            self._fetch(conv, now)
        else:
            self._round_done(conv, now)

    def _fetch(self, conv: ConvId, now: int) -> None:
        fill = self._fills[conv]
        query = {"conv": conv, "after": fill.after, "limit": min(PAGE, fill.gaps[0].last - fill.after)}
        self._ask("sync", "entries", query, lambda data, error, at: self._fetched(conv, data, error, at), now)

    def _fetched(self, conv: ConvId, data: JsonObject, error: ImClientError | None, now: int) -> None:
        fill = self._fills[conv]
        if error is None:
            try:
                page = Page.from_wire(data, after=fill.after, conv=conv)
            except MalformedEntryError as malformed:
                error = malformed
        if error is not None:
            if isinstance(error, ReplyError) and not error.retryable:
                # Removed from the group, for one: the rest of the inbox lives on.
                self._out(Noted(f"cannot fetch what is missing of {conv}: {error}"))
                del self._fills[conv]
                return
            self._out(Noted(f"cannot fetch what is missing of {conv} now: {error}"))
            fill.more = True
            self._round_done(conv, now)
            return
        self._take_page(fill, page, now)
        fill.more = page.more
        if page.more and page.last != fill.after and page.last < fill.gaps[0].last:
            fill.after = page.last
            self._fetch(conv, now)
        else:
            fill.gaps.pop(0)
            self._next_gap(conv, now)

    def _take_page(self, fill: _Fill, page: Page, now: int) -> None:
        """Take in a page that was asked for in an era: what has become open since then, it cannot settle."""
        transcript = fill.transcript
        settles = transcript.era == fill.era
        for entry in page.entries:
            self.take(entry, Source.FETCH, now, page.newest)
        if settles:
            transcript.settle(page.first, page.last)
            self._keep(transcript)
        self._out(Settled(transcript.conv))
        self._advanced(transcript.conv, now)

    def _round_done(self, conv: ConvId, now: int) -> None:
        fill, transcript = self._fills[conv], self._fills[conv].transcript
        if transcript.complete or (not fill.more and transcript.horizon == fill.seen and transcript.era == fill.era):
            del self._fills[conv]
            return
        progress = (transcript.watermark, len(transcript)) != fill.before or transcript.watermark >= fill.seen
        fill.wait = self._settings.hole if progress else min(2 * fill.wait, self._settings.hole_longest)
        self._wait(conv, now)

    # ---- what is kept

    def _restart(self, transcript: Transcript, floor: int) -> None:
        transcript.restart(floor)
        self._forget_kept(transcript)
        self._out(Settled(transcript.conv, restarted=floor))

    def _forget_kept(self, transcript: Transcript) -> None:
        """What is here of it still is kept anew."""
        held = [Change("entries", entry.conv, entry.wire, entry.seq) for entry in transcript.current()]
        self._save([Change("entries", transcript.conv, None), *held, self._log(transcript)])

    def _held(self, transcript: Transcript, seq: int) -> list[Change]:
        """What is kept of an entry that has come: what is held of it, which may be newer. One that is outdated comes
        again, or is closed by now."""
        current = transcript.is_current(seq)
        return [Change("entries", transcript.conv, transcript[seq].wire, seq)] if current else []

    def _keep(self, transcript: Transcript) -> None:
        self._save([self._log(transcript)])

    def _log(self, transcript: Transcript) -> Change:
        log = {"floor": transcript.floor, "watermark": transcript.watermark, "horizon": transcript.horizon}
        return Change("logs", transcript.conv, log)
