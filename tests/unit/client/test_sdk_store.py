"""What is kept is all of a step or nothing of it, whatever kills the process; what is recalled is kept nowhere."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.core.outputs import Change
from imclient.store import SCHEMA, MemoryStore, SqliteStore, Store, StoreError

CONV = "g:team"
SECRET = "the password is swordfish"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "a.db")
    yield made
    made.close()


def wire(seq: int, kind: str = "text", body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    said = {"text": f"message {seq}"} if body is None else body
    return {"conv": CONV, "seq": seq, "n": seq, "kind": kind, "from": "alice", "ts": seq, "body": said, **more}


def entry(seq: int, kind: str = "text", body: dict[str, Any] | None = None, **more: Any) -> Change:
    return Change("entries", CONV, wire(seq, kind, body, **more), seq)


def log(watermark: int, floor: int = 0) -> Change:
    return Change("logs", CONV, {"floor": floor, "watermark": watermark, "horizon": watermark})


def item(cmid: str, state: str = "queued") -> Change:
    return Change("outbox", cmid, {"cmid": cmid, "conv": CONV, "kind": "text", "body": {"text": cmid}, "state": state})


def seqs(store: Store, before: int | None = None, limit: int = 50, *, changes: bool = True) -> list[int]:
    return [entry.seq for entry in store.entries(CONV, before, limit, changes=changes)]


def test_what_is_kept_is_what_a_session_goes_on_with(store: Store) -> None:
    store.apply([Change("meta", "inbox", {"value": "i1"}), Change("rows", CONV, {"conv": CONV, "last_seq": 3})])
    store.apply([entry(1), entry(3), log(1), Change("reads", CONV, {"seq": 1})])
    store.apply([Change("deleted", CONV, {"deleted": 1, "ranges": [[9, 9]]})])

    kept = store.load()

    assert kept.inbox == "i1"
    assert kept.rows == {CONV: {"conv": CONV, "last_seq": 3}}
    assert kept.logs == {CONV: {"floor": 0, "watermark": 1, "horizon": 1}}
    assert {conv: list(above) for conv, above in kept.above.items()} == {CONV: [3]}
    assert kept.reads == {CONV: {"seq": 1}}
    assert kept.deleted == {CONV: {"deleted": 1, "ranges": [[9, 9]]}}
    assert store.meta("inbox") == {"value": "i1"}
    assert store.meta("owner") is None


def test_messages_on_their_way_keep_the_order_in_which_they_were_said(store: Store) -> None:
    store.apply([item("m"), item("z"), item("x"), item("a")])
    store.apply([item("z", "failed"), item("m", "sending")])
    store.apply([Change("outbox", "x", None)])

    assert [kept["cmid"] for kept in store.load().outbox] == ["m", "z", "a"]
    assert [kept["state"] for kept in store.load().outbox] == ["sending", "failed", "queued"]


def test_history_comes_newest_first_in_pages(store: Store) -> None:
    store.apply([entry(seq) for seq in range(1, 8)] + [entry(8, "edit", {"target": 2, "body": {"text": "new"}})])

    assert seqs(store, limit=3) == [8, 7, 6]
    assert seqs(store, before=6, limit=3) == [5, 4, 3]
    assert seqs(store, limit=3, changes=False) == [7, 6, 5]
    assert seqs(store, before=1) == []
    assert [found.seq for found in store.at(CONV, [9, 5, 2])] == [2, 5]
    assert [found.seq for found in store.changes(CONV, [1, 2])] == [8]
    assert store.entries("g:other") == store.changes("g:other", [1]) == store.at("g:other", [1]) == []


def test_a_conversation_that_begins_anew_keeps_nothing_of_before(store: Store) -> None:
    store.apply([entry(1), entry(2), log(2)])
    store.apply([Change("entries", CONV, None), entry(9), log(9, floor=8)])

    assert seqs(store) == [9]


def test_what_the_user_deletes_is_deleted_here(store: Store) -> None:
    store.apply([entry(seq) for seq in range(1, 6)])
    store.apply([Change("deleted", CONV, {"deleted": 1, "ranges": [[2, 3], [5, 5]]})])

    assert seqs(store) == [4, 1]


RECALL = entry(4, "recall", {"target": 1})
SAID = [
    entry(1, body={"text": SECRET}),
    entry(2, "edit", {"target": 1, "body": {"text": SECRET}}),
    entry(3, "text", reply_to=1, quote={"seq": 1, "kind": "text", "from": "a", "ts": 1, "preview": SECRET}),
]


@given(st.permutations([*SAID, RECALL]))
def test_what_is_recalled_is_kept_nowhere_in_whatever_order_it_came(changes: list[Change]) -> None:
    for store in (MemoryStore(), SqliteStore(":memory:")):
        for change in changes:
            store.apply([change])
        kept = {found.seq: found for found in store.entries(CONV)}

        assert SECRET not in str([found.wire for found in kept.values()])
        assert kept[1].recalled_by == "alice"
        assert kept[1].body == {}
        assert kept[3].body == {"text": "message 3"}
        store.close()


def test_what_is_recalled_or_deleted_is_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    store.apply([*SAID, *(entry(seq, body={"text": SECRET * 100}) for seq in range(10, 60))])
    store.apply([RECALL, Change("deleted", CONV, {"deleted": 1, "ranges": [[10, 100]]})])
    store.close()

    assert SECRET.encode() not in path.read_bytes()
    assert [found.name for found in tmp_path.iterdir()] == ["a.db"]


CHANGES = st.one_of(
    st.builds(entry, st.integers(1, 12)),
    st.builds(
        lambda seq, target: entry(seq, "edit", {"target": target, "body": {"text": "e"}}), *[st.integers(1, 12)] * 2
    ),
    st.builds(lambda seq, target: entry(seq, "recall", {"target": target}), *[st.integers(1, 12)] * 2),
    st.builds(
        lambda seq, to: entry(seq, "text", reply_to=to, quote={"seq": to, "kind": "text"}), *[st.integers(1, 12)] * 2
    ),
    st.builds(item, st.sampled_from("abc"), st.sampled_from(["queued", "failed"])),
    st.builds(lambda cmid: Change("outbox", cmid, None), st.sampled_from("abc")),
    st.builds(log, st.integers(0, 12)),
    st.builds(
        lambda first, more: Change("deleted", CONV, {"deleted": 1, "ranges": [[first, first + more]]}),
        st.integers(1, 12),
        st.integers(0, 3),
    ),
    st.just(Change("entries", CONV, None)),
    st.builds(lambda seq: Change("entries", CONV, None, seq), st.integers(1, 12)),
)


def test_a_database_in_memory_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    SqliteStore(":memory:").close()

    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(CHANGES, max_size=5), max_size=8))
def test_both_stores_keep_the_same(steps: list[list[Change]]) -> None:
    memory, sqlite = MemoryStore(), SqliteStore(":memory:")
    for step in steps:
        for store in (memory, sqlite):
            store.apply(step)

    told: list[object] = []
    for store in (memory, sqlite):
        kept, found = store.load(), store.entries(CONV)
        above = {conv: list(seqs) for conv, seqs in kept.above.items() if seqs}
        around = [store.changes(CONV, range(13)), store.at(CONV, range(13)), store.entries(CONV, 7, 3, changes=False)]
        told.append([kept.logs, kept.outbox, kept.deleted, above, [e.wire for e in found], around])
    assert told[0] == told[1]
    sqlite.close()


def test_nothing_of_a_step_is_kept_that_cannot_be_kept_as_a_whole(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.apply([item("a")])

    def step() -> Iterator[Change]:
        yield item("b")
        raise MemoryError

    with pytest.raises(MemoryError):
        store.apply(step())
    store.apply([item("c")])

    assert [kept["cmid"] for kept in store.load().outbox] == ["a", "c"]


def test_a_full_disk_is_told_and_what_failed_may_be_tried_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.apply([item("a")])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    step = [entry(1, body={"text": "x" * 50_000}), item("b")]

    with pytest.raises(StoreError, match="full"):
        store.apply(step)
    assert [kept["cmid"] for kept in store.load().outbox] == ["a"]
    store._db.execute("PRAGMA max_page_count = 100000")
    store.apply(step)

    assert [kept["cmid"] for kept in store.load().outbox] == ["a", "b"]


def test_names_and_numbers_that_no_server_gives_are_passed_over(store: Store) -> None:
    half = "d:\ud800:x"
    odd = [Change("rows", half, {"conv": half, "last_seq": 1}), entry(10**30), Change("entries", CONV, {}, 7)]
    store.apply([*odd, Change("entries", CONV, None, 10**30), entry(1)])

    assert 1 in seqs(store)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()

    with pytest.raises(StoreError, match="newer version"):
        SqliteStore(path)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)


@pytest.mark.parametrize("why", ["another program", "cannot be used", "cannot be opened"])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, why: str) -> None:
    path = tmp_path / "a.db"
    if why == "another program":
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE notes (text)")
        db.close()
    elif why == "cannot be used":
        path.write_bytes(b"this is no database, whatever its name says" * 100)
    else:
        path.mkdir()
    before = None if path.is_dir() else path.read_bytes()

    with pytest.raises(StoreError, match=why):
        SqliteStore(path)

    assert (None if path.is_dir() else path.read_bytes()) == before


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "a.db")
        store.apply([item("a")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(mask)

    assert modes == {"a.db": 0o600, "a.db-wal": 0o600}
    store.close()


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


OPEN = """
import sys
from imclient.store import SqliteStore, StoreError
try:
    SqliteStore(sys.argv[1]).close()
    print("opened")
except StoreError as error:
    print(error)
"""


def test_a_second_process_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    store.apply([item("a")])

    assert run_python(OPEN, path).communicate(timeout=30)[0] == f"{path} is in use by another process\n"
    with pytest.raises(StoreError, match="in use"):
        SqliteStore(path)
    store.apply([item("b")])
    store.close()

    assert run_python(OPEN, path).communicate(timeout=30)[0] == "opened\n"


WRITE = """
import sys
from imclient.core.outputs import Change
from imclient.store import SqliteStore
store = SqliteStore(sys.argv[1])
number = len(store.load().outbox)
print("ready", flush=True)
while True:
    number += 1
    body = {"text": "x" * (number * 37 % 2000)}
    wire = {"conv": "g:team", "seq": number, "n": number, "kind": "text", "from": "a", "ts": 1, "body": body}
    item = {"cmid": f"m{number:09}", "state": "queued"}
    log = {"floor": 0, "watermark": number, "horizon": number}
    changes = [("entries", "g:team", wire, number), ("outbox", item["cmid"], item), ("logs", "g:team", log)]
    store.apply(Change(*change) for change in changes)
    print(number, flush=True)
"""


def killed(process: subprocess.Popen[str], ready: Callable[[str], bool], wait: float) -> list[str]:
    """Kill it at `wait` seconds after it is ready; what it had said by then."""
    assert process.stdout is not None
    said: list[str] = []
    while not said or not ready(said[-1]):
        said.append(process.stdout.readline().strip())
        assert said[-1], said
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().split("\n")
    process.wait(30)
    return [line for line in said if line]


def test_a_process_that_is_killed_leaves_all_of_a_step_or_nothing(tmp_path: Path) -> None:
    path, moments = tmp_path / "a.db", random.Random(7)
    known = 0
    for _ in range(20):
        said = killed(run_python(WRITE, path), lambda line: line == "ready", moments.random() * 0.05)
        known = max([known, *(int(line) for line in said if line.isdecimal())])

        store = SqliteStore(path)
        kept = store.load()
        newest = seqs(store, limit=1)
        store.close()
        assert len(kept.outbox) == kept.logs.get(CONV, {}).get("watermark", 0) == (newest[0] if newest else 0)
        assert len(kept.outbox) >= known
