"""What a developer has stored is there again the next day."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from im.domain.entries import Draft
from im.domain.ids import Cmid, ConvId, UserId
from im.flows.append import Appender
from im.runtime.wiring import now_ms
from im.store.conversations import ConversationStore
from local import Stack, running_stack
from tests.e2e.crowd import queues_are_empty
from tests.e2e.talker import PATIENCE_S, Talker

pytestmark = pytest.mark.e2e


def test_messages_and_tokens_survive_a_restart_of_the_local_stack(tmp_path: Path) -> None:
    steps: list[str] = []
    with running_stack(state_dir=tmp_path) as first, Talker(first, "alice") as alice:
        alice.say("Remember me.", "c1", to="bob")
        port, secret = first.cloud.port, first.jwt_secret
        until_audited(first)
        # What a function held when the emulator stopped would come again minutes later, and hold up what follows.
        asyncio.run(queues_are_empty(first, within_s=60))

    with running_stack(state_dir=tmp_path, port=port, tell=steps.append) as second, Talker(second, "bob") as bob:
        assert second.jwt_secret == secret
        (entry,) = bob.ok("sync.entries", {"conv": "d:alice:bob", "after": 0})["entries"]
        assert entry["body"] == {"text": "Remember me."}

        # The stream is read after a restart as before it: the auditor finds what was stored and never queued.
        store_and_queue_nothing(second, "alice", "Found again.")
        found = bob.entry()
        assert (found["seq"], found["body"]) == (2, {"text": "Found again."})
        assert bob.ok("sync.unread")["total_unread"] == 2
    assert steps == ["Nothing to build or deploy: the stack is what the sources say"]


def until_audited(stack: Stack) -> None:
    """Wait until the auditor has read the stream."""
    functions, deadline = stack.cloud.client("lambda"), time.monotonic() + PATIENCE_S
    of_its_table = f":table/{stack.outputs['ConversationTableName']}/stream/"
    while True:
        sources = functions.list_event_source_mappings()["EventSourceMappings"]
        (stream,) = (source for source in sources if of_its_table in source["EventSourceArn"])
        if stream.get("LastProcessingResult", "").startswith("OK"):
            return
        assert time.monotonic() < deadline, stream
        time.sleep(0.1)


def store_and_queue_nothing(stack: Stack, sender: str, text: str) -> None:
    """What a function has done that dies after it has stored a message."""
    store = ConversationStore(stack.cloud.client("dynamodb"), stack.outputs["ConversationTableName"])
    draft = Draft(ConvId("d:alice:bob"), "text", UserId(sender), f'{{"text":"{text}"}}', Cmid("c2"))
    Appender(store, now_ms).append(draft)
