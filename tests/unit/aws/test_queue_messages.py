"""Messages of the fan-out queues."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.aws.failures import NotQueued
from im.aws.queue import FanoutQueue, Queued, decode, encode
from im.aws.queue_messages import MAX_ID, NewerMessage, UnreadableMessage, queue_name
from im.domain.entries import MAX_BODY_BYTES, Entry, Forwarded
from im.domain.ids import Cmid, ConnectionId, ConvId, Seq, UserId
from im.domain.message_state import Edited, Reaction, State
from tests.unit.aws.not_messages import NOT_MESSAGES

SQS_TEXT = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""SendMessage: anything else is not allowed, and is replaced by U+FFFD before it is stored."""

GOOD: dict[str, Any] = json.loads(
    encode(Queued(Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, "{}"), None))
)

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
entries = st.builds(
    Entry,
    conv=st.sampled_from(["g:a", "d:alice:bob"]).map(ConvId),
    seq=st.integers(1, 10**12).map(Seq),
    n=st.integers(0, 10**12),
    epoch=st.integers(0, 10**12).map(Seq),
    kind=st.sampled_from(["text", "custom", "members"]),
    sender=st.just(UserId("alice")),
    ts=st.integers(0, 2**53),
    body=texts.map(lambda text: json.dumps({"text": text}, ensure_ascii=False)),
    cmid=st.none() | texts.map(Cmid),
    mentions=st.lists(st.sampled_from(["bob", "carol", "@all"]), max_size=3).map(tuple),
    reply_to=st.none() | st.integers(1, 2**53).map(Seq),
    large=st.integers(0, 10**12).map(Seq),
    prior=st.integers(0, 10**12).map(Seq),
    forwarded=st.none() | st.builds(Forwarded, st.just(UserId("carol")), st.integers(0, 2**53)),
).map(lambda e: replace(e, n=min(e.n, e.seq), epoch=min(e.epoch, e.seq), prior=min(e.prior, e.epoch, e.seq)))


@given(entries, st.none() | st.just(ConnectionId("conn-1=")))
def test_a_message_comes_out_as_it_went_in(entry: Entry, origin: ConnectionId | None) -> None:
    body = encode(Queued(entry, origin))

    assert decode(body) == Queued(entry, origin)


def test_what_has_become_of_an_entry_does_not_travel_with_it() -> None:
    """Whoever gets it from the queue gets its changes from there too, as entries of their own."""
    entry = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, '{"text":"x"}')
    reacted = {"👍": Reaction(1, (UserId("bob"),))}
    state = State(Seq(9), (Seq(8),), Edited(Seq(8), 6), '{"text":"first"}', reactions=reacted, pinned=Seq(7))

    assert decode(encode(Queued(replace(entry, state=state), None))).entry == entry


@given(entries)
def test_a_message_holds_only_characters_that_sqs_keeps(entry: Entry) -> None:
    assert SQS_TEXT.fullmatch(encode(Queued(entry, None)))


@pytest.mark.parametrize("letter", ["\ufffe", "\uffff", "\0", "\x1f", "\x7f", "\ufffd", "\U0010ffff"])
def test_characters_that_sqs_does_not_keep_arrive_all_the_same(letter: str) -> None:
    body = json.dumps({"text": f"a{letter}b"}, ensure_ascii=False)
    entry = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, body, cmid=Cmid(letter))

    text = encode(Queued(entry, None))

    assert SQS_TEXT.fullmatch(text)
    arrived = decode(text).entry
    assert arrived.cmid == letter
    assert json.loads(arrived.body) == {"text": f"a{letter}b"}


@pytest.mark.parametrize("letter", ["x", '"', "\\", "é", "日", "😀"])
def test_the_largest_message_fits_into_the_queue(letter: str) -> None:
    body = letter * (MAX_BODY_BYTES // len(letter.encode()))
    entry = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, body)

    assert len(encode(Queued(entry, None)).encode()) < 256 * 1024


def without(name: str) -> dict[str, Any]:
    return GOOD | {"entry": {k: v for k, v in GOOD["entry"].items() if k != name}}


def changed(name: str, value: object) -> dict[str, Any]:
    return GOOD | {"entry": GOOD["entry"] | {name: value}}


NEW = {"large": 0, "prior": 0, "forwarded": None}
"""What messages of an earlier version do not have, and what they would say."""

UNREADABLE = {
    **NOT_MESSAGES,
    "an older version": json.dumps(GOOD | {"v": 0}),
    "no version": json.dumps(GOOD | {"v": "2"}),
    "entry is null": json.dumps(GOOD | {"entry": None}),
    "entry is a list": json.dumps(GOOD | {"entry": []}),
    "no origin": json.dumps({k: v for k, v in GOOD.items() if k != "origin"}),
    **{f"no {name}": json.dumps(without(name)) for name in GOOD["entry"] if name not in NEW},
    "seq is a word": json.dumps(changed("seq", "x")),
    "seq is null": json.dumps(changed("seq", None)),
    "seq is a list": json.dumps(changed("seq", [])),
    "seq is infinite": json.dumps(changed("seq", float("inf"))),
    "n is no number": json.dumps(changed("n", float("nan"))),
    "mentions is null": json.dumps(changed("mentions", None)),
    "mentions is a number": json.dumps(changed("mentions", 5)),
    "entry is a word": json.dumps(GOOD | {"entry": "conv"}),
    **{f"{name} is null": json.dumps(changed(name, None)) for name in ("large", "prior")},
    **{f"{name} is a word": json.dumps(changed(name, "x")) for name in NEW},
    **{
        f"forwarded is {wrong!r}": json.dumps(changed("forwarded", wrong))
        for wrong in (False, 0, 5, "", "a5", [], {}, ["carol"], ["carol", "x"], ["carol", None], ["carol", 5, 6])
    },
    "conv is a list": json.dumps(changed("conv", [])),
    "conv is null": json.dumps(changed("conv", None)),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_none_of_ours_is_unreadable(body: str) -> None:
    with pytest.raises(UnreadableMessage):
        decode(body)


@pytest.mark.parametrize("name", NEW)
def test_a_message_of_an_earlier_version_is_read(name: str) -> None:
    old = json.dumps(without(name))

    assert decode(old) == decode(json.dumps(changed(name, NEW[name])))


class Client:
    """Takes what is sent; nothing for the queue that is broken."""

    def __init__(self, broken: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self.requests = 0
        self.broken = broken

    def send_message(self, **message: Any) -> None:
        self.sent.append(message)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.requests += 1
        if QueueUrl == self.broken:
            return {"Failed": [{"Id": one["Id"], "Code": "InternalError"} for one in Entries]}
        self.sent += [{"QueueUrl": QueueUrl, **one} for one in Entries]
        return {}


@pytest.mark.parametrize("conv", ["g:a", "d:alice:bob", f"d:{'a' * 64}:{'b' * 64}", f"d:{'a' * 60}:{'b' * 63}"])
def test_a_conversation_is_one_group_and_an_entry_one_deduplication_id(conv: str) -> None:
    client = Client()
    queue = FanoutQueue(client, "https://queue")  # type: ignore[arg-type]
    for seq in (1, 1, 2):
        queue.put(Entry(ConvId(conv), Seq(seq), seq, Seq(0), "text", UserId("alice"), 5, "{}"), None)

    groups = {m["MessageGroupId"] for m in client.sent}
    ids = [m["MessageDeduplicationId"] for m in client.sent]

    assert len(groups) == 1
    assert ids[0] == ids[1] != ids[2]
    assert all(0 < len(name) <= MAX_ID for name in [*groups, *ids])
    assert decode(client.sent[2]["MessageBody"]).entry.seq == 2


def test_long_names_stay_apart() -> None:
    client = Client()
    queue = FanoutQueue(client, "https://queue")  # type: ignore[arg-type]
    for last in "bc":
        queue.put(
            Entry(ConvId(f"d:{'a' * 64}:{'b' * 63}{last}"), Seq(1), 1, Seq(0), "text", UserId("a"), 5, "{}"), None
        )

    assert len({m["MessageGroupId"] for m in client.sent}) == 2
    assert len({m["MessageDeduplicationId"] for m in client.sent}) == 2


def test_what_overtakes_goes_to_a_queue_of_its_own_whoever_queues_it() -> None:
    """Under the same names there as here: the auditor's repeat is dropped."""
    client = Client()
    queue = FanoutQueue(client, "https://queue", "https://express")  # type: ignore[arg-type]
    text = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, "{}")
    packet = replace(text, seq=Seq(2), n=2, kind="redpacket")
    for entry in (text, packet):
        queue.put(entry, None)
        queue.put_for(UserId("bob"), Queued(entry, None))
    queue.put_found([text, packet])

    sent = [(m["QueueUrl"], decode(m["MessageBody"]).entry.seq) for m in client.sent]
    assert sorted(sent) == [("https://express", 2)] * 3 + [("https://queue", 1)] * 3
    for entry in (text, packet):
        by_function, _, by_auditor = [m for m in client.sent if decode(m["MessageBody"]).entry == entry]
        for name in ("MessageGroupId", "MessageDeduplicationId"):
            assert by_function[name] == by_auditor[name]


def test_what_is_found_keeps_its_order_in_each_queue() -> None:
    client = Client()
    queue = FanoutQueue(client, "https://queue", "https://express")  # type: ignore[arg-type]
    kinds = ["redpacket" if seq % 3 == 0 else "text" for seq in range(1, 61)]
    queue.put_found(
        [
            Entry(ConvId("g:a"), Seq(i + 1), i + 1, Seq(0), kind, UserId("alice"), 5, "{}")
            for i, kind in enumerate(kinds)
        ]
    )

    for url, kind in (("https://queue", "text"), ("https://express", "redpacket")):
        seqs = [decode(m["MessageBody"]).entry.seq for m in client.sent if m["QueueUrl"] == url]
        assert seqs == [i + 1 for i in range(60) if kinds[i] == kind]
    assert client.requests == 6, "40 and 20, ten at a time"


@pytest.mark.parametrize("broken", ["https://queue", "https://express"])
def test_a_queue_that_takes_nothing_holds_up_no_other(broken: str) -> None:
    client = Client(broken)
    queue = FanoutQueue(client, "https://queue", "https://express")  # type: ignore[arg-type]
    text = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "text", UserId("alice"), 5, "{}")

    with pytest.raises(NotQueued, match="InternalError"):
        queue.put_found([text, replace(text, seq=Seq(2), n=2, kind="redpacket")])

    assert [m["QueueUrl"] for m in client.sent] == [{"https://queue", "https://express"}.difference({broken}).pop()]


def test_who_has_one_queue_sends_everything_there() -> None:
    client = Client()
    queue = FanoutQueue(client, "https://express")  # type: ignore[arg-type]
    packet = Entry(ConvId("g:a"), Seq(1), 1, Seq(0), "redpacket", UserId("alice"), 5, "{}")
    queue.put(packet, None)
    queue.put_for(UserId("bob"), Queued(packet, None))
    queue.put_found([packet])

    assert {m["QueueUrl"] for m in client.sent} == {"https://express"}


@pytest.mark.parametrize(
    "queue",
    [
        "https://sqs.eu-central-1.amazonaws.com/123456789012/im-express.fifo",
        "http://127.0.0.1:4566/000000000000/im-express.fifo",
        "arn:aws:sqs:eu-central-1:123456789012:im-express.fifo",
    ],
)
def test_a_queue_is_known_by_its_url_and_by_its_arn(queue: str) -> None:
    assert queue_name(queue) == "im-express.fifo"


def test_a_message_carries_every_field_of_its_entry() -> None:
    assert set(GOOD["entry"]) == {field.name for field in fields(Entry)} - {"state"}


@pytest.mark.parametrize(
    "wrong", [{"seq": 0}, {"n": 2}, {"n": -1}, {"epoch": 2}, {"epoch": -1}, {"prior": 1}, {"prior": -1}]
)
def test_an_entry_that_no_log_can_hold_is_unreadable(wrong: dict[str, int]) -> None:
    """It would come again and again: a state of the group that there will never be."""
    with pytest.raises(UnreadableMessage, match="no such entry"):
        decode(json.dumps(GOOD | {"entry": GOOD["entry"] | wrong}))


def test_a_newer_version_is_for_a_newer_program() -> None:
    with pytest.raises(NewerMessage):
        decode(json.dumps(GOOD | {"v": 2}))


def test_a_repeat_of_what_was_changed_meanwhile_says_so() -> None:
    """Its body is not the one that it was sent with, and its state does not travel."""
    entry = decode(json.dumps(GOOD)).entry
    changed = replace(entry, state=State(changed=Seq(9)))

    assert not decode(encode(Queued(entry, None))).changed
    assert decode(encode(Queued(changed, None))).changed
