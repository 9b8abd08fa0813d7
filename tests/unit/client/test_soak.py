"""The soak against a small server of the protocol, and its chaos against a small control service."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imclient.cli import main
from imclient.cli.soak import described, to_json
from imclient.errors import SoakError
from imclient.history import In, Kind, Out, Tables, check, read_recordings
from imclient.soak import ChaosControl, Plan, Report, Soak, control_of, final_tables
from imclient.soak.people import Measures
from imclient.stack import Stack, load_stack
from tests.unit.client.fake_server import Conversation, FakeServer, Faults

Log = list[tuple[str, str, Any]]


class Server(FakeServer):
    """Direct conversations are there before anybody says anything, as on the real one."""

    def _of(self, user: str, conv: str) -> Conversation:
        if conv.startswith("d:") and conv not in self.conversations:
            self.conversations[conv] = Conversation(conv, conv.split(":")[1:])
        return super()._of(user, conv)


@pytest.fixture
def control() -> Iterator[tuple[str, Log]]:
    """A control service that notes what it is asked, and knows of three faults."""
    asked: Log = []

    class Control(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(("GET", self.path, None))
            faults = [{"at": 5, "kind": "kill"}, {"at": 10**15, "kind": "error"}, {"at": 10**15, "kind": "error"}]
            self._answer(faults)

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(("POST", self.path, json.loads(text) if text else None))
            self._answer({})

        def _answer(self, value: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Control) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def soak(stack: Stack, plan: Plan, chaos: ChaosControl | None = None, told: list[str] | None = None) -> Report:
    async def run() -> Report:
        return await Soak(stack, plan, chaos, None, (told if told is not None else []).append).run()

    return asyncio.run(run())


def quick(record: Path, **more: Any) -> Plan:
    settings = {"users": 3, "seconds": 1.5, "seed": 5, "rate": 40.0, "look_every": 0.1, "patience": 30.0}
    return Plan(**{**settings, "record": record, **more})


def test_people_talk_and_come_to_rest(tmp_path: Path, control: tuple[str, Log]) -> None:
    url, asked = control
    with Server() as server:
        stack = load_stack(server.stack_file(tmp_path))
        report = soak(stack, quick(tmp_path / "history", faults_per_minute=9, kills_per_minute=2), control_of(url))

    assert (report.unrest, report.ended, report.passed) == ([], [], True)
    assert (report.users, report.devices) == (3, 4)
    assert report.actions["say"] > 0
    assert report.actions["read"] > 0
    assert report.ack_p50_ms is not None
    assert report.push_p50_ms is not None
    assert asked[0] == ("POST", "/start", {"seed": 5, "faults_per_minute": 9, "kills_per_minute": 2})
    assert [(method, path) for method, path, _ in asked[1:]] == [("POST", "/stop"), ("GET", "/log")]
    assert report.faults == {"error": 2}


def test_what_they_did_is_recorded(tmp_path: Path) -> None:
    with Server() as server:
        report = soak(load_stack(server.stack_file(tmp_path)), quick(tmp_path / "history"))
        stored = {conv: len(conversation.log) for conv, conversation in server.conversations.items()}

    recordings = read_recordings(tmp_path / "history")
    assert [recording.name for recording in recordings] == [
        "soak-5-0/desktop",
        "soak-5-0/phone",
        "soak-5-1/phone",
        "soak-5-2/desktop",
    ]
    sent = {
        event.frame["data"]["cmid"]
        for recording in recordings
        for event in recording.events
        if isinstance(event, Out) and event.frame["op"] == "send"
    }
    assert len(sent) == report.actions["say"] + report.actions.get("answer", 0)
    assert any(isinstance(event, In) for recording in recordings for event in recording.events)
    # A group of all three, and one of some: those that are in none were not told of it.
    verdict = check(recordings, Tables.of([], []))
    assert verdict.counts.sent == verdict.counts.acked == len(sent)
    assert Kind.LOSS in verdict.kinds, "nothing is stored there"
    assert sum(stored.values()) > len(sent)


def test_what_does_not_come_to_rest_is_said(tmp_path: Path) -> None:
    class Forgetful(Server):
        async def sync_inbox(self, user: str, data: dict[str, Any]) -> dict[str, Any]:
            reply = await super().sync_inbox(user, data)
            if user == "soak-5-1":
                reply["conversations"] = [{**row, "last_seq": 1} for row in reply["conversations"]]
            return reply

    with Forgetful() as server:
        report = soak(load_stack(server.stack_file(tmp_path)), quick(tmp_path / "history", patience=1.5))

    assert not report.passed
    assert any("soak-5-1/phone: the row of" in line for line in report.unrest)
    assert "FAILED  not everything came to rest" in described(report, quick(tmp_path))


def test_what_is_refused_is_counted(tmp_path: Path) -> None:
    everybody = frozenset(f"soak-5-{number}" for number in range(3))
    with Server(Faults(muted=everybody)) as server:
        plan = quick(tmp_path / "history", seconds=0.5)
        report = soak(load_stack(server.stack_file(tmp_path)), plan)

    assert report.refusals["muted"] > 0
    assert report.ack_p50_ms is None
    assert report.passed
    assert f"refused: muted {report.refusals['muted']}" in described(report, plan)
    assert to_json(report, plan)["passed"] is True


def test_a_stack_without_faults_to_order_says_how_to_start_one(tmp_path: Path) -> None:
    with Server() as server:
        path = server.stack_file(tmp_path)
        result = CliRunner().invoke(main, ["soak", "--chaos", "--no-tables", "--stack", str(path)])

    assert result.exit_code == 2
    assert "make run CHAOS=1" in result.output


def test_the_command_soaks_records_and_reports(tmp_path: Path) -> None:
    with Server() as server:
        arguments = [
            "soak",
            "--users",
            "2",
            "--minutes",
            "0.02",
            "--rate",
            "20",
            "--seed",
            "9",
            "--no-tables",
            "--json",
        ]
        arguments += ["--record", str(tmp_path / "history"), "--stack", str(server.stack_file(tmp_path))]
        result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["seed"], figures["users"], figures["passed"], figures["verdict"]) == (9, 2, True, None)
    assert len(read_recordings(tmp_path / "history")) == 3


def test_a_control_service_that_does_not_answer_is_said() -> None:
    with pytest.raises(SoakError, match="does not answer"):
        ChaosControl("http://127.0.0.1:9").stop()


def test_tables_need_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(SoakError, match=r"imclient\[admin\]"):
        final_tables(Stack("ws://127.0.0.1:9", None))  # type: ignore[arg-type]


def test_a_local_stack_that_is_gone_is_said() -> None:
    stack = Stack("ws://x", None, name="serverless-im", region="us-east-1", endpoint="http://127.0.0.1:9")  # type: ignore[arg-type]

    with pytest.raises(SoakError, match="cannot read the tables of serverless-im"):
        final_tables(stack)


def test_latencies_are_those_of_messages_whose_sending_was_timed() -> None:
    measures = Measures()
    measures.sent_at["g:a", 1] = 10.0
    measures.pushed_at["g:a", 1] = [10.25, 11.0]
    measures.pushed_at["g:a", 2] = [12.0]

    latencies: Sequence[float] = measures.latencies()

    assert latencies == [250.0, 1000.0]
