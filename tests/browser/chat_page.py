"""The chat page as its reader sees it: what the tests do with it and look for, whatever backend is behind."""

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

READ_THROUGH = """async what => {
    const scroller = document.getElementById("scroller");
    const seen = new Map();
    const frame = () => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    scroller.scrollTop = 0;
    await frame();
    for (let last = -1; last !== scroller.scrollTop;) {
        for (const node of document.querySelectorAll("#messages > :not(.gap)")) {
            const found = node.matches(what) ? node : node.querySelector(what);
            if (found) seen.set(node.dataset.key, found.textContent);
        }
        last = scroller.scrollTop;
        scroller.scrollTop += scroller.clientHeight;
        await frame();
    }
    return [...seen.values()];
}"""


class ChatPage:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.rows = page.locator("#list .row")
        self.messages = page.locator("#messages .message")
        self.composer = page.locator("#composer-text")
        self.banner = page.locator("#banner")
        self.title = page.locator("#thread-title")
        self.menu = page.get_by_role("menu")
        self.notices = page.locator("#messages .notice")
        self.toast = page.locator("#toast")
        self.packet = page.locator("#packet-dialog")
        self.packet_form = page.locator("#packet-form-dialog")
        self.wallet = page.locator("#wallet-dialog")

    def open(self, user: str | None = None, conv: str = "") -> "ChatPage":
        """Loads the page, signed in at once if a user is given, and in a conversation if one is given."""
        query = f"?user={user}" if user else ""
        self.page.goto(f"{self.url}{query}{'#' + conv if conv else ''}")
        return self

    def expect_online(self, *, timeout_ms: float = 15_000) -> "ChatPage":
        expect(self.page.locator("#status-dot")).to_have_class(re.compile("dot-on"), timeout=timeout_ms)
        expect(self.page.locator("#list-loading")).to_be_hidden()
        return self

    def row(self, conv: str) -> Locator:
        return self.page.locator(f'#list .row[data-conv="{conv}"]')

    def badge(self, conv: str) -> Locator:
        return self.row(conv).locator(".badge [aria-hidden]")

    def select(self, conv: str) -> None:
        self.row(conv).click()
        expect(self.row(conv)).to_have_attribute("aria-current", "true")

    def start_direct(self, user: str) -> None:
        self.page.locator("#new-button").click()
        self.page.locator("#direct-user").fill(user)
        self.page.locator("#direct-user").press("Enter")
        expect(self.page.locator("#new-dialog")).to_be_hidden()

    def send(self, text: str) -> None:
        self.composer.fill(text)
        self.composer.press("Enter")
        expect(self.composer).to_have_value("")

    def message(self, text: str) -> Locator:
        return self.messages.filter(has=self.page.locator(".text", has_text=re.compile(f"^{re.escape(text)}$")))

    def choices_of(self, text: str) -> Locator:
        """Opens the menu of a message; its choices, the emoji apart."""
        self.message(text).hover()
        self.message(text).get_by_role("button", name="Message actions").click()
        return self.menu.get_by_role("menuitem")

    def choose(self, text: str, choice: str) -> None:
        """Does something with a message by its menu: the name of a choice, or an emoji."""
        self.choices_of(text)
        if choice.isascii():
            self.menu.get_by_role("menuitem", name=choice, exact=True).click()
        else:
            self.menu.get_by_role("menuitemcheckbox", name=f"React with {choice}").click()
        expect(self.menu).to_be_hidden()

    def choose_for(self, conv: str, choice: str) -> None:
        """Does something with a conversation by its menu in the list."""
        self.row(conv).click(button="right")
        self.menu.get_by_role("menuitem", name=choice, exact=True).click()

    def reactions(self, text: str) -> Locator:
        return self.message(text).locator(".reaction")

    def quote(self, text: str) -> Locator:
        """What a message answers, as it is shown above its text."""
        return self.message(text).locator(".quote")

    def card(self, greeting: str) -> Locator:
        """The button of a red packet's message."""
        return self.messages.locator(".packet-card-main", has_text=greeting)

    def expect_status(self, greeting: str, status: str | re.Pattern[str], *, done: bool) -> None:
        """What the message says has become of its red packet, and whether it is dimmed."""
        expect(self.card(greeting).locator(".packet-status")).to_have_text(status)
        dimmed = self.messages.locator(".packet-card-done", has_text=greeting)
        expect(dimmed).to_have_count(1 if done else 0)

    def new_packet(self, amount: str, *, count: str = "", greeting: str = "", kind: str = "") -> None:
        """Fills in the dialog of a new red packet, and sends it."""
        self.page.get_by_role("button", name="Send a red packet").click()
        if kind:
            self.packet_form.get_by_role("radio", name=kind).check()
        self.packet_form.get_by_label(re.compile("mount")).fill(amount)
        if count:
            self.packet_form.get_by_label("Number of packets").fill(count)
        self.packet_form.get_by_label("Greeting").fill(greeting)
        self.packet_form.get_by_role("button", name="Send red packet").click()

    def open_packet(self, greeting: str) -> None:
        """Opens a red packet, to the end of what moves."""
        self.card(greeting).click()
        self.packet.get_by_role("button", name="Open", exact=True).click()
        expect(self.packet.locator(".packet-amount")).to_be_visible()
        expect(self.packet.locator(".packet-cover")).to_have_count(0)

    @property
    def claims(self) -> Locator:
        """Who has claimed a share of the red packet that is shown."""
        return self.packet.locator(".packet-claim")

    def preview(self, conv: str) -> Locator:
        return self.row(conv).locator(".row-preview")

    def expect_sent(self, text: str) -> None:
        """The message is there once, and the server has it."""
        expect(self.message(text)).to_have_count(1)
        expect(self.message(text)).to_have_class(re.compile("message-sent"))

    def scroll_to_top(self) -> None:
        """To the beginning of what is loaded; more may be loaded then."""
        self.page.locator("#scroller").evaluate("node => node.scrollTo(0, 0)")

    def read_through(self, what: str = ".text") -> list[str]:
        """The texts of all that is loaded, from its beginning to its end: not all of it is in the document at once."""
        seen: list[str] = self.page.evaluate(READ_THROUGH, what)
        return seen

    def expect_texts(self, *texts: str) -> None:
        """The messages shown are these, in this order."""
        expect(self.messages.locator(".text")).to_have_text(list(texts))


def wait_until(page: Page, condition: Callable[[], bool], timeout_ms: int = 10_000) -> None:
    """Waits for something that the page does not show, while the page goes on."""
    waited = 0
    while not condition():
        assert waited < timeout_ms, "it did not happen in time"
        page.wait_for_timeout(50)
        waited += 50
