"""Where a client keeps what is to outlive its process: messages on their way, conversations, and their entries.

    store = SqliteStore("alice.pc.db")        # one file for one user on one device
    store.apply(changes)                      # all of them, or none
    store.entries(conv, before=100, limit=50) # history, newest first

What is recalled is kept nowhere: not the message as it came, not its edits, not in the quotes of answers.

With 5,000 rows and 200,000 entries (57 MB), on 2 shared cores: `apply` of one message takes 0.07 ms (1.5 ms in one of
a hundred, 21 ms at most, when SQLite tidies up), opening and `load` 70 ms, a page of 50 entries 0.4 ms. That is what
`python -m bench.client_store` measures.
"""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from imclient.core.machine import Kept
from imclient.core.outputs import Change
from imclient.errors import ImClientError, MalformedEntryError
from imclient.frames import CHANGE_KINDS, Entry, JsonObject
from imclient.timeline import is_within, ranges_of, target_of, without_text

IN_MEMORY: Final = ":memory:"
"""SQLite's own name for a database that is no file."""

SCHEMA: Final = 1
"""The version of the tables below. A later one is written over an earlier one by `_UPGRADES`."""


class StoreError(ImClientError):
    """The store cannot be used or written: not ours, newer than this program, used by another process, disk full.

    The message is one line for a person.
    """


class Store(Protocol):
    """What a client needs of a store. Every call is quick enough for an event loop; all come from one thread."""

    def load(self) -> Kept:
        """What a session goes on with."""
        ...

    def meta(self, name: str) -> JsonObject | None:
        """A row of `meta`."""
        ...

    def apply(self, changes: Iterable[Change]) -> None:
        """Keep all of the changes, or none of them. Raises StoreError; the same may then be tried again."""
        ...

    def entries(self, conv: str, before: int | None = None, limit: int = 50, *, changes: bool = True) -> list[Entry]:
        """The newest entries below the seq `before`, newest first; without `changes` only what is no change."""
        ...

    def at(self, conv: str, seqs: Iterable[int]) -> list[Entry]:
        """The entries with these seqs, as far as they are here, ascending."""
        ...

    def changes(self, conv: str, targets: Iterable[int]) -> list[Entry]:
        """The changes to the messages with these seqs, ascending."""
        ...

    def close(self) -> None:
        """Nothing is asked of it any more. May be called twice."""
        ...


class MemoryStore:
    """A store that ends with its process."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, JsonObject]] = defaultdict(dict)
        self._logs: dict[str, _Log] = {}

    def load(self) -> Kept:
        """What a session goes on with."""
        above = {}
        for conv, log in self._tables["logs"].items():
            seqs = self._logs[conv].seqs if conv in self._logs else []
            above[conv] = seqs[bisect_left(seqs, log["watermark"] + 1) :]
        return _kept(lambda table: self._tables[table].items(), above)

    def meta(self, name: str) -> JsonObject | None:
        """A row of `meta`."""
        return self._tables["meta"].get(name)

    def apply(self, changes: Iterable[Change]) -> None:
        """Keep all of the changes."""
        for change in changes:
            if change.table != "entries":
                _put(self._tables[change.table], change)
                if change.table == "deleted" and change.value is not None and change.key in self._logs:
                    self._logs[change.key].drop(ranges_of(change.value))
            elif change.seq is None:
                self._logs.pop(change.key, None)
            elif change.value is None:
                self._logs.setdefault(change.key, _Log()).drop([(change.seq, change.seq)])
            else:
                with suppress(MalformedEntryError):
                    self._logs.setdefault(change.key, _Log()).put(Entry.from_wire(change.value))

    def entries(self, conv: str, before: int | None = None, limit: int = 50, *, changes: bool = True) -> list[Entry]:
        """The newest entries below the seq `before`, newest first; without `changes` only what is no change."""
        log = self._logs.get(conv)
        return [] if log is None else log.newest(before, limit, changes=changes)

    def at(self, conv: str, seqs: Iterable[int]) -> list[Entry]:
        """The entries with these seqs, as far as they are here, ascending."""
        log = self._logs.get(conv)
        return [] if log is None else [log.held[seq] for seq in sorted(set(seqs)) if seq in log.held]

    def changes(self, conv: str, targets: Iterable[int]) -> list[Entry]:
        """The changes to the messages with these seqs, ascending."""
        log = self._logs.get(conv)
        return [] if log is None else log.about(targets)

    def close(self) -> None:
        """Nothing is asked of it any more."""


class _Log:
    """The entries of one conversation in memory."""

    def __init__(self) -> None:
        self.held: dict[int, Entry] = {}
        self.seqs: list[int] = []
        self._changes: defaultdict[int, set[int]] = defaultdict(set)
        self._answers: defaultdict[int, set[int]] = defaultdict(set)

    def put(self, entry: Entry) -> None:
        seq, target = entry.seq, target_of(entry)
        self._forget(seq)
        insort(self.seqs, seq)
        self.held[seq] = entry
        if target is not None:
            self._changes[target].add(seq)
        if entry.reply_to is not None:
            self._answers[entry.reply_to].add(seq)
        for message in {seq if target is None else target, entry.reply_to} - {None}:
            self._forget_recalled(message or 0)

    def _forget_recalled(self, message: int) -> None:
        about = self.about([message])
        recall = next((change for change in about if change.kind == "recall"), None)
        if recall is not None:
            answers = (self.held[seq] for seq in self._answers[message] if seq in self.held)
            for entry in [*self._held([message]), *(c for c in about if c.kind == "edit"), *answers]:
                self.held[entry.seq] = Entry.from_wire(without_text(entry, recall))

    def about(self, messages: Iterable[int]) -> list[Entry]:
        return self._held({seq for message in messages for seq in self._changes.get(message, ())})

    def _held(self, seqs: Iterable[int]) -> list[Entry]:
        return [self.held[seq] for seq in sorted(seqs) if seq in self.held]

    def newest(self, before: int | None, limit: int, *, changes: bool) -> list[Entry]:
        end = len(self.seqs) if before is None else bisect_left(self.seqs, before)
        found: list[Entry] = []
        for seq in reversed(self.seqs[:end]):
            if len(found) >= limit:
                break
            if changes or self.held[seq].kind not in CHANGE_KINDS:
                found.append(self.held[seq])
        return found

    def drop(self, ranges: Iterable[tuple[int, int]]) -> None:
        ranges = list(ranges)
        for seq in [seq for seq in self.seqs if is_within(ranges, seq)]:
            self._forget(seq)

    def _forget(self, seq: int) -> None:
        entry = self.held.pop(seq, None)
        if entry is not None:
            del self.seqs[bisect_left(self.seqs, seq)]
            self._changes[target_of(entry) or 0].discard(seq)
            self._answers[entry.reply_to or 0].discard(seq)


_TABLES: Final = """
CREATE TABLE kept (
    name TEXT NOT NULL,     -- of the table: meta, rows, logs, reads, deleted, outbox
    key TEXT NOT NULL,
    value TEXT NOT NULL,    -- JSON
    place INTEGER NOT NULL, -- the order in which keys first came
    PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE entries (
    conv TEXT NOT NULL,
    seq INTEGER NOT NULL,
    target INTEGER,         -- of a change: the message that it changes
    answers INTEGER,        -- of an answer: the message that it answers
    recalls INTEGER NOT NULL,
    wire TEXT NOT NULL,     -- JSON, as it came
    PRIMARY KEY (conv, seq)
) WITHOUT ROWID;
CREATE INDEX entries_target ON entries (conv, target, seq) WHERE target IS NOT NULL;
CREATE INDEX entries_answers ON entries (conv, answers) WHERE answers IS NOT NULL;
"""

_UPGRADES: Final[dict[int, str]] = {0: _TABLES}
"""What makes the tables of a version into those of the next one."""

_PUT: Final = """
INSERT INTO kept (name, key, value, place) VALUES (?, ?, ?, ?)
ON CONFLICT (name, key) DO UPDATE SET value = excluded.value
"""
_PUT_ENTRY: Final = """
INSERT OR REPLACE INTO entries (conv, seq, target, answers, recalls, wire) VALUES (?, ?, ?, ?, ?, ?)
"""
_IN: Final = "IN (SELECT value FROM json_each(?))"


class SqliteStore:
    """A store in one SQLite file, for one user on one device. Only its owner can read the file.

    A process that is killed at any point leaves all of a step, or nothing of it; after a loss of power the last steps
    may be missing, never a part of one. One process at a time: for a second one, StoreError.

    Raises StoreError when the file cannot be opened, is no store, or was written by a newer version of this program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with _told_as_store_error(self.path):
            if os.fspath(path) != IN_MEMORY:
                # The mode is there before anything is in it; SQLite gives the files beside it the same one.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0.2, cached_statements=64)
        try:
            with _told_as_store_error(self.path):
                self._prepare()
        except StoreError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise StoreError(f"{self.path} was written by a newer version of this program ({version} > {SCHEMA})")
        if version == 0 and self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{self.path} is the database of another program")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = ON")
        with self._transaction():
            for earlier in range(version, SCHEMA):
                for statement in _UPGRADES[earlier].split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        self._last_place: int = self._db.execute("SELECT coalesce(max(place), 0) FROM kept").fetchone()[0]

    def load(self) -> Kept:
        """What a session goes on with."""
        with _told_as_store_error(self.path):
            above: defaultdict[str, list[int]] = defaultdict(list)
            held = """
                SELECT log.key, entries.seq FROM kept AS log JOIN entries ON entries.conv = log.key
                AND entries.seq > json_extract(log.value, '$.watermark') WHERE log.name = 'logs' ORDER BY 1, 2
                """
            for conv, seq in self._db.execute(held):
                above[conv].append(seq)
            return _kept(self._rows_of, above)

    def _rows_of(self, name: str) -> Iterator[tuple[str, JsonObject]]:
        for key, value in self._db.execute("SELECT key, value FROM kept WHERE name = ? ORDER BY place", (name,)):
            yield key, json.loads(value)

    def meta(self, name: str) -> JsonObject | None:
        """A row of `meta`."""
        with _told_as_store_error(self.path):
            found = self._db.execute("SELECT value FROM kept WHERE name = 'meta' AND key = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def apply(self, changes: Iterable[Change]) -> None:
        """Keep all of the changes, or none of them, in one transaction. Raises StoreError."""
        with _told_as_store_error(self.path), self._transaction():
            for change in changes:
                # No server has given a name or a number that SQLite has no room for.
                with suppress(UnicodeEncodeError, OverflowError):
                    self._apply(change)

    def entries(self, conv: str, before: int | None = None, limit: int = 50, *, changes: bool = True) -> list[Entry]:
        """The newest entries below the seq `before`, newest first; without `changes` only what is no change."""
        where = "conv = ? AND seq < ?" + ("" if changes else " AND target IS NULL")
        end = 2**62 if before is None else before
        return self._select(f"WHERE {where} ORDER BY seq DESC LIMIT ?", (conv, end, limit))

    def at(self, conv: str, seqs: Iterable[int]) -> list[Entry]:
        """The entries with these seqs, as far as they are here, ascending."""
        return self._select(f"WHERE conv = ? AND seq {_IN} ORDER BY seq", (conv, json.dumps(sorted(set(seqs)))))

    def changes(self, conv: str, targets: Iterable[int]) -> list[Entry]:
        """The changes to the messages with these seqs, ascending."""
        return self._select(f"WHERE conv = ? AND target {_IN} ORDER BY seq", (conv, json.dumps(sorted(set(targets)))))

    def close(self) -> None:
        """Give the file free. May be called twice."""
        self._db.close()

    # ---- how

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Entry]:
        with _told_as_store_error(self.path):
            found = self._db.execute(f"SELECT wire FROM entries {where}", values).fetchall()  # noqa: S608 - ours
        return [Entry.from_wire(json.loads(wire)) for (wire,) in found]

    def _apply(self, change: Change) -> None:
        if change.table == "entries":
            self._change_entries(change)
        elif change.value is None:
            self._db.execute("DELETE FROM kept WHERE name = ? AND key = ?", (change.table, change.key))
        else:
            self._last_place += 1
            self._db.execute(_PUT, (change.table, change.key, _json(change.value), self._last_place))
            if change.table == "deleted":
                rows = [(change.key, first, last) for first, last in ranges_of(change.value)]
                self._db.executemany("DELETE FROM entries WHERE conv = ? AND seq BETWEEN ? AND ?", rows)

    def _change_entries(self, change: Change) -> None:
        if change.seq is None:
            self._db.execute("DELETE FROM entries WHERE conv = ?", (change.key,))
        elif change.value is None:
            self._db.execute("DELETE FROM entries WHERE conv = ? AND seq = ?", (change.key, change.seq))
        else:
            with suppress(MalformedEntryError):
                self._put_entry(Entry.from_wire(change.value))

    def _put_entry(self, entry: Entry) -> None:
        target, answers = target_of(entry), entry.reply_to
        recalls = entry.kind == "recall"
        self._db.execute(_PUT_ENTRY, (entry.conv, entry.seq, target, answers, recalls, _json(entry.wire)))
        if entry.kind in {"reaction", "pin"}:
            return
        for message in {entry.seq if target is None else target, answers} - {None}:
            self._forget_recalled(entry.conv, message or 0)

    def _forget_recalled(self, conv: str, message: int) -> None:
        found = self._select("WHERE conv = ? AND target = ? AND recalls ORDER BY seq LIMIT 1", (conv, message))
        for recall in found:
            here = "WHERE conv = ? AND (seq = ? OR target = ? AND NOT recalls OR answers = ?)"
            for entry in self._select(here, (conv, message, message, message)):
                if entry.kind == "edit" or entry.kind not in CHANGE_KINDS:
                    wire = _json(without_text(entry, recall))
                    self._db.execute("UPDATE entries SET wire = ? WHERE conv = ? AND seq = ?", (wire, conv, entry.seq))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def _kept(rows_of: Callable[[str], Iterable[tuple[str, JsonObject]]], above: dict[str, list[int]]) -> Kept:
    inbox = dict(rows_of("meta")).get("inbox")
    return Kept(
        inbox=None if inbox is None else inbox["value"],
        rows=dict(rows_of("rows")),
        logs=dict(rows_of("logs")),
        above=above,
        reads=dict(rows_of("reads")),
        deleted=dict(rows_of("deleted")),
        outbox=tuple(item for _, item in rows_of("outbox")),
    )


def _put(table: dict[str, JsonObject], change: Change) -> None:
    if change.value is None:
        table.pop(change.key, None)
    else:
        table[change.key] = change.value


def _json(value: JsonObject) -> str:
    return json.dumps(value, separators=(",", ":"))


@contextmanager
def _told_as_store_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise StoreError(f"{path} is in use by another process") from error
        raise StoreError(f"{path} cannot be used: {error}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
