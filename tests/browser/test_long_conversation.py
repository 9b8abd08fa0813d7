"""A long conversation: only what is near the reader is in the document, and the reader does not notice."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
GROUP = "g:demo"
DIRECT = "d:alice:bob"
NOON = 1_700_000_000_000
DAY_MS = 86_400_000
MOST_DRAWN = 130
TOP = "node => node.getBoundingClientRect().top"


def fill(backend: FakeBackend, count: int, *, a_day: int = 400) -> None:
    """Messages of two people, `a_day` each day, some of them long."""
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    backend.fill(
        GROUP,
        [
            (
                "bob" if number % 4 else "alice",
                f"message {number}" + " and so on" * (60 if number % 7 == 0 else 0),
                NOON + number // a_day * DAY_MS + number % a_day * 1_000,
            )
            for number in range(count)
        ],
    )


def read_all_history(page: ChatPage) -> None:
    start = page.page.locator("#thread-top .thread-start")
    for _ in range(200):
        page.scroll_to_top()
        page.page.wait_for_function("() => !document.querySelector('#thread-top .spinner')")
        if start.count():
            page.scroll_to_top()
            return
    pytest.fail("the history has no beginning")


def drawn(page: ChatPage) -> int:
    return page.messages.count()


def test_what_is_drawn_does_not_grow_with_what_is_loaded(open_page: OpenPage, backend: FakeBackend) -> None:
    fill(backend, 1_000)
    alice = open_page("alice", GROUP)
    expect(alice.messages.last).to_be_in_viewport()
    nodes = "() => document.getElementsByTagName('*').length"
    at_first = alice.page.evaluate(nodes)

    read_all_history(alice)
    expect(alice.messages.first.locator(".text")).to_contain_text("message 0 and so on")
    assert drawn(alice) <= MOST_DRAWN
    assert alice.page.evaluate(nodes) < at_first * 2

    numbers = [int(text.split()[1]) for text in alice.read_through()]
    assert numbers == list(range(1_000))
    assert len(alice.read_through(".day")) == 3
    assert drawn(alice) <= MOST_DRAWN


def test_the_reader_stays_where_they_are_when_older_messages_come_in(open_page: OpenPage, backend: FakeBackend) -> None:
    fill(backend, 300)
    alice = open_page("alice", GROUP)
    expect(alice.messages.last).to_be_in_viewport()
    backend.refuse_next("sync.entries", "unavailable", retryable=True, retry_after_ms=700)

    alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, 100)")
    kept = alice.page.locator('.message[data-seq="253"]')
    before = kept.evaluate(TOP)
    expect(alice.page.locator('.message[data-seq="230"]')).to_have_count(1)

    assert abs(kept.evaluate(TOP) - before) <= 1


def test_the_reader_stays_where_they_are_when_something_above_changes_its_height(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    fill(backend, 300)
    alice = open_page("alice", GROUP)
    alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, node.scrollHeight - 2000)")
    kept = alice.page.locator('.message[data-seq="285"]')
    expect(kept).to_be_attached()
    seen = alice.page.evaluate(
        """() => [...document.querySelectorAll("#messages .message")]
            .find(node => node.getBoundingClientRect().top > 100).dataset.seq"""
    )
    kept = alice.page.locator(f'.message[data-seq="{seen}"]')
    before = kept.evaluate(TOP)

    above = alice.page.locator(f'.message[data-seq="{int(seen) - 6}"]')
    above.evaluate("node => { node.style.minHeight = '900px' }")
    alice.page.evaluate("() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))")

    assert abs(kept.evaluate(TOP) - before) <= 1


def test_the_line_above_the_first_unread_message_is_found_far_from_the_end(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    backend.post(DIRECT, "alice", "read long ago")
    for number in range(45):
        backend.post(DIRECT, "bob", f"unread {number} " + "again " * 200)
    alice = open_page("alice")
    alice.select(DIRECT)

    expect(alice.page.locator(".new-line")).to_be_in_viewport()
    expect(alice.messages.filter(has_text="unread 0 ")).to_be_in_viewport()
    alice.page.get_by_role("button", name="Jump to the latest").click()
    expect(alice.messages.filter(has_text="unread 44 ")).to_be_in_viewport()


def test_a_quoted_message_that_is_not_drawn_is_shown(open_page: OpenPage, backend: FakeBackend) -> None:
    fill(backend, 300)
    backend.post(GROUP, "bob", "about the old one", reply_to=20)
    alice = open_page("alice", GROUP)
    read_all_history(alice)
    alice.page.locator("#jump").click()
    expect(alice.message("about the old one")).to_be_in_viewport()
    expect(alice.page.locator('.message[data-seq="20"]')).to_have_count(0)

    alice.quote("about the old one").click()

    expect(alice.page.locator('.message[data-seq="20"]')).to_be_in_viewport()
    expect(alice.page.locator('.message[data-seq="20"] .more')).to_be_focused()


def test_the_keys_walk_beyond_what_is_drawn_and_the_focus_is_not_lost(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    fill(backend, 300)
    alice = open_page("alice", GROUP)
    read_all_history(alice)
    alice.page.locator("#jump").click()

    alice.messages.last.locator(".more").focus()
    alice.page.keyboard.press("Home")
    expect(alice.page.locator('.message[data-seq="1"] .more')).to_be_focused()
    expect(alice.page.locator('.message[data-seq="1"]')).to_be_in_viewport()
    for _ in range(60):
        alice.page.keyboard.press("ArrowDown")
    expect(alice.page.locator('.message[data-seq="61"] .more')).to_be_focused()

    alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, node.scrollHeight)")
    expect(alice.page.locator('.message[data-seq="300"]')).to_be_in_viewport()
    expect(alice.page.locator('.message[data-seq="61"] .more')).to_be_focused()
    alice.page.keyboard.press("ArrowDown")
    expect(alice.page.locator('.message[data-seq="62"]')).to_be_in_viewport()


def test_new_messages_are_read_out_and_older_ones_are_not(open_page: OpenPage, backend: FakeBackend) -> None:
    fill(backend, 120)
    alice = open_page("alice", GROUP)
    expect(alice.messages.last).to_be_in_viewport()
    alice.scroll_to_top()
    wait_until(alice.page, lambda: len(backend.requests("sync.entries", "alice")) >= 2)
    announcer = alice.page.locator("#announcer")
    expect(announcer).to_have_text("")

    backend.post(GROUP, "bob", "news from Bob")

    expect(announcer).to_have_text("Bob Okafor: news from Bob")
    expect(alice.page.get_by_role("log", name="Messages")).to_have_attribute("aria-live", "off")
    expect(alice.page.locator("#jump")).to_contain_text("New messages")
