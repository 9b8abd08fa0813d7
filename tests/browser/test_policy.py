"""Nothing that anybody writes becomes anything but text, and the page's policy would stop it if it did."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, expect

from local.web import CONTENT_SECURITY_POLICY as LOCAL_POLICY
from tests.browser.chat_page import ChatPage
from tests.browser.fake_backend import CONTENT_SECURITY_POLICY, WEB_ROOT, FakeBackend

pytestmark = pytest.mark.browser

VECTORS = (Path(__file__).parents[1] / "data" / "xss.txt").read_text().splitlines()
GROUP = "g:hostile"
TAGS = set(
    """
    html head meta title link script body noscript main div section img h1 h2 h3 p details summary form label span
    input textarea button aside header strong svg path ul li footer dialog fieldset legend output small time rect
    circle mark
    """.split()  # noqa: SIM905 - it is read as prose
)
WATCH = """
    window.__violations = [];
    document.addEventListener("securitypolicyviolation", event => __violations.push(event.violatedDirective));
"""
LOOK = """() => {
    const all = [...document.querySelectorAll("*")];
    return {
        xss: window.__xss ?? null,
        violations: window.__violations,
        tags: [...new Set(all.map(node => node.localName))],
        handlers: all.flatMap(node =>
            [...node.attributes].map(({ name }) => name).filter(name => name.startsWith("on"))),
        addresses: all.flatMap(node => ["href", "src", "action", "formaction", "xlink:href", "srcdoc"]
            .map(name => node.getAttribute(name)).filter(value => value !== null)),
    };
}"""


def expect_text_only(page: ChatPage) -> None:
    seen = page.page.evaluate(LOOK)
    assert seen["xss"] is None
    assert seen["violations"] == []
    assert set(seen["tags"]) <= TAGS
    assert seen["handlers"] == []
    assert set(seen["addresses"]) == {"favicon.svg", "style.css", "red-packets.css", "main.js"}


def hostile_page(new_context: Callable[..., BrowserContext], backend: FakeBackend) -> tuple[ChatPage, list[str]]:
    """A page that nobody is signed in to yet, and the dialogs that it opens."""
    dialogs: list[str] = []
    page = new_context().new_page()

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.add_init_script(WATCH)
    return ChatPage(page, backend.page_url), dialogs


def test_there_are_enough_vectors() -> None:
    assert len(set(VECTORS)) == len(VECTORS) >= 40


def test_whatever_is_written_is_shown_as_text(new_context: Callable[..., BrowserContext], backend: FakeBackend) -> None:
    backend.config["users"] += [{"id": f"u{at}", "name": text, "token": "none"} for at, text in enumerate(VECTORS)]
    backend.group(GROUP, "All of them", ["bob", "alice", *(f"u{at}" for at in range(len(VECTORS)))])
    for at, text in enumerate(VECTORS):
        backend.group(f"g:{at}", text, ["bob", "alice"])
        backend.post(f"g:{at}", "bob", text)
        backend.act("alice", "sync.settings", {"conv": f"g:{at}", "draft": text})
        user = f"u{at}"
        said = backend.post(GROUP, user, text)
        backend.post(GROUP, user, {"target": said, "emoji": text, "on": True}, kind="reaction")
        backend.post(GROUP, user, {"target": said, "on": True}, kind="pin")
        backend.post(GROUP, user, {"name": text, "url": text, "title": text}, kind="file", reply_to=said)
        backend.post(GROUP, user, {"name": text, "payload": {text: text}}, kind=text)
        backend.post(GROUP, user, {"type": text, "payload": text, "text": text}, kind="custom")
        backend.post(
            GROUP,
            user,
            {"title": text, "messages": [{"from": text, "kind": text, "body": {"text": text}}]},
            kind="merged",
        )
        backend.post(
            GROUP, user, {"packet": f"p{at}", "kind": "direct", "greeting": text, "to": text}, kind="redpacket"
        )
        backend.post(GROUP, user, {"added": [text], "removed": [], "by": text, "group": {"name": text}}, kind="members")
        backend.post(GROUP, user, {"name": "All of them", "notice": text, "avatar": text}, kind="profile")
    page, dialogs = hostile_page(new_context, backend)

    page.open()
    expect(page.page.locator(".user-card")).to_have_count(len(VECTORS) + 3)
    expect_text_only(page)
    page.open("alice", GROUP).expect_online()
    expect(page.page.locator("#list .row-title", has_text="All of them")).to_have_count(1)
    expect(page.rows).to_have_count(len(VECTORS) + 1)
    expect_text_only(page)

    for _ in range(20):
        page.scroll_to_top()
        page.page.wait_for_function("() => !document.querySelector('#thread-top .spinner')")
    texts = page.read_through(".text")
    assert [text for text in texts if text in VECTORS] != []
    assert set(VECTORS) <= set(texts)
    assert set(VECTORS) <= set(page.read_through(".packet-greeting"))
    expect_text_only(page)

    for text in VECTORS:
        page.send(text)
        expect(page.page.locator("#messages .message-sent .text").last).to_have_text(
            re.compile(re.escape(text.strip()[:20]))
        )
    expect_text_only(page)
    for at in (0, 5, 12, 40):
        page.select(f"g:{at}")
        expect(page.composer).to_have_value(VECTORS[at])
        expect(page.title).to_have_text(VECTORS[at])
    page.page.get_by_role("button", name="New conversation").first.click()
    expect(page.page.locator("#direct-people .chip")).to_have_count(len(VECTORS) + 2)
    expect_text_only(page)
    assert dialogs == []


def test_the_policy_is_the_same_wherever_it_stands(open_page: Callable[..., ChatPage]) -> None:
    meta = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', (WEB_ROOT / "index.html").read_text())
    assert meta is not None
    assert LOCAL_POLICY == CONTENT_SECURITY_POLICY == f"{meta[1]}; frame-ancestors 'none'"


def test_the_policy_refuses_what_a_slip_would_let_in(chromium: Browser, backend: FakeBackend) -> None:
    context = chromium.new_context()  # one whose breaches of the policy are no failure
    page = context.new_page()
    ChatPage(page, backend.page_url).open("alice").expect_online()

    refused = page.evaluate(
        """async () => {
            const tries = {
                html: () => { document.body.innerHTML = "<b>x</b>"; },
                eval: () => globalThis.eval("1"),
                script: () => { document.createElement("script").text = "window.__xss = 1"; },
            };
            const refused = [];
            // In a turn of its own: what the test itself does is exempt.
            for (const [name, attempt] of Object.entries(tries)) {
                await new Promise(resolve => setTimeout(() => {
                    try { attempt(); } catch { refused.push(name); }
                    resolve();
                }));
            }
            try { await fetch("https://example.com/"); } catch { refused.push("fetch"); }
            return refused;
        }"""
    )

    assert refused == ["html", "eval", "script", "fetch"]
    assert page.evaluate("() => window.__xss ?? null") is None
    context.close()
