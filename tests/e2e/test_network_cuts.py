"""The network of everybody breaks again and again while they write: every message is everywhere, once, in one order."""

from __future__ import annotations

import asyncio

import pytest

from local import Stack
from tests.e2e.cut_chat import Chat

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("client", ["python", "javascript"])
def test_nothing_is_lost_and_nothing_shown_twice_over_a_network_that_breaks(stack: Stack, client: str) -> None:
    chat = Chat(stack, messages=100, cuts=25, seed=11)

    outcome = asyncio.run(chat.in_javascript() if client == "javascript" else chat.in_python())

    assert outcome.wrong == []
    assert len(outcome.sent) == 100
    assert min(outcome.cuts[how] for how in ("reset", "end", "silence")) >= 3
    assert outcome.reconnects >= 15
