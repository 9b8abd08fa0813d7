"""`im load`: the schedule is kept however slow the server is, and everything is counted."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imclient.cli import main
from imclient.load import Load, Plan, Report, groups_of, schedule
from imclient.stack import load_stack
from tests.unit.client.fake_server import FakeServer, Faults


class Stalling(FakeServer):
    """Takes no message for a second, once so many have come."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after
        self._stalled: asyncio.Event | None = None

    async def message_send(self, user: str, data: dict[str, Any]) -> dict[str, Any]:
        self._left -= 1
        if self._left == 0:
            self._stalled = asyncio.Event()
            asyncio.get_running_loop().call_later(1, self._stalled.set)
        if self._stalled is not None:
            await self._stalled.wait()
        return await super().message_send(user, data)


def run(server: FakeServer, folder: Path, **plan: Any) -> Report:
    stack = load_stack(server.stack_file(folder))

    async def work() -> Report:
        made = Plan(**{"run": "r", "users": 6, "rate": 40.0, "seconds": 1.0, "patience": 20.0, **plan})
        return await Load(stack, made, on_progress=lambda *_: None).run()

    return asyncio.run(work())


def test_a_seed_decides_the_schedule() -> None:
    plan = Plan("r", users=10, rate=100, seconds=20, group_size=5, seed=3)

    due = schedule(plan)

    assert due == schedule(plan)
    assert due != schedule(Plan("r", users=10, rate=100, seconds=20, group_size=5, seed=4))
    assert 1_800 < len(due) < 2_200
    assert all(one.at < other.at for one, other in pairwise(due))
    assert all(one.sender in groups_of(plan)[one.group] for one in due)
    assert {one.sender for one in due} == set(range(10))


@pytest.mark.parametrize(
    ("users", "size", "groups"),
    [
        (4, 2, [[0, 1], [2, 3]]),
        (5, 2, [[0, 1], [2, 3, 4]]),
        (7, 3, [[0, 1, 2], [3, 4, 5, 6]]),
        (3, 50, [[0, 1, 2]]),
    ],
)
def test_everybody_is_in_one_conversation(users: int, size: int, groups: list[list[int]]) -> None:
    assert groups_of(Plan("r", users=users, rate=1, seconds=1, group_size=size)) == groups


@pytest.mark.parametrize("size", [2, 3])
def test_every_message_is_taken_and_comes_to_everybody(tmp_path: Path, size: int) -> None:
    with FakeServer() as server:
        report = run(server, tmp_path, group_size=size)

    assert report.passed
    assert report.acked == report.due == len(schedule(Plan("r", 6, 40.0, 1.0, group_size=size)))
    assert report.push.count == report.due * (size - 1)
    assert report.conversations == 6 // size


def test_messages_are_due_also_while_the_server_stalls_and_count_from_then(tmp_path: Path) -> None:
    """Of two seconds the server sleeps one: nearly half of the messages have waited, some of them for nearly all of it.
    Who sends the next message when the one before is taken would have found one slow message a user."""
    with Stalling(after=20) as server:
        report = run(server, tmp_path, users=2, seconds=2.0)

    assert report.passed
    assert report.due > 60
    percentiles = report.ack.percentiles
    assert percentiles["p90"] is not None
    assert percentiles["p90"] > 500
    # One conversation has one message on its way: the others wait in the client, which the frame's own time hides.
    assert report.service.percentiles["p90"] is not None
    assert percentiles["p90"] > 3 * report.service.percentiles["p90"]


def test_what_is_refused_or_never_comes_is_counted(tmp_path: Path) -> None:
    with FakeServer(Faults(muted=frozenset({"r-0"}), lost_for_good=frozenset({(1, 2)}))) as server:
        report = run(server, tmp_path, users=2, patience=1.0)

    assert not report.passed
    assert report.refused["muted"] > 0
    assert report.acked == report.due - report.refused["muted"]
    assert report.pushes_missing > report.refused["muted"] - 1


def test_the_command_prints_every_figure(tmp_path: Path) -> None:
    with FakeServer() as server:
        stack = str(server.stack_file(tmp_path))
        words = ["load", "--users", "4", "--rate", "30", "--seconds", "0.5", "--stack", stack]
        plain, as_json = CliRunner().invoke(main, words), CliRunner().invoke(main, [*words, "--json"])

    assert plain.exit_code == as_json.exit_code == 0
    assert plain.output.splitlines()[-1] == "OK"
    figures = json.loads(as_json.stdout)
    assert figures["passed"] is True
    assert figures["acked"] == figures["due"] > 0
    assert set(figures["ack"]) == {"count", "p50", "p90", "p99", "p99.9", "max"}
