"""sync.inbox, sync.entries and sync.unread: everything, once, in order, within a frame, and for members alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from im.aws.queue import Queued, encode
from im.domain.entries import MAX_TEXT_BYTES, Entry
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.inbox import Inbox
from im.domain.inbox_version import version_of
from im.store.conversations import ConversationStore
from im.wire.frames import MAX_FRAME_BYTES, dumps
from tests.integration.house import START, Call, Device, House, sample

CONV = "d:alice:bob"
LONGEST_ID = "\x01" * 64
DONE: dict[str, Any] = {"batchItemFailures": []}
EMPTY = str(version_of(Inbox([])))
OPEN = {"receipts": True, "presence": True}


def chat(house: House, entries: int, length: int = 1) -> tuple[Device, Device]:
    """Alice has sent Bob so many texts of so many bytes; delivered."""
    alice, bob = house.connect("alice"), house.connect("bob")
    for i in range(entries):
        alice.say(f"{i}".ljust(length, "."), f"c{i}", to="bob")
    house.fan_out()
    return alice, bob


def many_conversations(house: House, count: int) -> Device:
    """Somebody with the longest name has a message of so many others of the longest names."""
    me = house.connect("m" * 64, "d1")
    for i in range(count):
        house.now += 1 if i % 3 else 0
        said_by(house, me, i, 1, "\x01" * 100)
    return me


def says_more(house: House, me: Device, i: int) -> str:
    """Number `i` of `many_conversations` has said something new; the conversation."""
    return said_by(house, me, i, 2, "news")


def said_by(house: House, me: Device, i: int, seq: int, text: str) -> str:
    """Stored and fanned out, without a connection for each of the many."""
    other = UserId(f"{'u' * 60}{i:04d}")
    conv = ConvId(f"d:{me.user}:{other}")
    body, cmid = dumps({"text": text}), Cmid(f"c{seq}")
    entry = Entry(conv, Seq(seq), seq, Seq(0), "text", other, house.now, body, cmid)
    assert ConversationStore(house.dynamodb, "ConversationTable").append(entry) is None
    record = sample("fanout")["Records"][0] | {"body": encode(Queued(entry, None))}
    assert house.call("fanout", {"Records": [record]}) == DONE
    return conv


def raw_reply(house: House, device: Device, op: str, data: dict[str, Any]) -> str:
    """The reply as the text that goes over the wire, to a request with the longest id."""
    event = sample("sync")
    event["requestContext"] |= device._context()
    event["body"] = json.dumps({"route": "sync", "op": op, "id": LONGEST_ID, "data": data})
    return str(house.call("sync", event)["body"])


# ---- sync.inbox ------------------------------------------------------------------------------------------------------


def test_an_empty_inbox_is_empty(house: House) -> None:
    assert house.connect("alice").ok("sync.inbox") == {"conversations": [], "inbox": EMPTY, "privacy": OPEN}


def test_a_row_tells_all_that_a_list_shows(house: House) -> None:
    _, bob = chat(house, 3)
    bob.ok("sync.read", {"conv": CONV, "seq": 2})
    bob.ok("sync.ack", {"acks": [{"conv": CONV, "seq": 3}]})

    (row,) = bob.ok("sync.inbox")["conversations"]

    assert row == {
        "conv": CONV,
        "last_seq": 3,
        "last_n": 3,
        "last": {"seq": 3, "kind": "text", "from": "alice", "ts": START, "preview": "2"},
        "unread": 1,
        "read_seq": 2,
        "read_n": 2,
        "ack_seq": 3,
        "mention_seq": 0,
        "muted": False,
        "pinned": False,
        "draft": "",
        "hidden": False,
        "rev": 0,
        "deleted": 0,
        "at": START,
        "updated": START,
    }


def test_a_client_with_the_newest_version_hears_nothing(house: House) -> None:
    _, bob = chat(house, 3)
    inbox = bob.ok("sync.inbox")["inbox"]

    assert bob.ok("sync.inbox", {"since": inbox}) == {"conversations": [], "inbox": inbox, "privacy": OPEN}


def test_a_client_hears_what_changed_since_its_version_and_no_more(house: House) -> None:
    """And some that are told beside them, because a version is no list of all rows: few where there are many."""
    me = many_conversations(house, 40)
    before = me.ok("sync.inbox")
    since = before["inbox"]

    changed = {says_more(house, me, 3), says_more(house, me, 30)}
    marked = before["conversations"][0]["conv"]
    me.ok("sync.read", {"conv": marked, "seq": 1})
    answer = me.ok("sync.inbox", {"since": since})

    told = {row["conv"] for row in answer["conversations"]}
    assert told >= changed | {marked}
    assert len(told) < 25
    assert answer["inbox"] not in {since, EMPTY}
    assert me.ok("sync.inbox", {"since": answer["inbox"]})["conversations"] == []


@pytest.mark.parametrize("clock", [-3_600_000, -1, 1, 3_600_000])
def test_a_client_hears_what_another_clock_has_stamped(house: House, clock: int) -> None:
    alice, bob = chat(house, 1)
    since = bob.ok("sync.inbox")["inbox"]

    house.now += clock
    alice.say("y", "c2", to="bob")
    house.fan_out()

    (row,) = bob.ok("sync.inbox", {"since": since})["conversations"]
    assert row["last_seq"] == 2


@pytest.mark.parametrize("since", ["", "nonsense", "0.0", "1.", "x" * 64, "x" * 2048, "ffffffff"])
def test_a_client_with_a_version_that_is_not_ours_hears_everything(house: House, since: str) -> None:
    _, bob = chat(house, 1)

    assert len(bob.ok("sync.inbox", {"since": since})["conversations"]) == 1


def test_a_conversation_that_no_fan_out_has_reached_is_not_listed_yet(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("x", "c1", to="bob")
    bob.ok("sync.ack", {"acks": [{"conv": CONV, "seq": 1}]})
    assert bob.ok("sync.inbox")["conversations"] == []
    bob.ok("sync.read", {"conv": CONV, "seq": 1})
    assert bob.ok("sync.inbox")["conversations"] == []
    since = bob.ok("sync.inbox")["inbox"]

    house.fan_out()

    (row,) = bob.ok("sync.inbox", {"since": since})["conversations"]
    assert (row["last_seq"], row["read_seq"], row["ack_seq"], row["unread"]) == (1, 1, 1, 0)


@pytest.mark.parametrize("limit", [7, 100])
def test_a_long_list_comes_in_pages_that_fit_newest_first_each_once(house: House, limit: int) -> None:
    me = many_conversations(house, 120)
    pages, data = [], {"limit": limit}
    while True:
        raw = raw_reply(house, me, "inbox", data)
        assert len(raw.encode()) <= MAX_FRAME_BYTES
        page = json.loads(raw)["data"]
        assert 0 < len(page["conversations"]) <= limit
        pages.append(page)
        if "cursor" not in page:
            break
        data = {"limit": limit, "cursor": page["cursor"]}

    rows = [row for page in pages for row in page["conversations"]]
    assert len({row["conv"] for row in rows}) == len(rows) == 120
    assert [row["last"]["ts"] for row in rows] == sorted((row["last"]["ts"] for row in rows), reverse=True)
    assert len({page["inbox"] for page in pages}) == 1


def test_what_changes_between_two_pages_is_told_by_the_next_sync(house: House) -> None:
    me = many_conversations(house, 30)
    first = me.ok("sync.inbox", {"limit": 20})
    rows = {row["conv"]: row for row in first["conversations"]}

    house.now += 5
    for i in (0, 15, 29):
        says_more(house, me, i)
    second = me.ok("sync.inbox", {"limit": 20, "cursor": first["cursor"]})
    rows |= {row["conv"]: row for row in second["conversations"]}
    third = me.ok("sync.inbox", {"since": second["inbox"]})
    rows |= {row["conv"]: row for row in third["conversations"]}

    assert "cursor" not in second
    assert rows == {row["conv"]: row for row in me.ok("sync.inbox")["conversations"]}


def test_pages_of_changes_hold_changes_alone(house: House) -> None:
    me = many_conversations(house, 60)
    since = me.ok("sync.inbox")["inbox"]
    house.now += 5
    changed = {says_more(house, me, 7)}
    at_once = [row["conv"] for row in me.ok("sync.inbox", {"since": since})["conversations"]]

    pages = [me.ok("sync.inbox", {"since": since, "limit": 3})]
    while "cursor" in pages[-1]:
        pages.append(me.ok("sync.inbox", {"cursor": pages[-1]["cursor"], "limit": 3}))

    told = [row["conv"] for page in pages for row in page["conversations"]]
    assert len(pages) > 1
    assert len(set(told)) == len(told)
    assert told == at_once
    assert set(told) >= changed
    assert len(told) < 30
    assert {page["inbox"] for page in pages} == {pages[0]["inbox"]} != {since}


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize("op", ["sync.inbox", "sync.unread"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "====",
        "é",
        "W10=",  # []
        "e30=",  # {}
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[" * 300).decode(),
        cursor(1, 2),
        cursor(None, EMPTY, 1, "c"),
        cursor(None, "x", 1, -1, "c"),
        cursor(None, EMPTY, "x", -1, "c"),
        cursor(None, EMPTY, 1, "x", "c"),
        cursor(None, EMPTY, 1, -1.5, "c"),
        cursor(None, None, 1, -1, "c"),
        cursor(1, 2, 3, 4, 5),
        cursor(None, EMPTY, 1, -1, "c", 1),
    ],
)
def test_a_cursor_that_is_not_ours_is_a_bad_request(house: House, op: str, text: str) -> None:
    _, bob = chat(house, 1)

    error = bob.error(op, {"cursor": text})

    assert error["code"] == "bad_request"
    assert "data.cursor" in error["message"]


def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(house: House) -> None:
    me = many_conversations(house, 12)
    theirs = me.ok("sync.inbox", {"limit": 5})["cursor"]
    _, bob = chat(house, 1)

    assert {row["conv"] for row in bob.ok("sync.inbox", {"cursor": theirs})["conversations"]} <= {CONV}


# ---- sync.unread -----------------------------------------------------------------------------------------------------


def test_unread_is_what_others_sent_after_the_read_mark(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    alice.say("1", "a1", to="bob")
    alice.say("2", "a2", to="bob")
    bob.say("mine", "b1", conv="g:g")
    alice.say("3", "a3", conv="g:g")
    house.fan_out()

    assert bob.ok("sync.unread") == {"total_unread": 3, "conversations": {CONV: 2, "g:g": 1}}
    bob.say("what I send says that I have read", "b2", to="alice")
    house.fan_out()
    assert bob.ok("sync.unread") == {"total_unread": 1, "conversations": {"g:g": 1}}
    assert alice.ok("sync.unread") == {"total_unread": 1, "conversations": {CONV: 1}}


def test_notices_are_not_unread(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.ok("group.create", {"gid": "g", "name": "G", "members": ["bob"]})
    house.fan_out()

    assert bob.ok("sync.unread") == {"total_unread": 0, "conversations": {}}
    (row,) = bob.ok("sync.inbox")["conversations"]
    assert (row["last_seq"], row["last"]["kind"], row["unread"]) == (1, "members", 0)


def test_a_long_list_of_unread_counts_comes_in_pages_that_make_up_the_total(house: House) -> None:
    me = many_conversations(house, 260)
    parts: dict[str, int] = {}
    data: dict[str, Any] = {}
    pages = 0
    while True:
        raw = raw_reply(house, me, "unread", data)
        assert len(raw.encode()) <= MAX_FRAME_BYTES
        page = json.loads(raw)["data"]
        assert not parts.keys() & page["conversations"].keys()
        parts |= page["conversations"]
        pages += 1
        assert page["total_unread"] == 260
        if "cursor" not in page:
            break
        data = {"cursor": page["cursor"]}

    assert pages > 1
    assert sum(parts.values()) == len(parts) == 260


# ---- sync.entries ----------------------------------------------------------------------------------------------------


def seqs(page: dict[str, Any]) -> list[int]:
    return [entry["seq"] for entry in page["entries"]]


@pytest.mark.parametrize(
    ("data", "expected", "more"),
    [
        ({"after": 0}, [1, 2, 3, 4, 5], False),
        ({"after": 0, "limit": 5}, [1, 2, 3, 4, 5], False),
        ({"after": 0, "limit": 4}, [1, 2, 3, 4], True),
        ({"after": 0, "limit": 1}, [1], True),
        ({"after": 2, "limit": 2}, [3, 4], True),
        ({"after": 3}, [4, 5], False),
        ({"after": 4}, [5], False),
        ({"after": 4, "limit": 1}, [5], False),
        ({"after": 5}, [], False),
        ({"after": 6}, [], False),
        ({"after": 2**53 - 1}, [], False),
        ({"before": 2**53 - 1}, [5, 4, 3, 2, 1], False),
        ({"before": 7}, [5, 4, 3, 2, 1], False),
        ({"before": 6}, [5, 4, 3, 2, 1], False),
        ({"before": 6, "limit": 5}, [5, 4, 3, 2, 1], False),
        ({"before": 6, "limit": 4}, [5, 4, 3, 2], True),
        ({"before": 6, "limit": 1}, [5], True),
        ({"before": 5, "limit": 2}, [4, 3], True),
        ({"before": 3}, [2, 1], False),
        ({"before": 2}, [1], False),
        ({"before": 2, "limit": 1}, [1], False),
        ({"before": 1}, [], False),
        ({"before": 0}, [], False),
    ],
)
def test_pages_of_history_in_both_directions_at_every_edge(
    house: House, data: dict[str, Any], expected: list[int], *, more: bool
) -> None:
    _, bob = chat(house, 5)

    page = bob.ok("sync.entries", {"conv": CONV} | data)

    assert (seqs(page), page["last_seq"], page["more"]) == (expected, 5, more)


@pytest.mark.parametrize("data", [{"after": 0}, {"after": 9}, {"before": 0}, {"before": 9}])
def test_a_conversation_in_which_nobody_has_said_anything_is_empty(house: House, data: dict[str, Any]) -> None:
    page = house.connect("alice").ok("sync.entries", {"conv": CONV} | data)

    assert page == {"entries": [], "last_seq": 0, "more": False}


@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.parametrize("length", [1, 3000, MAX_TEXT_BYTES])
def test_a_long_history_comes_in_pages_that_fit_each_entry_once(house: House, direction: str, length: int) -> None:
    _, bob = chat(house, 23, length)
    got: list[int] = []
    at = 0 if direction == "after" else 24
    while True:
        raw = raw_reply(house, bob, "entries", {"conv": CONV, direction: at, "limit": 10})
        assert len(raw.encode()) <= MAX_FRAME_BYTES
        page = json.loads(raw)["data"]
        assert page["last_seq"] == 23
        assert 1 <= len(page["entries"]) <= 10
        got += seqs(page)
        if not page["more"]:
            break
        at = got[-1]

    expected = list(range(1, 24))
    assert got == (expected if direction == "after" else expected[::-1])


def test_history_is_there_before_the_fan_out(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")
    alice.say("x", "c1", to="bob")

    page = bob.ok("sync.entries", {"conv": CONV, "after": 0})

    assert (seqs(page), page["last_seq"], page["more"]) == ([1], 1, False)


def test_what_was_acked_is_in_the_next_ascending_read_even_when_replicas_lag(house: House) -> None:
    alice, bob = chat(house, 3)
    alice.say("new", "new", to="bob")

    with house.watched(after=lagging(4, 1)):
        page = bob.ok("sync.entries", {"conv": CONV, "after": 0})

    assert (seqs(page), page["last_seq"], page["more"]) == ([1, 2, 3, 4], 4, False)


def test_a_lagging_replica_never_makes_a_page_contradict_itself(house: House) -> None:
    _, bob = chat(house, 6)
    for first, second in ((0, 0), (0, 2), (2, 0), (3, 3)):
        with house.watched(after=lagging(6, first, second)):
            page = bob.ok("sync.entries", {"conv": CONV, "before": 100})

        assert seqs(page) == sorted(seqs(page), reverse=True)
        assert page["last_seq"] >= max(seqs(page))


def test_a_hole_that_a_replica_shows_ends_the_page(house: House) -> None:
    _, bob = chat(house, 6)

    def hole(call: Call, answer: dict[str, Any]) -> None:
        if call.operation == "Query" and call.params["Limit"] > 1:
            answer["Items"] = [item for item in answer["Items"] if item["seq"] != {"N": "4"}]

    with house.watched(after=hole):
        page = bob.ok("sync.entries", {"conv": CONV, "before": 7})

    assert (seqs(page), page["last_seq"], page["more"]) == ([6, 5], 6, True)


def lagging(length: int, *lags: int) -> Any:
    """Eventually consistent Queries of so many entries lack the newest few; each reaches another replica."""
    left = list(lags)

    def after(call: Call, answer: dict[str, Any]) -> None:
        if call.operation == "Query" and not call.params["ConsistentRead"] and left:
            newest = length - left.pop(0)
            answer["Items"] = [item for item in answer["Items"] if int(item["seq"]["N"]) <= newest]

    return after


# ---- for members alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conv", [CONV, "g:theirs", "g:nowhere", "d:aaa:bbb"])
@pytest.mark.parametrize(
    ("op", "data"),
    [
        ("sync.entries", {"after": 0}),
        ("sync.entries", {"before": 100}),
        ("sync.read", {"seq": 1}),
        ("message.send", {"cmid": "c", "kind": "text", "body": {"text": "x"}}),
        ("group.info", {}),
        ("group.members", {}),
    ],
)
def test_who_is_not_in_a_conversation_sees_and_does_nothing_in_it(
    house: House, conv: str, op: str, data: dict[str, Any]
) -> None:
    alice, _ = chat(house, 2)
    alice.ok("group.create", {"gid": "theirs", "name": "Theirs", "members": ["bob"]})
    house.fan_out()
    mallory = house.connect("mallory")
    before = house.items("ConversationTable"), house.items("InboxTable")

    error = mallory.error(op, {"conv": conv} | data)

    if op.startswith("group.") and conv.startswith("d:"):
        assert error["code"] == "bad_request"
    else:
        assert error["code"] == "not_member"
        assert error["message"] == f"not a member of {conv}", "one that exists looks like one that does not"
    assert (house.items("ConversationTable"), house.items("InboxTable")) == before


@pytest.mark.parametrize("conv", [CONV, "g:theirs", "g:nowhere"])
def test_who_is_not_in_a_conversation_acknowledges_nothing_in_it(house: House, conv: str) -> None:
    alice, bob = chat(house, 2)
    alice.ok("group.create", {"gid": "theirs", "name": "Theirs", "members": ["bob"]})
    house.fan_out()
    alice.pushes.clear()
    before = house.items("InboxTable")

    assert house.connect("mallory").error("sync.ack", {"acks": [{"conv": conv, "seq": 1}]})["code"] == "not_member"

    assert house.items("InboxTable") == before
    assert alice.pushes == []
    assert bob.got("delivered") == []


@pytest.mark.parametrize(
    ("data", "expected", "more"),
    [
        ({"after": 0}, [4, 5, 6], False),
        ({"after": 0, "limit": 2}, [4, 5], True),
        ({"after": 2}, [4, 5, 6], False),
        ({"after": 3}, [4, 5, 6], False),
        ({"after": 4}, [5, 6], False),
        ({"before": 100}, [6, 5, 4], False),
        ({"before": 100, "limit": 3}, [6, 5, 4], False),
        ({"before": 100, "limit": 2}, [6, 5], True),
        ({"before": 5}, [4], False),
        ({"before": 4}, [], False),
        ({"before": 2}, [], False),
    ],
)
def test_a_later_member_sees_nothing_of_before(
    house: House, data: dict[str, Any], expected: list[int], *, more: bool
) -> None:
    late = joined_at(house, 4)

    page = late.ok("sync.entries", {"conv": "g:g"} | data)

    assert (seqs(page), page["more"]) == (expected, more)


@pytest.mark.parametrize("seq", [1, 3])
def test_a_later_member_marks_nothing_of_before(house: House, seq: int) -> None:
    late = joined_at(house, 4)
    (joined,) = late.ok("sync.inbox")["conversations"]

    assert late.error("sync.read", {"conv": "g:g", "seq": seq})["code"] == "not_found"
    late.ask("sync.ack", {"acks": [{"conv": "g:g", "seq": seq}]})  # no news: they have nothing up to there to miss

    (row,) = late.ok("sync.inbox")["conversations"]
    assert row["ack_seq"] < 4
    assert row | {"ack_seq": 0} == joined | {"ack_seq": 0}
    assert late.ok("sync.read", {"conv": "g:g", "seq": 4})["read_seq"] == 4


def joined_at(house: House, seq: int) -> Device:
    """A member who joined with the entry `seq` of a group with 6 entries."""
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "g", "name": "G"})
    for i in range(2, 7):
        if i == seq:
            alice.ok("group.invite", {"conv": "g:g", "users": ["late"]})
        else:
            alice.say(f"{i}", f"c{i}", conv="g:g")
    return house.connect("late")
