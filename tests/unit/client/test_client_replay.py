"""A replay is right in spite of what the protocol allows to go wrong, and fails for everything that it does not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from imclient.chatlog import Line
from imclient.cli import main
from imclient.core.settings import Settings
from imclient.errors import ChatLogError, ReplayStoppedError, UnreachableError
from imclient.replay import Plan, Replay, Report
from imclient.stack import load_stack
from tests.unit.client.fake_server import FakeServer, Faults

LINES = [
    Line("ann|", "hello"),
    Line("bob", "hi \x1b[31m ann"),
    Line("ann`", "  am I ann too?"),
    Line("ann|", "no"),
    Line("cy", "é漢字"),
    Line("bob", "hi \x1b[31m ann"),
    Line("ann|", "bye"),
    Line("cy", "bye"),
]
QUICK = Settings(
    backlog=None,
    acknowledges=False,
    reply=500,
    hole=20,
    hole_longest=100,
    backoff_first=10,
    backoff_longest=50,
)


def play(tmp_path: Path, faults: Faults | None = None, **more: object) -> tuple[Report, FakeServer]:
    options: dict[str, object] = {"patience": 30.0, "tail": 0.1, "settle": 0.05, "counter_looks": 2, "settings": QUICK}
    plan = Plan(run="r1", group_name="test", **(options | more))  # type: ignore[arg-type]

    async def run() -> Report:
        return await Replay(load_stack(server.stack_file(tmp_path)), LINES, plan).run()

    with FakeServer(faults) as server:
        return asyncio.run(run()), server


def test_a_log_through_a_faultless_server(tmp_path: Path) -> None:
    report, server = play(tmp_path, listeners=1, settings=replace(QUICK, reply=30_000))

    assert report.differences == []
    assert (report.people, report.messages, report.notices) == (5, 8, 1)
    assert report.push_deliveries == 8 * 4
    # The creator has the group's own entry by being told, the others by push; a sender has its message by the reply.
    assert report.by_push == 8 * 4 + 4
    assert report.only_by_fetch == 1
    assert (report.duplicate_pushes, report.duplicates_shown, report.frames_resent) == (0, 0, 0)
    assert None not in (report.ack_p50_ms, report.ack_p99_ms, report.push_p50_ms, report.push_p99_ms)
    assert len(report.histories_read_again) == 3
    assert not [op for user in report.histories_read_again for op in server.ops_of(user) if op == "sync.read"]
    (conversation,) = server.conversations.values()
    assert len(set(conversation.members)) == 5


def test_lost_replies_duplicates_and_holes_do_no_harm(tmp_path: Path) -> None:
    faults = Faults(
        lost_replies=2,
        pushed_twice=frozenset({3, 5}),
        not_pushed=frozenset({(1, 4), (1, 5), (3, 2), (2, 9)}),  # the last one leaves no hole behind it
        busy_replies=1,
    )
    report, _ = play(tmp_path, faults)

    assert report.differences == []
    # Seq 3 goes to three others, seq 5 to two: one of them wrote it, and one does not get it at all.
    assert report.duplicate_pushes == 3 + 2
    assert report.duplicates_shown == 0
    # The first message got no reply twice; a slow machine may send more again, but never store more.
    assert report.frames_resent >= 2
    assert report.duplicate_replies >= 1
    assert report.only_by_fetch == 1 + 4


def test_pushes_in_the_wrong_order_do_no_harm(tmp_path: Path) -> None:
    report, _ = play(tmp_path, Faults(pushed_in_reverse=True))
    assert report.differences == []


def test_a_lost_connection_does_no_harm(tmp_path: Path) -> None:
    report, _ = play(tmp_path, Faults(closed_after={1: 4, 2: 9}))
    assert report.differences == []
    assert report.reconnects == 2


def test_a_window_keeps_the_senders_near_the_slowest_member(tmp_path: Path) -> None:
    report, _ = play(tmp_path, Faults(not_pushed=frozenset({(1, 4), (2, 9)})), window=1)
    assert report.differences == []


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(lost_for_good=frozenset({(1, 4)})), "seq 4 is missing"),
        (Faults(lost_for_good=frozenset({(1, 9)})), "seq 9 is missing"),
        (Faults(lost_for_good=frozenset((1, seq) for seq in range(1, 10))), "message 8 is missing"),
        (Faults(withheld=frozenset((1, seq) for seq in range(1, 10))), "lack entries"),
        (Faults(swapped=(1, 4, 6)), "must be"),
        (Faults(lost_replies=1, no_idempotency=True), "too many"),
        (Faults(lost_replies=1, no_idempotency=True), "shown twice"),
        (Faults(unread_off_by={2: 1}), "unread must be"),
        (Faults(unread_off_by={2: -1}), "inbox row has unread"),
    ],
)
def test_what_the_protocol_forbids_is_found(tmp_path: Path, faults: Faults, said: str) -> None:
    report, _ = play(tmp_path, faults, patience=1.0)

    assert not report.passed
    assert [difference for difference in report.differences if said in difference]


def test_a_replay_of_nothing_and_of_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.write_text(json.dumps({"websocket": "ws://127.0.0.1:1/x", "jwt": {"alg": "HS256", "secret": "x" * 32}}))
    plan = Plan(run="r1", group_name="test")

    async def run(lines: list[Line]) -> None:
        await Replay(load_stack(path), lines, plan).run()

    with pytest.raises(ChatLogError):
        asyncio.run(run([]))
    with pytest.raises(ChatLogError, match="201 people"):
        asyncio.run(run([Line(f"n{number}", "x") for number in range(201)]))
    with pytest.raises(UnreachableError):
        asyncio.run(run(LINES))


def test_a_message_the_server_never_takes_stops_the_replay(tmp_path: Path) -> None:
    with pytest.raises(ReplayStoppedError, match="message 1"):
        play(tmp_path, Faults(busy_replies=10_000))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"minute": 1, "from": x.nickname, "text": x.text}) + "\n" for x in LINES))
    return path


def test_the_command_reports_and_exits_with_0(tmp_path: Path, log: Path) -> None:
    with FakeServer(Faults(pushed_twice=frozenset({4}), not_pushed=frozenset({(1, 4)}))) as server:
        stack = str(server.stack_file(tmp_path))
        result = CliRunner().invoke(main, ["replay", str(log), "--stack", stack])
        as_json = CliRunner().invoke(main, ["replay", str(log), "--stack", stack, "--json", "--limit", "6"])

    assert result.exit_code == 0, result.output
    assert "OK  4 members hold the same 8 messages in the log's order" in result.stdout
    assert as_json.exit_code == 0, as_json.output
    figures = json.loads(as_json.stdout)
    assert figures["passed"] is True
    assert (figures["messages"], figures["people"]) == (6, 4)
    assert figures["differences"] == []


def test_the_command_lists_differences_and_exits_with_1(tmp_path: Path, log: Path) -> None:
    with FakeServer(Faults(swapped=(1, 4, 6))) as server:
        stack = str(server.stack_file(tmp_path))
        result = CliRunner().invoke(main, ["replay", str(log), "--stack", stack])
        as_json = CliRunner().invoke(main, ["replay", str(log), "--stack", stack, "--json"])

    assert result.exit_code == 1, result.output
    assert "FAILED" in result.stdout
    assert "must be" in result.stdout
    assert "\x1b" not in result.stdout
    assert as_json.exit_code == 1
    figures = json.loads(as_json.stdout)
    assert figures["passed"] is False
    assert figures["differences_total"] == len(figures["differences"]) > 0


def test_the_command_gives_up_on_an_entry_that_never_comes(tmp_path: Path, log: Path) -> None:
    with FakeServer(Faults(withheld=frozenset({(1, 4)}))) as server:
        stack = str(server.stack_file(tmp_path))
        result = CliRunner().invoke(main, ["replay", str(log), "--stack", stack, "--patience", "0.5"])

    assert result.exit_code == 1, result.output
    assert "1 of 4 members lack entries" in result.stdout


def test_the_command_without_a_stack_exits_with_2(tmp_path: Path, log: Path) -> None:
    missing = tmp_path / "none.json"
    result = CliRunner().invoke(main, ["replay", str(log)], env={"IM_STACK": str(missing)})
    assert result.exit_code == 2
    assert result.stderr.strip() == f"Error: no stack found at {missing}; start one with `make run`"

    down = tmp_path / "down.json"
    down.write_text(json.dumps({"websocket": "ws://127.0.0.1:1/x", "jwt": {"alg": "HS256", "secret": "x" * 32}}))
    assert CliRunner().invoke(main, ["replay", str(log), "--stack", str(down)]).exit_code == 2
    assert CliRunner().invoke(main, ["replay", str(tmp_path / "no.jsonl"), "--stack", str(down)]).exit_code == 2
