"""Dead letters go back whole, in order and in effect once, whatever is broken off or runs at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from imclient.admin.deployed import AwsRefusedError
from imclient.admin.redrive import Choice, DeadLetterQueue, Outcome
from imclient.admin.taking import Taking
from tests.unit.client.dead_letter_queue import (
    HOLD_S,
    Client,
    Cloud,
    Killed,
    cloud_on_moto,
    entry_body,
    lost_answer,
    part_body,
)

ANN, BEN, TEAM = "d:ann:bob", "d:ann:ben", "g:team"


@pytest.fixture(scope="module")
def queues() -> Iterator[Cloud]:
    with cloud_on_moto() as cloud:
        yield cloud


@pytest.fixture
def cloud(queues: Cloud) -> Cloud:
    queues.clear()
    return queues


def dead_letters(cloud: Cloud, client: Client | None = None) -> DeadLetterQueue:
    return DeadLetterQueue(cloud.queues(client), pause=cloud.pass_s)


def redrive(cloud: Cloud, choice: Choice | None = None, client: Client | None = None) -> Outcome:
    letters = dead_letters(cloud, client)
    letters.redrive(choice or Choice())
    return letters.outcome


def bury_four(cloud: Cloud) -> None:
    """Three entries and a part."""
    for seq in range(1, 4):
        cloud.entry(ANN, seq)
    cloud.bury(part_body(TEAM, 1, 1), TEAM)


def refused(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, operation)


def ids(outcome: Outcome) -> list[str]:
    return [letter.id for letter in outcome.done]


def test_each_goes_to_the_queue_it_came_from_with_its_body_and_group(cloud: Cloud) -> None:
    parked = cloud.bury(entry_body(ANN, 7), "a-digest", source="fanout", parked="NoSuchGroup")
    part = cloud.bury(part_body(TEAM, 3, 5, number=1), "g:team#1")

    outcome = redrive(cloud)

    assert ids(outcome) == [parked, part]
    assert cloud.content("fanout") == [("a-digest", entry_body(ANN, 7))]
    assert cloud.content("broadcast") == [("g:team#1", part_body(TEAM, 3, 5, number=1))]
    assert cloud.content("dead") == []


def test_red_packets_go_back_to_queues_of_their_own(cloud: Cloud) -> None:
    packet = entry_body(TEAM, 7, kind="redpacket")
    cloud.bury(packet, TEAM)
    cloud.bury(part_body(TEAM, 7, 7), f"{TEAM}#0", source="express_parts", parked="TooManyFailed")

    redrive(cloud)

    assert cloud.content("express") == [(TEAM, packet)]
    assert cloud.content("express_parts") == [(f"{TEAM}#0", part_body(TEAM, 7, 7))]
    assert cloud.content("fanout") == cloud.content("broadcast") == []


def test_what_belongs_to_a_queue_that_the_stack_has_not_stays(cloud: Cloud) -> None:
    cloud.bury(entry_body(TEAM, 7, kind="redpacket"), TEAM)
    cloud.entry(ANN, 1)
    queues = cloud.queues()
    older = replace(queues, sources={name: queues.sources[name] for name in ("fanout", "broadcast")})
    letters = DeadLetterQueue(older, pause=cloud.pass_s)

    letters.redrive()

    assert [letter.source for letter in letters.outcome.unreadable] == ["express"]
    assert cloud.content("fanout") == [(ANN, entry_body(ANN, 1))]
    assert len(cloud.content("dead")) == 1


def test_a_long_conversation_keeps_its_order_beside_others(cloud: Cloud) -> None:
    for seq in range(1, 36):
        cloud.entry(ANN, seq)
        cloud.entry(BEN, seq)

    outcome = redrive(cloud)

    assert len(outcome.done) == 70
    for conv in (ANN, BEN):
        there = [body for group, body in cloud.content("fanout") if group == conv]
        assert there == [entry_body(conv, seq) for seq in range(1, 36)]
    assert (outcome.unseen, outcome.later, cloud.content("dead")) == (0, 0, [])


def test_looking_takes_nothing_away(cloud: Cloud) -> None:
    buried = [cloud.entry(ANN, 1), cloud.bury("{", "x"), cloud.entry(BEN, 4)]

    for _ in range(2):
        letters = dead_letters(cloud)
        letters.look()
        assert ids(letters.outcome) == buried
    assert ids(redrive(cloud)) == [buried[0], buried[2]]


def test_of_a_group_ten_are_seen_and_the_rest_is_counted(cloud: Cloud) -> None:
    for seq in range(1, 14):
        cloud.entry(ANN, seq)
    letters = dead_letters(cloud)

    letters.look()

    assert [letter.content and letter.content.first for letter in letters.outcome.done] == list(range(1, 11))
    assert letters.outcome.unseen == 3


def test_what_nobody_can_read_stays_and_holds_nobody_up(cloud: Cloud) -> None:
    unreadable = [cloud.bury(body, ANN, source="fanout") for body in ("", "{}", '{"v": 2, "entry": {}}') if body]
    readable = cloud.entry(ANN, 9)

    outcome = redrive(cloud)

    assert [letter.id for letter in outcome.unreadable] == unreadable
    assert [letter.source for letter in outcome.unreadable] == ["fanout", "fanout"]
    assert ids(outcome) == [readable]
    assert [body for _, body in cloud.content("dead")] == ["{}", '{"v": 2, "entry": {}}']


def test_only_those_of_a_conversation_or_of_some_ids(cloud: Cloud) -> None:
    cloud.entry(ANN, 1)
    second = cloud.entry(ANN, 2)
    third = cloud.entry(BEN, 1)

    by_id = redrive(cloud, Choice(ids=[second, "nobody"]))
    assert (ids(by_id), by_id.others, by_id.missing) == ([second], 2, ["nobody"])
    by_conv = redrive(cloud, Choice(conv=BEN))
    assert (ids(by_conv), by_conv.others, by_conv.missing) == ([third], 1, [])

    assert cloud.content("fanout") == [(ANN, entry_body(ANN, 2)), (BEN, entry_body(BEN, 1))]
    assert cloud.content("dead") == [(ANN, entry_body(ANN, 1))]


def test_drop_deletes_what_is_named_readable_or_not(cloud: Cloud) -> None:
    first, broken = cloud.entry(ANN, 1), cloud.bury("{", ANN)
    cloud.entry(ANN, 2)
    letters = dead_letters(cloud)

    letters.drop([first, broken, "nobody"])

    assert (ids(letters.outcome), letters.outcome.missing) == ([first, broken], ["nobody"])
    assert cloud.content("dead") == [(ANN, entry_body(ANN, 2))]
    assert cloud.content("fanout") == []


def test_what_fails_again_at_once_is_not_moved_for_ever(cloud: Cloud) -> None:
    def fail_again(operation: str, params: dict[str, Any]) -> None:
        if operation == "send_message":
            cloud.bury(params["MessageBody"], params["MessageGroupId"])

    client = Client(cloud)
    client.after = fail_again
    buried = [cloud.entry(ANN, seq) for seq in range(1, 4)]

    outcome = redrive(cloud, client=client)

    assert ids(outcome) == buried
    assert outcome.later == 3
    assert len(cloud.content("dead")) == 3
    cloud.pass_s(1)
    assert len(redrive(cloud).done) == 3


def test_a_queue_that_others_fill_without_end_is_left_in_the_end(cloud: Cloud) -> None:
    def fill(operation: str, _params: dict[str, Any]) -> None:
        if operation == "receive_message":
            for i in range(10):
                cloud.bury(entry_body(BEN, i + 1), f"{cloud.now}:{i}")

    client = Client(cloud)
    buried = cloud.entry(ANN, 1)
    client.before = fill

    assert ids(redrive(cloud, client=client)) == [buried]
    assert client.calls.count("receive_message") < 20


@pytest.mark.parametrize("kind", ["error", "timeout", "death before", "death after"])
def test_broken_off_at_any_call_and_begun_again(cloud: Cloud, kind: str) -> None:
    """One run with a fault at its nth call, for every n, then one without; SQS remembers what it was sent."""
    n, ended = 0, False
    while not ended:
        cloud.clear()
        bury_four(cloud)
        client = Client(cloud)
        broken = _fault(client, kind, n)
        with suppress(AwsRefusedError, Killed):
            redrive(cloud, client=client)
        ended = not broken
        # A killed one gives nothing back: time does.
        cloud.pass_s(HOLD_S + 1)
        outcome = redrive(cloud)

        where = f"{kind} at call {n} ({client.calls[-1]})"
        assert cloud.content("fanout") == [(ANN, entry_body(ANN, seq)) for seq in range(1, 4)], where
        assert cloud.content("broadcast") == [(TEAM, part_body(TEAM, 1, 1))], where
        assert cloud.content("dead") == [], where
        assert (outcome.unseen, outcome.unreadable, outcome.missing) == (0, [], []), where
        n += 1
    assert n > 10


def _fault(client: Client, kind: str, at: int) -> list[str]:
    """Break the call number `at` of a client, and all calls after it when it is killed; which were broken."""
    broken: list[str] = []

    def is_due() -> bool:
        number = len(client.calls) - 1
        return number >= at if kind.startswith("death") else number == at

    def before(operation: str, _params: dict[str, Any]) -> None:
        if is_due() and (kind in ("error", "death before") or broken):
            broken.append(operation)
            raise refused(operation) if kind == "error" else Killed

    def after(operation: str, _params: dict[str, Any]) -> None:
        if is_due() and kind in ("timeout", "death after"):
            broken.append(operation)
            raise lost_answer() if kind == "timeout" else Killed

    client.before, client.after = before, after
    return broken


def test_a_refusal_says_why_and_what_was_done_and_gives_the_rest_back(cloud: Cloud) -> None:
    def refuse_the_second(operation: str, _params: dict[str, Any]) -> None:
        if operation == "send_message" and client.calls.count("send_message") == 2:
            raise refused("SendMessage")

    buried = [cloud.entry(ANN, seq) for seq in range(1, 4)]
    client = Client(cloud)
    client.before = refuse_the_second
    letters = dead_letters(cloud, client)

    with pytest.raises(AwsRefusedError, match=r"AccessDenied.*SendMessage.*not allowed"):
        letters.redrive()

    assert ids(letters.outcome) == buried[:1]
    assert ids(redrive(cloud)) == buried[1:]


@pytest.mark.parametrize("suspended_s", [0, HOLD_S + 1])
def test_two_at_once_move_each_letter_once_in_effect(cloud: Cloud, suspended_s: int) -> None:
    """The second runs as a whole before the nth call of the first, for every n; the first may have slept meanwhile."""
    n, ended = 0, False
    while not ended:
        cloud.clear()
        bury_four(cloud)
        client = Client(cloud)
        at = n

        def second(_operation: str, _params: dict[str, Any]) -> None:
            if len(client.calls) - 1 == at:  # noqa: B023 - called within this round
                cloud.pass_s(suspended_s)
                redrive(cloud)

        client.before = second
        redrive(cloud, client=client)

        assert cloud.content("fanout") == [(ANN, entry_body(ANN, seq)) for seq in range(1, 4)]
        assert cloud.content("broadcast") == [(TEAM, part_body(TEAM, 1, 1))]
        assert cloud.content("dead") == []
        ended = len(client.calls) <= n
        n += 1
    assert n > 10


def test_what_another_one_holds_is_counted(cloud: Cloud) -> None:
    cloud.entry(ANN, 1)
    with Taking(cloud.queues().client, cloud.urls["dead"]) as other:
        assert len(list(other.letters())) == 1
        outcome = redrive(cloud)
        assert (outcome.done, outcome.unseen) == ([], 1)

    assert len(redrive(cloud).done) == 1


def test_what_stays_is_counted_once_however_long_it_takes(cloud: Cloud) -> None:
    """What was held longer than SQS holds it comes again in the same run."""
    unreadable = cloud.bury("{", "x")
    cloud.entry(BEN, 1)
    for seq in range(1, 31):
        cloud.entry(ANN, seq)

    def take_time(operation: str, _params: dict[str, Any]) -> None:
        if operation == "send_message":
            cloud.pass_s(20)

    client = Client(cloud)
    client.after = take_time

    outcome = redrive(cloud, Choice(), client)

    assert [letter.id for letter in outcome.unreadable] == [unreadable]
    assert len(outcome.done) == 31
    assert [body for _, body in cloud.content("dead")] == ["{"]


def test_whoever_is_slow_gives_back_what_it_may_no_longer_hold(cloud: Cloud) -> None:
    for seq in range(1, 11):
        cloud.entry(ANN, seq)
    clock = [0.0]

    def slow(operation: str, _params: dict[str, Any]) -> None:
        if operation == "send_message":
            clock[0] += 25
            cloud.pass_s(25)

    client = Client(cloud)
    client.after = slow
    taking = Taking(cloud.queues(client).client, cloud.urls["dead"], clock=lambda: clock[0])
    with taking:
        for letter in taking.letters():
            client.send_message(
                QueueUrl=cloud.urls["fanout"],
                MessageBody=letter.body,
                MessageGroupId=letter.group,
                MessageDeduplicationId=letter.id,
            )
            taking.delete(letter)

    assert cloud.content("fanout") == [(ANN, entry_body(ANN, seq)) for seq in range(1, 11)]
    assert client.calls.count("receive_message") == 5
    assert client.calls.count("delete_message") == 10
