"""Whether marks only move forward, and nobody is told of more than a user has read and received. Pure: no I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from imclient.history.evidence import NEVER
from imclient.history.exchanges import History, Push, Request
from imclient.history.log import Log
from imclient.history.tables import StoredRow, Tables
from imclient.history.verdict import Findings, Kind

READ: Final = "read_seq"
ACK: Final = "ack_seq"
_EMPTY: Final = Log("", {})


class _Mark(NamedTuple):
    """A user's own mark as they were told it. `asked_at` is None where it may be older than what is known."""

    at: int
    asked_at: int | None
    which: str
    conv: str
    seq: int
    who: str


class _Moves(NamedTuple):
    """When a user asked for a mark to be moved, and up to where."""

    at: int
    seq: int


def check_marks(histories: Iterable[History], tables: Tables, findings: Findings, *, lagging_reads: bool) -> None:
    """Look at every mark that came in a reply or a push.

    With `lagging_reads` the rows of `sync.inbox` may be older than what is known.
    """
    by_user: dict[str, list[History]] = defaultdict(list)
    for history in histories:
        by_user[history.user].append(history)
    moves = {user: _moves(own) for user, own in by_user.items()}
    others = _Others(tables, moves, {user: _Privacy(own) for user, own in by_user.items()}, findings)
    for user, own in by_user.items():
        marks = [mark for history in own for mark in _marks(history, findings, lagging_reads=lagging_reads)]
        _check_forward(user, marks, tables, findings)
        for history in own:
            others.check(history)


def _marks(history: History, findings: Findings, *, lagging_reads: bool) -> Iterator[_Mark]:
    who = history.recording.name
    for request in history.requests:
        for at, data in request.successes if request.route == "sync" else ():
            yield from _of_reply(request, at, data, findings, lagging_reads=lagging_reads)
    for push in history.pushes:
        if push.name == "row":
            yield from _of_row(push.data, push.at, None, who)
        elif push.name == "read" and push.data.get("user") == history.user:
            yield _Mark(push.at, None, READ, str(push.data.get("conv")), int(push.data.get("seq", 0)), who)


def _of_reply(
    request: Request, at: int, data: Mapping[str, Any], findings: Findings, *, lagging_reads: bool
) -> Iterator[_Mark]:
    who = f"{request.user}/{request.device}"
    match request.op, request.data:
        case "read", {"seq": int(seq)}:
            read_seq = data.get(READ)
            if isinstance(read_seq, int):
                yield _Mark(at, request.sent_at, READ, str(data.get("conv")), read_seq, who)
            if not isinstance(read_seq, int) or read_seq < seq:
                text = f"{request.name}: read up to {seq}, and the mark is {read_seq}"
                findings.note(Kind.MARK, str(data.get("conv")), text)
        case "ack", _:
            for conv, which, seq in _asked(request):
                yield _Mark(at, None, which, conv, seq, who)
        case "settings", _:
            yield from _of_row(data, at, request.sent_at, who)
        case "inbox", _:
            for row in data.get("conversations", []):
                yield from _of_row(row, at, None if lagging_reads else request.sent_at, who)


def _of_row(row: Mapping[str, Any], at: int, asked_at: int | None, who: str) -> Iterator[_Mark]:
    for which in (READ, ACK):
        if isinstance(seq := row.get(which), int):
            yield _Mark(at, asked_at, which, str(row.get("conv")), seq, who)


def _check_forward(user: str, marks: list[_Mark], tables: Tables, findings: Findings) -> None:
    """No mark is behind one that was known when it was asked for, nor ahead of the one that is stored at the end."""
    known: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for mark in sorted(marks, key=lambda mark: mark.at):
        so_far = known[mark.conv, mark.which]
        if not so_far or mark.seq > so_far[-1][1]:
            so_far.append((mark.at, mark.seq))
    for mark in marks:
        so_far = known[mark.conv, mark.which]
        number = bisect_left(so_far, (mark.asked_at, 0)) if mark.asked_at is not None else 0
        if number and so_far[number - 1][1] > mark.seq:
            text = f"{mark.who}: {mark.which} is {mark.seq}, and was {so_far[number - 1][1]} before"
            findings.note(Kind.MARK, mark.conv, text)
    for (conv, which), so_far in known.items():
        row = tables.rows.get((user, conv), StoredRow())
        stored = row.read_seq if which == READ else row.ack_seq
        if so_far and so_far[-1][1] > stored:
            text = f"{user}: {which} was {so_far[-1][1]}, and is {stored} at the end"
            findings.note(Kind.MARK, conv, text)


def _moves(own: Iterable[History]) -> dict[tuple[str, str], list[_Moves]]:
    """What a user asked to have read and received, by conversation and mark; read_all is of all: conversation ''."""
    moves: dict[tuple[str, str], list[_Moves]] = defaultdict(list)
    for history in own:
        for request in history.requests:
            for conv, which, seq in _asked(request):
                insort(moves[conv, which], _Moves(request.sent_at, seq))
    return moves


def _asked(request: Request) -> Iterator[tuple[str, str, int]]:
    match request.route, request.op, request.data:
        case "sync", "read", {"conv": str(conv), "seq": int(seq)}:
            yield conv, READ, seq
        case "sync", "read_all", _:
            yield "", READ, NEVER
        case "sync", "ack", {"acks": list(acks)}:
            for ack in acks:
                match ack:
                    case {"conv": str(conv), "seq": int(seq)}:
                        yield conv, ACK, seq


class _Privacy:
    """When a user certainly hid what they read and received: from the reply that says so to the next request."""

    def __init__(self, own: Iterable[History]) -> None:
        self._hidden: list[int] = []
        self._asked: list[int] = []
        for history in own:
            for request in history.requests:
                if (request.route, request.op) == ("sync", "privacy"):
                    self._asked.append(request.sent_at)
                    self._hidden += [at for at, data in request.successes if data.get("receipts") is False]

    def hid(self, at: int) -> bool:
        """Whether they did at a time."""
        since = max((told for told in self._hidden if told < at), default=None)
        return since is not None and not any(since <= asked <= at for asked in self._asked)


@dataclass(frozen=True, slots=True)
class _Others:
    """What one device is told of the marks of others."""

    tables: Tables
    moves: Mapping[str, Mapping[tuple[str, str], list[_Moves]]]
    privacy: Mapping[str, _Privacy]
    findings: Findings

    def check(self, history: History) -> None:
        """Look at pushes, and at the receipts of direct conversations."""
        for push in history.pushes:
            if push.name in {"read", "delivered"}:
                self._push(history, push)
        for request in history.requests:
            if (request.route, request.op) == ("sync", "receipts"):
                for _, data in request.successes:
                    self._receipts(history, data)

    def _push(self, history: History, push: Push) -> None:
        who, user, seq = history.recording.name, str(push.data.get("user")), push.data.get("seq")
        log = self.tables.logs.get(str(push.data.get("conv")), _EMPTY)
        if not isinstance(seq, int) or seq not in log.entries:
            text = f"{who}: was told that {user} has {push.name} {seq}, which is not stored"
            self.findings.note(Kind.MARK, str(push.data.get("conv")), text)
        elif user != history.user:
            self._peer(who, user, log, READ if push.name == "read" else ACK, seq, push)
        elif push.data.get("n") != log.n_at(seq):
            text = f"{who}: was told n {push.data.get('n')} of entry {seq}, which has {log.n_at(seq)}"
            self.findings.note(Kind.UNREAD, log.conv, text)

    def _peer(self, who: str, user: str, log: Log, which: str, seq: int, push: Push) -> None:
        self._stored(who, user, log.conv, which, seq)
        if user not in self.moves:
            return
        asked = _who_moved(self.moves[user], log, user, which, seq, push.at)
        if not asked:
            text = f"{who}: was told that {user} has {push.name} up to {seq}, and they had not"
            self.findings.note(Kind.MARK, log.conv, text)
        elif all(self.privacy[user].hid(at) for at in asked):
            text = f"{who}: was told what {user} has {push.name}, who hides it"
            self.findings.note(Kind.VISIBILITY, log.conv, text)

    def _receipts(self, history: History, data: Mapping[str, Any]) -> None:
        conv, marks = str(data.get("conv")), data.get("marks")
        others = [user for user in conv.split(":")[1:] if user != history.user]
        if isinstance(marks, dict) and len(others) == 1:
            for which in (READ, ACK):
                self._stored(history.recording.name, others[0], conv, which, int(marks.get(which, 0)))

    def _stored(self, who: str, user: str, conv: str, which: str, seq: int) -> None:
        """Nobody is told of a mark beyond the one that is stored at the end."""
        row = self.tables.rows.get((user, conv), StoredRow())
        stored = row.read_seq if which == READ else row.ack_seq
        if seq > stored:
            text = f"{who}: was told {which} {seq} of {user}, which is {stored} at the end"
            self.findings.note(Kind.MARK, conv, text)


def _who_moved(
    moves: Mapping[tuple[str, str], list[_Moves]], log: Log, user: str, which: str, seq: int, at: int
) -> list[int]:
    """When the user asked for what moved a mark to `seq` or further, before `at`; 0 for a message of their own."""
    asked = [
        move.at for conv in (log.conv, "") for move in moves.get((conv, which), ()) if move.at <= at and move.seq >= seq
    ]
    if which == READ and any(e.sender == user and e.countable and e.seq >= seq for e in log.ordered):
        asked.append(0)
    return asked
