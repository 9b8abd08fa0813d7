"""Whether the logs are what logs must be, and whether devices hold them. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from imclient.history.exchanges import History
from imclient.history.log import Log, Stored
from imclient.history.recording import Holds, ranges_of
from imclient.history.tables import Tables
from imclient.history.verdict import Findings, Kind


def check_log(log: Log, findings: Findings) -> None:
    """Seq 1, 2, 3 … each once, `n` counts, one entry a `cmid`, changes that change something, by those who may."""
    missing = ranges_of(seq for seq in range(1, log.last + 1) if seq not in log.entries)
    for first, last in missing:
        findings.note(Kind.HOLE, log.conv, f"no entry has seq {first}" + (f" to {last}" if last > first else ""))
    count = 0
    cmids: dict[tuple[str, str], int] = {}
    for entry in log.ordered:
        count += entry.countable
        if entry.n != count and not missing:
            findings.note(Kind.ORDER, log.conv, f"entry {entry.seq} has n {entry.n}, it is number {count}")
        if entry.cmid is not None:
            first = cmids.setdefault((entry.sender, entry.cmid), entry.seq)
            if first != entry.seq:
                text = f"{entry.sender} sent {entry.cmid} once, and it is stored as {first} and as {entry.seq}"
                findings.note(Kind.DUPLICATION, log.conv, text)
        if (entry.countable or entry.target) and not _may_write(log, entry):
            findings.note(Kind.VISIBILITY, log.conv, f"{entry.sender} is no member, and sent entry {entry.seq}")
        findings.counts["stored"] += entry.countable
        findings.counts["entries"] += 1
    for target in log.changes:
        _check_changes(log, target, findings)


def _may_write(log: Log, entry: Stored) -> bool:
    """A member, and not with the entry that says that they went."""
    return any(stay.first < entry.seq < stay.last or log.conv.startswith("d:") for stay in log.stays_of(entry.sender))


def _check_changes(log: Log, target: int, findings: Findings) -> None:
    message = log.entries.get(target)
    changes = log.changes[target]
    if message is None or not message.countable or changes[0].seq < target:
        findings.note(Kind.CONTENT, log.conv, f"entry {changes[0].seq} changes {target}, which is no message before it")
        return
    on: set[tuple[str, str]] = set()
    recalled = 0
    for change in changes:
        if recalled and change.kind == "recall":
            text = f"message {target} is recalled by {recalled} and by {change.seq}"
            findings.note(Kind.DUPLICATION, log.conv, text)
        elif recalled:
            text = f"message {target} is recalled by {recalled}, and changed by {change.seq}"
            findings.note(Kind.CONTENT, log.conv, text)
        elif change.kind == "recall":
            recalled = change.seq
        elif change.kind in {"reaction", "pin"}:
            what = (
                (change.sender, f"reacts {change.body.get('emoji')}") if change.kind == "reaction" else ("", "pinned")
            )
            is_on = change.body.get("on") is True
            if is_on == (what in on):
                text = f"message {target}: entry {change.seq} ({' '.join(what).strip()}, {is_on}) changes nothing"
                findings.note(Kind.DUPLICATION, log.conv, text)
            on = on | {what} if is_on else on - {what}
    expected = log.state_at(target, changes[-1].seq)
    if message.changed != changes[-1].seq or message.state != expected:
        text = f"message {target} is stored as {message.state} up to {message.changed}; its changes make it {expected}"
        findings.note(Kind.CONTENT, log.conv, text)


def check_held(history: History, tables: Tables, findings: Findings) -> None:
    """A device at rest holds all that its user may see, nothing that they may not, and showed each entry once."""
    if not history.holds:
        return
    findings.counts["devices"] += 1
    name, user = history.recording.name, history.user
    held = {holds.conv: holds for holds in history.holds}
    for conv, log in tables.logs.items():
        visible = set(log.seen_by(user))
        holds = held.get(conv)
        if holds is None:
            if visible:
                text = f"{name} holds nothing at rest, and may see {_told(visible)}"
                findings.note(Kind.LOSS, conv, text)
            continue
        seqs = _seqs(holds)
        findings.counts["delivered"] += len(seqs)
        findings.counts["shown_twice"] += holds.shown
        if holds.shown:
            findings.note(Kind.DUPLICATION, conv, f"{name} showed {holds.shown} entries more than once")
        lacking = {seq for seq in visible - seqs if seq > holds.floor}
        if lacking:
            findings.note(Kind.LOSS, conv, f"{name} does not hold {_told(lacking)} at rest")
        unknown = seqs - log.entries.keys()
        if unknown:
            findings.note(Kind.LOSS, conv, f"{name} holds {_told(unknown)}, which is not stored")
        closed = {seq for seq in seqs - unknown if not log.ever_saw(user, seq)}
        if closed:
            findings.note(Kind.VISIBILITY, conv, f"{name} holds {_told(closed)}, which is closed to them")
    for conv in held.keys() - tables.logs.keys():
        if held[conv].seqs:
            findings.note(Kind.LOSS, conv, f"{name} holds a conversation that is not stored")


def count_repeats(histories: Iterable[History], findings: Findings) -> None:
    """Count entries that came by push to a device that had them, and those that were fetched."""
    for history in histories:
        own = {
            (str(data.get("conv")), data.get("seq")): at
            for request in history.requests
            if request.makes_entry
            for at, data in request.successes
        }
        had: set[tuple[str, object]] = set()
        for told in history.told:
            place = told.conv, told.wire.get("seq")
            if told.asked_at is not None:
                findings.counts["fetched"] += 1
            elif place in had or own.get(place, told.at) < told.at:
                findings.counts["duplicates_dropped"] += 1
            had.add(place)


def _seqs(holds: Holds) -> set[int]:
    return {seq for first, last in holds.seqs for seq in range(first, last + 1)}


def _told(seqs: Iterable[int]) -> str:
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in ranges_of(seqs)[:10])
