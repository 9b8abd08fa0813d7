"""What an operator is told about a dead letter: which entries, from where, why; never what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from im.aws import part_queue, queue
from im.aws.part_queue import Part
from im.aws.queue import Queued
from im.domain.entries import EXPRESS, Entry
from im.domain.ids import Cmid, ConnectionId, ConvId, Seq, UserId
from imclient.admin import dead_letters
from imclient.admin.dead_letters import Content, Source, Unsettled, content_of, dead_letter

CONV = ConvId("d:ann:bob")
ENTRY = Entry(
    conv=CONV,
    seq=Seq(17),
    n=12,
    epoch=Seq(0),
    kind="text",
    sender=UserId("ann"),
    ts=1_763_717_400_000,
    body=json.dumps({"text": "secret \uffff"}, ensure_ascii=False),
    cmid=Cmid("c1"),
    mentions=(),
    reply_to=None,
)


@pytest.mark.parametrize("only", [None, UserId("bob")])
def test_an_entry_as_the_functions_queue_it(only: UserId | None) -> None:
    body = queue.encode(Queued(ENTRY, ConnectionId("conn-1"), only))

    assert content_of(body) == Content("fanout", CONV, 17, 17)


def test_a_part_as_the_functions_queue_it() -> None:
    part = Part(ConvId("g:team"), (Seq(3), Seq(7), Seq(9)), number=1, of=4, origins={Seq(3): ConnectionId("conn-1")})

    assert content_of(part_queue.encode(part)) == Content("broadcast", "g:team", 3, 9)


def test_what_overtakes_goes_back_to_where_it_overtakes() -> None:
    """The kinds are the server's: this client knows them by heart."""
    for kind in (*EXPRESS, "text", "recall"):
        body = queue.encode(Queued(replace(ENTRY, kind=kind), None))

        (content,) = {content_of(body), content_of(body, "fanout"), content_of(body, "express")}
        assert content == Content("express" if kind in EXPRESS else "fanout", CONV, 17, 17)
    assert set(EXPRESS) == set(dead_letters.EXPRESS)


def test_a_part_is_from_where_its_letter_says() -> None:
    body = part_queue.encode(Part(ConvId("g:team"), (Seq(3),), number=1, of=4))
    arn = "arn:aws:sqs:eu-central-1:123456789012:serverless-im-{}.fifo"

    assert content_of(body, "express_parts") == Content("express_parts", "g:team", 3, 3)
    assert content_of(body, "fanout") == Content("broadcast", "g:team", 3, 3)
    for ends, source in {"express-parts": "express_parts", "broadcast": "broadcast", "other": "broadcast"}.items():
        letter = received(body)
        letter["Attributes"]["DeadLetterQueueSourceArn"] = arn.format(ends)
        assert dead_letter(letter).source == source


@pytest.mark.parametrize("source", get_args(Source))
def test_of_what_cannot_be_read_sqs_says_where_it_was(source: Source) -> None:
    (end,) = [end for end, its in dead_letters.SOURCES.items() if its == source]
    letter = received("{")
    letter["Attributes"]["DeadLetterQueueSourceArn"] = f"arn:aws:sqs:eu-central-1:123456789012:a-stack-{end}.fifo"

    assert (dead_letter(letter).content, dead_letter(letter).source) == (None, source)


def test_a_packet_whose_money_was_not_moved() -> None:
    assert content_of('{"v":1,"packet":"rpabc"}') == Unsettled("rpabc")
    assert content_of('{"v":1,"packet":null}') is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "secret",
        "[" * 100_000,
        "null",
        "[]",
        '"v"',
        "{}",
        '{"v": 1}',
        '{"v": 2, "entry": {"conv": "d:a:b", "seq": 1}}',
        '{"v": 1, "entry": null}',
        '{"v": 1, "entry": {"conv": 5, "seq": 1}}',
        '{"v": 1, "entry": {"conv": "d:a:b", "seq": "1"}}',
        '{"v": 1, "entry": {"conv": "d:a:b", "seq": 0}}',
        '{"v": 1, "entry": {"conv": "d:a:b", "seq": true}}',
        '{"v": 1, "conv": "g:x", "first": 1, "last": 2}',
        '{"v": 1, "conv": "g:x", "first": 2, "last": 1, "number": 0, "of": 1}',
        '{"v": 1, "conv": null, "first": 1, "last": 1, "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": [], "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": [2, 1], "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": [1, 1], "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": [1, true], "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": "12", "number": 0, "of": 1}',
        '{"v": 1, "conv": "g:x", "seqs": [1], "of": 1}',
        # A check of who has received what: no dead letter, whatever it looks like.
        '{"v": 1, "conv": "g:x", "seqs": [1], "users": ["a"], "round": 1}',
    ],
)
def test_what_cannot_be_read(body: str) -> None:
    assert content_of(body) is None


def received(body: str, **attributes: str) -> Any:
    return {
        "MessageId": "m-1",
        "ReceiptHandle": "r-1",
        "Body": body,
        "Attributes": {
            "MessageGroupId": "d:ann:bob",
            "SentTimestamp": "1763717400000",
            "ApproximateReceiveCount": "12",
        },
        "MessageAttributes": {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
    }


def test_a_letter_that_sqs_put_there_says_so() -> None:
    letter = dead_letter(received(queue.encode(Queued(ENTRY, None))))

    assert (letter.source, letter.reason, letter.received) == ("fanout", "failed again and again", 12)
    assert "secret" not in repr(letter)


def test_a_letter_that_a_function_put_there_says_why_and_from_where() -> None:
    letter = dead_letter(received("{", source="broadcast", parked="Unreadable\x1b[2J" + "!" * 500))

    assert (letter.content, letter.source) == (None, "broadcast")
    assert letter.reason.startswith(r"Unreadable\x1b[2J!!")
    assert len(letter.reason) == 200


@pytest.mark.parametrize("told", ["", "elsewhere"])
def test_nobody_knows_where_an_unreadable_letter_is_from(told: str) -> None:
    assert dead_letter(received("{", source=told)).source is None
