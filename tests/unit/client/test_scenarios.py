"""The table of what every client does, played against the Python machine."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.client.scenario_player import DifferenceError, expanded, load, play

SCENARIOS = load()

MUST = {
    "first connect",
    "inbox",
    "lost reply",
    "lost frame",
    "duplicate push",
    "reordered pushes",
    "hole",
    "push of an unknown conversation",
    "kicked",
    "token",
    "renewal",
    "hard close",
    "idle",
    "backoff",
    "dialling",
    "sleep",
    "network",
    "slow network",
    "offline",
    "own push",
    "failed",
    "discarded",
    "edits and reactions",
    "two devices",
    "32 KiB",
    "retryable errors",
    "acks",
    "reads",
    "leaving and coming back",
    "coming back to a group",
    "history",
    "deletions",
    "restart",
    "gateway error frames",
    "junk frames",
    "junk pushes",
    "huge seq",
    "stop",
    "leave",
}
"""How names begin that there must be: behind each is a rule of "What a client must do", or a fault of a network."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
def test_the_machine_does_what_the_scenario_says(scenario: dict[str, Any]) -> None:
    play(scenario)


def test_there_are_scenarios_of_everything_that_a_client_must_do() -> None:
    names = [scenario["name"] for scenario in SCENARIOS]
    assert not [begin for begin in sorted(MUST) if not any(name.startswith(begin) for name in names)]
    assert len(set(names)) == len(names)


def test_every_scenario_says_what_it_shows_and_goes_on_in_time() -> None:
    for scenario in SCENARIOS:
        assert set(scenario) <= {"name", "shows", "user", "settings", "draw", "steps"}
        assert scenario["shows"]
        times = [step["at"] for step in scenario["steps"]]
        assert times == sorted(times), scenario["name"]
        assert all(set(step) <= {"at", "do", "out", "kept"} for step in scenario["steps"])


def test_the_player_notices_any_number_that_is_another_one() -> None:
    for scenario in SCENARIOS:
        for changed in _each_first_number_changed(scenario):
            with pytest.raises(DifferenceError):
                play(changed)


def test_the_player_notices_an_output_too_few_a_kept_row_and_true_for_one() -> None:
    def scenario(out: list[Any], kept: dict[str, Any]) -> dict[str, Any]:
        step = {"at": 5, "do": ["start"], "out": out, "kept": kept}
        return {"name": "n", "shows": "s", "user": "alice", "draw": 0, "steps": [step]}

    right = [[5, "dial", 1], [5, "state", "connecting"]]
    play(scenario(right, {"rows": {}}))
    for wrong in ([], right[:1], [*right, right[1]], right[::-1], [[5, "dial", True], right[1]]):
        with pytest.raises(DifferenceError):
            play(scenario(wrong, {}))
    with pytest.raises(DifferenceError, match="kept in rows"):
        play(scenario(right, {"rows": {"g:x": {}}}))
    with pytest.raises(ValueError, match="nobody knows"):
        play({**scenario([], {}), "steps": [{"at": 0, "do": ["expect-none"], "out": []}]})


def test_a_difference_shows_both_sides() -> None:
    scenario = copy.deepcopy(next(one for one in SCENARIOS if one["name"].startswith("first connect")))
    scenario["steps"][0]["out"][1] = [0, "state", "waiting"]
    with pytest.raises(DifferenceError) as raised:
        play(scenario)
    assert '  - [0, "state", "waiting"]\n  + [0, "state", "connecting"]' in str(raised.value)
    assert '    [0, "dial", 1]' in str(raised.value)


def test_long_texts_are_told_shortly() -> None:
    assert expanded({"a": [{"$text": ["€", 3, "x", 1]}]}) == {"a": ["€€€x"]}


def _each_first_number_changed(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """The scenario with another time, and with another number in what comes out, at the last step that has any."""
    wrong: list[dict[str, Any]] = []
    step = max(i for i, step in enumerate(scenario["steps"]) if step["out"])
    for change in (_later, _renumbered):
        changed = copy.deepcopy(scenario)
        if change(changed["steps"][step]["out"][-1]):
            wrong.append(changed)
    assert wrong
    return wrong


def _later(output: list[Any]) -> bool:
    output[0] += 1
    return True


def _renumbered(output: list[Any]) -> bool:
    if isinstance(output[2], int):
        output[2] += 1
    return isinstance(output[2], int)
