"""The network of everybody breaks again and again while they write: every message is everywhere, once, in one order."""

from __future__ import annotations

import asyncio

import pytest

from local import Stack
from tests.e2e.cut_chat import chat

pytestmark = pytest.mark.e2e


def test_nothing_is_lost_and_nothing_shown_twice_over_a_network_that_breaks(stack: Stack) -> None:
    outcome = asyncio.run(chat(stack, messages=200, cuts=40, seed=11))

    assert outcome.wrong == []
    assert len(outcome.sent) == 200
    assert min(outcome.cuts[how] for how in ("reset", "end", "silence")) > 5
    assert outcome.reconnects >= 30
    assert outcome.resent > 0
