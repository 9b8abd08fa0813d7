"""A red packet of a deployed stack reaches everybody while ordinary messages wait; then these come, and all is right.

How long it takes, bench/express_lane.py says.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from local import Stack
from tests.e2e.crowd import fan_out_held_up
from tests.e2e.talker import Talker

pytestmark = pytest.mark.e2e

WAITING = 25
GROUP, OTHER = "g:lane", "d:lana:leon"


def waiting(stack: Stack, queue: str) -> int:
    """How many messages a queue holds."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    out = stack.cloud.client("sqs").get_queue_attributes(QueueUrl=stack.outputs[queue], AttributeNames=names)
    return sum(int(out["Attributes"][name]) for name in names)


def row(person: Talker, conv: str) -> dict[str, Any]:
    rows = person.ok("sync.inbox")["conversations"]
    return next(dict(row) for row in rows if row["conv"] == conv)


def test_a_red_packet_reaches_everybody_before_what_was_queued_ahead_of_it(stack: Stack) -> None:
    with ExitStack() as at_the_end:
        lana, leon, lisa = (at_the_end.enter_context(Talker(stack, name)) for name in ("lana", "leon", "lisa"))
        lana.ok("group.create", {"gid": "lane", "name": "Lane", "members": ["leon", "lisa"]})
        for person in (leon, lisa):
            assert person.entry()["seq"] == 1
        with fan_out_held_up(stack):
            for i in range(WAITING):
                lana.say(f"{i}", f"g{i}", conv=GROUP, mentions=["lisa"] if i == 3 else [])
                lana.say(f"{i}", f"d{i}", to="leon")
            packet = {"conv": GROUP, "cmid": "p1", "kind": "equal", "total": 30, "count": 3, "greeting": "Quick!"}
            sent = lana.ok("redpacket.create", packet)

            for person in (leon, lisa):
                entry = person.entry()
                assert (entry["seq"], entry["kind"]) == (sent["seq"], "redpacket") == (WAITING + 2, "redpacket")
                assert entry["body"]["greeting"] == "Quick!"
                assert person.ok("redpacket.claim", {"packet": sent["packet"]})["amount"] == 10
            assert waiting(stack, "FanoutQueueUrl") == 2 * WAITING
            assert waiting(stack, "ExpressQueueUrl") == 0
            assert row(lisa, GROUP)["unread"] == WAITING + 1

        assert [lisa.entry()["seq"] for _ in range(WAITING)] == list(range(2, WAITING + 2))
        others = [leon.entry() for _ in range(2 * WAITING)]
        for conv, first in ((GROUP, 2), (OTHER, 1)):
            assert [e["seq"] for e in others if e["conv"] == conv] == list(range(first, first + WAITING))
        found = row(lisa, GROUP)
        assert (found["last_seq"], found["unread"], found["mention_seq"]) == (sent["seq"], WAITING + 1, 5)
        assert row(lana, GROUP)["unread"] == row(lana, OTHER)["unread"] == 0
        assert row(leon, OTHER)["unread"] == WAITING
