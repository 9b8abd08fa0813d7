"""When the last share is claimed at the moment when the packet ends: paid or given back, never both, never neither."""

from __future__ import annotations

import os
import random

import pytest

from local import Stack
from tests.e2e.refund_race import Races

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = int(os.environ.get("IM_SEED", "20"))
TIMES = int(os.environ.get("IM_RACES", "20"))
"""`python -m bench.refund_race` makes 200."""


def test_the_last_claim_and_the_refund_are_never_both_made_and_never_neither(chaos_stack: Stack) -> None:
    races = Races(chaos_stack, random.Random(SEED))
    races.run(TIMES)

    assert list(races.wrong()) == []
    met = [race for race in races.done if race.met]
    assert len(met) >= TIMES // 4, "the writes of a race were to be on their way at the same time"
    print(f"IM_SEED={SEED}: {races.claimed} of {len(races.done)} were claimed, the writes met in {len(met)}")
