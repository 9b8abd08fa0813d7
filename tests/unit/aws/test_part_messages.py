"""Messages of the queue of parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.aws.failures import NotQueued
from im.aws.part_queue import Part, SqsPartQueue, decode, encode
from im.aws.queue_messages import MAX_BATCH, MAX_ENTRIES, MAX_ID, NewerMessage, UnreadableMessage
from im.domain.ids import ConnectionId, ConvId, Seq
from tests.unit.aws.not_messages import NOT_MESSAGES


def part(number: int = 0, of: int = 1, conv: str = "g:a", seqs: Iterable[int] = (7, 8, 9), **more: Any) -> Part:
    return Part(ConvId(conv), tuple(map(Seq, seqs)), number, of, **more)


seqs = st.integers(1, 10**12)
parts = st.builds(
    lambda conv, some, of, number, origins: part(
        number % of, of, conv, sorted(some), origins={Seq(s): ConnectionId(c) for s, c in origins}
    ),
    conv=st.sampled_from(["g:a", f"g:{'x' * 64}"]),
    some=st.sets(seqs, min_size=1, max_size=MAX_ENTRIES),
    of=st.sampled_from([1, 2, 4, 8, 16]),
    number=st.integers(0, 15),
    origins=st.lists(st.tuples(seqs, st.sampled_from(["conn-1=", "ABCDEeZBCGwCJaQ="])), max_size=10),
)


@given(parts)
def test_a_part_comes_out_as_it_went_in(sent: Part) -> None:
    assert decode(encode(sent)) == sent


def test_a_part_is_small_however_long_its_entries_are() -> None:
    seqs = range(10**12 - 10, 10**12)
    origins = {Seq(seq): ConnectionId("A" * 20) for seq in seqs}

    assert len(encode(part(conv=f"g:{'x' * 64}", seqs=seqs))) <= 320
    assert len(encode(part(conv=f"g:{'x' * 64}", seqs=seqs, origins=origins))) <= 320 + 10 * 40


GOOD: dict[str, Any] = json.loads(encode(part(1, 4, origins={Seq(7): ConnectionId("conn-1=")})))

UNREADABLE = {
    **NOT_MESSAGES,
    "an entry": json.dumps({"v": 1, "entry": {"conv": "g:a", "seq": 1}, "origin": None}),
    "an older version": json.dumps(GOOD | {"v": 0}),
    **{f"no {name}": json.dumps({k: v for k, v in GOOD.items() if k != name}) for name in GOOD},
    **{f"{name} is null": json.dumps(GOOD | {name: None}) for name in GOOD},
    **{f"{name} is a list": json.dumps(GOOD | {name: []}) for name in GOOD},
    **{f"{name} is a word": json.dumps(GOOD | {name: "x"}) for name in GOOD},
    "one is infinite": json.dumps(GOOD | {"seqs": [7, float("inf")]}),
    "one is no number": json.dumps(GOOD | {"seqs": [float("nan")]}),
    "an origin of no entry": json.dumps(GOOD | {"origins": {"x": "conn-1="}}),
    "ends before it begins": json.dumps(GOOD | {"seqs": [9, 8]}),
    "one twice": json.dumps(GOOD | {"seqs": [8, 8]}),
    "begins before the log": json.dumps(GOOD | {"seqs": [0]}),
    "begins below the log": json.dumps(GOOD | {"seqs": [-5, 7]}),
    "more than a batch": json.dumps(GOOD | {"seqs": list(range(1, MAX_ENTRIES + 2))}),
    "one part too far": json.dumps(GOOD | {"number": 4}),
    "below the first part": json.dumps(GOOD | {"number": -1}),
    "of no parts": json.dumps(GOOD | {"number": 0, "of": 0}),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_none_of_ours_is_unreadable(body: str) -> None:
    with pytest.raises(UnreadableMessage):
        decode(body)


@given(st.dictionaries(st.sampled_from([*GOOD, "more"]), st.none() | st.booleans() | st.integers() | st.text()))
def test_no_message_raises_anything_but_that_it_is_unreadable(changes: dict[str, Any]) -> None:
    try:
        decode(json.dumps(GOOD | changes))
    except (UnreadableMessage, NewerMessage):
        return


def test_a_newer_version_is_for_a_newer_program() -> None:
    with pytest.raises(NewerMessage):
        decode(json.dumps(GOOD | {"v": 2}))


class Client:
    """Takes what is sent, and refuses the parts of these numbers."""

    def __init__(self, refused: set[str] | None = None) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.refused = refused or set()

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - SQS's
        assert QueueUrl == "https://queue"
        assert 1 <= len(Entries) <= 10
        ids = [entry["Id"] for entry in Entries]
        assert len(set(ids)) == len(ids), "SQS refuses a batch with an id twice"
        self.requests.append(Entries)
        failed = [{"Id": i, "Code": "InternalError", "SenderFault": False} for i in ids if i in self.refused]
        return {"Successful": [], "Failed": failed} if failed else {"Successful": []}

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [entry for request in self.requests for entry in request]


def queue(client: Client) -> SqsPartQueue:
    return SqsPartQueue(client, "https://queue")  # type: ignore[arg-type]


@pytest.mark.parametrize(("of", "requests"), [(1, [1]), (2, [2]), (8, [8]), (16, [MAX_BATCH, 6])])
def test_parts_are_queued_ten_a_request_each_in_a_group_of_its_own(of: int, requests: list[int]) -> None:
    client = Client()

    queue(client).put_all([part(number, of) for number in range(of)])

    assert [len(entries) for entries in client.requests] == requests
    assert [decode(message["MessageBody"]) for message in client.sent] == [part(number, of) for number in range(of)]
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        assert len({message[name] for message in client.sent}) == of


def test_the_same_part_is_one_message_and_the_next_entries_another_one_of_its_group() -> None:
    client = Client()
    for seqs in ((7, 8, 9), (7, 8, 9), (10,), (7, 9), (8, 9)):
        queue(client).put_all([part(seqs=seqs)])

    ids = [message["MessageDeduplicationId"] for message in client.sent]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    assert len({message["MessageGroupId"] for message in client.sent}) == 1


def test_parts_of_two_groups_wait_for_nothing_of_each_other() -> None:
    client = Client()
    queue(client).put_all([part(conv="g:a")])
    queue(client).put_all([part(conv="g:b")])

    assert len({message["MessageGroupId"] for message in client.sent}) == 2


def test_names_are_no_longer_than_sqs_allows() -> None:
    client = Client()
    queue(client).put_all([part(15, 16, conv=f"g:{'x' * 64}", seqs=range(10**12 - 10, 10**12))])

    (message,) = client.sent
    assert all(0 < len(message[name]) <= MAX_ID for name in ("MessageGroupId", "MessageDeduplicationId"))


@pytest.mark.parametrize("refused", ["0", "11"])
def test_a_part_that_sqs_refuses_is_no_success(refused: str) -> None:
    with pytest.raises(NotQueued, match="InternalError"):
        queue(Client({refused})).put_all([part(number, 16) for number in range(16)])


def test_nothing_to_queue_is_no_request() -> None:
    client = Client()

    queue(client).put_all([])

    assert client.requests == []
