"""Whether the entries that came to devices are those of the log, open to their users, and say what the log says.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from imclient.history.evidence import Evidence
from imclient.history.exchanges import History, Request, Told
from imclient.history.log import CHANGE_KINDS, Log, State, Stored, canonical, is_empty
from imclient.history.tables import Tables
from imclient.history.verdict import Findings, Kind
from imclient.history.versions import Versions

IN_FLIGHT_MS: Final = 60_000
"""How long after a recall a push may still bring what the message said: entries older than 10 s are read again before
they are pushed, and a function lives for 25 s at most. What is fetched afterwards never may."""


@dataclass(frozen=True, slots=True)
class ToldCheck:
    """Compares what devices were told with the tables."""

    tables: Tables
    evidence: Evidence
    versions: Versions
    findings: Findings
    lagging_reads: bool

    def check(self, histories: Iterable[History]) -> None:
        """Look at every entry, page and row that came to every device."""
        deleted = Deletions(histories)
        for history in histories:
            for told in history.told:
                self._entry(told, deleted)
            for request in history.requests:
                if request.route == "sync":
                    self._reply(request)
            for push in history.pushes:
                if push.name == "row":
                    self._row(history.user, history.recording.name, push.data, asked_at=None)

    # ---- entries

    def _entry(self, told: Told, deleted: Deletions) -> None:
        seq, log = told.wire.get("seq"), self.tables.logs.get(told.conv)
        entry = log.entries.get(seq) if log is not None and isinstance(seq, int) else None
        if log is None or entry is None:
            self._note(Kind.LOSS, told, f"was told of entry {seq}, which is not stored")
            return
        if not log.ever_saw(told.user, entry.seq):
            self._note(Kind.VISIBILITY, told, f"was told of entry {seq}, which is closed to them")
        if told.wire.get("conv") != told.conv:
            self._note(Kind.ORDER, told, f"entry {seq} came among those of {told.wire.get('conv')}")
        self._identity(told, entry)
        self._freshness_of_deletion(told, entry, deleted)
        if told.wire.get("kind") == "void":
            self._void(told, entry)
        elif entry.countable:
            self._message(told, log, entry)
        elif entry.kind == "edit":
            self._edit(told, log, entry)
        elif canonical(told.wire.get("body")) != canonical(entry.body):
            self._note(Kind.CONTENT, told, f"entry {seq} is {canonical(entry.body)}, not {canonical(told.wire)[:300]}")

    def _identity(self, told: Told, entry: Stored) -> None:
        wire, is_void = told.wire, told.wire.get("kind") == "void"
        if wire.get("n") != entry.n:
            self._note(Kind.ORDER, told, f"entry {entry.seq} has n {wire.get('n')}, it is {entry.n}")
        said = (wire.get("from"), wire.get("ts"), wire.get("kind"), wire.get("cmid"))
        stored = (entry.sender, entry.ts, entry.kind, entry.cmid)
        if said != stored and not (is_void and said[:2] == stored[:2]):
            self._note(Kind.ORDER, told, f"entry {entry.seq} is {said}, and {stored} in the log")
        if is_void:
            return
        forwarded = wire.get("forwarded")
        origin = (forwarded.get("from"), forwarded.get("ts")) if isinstance(forwarded, dict) else None
        mentions = wire.get("mentions")
        about = (tuple(mentions) if isinstance(mentions, list) else (), wire.get("reply_to"), origin)
        if about != (entry.mentions, entry.reply_to, entry.forwarded):
            self._note(Kind.CONTENT, told, f"entry {entry.seq} has other mentions, answer or origin: {about}")

    def _void(self, told: Told, entry: Stored) -> None:
        place = entry.target or entry.seq
        if not self.tables.has_deleted(told.user, told.conv, place):
            self._note(Kind.CONTENT, told, f"entry {entry.seq} is void for them, and they have not deleted {place}")

    def _freshness_of_deletion(self, told: Told, entry: Stored, deleted: Deletions) -> None:
        """What its user has deleted is given as void from then on."""
        if told.asked_at is None or not told.is_page or told.wire.get("kind") == "void":
            return
        if deleted.was_deleted(told.user, told.conv, entry.target or entry.seq, before=told.asked_at):
            self._note(Kind.VISIBILITY, told, f"was given entry {entry.seq}, which they have deleted")

    def _message(self, told: Told, log: Log, entry: Stored) -> None:
        wire, changed = told.wire, told.wire.get("changed", 0)
        state = log.state_at(entry.seq, changed) if isinstance(changed, int) else None
        if state is None:
            self._note(Kind.CONTENT, told, f"message {entry.seq} has no change {changed}")
            return
        if _state_of(wire) != _shape(state):
            text = f"message {entry.seq} as changed by {changed} is {_shape(state)}, not {_state_of(wire)}"
            self._note(Kind.CONTENT, told, text)
        body = wire.get("body")
        if state.version is None:
            if not is_empty(body):
                self._note(Kind.VISIBILITY, told, f"message {entry.seq} is recalled and says {canonical(body)[:200]}")
        else:
            if changed and not log.ever_saw(told.user, changed):
                self._note(Kind.VISIBILITY, told, f"message {entry.seq} shows change {changed}, closed to them")
            if isinstance(body, dict):
                self.versions.note(told.conv, entry.seq, state.version, body, told.who)
            self._recalled(told, log, entry.seq, f"message {entry.seq}")
        self._is_of_now(told, log, entry, changed)
        quote = wire.get("quote")
        if isinstance(quote, dict):
            if quote.get("seq") != entry.reply_to:
                self._note(Kind.CONTENT, told, f"message {entry.seq} answers {entry.reply_to}, and quotes {quote}")
            self._glimpse(told.user, told.who, log, quote, told.asked_at if told.ascending else None)

    def _is_of_now(self, told: Told, log: Log, entry: Stored, changed: int) -> None:
        """An upward page gives a message as it is now: with every change that somebody knew of before it was asked for.

        Not to who has left since: they get it as it was sent.
        """
        newest = log.newest_change(entry.seq)
        if told.asked_at is None or not told.ascending or not self._is_open_for_good(told.user, log, newest):
            return
        for change in log.changes.get(entry.seq, ()):
            if change.seq > changed and self.evidence.since(told.conv, change.seq) < told.asked_at:
                self._note(Kind.CONTENT, told, f"message {entry.seq} came without its change {change.seq}")

    @staticmethod
    def _is_open_for_good(user: str, log: Log, seq: int) -> bool:
        """Whether the user has always seen an entry since it is there: they came before it, once, and saw it."""
        return len(log.stays_of(user)) == 1 and log.ever_saw(user, seq)

    def _edit(self, told: Told, log: Log, entry: Stored) -> None:
        said = told.wire.get("body")
        said = said if isinstance(said, dict) else {}
        if said.get("target") != entry.target or not said.keys() <= {"target", "body"}:
            self._note(Kind.CONTENT, told, f"edit {entry.seq} is of {entry.target}, not {canonical(said)[:200]}")
        body = said.get("body")
        if isinstance(body, dict):
            if not log.ever_saw(told.user, entry.target):
                text = f"edit {entry.seq} says {canonical(body)[:200]} of message {entry.target}, closed to them"
                self._note(Kind.VISIBILITY, told, text)
            self.versions.note(told.conv, entry.target, entry.seq, body, told.who)
            self._recalled(told, log, entry.target, f"edit {entry.seq}")
        elif not log.recall_of(entry.target) and self._is_open_for_good(told.user, log, entry.target):
            self._note(Kind.CONTENT, told, f"edit {entry.seq} came without the body")

    def _recalled(self, told: Told, log: Log, target: int, what: str) -> None:
        """Nothing that a message said is told once its recall was acknowledged."""
        recall = log.recall_of(target)
        if not recall:
            return
        since = self.evidence.since(told.conv, recall)
        if told.asked_at is None:
            is_late = told.at > since + IN_FLIGHT_MS
        else:
            is_late = told.asked_at > since and (told.ascending or not self.lagging_reads)
        if is_late:
            self._note(Kind.VISIBILITY, told, f"{what} tells what was recalled at {since}")

    # ---- glimpses: quotes, and the last entry of rows

    def _glimpse(self, user: str, who: str, log: Log, glimpse: Mapping[str, Any], asked_at: int | None) -> None:
        seq, changed = glimpse.get("seq"), glimpse.get("changed", 0)
        entry = log.entries.get(seq) if isinstance(seq, int) else None
        if entry is None:
            self.findings.note(Kind.LOSS, log.conv, f"{who}: shows entry {seq}, which is not stored")
            return
        if not log.ever_saw(user, entry.seq):
            self.findings.note(Kind.VISIBILITY, log.conv, f"{who}: shows entry {seq}, which is closed to them")
        said = (glimpse.get("kind"), glimpse.get("from"), glimpse.get("ts"))
        if said != (entry.kind, entry.sender, entry.ts) or entry.kind in CHANGE_KINDS:
            self.findings.note(Kind.CONTENT, log.conv, f"{who}: shows entry {seq} as {said}")
        state = log.state_at(entry.seq, changed) if isinstance(changed, int) else None
        if state is None or (state.recalled is not None) != (glimpse.get("recalled") is True):
            self.findings.note(Kind.CONTENT, log.conv, f"{who}: shows entry {seq} as changed by {changed}: {glimpse}")
            return
        shown, recall = str(glimpse.get("preview")), log.recall_of(entry.seq)
        if state.version is not None:
            self.versions.glimpse(log.conv, entry.seq, state.version, entry.kind, shown, who)
        is_late = asked_at is not None and recall and asked_at > self.evidence.since(log.conv, recall)
        if shown and (state.version is None or (is_late and not self.lagging_reads)):
            self.findings.note(Kind.VISIBILITY, log.conv, f"{who}: shows {shown!r} of entry {seq}, which is recalled")

    def _row(self, user: str, who: str, row: Mapping[str, Any], asked_at: int | None) -> None:
        log, last = self.tables.logs.get(str(row.get("conv"))), row.get("last")
        if log is not None and isinstance(last, dict):
            self._glimpse(user, who, log, last, asked_at)

    # ---- replies

    def _reply(self, request: Request) -> None:
        who = f"{request.user}/{request.device}"
        for _, data in request.successes:
            if request.op == "entries":
                self._page(request, data)
            elif request.op == "edits":
                self._edits(request, data)
            elif request.op == "settings":
                self._row(request.user, who, data, request.sent_at)
            elif request.op == "inbox":
                for row in data.get("conversations", []):
                    self._row(request.user, who, row, request.sent_at)

    def _page(self, request: Request, data: Mapping[str, Any]) -> None:
        """Entries in their order, inside what was asked for; upwards, nothing that is open to the user is left out."""
        conv, user = str(request.data.get("conv")), request.user
        log, after = self.tables.logs.get(conv), request.data.get("after")
        seqs = [wire["seq"] for wire in data.get("entries", []) if isinstance(wire.get("seq"), int)]
        if log is None:
            return  # noted where the entries themselves are looked at
        ordered = sorted(set(seqs), reverse=not isinstance(after, int))
        if seqs != ordered:
            self.findings.note(Kind.ORDER, conv, f"{request.name}: a page of {seqs}")
        last_seq = data.get("last_seq")
        if not isinstance(last_seq, int) or last_seq > log.last:
            self.findings.note(Kind.ORDER, conv, f"{request.name}: last_seq {last_seq} of a log up to {log.last}")
        elif isinstance(after, int):
            if seqs and min(seqs) <= after:
                self.findings.note(Kind.ORDER, conv, f"{request.name}: after {after} comes {min(seqs)}")
            end = max(seqs, default=after) if data.get("more") is True else last_seq
            missing = [seq for seq in range(after + 1, end + 1) if seq not in seqs and log.was_in(user, seq)]
            if missing:
                self.findings.note(Kind.LOSS, conv, f"{request.name}: the reply leaves out {missing[:10]}")
            known = self.evidence.newest_before(conv, request.sent_at)
            stays = log.stays.get(user, ())
            if last_seq < known and stays and known in stays[-1] and stays[-1].last > log.last:
                self.findings.note(Kind.LOSS, conv, f"{request.name}: ends at {last_seq}, and {known} was known before")
        elif isinstance(before := request.data.get("before"), int) and seqs and max(seqs) >= before:
            self.findings.note(Kind.ORDER, conv, f"{request.name}: before {before} comes {max(seqs)}")

    def _edits(self, request: Request, data: Mapping[str, Any]) -> None:
        conv, target = str(request.data.get("conv")), request.data.get("seq")
        log, versions = self.tables.logs.get(conv), data.get("versions")
        if log is None or not isinstance(target, int) or not isinstance(versions, list):
            return
        recall = log.recall_of(target)
        if versions and recall and request.sent_at > self.evidence.since(conv, recall) and not self.lagging_reads:
            self.findings.note(Kind.VISIBILITY, conv, f"{request.name}: tells what message {target} said")
        for version in versions:
            match version:
                case {"seq": int(seq), "body": dict(body)}:
                    which = 0 if seq == target else seq
                    self.versions.note(conv, target, which, body, f"{request.user}/{request.device}")

    def _note(self, kind: Kind, told: Told, text: str) -> None:
        self.findings.note(kind, told.conv, f"{told.who}: {text}")


class Deletions:
    """Since when a user knows that entries are deleted for them."""

    def __init__(self, histories: Iterable[History]) -> None:
        self._since: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        for history in histories:
            for request in history.requests:
                if (request.route, request.op) == ("message", "delete"):
                    for at, data in request.successes:
                        for first, last in data.get("ranges", []):
                            key = history.user, str(data.get("conv"))
                            self._since.setdefault(key, []).append((at, first, last))

    def was_deleted(self, user: str, conv: str, seq: int, *, before: int) -> bool:
        """Whether an entry was deleted, and its user told so, before a time."""
        known = self._since.get((user, conv), ())
        return any(at < before and first <= seq <= last for at, first, last in known)


def _state_of(wire: Mapping[str, Any]) -> tuple[object, ...]:
    edited, recalled, reactions = wire.get("edited"), wire.get("recalled"), wire.get("reactions")
    return (
        (edited.get("seq"), edited.get("ts")) if isinstance(edited, dict) else None,
        (recalled.get("by"), recalled.get("ts")) if isinstance(recalled, dict) else None,
        {emoji: (one.get("count"), tuple(one.get("users", ()))) for emoji, one in reactions.items()}
        if isinstance(reactions, dict)
        else {},
        wire.get("pinned") is True,
    )


def _shape(state: State) -> tuple[object, ...]:
    return state.edited, state.recalled, dict(state.reactions), state.pinned
