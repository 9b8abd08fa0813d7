"""What changed in a group is said in words that a person understands, whatever the entry holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.chat import described
from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from imclient.notices import members_changed, profile_changed

NOON = int(datetime(2026, 3, 1, 12, 0).timestamp() * 1000)  # noqa: DTZ001 - where the user is, as it is shown
HALF_PAST_TWO = NOON + 150 * 60_000
TOMORROW = NOON + 24 * 3_600_000


def entry(kind: str, body: dict[str, Any]) -> Entry:
    return Entry(ConvId("g:team"), 7, 3, kind, UserId("alice"), NOON, body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"added": ["dave"], "removed": [], "by": "alice"}, "alice added dave"),
        ({"added": ["dave", "erin"], "removed": [], "by": "bob"}, "bob added dave, erin"),
        ({"added": list("bcdefgh"), "by": "alice"}, "alice added b, c, d, e, f and 2 more"),
        ({"added": ["dave"], "removed": [], "by": "dave"}, "dave joined"),
        ({"added": [], "removed": ["carol"], "by": "alice"}, "alice removed carol"),
        ({"added": [], "removed": ["bob"], "by": "bob"}, "bob left"),
        ({"removed": ["bob"], "by": "bob", "dissolved": True}, "bob left, dissolved the group"),
        ({"added": ["alice"], "by": "alice", "group": {"name": "Team"}}, "alice created the group Team"),
        (
            {"added": ["alice", "bob"], "by": "alice", "group": {"name": "Team"}},
            "alice created the group Team, added bob",
        ),
        ({"by": "alice", "roles": {"bob": "admin"}}, "alice made bob an admin"),
        ({"by": "alice", "roles": {"bob": "member"}}, "alice took the admin role from bob"),
        ({"by": "alice", "roles": {"bob": "owner", "alice": "member"}}, "alice made bob the owner"),
        ({"by": "alice", "muted": {"bob": HALF_PAST_TWO}}, "alice muted bob until 14:30"),
        ({"by": "alice", "muted": {"bob": TOMORROW}}, "alice muted bob until 2026-03-02 12:00"),
        ({"by": "alice", "muted": {"bob": 0}}, "alice unmuted bob"),
        ({"by": "alice", "muted": {"bob": 10**30}}, "alice muted bob"),
        ({}, "alice changed the members"),
        (
            {"by": "alice", "added": 1, "removed": {}, "roles": {"bob": []}, "muted": {"bob": "x"}, "group": []},
            "alice changed the members",
        ),
    ],
)
def test_members(body: dict[str, Any], said: str) -> None:
    assert members_changed(entry("members", body)) == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "Climbing"}, "alice changed the name to Climbing"),
        ({"notice": "Be kind."}, "alice changed the notice to: Be kind."),
        ({"notice": ""}, "alice removed the notice"),
        ({"avatar": "https://example.com/a.png"}, "alice changed the picture"),
        ({"custom": {"color": 1}}, "alice changed the group"),
        ({"history": True}, "alice let new members see earlier messages"),
        ({"history": False}, "alice hid earlier messages from new members"),
        ({"join_mode": "open"}, "alice let anybody join"),
        ({"join_mode": "approval"}, "alice made joining need approval"),
        ({"join_mode": "invite"}, "alice made the group invite-only"),
        ({"who_invites": "members"}, "alice let all members invite others"),
        ({"who_invites": "admins"}, "alice let only admins invite others"),
        ({"who_mentions_all": "members"}, "alice let all members mention everybody"),
        ({"who_mentions_all": "admins"}, "alice let only admins mention everybody"),
        ({"muted_until": HALF_PAST_TWO}, "alice muted everybody until 14:30"),
        ({"muted_until": 0}, "alice let everybody write again"),
        ({"dissolved": True}, "alice dissolved the group"),
        ({"name": "A", "history": True}, "alice changed the name to A, let new members see earlier messages"),
        ({"join_mode": ["open"], "who_invites": "nobody", "muted_until": "x"}, "alice changed the group"),
        ({}, "alice changed the group"),
    ],
)
def test_profile(body: dict[str, Any], said: str) -> None:
    assert profile_changed(entry("profile", body)) == said


FIELDS = st.sampled_from(
    ["added", "removed", "by", "roles", "muted", "group", "name", "notice", "avatar", "join_mode", "muted_until"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["members", "profile"]), st.dictionaries(FIELDS, ANYTHING))
def test_whatever_an_entry_holds_is_one_safe_line(kind: str, body: dict[str, Any]) -> None:
    line = described(entry(kind, body))
    assert line is not None
    assert len(line.splitlines()) == 1
    assert not [character for character in line if ord(character) < 32]
