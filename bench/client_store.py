"""What the store of the Python client costs: `python -m bench.client_store [DIRECTORY]`, where the file is to be."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from imclient.core.outputs import Change
from imclient.store import SqliteStore

ROWS, ENTRIES, MESSAGES = 5_000, 200_000, 2_000


def main() -> None:
    """Fill a store, then measure what a client does with it."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        path = Path(folder) / "store.db"
        store = SqliteStore(path)
        began = time.perf_counter()
        fill(store)
        print(f"fill with {ROWS} rows and {ENTRIES} entries: {time.perf_counter() - began:.1f} s")
        print(f"file: {path.stat().st_size / 1e6:.0f} MB")
        tell("apply one message (entry, log, row)", MESSAGES, lambda number: store.apply(message(number)))
        tell("entries: a page of 50", 1_000, lambda number: store.entries(f"g:{number}", limit=50))
        store.close()
        tell("open and load", 5, lambda _: opened(path))


def tell(what: str, times: int, work: Callable[[int], object]) -> None:
    """Do it so many times, and print how long one took."""
    took = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        took.append((time.perf_counter() - began) * 1000)
    late = f"p99 {quantiles(took, n=100)[98]:.2f} ms, " if times >= 100 else ""
    print(f"{what}: median {median(took):.2f} ms, {late}longest {max(took):.2f} ms")


def opened(path: Path) -> None:
    """What a start of the client waits for."""
    store = SqliteStore(path)
    kept = store.load()
    assert len(kept.rows) == ROWS  # noqa: S101 - a benchmark of nothing is none
    store.close()


def fill(store: SqliteStore) -> None:
    """Rows, and as many entries of each."""
    each = ENTRIES // ROWS
    for conv in range(ROWS):
        entries = [Change("entries", f"g:{conv}", entry(conv, seq), seq) for seq in range(1, each + 1)]
        store.apply([*entries, log(conv, each), row(conv, each)])


def message(number: int) -> list[Change]:
    """A message that comes: what the client keeps of it in one step."""
    conv, seq = number % ROWS, ENTRIES // ROWS + 1 + number // ROWS
    return [Change("entries", f"g:{conv}", entry(conv, seq), seq), log(conv, seq), row(conv, seq)]


def entry(conv: int, seq: int) -> dict[str, object]:
    """A text of some 100 characters."""
    said = {"text": f"message {seq} " + "of some length " * 6}
    wire = {"conv": f"g:{conv}", "seq": seq, "n": seq, "kind": "text", "from": "alice", "ts": seq, "body": said}
    return {**wire, "cmid": f"7f1c0f0e-3f57-4f6b-9d0c-{seq:012}"}


def log(conv: int, seq: int) -> Change:
    """How far it goes."""
    return Change("logs", f"g:{conv}", {"floor": 0, "watermark": seq, "horizon": seq})


def row(conv: int, seq: int) -> Change:
    """A row as the server gives it."""
    last = {"seq": seq, "kind": "text", "from": "alice", "ts": seq, "preview": "message of some length " * 3}
    marks = {"last_seq": seq, "last_n": seq, "unread": 1, "read_seq": seq - 1, "read_n": seq - 1, "ack_seq": seq}
    settings = {"muted": False, "pinned": False, "draft": "", "hidden": False, "rev": 0, "deleted": 0, "mention_seq": 0}
    return Change(
        "rows", f"g:{conv}", {"conv": f"g:{conv}", "last": last, **marks, **settings, "at": seq, "updated": seq}
    )


if __name__ == "__main__":
    main()
