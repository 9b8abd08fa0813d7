"""Recordings: written while they happen, read again as they were; what is none is named. And `im check`."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from imclient.cli import main
from imclient.connection import Connection
from imclient.errors import RecordingError
from imclient.history import (
    TABLES_FILE,
    Closed,
    Holds,
    In,
    Opened,
    Out,
    Recorder,
    file_name,
    read_recording,
    read_recordings,
    read_tables,
    write_tables,
)
from imclient.ids import UserId
from imclient.stack import load_stack
from imclient.tokens import mint_token
from tests.unit.client.fake_server import FakeServer
from tests.unit.client.history_world import TEAM, right_history


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    times = iter(range(1, 100))
    with (tmp_path / file_name("alice", "pc")).open("w", encoding="utf-8") as sink:
        recorder = Recorder("alice", "pc", "desktop", clock=lambda: next(times), sink=sink)
        for last in ("no JSON \n at all", '{"push":"kicked","data":{"reason":"replaced"}}'):
            connection = recorder.connection()
            connection.opened()
            connection.sent('{"route":"connect","op":"ping","id":"r1","data":{}}')
            connection.received('{"id":"r1","ok":true,"data":{"inbox":"\\ud800 \\u2028 日本"}}')
            connection.received(last)
            connection.closed()
        recorder.holds(TEAM, [5, 3, 1, 2], shown=1, floor=7)

    (read,) = read_recordings(tmp_path)

    assert read == recorder.recording
    assert read.events[0] == Opened(1, 1)
    assert read.events[2] == In(3, 1, {"id": "r1", "ok": True, "data": {"inbox": "\ud800 \u2028 日本"}})
    assert read.events[3] == In(4, 1, "no JSON \n at all")
    assert read.events[4:6] == (Closed(5, 1), Opened(6, 2))
    assert read.events[-2:] == (
        Closed(10, 2, "replaced"),
        Holds(11, TEAM, seqs=((1, 3), (5, 5)), shown=1, floor=7),
    )
    other = tmp_path / "other"
    other.mkdir()
    assert read.write(other).read_text() == (tmp_path / "alice.pc.jsonl").read_text()


def test_a_connection_tells_its_listener_of_every_frame(tmp_path: Path) -> None:
    async def talk() -> Recorder:
        recorder = Recorder("ann", "pc", "desktop", clock=lambda: 7)
        with FakeServer() as server:
            token = mint_token(load_stack(server.stack_file(tmp_path)).signing, UserId("ann"), now=int(time.time()))
            listener = recorder.connection()
            async with await Connection.open(server.url, token=token, device="pc", listener=listener) as connection:
                await connection.request("connect", "ping", {})
                server.tell("ann", {"push": "kicked", "data": {"reason": "replaced"}})
                await connection.wait_lost()
        return recorder

    events = asyncio.run(talk()).recording.events

    assert events[0] == Opened(7, 1)
    assert events[1] == Out(7, 1, {"route": "connect", "op": "ping", "id": "r1", "data": {}})
    assert isinstance(events[2], In)
    assert events[2].frame["id"] == "r1"
    assert events[3:] == (In(7, 1, {"push": "kicked", "data": {"reason": "replaced"}}), Closed(7, 1, "replaced"))


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("", 1),
        ("[]", 1),
        ('{"recording": 2, "user": "a", "device": "b"}', 1),
        ('{"recording": 1, "user": "a", "device": "b"}\n{"at": 1, "event": "in"}', 2),
        ('{"recording": 1, "user": "a", "device": "b"}\n\n{"at": 1', 3),
        (
            '{"recording": 1, "user": "a", "device": "b"}\n'
            '{"at": 1, "event": "holds", "conv": "g", "seqs": [[1]], "shown": 0}',
            2,
        ),
    ],
)
def test_what_is_no_recording_is_named(lines: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "a.b.jsonl"
    path.write_text(lines)

    with pytest.raises(RecordingError, match=rf"a\.b\.jsonl:{line}: "):
        read_recording(path)


def test_tables_are_read_again(tmp_path: Path) -> None:
    tables = right_history().tables
    write_tables(tmp_path / TABLES_FILE, tables)

    assert read_tables(tmp_path / TABLES_FILE) == tables


def test_the_command_says_that_a_right_history_is_right(tmp_path: Path) -> None:
    right_history().check(tmp_path)  # writes the files

    result = CliRunner().invoke(main, ["check", str(tmp_path)])

    assert result.exit_code == 0, result.output
    assert "OK  every promise was kept" in result.stdout


def test_the_command_names_broken_promises_and_exits_with_1(tmp_path: Path) -> None:
    history = right_history()
    history.holds("dave.pc", TEAM)["seqs"] = [[4, 5]]
    history.pushed("carol.pc", TEAM, 2)["body"] = {"text": "\x1b[31mred"}
    history.check(tmp_path)
    tables = (tmp_path / TABLES_FILE).rename(tmp_path.parent / f"{tmp_path.name}-tables.jsonl")

    result = CliRunner().invoke(main, ["check", str(tmp_path), "--tables", str(tables)])
    as_json = CliRunner().invoke(main, ["check", str(tmp_path), "--tables", str(tables), "--json"])

    assert result.exit_code == 1, result.output
    assert "loss: g:team: dave/pc does not hold 6 at rest" in result.stdout
    assert "FAILED  2 broken promises (content, loss)" in result.stdout
    assert "\x1b" not in result.stdout
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["violations_by_kind"] == {"content": 1, "loss": 1}


def test_the_command_needs_recordings_and_tables(tmp_path: Path) -> None:
    without_tables = CliRunner().invoke(main, ["check", str(tmp_path)])
    (tmp_path / TABLES_FILE).write_text("")
    without_recordings = CliRunner().invoke(main, ["check", str(tmp_path)])

    assert (without_tables.exit_code, without_recordings.exit_code) == (2, 2)
    assert "cannot read" in without_tables.output
    assert "no recordings in" in without_recordings.output
