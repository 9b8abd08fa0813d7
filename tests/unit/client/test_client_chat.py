"""The chat shows what is unread, prints what comes, sends what is typed, and marks what was shown as read."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner

from imclient.chat import Chat, described
from imclient.cli import main
from imclient.cli.chat import lines_of
from imclient.core.settings import Settings
from imclient.errors import ConnectionLostError
from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from tests.unit.client.fake_server import SECRET, Conversation, FakeServer
from tests.unit.client.sessions import connect, dialer

ALICE, BOB = UserId("alice"), UserId("bob")
DIRECT = ConvId("d:alice:bob")
QUICK = Settings(reply=1_000, hole=20, acknowledge=20, read=20, backoff_first=10, backoff_longest=50)


class Screen:
    """What was printed, and lines to type that wait for what is printed first."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def typed(self, *steps: str | Callable[[], bool]) -> AsyncIterator[str]:
        for step in steps:
            if isinstance(step, str):
                yield step
            else:
                while not step():
                    await asyncio.sleep(0.005)

    def shows(self, part: str) -> Callable[[], bool]:
        return lambda: any(part in line for line in self.lines)


def run(server: FakeServer, *steps: str | Callable[[], bool], screen: Screen, conv: ConvId | None = None) -> Chat:
    async def work() -> Chat:
        chat = Chat(dialer(server, ALICE), ALICE, write=screen.lines.append, settings=QUICK)
        async with asyncio.timeout(30):
            await chat.run(screen.typed(*steps), conv=conv)
        return chat

    return asyncio.run(work())


def bob_says(server: FakeServer, *texts: str, conv: str = DIRECT) -> None:
    async def work() -> None:
        async with await connect(server, BOB) as bob:
            for text in texts:
                target = {"to": ALICE} if conv == DIRECT else {"conv": conv}
                data = {**target, "cmid": text, "kind": "text", "body": {"text": text}}
                await bob.request("message", "send", data)

    asyncio.run(work())


def test_unread_conversations_are_shown_and_opening_one_marks_it_read() -> None:
    screen = Screen()
    with FakeServer() as server:
        for number in range(3):  # more than a page of the inbox
            server.conversations[f"g:{number}"] = Conversation(f"g:{number}", [ALICE, BOB])
            bob_says(server, f"in {number}", conv=f"g:{number}")
        bob_says(server, "one", "two \x1b[2J")
        run(server, "/open @bob", "/quit", screen=screen)
        assert server.conversations[DIRECT].read[ALICE] == 2

    assert [line for line in screen.lines if "2 unread" in line and "bob: two \\x1b[2J" in line]
    assert [line for line in screen.lines if "g:2" in line and "1 unread" in line]
    assert screen.lines[-3] == "== bob =="
    assert screen.lines[-1].endswith("bob: two \\x1b[2J")


def test_what_is_typed_is_sent_and_what_comes_is_printed_and_read() -> None:
    screen = Screen()
    with FakeServer() as server:

        def answer() -> bool:
            server.tell(ALICE, {"push": "typing", "data": {}})
            return True

        def bob_answers() -> bool:
            return bool(server.conversations[DIRECT].log) and screen.shows("✓ 1")()

        async def work() -> None:
            chat = Chat(dialer(server, ALICE), ALICE, write=screen.lines.append, settings=QUICK)
            steps = screen.typed("hello", "//etc", bob_answers, answer, screen.shows("bob: hey"), "/history 2")
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(chat.run(steps, conv=DIRECT))
                while len(server.conversations.get(DIRECT, Conversation("", [])).log) < 2:
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(bob_says, server, "hey")

        asyncio.run(work())
        log = server.conversations[DIRECT].log
        assert [entry["body"]["text"] for entry in log] == ["hello", "/etc", "hey"]
        assert server.conversations[DIRECT].read[ALICE] == 3
        assert "sync.ack" in server.ops_of(ALICE)

    assert screen.lines[-2].endswith("alice: /etc")
    assert screen.lines[-1].endswith("bob: hey")


def test_messages_of_other_conversations_name_theirs_and_stay_unread() -> None:
    screen = Screen()
    with FakeServer() as server:
        server.conversations["g:team"] = Conversation("g:team", [ALICE, BOB])

        async def work() -> None:
            chat = Chat(dialer(server, ALICE), ALICE, write=screen.lines.append, settings=QUICK)
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(chat.run(screen.typed(screen.shows("bob: hey")), conv=ConvId("g:team")))
                while "sync.entries" not in server.ops_of(ALICE):
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(bob_says, server, "hey")

        asyncio.run(work())
        assert ALICE not in server.conversations[DIRECT].read

    assert [line for line in screen.lines if line.startswith("(bob) ") and line.endswith("bob: hey")]


def test_who_leaves_and_comes_back_sees_it_said_and_nothing_of_between() -> None:
    screen = Screen()
    team = ConvId("g:team")
    with FakeServer() as server:
        server.conversations[team] = Conversation(team, [BOB, ALICE])

        async def work() -> None:
            chat = Chat(dialer(server, ALICE), ALICE, write=screen.lines.append, settings=QUICK)
            steps = screen.typed(
                screen.shows("bob: before"),
                screen.shows("bob removed alice"),
                "may I?",
                "/list",
                "/open g:team",
                screen.shows("bob added alice"),
                screen.shows("bob: after"),
                "/history 9",
            )
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(chat.run(steps, conv=team))
                while "sync.entries" not in server.ops_of(ALICE):
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(bob_says, server, "before", conv=team)
                await asyncio.to_thread(server.leave, team, ALICE)
                await asyncio.to_thread(bob_says, server, "between", "still between", conv=team)
                while not screen.shows("(left)")():
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(server.join, team, ALICE)
                while not screen.shows("bob added alice")():
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(bob_says, server, "after", conv=team)

        asyncio.run(work())
        assert server.conversations[team].read[ALICE] == 6

    assert screen.shows("! not_member")()
    assert not screen.shows("between")()
    shown = [line.split("  ")[-1] for line in screen.lines[-4:]]
    assert shown == ["bob: before", "* bob removed alice", "* bob added alice", "bob: after"]


def test_mistakes_are_answered_and_the_chat_goes_on() -> None:
    screen = Screen()
    with FakeServer() as server:
        chat = run(
            server,
            "nobody hears this",
            "/history",
            "/open g:none",
            "/open n@n",
            "/dance",
            "/list",
            "/open bob",
            "hi",
            "x" * 40_000,
            screen=screen,
        )
        assert [entry["body"]["text"] for entry in server.conversations[DIRECT].log] == ["hi"]

    assert chat.not_sent == 2
    for part in (
        "no conversation is open",
        "not_found",
        "neither a number",
        "/history [N]",
        "no conversations",
        "32768",
    ):
        assert screen.shows(part)(), part


def test_being_kicked_ends_the_chat() -> None:
    screen = Screen()
    with FakeServer() as server:

        def kick() -> bool:
            server.tell(ALICE, {"push": "kicked", "data": {"reason": "replaced"}})
            return True

        with pytest.raises(ConnectionLostError, match="replaced"):
            run(server, kick, lambda: False, screen=screen)


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("image", {}, "eve: [image]"),
        ("merged", {"title": "Plans", "messages": []}, "eve: [merged] Plans"),
        ("edit", {"target": 3, "body": {"text": "new\x1b[2J"}}, "* eve edited: new\\x1b[2J"),
        ("edit", {"target": 3}, "* eve edited a message"),
        ("recall", {"target": 3}, "* eve recalled a message"),
        ("reaction", {"target": 3, "emoji": "👍", "on": True}, "* eve 👍 message 3"),
        ("reaction", {"target": 3, "emoji": "\x07", "on": False}, "* eve no more \\x07 message 3"),
        ("pin", {"target": 3, "on": False}, "* eve unpinned message 3"),
        ("members", {"added": list("abcdefg"), "removed": [], "by": "eve"}, "* eve added a, b, c, d, e and 2 more"),
        ("members", {"removed": ["x\x07"], "by": "eve"}, "* eve removed x\\x07"),
        ("profile", {"name": "n\x1b[2J"}, "* eve changed the name to n\\x1b[2J"),
    ],
)
def test_every_kind_of_entry_is_one_line(kind: str, body: dict[str, object], shown: str) -> None:
    line = described(Entry(DIRECT, 7, 1, kind, UserId("eve"), 0, body))
    assert line is not None
    assert line.endswith(f"  {shown}")


def test_a_change_names_the_message_that_it_is_about_where_that_is_known() -> None:
    target = Entry(DIRECT, 3, 1, "text", UserId("bob"), 0, {"text": "x" * 50})
    for kind, body, said in (
        ("reaction", {"target": 3, "emoji": "👍", "on": True}, f"* eve 👍 {'x' * 40}…"),
        ("pin", {"target": 3, "on": True}, f"* eve pinned {'x' * 40}…"),
    ):
        line = described(Entry(DIRECT, 7, 1, kind, UserId("eve"), 0, body), target)
        assert line is not None
        assert line.endswith(f"  {said}")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({}, "bob: hi"),
        ({"recalled": {"by": "carol", "ts": 1}, "body": {}}, "* carol recalled a message"),
        ({"edited": {"seq": 4, "ts": 1}, "pinned": True}, "bob: hi (edited, pinned)"),
        ({"reactions": {"👍": {"count": 2, "users": ["a", "b"]}}}, "bob: hi (👍 2)"),
        ({"reply_to": 1, "quote": {"seq": 1, "preview": "hello?"}}, "bob: [re: hello?] hi"),
        ({"forwarded": {"from": "dave", "ts": 1}}, "bob: [from dave] hi"),
    ],
)
def test_a_message_is_shown_as_it_is_now(state: dict[str, object], shown: str) -> None:
    wire = {"conv": DIRECT, "seq": 3, "n": 1, "kind": "text", "from": "bob", "ts": 0, "body": {"text": "hi"}, **state}
    line = described(Entry.from_wire(wire))
    assert line is not None
    assert line.endswith(f"  {shown}")


def test_changes_are_lines_of_their_own_as_they_come() -> None:
    screen = Screen()
    with FakeServer() as server:
        bob_says(server, "helo")

        async def change() -> None:
            async with await connect(server, BOB) as bob:
                for op, more in (
                    ("edit", {"body": {"text": "hello"}}),
                    ("react", {"emoji": "👍", "on": True}),
                    ("recall", {}),
                ):
                    await bob.request("message", op, {"conv": DIRECT, "seq": 1, "cmid": op, **more})

        async def work() -> None:
            chat = Chat(dialer(server, ALICE), ALICE, write=screen.lines.append, settings=QUICK)
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(chat.run(screen.typed(screen.shows("recalled"), "/list"), conv=DIRECT))
                while not screen.shows("bob: helo")():
                    await asyncio.sleep(0.005)
                group.create_task(change())

        asyncio.run(work())

    shown = [line.split("  ")[-1] for line in screen.lines[-4:-1]]
    assert shown == ["* bob edited: hello", "* bob 👍 message 1", "* bob recalled a message"]


def test_the_list_has_pinned_conversations_first_and_hidden_ones_not() -> None:
    screen = Screen()

    def row(conv: str, at: int, **more: object) -> dict[str, object]:
        last = {"seq": 1, "kind": "text", "from": "bob", "ts": 1, "preview": conv}
        return {"conv": conv, "last_seq": 1, "unread": 0, "at": at, "last": last, **more}

    recalled = {"seq": 1, "kind": "text", "from": "bob", "ts": 1, "preview": "", "recalled": True}
    rows = [
        row("g:old", 1, pinned=True),
        row("g:hidden", 4, hidden=True),
        row("g:new", 3, last=recalled),
        row("g:image", 2, last={"seq": 1, "kind": "image", "from": "bob", "ts": 1, "preview": ""}),
        row("g:empty", 1, last=None),
    ]
    with FakeServer() as server:
        server.rows = rows
        run(server, "/list", screen=screen)

    shown = [line.split(maxsplit=2)[1:] for line in screen.lines[-4:]]
    assert shown == [
        ["g:old", "bob: g:old"],
        ["g:new", "* bob recalled a message"],
        ["g:image", "bob: [image]"],
        ["g:empty"],
    ]


@pytest.mark.parametrize("kind", ["void", "a-kind-of-the-future"])
def test_unknown_kinds_are_not_shown(kind: str) -> None:
    assert described(Entry(DIRECT, 7, 1, kind, UserId("eve"), 0, {})) is None


def test_lines_are_cut_however_they_come() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntw")
    os.write(writing, "o é\r\n\nlast".encode())
    os.close(writing)

    async def work() -> list[str]:
        return [line async for line in lines_of(reading)]

    assert asyncio.run(work()) == ["one", "two é", "", "last"]
    os.close(reading)


def piped(stack: str, lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from imclient.cli import main; main()", "chat", "--as", "alice", "--to", "bob"]
    return subprocess.run(
        [*command, "--stack", stack],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_the_command_sends_piped_lines_and_ends(tmp_path: Path) -> None:
    with FakeServer() as server:
        stack = str(server.stack_file(tmp_path))
        done = piped(stack, "one\ntwo\n")
        assert [entry["body"]["text"] for entry in server.conversations[DIRECT].log] == ["one", "two"]
    assert done.returncode == 0, done.stderr
    assert "alice: two" in done.stdout
    assert done.stderr == ""

    nobody_there = piped(stack, "three\n")
    assert nobody_there.returncode == 2
    assert nobody_there.stderr.startswith("Error: ")
    assert len(nobody_there.stderr.splitlines()) == 1


def test_the_commands_check_what_they_are_given(tmp_path: Path) -> None:
    stack = tmp_path / "stack.json"
    stack.write_text(json.dumps({"websocket": "ws://127.0.0.1:1/x", "jwt": {"alg": "HS256", "secret": "x" * 32}}))
    for wrong in (
        ["chat"],
        ["chat", "--as", "a b"],
        ["chat", "--as", "alice", "--to", "bob", "--conv", "g:t"],
        ["chat", "--as", "alice", "--conv", "team"],
        ["chat", "--as", "alice", "--device", "a b"],
        ["token", "a b"],
        ["token", "alice", "--ttl", "0"],
        ["replay"],
    ):
        assert (
            CliRunner().invoke(main, [*wrong, *(["--stack", str(stack)] if wrong != ["replay"] else [])]).exit_code == 2
        )
    for command in ("token", "chat", "replay"):
        result = CliRunner().invoke(main, [command, "--help"])
        assert result.exit_code == 0
        assert "Examples:" in result.output


def test_a_token_is_printed(tmp_path: Path) -> None:
    stack = tmp_path / "stack.json"
    stack.write_text(json.dumps({"websocket": "ws://x", "jwt": {"alg": "HS256", "secret": SECRET}}))
    result = CliRunner().invoke(main, ["token", "alice", "--ttl", "60", "--stack", str(stack)])
    claims = jwt.decode(result.stdout.strip(), SECRET, algorithms=["HS256"])
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == 60
    as_json = CliRunner().invoke(main, ["token", "alice", "--json", "--stack", str(stack)])
    assert json.loads(as_json.stdout)["user"] == "alice"
