"""Real people's conversations, played through the deployed stack by the command that users have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local import Stack
from local.stack_file import write_stack_file

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LOGS = Path(__file__).resolve().parents[1] / "data" / "irc"


@pytest.mark.parametrize(("log", "messages"), [("2004-11-15_03", 150), ("2011-05-29_19", 150)])
def test_every_member_holds_the_log(stack: Stack, tmp_path: Path, log: str, messages: int) -> None:
    stack_file = tmp_path / "stack.json"
    write_stack_file(stack_file, stack, web="")
    command = [str(Path(sys.executable).parent / "im"), "replay", str(LOGS / f"{log}.jsonl")]

    done = subprocess.run(
        [*command, "--limit", str(messages), "--stack", str(stack_file), "--json"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    print(json.dumps(figures))
    assert figures["messages"] == messages
