"""How smoothly does the chat page scroll through a long conversation, and what does that take?

Chromium opens a group of many messages on the fake backend, scrolls up through all of its history as it is loaded page
by page, and down again through all that is loaded. The table has the frames that took over 50 ms (the time between two
animation frames), the tasks over 50 ms that the browser itself reports, the JavaScript heap after a collection, the
nodes of the document, and the time from the press on the conversation to its newest message.

    PYTHONPATH=. .venv/bin/python -m bench.web_scroll [--messages 10000] [--page clients/web]
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.chat_page import ChatPage
from tests.browser.fake_backend import WEB_ROOT, FakeBackend

GROUP: Final = "g:demo"
FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info", "--js-flags=--expose-gc"]
MEMBERS: Final = ("alice", "bob", "carol")
NOON: Final = 1_700_000_000_000
EVERY_MS: Final = 7 * 60_000
STEP_PX: Final = 400
LONG: Final = "The path along the river is open again, so we can walk there after lunch if the rain stays away. "

MEASURE: Final = """() => {
    const seen = { slow: 0, frames: 0, longest: 0, tasks: 0, from: 0 };
    new PerformanceObserver(list => {
        seen.tasks += list.getEntries().filter(({ startTime }) => startTime >= seen.from).length;
    }).observe({ type: "longtask" });
    let last = performance.now();
    const frame = now => {
        const took = now - last;
        last = now;
        seen.frames++;
        seen.longest = Math.max(seen.longest, took);
        if (took > 50) seen.slow++;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    window.measured = () => ({ ...seen });
    window.measureAnew = () =>
        Object.assign(seen, { slow: 0, frames: 0, longest: 0, tasks: 0, from: performance.now() });
}"""

SCROLL: Final = """([step, stallMs]) => new Promise(resolve => {
    const scroller = document.getElementById("scroller");
    let still = performance.now();
    let height = 0;
    const frame = now => {
        const before = scroller.scrollTop;
        scroller.scrollTop += step;
        const moved = scroller.scrollTop !== before || scroller.scrollHeight !== height;
        height = scroller.scrollHeight;
        if (moved) still = now;
        if (step < 0 && document.querySelector("#thread-top .thread-start") && scroller.scrollTop < 1) resolve();
        else if (now - still > stallMs) resolve();
        else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})"""


@dataclass(frozen=True)
class Figures:
    """What one stretch took."""

    what: str
    ms: float
    frames: int
    slow: int
    longest_ms: float
    tasks: int
    heap_mb: float
    nodes: int


def history(count: int) -> list[tuple[str, str, int]]:
    """Messages of three people over some weeks: mostly one line, some long, some in runs."""
    return [
        (
            MEMBERS[(number // 3) % len(MEMBERS)],
            f"message {number}" + (" " + LONG * (1 + number % 4) if number % 9 == 0 else ""),
            NOON + number // 3 * EVERY_MS + number % 3 * 1_000,
        )
        for number in range(count)
    ]


def figures(page: Page, what: str, ms: float) -> Figures:
    page.evaluate("() => globalThis.gc?.()")
    seen: dict[str, Any] = page.evaluate("() => measured()")
    heap, nodes = page.evaluate("() => [performance.memory.usedJSHeapSize, document.getElementsByTagName('*').length]")
    return Figures(what, ms, seen["frames"], seen["slow"], seen["longest"], seen["tasks"], heap / 2**20, nodes)


def run(messages: int, root: Path) -> Iterator[Figures]:
    """Opens the conversation, reads up to its beginning, and comes down again."""
    with FakeBackend({user: user.title() for user in MEMBERS}, root) as backend, sync_playwright() as playwright:
        backend.group(GROUP, "Demo group", list(MEMBERS))
        backend.fill(GROUP, history(messages))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        chat = ChatPage(browser.new_page(), backend.page_url)
        chat.page.set_default_timeout(900_000)
        chat.open("alice").expect_online()
        chat.page.evaluate(MEASURE)
        opened = chat.page.evaluate(
            """conv => new Promise(resolve => {
                const start = performance.now();
                const look = () => document.querySelector("#messages .message")
                    ? requestAnimationFrame(() => resolve(performance.now() - start)) : requestAnimationFrame(look);
                document.querySelector(`#list .row[data-conv="${conv}"]`).click();
                look();
            })""",
            GROUP,
        )
        expect(chat.messages.last).to_be_in_viewport()
        yield figures(chat.page, "open", opened)
        for what, step, stall_ms in (
            ("up, loading all", -STEP_PX, 5_000),
            ("down", STEP_PX, 300),
            ("up again", -STEP_PX, 300),
        ):
            chat.page.evaluate("() => measureAnew()")
            took = chat.page.evaluate(
                f"async given => {{ const start = performance.now(); await ({SCROLL})(given); "
                "return performance.now() - start; }",
                [step, stall_ms],
            )
            yield figures(chat.page, what, took)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--page", type=Path, default=WEB_ROOT, help="the folder of another version of the page")
    chosen = parser.parse_args()
    print("| | time | frames | over 50 ms | longest | long tasks | heap | nodes |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for each in run(chosen.messages, chosen.page):
        print(
            f"| {each.what} | {each.ms:,.0f} ms | {each.frames} | {each.slow} | {each.longest_ms:.0f} ms "
            f"| {each.tasks} | {each.heap_mb:.1f} MiB | {each.nodes:,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
