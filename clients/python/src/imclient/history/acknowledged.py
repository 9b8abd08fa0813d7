"""Whether what was acknowledged is stored as it was asked for, once, and in the order of time. Pure: no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from imclient.history.evidence import Evidence
from imclient.history.exchanges import History, Request
from imclient.history.log import Log, Stored, canonical
from imclient.history.tables import Tables
from imclient.history.verdict import Findings, Kind
from imclient.history.versions import Versions

_KIND_OF: Final = {"edit": "edit", "recall": "recall", "react": "reaction", "pin": "pin"}
_MESSAGES: Final = frozenset({"send", "forward"})

_EMPTY: Final = Log("", {})


def check_acknowledged(
    histories: Iterable[History], tables: Tables, evidence: Evidence, versions: Versions, findings: Findings
) -> None:
    """Compare every success of an operation that makes an entry, or deletes one, with the tables."""
    by_cmid: dict[tuple[str, str, str], list[Request]] = defaultdict(list)
    for history in histories:
        for request in history.requests:
            if request.makes_entry:
                for _, data in request.successes:
                    _check_entry(request, data, tables, findings)
                cmid, conv = request.data.get("cmid"), conv_of(request)
                if isinstance(cmid, str) and conv is not None:
                    by_cmid[request.user, conv, cmid].append(request)
                else:
                    _check_time(conv_of(request), request.sent_at, _made_by(request), evidence, findings)
            elif (request.route, request.op) == ("message", "delete"):
                for _, data in request.successes:
                    _check_deleted(request, data, tables, findings)
            elif request.route == "group":
                for _, data in request.successes:
                    _check_group(request, data, tables, findings)
    for (user, conv, cmid), requests in by_cmid.items():
        _check_repeats(user, conv, cmid, requests, findings)
        log = tables.logs.get(conv, _EMPTY)
        _check_time(conv, min(r.sent_at for r in requests), _entries_of(log, user, cmid), evidence, findings)
        _compare_with_said(conv, requests, log, versions)
        _count(requests, findings)


def conv_of(request: Request) -> str | None:
    """The conversation that a request is about, as far as it says so."""
    match request.data:
        case {"conv": str(conv)}:
            return conv
        case {"to": str(other)}:
            return f"d:{min(request.user, other)}:{max(request.user, other)}"
        case _:
            return None


def _check_entry(request: Request, data: Mapping[str, Any], tables: Tables, findings: Findings) -> None:
    conv, seq = str(data.get("conv")), data.get("seq")
    log = tables.logs.get(conv, _EMPTY)
    entry = log.entries.get(seq) if isinstance(seq, int) else None
    if entry is None:
        findings.note(Kind.LOSS, conv, f"{request.name}: acknowledged as entry {seq}, which is not stored")
        return
    if data.get("n") != entry.n:
        findings.note(
            Kind.ORDER, conv, f"{request.name}: acknowledged with n {data.get('n')}, entry {seq} has {entry.n}"
        )
    if data.get("ts") != entry.ts:
        text = f"{request.name}: acknowledged with ts {data.get('ts')}, entry {seq} has {entry.ts}"
        findings.note(Kind.CONTENT, conv, text)
    if request.op not in _MESSAGES and data.get("duplicate") is True:
        return  # it was so already: the entry is of whoever made it so
    if not _is_made_by(entry, request):
        text = f"{request.name}: acknowledged as entry {seq}, where a {entry.kind} of {entry.sender} stands"
        findings.note(Kind.LOSS, conv, text)


def _is_made_by(entry: Stored, request: Request) -> bool:
    cmid = request.data.get("cmid")
    if entry.sender != request.user or (cmid is not None and entry.cmid != cmid):
        return False
    if request.op in _MESSAGES:
        return entry.countable
    return entry.kind == _KIND_OF[request.op] and entry.target == request.data.get("seq")


def _check_deleted(request: Request, data: Mapping[str, Any], tables: Tables, findings: Findings) -> None:
    conv = str(data.get("conv"))
    stored = tables.deleted.get((request.user, conv), ())
    told = [one for one in data.get("ranges", []) if isinstance(one, list) and len(one) == 2]
    for first, last in told:
        if not any(low <= first and last <= high for low, high in stored):
            text = f"{request.name}: {first} to {last} were deleted, and are not"
            findings.note(Kind.LOSS, conv, text)
    wanted = request.data.get("seqs")
    for seq in wanted if isinstance(wanted, list) else []:
        if not any(first <= seq <= last for first, last in told):
            findings.note(Kind.LOSS, conv, f"{request.name}: {seq} is not among what was deleted")


def _check_group(request: Request, data: Mapping[str, Any], tables: Tables, findings: Findings) -> None:
    """That who is said to have come or gone did."""
    conv = str(data.get("conv")) if request.op == "create" else conv_of(request)
    log = tables.logs.get(conv or "", _EMPTY)
    came, went = _came_and_went(log)
    users = data.get("users")
    named = {str(user) for user in users} if isinstance(users, list) else set()
    missing: set[str] = set()
    match request.op:
        case "create" if not log.entries:
            missing = {request.user}
        case "invite":
            missing = named - came
        case "remove":
            missing = named - went
        case "join" if data.get("state") == "joined":
            missing = {request.user} - came
        case "leave" if not log.dissolved:
            missing = {request.user} - went
    if missing:
        text = f"{request.name}: done, and the log does not say so of {', '.join(sorted(missing))}"
        findings.note(Kind.LOSS, conv or "", text)


def _came_and_went(log: Log) -> tuple[set[str], set[str]]:
    came, went = set(), set()
    for user, stays in log.stays.items():
        came.add(user)
        if any(stay.last <= log.last for stay in stays):
            went.add(user)
    return came, went


def _check_repeats(user: str, conv: str, cmid: str, requests: list[Request], findings: Findings) -> None:
    """One `cmid`, one result, over whatever connections."""
    said = {canonical({**data, "duplicate": None}) for request in requests for _, data in request.successes}
    if len(said) > 1:
        text = f"{user}: {cmid} was acknowledged differently: {' and '.join(sorted(said))}"
        findings.note(Kind.REPLY, conv, text)


def _entries_of(log: Log, user: str, cmid: str) -> list[int]:
    return [entry.seq for entry in log.ordered if entry.cmid == cmid and entry.sender == user]


def _made_by(request: Request) -> list[int]:
    """The entries that a request without `cmid` has made for certain."""
    seqs = (data.get("seq") for _, data in request.successes if data.get("duplicate") is False)
    return [seq for seq in seqs if isinstance(seq, int)]


def _check_time(conv: str | None, asked_at: int, seqs: Iterable[int], evidence: Evidence, findings: Findings) -> None:
    """What was asked for after an entry was known of comes after it in the log."""
    if conv is None:
        return
    newest = evidence.newest_before(conv, asked_at)
    for seq in seqs:
        if seq <= newest:
            text = f"entry {seq} was first asked for at {asked_at}, when entry {newest} was known already"
            findings.note(Kind.ORDER, conv, text)


def _compare_with_said(conv: str, requests: list[Request], log: Log, versions: Versions) -> None:
    """The body that was sent is the body of the entry, where all repeats of the `cmid` said the same."""
    if len({canonical([request.op, {**request.data, "to": None, "conv": conv}]) for request in requests}) > 1:
        return
    request = requests[0]
    body = request.data.get("body")
    if request.op not in {"send", "edit"} or not isinstance(body, dict):
        return
    for seq in _entries_of(log, request.user, str(request.data.get("cmid"))):
        if request.op == "send":
            versions.note(conv, seq, 0, body, f"what {request.user} sent")
        else:
            versions.note(conv, log.entries[seq].target, seq, body, f"what {request.user} sent")


def _count(requests: list[Request], findings: Findings) -> None:
    if requests[0].op in _MESSAGES:
        findings.counts["sent"] += 1
        findings.counts["acked"] += any(True for request in requests for _ in request.successes)
