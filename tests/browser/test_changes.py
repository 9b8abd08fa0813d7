"""The chat page and what changes messages and conversations: edits, recalls, reactions, pins, settings, marks."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
SEND_ON = ["Forward", "Select"]
DIRECT = "d:alice:bob"
OTHER = "d:alice:carol"
TEAM = "g:team"
HOSTILE = "\"><img/src=x/onerror=document.title='pwned'>"

# --- what messages come to --------------------------------------------------------------------------------------------

# Pushes in any order, and a page of history as the server gave it at some time, somewhere between them.
CONVERGES = """async (log) => {
    const { pushes, pages, expected } = JSON.parse(log);
    const { Conversation } = await import("./conversation.js");
    let random = 20260301;
    const below = (limit) => (random = (random * 48271) % 2147483647) % limit;
    const different = [];
    for (let trial = 0; trial < 500; trial++) {
        const conv = new Conversation("g:team", "alice");
        const steps = pushes.map((entry) => [entry]);
        for (let at = steps.length - 1; at > 0; at--) {
            const other = below(at + 1);
            [steps[at], steps[other]] = [steps[other], steps[at]];
        }
        steps.splice(below(steps.length + 1), 0, pages[below(pages.length)]);
        for (const entries of steps) conv.add(structuredClone(entries));
        const shown = messages(conv.entries, (entry) => conv.quoteOf(entry));
        const wanted = messages(expected, (entry) => entry.quote);
        if (conv.hasHole || JSON.stringify(shown) !== JSON.stringify(wanted)) different.push({ trial, shown, wanted });
    }
    return different.slice(0, 2);

    function messages(entries, quoteOf) {
        return entries.filter(({ kind }) => kind === "text").map((entry) => {
            const { seq, body, changed, edited, recalled, reactions = {}, pinned } = entry;
            const { preview, recalled: gone } = quoteOf(entry) ?? {};
            const counts = Object.entries(reactions).map(([emoji, { count, users }]) => [emoji, count, users]).sort();
            return { seq, body, changed, edited, recalled, counts, pinned, preview, gone };
        });
    }
}"""


def test_pushes_and_pages_in_any_order_come_to_the_same(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice", "carol"])
    steps: list[tuple[str, Any, str, int | None]] = [
        ("text", {"text": "one"}, "bob", None),
        ("reaction", {"target": 1, "emoji": "__proto__", "on": True}, "alice", None),
        ("text", {"text": "answer"}, "carol", 1),
        ("edit", {"target": 1, "body": {"text": "two"}}, "bob", None),
        ("reaction", {"target": 1, "emoji": "👍", "on": True}, "alice", None),
        ("edit", {"target": 3, "body": {"text": "secret"}}, "carol", None),
        ("reaction", {"target": 1, "emoji": "👍", "on": True}, "carol", None),
        ("pin", {"target": 3, "on": True}, "bob", None),
        ("reaction", {"target": 1, "emoji": "👍", "on": False}, "alice", None),
        ("text", {"text": "again"}, "bob", 3),
        ("edit", {"target": 1, "body": {"text": "three"}}, "bob", None),
        ("recall", {"target": 3}, "bob", None),
        ("pin", {"target": 1, "on": True}, "bob", None),
    ]
    pages, pushes = [], []
    for kind, body, sender, answered in steps:
        seq = backend.post(TEAM, sender, body, kind=kind, **({"reply_to": answered} if answered else {}))
        page = backend.act("alice", "sync.entries", {"conv": TEAM, "after": 0, "limit": 100})["entries"]
        pages.append(page)
        pushes.append({**page[-1], "body": body})
        assert page[-1]["seq"] == seq
    expected = [entry for entry in pages[-1] if entry["kind"] == "text"]
    assert (expected[0]["body"], expected[1]["body"]) == ({"text": "three"}, {})

    alice = open_page("alice")

    assert alice.page.evaluate(CONVERGES, json.dumps({"pushes": pushes, "pages": pages, "expected": expected})) == []


def test_a_reaction_counts_once_though_a_change_between_is_closed(open_page: OpenPage) -> None:
    alice = open_page("alice")
    counts = alice.page.evaluate(
        """async () => {
            const { withChanges } = await import("./changes.js");
            const base = { conv: "g:t", n: 1, from: "bob", ts: 1 };
            const message = { ...base, seq: 1, kind: "text", body: { text: "one" } };
            const counts = (...said) => {
                const changes = said.map(([from, on], i) => (
                    { ...base, from, seq: i + 2, kind: "reaction", body: { target: 1, emoji: "👍", on } }
                ));
                return withChanges(message, changes).reactions?.["👍"] ?? null;
            };
            return [
                counts(["bob", true], ["carol", true], ["bob", true]),
                counts(["bob", true], ["bob", true], ["bob", false]),
                counts(["bob", false]),
                counts(["carol", true], ["bob", false], ["bob", true]),
            ];
        }"""
    )
    assert counts == [
        {"count": 2, "users": ["bob", "carol"]},
        None,
        None,
        {"count": 2, "users": ["carol", "bob"]},
    ]


def test_what_a_recalled_message_said_is_kept_nowhere(open_page: OpenPage) -> None:
    alice = open_page("alice")
    kept = alice.page.evaluate(
        """async () => {
            const { Conversation } = await import("./conversation.js");
            const base = { conv: "g:t", n: 1, from: "bob", ts: 1 };
            const log = [
                { ...base, seq: 1, kind: "text", body: { text: "secret" } },
                { ...base, seq: 2, kind: "edit", body: { target: 1, body: { text: "secret too" } } },
                { ...base, seq: 3, kind: "recall", body: { target: 1 } },
                { ...base, seq: 4, kind: "reaction", body: { target: 1, emoji: "👍", on: true } },
            ];
            return [log, log.toReversed()].map((entries) => {
                const conv = new Conversation("g:t", "alice");
                for (const entry of entries) conv.add([entry]);
                return conv.entries;
            });
        }"""
    )
    assert "secret" not in str(kept)
    assert [entries[0]["recalled"] for entries in kept] == [{"by": "bob", "ts": 1}] * 2
    assert "reactions" not in kept[0][0]


def test_changes_are_made_by_the_menu_and_seen_by_the_others(open_page: OpenPage, backend: FakeBackend) -> None:
    alice, bob = open_page("alice"), open_page("bob")
    alice.start_direct("bob")
    alice.send("helo")
    alice.send("oops")
    alice.expect_sent("oops")
    bob.select(DIRECT)

    alice.choose("helo", "Edit")
    expect(alice.page.locator("#composer-mode")).to_contain_text("Edit message")
    expect(alice.composer).to_have_value("helo")
    alice.composer.fill("hello")
    alice.composer.press("Enter")
    for page in (alice, bob):
        page.expect_texts("hello", "oops")
        expect(page.message("hello").locator(".meta")).to_contain_text("edited")
    expect(alice.page.locator("#composer-mode")).to_be_hidden()
    expect(alice.composer).to_have_value("")

    bob.choose("hello", "❤️")
    alice.choose("hello", "❤️")
    for page in (alice, bob):
        expect(page.reactions("hello")).to_have_text(["❤️2"])
    expect(bob.reactions("hello")).to_have_attribute("aria-label", re.compile("❤️ 2: (You and Alice|Alice .* and You)"))
    bob.reactions("hello").click()
    for page in (alice, bob):
        expect(page.reactions("hello")).to_have_text(["❤️1"])
    expect(alice.reactions("hello")).to_have_attribute("aria-pressed", "true")

    bob.choose("hello", "Pin")
    for page in (alice, bob):
        expect(page.message("hello").get_by_role("img", name="Pinned")).to_be_visible()
    alice.choose("oops", "Recall")
    expect(alice.notices).to_have_text(["You recalled a message", "Bob Okafor pinned a message"])
    expect(bob.notices).to_have_text(["Alice Moreau recalled a message", "You pinned a message"])
    expect(bob.preview(DIRECT)).to_have_text("Alice Moreau recalled a message")

    alice.page.reload()
    alice.expect_online()
    alice.expect_texts("hello")
    expect(alice.reactions("hello")).to_have_text(["❤️1"])
    expect(alice.message("hello").get_by_role("img", name="Pinned")).to_be_visible()
    expect(alice.notices).to_have_text(["You recalled a message", "Bob Okafor pinned a message"])


def test_a_change_behind_a_hole_counts_all_the_same(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "helo")
    alice = open_page("alice", DIRECT)
    alice.expect_texts("helo")

    backend.drop_next_push("alice")
    backend.post(DIRECT, "bob", {"target": 1, "body": {"text": "hello"}}, kind="edit")
    backend.post(DIRECT, "bob", {"target": 1, "emoji": "👍", "on": True}, kind="reaction")

    alice.expect_texts("hello")
    expect(alice.reactions("hello")).to_have_text(["👍1"])


def test_a_change_of_older_history_is_counted_once_when_that_is_read(open_page: OpenPage, backend: FakeBackend) -> None:
    for number in range(60):
        backend.post(DIRECT, "bob", f"message {number}")
    alice = open_page("alice", DIRECT)
    expect(alice.message("message 59")).to_be_in_viewport()

    backend.post(DIRECT, "bob", {"target": 1, "emoji": "👍", "on": True}, kind="reaction")
    backend.post(DIRECT, "bob", {"target": 2, "body": {"text": "edited"}}, kind="edit")
    answer = "an answer to what is not here"
    backend.post(DIRECT, "bob", answer, reply_to=1)
    expect(alice.quote(answer)).to_have_text("This message is not available")
    alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, 0)")

    expect(alice.message("edited")).to_have_count(1)
    expect(alice.reactions("message 0")).to_have_text(["👍1"])
    alice.page.locator("#jump").click()
    expect(alice.quote(answer)).to_have_text("Bob Okafor" + "message 0")

    # What is answered is out of the window again: the server's quote is what the page has.
    alice.page.reload()
    alice.expect_online()
    expect(alice.quote(answer)).to_have_text("Bob Okafor" + "message 0")
    backend.post(DIRECT, "bob", {"target": 1, "body": {"text": "number 0"}}, kind="edit")
    expect(alice.quote(answer)).to_have_text("Bob Okafor" + "number 0")
    backend.post(DIRECT, "bob", {"target": 1}, kind="recall")
    expect(alice.quote(answer)).to_have_text("Bob Okafor" + "Message recalled")


def test_a_change_whose_reply_was_lost_is_made_once_and_shown(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    alice = open_page("alice", DIRECT)
    alice.expect_texts("hi")
    alice.page.clock.install()
    backend.drop_next_reply("message.react")

    alice.choose("hi", "👍")
    wait_until(alice.page, lambda: len(backend.requests("message.react")) == 1)
    alice.page.clock.fast_forward(5_000)  # the client sends again

    expect(alice.reactions("hi")).to_have_text(["👍1"])
    first, second = backend.requests("message.react")
    assert first.data == second.data
    assert backend.now(DIRECT, 1)["reactions"] == {"👍": {"count": 1, "users": ["alice"]}}


def test_an_answer_shows_what_it_answers_as_that_is_now(open_page: OpenPage, backend: FakeBackend) -> None:
    alice, bob = open_page("alice"), open_page("bob")
    bob.start_direct("alice")
    bob.send("lunch?")
    bob.expect_sent("lunch?")
    alice.select(DIRECT)

    alice.choose("lunch?", "Reply")
    expect(alice.page.locator("#composer-mode")).to_have_text(re.compile("Replying to Bob Okafor\\s*lunch?"))
    expect(alice.composer).to_be_focused()
    alice.send("yes!")
    alice.expect_sent("yes!")
    expect(alice.page.locator("#composer-mode")).to_be_hidden()
    assert backend.requests("message.send", "alice")[-1].data["reply_to"] == 1
    expect(alice.quote("yes!")).to_have_text("Bob Okafor" + "lunch?")
    expect(bob.quote("yes!")).to_have_text("You" + "lunch?")

    bob.choose("lunch?", "Edit")
    bob.send("dinner?")
    for page, name in ((alice, "Bob Okafor"), (bob, "You")):
        expect(page.quote("yes!")).to_have_text(name + "dinner?")
    alice.quote("yes!").click()
    expect(alice.message("dinner?").get_by_role("button", name="Message actions")).to_be_focused()
    bob.choose("dinner?", "Recall")
    for page, name in ((alice, "Bob Okafor"), (bob, "You")):
        expect(page.quote("yes!")).to_have_text(name + "Message recalled")

    alice.page.reload()
    alice.expect_online()
    expect(alice.quote("yes!")).to_have_text("Bob Okafor" + "Message recalled")


def test_an_edit_that_is_refused_stays_in_the_box_and_says_why(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "alice", "helo")
    alice = open_page("alice", DIRECT)
    alice.composer.fill("something else")
    backend.refuse_next("message.edit", "expired")

    alice.choose("helo", "Edit")
    alice.composer.fill("hello")
    alice.composer.press("Enter")

    expect(alice.toast).to_have_text("It is too late to change this message.")
    expect(alice.composer).to_have_value("hello")
    expect(alice.page.locator("#composer-mode")).to_be_visible()
    alice.composer.press("Escape")
    expect(alice.composer).to_have_value("something else")
    alice.expect_texts("helo")
    for op, choice, code, why in (
        ("react", "👍", "conflict", "This message was recalled."),
        ("recall", "Recall", "forbidden", "You are not allowed to do this."),
        ("pin", "Pin", "too_large", "The message is too large."),
    ):
        backend.refuse_next(f"message.{op}", code)
        alice.choose("helo", choice)
        expect(alice.toast).to_have_text(why)


def test_who_leads_a_group_may_pin_and_recall_what_others_said(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["carol", "alice", "bob"])
    backend.post(TEAM, "bob", "spam")
    backend.post(TEAM, "alice", "mine")
    alice = open_page("alice", TEAM)

    expect(alice.choices_of("spam")).to_have_text(["Reply", *SEND_ON, "Delete for me"])
    alice.page.keyboard.press("Escape")
    expect(alice.choices_of("mine")).to_have_text(["Reply", "Edit", *SEND_ON, "Read by", "Recall", "Delete for me"])
    alice.page.keyboard.press("Escape")
    backend.appoint(TEAM, "alice")
    backend.post(TEAM, "carol", {"by": "carol", "roles": {"alice": "admin"}}, kind="members")
    expect(alice.notices).to_have_text(["陈可欣 made you an admin"])
    expect(alice.choices_of("spam")).to_have_text(["Reply", *SEND_ON, "Pin", "Recall", "Delete for me"])
    alice.menu.get_by_role("menuitem", name="Recall").click()

    expect(alice.notices.first).to_have_text("You recalled a message from Bob Okafor")
    backend.remove(TEAM, "alice", by="carol")
    expect(alice.choices_of("mine")).to_have_text([*SEND_ON, "Delete for me"])
    expect(alice.menu.get_by_role("menuitemcheckbox")).to_have_count(0)
    alice.page.keyboard.press("Escape")
    alice.choose_for(TEAM, "Hide")
    expect(alice.row(TEAM)).to_have_count(0)


def test_what_was_recalled_while_one_was_not_in_the_group_is_recalled(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "one")
    backend.post(TEAM, "bob", "two")
    alice = open_page("alice", TEAM)
    alice.expect_texts("one", "two")

    backend.remove(TEAM, "alice", by="bob")
    expect(alice.notices).to_have_text(["Bob Okafor removed you"])
    backend.post(TEAM, "bob", {"target": 1}, kind="recall")  # nobody tells her
    backend.push("alice", {"push": "inbox", "data": {}})
    alice.expect_texts("two")
    expect(alice.notices.first).to_have_text("Bob Okafor recalled a message")

    backend.post(TEAM, "bob", {"target": 2}, kind="recall")
    backend.add(TEAM, "alice", by="bob")
    backend.post(TEAM, "bob", "welcome back")
    alice.expect_texts("welcome back")
    recalled = "Bob Okafor recalled a message"
    expect(alice.notices).to_have_text([recalled, recalled, "Bob Okafor removed you", "Bob Okafor added you"])


def test_what_is_deleted_for_oneself_is_gone_on_all_own_devices_alone(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    for text in ("one", "two", "three"):
        backend.post(DIRECT, "bob", text)
    alice, bob = open_page("alice", DIRECT), open_page("bob", DIRECT)
    alice.expect_texts("one", "two", "three")

    alice.choose("two", "Delete for me")
    alice.expect_texts("one", "three")
    backend.act("alice", "message.delete", {"conv": DIRECT, "seqs": [3]})
    alice.expect_texts("one")
    expect(alice.preview(DIRECT)).to_have_text("one")

    # While the page is away, too.
    backend.refuse_upgrades(refuse=True)
    backend.disconnect("alice")
    backend.act("alice", "message.delete", {"conv": DIRECT, "seqs": [1]})
    backend.refuse_upgrades(refuse=False)
    alice.expect_texts()
    alice.expect_online(timeout_ms=40_000)
    backend.post(DIRECT, "bob", "four", reply_to=2)
    alice.expect_texts("four")
    expect(alice.quote("four")).to_have_text("This message is not available")
    alice.page.reload()
    alice.expect_online()
    alice.expect_texts("four")
    bob.expect_texts("one", "two", "three", "four")


def test_forwarded_messages_say_so(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "news", forwarded={"from": "carol", "ts": 1})
    lines = [{"from": "carol", "ts": 1, "kind": "text", "body": {"text": "hi"}}, {"from": "dave", "kind": "image"}]
    backend.post(DIRECT, "bob", {"title": "From the team", "messages": lines}, kind="merged")
    backend.post(DIRECT, "bob", {"title": 1, "messages": "?"}, kind="merged", ts=1_900_000_000_000)
    alice = open_page("alice")

    expect(alice.badge(DIRECT)).to_have_text("3")
    alice.select(DIRECT)

    expect(alice.message("news").locator(".forwarded")).to_have_text("Forwarded from 陈可欣")
    expect(alice.message("From the team").locator(".merged li")).to_have_text(["陈可欣: hi", "dave: Image"])
    expect(alice.message("1").locator(".merged")).to_have_count(0)


# --- the list ---------------------------------------------------------------------------------------------------------


def test_conversations_are_pinned_muted_and_hidden(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "old", ts=1_700_000_000_000)
    backend.post(OTHER, "carol", "new", ts=1_700_000_060_000)
    alice = open_page("alice")

    def order() -> list[str]:
        return [str(row.get_attribute("data-conv")) for row in alice.rows.all()]

    assert order() == [OTHER, DIRECT]
    alice.choose_for(DIRECT, "Pin")
    expect(alice.rows.first).to_have_attribute("data-conv", DIRECT)
    alice.choose_for(DIRECT, "Mute")
    expect(alice.row(DIRECT).locator(".badge")).to_have_class(re.compile("badge-muted"))
    assert backend.settings(DIRECT, "alice") | {"rev": 0} == {
        "muted": True, "pinned": True, "draft": "", "hidden_n": -1, "rev": 0
    }  # fmt: skip
    late = {"conv": DIRECT, "last_seq": 1, "last_n": 1, "unread": 1, "read_seq": 0, "read_n": 0}
    late |= {"ack_seq": 0, "muted": False, "pinned": False, "draft": "", "hidden": False, "rev": 1, "deleted": 0}
    late["last"] = {"seq": 1, "kind": "text", "from": "bob", "ts": 1_700_000_000_000, "preview": "old"}
    late |= {"at": 1_700_000_000_000, "updated": 1_700_000_000_000}
    backend.push("alice", {"push": "row", "data": late})
    backend.act("alice", "sync.settings", {"conv": OTHER, "pinned": True})
    expect(alice.rows.first).to_have_attribute("data-conv", OTHER)
    expect(alice.row(DIRECT).get_by_role("img", name="Muted")).to_be_visible()
    expect(alice.row(DIRECT).get_by_role("img", name="Pinned")).to_be_visible()

    alice.select(DIRECT)
    alice.page.locator("#thread-more").click()
    alice.menu.get_by_role("menuitem", name="Hide").click()
    expect(alice.row(DIRECT)).to_have_count(0)
    expect(alice.page.locator("#thread")).to_be_hidden()
    alice.page.reload()
    alice.expect_online()
    assert order() == [OTHER]
    backend.post(DIRECT, "bob", {"target": 1, "emoji": "👍", "on": True}, kind="reaction")
    backend.post(OTHER, "carol", "still here")
    expect(alice.preview(OTHER)).to_have_text("still here")
    assert order() == [OTHER]
    backend.post(DIRECT, "bob", "and again")
    expect(alice.preview(DIRECT)).to_have_text("and again")

    backend.refuse_next("sync.settings", "unavailable")
    alice.choose_for(DIRECT, "Unmute")
    expect(alice.toast).to_have_text("The server is busy. Try again in a moment.")


def test_the_list_shows_what_a_message_says_now(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "helo")
    backend.post(OTHER, "carol", "oops")
    backend.post(OTHER, "carol", {"target": 1}, kind="recall")
    alice = open_page("alice")
    expect(alice.preview(DIRECT)).to_have_text("helo")
    expect(alice.preview(OTHER)).to_have_text("陈可欣 recalled a message")
    expect(alice.badge(OTHER)).to_have_text("1")

    backend.post(DIRECT, "bob", {"target": 1, "body": {"text": "hello"}}, kind="edit")
    expect(alice.preview(DIRECT)).to_have_text("hello")
    backend.post(DIRECT, "bob", {"target": 1}, kind="recall")
    expect(alice.preview(DIRECT)).to_have_text("Bob Okafor recalled a message")
    expect(alice.badge(DIRECT)).to_have_text("1")
    backend.read_elsewhere(DIRECT, "alice", 1)
    expect(alice.badge(DIRECT)).to_have_count(0)


def test_a_draft_is_saved_and_comes_back(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    backend.post(OTHER, "carol", "hi")
    alice = open_page("alice", DIRECT)

    alice.composer.press_sequentially("I was about")
    expect(alice.preview(DIRECT)).to_have_text("hi")
    wait_until(alice.page, lambda: backend.settings(DIRECT, "alice")["draft"] == "I was about")
    assert len(backend.requests("sync.settings")) == 1
    alice.select(OTHER)
    expect(alice.composer).to_have_value("")
    expect(alice.preview(DIRECT)).to_have_text("[Draft] I was about")
    alice.page.reload()
    alice.expect_online()
    expect(alice.preview(DIRECT)).to_have_text("[Draft] I was about")

    alice.select(DIRECT)
    expect(alice.composer).to_have_value("I was about")
    backend.act("alice", "sync.settings", {"conv": DIRECT, "draft": "I was about to say"})
    expect(alice.composer).to_have_value("I was about to say")
    alice.composer.press("Enter")
    alice.expect_sent("I was about to say")
    wait_until(alice.page, lambda: backend.settings(DIRECT, "alice")["draft"] == "")
    expect(alice.composer).to_have_value("")
    alice.composer.fill("x" * 1_200)
    wait_until(alice.page, lambda: backend.settings(DIRECT, "alice")["draft"] == "x" * 1_000)
    alice.select(OTHER)
    alice.select(DIRECT)
    expect(alice.composer).to_have_value("x" * 1_200)


# --- who is writing, and who has read ---------------------------------------------------------------------------------


def test_who_is_writing_is_told_now_and_then_and_shown_for_a_while(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.post(DIRECT, "bob", "hi")
    alice, bob = open_page("alice", DIRECT), open_page("bob", DIRECT)
    alice.expect_texts("hi")
    bob.page.clock.install()
    bob.page.clock.pause_at(time.time() + 60)  # from here on it goes by what is said here
    subtitle = bob.page.locator("#thread-subtitle")

    alice.composer.press_sequentially("hello there")
    expect(subtitle).to_have_text("Alice Moreau is typing…")
    expect(bob.preview(DIRECT)).to_have_text("Alice Moreau is typing…")
    assert len(backend.requests("message.typing")) == 1
    bob.page.clock.fast_forward(5_000)
    expect(subtitle).to_have_text("Alice Moreau is typing…")
    bob.page.clock.fast_forward(2_000)
    expect(subtitle).to_have_text("Online")

    backend.push("bob", {"push": "typing", "data": {"conv": DIRECT, "user": "alice", "on": True}})
    expect(subtitle).to_have_text("Alice Moreau is typing…")
    alice.composer.press("Enter")
    expect(subtitle).to_have_text("Online")
    backend.push("bob", {"push": "typing", "data": {"conv": DIRECT, "user": "bob", "on": True}})
    backend.push("bob", {"push": "typing", "data": {"conv": DIRECT, "user": "alice", "on": True}})
    expect(subtitle).to_have_text("Alice Moreau is typing…")
    backend.push("bob", {"push": "typing", "data": {"conv": DIRECT, "user": "alice", "on": False}})
    expect(subtitle).to_have_text("Online")


def test_own_messages_show_how_far_the_other_one_has_come(open_page: OpenPage, backend: FakeBackend) -> None:
    alice = open_page("alice")
    alice.start_direct("bob")
    alice.send("one")
    alice.send("two")
    alice.expect_sent("two")

    def mark(text: str) -> Any:
        return alice.message(text).locator(".meta [role=img]")

    expect(mark("one")).to_have_attribute("aria-label", "Sent")
    backend.act("bob", "sync.ack", {"acks": [{"conv": DIRECT, "seq": 2}]})
    expect(mark("one")).to_have_attribute("aria-label", "Delivered")
    backend.act("bob", "sync.read", {"conv": DIRECT, "seq": 1})
    expect(mark("one")).to_have_attribute("aria-label", "Read")
    expect(mark("two")).to_have_attribute("aria-label", "Delivered")

    alice.page.reload()
    alice.expect_online()
    expect(mark("one")).to_have_attribute("aria-label", "Read")
    expect(mark("two")).to_have_attribute("aria-label", "Delivered")
    answer = {"conv": DIRECT, "cmid": "answer", "kind": "text", "body": {"text": "three"}}
    backend.act("bob", "message.send", answer)
    expect(mark("two")).to_have_attribute("aria-label", "Read")
    backend.private.add("bob")
    alice.page.reload()
    alice.expect_online()
    expect(mark("two")).to_have_attribute("aria-label", "Sent")


def test_who_has_read_a_message_of_a_group_is_listed(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["alice", "bob", "carol", "dave"])
    seq = backend.post(TEAM, "alice", "all here?")
    backend.read_elsewhere(TEAM, "bob", seq)
    backend.private.add("carol")
    alice = open_page("alice", TEAM)
    dialog = alice.page.get_by_role("dialog")

    alice.choose("all here?", "Read by")
    expect(dialog.locator(".receipts-count")).to_have_text("Delivered to 1 of 3 · read by 1")
    expect(dialog).to_contain_text("1 do not show it")
    expect(dialog.locator(".members")).to_have_text([re.compile("Bob Okafor"), re.compile("dave")])
    dialog.get_by_role("button", name="Close").click()

    backend.push("alice", {"push": "privacy", "data": {"receipts": False, "presence": True}})
    backend.refuse_next("sync.receipts", "too_large")
    alice.choose("all here?", "Read by")
    expect(dialog.get_by_role("alert")).to_have_text("The message is too large.")
    dialog.get_by_role("button", name="Close").click()
    alice.choose("all here?", "Read by")
    expect(dialog).to_contain_text("You do not show others what you have read.")


# --- whoever reads and writes -----------------------------------------------------------------------------------------


def test_markup_in_changes_and_settings_is_shown_as_text(open_page: OpenPage, backend: FakeBackend) -> None:
    evil = HOSTILE
    backend.post(DIRECT, "bob", "hi")
    backend.post(DIRECT, "bob", {"target": 1, "emoji": evil, "on": True}, kind="reaction")
    backend.post(DIRECT, "bob", {"target": 1, "body": {"text": evil}}, kind="edit")
    backend.post(DIRECT, "alice", "answer", reply_to=1, forwarded={"from": evil, "ts": 1})
    backend.post(DIRECT, "bob", {"title": evil, "messages": [{"from": evil, "kind": evil, "body": {}}]}, kind="merged")
    backend.post(DIRECT, "bob", {"target": 1, "on": True, "by": evil}, kind="pin")
    backend.post(OTHER, "carol", "hi")
    backend.post(OTHER, "carol", {"target": 1}, kind="recall")
    backend.act("alice", "sync.settings", {"conv": OTHER, "draft": evil})
    alice = open_page("alice")
    expect(alice.preview(OTHER)).to_have_text(f"[Draft] {evil}")
    expect(alice.preview(DIRECT)).to_have_text(f"Chat history · {evil}")
    alice.select(OTHER)
    expect(alice.composer).to_have_value(evil)
    alice.select(DIRECT)

    alice.expect_texts(evil, "answer", evil)
    first = alice.messages.first
    expect(first.locator(".emoji")).to_have_text(evil)
    expect(alice.quote("answer")).to_have_text("Bob Okafor" + evil)
    expect(alice.message("answer").locator(".forwarded")).to_have_text(f"Forwarded from {evil}")
    expect(alice.page.locator(".merged li")).to_contain_text([evil])
    first.hover()
    first.get_by_role("button", name="Message actions").click()
    alice.menu.get_by_role("menuitem", name="Reply").click()
    expect(alice.page.locator("#composer-mode-text")).to_have_text(evil)
    backend.push("alice", {"push": "typing", "data": {"conv": OTHER, "user": evil, "on": True}})
    expect(alice.preview(OTHER)).to_have_text(f"{evil} is typing…")
    expect(alice.page.locator("body :is(#app, #menu, #toast) :is(img, script, iframe, a)")).to_have_count(0)
    expect(alice.page).to_have_title(re.compile("Serverless IM"))


def test_the_menus_are_reached_and_used_with_the_keyboard(open_page: OpenPage, backend: FakeBackend) -> None:
    for text in ("one", "two"):
        backend.post(DIRECT, "bob", text, ts=1_700_000_000_000)
    backend.post(OTHER, "carol", "hi")
    alice = open_page("alice", DIRECT)
    keyboard = alice.page.keyboard
    actions = {text: alice.message(text).get_by_role("button", name="Message actions") for text in ("one", "two")}
    alice.expect_texts("one", "two")
    expect(alice.composer).to_be_focused()

    keyboard.press("Shift+Tab")
    expect(actions["two"]).to_be_focused()
    keyboard.press("ArrowUp")
    expect(actions["one"]).to_be_focused()
    keyboard.press("Enter")
    expect(alice.menu).to_be_visible()
    expect(actions["one"]).to_have_attribute("aria-expanded", "true")
    expect(alice.menu.get_by_role("menuitemcheckbox").first).to_be_focused()
    keyboard.press("Escape")
    expect(alice.menu).to_be_hidden()
    expect(actions["one"]).to_be_focused()
    expect(actions["one"]).to_have_attribute("aria-expanded", "false")

    keyboard.press("Enter")
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    expect(alice.reactions("one")).to_have_text(["❤️1"])
    expect(actions["one"]).to_be_focused()  # the message was made anew under it
    keyboard.press("Enter")
    expect(alice.menu.get_by_role("menuitemcheckbox", checked=True)).to_have_text(["❤️"])
    keyboard.press("ArrowDown")
    expect(alice.menu.get_by_role("menuitem", name="Reply")).to_be_focused()
    keyboard.press("End")
    expect(alice.menu.get_by_role("menuitem", name="Delete for me")).to_be_focused()
    keyboard.press("ArrowDown")
    expect(alice.menu.get_by_role("menuitemcheckbox").first).to_be_focused()
    keyboard.press("ArrowUp")
    keyboard.press("Enter")
    alice.expect_texts("two")
    expect(actions["two"]).to_be_focused()  # the one that had the focus is gone

    more = alice.page.locator("#list li", has=alice.page.locator(f'[data-conv="{DIRECT}"]')).get_by_role(
        "button", name="Conversation actions"
    )
    alice.rows.first.focus()
    keyboard.press("ArrowDown")
    keyboard.press("Tab")
    expect(more).to_be_focused()
    keyboard.press("Enter")
    expect(alice.menu).to_have_attribute("aria-label", "Conversation actions")
    keyboard.press("Enter")
    expect(alice.row(DIRECT).get_by_role("img", name="Pinned")).to_be_visible()
    expect(alice.rows.first).to_have_attribute("data-conv", DIRECT)
    expect(more).to_be_focused()  # it has moved up
    keyboard.press("Enter")
    keyboard.press("End")
    keyboard.press("Enter")
    expect(alice.row(DIRECT)).to_have_count(0)
    expect(alice.page.get_by_role("button", name="Conversation actions")).to_be_focused()
