"""The JavaScript client in a real browser: what it keeps in IndexedDB, and what the browser tells it."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "js"
CONV = "d:alice:bob"

NewContext = Callable[..., BrowserContext]
OpenTab = Callable[[BrowserContext], Page]

STORE = """
    const { IndexedDbStore, Session } = await import("/src/index.js");
    const { FakeServer } = await import("/tests/fake-server.js");
    const change = (table, key, value, seq = null) => ({ table, key, value, seq });
    const plain = (kept) => ({ ...kept, above: [...kept.above] });
    const until = async (isSo) => {
      for (let tries = 0; tries < 500 && !isSo(); tries += 1) await new Promise((resolve) => setTimeout(resolve, 10));
      if (!isSo()) throw new Error(`never: ${isSo}`);
    };
    window.problems ??= [];
    const open = (more = {}) => {
      const store = new IndexedDbStore({ name: "im:alice:a1", ...more });
      store.listen(({ what }) => window.problems.push(what));
      return (window.store = store);
    };
"""


class _Files(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>store</title>")
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def client_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(CLIENT)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_tab(client_url: str) -> OpenTab:
    def tab(context: BrowserContext) -> Page:
        page = context.new_page()
        page.goto(client_url)
        return page

    return tab


def run(page: Page, work: str) -> Any:
    """What the work gives, in the page."""
    return page.evaluate(f"async () => {{ {STORE} {work} }}")


def test_what_is_saved_is_there_after_a_reload(new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    saved = """
        const store = open();
        await store.load();
        await store.apply([
          change("meta", "inbox", { value: "i7" }),
          change("rows", "__proto__", { conv: "__proto__", last_seq: 1 }),
          change("logs", "d:alice:bob", { floor: 0, watermark: 2, horizon: 5 }),
          change("logs", "g:gone", { floor: 0, watermark: 0, horizon: 0 }),
          ...[1, 2, 4, 5].map((seq) => change("entries", "d:alice:bob", { seq }, seq)),
          ...[1, 2].map((seq) => change("entries", "g:gone", { seq }, seq)),
          ...["g:gon", "g:gone2"].map((conv) => change("entries", conv, { seq: 3 }, 3)),
          change("reads", "d:alice:bob", { seq: 2 }),
          change("deleted", "d:alice:bob", { deleted: 3, ranges: [[1, 1]] }),
          ...["z", "a", "m"].map((cmid) => change("outbox", cmid, { cmid, state: "queued" })),
        ]);
        await store.apply([
          change("entries", "g:gone", null),
          change("entries", "g:gone", { seq: 9 }, 9),
          change("outbox", "a", null),
          change("outbox", "z", { cmid: "z", state: "failed" }),
          change("reads", "d:alice:bob", null),
        ]);
    """
    run(page, saved)

    page.reload()
    kept = run(page, "return plain(await open().load());")

    assert kept == {
        "inbox": "i7",
        "rows": [["__proto__", {"conv": "__proto__", "last_seq": 1}]],
        "logs": [
            [CONV, {"floor": 0, "watermark": 2, "horizon": 5}],
            ["g:gone", {"floor": 0, "watermark": 0, "horizon": 0}],
        ],
        "above": [[CONV, [4, 5]], ["g:gone", [9]]],
        "reads": [],
        "deleted": [[CONV, {"deleted": 3, "ranges": [[1, 1]]}]],
        "outbox": [{"cmid": "z", "state": "failed"}, {"cmid": "m", "state": "queued"}],
    }
    ranges = "{ before: 5, limit: 2 }", "{}", "{ before: 1 }"
    pages = [run(page, f"return window.store.entries('{CONV}', {which});") for which in ranges]
    assert [[entry["seq"] for entry in found] for found in pages] == [[4, 2], [5, 4, 2, 1], []]
    for conv, seqs in {"g:gone": [9], "g:gon": [3], "g:gone2": [3]}.items():
        assert [entry["seq"] for entry in run(page, f"return window.store.entries('{conv}');")] == seqs
    assert run(page, "return window.problems;") == []


def test_a_message_typed_offline_is_sent_once_after_a_reload(new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    session = """
        const server = new FakeServer();
        const session = new Session({
          url: "wss://example.test", user: "alice", device: "a1", token: async () => "T",
          store: open(), WebSocket: server.WebSocket, settings: { backoffFirst: 5, backoffLongest: 20 },
        });
    """
    typed = run(
        page,
        session
        + """
        server.opens = false;
        await session.start();
        const cmids = ["one", "two"].map((text) => session.post("d:alice:bob", text));
        const shown = [...session.outbox.keys()];
        await until(() => server.sockets.length > 1);
        return { cmids, shown, frames: server.frames.length };
    """,
    )
    assert typed["cmids"] == typed["shown"]
    assert typed["frames"] == 0

    page.reload()
    sent = run(
        page,
        session
        + """
        await session.start();
        await until(() => session.outbox.size === 0);
        const history = (await session.history("d:alice:bob")).map(({ body }) => body.text);
        await session.close();
        return { frames: server.of("message.send").map(({ data }) => [data.cmid, data.body.text]), history };
    """,
    )
    assert sent["frames"] == [[typed["cmids"][0], "one"], [typed["cmids"][1], "two"]]
    assert sent["history"] == ["two", "one"]

    page.reload()
    assert run(page, "return (await open().load()).outbox;") == []


def test_of_two_tabs_the_newer_one_keeps_and_nothing_typed_is_lost(new_context: NewContext, open_tab: OpenTab) -> None:
    context = new_context()
    older, newer = open_tab(context), open_tab(context)
    log = "change('logs', 'd:alice:bob', { floor: 0, watermark: %s, horizon: 9 })"
    sending = "change('outbox', 'sending', { cmid: 'sending', state: '%s' })"
    run(older, f"await open().load(); await window.store.apply([{log % 1}, {sending % 'sending'}]);")

    kept = run(newer, "return plain(await open().load());")
    assert [item["cmid"] for item in kept["outbox"]] == ["sending"]
    run(newer, f"await window.store.apply([{log % 5}, change('outbox', 'sending', null)]);")
    # It is kicked: what it was sending waits again, as far as it knows.
    run(older, f"await window.store.apply([{log % 2}, {sending % 'queued'}]);")
    run(older, "await window.store.apply([change('outbox', 'late', { cmid: 'late', state: 'queued' })]);")
    run(newer, f"await window.store.apply([{log % 6}]);")

    assert run(older, "return window.problems;") == ["taken"]
    assert run(newer, "return window.problems;") == []
    newer.reload()
    kept = run(newer, "return plain(await open().load());")
    assert kept["logs"] == [[CONV, {"floor": 0, "watermark": 6, "horizon": 9}]]
    assert kept["outbox"] == [{"cmid": "late", "state": "queued"}]


def test_a_wiped_database_is_begun_anew_and_never_half_of_it(new_context: NewContext, open_tab: OpenTab) -> None:
    context = new_context()
    page, other = open_tab(context), open_tab(context)
    run(
        page,
        """
        await open().load();
        await window.store.apply([
          change("logs", "d:alice:bob", { floor: 0, watermark: 5, horizon: 5 }),
          change("meta", "inbox", { value: "i7" }),
        ]);
    """,
    )

    wiped = """
        return await new Promise((resolve) => {
          const request = indexedDB.deleteDatabase("im:alice:a1");
          request.onsuccess = () => resolve("wiped");
          request.onblocked = () => resolve("blocked");
        });
    """
    assert run(other, wiped) == "wiped"
    run(
        page,
        """
        await window.store.apply([
          change("logs", "d:alice:bob", { floor: 0, watermark: 6, horizon: 6 }),
          change("entries", "d:alice:bob", { seq: 6 }, 6),
        ]);
        await window.store.apply([change("outbox", "typed", { cmid: "typed", state: "queued" })]);
    """,
    )

    assert run(page, "return window.problems;") == ["taken"]
    page.reload()
    kept = run(page, "return plain(await open().load());")
    assert kept["outbox"] == [{"cmid": "typed", "state": "queued"}]
    assert (kept["inbox"], kept["logs"], kept["above"]) == (None, [], [])


def test_a_failed_write_loses_nothing_and_undoes_nothing_later(new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    came = run(
        page,
        """
        await open().load();
        const real = IDBObjectStore.prototype.put;
        let full = true;
        IDBObjectStore.prototype.put = function (value, key) {
          if (full) throw new DOMException("no room", "QuotaExceededError");
          return real.call(this, value, key);
        };
        const failing = window.store.apply([
          change("rows", "g:a", { version: 1 }),
          change("entries", "g:a", { seq: 1 }, 1),
          change("rows", "g:b", { version: 1 }),
          change("rows", "g:c", { version: 1 }),
        ]).then(() => "kept", ({ name }) => name);
        window.store.apply([change("rows", "g:c", { version: 2 })]).catch(() => {});
        const failed = await failing;
        full = false;
        await window.store.apply([change("rows", "g:a", { version: 2 }), change("entries", "g:a", null)]);
        return failed;
    """,
    )
    assert came == "QuotaExceededError"
    assert run(page, "return window.problems;") == ["failed"]

    page.reload()
    kept = run(page, "return { ...plain(await open().load()), entries: await window.store.entries('g:a') };")
    assert kept["rows"] == [["g:a", {"version": 2}], ["g:b", {"version": 1}], ["g:c", {"version": 2}]]
    assert kept["entries"] == []


def test_what_no_database_can_keep_holds_nothing_up(new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    run(
        page,
        """
        await open().load();
        await window.store.apply([
          change("reads", undefined, { seq: 1 }),
          change("rows", "g:a", { unfit() {} }),
          change("rows", "g:b", { version: 1 }),
        ]);
        await window.store.apply([change("rows", "g:c", { version: 1 })]);
    """,
    )
    assert run(page, "return window.problems;") == ["failed", "failed"]

    page.reload()
    assert [row[0] for row in run(page, "return (await open().load()).rows;")] == ["g:b", "g:c"]


def test_a_failed_last_write_is_tried_again_by_itself(new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    run(
        page,
        """
        await open().load();
        const real = IDBDatabase.prototype.transaction;
        IDBDatabase.prototype.transaction = () => { throw new DOMException("gone", "InvalidStateError"); };
        await window.store.apply([change("outbox", "typed", { cmid: "typed" })]).catch(() => {});
        IDBDatabase.prototype.transaction = real;
        await new Promise((resolve) => setTimeout(resolve, 1_500));
    """,
    )

    page.reload()
    assert run(page, "return (await open().load()).outbox;") == [{"cmid": "typed"}]


@pytest.mark.parametrize(
    "broken",
    [
        "const store = open({ indexedDB: null });",
        "const store = open({ indexedDB: { open() { throw new DOMException('no', 'SecurityError'); } } });",
        "const store = open({ indexedDB: { open: () => ({}) } });",
        """
        await new Promise((resolve) => {
          const request = indexedDB.open("im:alice:a1", 99);
          request.onsuccess = () => { request.result.close(); resolve(); };
        });
        const store = open();
        """,
    ],
    ids=["absent", "forbidden", "never opens", "newer schema"],
)
def test_without_indexeddb_it_is_memory_and_says_so(broken: str, new_context: NewContext, open_tab: OpenTab) -> None:
    page = open_tab(new_context())
    came = run(
        page,
        broken
        + """
        const { rows } = await store.load();
        await store.apply([change("rows", "g:a", { conv: "g:a" }), change("entries", "g:a", { seq: 1 }, 1)]);
        const found = await store.entries("g:a");
        await store.close();
        return { rows, found };
    """,
    )
    assert came == {"rows": [], "found": [{"seq": 1}]}
    assert run(page, "return window.problems;") == ["memory"]


def test_the_browser_tells_when_somebody_looks_and_when_there_is_a_network(
    new_context: NewContext, open_tab: OpenTab
) -> None:
    page = open_tab(new_context())
    came = run(
        page,
        """
        const server = new FakeServer();
        const session = new Session({
          url: "wss://example.test", user: "alice", device: "a1", token: async () => "T", WebSocket: server.WebSocket,
          settings: { backoffFirst: 30_000 }, random: () => 0.9,
        });
        await session.start();
        await until(() => session.state === "online");
        document.dispatchEvent(new Event("visibilitychange"));
        await until(() => server.of("connect.ping").length === 1);
        server.last.drop(1006);
        const lost = session.state;
        window.dispatchEvent(new Event("online"));
        await until(() => session.state === "online");
        server.answers.set("connect.ping", () => undefined);
        window.dispatchEvent(new Event("offline"));
        await until(() => server.of("connect.ping").length === 2);
        await session.close();
        document.dispatchEvent(new Event("visibilitychange"));
        window.dispatchEvent(new Event("online"));
        return { lost, sockets: server.sockets.length, state: session.state };
    """,
    )
    assert came == {"lost": "waiting", "sockets": 2, "state": "ended"}
