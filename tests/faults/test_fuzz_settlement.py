"""Whatever the stream of red packets or settlement's queue brings: nothing fails; what is good beside it is paid."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from im.aws import settlement_queue
from tests.faults.fuzz_frames import ODD, json_copy, rendered
from tests.faults.fuzz_stage import OPENING, PACKET_TABLE, PACKETS, Stage, built_stage, copied, filled, record
from tests.faults.test_fuzz_events import LAST_CHANCE, RECEIVES, VALUES, Played, bodies, mutants, play, played, stored
from tests.integration import packet_books
from tests.integration.house import sample
from tests.integration.hypothesis_profile import examples
from tests.integration.packet_stream import change_record

__all__ = ["played"]

Data = dict[str, Any]


@dataclass(repr=False)
class Unpaid:
    """The world with claims that nobody has settled, and the stream's records of them."""

    stage: Stage
    records: dict[str, Data]
    """By the packet's name in the world."""


CLAIMS = {"lucky": "carol", "exclusive": "bob", "direct": "carol"}


@pytest.fixture(scope="module")
def unpaid() -> Iterator[Unpaid]:
    """Three claims."""
    with built_stage() as stage:
        stage.begin()
        for name, user in CLAIMS.items():
            stage.devices[user].ok("redpacket.claim", {"packet": PACKETS[name]})
        images = {after["pk"]["S"]: change_record(before, after) for before, after in stage.packet_changes()}
        stage.world = copied(filled(stage.tables.tables))
        yield Unpaid(stage, {name: images[PACKETS[name]] for name in CLAIMS})


def is_paid(stage: Stage, name: str) -> bool:
    """Whether the claim that was made last has been paid."""
    packet = stage.books().packets[PACKETS[name]]
    return str(len(packet.claims) - 1) in packet.lines


ATTRIBUTES = (
    "state",
    "claimers",
    "times",
    "seq",
    "opened",
    "expires",
    "total",
    "count",
    "kind",
    "sender",
    "conv",
    "pk",
)


@st.composite
def stream_records(draw: st.DrawFn, good: Data) -> Any:
    """A record that something was done to: in its form, or in an attribute of one of its images."""
    if draw(st.integers(0, 3)) == 0:
        return json.loads(rendered(stored(draw(mutants(good))), escapes=True))
    bad = json_copy(good)
    image = bad["dynamodb"][draw(st.sampled_from(["OldImage", "NewImage", "NewImage"]))]
    for name in draw(st.lists(st.sampled_from(ATTRIBUTES), min_size=1, max_size=2)):
        kind = draw(st.sampled_from(["S", "N", *VALUES]))
        image[name] = {kind: draw(VALUES[kind]) or "x"}
        if draw(st.integers(0, 4)) == 0:
            del image[name]
    return bad


def test_a_bad_record_of_a_packet_stops_no_other(unpaid: Unpaid, played: Played) -> None:
    outcomes: Counter[str] = Counter()
    stage = unpaid.stage

    @given(stream_records(unpaid.records["lucky"]))
    @settings(max_examples=examples(250))
    def batch(bad: Any) -> None:
        stage.begin()
        note(repr(bad)[:800])

        event = {"Records": [unpaid.records["direct"], bad, unpaid.records["exclusive"]]}
        assert stage.house.call("settlement", event) == {}

        assert is_paid(stage, "direct")
        assert is_paid(stage, "exclusive")
        queued = stage.queues.sent.get(stage.house.packets.queue_url, [])
        for message in queued:
            settlement_queue.decode(message["MessageBody"])
        outcomes["queued" if queued else "settled" if is_paid(stage, "lucky") else "left out"] += 1

    batch()
    played(outcomes)
    assert outcomes["left out"] > 50
    assert outcomes["settled"] > 10


def test_a_bad_message_of_settlement_is_done_parked_or_brought_again(unpaid: Unpaid, played: Played) -> None:
    outcomes: Counter[str] = Counter()
    stage = unpaid.stage
    good = json.dumps({"v": 1, "packet": PACKETS["lucky"]})

    @given(bodies(good), RECEIVES)
    @settings(max_examples=examples(200))
    def one(body: str, receives: int) -> None:
        stage.begin()
        note(body[:500])

        failed, parked = play(stage, "settlement", [record(body, "bad", receives=receives, queue="settlement.fifo")])

        assert parked in ([], [body])
        outcome = "comes again" if failed else "parked" if parked else "done"
        outcomes[outcome] += 1
        assert outcome != "done" or is_paid(stage, "lucky")
        if outcome == "comes again" and receives == int(LAST_CHANCE):
            assert json.loads(body)["v"] > 1, "only a newer version of this program may know what to do with it"

    one()
    played(outcomes)
    assert outcomes["parked"] > 50
    assert outcomes["done"] > 5


def test_all_that_is_good_is_paid_once_however_often_it_comes(unpaid: Unpaid) -> None:
    stage = unpaid.stage
    stage.begin()
    for _ in range(2):
        assert stage.house.call("settlement", {"Records": list(unpaid.records.values())}) == {}
    for name in CLAIMS:
        body = json.dumps({"v": 1, "packet": PACKETS[name]})
        assert play(stage, "settlement", [record(body, name, queue="settlement.fifo")]) == ([], [])

    assert stage.errors.error is None, stage.errors.error
    assert not packet_books.wrong(stage.books(), opening=OPENING, settled=True)


@pytest.mark.parametrize(
    "odd", [{}, {"Records": []}, {"time": None}, sample("expiry") | {"resources": ODD[0]}], ids=repr
)
def test_the_clock_may_say_what_it_likes(unpaid: Unpaid, odd: Data) -> None:
    stage = unpaid.stage
    stage.begin()

    assert stage.house.call("expiry", odd) == {}

    assert filled(stage.tables.tables)[PACKET_TABLE] == stage.world[PACKET_TABLE]
    assert stage.errors.error is None, stage.errors.error
