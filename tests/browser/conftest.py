"""Chromium, and the page on a backend in this process."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, expect, sync_playwright

from tests.browser.chat_page import ChatPage
from tests.browser.fake_backend import FakeBackend

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

OpenPage = Callable[..., ChatPage]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        reason = "no `chromium` on the PATH: the chat page was not tested"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=10_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend({"alice": "Alice Moreau", "bob": "Bob Okafor", "carol": "陈可欣"}) as fake:
        yield fake


@pytest.fixture
def page_url(backend: FakeBackend) -> str:
    """Where the page is served."""
    return backend.page_url


@pytest.fixture
def new_context(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser contexts: storage, and so devices, of their own. A page that throws or breaks its policy fails."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(**options: object) -> BrowserContext:
        context = chromium.new_context(**{"locale": "en-GB", "timezone_id": "Europe/Berlin", **options})  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on(
            "console",
            lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None,
        )
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        try:
            context.close()
        except Error as error:
            complaints.append(str(error))
    assert complaints == []


@pytest.fixture
def open_page(new_context: Callable[..., BrowserContext], page_url: str) -> OpenPage:
    """`open_page("alice")`: the page in a context of its own, signed in and connected."""

    def open_as(user: str, conv: str = "", **options: object) -> ChatPage:
        return ChatPage(new_context(**options).new_page(), page_url).open(user, conv).expect_online()

    return open_as
