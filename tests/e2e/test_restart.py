"""What a developer has stored is there again the next day."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import running_stack
from tests.e2e.talker import Talker

pytestmark = pytest.mark.e2e


def test_messages_and_tokens_survive_a_restart_of_the_local_stack(tmp_path: Path) -> None:
    steps: list[str] = []
    with running_stack(state_dir=tmp_path) as first, Talker(first, "alice") as alice:
        alice.say("Remember me.", "c1", to="bob")
        port, secret = first.cloud.port, first.jwt_secret

    with running_stack(state_dir=tmp_path, port=port, tell=steps.append) as second, Talker(second, "bob") as bob:
        assert second.jwt_secret == secret
        (entry,) = bob.ok("sync.entries", {"conv": "d:alice:bob", "after": 0})["entries"]
        assert entry["body"] == {"text": "Remember me."}
    assert steps == ["Nothing to build or deploy: the stack is what the sources say"]
