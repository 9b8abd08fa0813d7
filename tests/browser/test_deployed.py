"""The page on the deployed stack: two people chat in two windows, and their unread counts move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from local import running_stack
from local.demo import GROUP, WELCOME, prepare_demo
from local.processes import free_port
from local.web import serving_web
from tests.browser.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

COLD_START_MS = 30_000


@pytest.fixture(scope="module")
def deployed_url() -> Iterator[str]:
    with running_stack(tell=print) as stack:
        prepare_demo(stack)
        with serving_web(free_port(), stack) as url:
            yield url


@pytest.fixture
def page_url(deployed_url: str) -> str:
    """Where the page is served; instead of the one with a backend in this process."""
    return deployed_url + "/"


def test_two_windows_chat_and_unread_counts_move(open_page: OpenPage) -> None:
    alice, bob = open_page("alice"), open_page("bob")
    expect(bob.row(GROUP)).to_be_visible(timeout=COLD_START_MS)
    bob.select(GROUP)
    expect(bob.messages.locator(".text").first).to_have_text(WELCOME, timeout=COLD_START_MS)

    alice.start_direct("bob")
    alice.send("Hello, Bob!")
    alice.expect_sent("Hello, Bob!")
    expect(bob.badge("d:alice:bob")).to_have_text("1", timeout=COLD_START_MS)
    alice.send("Are you there?")
    expect(bob.badge("d:alice:bob")).to_have_text("2", timeout=COLD_START_MS)

    bob.select("d:alice:bob")
    bob.expect_texts("Hello, Bob!", "Are you there?")
    expect(bob.badge("d:alice:bob")).to_be_hidden()
    bob.send("Yes.")
    alice.expect_texts("Hello, Bob!", "Are you there?", "Yes.")

    again = open_page("bob")
    expect(again.row("d:alice:bob")).to_be_visible()
    expect(again.badge("d:alice:bob")).to_be_hidden()
    expect(bob.banner).to_be_visible()


def test_a_red_packet_is_sent_opened_and_paid(open_page: OpenPage) -> None:
    carol, dave = open_page("carol"), open_page("dave")
    expect(dave.row(GROUP)).to_be_visible(timeout=COLD_START_MS)
    dave.select(GROUP)
    carol.select(GROUP)

    carol.new_packet("10.00", count="2", greeting="For everybody")
    expect(dave.card("For everybody")).to_be_visible(timeout=COLD_START_MS)
    dave.open_packet("For everybody")
    expect(dave.claims).to_have_count(1)
    share = dave.claims.locator(".packet-claim-amount").inner_text()
    dave.page.keyboard.press("Escape")
    # The one who has sent it is told by a push, and may open the other share.
    expect(carol.card("For everybody").locator(".packet-status")).to_contain_text("1", timeout=COLD_START_MS)
    carol.open_packet("For everybody")
    expect(carol.claims).to_have_count(2)
    both = carol.claims.locator(".packet-claim-amount").all_inner_texts()
    assert sum(int(text.replace(".", "")) for text in both) == 1000
    assert share in both
