"""The data of every operation: what is taken, what is refused, and which field the refusal names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.errors import BadRequest
from im.wire import requests
from im.wire.requests import Data, parse

SEND = {"to": "bob", "cmid": "c1", "kind": "text", "body": {"text": "x"}}
MANY = "x" * 65


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (requests.Logout, {}),
        (requests.Logout, {"devices": "all"}),
        (requests.Send, SEND),
        (requests.Send, SEND | {"cmid": "x" * 64, "mentions": ["bob"] * 50, "reply_to": 1}),
        (requests.Send, {"conv": "g:a", "cmid": "c", "kind": "custom", "body": {"type": "t", "payload": None}}),
        (requests.Inbox, {}),
        (requests.Inbox, {"since": None, "cursor": None, "limit": 1}),
        (requests.Inbox, {"limit": 100}),
        (requests.Entries, {"conv": "g:a", "after": 0}),
        (requests.Entries, {"conv": "g:a", "before": 2**53 - 1, "limit": 100}),
        (requests.Mark, {"conv": "g:a", "seq": 2**53 - 1}),
        (requests.Ack, {"acks": [{"conv": "g:a", "seq": 1}] * 50}),
        (requests.Unread, {}),
        (requests.Presence, {"users": ["x" * 64] * 100}),
        (requests.Typing, {"conv": "g:a", "on": False}),
        (requests.GroupCreate, {"name": "x"}),
        (requests.GroupCreate, {"gid": "g" * 64, "name": "é" * 64, "notice": "n" * 1000, "members": ["bob"]}),
        (requests.GroupCreate, {"name": MANY, "members": ["bob"] * 1000}),  # their limits are the deployment's
        (requests.GroupCreate, {"name": "x", "avatar": "a" * 512, "custom": {"x": "é" * 1020}}),
        (requests.GroupCreate, {"name": "x", "who_invites": "admins", "who_mentions_all": "members"}),
        (requests.GroupUpdate, {"conv": "g:a"}),
        (requests.GroupUpdate, {"conv": "g:a", "name": MANY, "notice": "", "avatar": "", "custom": {}}),
        (requests.GroupUpdate, {"conv": "g:a", "history": True, "join_mode": "open", "who_invites": "admins"}),
        (requests.GroupName, {"conv": "g:a"}),
        (requests.GroupPage, {"conv": "g:a", "cursor": "bob", "limit": 100}),
        (requests.GroupsPage, {}),
        (requests.GroupsPage, {"cursor": "g:a", "limit": 1}),
        (requests.GroupUsers, {"conv": "g:a", "users": ["bob"] * 1000}),
        (requests.GroupUser, {"conv": "g:a", "user": "bob"}),
        (requests.GroupJoin, {"conv": "g:a"}),
        (requests.GroupJoin, {"conv": "g:a", "note": "n" * 200}),
        (requests.GroupDecide, {"conv": "g:a", "user": "bob", "accept": False}),
        (requests.GroupRole, {"conv": "g:a", "user": "bob", "role": "admin"}),
        (requests.GroupMute, {"conv": "g:a", "until": 0}),
        (requests.GroupMute, {"conv": "g:a", "user": "bob", "until": 2**53 - 1}),
        (requests.TextBody, {"text": " "}),
        (requests.CustomBody, {"type": "x" * 64}),
    ],
)
def test_what_the_protocol_allows_is_taken_and_newer_fields_are_ignored(
    model: type[Data], data: dict[str, Any]
) -> None:
    assert parse(model, data) == parse(model, data | {"a_newer_field": {"deep": [1]}})


@pytest.mark.parametrize(
    ("model", "data", "path"),
    [
        (requests.Logout, {"devices": "others"}, "data.devices"),
        (requests.Logout, {"devices": None}, "data.devices"),
        (requests.Send, {}, "data"),
        (requests.Send, SEND | {"conv": "g:a"}, "data"),
        (requests.Send, {k: v for k, v in SEND.items() if k != "to"}, "data"),
        (requests.Send, {k: v for k, v in SEND.items() if k != "cmid"}, "data.cmid"),
        (requests.Send, {k: v for k, v in SEND.items() if k != "kind"}, "data.kind"),
        (requests.Send, {k: v for k, v in SEND.items() if k != "body"}, "data.body"),
        (requests.Send, SEND | {"cmid": ""}, "data.cmid"),
        (requests.Send, SEND | {"cmid": MANY}, "data.cmid"),
        (requests.Send, SEND | {"cmid": 5}, "data.cmid"),
        (requests.Send, SEND | {"kind": "members"}, "data.kind"),  # clients do not write the server's notices
        (requests.Send, SEND | {"kind": "void"}, "data.kind"),
        (requests.Send, SEND | {"kind": "redpacket"}, "data.kind"),
        (requests.Send, SEND | {"body": "x"}, "data.body"),
        (requests.Send, SEND | {"body": ["x"]}, "data.body"),
        (requests.Send, SEND | {"to": "b b"}, "data.to"),
        (requests.Send, SEND | {"to": "bob\n"}, "data.to"),
        (requests.Send, SEND | {"to": MANY}, "data.to"),
        (requests.Send, SEND | {"mentions": "bob"}, "data.mentions"),
        (requests.Send, SEND | {"mentions": ["bob"] * 51}, "data.mentions"),
        (requests.Send, SEND | {"mentions": ["bob", 5]}, "data.mentions.1"),
        (requests.Send, SEND | {"reply_to": 0}, "data.reply_to"),
        (requests.Send, SEND | {"reply_to": "1"}, "data.reply_to"),
        (requests.TextBody, {}, "data.text"),
        (requests.TextBody, {"text": ""}, "data.text"),
        (requests.TextBody, {"text": 5}, "data.text"),
        (requests.CustomBody, {}, "data.type"),
        (requests.CustomBody, {"type": ""}, "data.type"),
        (requests.CustomBody, {"type": MANY}, "data.type"),
        (requests.Inbox, {"since": "x" * 2_049}, "data.since"),
        (requests.Inbox, {"since": 5}, "data.since"),
        (requests.Inbox, {"cursor": "x" * 8_193}, "data.cursor"),
        (requests.Inbox, {"limit": 0}, "data.limit"),
        (requests.Inbox, {"limit": 101}, "data.limit"),
        (requests.Inbox, {"limit": "5"}, "data.limit"),
        (requests.Inbox, {"limit": 5.0}, "data.limit"),
        (requests.Inbox, {"limit": True}, "data.limit"),
        (requests.Inbox, {"limit": None}, "data.limit"),
        (requests.Entries, {"after": 0}, "data.conv"),
        (requests.Entries, {"conv": "g:a"}, "data"),
        (requests.Entries, {"conv": "g:a", "after": 1, "before": 2}, "data"),
        (requests.Entries, {"conv": "g:a", "after": -1}, "data.after"),
        (requests.Entries, {"conv": "g:a", "before": -1}, "data.before"),
        (requests.Entries, {"conv": "g:a", "after": 2**53}, "data.after"),
        (requests.Entries, {"conv": "g:a", "after": 10**400}, "data.after"),
        (requests.Entries, {"conv": "g:a", "after": 1e300}, "data.after"),
        (requests.Entries, {"conv": ["g:a"], "after": 0}, "data.conv"),
        (requests.Mark, {"conv": "g:a", "seq": 0}, "data.seq"),
        (requests.Mark, {"conv": "g:a", "seq": 2**53}, "data.seq"),
        (requests.Mark, {"conv": "g:a", "seq": "1"}, "data.seq"),
        (requests.Mark, {"seq": 1}, "data.conv"),
        (requests.Ack, {}, "data.acks"),
        (requests.Ack, {"acks": []}, "data.acks"),
        (requests.Ack, {"acks": {}}, "data.acks"),
        (requests.Ack, {"acks": [{"conv": "g:a", "seq": 1}] * 51}, "data.acks"),
        (requests.Ack, {"acks": [{"conv": "g:a", "seq": 1}, {"conv": "g:a", "seq": 0}]}, "data.acks.1.seq"),
        (requests.Presence, {"users": []}, "data.users"),
        (requests.Presence, {"users": ["bob"] * 101}, "data.users"),
        (requests.Presence, {"users": ["bob", MANY]}, "data.users.1"),
        (requests.Typing, {"conv": "g:a", "on": 1}, "data.on"),
        (requests.Typing, {"conv": None, "on": True}, "data.conv"),
        (requests.GroupCreate, {}, "data.name"),
        (requests.GroupCreate, {"name": ""}, "data.name"),
        (requests.GroupCreate, {"name": 5}, "data.name"),
        (requests.GroupCreate, {"name": "x", "notice": "n" * 1001}, "data.notice"),
        (requests.GroupCreate, {"name": "x", "gid": "a:b"}, "data.gid"),
        (requests.GroupCreate, {"name": "x", "gid": ""}, "data.gid"),
        (requests.GroupCreate, {"name": "x", "members": ["bob", "c d"]}, "data.members.1"),
        (requests.GroupCreate, {"name": "x", "members": "bob"}, "data.members"),
        (requests.GroupCreate, {"name": "x", "join_mode": "closed"}, "data.join_mode"),
        (requests.GroupCreate, {"name": "x", "history": 1}, "data.history"),
        (requests.GroupCreate, {"name": "x", "avatar": "a" * 513}, "data.avatar"),
        (requests.GroupCreate, {"name": "x", "custom": {"x": "é" * 1021}}, "data.custom"),
        (requests.GroupCreate, {"name": "x", "custom": []}, "data.custom"),
        (requests.GroupCreate, {"name": "x", "custom": None}, "data.custom"),
        (requests.GroupCreate, {"name": "x", "who_invites": "owner"}, "data.who_invites"),
        (requests.GroupCreate, {"name": "x", "who_mentions_all": None}, "data.who_mentions_all"),
        (requests.GroupUpdate, {"name": "x"}, "data.conv"),
        (requests.GroupUpdate, {"conv": "g:a", "name": ""}, "data.name"),
        (requests.GroupUpdate, {"conv": "g:a", "notice": "n" * 1001}, "data.notice"),
        (requests.GroupUpdate, {"conv": "g:a", "avatar": "a" * 513}, "data.avatar"),
        (requests.GroupUpdate, {"conv": "g:a", "custom": {"x": "x" * 2041}}, "data.custom"),
        (requests.GroupUpdate, {"conv": "g:a", "history": "yes"}, "data.history"),
        (requests.GroupUpdate, {"conv": "g:a", "join_mode": "closed"}, "data.join_mode"),
        (requests.GroupUpdate, {"conv": "g:a", "who_invites": "all"}, "data.who_invites"),
        (requests.GroupUpdate, {"conv": "g:a", "who_mentions_all": 1}, "data.who_mentions_all"),
        (requests.GroupPage, {"conv": "g:a", "cursor": "b b"}, "data.cursor"),
        (requests.GroupPage, {"conv": "g:a", "limit": 101}, "data.limit"),
        (requests.GroupName, {"conv": None}, "data.conv"),
        (requests.GroupsPage, {"cursor": "x" * 129}, "data.cursor"),
        (requests.GroupsPage, {"limit": 0}, "data.limit"),
        (requests.GroupUsers, {"users": ["bob"]}, "data.conv"),
        (requests.GroupUsers, {"conv": "g:a"}, "data.users"),
        (requests.GroupUsers, {"conv": "g:a", "users": []}, "data.users"),
        (requests.GroupUsers, {"conv": "g:a", "users": "bob"}, "data.users"),
        (requests.GroupUsers, {"conv": "g:a", "users": ["bob", "@all"]}, "data.users.1"),
        (requests.GroupUser, {"conv": "g:a"}, "data.user"),
        (requests.GroupUser, {"conv": "g:a", "user": "b b"}, "data.user"),
        (requests.GroupUser, {"conv": "g:a", "user": ["bob"]}, "data.user"),
        (requests.GroupJoin, {"conv": "g:a", "note": "n" * 201}, "data.note"),
        (requests.GroupJoin, {"conv": "g:a", "note": None}, "data.note"),
        (requests.GroupDecide, {"conv": "g:a", "user": "bob"}, "data.accept"),
        (requests.GroupDecide, {"conv": "g:a", "user": "bob", "accept": 1}, "data.accept"),
        (requests.GroupRole, {"conv": "g:a", "user": "bob"}, "data.role"),
        (requests.GroupRole, {"conv": "g:a", "user": "bob", "role": "owner"}, "data.role"),  # that is group.transfer
        (requests.GroupMute, {"conv": "g:a", "user": "bob"}, "data.until"),
        (requests.GroupMute, {"conv": "g:a", "until": -1}, "data.until"),
        (requests.GroupMute, {"conv": "g:a", "until": 2**53}, "data.until"),
        (requests.GroupMute, {"conv": "g:a", "until": "0"}, "data.until"),
        (requests.GroupMute, {"conv": "g:a", "user": "b b", "until": 0}, "data.user"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_field(model: type[Data], data: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(model, data)

    if path == "data":
        assert refused.value.path.startswith("data")
    else:
        assert refused.value.path == path


def test_a_refusal_names_the_path_that_it_was_told() -> None:
    with pytest.raises(BadRequest) as refused:
        parse(requests.TextBody, {"text": 5}, "data.body")

    assert refused.value.path == "data.body.text"


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(BadRequest) as refused:
        parse(requests.Send, SEND | {"kind": "a secret"})

    assert "secret" not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
NAMES = (
    "conv to cmid kind body mentions reply_to since cursor limit after before seq acks gid name notice members "
    "join_mode history devices text type avatar custom who_invites who_mentions_all users user note accept role until"
)
fields = st.dictionaries(st.sampled_from(NAMES.split()), json_values, max_size=8)
MODELS = [m for m in vars(requests).values() if isinstance(m, type) and issubclass(m, Data) and m is not Data]


@given(st.sampled_from(MODELS), fields)
def test_no_data_raises_anything_but_a_bad_request(model: type[Data], data: dict[str, Any]) -> None:
    try:
        parsed = parse(model, data)
    except BadRequest:
        return

    for name, value in parsed.model_dump(exclude_unset=True).items():
        assert value == data[name], "a value was converted"
