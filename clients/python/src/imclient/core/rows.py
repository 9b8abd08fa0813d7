"""What rows, pushes and replies come to, in whatever order they come: the further marks and the newer settings win."""

from __future__ import annotations

from imclient.frames import CHANGE_KINDS, Entry, JsonObject, is_integer, preview_of
from imclient.ids import UserId

_SET = ("muted", "pinned", "draft", "hidden", "rev")
_FURTHER = ("read_seq", "read_n", "ack_seq", "deleted", "last_n")
_NUMBERS = frozenset({*_FURTHER, "unread", "mention_seq", "rev", "at", "updated", "left_seq"})


def from_wire(wire: object) -> JsonObject | None:
    """A row as it came; None for what is none. Fields that a row may lack are left out where they cannot be read."""
    match wire:
        case {"conv": str(), "last_seq": last_seq} if is_integer(last_seq):
            fields: JsonObject = dict(wire)  # type: ignore[call-overload]
            return {name: value for name, value in fields.items() if _readable(name, value)}
        case _:
            return None


def _readable(name: str, value: object) -> bool:
    if name in _NUMBERS:
        return is_integer(value)
    match value:
        case {"seq": seq, "kind": str(), **rest} if name == "last":
            return is_integer(seq) and is_integer(rest.get("changed", 0))
        case _:
            return name != "last" or value is None


def merged(known: JsonObject | None, row: JsonObject) -> JsonObject:
    """A row that has come, over the one that is known of its conversation."""
    if known is None:
        return row
    log = known if known["last_seq"] > row["last_seq"] else row
    settings = known if known.get("rev", 0) > row.get("rev", 0) else row
    both = log | {name: settings[name] for name in _SET if name in settings}
    both |= {name: max(known.get(name, 0), row.get(name, 0)) for name in _FURTHER if name in log}
    if settings.get("hidden") and both.get("last_n", 0) > settings.get("last_n", 0):
        both["hidden"] = False
    return _counted(both)


def read(row: JsonObject, seq: int, n: int | None) -> JsonObject:
    """A row after its user has read up to `seq`, where `n` messages count: None where that is not known."""
    marks: JsonObject = {"read_seq": max(row.get("read_seq", 0), seq)}
    if n is not None:
        marks["read_n"] = max(row.get("read_n", 0), n)
    return _counted(row | marks)


def with_entry(row: JsonObject, entry: Entry, user: UserId) -> JsonObject:
    """A row after an entry has come. Whoever writes has read what was there; so has who joins."""
    last = row.get("last")
    if entry.kind in CHANGE_KINDS:
        if last is not None and entry.body.get("target") == last["seq"] and entry.seq > last.get("changed", 0):
            row = row | {"last": _changed(last, entry)}
        return row if entry.seq <= row["last_seq"] else row | {"last_seq": entry.seq}
    if entry.seq <= row["last_seq"] or "left_seq" in row:
        return row
    now = row | {"last_seq": entry.seq, "last_n": max(row.get("last_n", 0), entry.n), "at": entry.ts}
    if entry.kind != "void":
        now["last"] = {
            "seq": entry.seq,
            "kind": entry.kind,
            "from": entry.sender,
            "ts": entry.ts,
            "preview": preview_of(entry.kind, entry.body),
        }
    if entry.countable:
        now["hidden"] = False
    if entry.sender == user and entry.countable:
        return read(now, entry.seq, entry.n)
    if entry.countable and (user in entry.mentions or "@all" in entry.mentions):
        now["mention_seq"] = entry.seq
    return _counted(now)


def _changed(last: JsonObject, change: Entry) -> JsonObject:
    now = last | {"changed": change.seq}
    body = change.body.get("body")
    if last.get("recalled"):
        return now
    if change.kind == "recall":
        return now | {"recalled": True, "preview": ""}
    if change.kind == "edit" and isinstance(body, dict):
        return now | {"preview": preview_of(last["kind"], body)}
    return now


def _counted(row: JsonObject) -> JsonObject:
    """A row with as many unread as its marks say. A mention is told until it is read."""
    if "last_n" not in row or "read_n" not in row:
        return row
    mention_seq = row.get("mention_seq", 0)
    still = mention_seq if mention_seq > row.get("read_seq", 0) else 0
    return row | {"unread": max(0, row["last_n"] - row["read_n"]), "mention_seq": still}
