"""Whether inbox rows and unread counts agree with the logs. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imclient.history.exchanges import History
from imclient.history.log import Log
from imclient.history.tables import StoredRow, Tables
from imclient.history.verdict import Findings, Kind


def check_final_rows(log: Log, tables: Tables, findings: Findings) -> None:
    """At rest everybody who was ever in a conversation has a row that says what the log says."""
    for user in log.stays:
        row = tables.rows.get((user, log.conv))
        if row is None:
            findings.note(Kind.UNREAD, log.conv, f"{user} has no inbox row")
            continue
        for text in _row_differences(log, user, row):
            findings.note(Kind.UNREAD, log.conv, f"{user}: {text}")


def _row_differences(log: Log, user: str, row: StoredRow) -> Iterator[str]:
    last = log.last_seen_by(user)
    if row.last_seq != last:
        yield f"the row ends at {row.last_seq}, the log at {last} for them"
    left = 0 if log.is_in(user) else last
    if row.left_seq != left:
        yield f"the row says left_seq {row.left_seq}, it is {left}"
    for name, seq, n in (("last_n", row.last_seq, row.last_n), ("read_n", row.read_seq, row.read_n)):
        if log.n_at(seq) != n:
            yield f"the row has {name} {n} at entry {seq}, whose n is {log.n_at(seq)}"
    unread = sum(
        entry.countable and row.read_seq < entry.seq <= row.last_seq and entry.sender != user for entry in log.ordered
    )
    if max(0, row.last_n - row.read_n) != unread:
        yield f"the row has {max(0, row.last_n - row.read_n)} unread; {unread} of others come after {row.read_seq}"


def check_told_counts(histories: Iterable[History], tables: Tables, findings: Findings) -> None:
    """Every row that was told has the counts of its entries; every total is the sum of the parts told with it."""
    for history in histories:
        for name, row in _rows(history):
            log = tables.logs.get(str(row.get("conv")))
            if log is not None:
                for text in _told_differences(log, history.user, row):
                    findings.note(Kind.UNREAD, log.conv, f"{name}: {text}")
        for request in history.requests:
            for _, data in request.successes if request.route == "sync" else ():
                if request.op == "unread":
                    _check_total(request.name, request.data, data, findings)
                elif request.op == "read" and not _adds_up(data):
                    text = f"{request.name}: {data.get('unread')} unread of {data.get('total_unread')} in all"
                    findings.note(Kind.UNREAD, str(data.get("conv")), text)
        for push in history.pushes:
            if push.name == "read" and push.data.get("user") == history.user and not _adds_up(push.data):
                text = f"{history.recording.name}: {push.data.get('unread')} unread of {push.data.get('total_unread')}"
                findings.note(Kind.UNREAD, str(push.data.get("conv")), text)


def _rows(history: History) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for request in history.requests:
        for _, data in request.successes if request.route == "sync" else ():
            if request.op == "inbox":
                yield from ((request.name, row) for row in data.get("conversations", []))
            elif request.op == "settings":
                yield request.name, data
    for push in history.pushes:
        if push.name == "row":
            yield f"{history.recording.name}, pushed", push.data


def _told_differences(log: Log, user: str, row: Mapping[str, Any]) -> Iterator[str]:
    last_n, read_n, unread = (row.get(name) for name in ("last_n", "read_n", "unread"))
    for name, seq, n in (("last_n", row.get("last_seq"), last_n), ("read_n", row.get("read_seq"), read_n)):
        known = log.n_at(seq) if isinstance(seq, int) else None
        if known != n:
            yield f"the row has {name} {n} at entry {seq}, whose n is {known}"
    if isinstance(last_n, int) and isinstance(read_n, int) and unread != max(0, last_n - read_n):
        yield f"the row has {unread} unread, and last_n {last_n}, read_n {read_n}"
    last_seq = row.get("last_seq")
    if isinstance(last_seq, int) and last_seq and not log.ever_saw(user, last_seq):
        yield f"the row ends at {last_seq}, which is closed to them"


def _check_total(name: str, asked: Mapping[str, Any], data: Mapping[str, Any], findings: Findings) -> None:
    parts, total = data.get("conversations"), data.get("total_unread")
    if not isinstance(parts, dict) or not isinstance(total, int):
        findings.note(Kind.UNREAD, "", f"{name}: no total, or no parts")
        return
    told = sum(parts.values())
    is_whole = asked.get("cursor") is None and data.get("cursor") is None
    if (told != total) if is_whole else (told > total):
        findings.note(Kind.UNREAD, "", f"{name}: {total} unread, and the parts make {told}")
    if 0 in parts.values():
        findings.note(Kind.UNREAD, "", f"{name}: a part of 0")


def _adds_up(data: Mapping[str, Any]) -> bool:
    """Whether a count and the total that was told with it can both be."""
    unread, total = data.get("unread"), data.get("total_unread")
    return isinstance(unread, int) and isinstance(total, int) and 0 <= unread <= total
