"""Whatever comes out of a queue or the stream: no whole batch fails, and a bad record never stops its neighbours.

Each batch is a good record, a bad one, a good one. The bad one is a good one that something was done to, or garbage.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from im.domain.errors import Unauthorized
from im.flows import broadcast
from tests.faults.aws_rules import MAX_MESSAGE, NO_SQS_CHARACTER
from tests.faults.figures import take_down
from tests.faults.fuzz_frames import GARBAGE, ODD, STEPS, TEXT_STEPS, Pairs, Token, changed, json_copy, rendered
from tests.faults.fuzz_stage import Stage, built_stage, copied, filled, image, record
from tests.integration.house import Device, sample
from tests.integration.hypothesis_profile import examples

Data = dict[str, Any]


@dataclass(repr=False)
class Seeds:
    """The world with something queued everywhere, and what is queued. Bob has been pushed nothing of it."""

    stage: Stage
    entries: dict[str, str]
    """Bodies of the fan-out queue, by conversation."""
    part: str
    """Of `g:large`."""
    check: str
    """Of `d:alice:bob`."""
    images: list[Data]
    """Of the stream: all entries."""


@pytest.fixture(scope="module")
def seeds() -> Iterator[Seeds]:
    """Four entries that nobody has heard of yet."""
    with built_stage() as stage:
        stage.begin()
        house, alice = stage.house, stage.devices["alice"]
        entries: dict[str, str] = {}
        for conv in ("d:alice:bob", "g:club", "g:open", "g:large"):
            sender = stage.devices["bob"] if conv == "g:open" else alice
            sender.say("unheard", f"unheard {conv}", conv=conv)
            (queued,) = stage.queues.take(house.queue_url)
            entries[conv] = queued["body"]
        images = stage.new_entries()
        stage.world = copied(filled(stage.tables.tables))
        house.call("fanout", {"Records": [record(entries["d:alice:bob"], "m1")]})
        (check,) = stage.queues.take(house.checks_url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(broadcast, "PART_MEMBERS", 1)
            house.call("fanout", {"Records": [record(entries["g:large"], "m2")]})
        parts = stage.queues.take(house.parts_url)
        carols = [
            one
            for one in parts
            if house.call("broadcast", {"Records": [one]}) and heard(stage.devices["carol"], "g:large")
        ]
        yield Seeds(stage, entries, carols[0]["body"], check["body"], images)


def heard(device: Device, conv: str) -> bool:
    """Whether somebody was pushed the entry that nobody had heard of."""
    return any(
        entry["body"] == {"text": "unheard"} and entry["conv"] == conv
        for data in device.got("entries")
        for entry in data["entries"]
    )


# ---- what is done to a record ----------------------------------------------------------------------------------------


@st.composite
def bodies(draw: st.DrawFn, good: str) -> str:
    """Texts that a queue may hold in place of `good`."""
    if draw(st.integers(0, 9)) == 0:
        return _queueable(draw(GARBAGE))
    message = json.loads(good)
    if draw(st.booleans()) and "entry" in message:
        message["entry"] = draw(mutants(message["entry"]))
    else:
        message = draw(mutants(message))
    step = draw(st.sampled_from([*["as it is"] * 30, *TEXT_STEPS]))
    return _queueable(TEXT_STEPS[step](rendered(message, escapes=True), draw(st.integers(0, 200))))


@st.composite
def mutants(draw: st.DrawFn, good: Any) -> Any:
    """A record that something was done to."""
    value = json_copy(good)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        odd = json_copy(draw(st.sampled_from(ODD)))
        value = changed(value, (draw(st.sampled_from(STEPS)), draw(st.integers(0, 40)), odd))
    return value


def _queueable(text: str) -> str:
    return NO_SQS_CHARACTER.sub("?", text)[: MAX_MESSAGE // 4] or "?"


Played = Callable[[Counter[str]], None]


@pytest.fixture
def played(request: pytest.FixtureRequest) -> Played:
    """Takes down what became of how many bad records."""
    return lambda outcomes: take_down(request.node.name, "records", outcomes)


LAST_CHANCE = "4"
"""Received so often, a message that meets a defect is put aside."""
RECEIVES = st.sampled_from([1, 2, int(LAST_CHANCE)])

# ---- queues ----------------------------------------------------------------------------------------------------------


def play(stage: Stage, function: str, records: list[Data]) -> tuple[list[str], list[str]]:
    """Invoke a function with records; the ids that it reports as failed, and the bodies that it has parked.

    Nobody who was invoked may fail: every record is done, parked or reported, one of them.
    """
    answer = stage.house.call(function, {"Records": records})
    assert set(answer) == {"batchItemFailures"}
    failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    parked = [message["MessageBody"] for message in stage.queues.sent.get(stage.house.dead_url, [])]
    assert len(set(failed)) == len(failed)
    retried = [receipt for _, receipts in stage.queues.retried for receipt in receipts]
    assert retried == [f"receipt of {message_id}" for message_id in failed]
    return failed, parked


FIRST_STATE = 1
"""Epoch of the entries in the queue: the table may not have a later one yet. SQS ends the wait."""


def outcome(failed: list[str], parked: list[str], bad: Data) -> str:
    """What became of the bad record between two good ones, which must be done."""
    assert set(failed) <= {"bad"}
    assert parked in ([], [bad["body"]])
    assert not (failed and parked)
    if failed and bad["attributes"]["ApproximateReceiveCount"] == LAST_CHANCE:
        message = json.loads(bad["body"])
        waits_for_a_state = float((message.get("entry") or {}).get("epoch", 0)) > FIRST_STATE
        assert message["v"] > 1 or waits_for_a_state, "only a newer version of this program may know what to do with it"
    return "comes again" if failed else "parked" if parked else "done"


def test_a_bad_entry_in_the_queue_stops_no_other(seeds: Seeds, played: Played) -> None:
    outcomes: Counter[str] = Counter()

    @given(st.sampled_from(["g:open", "g:large"]).flatmap(lambda conv: bodies(seeds.entries[conv])), RECEIVES)
    @settings(max_examples=examples(400))
    def batch(body: str, receives: int) -> None:
        seeds.stage.begin()
        note(body[:500])
        bad = record(body, "bad", receives=receives)
        good = [record(seeds.entries[conv], f"good{i}") for i, conv in enumerate(("d:alice:bob", "g:club"))]

        failed, parked = play(seeds.stage, "fanout", [good[0], bad, good[1]])

        outcomes[outcome(failed, parked, bad)] += 1
        assert heard(seeds.stage.devices["bob"], "d:alice:bob")
        assert heard(seeds.stage.devices["carol"], "g:club")

    batch()
    played(outcomes)
    assert outcomes["parked"] > 100
    assert outcomes["done"] > 10


def outcomes_beside(
    seeds: Seeds, function: str, good: str, hears: tuple[str, str], queue: str = "fanout.fifo"
) -> Counter[str]:
    """What becomes of 250 bad messages like `good`, each with a good one behind it, of which a user hears in a
    conversation."""
    outcomes: Counter[str] = Counter()
    user, conv = hears

    @given(bodies(good), RECEIVES)
    @settings(max_examples=examples(250))
    def batch(body: str, receives: int) -> None:
        seeds.stage.begin()
        note(body[:500])

        bad = record(body, "bad", receives=receives, queue=queue)

        failed, parked = play(seeds.stage, function, [bad, record(good, "good", queue=queue)])

        outcomes[outcome(failed, parked, bad)] += 1
        assert heard(seeds.stage.devices[user], conv)

    batch()
    return outcomes


def test_a_bad_part_stops_no_other(seeds: Seeds, played: Played) -> None:
    outcomes = outcomes_beside(seeds, "broadcast", seeds.part, ("carol", "g:large"))
    played(outcomes)
    assert outcomes["parked"] > 50


def test_what_is_bad_in_the_queues_of_red_packets_stops_no_other(seeds: Seeds, played: Played) -> None:
    entries = outcomes_beside(seeds, "express", seeds.entries["g:club"], ("carol", "g:club"), "express.fifo")
    parts = outcomes_beside(seeds, "express", seeds.part, ("carol", "g:large"), "express-parts.fifo")
    played(entries + parts)
    assert entries["parked"] > 50
    assert parts["parked"] > 50


def test_a_bad_check_stops_no_other(seeds: Seeds, played: Played) -> None:
    outcomes = outcomes_beside(seeds, "redelivery", seeds.check, ("bob", "d:alice:bob"))
    played(outcomes)
    assert not outcomes["parked"], "a check that cannot be made is worth nothing"
    assert outcomes["done"] > 100


# ---- the stream ------------------------------------------------------------------------------------------------------

TEXTS = (
    *(odd for odd in ODD if isinstance(odd, str) and rendered(odd, escapes=False).isascii()),
    *("[]", "{}", "null", '["bob"]', '["\\ud800"]', "[5]", '{"a":1}', '"x"', "[" * 5000),
)
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "S": st.sampled_from(TEXTS),
    "N": st.sampled_from(["0", "-1", "1", "1.5", "1E+30", "9" * 38, "x", ""]),
    "M": st.dictionaries(
        st.sampled_from(["from", "ts", "seq"]), st.sampled_from([{"S": "x"}, {"N": "1"}, {"NULL": True}])
    ),
    "L": st.lists(st.sampled_from([{"S": "x"}, {"N": "1"}, {"NULL": True}]), max_size=2),
    "NULL": st.just(value=True),
    "BOOL": st.booleans(),
}
NAMES = ("mentions", "reply_to", "large", "prior", "forwarded", "edited", "recalled", "reactions", "edits", "pinned")


@st.composite
def stream_records(draw: st.DrawFn, good: Data) -> Any:
    """A record of the stream that something was done to: in its form, or in one attribute of its image."""
    if draw(st.integers(0, 3)) == 0:
        return _typed(json.loads(rendered(stored(draw(mutants(image(good)))), escapes=True)))
    item = json_copy(good)
    for name in draw(st.lists(st.sampled_from([*sorted(item), *NAMES]), min_size=1, max_size=2)):
        kind = "S" if name == "pk" else draw(st.sampled_from(["S", "S", "S", "N", *VALUES]))
        item[name] = {kind: draw(VALUES[kind]) or "x"}
    return image(item)


def _typed(of_stream: Any) -> Any:
    """With a text as its key, if it has one: DynamoDB sees to that."""
    match of_stream:
        case {"dynamodb": {"NewImage": {"pk": {"S": key} as value}}} if not isinstance(key, str):
            value["S"] = "x"
    return of_stream


def stored(value: Any) -> Any:
    """As DynamoDB has it, which knows no half surrogate pairs, and as JSON."""
    if isinstance(value, dict):
        return {stored(name): stored(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [stored(inner) for inner in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return None if isinstance(value, Token | Pairs) else value


def test_a_bad_record_of_the_stream_stops_no_other(seeds: Seeds, played: Played) -> None:
    outcomes: Counter[str] = Counter()
    good = {item["pk"]["S"]: image(item) for item in seeds.images}

    @given(st.sampled_from(seeds.images).flatmap(stream_records))
    @settings(max_examples=examples(300))
    def batch(bad: Any) -> None:
        stage = seeds.stage
        stage.begin()
        note(repr(bad)[:500])

        assert stage.house.call("audit", {"Records": [good["d:alice:bob"], bad, good["g:club"]]}) == {}

        queued = stage.queues.take(stage.house.queue_url)
        convs = [json.loads(one["body"])["entry"]["conv"] for one in queued]
        assert (convs[0], convs[-1]) == ("d:alice:bob", "g:club")
        assert len(convs) <= 3
        outcomes["left out" if len(convs) == 2 else "queued"] += 1
        failed, _ = play(seeds.stage, "fanout", queued)
        # A group that there is not, or a state of it, may come to be for all that the fan-out knows: it comes again,
        # with what else there is of that conversation.
        assert {conv for one, conv in zip(queued, convs, strict=True) if one["messageId"] in failed} <= {convs[1]}
        if len(convs) == 2 or convs[1] not in {"d:alice:bob", "g:club"}:
            assert heard(stage.devices["bob"], "d:alice:bob")
            assert heard(stage.devices["carol"], "g:club")

    batch()
    played(outcomes)
    assert outcomes["left out"] > 50
    assert outcomes["queued"] > 10


def test_the_auditor_fails_when_sqs_does(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = seeds.stage
    stage.begin()

    def refuse(**_: Any) -> Data:
        raise ConnectionError("no SQS")

    monkeypatch.setattr(stage.queues, "send_message_batch", refuse)

    with pytest.raises(ConnectionError):
        stage.house.call("audit", {"Records": [image(seeds.images[0])]})


# ---- connections -----------------------------------------------------------------------------------------------------

FREE: Mapping[str, st.SearchStrategy[Any]] = {
    "headers": st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=3),
    "multiValueHeaders": st.dictionaries(st.text(max_size=20), st.lists(st.text(max_size=20)), max_size=3),
    "queryStringParameters": st.none() | st.dictionaries(st.text(max_size=10), st.text(max_size=50), max_size=3),
    "body": st.none() | st.text(max_size=20),
    "isBase64Encoded": st.booleans(),
}
"""What a client may put into the event of a connection."""


@given(
    st.fixed_dictionaries({}, optional=dict(FREE)),
    st.sampled_from(["d", "x" * 64, "a.b-c_d", "slot:web", "..", "__proto__"]),
    st.sampled_from(["web", "ios", "android", "desktop", "other"]),
    st.sampled_from(["alice", "x" * 64, "-", "_", "USER", "META"]),
)
@settings(max_examples=examples(100))
def test_what_a_client_puts_into_the_event_of_its_connection_means_nothing(
    seeds: Seeds, more: Data, device: str, platform: str, user: str
) -> None:
    stage = seeds.stage
    stage.begin()
    identity = {"principalId": user, "user": user, "device": device.replace(":", "."), "platform": platform}
    before = copied(filled(stage.tables.tables))

    for name in ("connect", "disconnect"):
        event = sample(name) | more
        event["requestContext"] |= {"authorizer": identity, "connectionId": "new="}
        assert stage.house.call("connect", event) == {"statusCode": 200}
        slots = stage.tables.tables["ConnectionTable"][user][""]
        assert ("new=" in json.dumps(slots)) == (name == "connect")

    after = copied(filled(stage.tables.tables))
    assert {n: rows for n, rows in after.items() if n not in {"ConnectionTable", "AudienceTable"}} == {
        n: rows for n, rows in before.items() if n not in {"ConnectionTable", "AudienceTable"}
    }
    assert set(after["ConnectionTable"]) == {*before["ConnectionTable"], user}
    assert stage.errors.error is None, stage.errors.error


@pytest.mark.parametrize("name", ["connect", "disconnect"])
@pytest.mark.parametrize("identity", [None, {}, {"user": "alice"}, {"principalId": "alice", "device": "d"}], ids=str)
def test_a_connection_without_a_verified_identity_does_not_open_or_end_any(
    seeds: Seeds, name: str, identity: Data | None
) -> None:
    stage = seeds.stage
    stage.begin()
    event = sample(name)
    event["requestContext"]["authorizer"] = identity

    try:
        answer = stage.house.call("connect", event)
    except Unauthorized:
        answer = {"statusCode": 500}  # what API Gateway makes of it

    assert name == "disconnect" or answer["statusCode"] >= 400
    assert not stage.changed()
