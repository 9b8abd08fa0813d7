"""The page with a keyboard and for a screen reader: what axe-core finds, and where the focus goes."""

from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.fake_red_packets import RedPacketBackend

pytestmark = pytest.mark.browser

DIRECT = "d:alice:bob"
TEAM = "g:team"
SERIOUS = {"serious", "critical"}
RUN = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
    .flatMap(({ id, impact, nodes }) =>
        nodes.map(({ target, failureSummary }) => [impact, id, target.join(" "), failureSummary]))"""


@pytest.fixture(scope="session")
def axe() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


@pytest.fixture
def backend() -> Iterator[RedPacketBackend]:
    """A team with a bit of everything in its conversation."""
    names = {"alice": "Alice Moreau", "bob": "Bob Okafor", "carol": "Carol Chen"}
    with RedPacketBackend(names) as fake:
        fake.group(TEAM, "Team", list(names))
        first = fake.post(TEAM, "bob", "Shall we meet at noon?", ts=1_700_000_000_000)
        fake.post(TEAM, "alice", "Yes, at the old mill.", reply_to=first)
        fake.post(TEAM, "bob", {"target": first, "emoji": "👍", "on": True}, kind="reaction")
        fake.post(TEAM, "bob", {"target": first, "on": True}, kind="pin")
        fake.post(TEAM, "bob", {"added": ["dave"], "removed": [], "by": "bob"}, kind="members")
        fake.post(TEAM, "carol", {"title": "From the other group", "messages": []}, kind="merged")
        fake.post(TEAM, "carol", {"name": "map.pdf"}, kind="file", forwarded={"from": "bob", "ts": 1})
        fake.act("carol", "redpacket.create", {
            "conv": TEAM, "cmid": "c1", "kind": "equal", "total": 300, "count": 3, "greeting": "Good luck",
        })  # fmt: skip
        fake.post(DIRECT, "bob", "hi", ts=1_700_000_000_000)
        yield fake


def findings(page: Page, axe: str) -> list[Any]:
    """What axe-core finds that is serious or worse."""
    page.evaluate(axe)
    page.wait_for_timeout(250)  # to the end of transitions: colours in between have other contrasts
    return [found for found in page.evaluate(RUN) if found[0] in SERIOUS]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(
    new_context: Callable[..., BrowserContext],
    backend: RedPacketBackend,
    page_url: str,
    axe: str,
    scheme: str,
    width: int,
) -> None:
    context = new_context(color_scheme=scheme, viewport={"width": width, "height": 844}, reduced_motion="reduce")
    page = ChatPage(context.new_page(), page_url)
    found: dict[str, list[Any]] = {}

    def look(where: str) -> None:
        found[where] = findings(page.page, axe)

    page.open()
    expect(page.page.locator(".user-card")).to_have_count(3)
    look("sign-in")
    page.open("alice").expect_online()
    expect(page.rows).to_have_count(2)
    look("list")
    page.select(TEAM) if width > 720 else page.row(TEAM).click()
    expect(page.card("Good luck")).to_be_visible()
    page.send("a message of mine")
    page.expect_sent("a message of mine")
    backend.refuse_next("message.send", "muted")
    page.send("refused")
    expect(page.page.locator(".message-failed")).to_have_count(1)
    look("conversation")
    page.page.keyboard.press("Control+f")
    page.page.locator("#find-text").fill("at")
    expect(page.page.locator("mark").first).to_be_visible()
    look("find")
    page.page.keyboard.press("Escape")
    page.choose("a message of mine", "Select")
    look("select")
    page.page.locator("#select-forward").click()
    look("forward")
    page.page.keyboard.press("Escape")
    page.page.locator("#select-cancel").click()
    page.page.locator("#thread-more").click()
    page.menu.get_by_role("menuitem", name="Pinned messages").click()
    expect(page.page.locator("#pins-body .choice")).to_have_count(1)
    look("pins")
    page.page.keyboard.press("Escape")
    page.choices_of("a message of mine")
    look("menu")
    page.page.keyboard.press("Escape")
    page.choose("a message of mine", "Read by")
    expect(page.page.locator("#receipts-body")).to_contain_text("Delivered to")
    look("receipts")
    page.page.keyboard.press("Escape")
    page.page.locator("#info-button").click()
    expect(page.page.locator("#info-body .member").first).to_be_visible()
    look("group info")
    page.page.keyboard.press("Escape")
    page.page.locator("#composer-packet").click()
    look("new red packet")
    page.page.keyboard.press("Escape")
    page.card("Good luck").click()
    look("red packet")
    page.page.keyboard.press("Escape")
    if width <= 720:
        page.page.locator("#back").click()
    page.page.locator("#wallet-button").click()
    look("wallet")
    page.page.keyboard.press("Escape")
    page.page.locator("#settings-button").click()
    look("settings")
    page.page.keyboard.press("Escape")
    page.page.locator("#new-button").click()
    look("new conversation")
    page.page.get_by_role("tab", name="Group").click()
    look("new group")

    serious = [f"{where}: {each[2]}: {each[3]}" for where, every in found.items() for each in every]
    assert serious == [], "\n".join(serious)


def test_the_focus_walks_in_the_order_of_reading(new_context: Callable[..., BrowserContext], page_url: str) -> None:
    page = ChatPage(new_context().new_page(), page_url).open("alice", TEAM).expect_online()
    expect(page.card("Good luck")).to_be_visible()
    page.page.locator("#me-name").click()
    where = "() => document.activeElement.id || document.activeElement.className"
    walked = []
    for _ in range(40):
        page.page.keyboard.press("Tab")
        walked.append(page.page.evaluate(where))
        assert page.page.evaluate("() => document.activeElement.matches(':focus-visible')"), walked[-1]
        if walked[-1] == "composer-packet":
            break

    landmarks = ["wallet-button", "settings-button", "new-button", "find-button", "thread-more", "info-button"]
    landmarks += ["scroller", "composer-text", "composer-packet"]
    assert [each for each in walked if each in landmarks] == landmarks


@pytest.mark.parametrize(
    "opener", ["#new-button", "#wallet-button", "#settings-button", "#info-button", "#composer-packet"]
)
def test_escape_closes_a_dialog_and_gives_the_focus_back(
    new_context: Callable[..., BrowserContext], page_url: str, opener: str
) -> None:
    page = ChatPage(new_context().new_page(), page_url).open("alice", TEAM).expect_online()
    button = page.page.locator(opener)
    button.focus()
    page.page.keyboard.press("Enter")
    expect(page.page.locator("dialog[open]")).to_have_count(1)
    assert page.page.evaluate("() => document.querySelector('dialog[open]').contains(document.activeElement)")

    page.page.keyboard.press("Escape")

    expect(page.page.locator("dialog[open]")).to_have_count(0)
    expect(button).to_be_focused()
