"""People talk while calls of the functions fail and their processes are killed: every promise is kept all the same."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from pathlib import Path

import pytest

from imclient.soak import Plan, Soak, control_of, final_tables
from imclient.stack import load_stack
from local import Stack
from local.stack_file import write_stack_file
from tests.e2e.crowd import visible_again_soon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = int(os.environ.get("IM_SEED", "8"))
WITHOUT_EFFECT = {"error", "throttled", "reset before"}


def test_eight_people_talk_through_chaos_and_nothing_is_lost_or_doubled(chaos_stack: Stack, tmp_path: Path) -> None:
    print(f"IM_SEED={SEED}")
    file = tmp_path / "stack.json"
    write_stack_file(file, chaos_stack, web="")
    stack = load_stack(file)
    plan = Plan(users=8, seconds=30, seed=SEED, faults_per_minute=120, kills_per_minute=8, record=tmp_path / "history")

    async def soak() -> None:
        running = Soak(stack, plan, control_of(stack.chaos), partial(final_tables, stack), tell=print)
        report = await running.run()
        assert report.verdict is not None
        counts = report.verdict.counts
        print(
            json.dumps({"faults": report.faults, "sent": counts.sent, "acked": counts.acked, "held": counts.delivered})
        )
        assert (report.unrest, report.ended) == ([], [])
        assert [str(violation) for violation in report.verdict.violations] == []
        # There was something to keep the promises against.
        assert counts.acked >= 10
        assert report.faults["kill"] >= 1
        assert report.faults.keys() & WITHOUT_EFFECT
        assert sum(report.faults.values()) >= 10

    with visible_again_soon(chaos_stack, 2):
        asyncio.run(soak())
