"""Finding, forwarding, pins, notifications, and what this user shows to others."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
DIRECT = "d:alice:bob"
OTHER = "d:alice:carol"
GROUP = "g:demo"
NOON = 1_700_000_000_000

STUB = """
    window.shown = [];
    window.asked = 0;
    window.Notification = class {
        static permission = "default";
        static async requestPermission() { window.asked++; return (this.permission = "granted"); }
        constructor(title, options) { window.shown.push([title, options.body, options.tag]); window.newest = this; }
        close() {}
    };
"""


def look_away(page: Page) -> None:
    page.evaluate(
        """() => {
            Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


def test_a_text_is_found_in_what_is_loaded(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    texts = [f"number {at}" + (" Apple pie, apple tart" if at % 20 == 0 else "") for at in range(150)]
    backend.fill(GROUP, [("bob", text, NOON + at) for at, text in enumerate(texts)])
    alice = open_page("alice", GROUP)
    expect(alice.message("number 149")).to_be_in_viewport()
    for _ in range(3):
        alice.scroll_to_top()
        alice.page.wait_for_function("() => !document.querySelector('#thread-top .spinner')")
    count = alice.page.locator("#find-count")

    alice.page.keyboard.press("Control+f")
    alice.page.locator("#find-text").fill("APPLE")
    expect(count).to_have_text("1 of 8")
    newest = alice.page.locator('.message[data-seq="141"]')
    expect(newest).to_be_in_viewport()
    expect(newest.locator("mark")).to_have_text(["Apple", "apple"])
    alice.page.keyboard.press("Enter")
    expect(count).to_have_text("2 of 8")
    expect(alice.page.locator('.message[data-seq="121"]')).to_be_in_viewport()
    alice.page.get_by_role("button", name="Next match").click()
    alice.page.get_by_role("button", name="Next match").click()
    expect(count).to_have_text("8 of 8")
    expect(alice.page.locator('.message-found[data-seq="1"]')).to_be_in_viewport()

    alice.page.locator("#find-text").fill("<img src=x>")
    expect(count).to_have_text("No match")
    alice.page.locator("#find-text").press("Escape")
    expect(alice.page.locator("#find")).to_be_hidden()
    expect(alice.page.locator("mark")).to_have_count(0)
    expect(alice.page.locator("#find-button")).to_be_focused()


def test_one_message_is_forwarded_as_a_copy(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(OTHER, "carol", "hello")
    backend.post(DIRECT, "bob", "pass it on")
    alice = open_page("alice", DIRECT)

    alice.choose("pass it on", "Forward")
    alice.page.locator("#forward-body").get_by_role("button", name="陈可欣").click()

    expect(alice.toast).to_have_text("Forwarded.")
    alice.select(OTHER)
    alice.expect_texts("hello", "pass it on")
    expect(alice.message("pass it on").locator(".forwarded")).to_have_text("Forwarded from Bob Okafor")
    (sent,) = backend.requests("message.forward")
    assert {**sent.data, "cmid": ""} == {"conv": OTHER, "cmid": "", "source": DIRECT, "seqs": [1]}


def test_several_messages_are_forwarded_as_one(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(OTHER, "carol", "hello")
    for text in ("one", "two", "three"):
        backend.post(DIRECT, "bob", text)
    alice = open_page("alice", DIRECT)

    alice.choose("three", "Select")
    alice.message("one").get_by_role("checkbox").click()
    alice.message("two").get_by_role("checkbox").click()
    alice.message("two").get_by_role("checkbox").click()
    expect(alice.page.locator("#select-count")).to_have_text("2 selected")
    alice.page.locator("#select-forward").click()
    backend.refuse_next("message.forward", "too_large")
    choice = alice.page.locator("#forward-body").get_by_role("button", name="陈可欣")
    choice.click()
    expect(alice.page.locator("#forward-body .form-error")).to_have_text("The message is too large.")
    choice.click()

    expect(alice.page.locator("#select-bar")).to_be_hidden()
    expect(alice.composer).to_be_visible()
    alice.select(OTHER)
    expect(alice.messages.last.locator(".text")).to_have_text("Chat history: Bob Okafor")
    expect(alice.messages.last.locator(".merged li")).to_have_text(["Bob Okafor: one", "Bob Okafor: three"])


def test_pinned_messages_are_listed_and_shown(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    backend.fill(GROUP, [("bob", f"number {at}", NOON + at) for at in range(130)])
    backend.post(GROUP, "alice", {"target": 5, "on": True}, kind="pin")
    alice = open_page("alice", GROUP)
    expect(alice.message("number 129")).to_be_in_viewport()

    alice.page.locator("#thread-more").click()
    alice.menu.get_by_role("menuitem", name="Pinned messages").click()
    alice.page.locator("#pins-body").get_by_role("button", name="number 4").click()

    expect(alice.message("number 4")).to_be_in_viewport()
    expect(alice.message("number 4").locator(".more")).to_be_focused()


def test_notifications_are_asked_for_and_shown(
    new_context: Callable[..., BrowserContext], page_url: str, backend: FakeBackend
) -> None:
    backend.post(OTHER, "carol", "hello")
    backend.post(DIRECT, "bob", "hi")
    backend.act("alice", "sync.settings", {"conv": OTHER, "muted": True})
    page = new_context().new_page()
    page.add_init_script(STUB)
    alice = ChatPage(page, page_url).open("alice").expect_online()
    assert page.evaluate("window.asked") == 0

    page.locator("#settings-button").click()
    page.get_by_role("switch", name="Notifications").check()
    page.keyboard.press("Escape")
    assert page.evaluate("window.asked") == 1
    backend.post(DIRECT, "bob", "in sight")
    expect(alice.badge(DIRECT)).to_have_text("2")
    look_away(page)
    backend.post(OTHER, "carol", "muted")
    backend.post(DIRECT, "bob", "<b>out of sight</b>")
    expect(alice.badge(DIRECT)).to_have_text("3")

    assert page.evaluate("window.shown") == [["Bob Okafor", "<b>out of sight</b>", DIRECT]]
    page.evaluate("window.newest.onclick()")
    expect(alice.title).to_have_text("Bob Okafor")


def test_everything_is_marked_as_read(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(OTHER, "carol", "hello")
    backend.post(DIRECT, "bob", "hi")
    alice = open_page("alice")
    expect(alice.page).to_have_title("(2) Serverless IM")

    alice.page.get_by_role("button", name="Mark all as read").click()

    expect(alice.page).to_have_title("Serverless IM")
    expect(alice.page.locator("#list .badge")).to_have_count(0)
    expect(alice.page.locator("#read-all")).to_be_hidden()


def test_privacy_is_set_here_and_elsewhere(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.page.locator("#settings-button").click()
    receipts = alice.page.get_by_role("switch", name="Read receipts")
    presence = alice.page.get_by_role("switch", name="Online status")
    expect(receipts).to_be_checked()

    receipts.uncheck()
    wait_until(alice.page, lambda: "alice" in backend.private)
    backend.act("alice", "sync.privacy", {"presence": False})
    expect(presence).not_to_be_checked()
    backend.refuse_next("sync.privacy", "forbidden")
    presence.click()
    expect(alice.toast).to_be_visible()
    expect(presence).not_to_be_checked()
    assert backend.hidden == {"alice"}


def test_the_other_ones_presence_is_shown_and_asked_for_again(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    backend.last_seen["bob"] = NOON
    alice = open_page("alice", DIRECT)
    subtitle = alice.page.locator("#thread-subtitle")
    expect(subtitle).to_have_text(re.compile(r"Last online 14 Nov 2023, 23:13"))

    alice.page.clock.install()
    alice.page.reload()
    alice.expect_online()
    asked = len(backend.requests("sync.presence", "alice"))
    open_page("bob")
    alice.page.clock.fast_forward(60_000)
    expect(subtitle).to_have_text("Online")
    assert len(backend.requests("sync.presence", "alice")) == asked + 1
