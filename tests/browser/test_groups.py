"""The chat page in groups: who sees which part of the log, who may write, and what is said about changes."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage, wait_until
from tests.browser.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OpenPage = Callable[..., ChatPage]
TEAM = "g:team"
BACKOFF_TIMEOUT = 40_000  # no pause between two attempts to connect is longer than 30 s

NOON = 1_772_362_800_000  # 1 March 2026, 12:00 in Berlin, where the browser is
HALF_PAST_TWO = NOON + 150 * 60_000
TOMORROW = NOON + 24 * 3_600_000


def fills(backend: FakeBackend, user: str = "alice") -> list[dict[str, Any]]:
    """The requests by which the page filled a hole."""
    return [frame.data for frame in backend.requests("sync.entries", user) if frame.data.get("limit") == 100]


def wait_quietly(page: ChatPage) -> None:
    """Long enough for more tries to show: a hole is first asked for after 0.3 s."""
    page.page.wait_for_timeout(2_000)


def expect_closed(page: ChatPage, line: str) -> None:
    expect(page.page.locator("#composer-closed")).to_have_text(line)
    expect(page.composer).to_be_disabled()
    expect(page.composer).to_be_hidden()
    expect(page.page.locator("#composer-send")).to_be_hidden()


def expect_open(page: ChatPage) -> None:
    expect(page.page.locator("#composer-closed")).to_be_hidden()
    expect(page.composer).to_be_enabled()
    expect(page.composer).to_be_visible()


# --- what is closed to this user --------------------------------------------------------------------------------------


def test_who_joins_late_sees_the_group_from_there_on(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "carol"])
    for number in range(30):
        backend.post(TEAM, "bob", f"before {number}")
    alice = open_page("alice")

    backend.add(TEAM, "alice", by="bob")
    expect(alice.row(TEAM).locator(".row-title")).to_have_text("Team")
    backend.post(TEAM, "bob", "welcome")
    expect(alice.badge(TEAM)).to_have_text("1")
    alice.select(TEAM)
    backend.post(TEAM, "bob", "how are you?")

    alice.expect_texts("welcome", "how are you?")
    expect(alice.page.locator(".notice")).to_have_text("Bob Okafor added you")
    expect(alice.page.locator(".new-line")).to_have_count(1)
    expect(alice.page.locator("#thread-top")).to_contain_text("This is the beginning of Team.")
    expect(alice.badge(TEAM)).to_have_count(0)
    wait_until(alice.page, lambda: any(f.data["seq"] == 33 for f in backend.requests("sync.read", "alice")))
    asked = len(backend.requests("sync.entries", "alice"))
    wait_quietly(alice)
    assert len(backend.requests("sync.entries", "alice")) == asked
    assert fills(backend) == []

    alice.page.reload()
    alice.expect_online()
    alice.expect_texts("welcome", "how are you?")


def test_who_looks_at_a_group_before_joining_it_sees_it_afterwards(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob"])
    backend.post(TEAM, "bob", "before")
    alice = open_page("alice", TEAM)
    expect(alice.page.locator("#thread-top")).to_contain_text("You are not a member of this conversation.")
    wait_quietly(alice)
    asked = len(backend.requests("sync.entries", "alice"))
    wait_quietly(alice)
    assert len(backend.requests("sync.entries", "alice")) == asked

    backend.add(TEAM, "alice", by="bob")
    backend.post(TEAM, "bob", "welcome")

    alice.expect_texts("welcome")
    expect(alice.page.locator("#thread-top")).not_to_contain_text("could not be loaded")
    expect(alice.title).to_have_text("Team")
    alice.send("thank you")
    alice.expect_sent("thank you")


def test_who_leaves_and_comes_back_lacks_nothing_but_the_time_between(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "before")
    alice = open_page("alice", TEAM)
    alice.expect_texts("before")

    left = backend.remove(TEAM, "alice", by="bob")
    expect_closed(alice, "You are no longer in this group.")
    for number in range(5):
        backend.post(TEAM, "bob", f"between {number}")
    backend.add(TEAM, "alice", by="bob")
    expect_open(alice)
    backend.post(TEAM, "bob", "after")

    alice.expect_texts("before", "after")
    expect(alice.page.locator(".notice")).to_have_text(["Bob Okafor removed you", "Bob Okafor added you"])
    alice.send("hello again")
    alice.expect_sent("hello again")
    wait_quietly(alice)
    assert fills(backend) == []  # what there was is read anew
    wait_until(
        alice.page,
        lambda: any(f.data["acks"] == [{"conv": TEAM, "seq": left + 8}] for f in backend.requests("sync.ack")),
    )


def test_history_is_paged_across_what_is_closed(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    for number in range(70):
        backend.post(TEAM, "bob", f"before {number}")
    backend.remove(TEAM, "alice", by="bob")
    for number in range(150):
        backend.post(TEAM, "bob", f"between {number}")
    backend.add(TEAM, "alice", by="bob")
    for number in range(70):
        backend.post(TEAM, "bob", f"after {number}")
    alice = open_page("alice", TEAM)
    expect(alice.message("after 69")).to_be_in_viewport()

    for _ in range(3):
        alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, 0)")
        expect(alice.page.locator("#thread-top .spinner")).to_have_count(0)
    alice.page.locator("#scroller").evaluate("node => node.scrollTo(0, 0)")

    expect(alice.page.locator("#thread-top")).to_contain_text("This is the beginning of Team.")
    expected = [f"{when} {number}" for when in ("before", "after") for number in range(70)]
    assert alice.read_through() == expected


def test_a_hole_within_what_is_open_is_filled_where_another_part_is_closed(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "before")
    alice = open_page("alice", TEAM)
    alice.expect_texts("before")

    backend.drop_next_push("alice")
    backend.post(TEAM, "bob", "lost")
    backend.drop_next_push("alice")
    backend.remove(TEAM, "alice", by="bob")
    backend.post(TEAM, "bob", "between")
    backend.drop_next_push("alice")
    backend.add(TEAM, "alice", by="bob")
    backend.post(TEAM, "bob", "after")

    alice.expect_texts("before", "lost", "after")
    expect(alice.page.locator(".notice")).to_have_text(["Bob Okafor removed you", "Bob Okafor added you"])
    expect_open(alice)
    wait_quietly(alice)
    assert fills(backend) == [{"conv": TEAM, "after": 1, "limit": 100}]


def test_a_refused_hole_is_not_asked_for_again(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "one")
    alice = open_page("alice", TEAM)
    alice.expect_texts("one")

    for _ in range(9):
        backend.refuse_next("sync.entries", "not_member")
    backend.drop_next_push("alice")
    backend.post(TEAM, "bob", "two")
    backend.post(TEAM, "bob", "three")

    alice.expect_texts("one", "three")
    wait_quietly(alice)
    assert len(fills(backend)) == 1


def test_what_is_heard_of_but_closed_is_asked_for_once(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "one")
    alice = open_page("alice", TEAM)
    alice.expect_texts("one")
    backend.remove(TEAM, "alice", by="bob")
    expect_closed(alice, "You are no longer in this group.")

    stray = {"conv": TEAM, "seq": 9, "n": 5, "kind": "text", "from": "bob", "ts": NOON, "body": {"text": "stray"}}
    backend.push("alice", {"push": "entries", "data": {"conv": TEAM, "entries": [stray]}})
    wait_until(alice.page, lambda: len(fills(backend)) > 0)
    wait_quietly(alice)

    assert len(fills(backend)) == 1


# --- who may write ----------------------------------------------------------------------------------------------------


def test_a_group_that_one_has_left_can_be_read_and_not_written_in(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Demo group", ["alice", "bob"])
    backend.post(TEAM, "alice", {"added": ["alice", "bob"], "by": "alice", "group": {"name": "Team"}}, kind="members")
    backend.post(TEAM, "bob", "you go?")
    backend.remove(TEAM, "alice", by="bob")
    backend.post(TEAM, "bob", "she has gone")
    alice = open_page("alice")

    expect(alice.row(TEAM).locator(".row-title")).to_have_text("Team")
    expect(alice.badge(TEAM)).to_have_text("1")
    alice.select(TEAM)

    alice.expect_texts("you go?")
    expect_closed(alice, "You are no longer in this group.")
    expect(alice.badge(TEAM)).to_have_count(0)
    expect(alice.page.locator("#thread-subtitle")).to_have_text("Group")
    wait_until(alice.page, lambda: any(f.data["seq"] == 3 for f in backend.requests("sync.read", "alice")))
    alice.page.get_by_role("button", name="切换到中文").click()
    expect_closed(alice, "您已不在此群聊中。")
    wait_quietly(alice)
    assert fills(backend) == []


def test_leaving_on_another_device_closes_the_group_here(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "hi")
    alice = open_page("alice", TEAM)
    expect_open(alice)

    backend.drop_next_push("alice")
    backend.remove(TEAM, "alice", by="alice")
    backend.push("alice", {"push": "inbox", "data": {"inbox": "new"}})

    expect_closed(alice, "You are no longer in this group.")
    alice.expect_texts("hi")
    expect(alice.page.locator(".notice")).to_have_text("You left")


def test_a_dissolved_group_says_so(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "bye")
    alice = open_page("alice", TEAM)
    expect_open(alice)

    backend.dissolve(TEAM, by="bob")
    expect_closed(alice, "This group was dissolved.")
    expect(alice.page.locator(".notice")).to_have_text("Bob Okafor dissolved the group")

    alice.page.reload()
    alice.expect_online()
    alice.expect_texts("bye")
    expect_closed(alice, "This group was dissolved.")
    alice.page.get_by_role("button", name="切换到中文").click()
    expect_closed(alice, "此群聊已解散。")


@pytest.mark.parametrize(
    ("locale", "why"),
    [
        ("en-GB", "Not sent · You are muted in this conversation until 12:00."),
        ("zh-CN", "未发送 · 您在此会话中已被禁言至 12:00。"),
    ],
)
def test_a_muted_member_is_told_so_and_nothing_is_sent_again(
    open_page: OpenPage, backend: FakeBackend, locale: str, why: str
) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "quiet, please")
    alice = open_page("alice", TEAM, locale=locale)
    alice.page.clock.set_fixed_time(NOON / 1000)
    backend.refuse_next("message.send", "muted", retry_after_ms=600)

    alice.send("let me speak")

    failed = alice.message("let me speak")
    expect(failed.get_by_role("alert")).to_contain_text(why)
    backend.disconnect("alice")
    alice.expect_online(timeout_ms=BACKOFF_TIMEOUT)
    wait_quietly(alice)
    assert len(backend.requests("message.send", "alice")) == 1
    failed.get_by_role("alert").get_by_role("button").first.click()
    alice.expect_sent("let me speak")


def test_a_message_to_a_group_that_one_is_no_longer_in_says_so(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", "hi")
    alice = open_page("alice", TEAM)
    expect_open(alice)
    backend.drop_next_push("alice")
    backend.remove(TEAM, "alice", by="bob")

    alice.send("am I late?")

    alert = alice.message("am I late?").get_by_role("alert")
    expect(alert).to_contain_text("Not sent · You are not a member of this conversation.")
    expect_closed(alice, "You are no longer in this group.")
    alice.page.get_by_role("button", name="切换到中文").click()
    expect(alert).to_contain_text("未发送 · 您不是此会话的成员。")
    wait_quietly(alice)
    assert len(backend.requests("message.send", "alice")) == 1


# --- what is said about it --------------------------------------------------------------------------------------------

MEMBERS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"added": ["alice"], "by": "bob", "group": {"name": "Team"}},
        "Bob Okafor created the group “Team” · Bob Okafor added you",
        "Bob Okafor 创建了群聊“Team” · Bob Okafor 邀请 您 加入了群聊",
    ),
    (
        {"added": ["bob"], "by": "bob", "group": {"name": "Team"}},
        "Bob Okafor created the group “Team”",
        "Bob Okafor 创建了群聊“Team”",
    ),
    (
        {"added": ["carol", "dave"], "by": "bob"},
        "Bob Okafor added 陈可欣 and dave",
        "Bob Okafor 邀请 陈可欣和dave 加入了群聊",
    ),
    ({"added": ["dave"], "by": "dave"}, "dave joined", "dave 加入了群聊"),
    ({"removed": ["carol"], "by": "alice"}, "You removed 陈可欣", "您 将 陈可欣 移出了群聊"),
    ({"removed": ["bob"], "by": "bob"}, "Bob Okafor left", "Bob Okafor 退出了群聊"),
    ({"by": "alice", "roles": {"bob": "admin"}}, "You made Bob Okafor an admin", "您 将 Bob Okafor 设为管理员"),
    (
        {"by": "alice", "roles": {"bob": "member"}},
        "You took the admin role from Bob Okafor",
        "您 取消了 Bob Okafor 的管理员身份",
    ),
    (
        {"by": "bob", "roles": {"alice": "owner", "bob": "member"}},
        "Bob Okafor made you the owner",
        "Bob Okafor 将群主转让给了 您",
    ),
    (
        {"by": "alice", "muted": {"bob": HALF_PAST_TWO}},
        "You muted Bob Okafor until 14:30",
        "您 将 Bob Okafor 禁言至 14:30",
    ),
    (
        {"by": "alice", "muted": {"bob": TOMORROW}},
        "You muted Bob Okafor until 2 Mar, 12:00",
        "您 将 Bob Okafor 禁言至 3月2日 12:00",
    ),
    ({"by": "alice", "muted": {"bob": 10**15}}, "You muted Bob Okafor", "您 将 Bob Okafor 禁言"),
    ({"by": "alice", "muted": {"bob": 0}}, "You unmuted Bob Okafor", "您 解除了 Bob Okafor 的禁言"),
    (
        {"by": 1, "added": 1, "removed": {}, "roles": ["owner"], "muted": {"bob": "x"}, "group": []},
        "The members changed",
        "群成员有变化",
    ),
]

PROFILES: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "Climbing"}, "Bob Okafor changed the name to “Climbing”", "Bob Okafor 将群名称改为“Climbing”"),
    ({"notice": "Be kind."}, "Bob Okafor changed the notice", "Bob Okafor 修改了群公告"),
    ({"notice": ""}, "Bob Okafor removed the notice", "Bob Okafor 删除了群公告"),
    ({"avatar": "https://example.com/a.png"}, "Bob Okafor changed the picture", "Bob Okafor 更换了群头像"),
    ({"history": True}, "Bob Okafor let new members see earlier messages", "Bob Okafor 允许新成员查看历史消息"),
    ({"history": False}, "Bob Okafor hid earlier messages from new members", "Bob Okafor 不再允许新成员查看历史消息"),
    ({"join_mode": "open"}, "Bob Okafor let anybody join", "Bob Okafor 允许任何人加入群聊"),
    ({"join_mode": "approval"}, "Bob Okafor made joining need approval", "Bob Okafor 将入群方式改为需要审批"),
    ({"join_mode": "invite"}, "Bob Okafor made the group invite-only", "Bob Okafor 将入群方式改为仅限邀请"),
    ({"who_invites": "members"}, "Bob Okafor let all members invite others", "Bob Okafor 允许所有成员邀请他人"),
    ({"who_invites": "admins"}, "Bob Okafor let only admins invite others", "Bob Okafor 设置为仅管理员可邀请他人"),
    (
        {"who_mentions_all": "members"},
        "Bob Okafor let all members mention everybody",
        "Bob Okafor 允许所有成员提及全体成员",
    ),
    (
        {"who_mentions_all": "admins"},
        "Bob Okafor let only admins mention everybody",
        "Bob Okafor 设置为仅管理员可提及全体成员",
    ),
    ({"muted_until": HALF_PAST_TWO}, "Bob Okafor muted everybody until 14:30", "Bob Okafor 开启了全员禁言，至 14:30"),  # noqa: RUF001
    ({"muted_until": 10**15}, "Bob Okafor muted everybody", "Bob Okafor 开启了全员禁言"),
    ({"muted_until": 0}, "Bob Okafor let everybody write again", "Bob Okafor 解除了全员禁言"),
    (
        {"name": "A", "custom": {}, "history": True},
        "Bob Okafor changed the name to “A” · Bob Okafor let new members see earlier messages",
        "Bob Okafor 将群名称改为“A” · Bob Okafor 允许新成员查看历史消息",
    ),
    ({"custom": {"color": 1}}, "Bob Okafor changed the group’s details", "Bob Okafor 更新了群资料"),  # noqa: RUF001
    (
        {"join_mode": "later", "who_invites": {}, "muted_until": "x", "notice": 1},
        "Bob Okafor changed the group’s details",  # noqa: RUF001
        "Bob Okafor 更新了群资料",
    ),
    ({"dissolved": True}, "Bob Okafor dissolved the group", "Bob Okafor 解散了群聊"),
]


def test_every_change_of_a_group_is_a_line_in_both_languages(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    for body, _, _ in MEMBERS:
        backend.post(TEAM, "bob", body, kind="members", ts=NOON)
    for body, _, _ in PROFILES:
        backend.post(TEAM, "bob", body, kind="profile", ts=NOON)
    alice = open_page("alice", TEAM)

    notices = alice.page.locator(".notice")
    expect(notices).to_have_text([english for _, english, _ in [*MEMBERS, *PROFILES]])
    expect(alice.messages).to_have_count(0)
    expect(alice.page).to_have_title("Serverless IM")  # nothing of it counts as unread
    alice.page.get_by_role("button", name="切换到中文").click()
    expect(notices).to_have_text([chinese for _, _, chinese in [*MEMBERS, *PROFILES]])


def test_a_group_whose_newest_entry_is_no_message_says_what_it_is_in_the_list(
    open_page: OpenPage, backend: FakeBackend
) -> None:
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post(TEAM, "bob", {"added": ["dave"], "by": "bob"}, kind="members")
    alice = open_page("alice")
    expect(alice.row(TEAM).locator(".row-preview")).to_have_text("The members changed")


def test_a_new_name_is_shown_in_the_title_and_the_list(open_page: OpenPage, backend: FakeBackend) -> None:
    backend.group("g:demo", "Demo group", ["bob", "alice"])  # a name that the page knows beforehand
    backend.group(TEAM, "Team", ["bob", "alice"])
    backend.post("g:demo", "bob", "hi")
    backend.post(TEAM, "bob", "hi")
    alice = open_page("alice", TEAM)
    titles = {conv: alice.row(conv).locator(".row-title") for conv in ("g:demo", TEAM)}
    expect(alice.title).to_have_text("Team")

    backend.post(TEAM, "bob", {"name": "Climbing"}, kind="profile")
    backend.post("g:demo", "bob", {"name": "Bouldering"}, kind="profile")
    expect(alice.title).to_have_text("Climbing")
    expect(titles[TEAM]).to_have_text("Climbing")
    expect(titles["g:demo"]).to_have_text("Bouldering")

    # While the page is away, too, in a conversation that is not open.
    backend.refuse_upgrades(refuse=True)
    backend.disconnect("alice")
    backend.post("g:demo", "bob", {"name": "Hiking"}, kind="profile")
    backend.post(TEAM, "bob", {"name": "Hang-gliding"}, kind="profile")
    backend.refuse_upgrades(refuse=False)
    alice.expect_online(timeout_ms=BACKOFF_TIMEOUT)
    expect(titles["g:demo"]).to_have_text("Hiking")
    expect(alice.title).to_have_text("Hang-gliding")

    alice.page.reload()
    alice.expect_online()
    expect(titles["g:demo"]).to_have_text("Hiking")
    expect(titles[TEAM]).to_have_text("Hang-gliding")
    # An older name in the history changes nothing.
    alice.select("g:demo")
    expect(alice.page.locator(".notice")).to_have_count(2)
    expect(alice.title).to_have_text("Hiking")
