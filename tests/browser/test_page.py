"""The chat page keeps what the protocol asks of a client, in a real browser."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_backend import FakeBackend, make_token

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
DIRECT = "d:alice:bob"
GROUP = "g:demo"
BACKOFF_TIMEOUT = 40_000  # no pause between two attempts to connect is longer than 30 s

HOSTILE = [
    "<img src=x onerror=\"document.title='pwned'\">",
    "<script>document.title='pwned'</script>",
    "<svg/onload=document.title='pwned'>",
    '"><iframe srcdoc="<script>parent.document.title=\'pwned\'</script>">',
    "javascript:document.title='pwned'",
    "{{constructor.constructor('document.title=1')()}}",
]


def hide(page: Page) -> None:
    """Makes the page believe that nobody looks at it."""
    page.evaluate(
        """() => {
            Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


def reveal(page: Page) -> None:
    page.evaluate(
        """() => {
            delete document.visibilityState;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


# --- chatting ---------------------------------------------------------------------------------------------------------


def test_two_people_chat(open_page: OpenPage) -> None:
    alice, bob = open_page("alice"), open_page("bob")

    alice.start_direct("bob")
    expect(alice.title).to_have_text("Bob Okafor")
    alice.send("hello Bob")
    alice.send("first line\nsecond line")
    alice.expect_sent("hello Bob")

    bob.select(DIRECT)
    bob.expect_texts("hello Bob", "first line\nsecond line")
    expect(bob.messages.first.locator(".sender")).to_have_text("Alice Moreau")
    bob.send("hello Alice")

    alice.expect_texts("hello Bob", "first line\nsecond line", "hello Alice")
    expect(alice.messages.last).to_have_class(re.compile("message-other"))
    expect(alice.messages.first).to_have_class(re.compile("message-own"))


def test_messages_of_one_conversation_are_sent_one_at_a_time(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")
    backend.refuse_next("message.send", "unavailable", retryable=True)

    texts = [f"message {number}" for number in range(1, 9)]
    for text in texts:
        alice.send(text)

    expect(alice.page.locator(".message-sent")).to_have_count(len(texts))
    assert backend.texts(DIRECT) == texts
    alice.expect_texts(*texts)


def test_shift_enter_makes_a_new_line_and_blank_text_is_not_sent(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")

    alice.composer.fill("   ")
    alice.composer.press("Enter")
    expect(alice.page.locator("#composer-send")).to_be_disabled()
    alice.composer.fill("one")
    alice.composer.press("Shift+Enter")
    alice.composer.press_sequentially("two")
    alice.composer.press("Enter")

    alice.expect_sent("one\ntwo")
    assert backend.texts(DIRECT) == ["one\ntwo"]


def test_a_text_over_16_kib_is_refused_before_it_is_sent(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")

    alice.composer.fill("消" * 5462)  # three bytes each: 16,386 bytes
    alice.composer.press("Enter")

    expect(alice.page.locator("#composer-error")).to_contain_text("too long")
    assert backend.requests("message.send") == []
    alice.composer.fill("消" * 5461)
    expect(alice.page.locator("#composer-error")).to_be_hidden()
    alice.composer.press("Enter")
    expect(alice.page.locator(".message-sent")).to_have_count(1)


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_messages_and_names_is_shown_as_text(open_page: OpenPage, backend: FakeBackend, text: str) -> None:
    backend.group(GROUP, text, ["alice", "bob"])
    backend.post(
        GROUP, "bob", {"added": [text], "removed": [text], "by": text, "group": {"name": text}}, kind="members"
    )
    backend.post(GROUP, "bob", {"by": text, "roles": {text: "admin"}, "muted": {text: 1}}, kind="members")
    backend.post(GROUP, "bob", {"name": text, "notice": text, "avatar": text, "join_mode": text}, kind="profile")
    backend.post(GROUP, "bob", {text: text}, kind=text)
    backend.post(GROUP, "bob", text)
    alice = open_page("alice")

    expect(alice.row(GROUP).locator(".row-preview")).to_have_text(f"Bob Okafor: {text}")
    alice.select(GROUP)

    expect(alice.messages.locator(".text")).to_have_text([text])
    expect(alice.page.locator(".notice")).to_contain_text([text] * 4)
    expect(alice.title).to_have_text(text)
    alice.send(text)
    expect(alice.messages.locator(".text")).to_have_text([text, text])
    expect(alice.page.locator("#app :is(img, script, iframe, a)")).to_have_count(0)
    expect(alice.page).to_have_title("Serverless IM")


def test_a_group_is_created_and_shows_its_members(open_page: OpenPage) -> None:
    alice, bob = open_page("alice"), open_page("bob")

    alice.page.locator("#new-button").click()
    alice.page.get_by_role("tab", name="Group").click()
    alice.page.get_by_label("Group name").fill("Climbing on Thursday")
    alice.page.locator("#group-people .chip", has_text="Bob").click()
    alice.page.get_by_role("button", name="Create group").click()

    expect(alice.title).to_have_text("Climbing on Thursday")
    expect(alice.page.locator("#thread-subtitle")).to_have_text("Group · 2 members")
    expect(alice.page.locator(".notice")).to_have_text(
        "You created the group “Climbing on Thursday” · You added Bob Okafor"
    )
    expect(bob.rows.locator(".row-title")).to_have_text(["Climbing on Thursday"])
    alice.page.locator("#info-button").click()
    expect(alice.page.locator(".member")).to_have_text(
        [re.compile(r"Alice Moreau \(you\).*Owner"), re.compile("Bob Okafor")]
    )


def test_unknown_kinds_pushes_and_fields_are_passed_over(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    backend.post(GROUP, "bob", "before")
    alice = open_page("alice", GROUP)

    backend.push("alice", {"push": "hologram", "data": {"x": 1}})
    backend.push("alice", {"push": "request", "data": {"conv": GROUP, "user": "dave", "state": "requested"}})
    backend.push("alice", {"push": "entries", "data": None})
    backend.push("alice", {"neither": "reply nor push"})
    backend.post(GROUP, "bob", {"question": "?"}, kind="poll")
    backend.post(GROUP, "bob", {"target": 1, "emoji": "👍", "on": True}, kind="reaction")
    backend.post(GROUP, "bob", {}, kind="void")
    backend.post(GROUP, "bob", {"name": "Renamed"}, kind="profile")
    backend.post(GROUP, "bob", {"url": "x", "name": "notes.pdf"}, kind="file")
    backend.post(GROUP, "bob", "after")

    alice.expect_texts("before", "File · notes.pdf", "after")
    expect(alice.page.locator(".notice")).to_have_text(
        ["Something this page cannot show (poll)", "Bob Okafor changed the name to “Renamed”"]
    )
    expect(alice.title).to_have_text("Renamed")


def test_edits_and_recalls_change_the_message_they_name(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    edited, recalled = backend.post(GROUP, "bob", "helo"), backend.post(GROUP, "bob", "oops")
    alice = open_page("alice", GROUP)
    alice.expect_texts("helo", "oops")

    backend.post(GROUP, "bob", {"target": edited, "body": {"text": "hello"}}, kind="edit")
    backend.post(GROUP, "bob", {"target": recalled}, kind="recall")

    alice.expect_texts("hello")
    expect(alice.messages.first.locator(".meta")).to_contain_text("edited")
    expect(alice.page.locator(".notice")).to_have_text("Bob Okafor recalled a message")


# --- unread -----------------------------------------------------------------------------------------------------------


def test_the_unread_badge_counts_and_clears(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    backend.post(GROUP, "alice", "seen")
    backend.post(DIRECT, "alice", "one")
    bob = open_page("bob")
    expect(bob.badge(DIRECT)).to_have_text("1")
    expect(bob.rows.first).to_have_attribute("data-conv", DIRECT)

    backend.post(DIRECT, "alice", "two")
    backend.post(DIRECT, "alice", {"target": 1, "emoji": "👍", "on": True}, kind="reaction")
    expect(bob.badge(DIRECT)).to_have_text("2")
    expect(bob.page).to_have_title("(3) Serverless IM")
    backend.post(GROUP, "alice", "three")
    expect(bob.badge(GROUP)).to_have_text("2")
    expect(bob.rows.first).to_have_attribute("data-conv", GROUP)

    bob.select(DIRECT)
    expect(bob.badge(DIRECT)).to_have_count(0)
    expect(bob.page.locator(".new-line")).to_have_text("New messages")
    expect(bob.page).to_have_title("(2) Serverless IM")
    bob.select(GROUP)
    expect(bob.page).to_have_title("Serverless IM")


def test_nothing_is_read_while_nobody_looks(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "alice", "one")
    bob = open_page("bob", DIRECT)
    expect(bob.page).to_have_title("Serverless IM")

    hide(bob.page)
    backend.post(DIRECT, "alice", "two")
    expect(bob.page).to_have_title("(1) Serverless IM")
    assert {frame.data["seq"] for frame in backend.requests("sync.read", "bob")} == {1}

    reveal(bob.page)
    expect(bob.page).to_have_title("Serverless IM")
    expect(bob.badge(DIRECT)).to_have_count(0)
    wait_until(bob.page, lambda: backend.requests("sync.read", "bob")[-1].data["seq"] == 2)


def test_reading_elsewhere_clears_the_badge_here(open_page: OpenPage, backend: FakeBackend) -> None:
    for text in ("one", "two", "three"):
        backend.post(DIRECT, "alice", text)
    bob = open_page("bob")
    expect(bob.badge(DIRECT)).to_have_text("3")

    backend.read_elsewhere(DIRECT, "bob", 2)
    expect(bob.badge(DIRECT)).to_have_text("1")
    backend.read_elsewhere(DIRECT, "bob", 3)
    expect(bob.badge(DIRECT)).to_have_count(0)


def test_what_arrives_is_acknowledged(open_page: OpenPage, backend: FakeBackend) -> None:
    bob = open_page("bob")
    for text in ("one", "two", "three"):
        backend.post(DIRECT, "alice", text)

    wait_until(
        bob.page, lambda: any(f.data["acks"] == [{"conv": DIRECT, "seq": 3}] for f in backend.requests("sync.ack"))
    )


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_hole_is_filled(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "alice", "one")
    bob = open_page("bob", DIRECT)
    bob.expect_texts("one")

    backend.drop_next_push("bob")
    backend.post(DIRECT, "alice", "two")
    backend.drop_next_push("bob")
    backend.post(DIRECT, "alice", "three")
    backend.post(DIRECT, "alice", "four")

    bob.expect_texts("one", "two", "three", "four")
    fills = [frame.data for frame in backend.requests("sync.entries", "bob") if "after" in frame.data]
    assert fills == [{"conv": DIRECT, "after": 1, "limit": 100}]


def test_a_push_that_comes_twice_is_shown_and_counted_once(open_page: OpenPage, backend: FakeBackend) -> None:
    bob = open_page("bob")
    backend.duplicate_next_push("bob")
    backend.post(DIRECT, "alice", "one")
    backend.post(DIRECT, "alice", "two")

    expect(bob.badge(DIRECT)).to_have_text("2")
    bob.select(DIRECT)
    bob.expect_texts("one", "two")


def test_a_lost_reply_is_asked_for_again_under_the_same_cmid(open_page: OpenPage, backend: FakeBackend) -> None:
    alice, bob = open_page("alice"), open_page("bob")
    alice.start_direct("bob")
    alice.page.clock.install()
    backend.drop_next_reply("message.send")

    alice.send("only once")
    expect(alice.message("only once")).to_have_class(re.compile("message-sending"))
    wait_until(alice.page, lambda: len(backend.requests("message.send")) == 1)
    alice.page.clock.fast_forward(5_000)  # the client sends again
    expect(alice.message("only once")).to_have_class(re.compile("message-sent"))

    sends = backend.requests("message.send", "alice")
    assert len(sends) == 2
    assert sends[0].data == sends[1].data
    assert backend.texts(DIRECT) == ["only once"]
    alice.expect_texts("only once")
    bob.select(DIRECT)
    bob.expect_texts("only once")


def test_a_message_written_while_disconnected_is_sent_afterwards(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "before")
    alice = open_page("alice", DIRECT)
    alice.expect_texts("before")

    backend.refuse_upgrades(refuse=True)
    backend.disconnect("alice")
    expect(alice.banner).to_contain_text(re.compile("Reconnecting|Cannot connect"))
    alice.send("while away")
    backend.post(DIRECT, "bob", "meanwhile")
    expect(alice.message("while away")).to_have_class(re.compile("message-sending"))
    backend.refuse_upgrades(refuse=False)

    alice.expect_online(timeout_ms=BACKOFF_TIMEOUT)
    alice.expect_sent("while away")
    alice.expect_texts("before", "meanwhile", "while away")
    expect(alice.banner).to_be_hidden()
    assert backend.requests("sync.inbox", "alice")[-1].data["since"]


def test_a_message_survives_a_reload(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")
    backend.drop_next_reply("message.send")
    alice.send("kept")
    expect(alice.message("kept")).to_have_class(re.compile("message-sending"))
    wait_until(alice.page, lambda: len(backend.requests("message.send")) == 1)

    alice.page.reload()

    alice.expect_sent("kept")
    alice.expect_texts("kept")
    assert len({frame.data["cmid"] for frame in backend.requests("message.send")}) == 1
    assert backend.texts(DIRECT) == ["kept"]


def test_a_refused_message_says_why_and_can_be_tried_again(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")
    backend.refuse_next("message.send", "muted")

    alice.send("let me speak")
    failed = alice.message("let me speak")
    expect(failed).to_have_class(re.compile("message-failed"))
    expect(failed.get_by_role("alert")).to_contain_text("You are muted in this conversation.")
    failed.get_by_role("button", name="Try again").click()

    alice.expect_sent("let me speak")
    first, second = backend.requests("message.send")
    assert first.data["cmid"] == second.data["cmid"]


def test_offline_is_said(open_page: OpenPage) -> None:
    alice = open_page("alice")
    alice.page.context.set_offline(offline=True)
    expect(alice.banner).to_contain_text("You are offline")
    alice.page.context.set_offline(offline=False)
    expect(alice.banner).to_be_hidden()


# --- who is signed in -------------------------------------------------------------------------------------------------


def test_the_older_page_is_kicked_and_stays_quiet(open_page: OpenPage, backend: FakeBackend) -> None:
    older = open_page("alice")
    newer = open_page("alice")

    expect(older.banner).to_contain_text("You are signed in elsewhere")
    newer.start_direct("bob")
    newer.send("still here")
    newer.expect_sent("still here")
    # Long enough for a reconnect loop to show: the first attempt of the backoff comes within half a second.
    older.page.wait_for_function(
        "start => performance.now() - start > 2000", arg=older.page.evaluate("performance.now()")
    )
    assert backend.upgrades == ["alice", "alice"]
    expect(newer.banner).to_be_hidden()

    older.banner.get_by_role("button", name="Use here").click()
    older.expect_online()
    expect(older.banner).to_be_hidden()
    expect(newer.banner).to_contain_text("You are signed in elsewhere")
    older.select(DIRECT)
    older.expect_texts("still here")
    assert backend.connections("alice") == 1


def test_a_device_id_belongs_to_a_tab_and_a_user(open_page: OpenPage) -> None:
    alice, other = open_page("alice"), open_page("bob")
    key = "() => Object.entries(sessionStorage).filter(([name]) => name.startsWith('im.device.'))"
    ((name, device),) = alice.page.evaluate(key)

    alice.page.reload()
    alice.expect_online()

    assert name == "im.device.alice"
    assert alice.page.evaluate(key) == [[name, device]]
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", device)
    assert other.page.evaluate(key)[0][1] != device


def test_a_user_is_chosen_from_cards_and_signs_out(
    new_context: Callable[..., BrowserContext], page_url: str, backend: FakeBackend
) -> None:
    page = ChatPage(new_context().new_page(), page_url).open()
    page.page.get_by_role("button", name="Bob Okafor").click()
    page.expect_online()
    expect(page.page.locator("#me-name")).to_have_text("Bob Okafor")
    expect(page.page).to_have_url(re.compile(r"\?user=bob"))
    expect(page.page.locator("#list-empty")).to_be_visible()

    page.page.get_by_role("button", name="Sign out").click()
    expect(page.page.get_by_role("button", name="Alice Moreau")).to_be_visible()
    wait_until(page.page, lambda: backend.connections("bob") == 0)


def test_without_configured_users_an_address_and_a_token_sign_in(
    new_context: Callable[..., BrowserContext], page_url: str, backend: FakeBackend
) -> None:
    websocket = backend.config["websocket"]
    backend.config = {}
    page = ChatPage(new_context().new_page(), page_url).open()

    page.page.get_by_label("WebSocket URL").fill("https://example.com")
    page.page.get_by_label("Token").fill("nonsense")
    page.page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.page.get_by_role("alert")).to_have_text("Enter a ws:// or wss:// address.")
    page.page.get_by_label("WebSocket URL").fill(websocket)
    page.page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.page.get_by_role("alert")).to_have_text("This is not a token with a user id in it.")
    page.page.get_by_label("Token").fill(make_token("carol"))
    page.page.get_by_role("button", name="Sign in", exact=True).click()

    page.expect_online()
    expect(page.page.locator("#me-name")).to_have_text("carol")
    expect(page.page).not_to_have_url(re.compile("token"))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_history_is_read_page_by_page_and_grouped_by_day(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(GROUP, "Demo group", ["alice", "bob"])
    day = 86_400_000
    for number in range(120):
        backend.post(GROUP, "bob", f"message {number}", ts=1_700_000_000_000 + (number // 60) * day)
    alice = open_page("alice")
    alice.select(GROUP)
    expect(alice.message("message 119")).to_be_in_viewport()
    expect(alice.message("message 0")).to_have_count(0)

    alice.scroll_to_top()
    expect(alice.message("message 70")).to_be_in_viewport()
    wait_until(alice.page, lambda: len(backend.requests("sync.entries", "alice")) == 2)
    for _ in range(2):
        expect(alice.page.locator("#thread-top .spinner")).to_have_count(0)
        alice.scroll_to_top()
    expect(alice.page.locator("#thread-top")).to_contain_text("This is the beginning of Demo group.")

    assert alice.read_through() == [f"message {number}" for number in range(120)]
    assert alice.read_through(".day") == ["14 November 2023", "15 November 2023"]


def test_the_language_follows_the_browser_and_can_be_switched(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    alice = open_page("alice", DIRECT, locale="zh-CN")
    expect(alice.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(alice.page.get_by_role("heading", name="会话")).to_be_visible()
    expect(alice.page.locator(".day")).to_have_text("今天")
    expect(alice.composer).to_have_attribute("placeholder", "输入消息")

    alice.page.get_by_role("button", name="Switch to English").click()
    expect(alice.page.locator("html")).to_have_attribute("lang", "en")
    expect(alice.page.get_by_role("heading", name="Conversations")).to_be_visible()
    expect(alice.page.locator(".day")).to_have_text("Today")
    alice.page.reload()
    expect(alice.page.get_by_role("heading", name="Conversations")).to_be_visible()


def test_both_languages_have_every_text(new_context: Callable[..., BrowserContext], page_url: str) -> None:
    page = ChatPage(new_context().new_page(), page_url).open()
    source = page.page.request.get(f"{page_url}i18n.js").text()
    english, chinese = source.split("const ZH = {")
    keys = re.compile(r"^  (\w+): \"", re.MULTILINE)
    holes = re.compile(r"^  (\w+): \"(.*)\",$", re.MULTILINE)

    assert keys.findall(english) == keys.findall(chinese)
    wanted = {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in holes.findall(english)}
    assert {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in holes.findall(chinese)} == wanted
    used = set(re.findall(r"data-t(?:-label|-placeholder)?=\"(\w+)\"", page.page.content()))
    assert used <= set(keys.findall(english))


def test_it_works_at_phone_width(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    alice = open_page("alice", viewport={"width": 360, "height": 640})
    expect(alice.page.locator("#thread-pane")).to_be_hidden()

    alice.row(DIRECT).click()
    expect(alice.page.locator("#sidebar")).to_be_hidden()
    alice.send("from the train " + "x" * 200)
    expect(alice.page.locator(".message-sent")).to_have_count(1)
    assert alice.page.evaluate("document.documentElement.scrollWidth") <= 360
    alice.page.get_by_role("button", name="Back to conversations").click()
    expect(alice.row(DIRECT)).to_be_visible()
    alice.page.go_back()
    expect(alice.title).to_have_text("Bob Okafor")


def test_the_list_is_walked_with_the_keyboard(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi", ts=1_700_000_000_000)
    backend.post("d:alice:carol", "carol", "你好", ts=1_700_000_060_000)
    alice = open_page("alice")

    alice.rows.first.focus()
    alice.page.keyboard.press("ArrowDown")
    expect(alice.row(DIRECT)).to_be_focused()
    alice.page.keyboard.press("Enter")
    expect(alice.title).to_have_text("Bob Okafor")
    expect(alice.composer).to_be_focused()
