"""People chat through the deployed stack. Users are different in each test: the stack is shared."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from local import Stack
from tests.e2e.talker import PATIENCE_S, Talker

pytestmark = pytest.mark.e2e


def test_a_direct_message_is_stored_pushed_counted_read_and_acknowledged(stack: Stack) -> None:
    with Talker(stack, "ann") as ann, Talker(stack, "ben") as ben, Talker(stack, "ben", "d2", "ios") as phone:
        sent = ann.say("Grüße! 你好 👋", "c1", to="ben")

        for device in (ben, phone):
            entry = device.entry()
            assert (entry["seq"], entry["from"], entry["body"]) == (sent["seq"], "ann", {"text": "Grüße! 你好 👋"})
        assert ben.ok("sync.unread") == {"total_unread": 1, "conversations": {"d:ann:ben": 1}}

        ben.ok("sync.ack", {"acks": [{"conv": "d:ann:ben", "seq": 1}]})
        assert ann.push("delivered") == {"conv": "d:ann:ben", "user": "ben", "seq": 1}

        read = ben.ok("sync.read", {"conv": "d:ann:ben", "seq": 1})
        assert read == {"conv": "d:ann:ben", "read_seq": 1, "unread": 0, "total_unread": 0}
        assert ann.push("read") == {"conv": "d:ann:ben", "user": "ben", "seq": 1}
        assert phone.push("read")["total_unread"] == 0

        before = ben.ok("connect.ping")["inbox"]
        ben.say("Hi, Ann.", "c2", to="ann")
        assert ann.entry()["seq"] == 2
        assert phone.entry()["seq"] == 2
        assert ben.ok("connect.ping")["inbox"] != before


def test_a_group_reaches_everybody_in_it_and_nobody_else(stack: Stack) -> None:
    with Talker(stack, "cid") as cid, Talker(stack, "dan") as dan, Talker(stack, "eve") as eve:
        group = cid.ok("group.create", {"gid": "e2e", "name": "Friends", "members": ["dan"]})
        assert group["members"] == 2
        founding = dan.entry()["body"]
        assert (founding["added"], founding["by"], founding["group"]["name"]) == (["cid", "dan"], "cid", "Friends")

        dan.say("First!", "c1", conv="g:e2e")
        assert cid.entry()["kind"] == "members"
        assert cid.entry()["body"] == {"text": "First!"}
        assert [m["user"] for m in dan.ok("group.members", {"conv": "g:e2e"})["members"]] == ["cid", "dan"]
        assert dan.ok("group.info", {"conv": "g:e2e"})["name"] == "Friends"
        page = dan.ok("sync.entries", {"conv": "g:e2e", "before": 3})
        assert [entry["seq"] for entry in page["entries"]] == [2, 1]

        for op in ("group.info", "group.members", "sync.entries"):
            refused = eve.ask(op, {"conv": "g:e2e", "after": 0})
            assert refused["error"]["code"] == "not_member"
        assert eve.ok("sync.inbox")["conversations"] == []


def test_the_same_device_again_ends_its_older_connection(stack: Stack) -> None:
    with Talker(stack, "fay") as older, Talker(stack, "fay") as newer, Talker(stack, "gus") as gus:
        assert older.until_closed() == [{"push": "kicked", "data": {"reason": "replaced"}}]

        gus.say("Are you there?", "c1", to="fay")
        assert newer.entry()["body"] == {"text": "Are you there?"}


def test_a_logout_is_answered_and_then_the_connection_ends(stack: Stack) -> None:
    with Talker(stack, "hal") as hal:
        request_id = hal.begin("connect.logout")
        assert hal.until_closed() == [
            {"id": request_id, "ok": True, "data": {}},
            {"push": "kicked", "data": {"reason": "logout"}},
        ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no JSON", "bad_request"),
        ('{"op": "ping", "id": "r1"}', "bad_request"),
        ('{"route": "nowhere", "op": "ping", "id": "r1"}', "unknown_route"),
        ('{"route": "$connect", "op": "ping", "id": "r1"}', "unknown_route"),
        ('{"route": "$disconnect", "op": "ping", "id": "r1"}', "unknown_route"),
        ('{"route": "connect", "op": "nothing", "id": "r1"}', "unknown_route"),
        ('{"route": "message", "op": "send", "id": "r1", "data": {"to": "x"}}', "bad_request"),
        ('{"route": "sync", "op": "inbox", "id": "r1", "data": "' + "x" * 40_000 + '"}', "too_large"),
    ],
)
def test_every_frame_has_one_reply(stack: Stack, text: str, code: str) -> None:
    with Talker(stack, "ian") as ian:
        assert ian.raw(text)["error"]["code"] == code
        assert ian.ok("connect.ping")["inbox"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("device=d1", 401),
        ("token=garbage&device=d1", 403),
        ("token={token}&device=bad device", 403),
        ("token={token}x&device=d1", 403),
        ("token={token}&device=d1&platform=fridge", 403),
    ],
)
def test_a_connection_without_a_good_token_and_device_is_refused(stack: Stack, query: str, status: int) -> None:
    url = f"{stack.websocket}?{query.format(token=stack.token('joe')).replace(' ', '%20')}"

    with pytest.raises(InvalidStatus) as refused, connect(url, open_timeout=PATIENCE_S, proxy=None):
        pass

    assert refused.value.response.status_code == status
