"""The parts without a network: percentiles, printable text, frames, ids, the stack file, tokens."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.errors import FrameTooLargeError, MalformedEntryError, StackError
from imclient.frames import Entry, Page, Push, Reply, decode, encode_request
from imclient.ids import ConvId, UserId, direct_conversation, peer_in
from imclient.latency import percentile
from imclient.printable import printable
from imclient.socket import connection_url
from imclient.stack import SigningKey, load_stack
from imclient.tokens import mint_token


@given(st.lists(st.integers(), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(values, percent)

    def enough(candidate: float) -> bool:
        return sum(value <= candidate for value in values) >= math.ceil(len(values) * percent / 100)

    assert found in values
    assert enough(found)
    assert not any(enough(value) for value in values if value < found)


def test_percentiles_of_known_values() -> None:
    values = list(range(1, 101))
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7], 50) == 7
    for wrong in (0, -1, 101):
        with pytest.raises(ValueError, match="percentage"):
            percentile(values, wrong)
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(st.text())
def test_printed_text_holds_nothing_a_terminal_acts_on(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000]
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字", "plain é 漢字"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("one\r\ntwo\nthree", "one ⏎ two ⏎ three"),
        ("a\tb", "a b"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\x9b31m", "\\x9b31m"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "[]",
        "1",
        '{"message": "Internal server error", "connectionId": "x", "requestId": "y"}',
        '{"id": null, "ok": false, "error": {"code": "bad_request", "message": "", "retryable": false}}',
        '{"id": "r1", "ok": true}',
        '{"id": "r1", "ok": "yes", "data": {}}',
        '{"id": "r1", "ok": false, "error": "no"}',
        '{"push": "entries"}',
    ],
)
def test_what_is_neither_reply_nor_push_is_nothing(message: str) -> None:
    assert decode(message) is None


def test_replies_and_pushes_are_read_with_fields_nobody_knows() -> None:
    assert decode('{"id": "r1", "ok": true, "data": {"a": 1}, "new": 1}') == Reply("r1", {"a": 1})
    assert decode('{"push": "typing", "data": {}, "new": 1}') == Push("typing", {})
    refused = decode(
        '{"id": "r1", "ok": false, "error":'
        ' {"code": "rate_limited", "message": "m", "retryable": true, "retry_after_ms": 900}}'
    )
    assert isinstance(refused, Reply)
    assert refused.error is not None
    assert (refused.error.code, refused.error.message) == ("rate_limited", "m")
    assert (refused.error.retryable, refused.error.retry_after_ms) == (True, 900)


def test_a_request_has_the_protocols_fields_and_its_limit_in_bytes() -> None:
    assert json.loads(encode_request("message", "send", "r1", {"a": "é"})) == {
        "route": "message",
        "op": "send",
        "id": "r1",
        "data": {"a": "é"},
    }
    with pytest.raises(FrameTooLargeError):
        encode_request("message", "send", "r1", {"a": "é" * 17_000})


def test_entries_are_read_or_refused() -> None:
    wire = {"conv": "g:t", "seq": 2, "n": 1, "kind": "text", "from": "bob", "ts": 5, "body": {"text": "hi"}}
    entry = Entry.from_wire({**wire, "cmid": "c", "mentions": ["@all"], "reply_to": 1, "new": 1})
    assert (entry.sender, entry.cmid, entry.mentions, entry.reply_to) == ("bob", "c", ("@all",), 1)
    assert entry.countable
    assert not Entry.from_wire({**wire, "kind": "members"}).countable
    wrongs: list[object] = [
        {},
        [],
        {**wire, "seq": 0},
        {**wire, "seq": "1"},
        {k: v for k, v in wire.items() if k != "body"},
    ]
    for wrong in wrongs:
        with pytest.raises(MalformedEntryError):
            Entry.from_wire(wrong)


def test_what_became_of_a_message_is_read_and_what_it_is_not_left_alone() -> None:
    wire = {"conv": "g:t", "seq": 2, "n": 1, "kind": "text", "from": "bob", "ts": 5, "body": {"text": "hi"}}
    entry = Entry.from_wire(
        {
            **wire,
            "changed": 9,
            "edited": {"seq": 7, "ts": 6},
            "recalled": {"by": "eve", "ts": 7},
            "reactions": {"👍": {"count": 2, "users": ["a"]}},
            "pinned": True,
            "quote": {"seq": 1, "preview": "hello"},
            "forwarded": {"from": "dave", "ts": 1},
        }
    )
    assert (entry.changed, entry.edited, entry.recalled_by, entry.pinned) == (9, True, "eve", True)
    assert (entry.reactions, entry.quoted, entry.forwarded_from) == ({"👍": 2}, "hello", "dave")
    nonsense = dict.fromkeys(("changed", "edited", "recalled", "reactions", "pinned", "quote", "forwarded"), "x")
    assert Entry.from_wire({**wire, **nonsense}) == Entry.from_wire(wire)
    assert Entry.from_wire({**wire, "reactions": {"👍": 1, "🙏": {}}}) == Entry.from_wire(wire)
    assert Entry.from_wire({**wire, "kind": "merged"}).countable


@pytest.mark.parametrize(
    ("seqs", "last_seq", "more", "settled"),
    [
        ([3, 9], 20, True, (3, 9)),  # what is above the last entry comes with the next page
        ([3, 9], 20, False, (3, 20)),  # nothing else that the user may see
        ([9, 3], 9, False, (3, 9)),
        ([], 20, False, (3, 20)),
        ([], 20, True, (3, 2)),  # a page of nothing settles nothing
        ([], 0, False, (3, 2)),
        ([5], 4, False, (3, 5)),
    ],
)
def test_a_page_settles_the_log_from_what_was_asked_to_its_end(
    seqs: list[int], last_seq: int, *, more: bool, settled: tuple[int, int]
) -> None:
    wire = {"conv": "g:t", "n": 1, "kind": "text", "from": "bob", "ts": 5, "body": {}}
    reply = {"entries": [{**wire, "seq": seq} for seq in seqs], "last_seq": last_seq, "more": more}

    page = Page.from_wire(reply, after=2)

    assert (page.first, page.last) == settled
    assert page.more is more
    assert [entry.seq for entry in page.entries] == seqs


def test_direct_conversations_are_named_alike_by_both() -> None:
    alice, bob = UserId("alice"), UserId("bob")
    assert direct_conversation(alice, bob) == direct_conversation(bob, alice) == "d:alice:bob"
    assert peer_in(ConvId("d:alice:bob"), alice) == bob
    assert peer_in(ConvId("d:alice:bob"), bob) == alice
    assert peer_in(ConvId("d:alice:bob"), UserId("eve")) is None
    assert peer_in(ConvId("g:team"), alice) is None


def test_the_address_to_connect_to_carries_the_protocols_query() -> None:
    url = connection_url("ws://127.0.0.1:1/a/b?x=1", token="t&t", device="d", platform="web")
    assert url == "ws://127.0.0.1:1/a/b?x=1&token=t%26t&device=d&platform=web&v=1"


def test_a_stack_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    jwt_part = {"alg": "HS256", "secret": "s", "iss": "issuer"}
    path.write_text(json.dumps({"websocket": "ws://x", "web": "http://y", "stack": "im", "jwt": jwt_part}))

    stack = load_stack(path)

    assert (stack.websocket, stack.web, stack.name) == ("ws://x", "http://y", "im")
    assert stack.signing == SigningKey("s", issuer="issuer")
    assert "secret" not in repr(SigningKey("hidden-secret")).replace("SigningKey", "")


@pytest.mark.parametrize("content", ["", "{}", '{"websocket": "ws://x"}', '{"websocket": "", "jwt": {}}'])
def test_what_is_no_stack_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(content)
    with pytest.raises(StackError):
        load_stack(path)


def test_a_token_says_who_and_how_long() -> None:
    key = SigningKey("x" * 32, issuer="me", audience="im")
    token = mint_token(key, UserId("alice"), now=1_000, ttl=60)
    claims = jwt.decode(
        token, "x" * 32, algorithms=["HS256"], options={"verify_exp": False}, audience="im", issuer="me"
    )
    assert claims == {"sub": "alice", "iat": 1_000, "exp": 1_060, "iss": "me", "aud": "im"}
    for wrong in ("", "a b", "x" * 65):
        with pytest.raises(ValueError, match="user id"):
            mint_token(key, UserId(wrong), now=0)
    with pytest.raises(ValueError, match="second"):
        mint_token(key, UserId("alice"), now=0, ttl=0)
