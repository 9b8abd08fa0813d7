"""Red packets on the chat page: sent once, opened once, and everybody sees what has become of them."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_red_packets import RedPacketBackend

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
DIRECT = "d:alice:bob"
TEAM = "g:team"
HOSTILE = "\"><img/src=x/onerror=document.title='pwned'>"
TIMES_REFUSED = 5  # so often the page sends a frame that may pass later, before it says so


@pytest.fixture
def backend() -> Iterator[RedPacketBackend]:
    """Instead of the one that knows no red packets: a team of four."""
    names = {"alice": "Alice Moreau", "bob": "Bob Okafor", "carol": "Carol Chen", "dave": "Dave Lind"}
    with RedPacketBackend(names) as fake:
        fake.group(TEAM, "Team", list(names))
        fake.post(TEAM, "bob", "hi")
        yield fake


def creations(backend: RedPacketBackend) -> list[dict[str, Any]]:
    return [frame.data for frame in backend.requests("redpacket.create")]


# --- money ------------------------------------------------------------------------------------------------------------


def test_amounts_are_read_and_written_to_the_last_hundredth(open_page: OpenPage) -> None:
    read = {
        "12.34": 1234,
        "0.1": 10,
        "0.2": 20,
        "0.30": 30,
        "1.1": 110,
        "4.35": 435,
        "1.005": "amountDecimals",
        "19.99": 1999,
        "007": 700,
        ".5": 50,
        "5.": 500,
        " 8 ": 800,
        "\uff11\uff12\u3002\uff13\uff14": 1234,
        "999999999.99": 99_999_999_999,
        "": "amountMissing",
        "  ": "amountMissing",
        "0": "amountZero",
        "0.00": "amountZero",
        "0.001": "amountDecimals",
        "1.100": "amountDecimals",
        "1000000000": "amountLarge",
        "9" * 40: "amountLarge",
        ".": "amountForm",
        "-1": "amountForm",
        "+1": "amountForm",
        "1,5": "amountForm",
        "1,000": "amountForm",
        "1e3": "amountForm",
        "0x10": "amountForm",
        "1.2.3": "amountForm",
        "NaN": "amountForm",
        "twelve": "amountForm",
    }
    written = {0: "0.00", 1: "0.01", 10: "0.10", 1234: "12.34", -5: "\u22120.05", 100_000: "1,000.00"}
    written |= {99_999_999_999 * 9_999: "9,998,999,999,900.01"}
    counted = dict.fromkeys(["0", "", "-1", "1.5", "01", "10000", "two"])
    counted |= {"1": 1, "500": 500, "9999": 9999, "\uff11\uff12": 12}
    got = open_page("alice").page.evaluate(
        """async ([typed, units, counts]) => {
            const { parseAmount, parseCount, formatAmount, formatChange } = await import("./money.js");
            return {
                read: typed.map((text) => parseAmount(text).units ?? parseAmount(text).problem),
                sum: parseAmount("0.1").units + parseAmount("0.2").units - parseAmount("0.3").units,
                written: units.map(formatAmount),
                changes: [formatChange(5), formatChange(-5)],
                counts: counts.map(parseCount),
            };
        }""",
        [list(read), list(written), list(counted)],
    )

    assert dict(zip(read, got["read"], strict=True)) == read
    assert got["sum"] == 0
    assert got["written"] == list(written.values())
    assert got["changes"] == ["+0.05", "\u22120.05"]
    assert got["counts"] == list(counted.values())


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_lucky_packet_is_sent_to_a_group(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice, bob = open_page("alice", TEAM), open_page("bob")

    alice.page.get_by_role("button", name="Send a red packet").click()
    form = alice.packet_form
    expect(form.get_by_label("Total amount")).to_be_focused()
    expect(form.get_by_text("Balance 100.00")).to_be_visible()
    expect(form.get_by_text("This group has 4 members.")).to_be_visible()
    form.get_by_label("Total amount").fill("12.34")
    expect(form.locator("#packet-sum")).to_have_text("12.34")
    form.get_by_label("Number of packets").fill("3")
    form.get_by_label("Greeting").fill("  Happy new year!  ")
    form.get_by_label("Greeting").press("Enter")

    expect(form).to_be_hidden()
    alice.expect_status("Happy new year!", "Tap to open", done=False)
    expect(alice.card("Happy new year!")).to_have_accessible_name(
        "Lucky red packet from you: Happy new year! · Tap to open"
    )
    (sent,) = creations(backend)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sent.pop("cmid"))
    assert sent == {"conv": TEAM, "kind": "lucky", "total": 1234, "count": 3, "greeting": "Happy new year!"}
    assert backend.balance("alice") == 10_000 - 1_234
    expect(bob.preview(TEAM)).to_have_text("Alice Moreau: Red packet · Happy new year!")
    bob.select(TEAM)
    bob.expect_status("Happy new year!", "Tap to open", done=False)


def test_an_equal_packet_asks_for_the_amount_of_each(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)

    alice.page.get_by_role("button", name="Send a red packet").click()
    alice.packet_form.get_by_role("radio", name="Equal").check()
    alice.packet_form.get_by_label("Amount of each").fill("0.07")
    alice.packet_form.get_by_label("Number of packets").fill("3")
    expect(alice.packet_form.locator("#packet-sum")).to_have_text("0.21")
    expect(alice.packet_form.get_by_text("3 packets of 0.07")).to_be_visible()
    alice.packet_form.get_by_label("Amount of each").fill("50")
    expect(alice.packet_form.get_by_text("Balance 100.00: not enough")).to_be_visible()
    alice.packet_form.get_by_label("Amount of each").fill("0.07")
    alice.packet_form.get_by_role("button", name="Send red packet").click()

    expect(alice.card("Best wishes")).to_be_visible()
    (sent,) = creations(backend)
    assert (sent["kind"], sent["total"], sent["count"], sent["greeting"]) == ("equal", 21, 3, "")


def test_a_packet_for_one_member_is_theirs_alone(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.page_size = 2
    alice, bob, carol = open_page("alice", TEAM), open_page("bob", TEAM), open_page("carol", TEAM)

    alice.page.get_by_role("button", name="Send a red packet").click()
    alice.packet_form.get_by_role("radio", name="For one").check()
    alice.packet_form.get_by_label("Amount").fill("8.88")
    alice.packet_form.get_by_role("button", name="Send red packet").click()
    expect(alice.packet_form.get_by_role("alert")).to_have_text("Choose who may open it.")
    expect(alice.packet_form.get_by_role("radio", name="Alice")).to_have_count(0)
    alice.packet_form.get_by_role("radio", name="Bob Okafor").check()
    alice.packet_form.get_by_label("Greeting").fill("Thanks")
    alice.packet_form.get_by_role("button", name="Send red packet").click()

    alice.expect_status("Thanks", "For Bob Okafor", done=False)
    (sent,) = creations(backend)
    assert {key: sent[key] for key in sent if key != "cmid"} == {
        "conv": TEAM,
        "kind": "direct",
        "total": 888,
        "to": "bob",
        "greeting": "Thanks",
    }
    carol.expect_status("Thanks", "For Bob Okafor", done=False)
    carol.card("Thanks").click()
    expect(carol.packet.get_by_role("status")).to_have_text("Only Bob Okafor can open this red packet.")
    expect(carol.packet.get_by_role("button", name="Open", exact=True)).to_have_count(0)
    bob.expect_status("Thanks", "For you", done=False)
    bob.open_packet("Thanks")
    expect(bob.packet.locator(".packet-amount")).to_contain_text("8.88")
    assert backend.requests("redpacket.claim", "carol") == []


def test_a_packet_to_one_person_is_seen_by_its_sender_and_opened_by_the_other(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    alice, bob = open_page("alice"), open_page("bob", locale="zh-CN")
    alice.start_direct("bob")

    alice.page.get_by_role("button", name="Send a red packet").click()
    expect(alice.packet_form.get_by_text("For Bob Okafor")).to_be_visible()
    for name in ("Kind of red packet", "Number of packets", "Who may open it"):
        expect(alice.packet_form.get_by_label(name)).to_be_hidden()
    alice.packet_form.get_by_label("Amount").fill("6.6")
    alice.packet_form.get_by_role("button", name="Send red packet").click()

    alice.expect_status("Best wishes", "Not opened yet", done=False)
    (sent,) = creations(backend)
    assert {key: sent[key] for key in sent if key != "cmid"} == {
        "conv": DIRECT,
        "kind": "direct",
        "total": 660,
        "greeting": "",
    }
    alice.card("Best wishes").click()
    expect(alice.packet.get_by_text("Not opened yet")).to_be_visible()
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_have_count(0)

    bob.select(DIRECT)
    bob.card("恭喜发财\uff0c大吉大利").click()
    bob.packet.get_by_role("button", name="開", exact=True).click()

    expect(bob.packet.locator(".packet-amount")).to_contain_text("6.60")
    expect(alice.claims).to_have_text([re.compile(r"Bob Okafor.*6\.60")])  # the dialog is still open
    expect(alice.packet.locator(".packet-reason")).to_have_text("Opened")
    alice.expect_status("Best wishes", "Opened", done=True)
    expect(alice.notices).to_have_text(["Bob Okafor opened your red packet"])
    expect(bob.notices).to_have_text(["您领取了 Alice Moreau 的红包"])


@pytest.mark.parametrize(
    ("amount", "count", "kind", "error"),
    [
        ("", "2", "Lucky", "Enter an amount."),
        ("1.234", "2", "Lucky", "An amount has at most two decimals, such as 12.34."),
        ("0.00", "2", "Equal", "Enter an amount above 0."),
        ("two", "2", "Lucky", "Enter the amount as a number, such as 12.34."),
        ("9" * 12, "2", "Lucky", "This amount is too large."),
        ("1", "0", "Lucky", "Enter how many packets: a whole number from 1."),
        ("1", "1.5", "Equal", "Enter how many packets: a whole number from 1."),
        ("0.02", "3", "Lucky", "Each packet holds at least 0.01: enter 0.03 or more."),
    ],
)
def test_what_cannot_be_sent_is_said_before_it_is(
    open_page: OpenPage, backend: RedPacketBackend, amount: str, count: str, kind: str, error: str
) -> None:
    alice = open_page("alice", TEAM)

    alice.new_packet(amount, count=count, kind=kind)

    expect(alice.packet_form.get_by_role("alert")).to_have_text(error)
    expect(alice.packet_form.locator("[aria-invalid=true]")).to_be_focused()
    assert creations(backend) == []
    alice.packet_form.locator("[aria-invalid=true]").fill("1")
    expect(alice.packet_form.locator("#packet-form-error")).to_be_empty()


@pytest.mark.parametrize(
    ("code", "more", "error"),
    [
        ("insufficient_funds", {}, "Your balance is too low."),
        ("bad_request", {}, "The server does not accept this: the amount or the number of packets is too large."),
        ("muted", {}, "You are muted in this conversation."),
        ("muted", {"retry_after_ms": 60_000}, re.compile("You are muted in this conversation until ..:..\\.")),
        ("not_found", {}, "Whoever this is for is not in this group."),
        ("not_member", {}, "You are not a member of this conversation."),
        ("conflict", {}, "This red packet was not sent. Send it again."),
        ("blocked", {}, "This person does not accept messages from you."),
    ],
)
def test_a_refusal_is_said_and_the_next_attempt_is_another_packet(
    open_page: OpenPage, backend: RedPacketBackend, code: str, more: dict[str, Any], error: str | re.Pattern[str]
) -> None:
    alice = open_page("alice", TEAM)
    backend.refuse_next("redpacket.create", code, **more)

    alice.new_packet("5", count="2", greeting="Hello")
    expect(alice.packet_form.get_by_role("alert")).to_have_text(error)
    expect(alice.packet_form.get_by_label("Total amount")).to_have_value("5")
    alice.packet_form.get_by_label("Total amount").fill("4")
    alice.packet_form.get_by_role("button", name="Send red packet").click()

    alice.expect_status("Hello", "Tap to open", done=False)
    refused, sent = creations(backend)
    assert refused["cmid"] != sent["cmid"]
    assert (refused["total"], sent["total"]) == (500, 400)


def test_a_wallet_that_is_too_small_says_so(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    alice.page.get_by_role("button", name="Send a red packet").click()
    expect(alice.packet_form.get_by_text("Balance 100.00")).to_be_visible()
    backend.send_packet(TEAM, "alice", "equal", 9_000, count=1, greeting="From another device")

    alice.packet_form.get_by_label("Total amount").fill("20")
    alice.packet_form.get_by_label("Number of packets").fill("2")
    alice.packet_form.get_by_role("button", name="Send red packet").click()

    expect(alice.packet_form.get_by_role("alert")).to_have_text("Your balance is too low.")
    expect(alice.packet_form.get_by_text("Balance 10.00: not enough")).to_be_visible()


def test_an_unavailable_server_is_asked_again_for_the_same_packet(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    alice = open_page("alice", TEAM)
    for _ in range(TIMES_REFUSED):
        backend.refuse_next("redpacket.create", "unavailable", retryable=True, retry_after_ms=1)

    alice.new_packet("5", count="2", greeting="Hello")
    error = "The server has not confirmed this red packet. Try again: it is paid and sent at most once."
    expect(alice.packet_form.get_by_role("alert")).to_have_text(error)
    expect(alice.packet_form.get_by_label("Total amount")).to_be_disabled()
    alice.page.keyboard.press("Escape")
    alice.page.get_by_role("button", name="Send a red packet").click()
    expect(alice.packet_form.get_by_role("alert")).to_have_text(error)
    expect(alice.packet_form.get_by_label("Total amount")).to_have_value("5.00")
    alice.packet_form.get_by_role("button", name="Try again").click()

    expect(alice.packet_form).to_be_hidden()
    alice.expect_status("Hello", "Tap to open", done=False)
    frames = creations(backend)
    assert len(frames) == TIMES_REFUSED + 1
    assert all(frame == frames[0] for frame in frames)
    alice.new_packet("5", count="2", greeting="Another")
    alice.expect_status("Another", "Tap to open", done=False)
    assert creations(backend)[-1]["cmid"] != frames[0]["cmid"]


def test_a_packet_that_was_given_up_is_asked_for_no_more(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    for _ in range(TIMES_REFUSED):
        backend.refuse_next("redpacket.create", "unavailable", retryable=True, retry_after_ms=1)
    alice.new_packet("5", count="2")

    alice.packet_form.get_by_role("button", name="Stop trying").click()
    alice.page.reload()
    alice.expect_online()
    alice.page.get_by_role("button", name="Send a red packet").click()

    expect(alice.packet_form.get_by_label("Total amount")).to_have_value("")
    expect(alice.packet_form.get_by_role("button", name="Send red packet")).to_be_enabled()
    assert len(creations(backend)) == TIMES_REFUSED


def test_a_lost_reply_sends_and_pays_a_packet_once(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    alice.page.clock.install()
    backend.drop_next_reply("redpacket.create")

    alice.new_packet("5", count="2", greeting="Once")
    wait_until(alice.page, lambda: len(creations(backend)) == 1)
    expect(alice.packet_form.get_by_role("button", name="Sending…")).to_be_disabled()
    alice.page.clock.fast_forward(5_000)  # the client sends again

    expect(alice.packet_form).to_be_hidden()
    alice.page.clock.fast_forward(1_000)  # what was sent before is read from the log
    expect(alice.card("Once")).to_have_count(1)
    first, second = creations(backend)
    assert first == second
    assert len(backend.packets_in(TEAM)) == 1
    assert backend.balance("alice") == 9_500


def test_a_packet_survives_a_reload_once(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    backend.drop_next_reply("redpacket.create")
    alice.new_packet("5", count="2", greeting="Once")
    wait_until(alice.page, lambda: len(creations(backend)) == 1)

    alice.page.reload()
    alice.expect_online()

    wait_until(alice.page, lambda: len(creations(backend)) == 2)
    expect(alice.card("Once")).to_have_count(1)
    first, second = creations(backend)
    assert first == second
    assert len(backend.packets_in(TEAM)) == 1
    expect(alice.toast).to_be_hidden()


def test_the_message_of_a_packet_confirms_it_before_its_reply(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    for _ in range(TIMES_REFUSED):
        backend.refuse_next("redpacket.create", "unavailable", retryable=True, retry_after_ms=1)
    alice.new_packet("5", count="2", greeting="Once")
    expect(alice.packet_form.get_by_role("button", name="Try again")).to_be_visible()

    backend.act("alice", "redpacket.create", creations(backend)[0])  # it had arrived all the same

    backend_seq = backend.packets_in(TEAM)[0].seq
    entry = backend.act("alice", "sync.entries", {"conv": TEAM, "after": backend_seq - 1, "limit": 1})["entries"][0]
    backend.push("alice", {"push": "entries", "data": {"conv": TEAM, "entries": [entry]}})
    expect(alice.packet_form).to_be_hidden()
    expect(alice.card("Once")).to_have_count(1)


def test_a_packet_refused_behind_a_closed_dialog_is_told(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    backend.refuse_next("redpacket.create", "unavailable", retryable=True, retry_after_ms=500)
    backend.refuse_next("redpacket.create", "insufficient_funds")

    alice.new_packet("5", count="2")
    alice.page.keyboard.press("Escape")

    expect(alice.packet_form).to_be_hidden()
    expect(alice.toast).to_have_text("Your balance is too low.")


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_packet_is_opened_and_shows_who_got_how_much(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.split_next(512, 1_088, 77, 323)
    packet = backend.send_packet(TEAM, "bob", "lucky", 2_000, count=4, greeting="Happy new year!")
    backend.claim(packet, "bob", "carol")
    alice = open_page("alice", TEAM)
    alice.expect_status("Happy new year!", "Tap to open", done=False)

    alice.card("Happy new year!").click()
    expect(alice.packet.get_by_text("Red packet from Bob Okafor")).to_be_visible()
    expect(alice.packet.get_by_text("Lucky red packet", exact=True)).to_be_visible()
    coin = alice.packet.get_by_role("button", name="Open", exact=True)
    coin.click()
    expect(coin).to_have_class(re.compile("packet-coin-turning"))

    expect(alice.packet.locator(".packet-amount")).to_have_text("You received 0.770.77")  # to hear, and to see
    expect(alice.packet.locator(".packet-cover")).to_have_count(0)
    expect(alice.packet.get_by_text("Happy new year!")).to_be_visible()
    expect(alice.claims).to_have_text(
        [
            re.compile(r"Bob Okafor\d\d:\d\d5\.12$"),
            re.compile(r"Carol Chen\d\d:\d\d10\.88$"),
            re.compile(r"Alice Moreau \(you\)\d\d:\d\d0\.77$"),
        ]
    )
    expect(alice.packet.get_by_text("3 of 4 opened · 20.00 in all")).to_be_visible()
    alice.expect_status("Happy new year!", "Opened · 0.77", done=True)
    expect(alice.notices).to_have_text(["You opened a red packet from Bob Okafor"])
    backend.claim(packet, "dave")
    expect(alice.packet.get_by_text("All 4 opened · 20.00 in all")).to_be_visible()
    expect(alice.claims.locator(".packet-best")).to_have_text(["Luckiest"])
    expect(alice.claims.filter(has=alice.page.locator(".packet-best"))).to_contain_text("Carol Chen")

    alice.packet.get_by_role("button", name="It goes to your wallet").click()
    expect(alice.wallet.locator("#wallet-balance")).to_have_text("100.77")
    alice.page.keyboard.press("Escape")
    alice.page.keyboard.press("Escape")
    alice.card("Happy new year!").click()
    expect(alice.packet.locator(".packet-amount")).to_contain_text("0.77")
    assert len(backend.requests("redpacket.claim")) == 1


def test_a_claim_whose_reply_was_lost_shows_what_it_brought(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice", TEAM)
    alice.page.clock.install()
    backend.lose_packet_pushes(lose=True)
    backend.drop_next_reply("redpacket.claim")

    alice.card("Hello").click()
    alice.packet.get_by_role("button", name="Open", exact=True).click()
    wait_until(alice.page, lambda: len(backend.requests("redpacket.claim")) == 1)
    alice.page.clock.fast_forward(5_000)  # the client asks again, and is told that it has claimed already

    expect(alice.packet.locator(".packet-amount")).to_contain_text("1.00")
    alice.expect_status("Hello", "Opened · 1.00", done=True)
    expect(alice.notices).to_have_text(["You opened a red packet from Bob Okafor"])
    assert backend.balance("alice") == 10_100


def test_a_packet_claimed_on_another_device_opens_here(open_page: OpenPage, backend: RedPacketBackend) -> None:
    packet = backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice", TEAM)
    alice.card("Hello").click()
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_visible()

    backend.claim(packet, "alice")

    expect(alice.packet.locator(".packet-amount")).to_contain_text("1.00")
    alice.expect_status("Hello", "Opened · 1.00", done=True)


def test_who_comes_too_late_is_told_and_sees_who_was_faster(open_page: OpenPage, backend: RedPacketBackend) -> None:
    packet = backend.send_packet(TEAM, "bob", "equal", 200, count=2, greeting="Quick")
    alice = open_page("alice", TEAM)
    alice.card("Quick").click()
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_focused()
    backend.claim(packet, "carol", "dave")  # nobody tells alice
    backend.refuse_next("redpacket.detail", "internal")

    alice.packet.get_by_role("button", name="Open", exact=True).press("Enter")

    expect(alice.packet.get_by_role("status")).to_have_text("Too late: all of it is taken.")
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_hidden()
    alice.expect_status("Quick", "All taken", done=True)
    alice.page.keyboard.press("Escape")
    alice.card("Quick").click()
    expect(alice.packet.get_by_role("status")).to_have_text("Too late: all of it is taken.")
    alice.packet.get_by_role("button", name="See the details").click()
    expect(alice.claims).to_have_text([re.compile(r"Carol Chen.*1\.00"), re.compile(r"Dave Lind.*1\.00")])
    assert len(backend.requests("redpacket.claim", "alice")) == 1


def test_an_expired_packet_says_so_and_its_sender_hears_what_came_back(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    packet = backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice, bob = open_page("alice", TEAM), open_page("bob", TEAM)
    alice.card("Hello").click()
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_visible()
    backend.claim(packet, "carol")

    backend.expire(packet)

    bob.expect_status("Hello", "Expired", done=True)
    expect(bob.notices).to_have_text(["Carol Chen opened your red packet", "Your red packet expired: 2.00 came back"])
    bob.card("Hello").click()
    expect(bob.packet.get_by_text("1 of 3 opened · 3.00 in all · Expired · 2.00 came back")).to_be_visible()
    alice.packet.get_by_role("button", name="Open", exact=True).click()
    expect(alice.packet.get_by_role("status")).to_have_text("This red packet has expired.")
    alice.expect_status("Hello", "Expired", done=True)


def test_who_joined_after_a_packet_was_sent_cannot_open_it(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.group("g:new", "New", ["bob", "carol"])
    backend.send_packet("g:new", "bob", "lucky", 300, count=3, greeting="Hello")
    backend._logs["g:new"].history = True  # a packet that was sent before is seen, and is not for them
    backend.add("g:new", "alice", by="bob")
    backend._logs["g:new"].stays["alice"] = [(1, 1), (2, None)]
    alice = open_page("alice", "g:new")

    alice.card("Hello").click()
    alice.packet.get_by_role("button", name="Open", exact=True).click()

    expect(alice.packet.get_by_role("status")).to_have_text("You cannot open this: it was sent before you joined.")
    alice.expect_status("Hello", "Not for you", done=True)


def test_a_claim_that_may_pass_later_can_be_tried_again(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice", TEAM)
    for _ in range(TIMES_REFUSED):
        backend.refuse_next("redpacket.claim", "unavailable", retryable=True, retry_after_ms=1)

    alice.card("Hello").click()
    coin = alice.packet.get_by_role("button", name="Open", exact=True)
    coin.click()
    expect(alice.packet.get_by_role("status")).to_have_text("The server is busy. Try again in a moment.")
    expect(coin).not_to_have_class(re.compile("packet-coin-turning"))
    coin.click()

    expect(alice.packet.locator(".packet-amount")).to_contain_text("1.00")


def test_a_packet_that_cannot_be_read_says_why(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.post(TEAM, "bob", {"packet": "gone", "kind": "lucky", "greeting": "Hello"}, kind="redpacket")
    alice = open_page("alice", TEAM)

    alice.card("Hello").click()

    expect(alice.packet.get_by_role("alert")).to_have_text("This red packet does not exist any more.")
    backend.refuse_next("redpacket.detail", "not_member")
    alice.packet.get_by_role("button", name="Try again").click()
    expect(alice.packet.get_by_role("alert")).to_have_text("You are not a member of this conversation.")
    alice.packet.get_by_role("button", name="Close").click()
    expect(alice.packet).to_be_hidden()


def test_the_sender_may_open_their_own_and_see_the_others_without_amounts(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    packet = backend.send_packet(TEAM, "alice", "lucky", 300, count=3, greeting="Hello")
    backend.claim(packet, "carol")
    alice = open_page("alice", TEAM)
    alice.expect_status("Hello", "1 of 3 opened", done=False)

    alice.card("Hello").click()
    alice.packet.get_by_role("button", name="See the details").click()
    expect(alice.claims).to_have_text([re.compile(r"Carol Chen\d\d:\d\d$")])
    alice.page.keyboard.press("Escape")
    alice.open_packet("Hello")

    expect(alice.claims).to_have_count(2)
    expect(alice.notices).to_have_text(["You opened your own red packet"])


def test_the_claims_are_read_page_by_page_and_stay_while_more_come(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    crowd = [f"user{number:02}" for number in range(7)]
    backend.group("g:crowd", "Crowd", ["alice", *crowd])
    packet = backend.send_packet("g:crowd", "alice", "equal", 800, count=8, greeting="Hello")
    backend.claim(packet, *crowd[:6], "alice")
    backend.page_size = 3
    alice = open_page("alice", "g:crowd")

    alice.card("Hello").click()
    expect(alice.claims).to_have_count(3)
    alice.packet.get_by_role("button", name="Show more").click()
    expect(alice.claims).to_have_count(6)
    backend.claim(packet, crowd[6])

    expect(alice.packet.get_by_text("All 8 opened · 8.00 in all")).to_be_visible()
    expect(alice.claims).to_have_count(6)
    alice.packet.get_by_role("button", name="Show more").click()
    expect(alice.claims.locator(".packet-claim-who span")).to_have_text([*crowd[:6], "Alice Moreau (you)", crowd[6]])
    expect(alice.packet.get_by_role("button", name="Show more")).to_be_hidden()


# --- hearing ----------------------------------------------------------------------------------------------------------


def test_the_sender_hears_who_opened_their_packet_once(open_page: OpenPage, backend: RedPacketBackend) -> None:
    alice = open_page("alice", TEAM)
    backend.split_next(100, 150, 50, 60)
    packet = backend.send_packet(TEAM, "alice", "lucky", 360, count=4, greeting="Hello")

    backend.claim(packet, "bob")
    expect(alice.notices).to_have_text(["Bob Okafor opened your red packet"])
    alice.expect_status("Hello", "1 of 4 opened", done=False)
    again = {"packet": packet, "conv": TEAM, "seq": 2, "event": "claimed", "user": "bob", "claimed": 1, "count": 4}
    backend.push("alice", {"push": "redpacket", "data": again})
    backend.claim(packet, "carol", "dave")
    expect(alice.notices).to_have_text(["Bob Okafor, Carol Chen, and Dave Lind opened your red packet"])
    backend.claim(packet, "alice")

    expect(alice.notices).to_have_text(
        ["Bob Okafor, Carol Chen, and Dave Lind opened your red packet · all taken · luckiest: Carol Chen"]
    )
    alice.expect_status("Hello", "Opened · 0.60", done=True)


def test_news_from_a_conversation_that_is_not_open_is_a_toast(open_page: OpenPage, backend: RedPacketBackend) -> None:
    packet = backend.send_packet(TEAM, "alice", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice")

    backend.push("alice", {"push": "redpacket", "data": {}})
    for event in ("opened", "constructor"):  # of some later version
        backend.push("alice", {"push": "redpacket", "data": {"packet": packet, "conv": TEAM, "seq": 2, "event": event}})
    backend.claim(packet, "bob")

    expect(alice.toast).to_have_text("Bob Okafor opened your red packet")
    expect(alice.toast).to_have_attribute("role", "status")
    alice.select(TEAM)
    expect(alice.notices).to_have_text(["Bob Okafor opened your red packet"])


def test_packets_in_sight_show_what_became_of_them_and_new_ones_are_not_asked_for(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    unseen = backend.send_packet(TEAM, "bob", "equal", 100, count=1, greeting="Far above")
    for number in range(40):
        backend.post(TEAM, "bob", f"message {number}")
    taken = backend.send_packet(TEAM, "bob", "equal", 100, count=1, greeting="Taken")
    backend.claim(taken, "carol")
    mine = backend.send_packet(TEAM, "bob", "equal", 200, count=2, greeting="Mine")
    backend.claim(mine, "alice")
    alice = open_page("alice", TEAM)

    alice.expect_status("Taken", "All taken", done=True)
    alice.expect_status("Mine", "Opened · 1.00", done=True)
    fresh = backend.send_packet(TEAM, "bob", "equal", 200, count=2, greeting="Fresh")
    alice.expect_status("Fresh", "Tap to open", done=False)

    asked = {frame.data["packet"] for frame in backend.requests("redpacket.detail")}
    assert asked == {taken, mine}
    assert unseen not in asked
    assert fresh not in asked


def test_what_happened_while_disconnected_is_seen_afterwards(open_page: OpenPage, backend: RedPacketBackend) -> None:
    packet = backend.send_packet(TEAM, "alice", "equal", 100, count=1, greeting="Hello")
    alice = open_page("alice", TEAM)
    alice.expect_status("Hello", "Tap to open", done=False)

    backend.lose_packet_pushes(lose=True)
    backend.claim(packet, "bob")
    backend.disconnect("alice")

    alice.expect_status("Hello", "All taken", done=True)


def test_a_recalled_packet_shows_as_recalled_and_cannot_be_edited(
    open_page: OpenPage, backend: RedPacketBackend
) -> None:
    alice = open_page("alice", TEAM)
    backend.send_packet(TEAM, "alice", "equal", 100, count=1, greeting="Hello")

    alice.card("Hello").hover()
    alice.messages.last.get_by_role("button", name="Message actions").click()
    expect(alice.menu.get_by_role("menuitem")).to_have_text(["Reply", "Pin", "Read by", "Recall", "Delete for me"])
    alice.menu.get_by_role("menuitem", name="Recall").click()

    expect(alice.notices).to_have_text(["You recalled a message"])
    expect(alice.page.locator(".packet-card")).to_have_count(0)


def test_markup_in_a_greeting_is_shown_as_text(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 100, count=1, greeting=HOSTILE)
    backend.post(TEAM, "bob", {"packet": 7, "kind": {}, "greeting": [HOSTILE]}, kind="redpacket")
    alice = open_page("alice", TEAM)

    expect(alice.card(HOSTILE).locator(".packet-greeting")).to_have_text(HOSTILE)
    alice.open_packet(HOSTILE)
    expect(alice.packet.get_by_text(HOSTILE)).to_be_visible()
    expect(alice.page.locator(":is(#app, dialog) :is(img, script, iframe, a)")).to_have_count(0)
    expect(alice.message("Red packet")).to_be_visible()
    expect(alice.page).to_have_title("Serverless IM")


# --- the wallet -------------------------------------------------------------------------------------------------------


def test_the_wallet_shows_the_balance_and_what_moved_it(open_page: OpenPage, backend: RedPacketBackend) -> None:
    got = backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="From Bob")
    backend.claim(got, "alice")
    sent = backend.send_packet(TEAM, "alice", "equal", 400, count=2, greeting="")
    backend.claim(sent, "bob")
    backend.expire(sent)
    backend.page_size = 2
    alice = open_page("alice")

    alice.page.get_by_role("button", name="Wallet").click()
    expect(alice.wallet.locator("#wallet-balance")).to_have_text("99.00")
    lines = alice.wallet.get_by_role("listitem")
    expect(lines).to_have_count(2)
    alice.wallet.get_by_role("button", name="Show more").click()
    expect(lines).to_have_text(
        [
            re.compile(r"Red packet returned.*\+2\.00"),
            re.compile(r"Red packet sent.*\u22124\.00"),
            re.compile(r"Red packet opened.*\+1\.00"),
            re.compile(r"Opening balance.*\+100\.00"),
        ]
    )
    expect(alice.wallet.get_by_role("button", name="Show more")).to_be_hidden()
    alice.wallet.get_by_role("tab", name="History").press("ArrowRight")
    expect(lines).to_have_text([re.compile(r"Bob OkaforFrom Bob.*\+1\.00")])
    alice.wallet.get_by_role("tab", name="Received").press("ArrowRight")
    expect(lines).to_have_text([re.compile(r"Best wishesExpired 1/2.*4\.00")])
    lines.get_by_role("button").click()

    expect(alice.packet.get_by_text("1 of 2 opened · 4.00 in all · Expired · 2.00 came back")).to_be_visible()
    alice.page.keyboard.press("Escape")
    expect(alice.wallet).to_be_visible()


def test_money_that_another_system_keeps_is_not_shown(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.has_wallet = False
    alice = open_page("alice", TEAM)

    alice.page.get_by_role("button", name="Wallet").click()
    expect(alice.wallet.get_by_text("Your money is kept by another system: it is not shown here.")).to_be_visible()
    expect(alice.wallet.locator("#wallet-balance")).to_be_hidden()
    alice.wallet.get_by_role("tab", name="Sent").click()
    expect(alice.wallet.get_by_text("Nothing yet")).to_be_visible()
    alice.wallet.get_by_role("button", name="Close").click()
    alice.page.get_by_role("button", name="Send a red packet").click()

    expect(alice.packet_form.locator("#packet-sum")).to_have_text("0.00")
    expect(alice.packet_form.locator("#packet-balance")).to_be_hidden()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_packet_is_opened_with_the_keyboard(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice", TEAM)

    alice.card("Hello").focus()
    alice.page.keyboard.press("Enter")
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_focused()
    alice.page.keyboard.press("Tab")
    expect(alice.packet.get_by_role("button", name="Close")).to_be_focused()
    alice.page.keyboard.press("Shift+Tab")
    alice.page.keyboard.press("Enter")
    expect(alice.packet.locator(".packet-amount")).to_be_focused()
    alice.page.keyboard.press("Escape")

    expect(alice.packet).to_be_hidden()
    expect(alice.card("Hello")).to_be_focused()  # the message was made anew meanwhile


def test_nothing_moves_for_who_does_not_want_it(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Hello")
    alice = open_page("alice", TEAM, reduced_motion="reduce")
    alice.card("Hello").click()
    alice.page.evaluate(
        """() => {
            window.moved = [];
            for (const event of ["animationstart", "transitionrun"]) {
                document.addEventListener(event, ({ target }) => window.moved.push(target.className));
            }
        }"""
    )

    alice.packet.get_by_role("button", name="Open", exact=True).click()

    expect(alice.packet.locator(".packet-amount")).to_contain_text("1.00")
    expect(alice.packet.locator(".packet-cover")).to_have_count(0)
    assert alice.page.evaluate("window.moved") == []


def test_red_packets_fit_a_phone(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.send_packet(TEAM, "bob", "equal", 300, count=3, greeting="Long " * 24)
    backend.send_packet(TEAM, "alice", "equal", 300, count=3, greeting="Mine")
    alice = open_page("alice", TEAM, viewport={"width": 320, "height": 568})

    for greeting in ("Long", "Mine"):
        expect(alice.card(greeting)).to_be_in_viewport(ratio=1)
    alice.page.get_by_role("button", name="Send a red packet").click()
    expect(alice.packet_form.get_by_role("button", name="Send red packet")).to_be_in_viewport(ratio=1)
    alice.page.keyboard.press("Escape")
    alice.card("Long").click()
    expect(alice.packet.get_by_role("button", name="Open", exact=True)).to_be_in_viewport(ratio=1)
    alice.page.keyboard.press("Escape")
    alice.open_packet("Long")
    for inner in ("document.documentElement", "document.querySelector('#packet-dialog')"):
        assert alice.page.evaluate(f"{inner}.scrollWidth") <= 320
    alice.page.keyboard.press("Escape")
    alice.page.get_by_role("button", name="Back to conversations").click()
    alice.page.get_by_role("button", name="Wallet").click()
    expect(alice.wallet).to_be_in_viewport(ratio=1)


def test_nothing_can_be_sent_where_nothing_can_be_said(open_page: OpenPage, backend: RedPacketBackend) -> None:
    backend.post(TEAM, "alice", "mine")
    alice = open_page("alice", TEAM)
    button = alice.page.get_by_role("button", name="Send a red packet")

    alice.choose("mine", "Edit")
    expect(button).to_be_hidden()
    alice.composer.press("Escape")
    expect(button).to_be_visible()
    backend.remove(TEAM, "alice", by="bob")

    expect(button).to_be_hidden()
