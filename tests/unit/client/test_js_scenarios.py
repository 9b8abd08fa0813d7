"""The JavaScript machine does what the table of scenarios says, and what the Python machine does."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.node import node
from tests.unit.client import scenario_player
from tests.unit.client.any_session import any_session

CLIENTS = Path(__file__).parents[3] / "clients"
PLAYER = CLIENTS / "js" / "tests" / "play.js"


def played(table: Path) -> dict[str, str]:
    """What came of each scenario: empty, or the first difference."""
    done = subprocess.run([node(), PLAYER, table], capture_output=True, encoding="utf-8", timeout=120, check=False)
    came: dict[str, str] = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith(("ok ", "not ok ")):
            name = line.removeprefix("not ").removeprefix("ok ")
            came[name] = "" if line.startswith("ok ") else line
        else:
            came[name] += "\n" + line
    assert came, done.stderr
    assert done.returncode == (1 if any(came.values()) else 0), done.stderr
    return came


@functools.cache
def results() -> dict[str, str]:
    return played(scenario_player.SCENARIOS)


@pytest.mark.parametrize("name", [scenario["name"] for scenario in scenario_player.load()])
def test_the_javascript_machine_does_what_the_scenario_says(name: str) -> None:
    assert results()[name] == ""


def test_the_player_notices_a_difference(tmp_path: Path) -> None:
    scenario: dict[str, Any] = next(one for one in scenario_player.load() if one["steps"][0]["out"])
    scenario["steps"][0]["out"][0][0] += 1
    table = tmp_path / "scenarios.json"
    table.write_text(json.dumps({"scenarios": [scenario]}), "utf-8")

    assert "(- expected, + came)" in played(table)[scenario["name"]]


def test_both_machines_do_the_same_in_any_order(tmp_path: Path) -> None:
    table = tmp_path / "any_sessions.json"
    table.write_text(json.dumps({"scenarios": [any_session(seed, 120) for seed in range(150)]}), "utf-8")

    assert [difference for difference in played(table).values() if difference] == []
