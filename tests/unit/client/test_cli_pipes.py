"""`im send` and `im tail`: commands for pipes and scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imclient.cli import main
from imclient.cli.tail import Printed
from imclient.frames import Entry
from imclient.ids import ConvId
from imclient.transcript import Transcript
from tests.unit.client.fake_server import Conversation, FakeServer, Faults

DIRECT = "d:alice:bob"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def im(server: FakeServer, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command on the fake server."""
    stack = str(server.stack_file(tmp_path))

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, words, env={"IM_STACK": stack})

    return run


@pytest.fixture
def piped(server: FakeServer, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command on the fake server as a process of its own."""
    stack = str(server.stack_file(tmp_path))

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from imclient.cli import main; main()", *words, "--stack", stack],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    return start


def said(server: FakeServer, conv: str = DIRECT) -> list[str]:
    return [entry["body"]["text"] for entry in server.conversations[conv].log if entry["kind"] == "text"]


def talk(im: Callable[..., Result], *texts: str, sender: str = "bob", to: str = "alice") -> None:
    for text in texts:
        assert im("send", "--as", sender, "--to", to, text).exit_code == 0


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- send


def test_a_text_is_sent_and_its_seq_printed(server: FakeServer, im: Callable[..., Result]) -> None:
    first, second = (im("send", "--as", "alice", "--to", "bob", "--", text) for text in ("one", "--two"))

    assert (first.output, first.exit_code) == ("1\n", 0)
    assert (second.output, second.exit_code) == ("2\n", 0)
    assert said(server) == ["one", "--two"]


def test_the_same_cmid_sends_nothing_twice(server: FakeServer, im: Callable[..., Result]) -> None:
    results = [im("send", "--as", "ci", "--to", "bob", "Deployed", "--cmid", "deploy-7", "--json") for _ in range(2)]

    assert [(found["seq"], found["cmid"], found["duplicate"]) for (found,) in map(lines, results)] == [
        (1, "deploy-7", False),
        (1, "deploy-7", True),
    ]
    assert said(server, "d:bob:ci") == ["Deployed"]


def test_lines_of_a_pipe_are_messages_in_order_and_empty_ones_are_none(
    server: FakeServer, piped: Callable[..., subprocess.Popen[str]]
) -> None:
    command = piped("send", "--as", "alice", "--to", "bob")
    out, err = command.communicate("one\n\ntwo\nthree", timeout=60)

    assert (out.split(), err, command.returncode) == (["1", "2", "3"], "", 0)
    assert said(server) == ["one", "two", "three"]


def test_what_is_refused_ends_it_and_the_lines_behind_are_not_sent(tmp_path: Path) -> None:
    with FakeServer(Faults(muted=frozenset({"alice"}))) as server:
        stack = str(server.stack_file(tmp_path))
        result = CliRunner().invoke(main, ["send", "--as", "alice", "--to", "bob", "hi", "--stack", stack])

    assert result.exit_code == 1
    assert "not sent: muted" in result.stderr


def test_what_is_too_large_is_said_before_it_is_sent(server: FakeServer, im: Callable[..., Result]) -> None:
    result = im("send", "--as", "alice", "--to", "bob", "字" * 12_000)

    assert result.exit_code == 1
    assert "32768" in result.stderr
    assert "message.send" not in server.ops_of("alice")


def test_what_is_not_taken_in_time_is_given_up(server: FakeServer, im: Callable[..., Result]) -> None:
    server.faults.lost_replies = 100

    result = im("send", "--as", "alice", "--to", "bob", "hi", "--timeout", "0.3")

    assert result.exit_code == 1
    assert "not taken within 0.3 s" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("send", "--as", "alice", "hi"),
        ("send", "--as", "alice", "--to", "bob", "--conv", "g:x", "hi"),
        ("send", "--as", "alice", "--conv", "team", "hi"),
        ("send", "--as", "a b", "--to", "bob", "hi"),
        ("send", "--as", "alice", "--to", "bob", "--cmid", "c1"),
        ("tail", "--as", "alice", "--history", "3"),
        ("tail", "--as", "alice", "--count", "0"),
    ],
)
def test_wrong_usage_is_said_and_nothing_is_sent(
    server: FakeServer, im: Callable[..., Result], words: tuple[str, ...]
) -> None:
    result = im(*words)

    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert server.upgrades == 0


def test_without_a_server_there_is_one_line_and_exit_code_2(server: FakeServer, tmp_path: Path) -> None:
    stack = server.stack_file(tmp_path)
    stack.write_text(stack.read_text().replace(server.url, "ws://127.0.0.1:1/dev"))

    for words in (["send", "--as", "alice", "--to", "bob", "hi"], ["tail", "--as", "alice"]):
        result = CliRunner().invoke(main, [*words, "--stack", str(stack)])
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


# ---- tail


def test_history_is_printed_as_the_protocol_has_it(server: FakeServer, im: Callable[..., Result]) -> None:
    talk(im, "one", "two", "three")

    result = im("tail", "--as", "alice", "--conv", DIRECT, "--history", "2", "--count", "2")

    assert result.exit_code == 0
    assert lines(result) == server.conversations[DIRECT].log[1:]


def test_history_of_more_than_a_page_is_whole_and_in_order(server: FakeServer, im: Callable[..., Result]) -> None:
    long = server.conversations[DIRECT] = Conversation(DIRECT, ["alice", "bob"])
    long.log += [
        {"conv": DIRECT, "seq": n, "n": n, "kind": "text", "from": "bob", "ts": n, "body": {"text": str(n)}}
        for n in range(1, 451)
    ]

    result = im("tail", "--as", "alice", "--conv", DIRECT, "--history", "330", "--count", "330")

    assert [entry["seq"] for entry in lines(result)] == list(range(121, 451))


def test_more_history_than_there_is_is_all_of_it(im: Callable[..., Result]) -> None:
    talk(im, "one", "two")

    result = im("tail", "--as", "alice", "--conv", DIRECT, "--history", "50", "--seconds", "0.2")

    assert ([entry["seq"] for entry in lines(result)], result.exit_code) == ([1, 2], 0)


def test_what_comes_while_it_starts_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript(ConvId(DIRECT), floor=4)
    for seq in (5, 6, 7):
        wire = {"conv": DIRECT, "seq": seq, "n": seq, "kind": "text", "from": "bob", "ts": 1, "body": {"text": "hi"}}
        transcript.insert(Entry.from_wire(wire))

    for number in (0, 2, 9):
        Printed(frozenset({ConvId(DIRECT)}), None).newest(transcript, number)

    seqs = [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()]
    assert seqs == [5, 6, 7, 6, 7, 5, 6, 7]


def test_what_comes_is_printed_at_once_and_only_of_the_conversations_asked_for(
    server: FakeServer, im: Callable[..., Result], piped: Callable[..., subprocess.Popen[str]]
) -> None:
    talk(im, "before")
    tailing = piped("tail", "--as", "alice", "--conv", DIRECT)
    assert tailing.stdout is not None
    wait_for(lambda: "sync.inbox" in server.ops_of("alice"))
    time.sleep(0.2)  # its reply
    talk(im, "elsewhere", sender="carol")
    talk(im, "here")

    entry = json.loads(tailing.stdout.readline())
    tailing.terminate()

    assert (entry["conv"], entry["body"]["text"]) == (DIRECT, "here")
    tailing.communicate(timeout=30)


def test_what_is_behind_a_hole_waits_until_it_is_filled(tmp_path: Path) -> None:
    with FakeServer(Faults(not_pushed=frozenset({(0, 2)}), pushed_twice=frozenset({1, 3}))) as server:
        stack = str(server.stack_file(tmp_path))
        command = [sys.executable, "-c", "from imclient.cli import main; main()", "tail", "--as", "alice"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        tailing = subprocess.Popen(
            [*command, "--count", "3", "--stack", stack], stdout=subprocess.PIPE, text=True, env=environment
        )
        wait_for(lambda: "sync.inbox" in server.ops_of("alice"))
        time.sleep(0.2)  # its reply
        for text in ("one", "two", "three"):
            words = ["send", "--as", "bob", "--to", "alice", text, "--stack", stack]
            assert CliRunner().invoke(main, words).exit_code == 0
        out, _ = tailing.communicate(timeout=60)

    assert [json.loads(line)["body"]["text"] for line in out.splitlines()] == ["one", "two", "three"]


def test_when_nobody_reads_any_more_it_ends_without_a_word(
    server: FakeServer, im: Callable[..., Result], piped: Callable[..., subprocess.Popen[str]]
) -> None:
    tailing = piped("tail", "--as", "alice")
    assert tailing.stdout is not None
    assert tailing.stderr is not None
    wait_for(lambda: "sync.inbox" in server.ops_of("alice"))
    time.sleep(0.2)  # its reply
    tailing.stdout.close()
    talk(im, "one")

    assert tailing.wait(60) == 0
    assert tailing.stderr.read() == ""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
