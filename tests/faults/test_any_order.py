"""Whatever the order, whatever is lost, repeated, late or dead: what was acknowledged is there once, for everybody.

Two hundred seeded runs of real clients against the real functions (simulation.py), each with faults of the network, of
API Gateway, of the queues and of AWS. A failure names its seed: `python -m tests.faults.simulate --seed N` shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from im.domain.entries import Entry
from im.flows.connect import Connections
from im.store.conversations import ConversationStore, entry_item
from im.store.inbox import InboxStore
from imclient.transcript import Transcript
from tests.faults.figures import take_down
from tests.faults.queues import Queue, Stream
from tests.faults.simulation import Stage, stage

CHUNKS, SEEDS = 4, 50

MUST_HAPPEN = (
    "apps killed",
    "connections refused",
    "connections that came too late",
    "connections that broke",
    "connections that opened for the server alone",
    "connections that stalled",
    "connections that went silent",
    "connections whose end nobody noticed",
    "death after",
    "death before",
    "duplicates dropped",
    "entries by fetch",
    "entries by push",
    "entries that nobody but the auditor queued",
    "error",
    "express: deliveries that failed",
    "express: the queue dropped a repeat",
    "fanout: deliveries that failed",
    "fanout: messages that came twice",
    "fanout: the queue dropped a repeat",
    "frames lost",
    "group.invite",
    "group.join",
    "group.leave",
    "group.remove",
    "kicked",
    "messages that overtook others",
    "new instances",
    "one batch of several groups",
    "pushes made again",
    "pushes that vanished",
    "pushes to connections that are gone",
    "redelivery: messages that came twice",
    "repeated",
    "replies lost",
    "sends that the server had already",
    "storms",
    "stream: batches that came again",
    "throttled",
    "timeout",
)
"""What each chunk of the seeds has to come by."""


@pytest.fixture
def here() -> Iterator[Stage]:
    """Where seeds are played."""
    with stage() as made:
        yield made


@pytest.mark.timeout(900)  # on a busy machine
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_and_nothing_comes_twice(here: Stage, chunk: int) -> None:
    happened, outcomes = Counter[str](), Counter[str]()
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        outcome = here.play(seed)
        happened += outcome.happened
        assert outcome.wrong == [], f"seed {seed}"
        outcomes["promises kept"] += 1
    take_down(f"seeds of chunk {chunk}", "seeds", outcomes)

    assert happened["messages acked"] > 20 * SEEDS
    assert [name for name in MUST_HAPPEN if not happened[name]] == []


@pytest.mark.parametrize("seed", range(5, 10))
def test_a_seed_decides_everything(here: Stage, seed: int) -> None:
    one, other = here.play(seed, traced=True), here.play(seed, traced=True)

    assert len(one.trace) > 300
    assert one.happened["messages that overtook others"]
    assert one.trace == other.trace
    assert one.tables == other.tables


# ---- it notices ------------------------------------------------------------------------------------------------------


class _Unconditional:
    """A DynamoDB client that forgets conditions."""

    def __init__(self, client: Any) -> None:
        self.client, self.exceptions = client, client.exceptions

    def update_item(self, **request: Any) -> Any:
        """Write, come what may."""
        request.pop("ConditionExpression")
        return self.client.update_item(**request)


def entries_go_over_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: ConversationStore, entry: Entry) -> None:
        self.client.put_item(TableName=self.table, Item=entry_item(entry))

    monkeypatch.setattr(ConversationStore, "append", append)


def retries_are_not_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConversationStore, "claim_cmid", lambda _store, _conv, _sender, _cmid, first, _now: first)


def rows_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    move = InboxStore._move

    def move_anyhow(self: InboxStore, *how: Any) -> Any:
        return move(replace(self, client=_Unconditional(self.client)), *how)

    monkeypatch.setattr(InboxStore, "_move", move_anyhow)


def a_late_connect_goes_over_a_newer_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Connections.open
    monkeypatch.setattr(Connections, "open", lambda self, caller, _: real(self, caller, 0))


def nobody_audits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "insert", lambda _stream, _item: None)


def the_queue_loses_a_message_in_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was queued; what the auditor then finds comes."""
    send, random = Queue.send, Random(1)

    def lose(self: Queue, body: str, **how: Any) -> None:
        if random.random() < 0.95:
            send(self, body, **how)

    monkeypatch.setattr(Queue, "send", lose)


def repeats_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    insert = Transcript.insert
    monkeypatch.setattr(Transcript, "insert", lambda self, entry: insert(self, entry) or True)


@pytest.mark.parametrize(
    "breaking",
    [
        entries_go_over_others,
        retries_are_not_known_again,
        rows_go_back,
        a_late_connect_goes_over_a_newer_connection,
        nobody_audits,
        the_queue_loses_a_message_in_twenty,
        repeats_are_shown,
    ],
)
def test_it_is_noticed_when(here: Stage, monkeypatch: pytest.MonkeyPatch, breaking: Any) -> None:
    breaking(monkeypatch)

    assert any(here.play(seed).wrong for seed in range(100))
