"""What the client promises to a program: messages go out once, events in order, history from the store."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from imclient.client import Client, DiscardedError
from imclient.core.outputs import State
from imclient.core.settings import Settings
from imclient.errors import ConnectionLostError, FrameTooLargeError, ReplyError, UpgradeRefusedError
from imclient.events import (
    ConnectionChanged,
    ConversationChanged,
    DeliveredToPeer,
    Event,
    EventsMissed,
    EventStream,
    HistoryChanged,
    JoinRequested,
    Kicked,
    MessageCame,
    MessageChanged,
    MessageDiscarded,
    MessageFailed,
    MessageQueued,
    OtherPush,
    PrivacyChanged,
    ReadByPeer,
    RedPacketChanged,
    StoreFailed,
    Typing,
)
from imclient.ids import ConvId, UserId
from imclient.operations import pages
from imclient.stack import SigningKey
from imclient.store import MemoryStore, SqliteStore, StoreError
from imclient.timeline import Message
from imclient.tokens import mint_token
from tests.unit.client.fake_server import SECRET, FakeServer, Refusal
from tests.unit.client.sessions import token, until

ALICE, BOB = UserId("alice"), UserId("bob")
DIRECT = "d:alice:bob"
QUICK = Settings(
    reply=500,
    dial=2000,
    hole=20,
    acknowledge=20,
    read=20,
    inbox=10,
    inbox_unknown=20,
    backoff_first=10,
    backoff_longest=50,
)
NOWHERE = "ws://127.0.0.1:9/dev"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def run(work: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(within())


def client(server: FakeServer | None, who: UserId, **how: Any) -> Client:
    url = NOWHERE if server is None else server.url
    return Client(url, how.pop("token", token(who)), device="d1", settings=QUICK, **how)


@asynccontextmanager
async def both(server: FakeServer, **how: Any) -> AsyncIterator[tuple[Client, Client]]:
    async with client(server, ALICE, **how) as alice, client(server, BOB) as bob:
        await alice.connected()
        await bob.connected()
        yield alice, bob


def told(of: Client, kind: type[Event] = Event) -> list[Any]:
    """What it tells from now on."""
    events: list[Any] = []
    of.on(kind, events.append)
    return events


# ---- sending


def test_a_message_is_shown_at_once_and_can_be_awaited(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            came, happened = told(bob, MessageCame), told(alice)

            outgoing = alice.send("bob", "hello", mentions=["bob"])

            assert [type(event) for event in happened] == [MessageQueued]
            assert (outgoing.message.text, outgoing.message.seq, outgoing.message.sender) == ("hello", 0, ALICE)
            assert alice.outgoing(DIRECT) == [outgoing]
            message = await outgoing
            assert (message.seq, message.text, message.cmid, message.mentions) == (1, "hello", outgoing.cmid, ("bob",))
            assert await outgoing == message
            assert (outgoing.state, alice.outgoing(), alice._outgoing) == ("sent", [], {})
            await until(lambda: bool(came))
            assert (came[0].message.text, came[0].own) == ("hello", False)
            own = [event for event in happened if isinstance(event, MessageCame)]
            assert [(event.message.seq, event.own) for event in own] == [(1, True)]

    run(work())


def test_messages_of_a_conversation_arrive_in_the_order_in_which_they_were_said(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            server.faults.lost_replies, server.faults.busy_replies = 2, 3
            came = told(bob, MessageCame)
            outgoing = [alice.send(DIRECT, str(number)) for number in range(20)]

            sent = [await each for each in outgoing]

            assert [message.seq for message in sent] == list(range(1, 21))
            await until(lambda: len(came) == 20)
            assert [event.message.text for event in came] == [str(number) for number in range(20)]

    run(work())


def test_a_refused_message_fails_and_can_be_retried_or_discarded(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, _):
            server.faults.muted = frozenset({"alice"})
            failed, discarded = told(alice, MessageFailed), told(alice, MessageDiscarded)
            one, other = alice.send("bob", "one"), alice.send("bob", "other")

            with pytest.raises(ReplyError, match="muted") as refused:
                await one
            with pytest.raises(ReplyError):
                await other
            assert refused.value.retry_after_ms == 1
            assert [event.outgoing for event in failed] == [one, other] == alice.outgoing()
            server.faults.muted = frozenset()
            one.retry()
            other.discard()

            assert (await one).text == "one"
            with pytest.raises(DiscardedError):
                await other
            assert [event.outgoing for event in discarded] == [other]
            assert alice.outgoing() == []

    run(work())


def test_a_message_that_fits_no_frame_fails_at_once(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, _):
            with pytest.raises(FrameTooLargeError):
                await alice.send("bob", "x" * 40_000)
            assert server.ops_of("alice").count("message.send") == 0

    run(work())


def test_to_whom_must_be_a_user_or_a_conversation(server: FakeServer) -> None:
    async def work() -> None:
        async with client(server, ALICE) as alice:
            assert alice.conversation_with("bob") == DIRECT
            assert alice.conversation_with("g:team") == "g:team"
            with pytest.raises(ValueError, match="neither"):
                alice.send("no such user!", "hello")

    run(work())


def test_what_is_said_without_a_network_goes_out_with_the_next_start(server: FakeServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(None, ALICE, store=SqliteStore(tmp_path / "a.db")) as offline:
            for text in ("one", "two"):
                outgoing = offline.send("bob", text)
            await asyncio.sleep(0.02)
            assert offline.state is not State.ONLINE
        with pytest.raises(ConnectionLostError):
            await outgoing

        store = SqliteStore(tmp_path / "a.db")
        async with Client(server.url, token(ALICE), device="d1", settings=QUICK, store=store) as alice:
            assert [each.message.text for each in alice.outgoing()] == ["one", "two"]
            assert [(await each).seq for each in alice.outgoing()] == [1, 2]
        assert [entry["body"]["text"] for entry in server.conversations[DIRECT].log] == ["one", "two"]

    run(work())


def test_a_failed_message_is_there_after_a_restart_with_its_reason(server: FakeServer, tmp_path: Path) -> None:
    async def work() -> None:
        server.faults.muted = frozenset({"alice"})
        async with client(server, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
            with pytest.raises(ReplyError):
                await alice.send("bob", "hello")
        async with client(None, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
            [outgoing] = alice.outgoing()
            assert outgoing.state == "failed"
            with pytest.raises(ReplyError, match="muted"):
                await outgoing

    run(work())


TALK = """
import asyncio, sys
from imclient import Client, SqliteStore
from tests.unit.client.sessions import token
from tests.unit.client.test_sdk_client import QUICK

async def main(url, path, first):
    async with Client(url, token("alice"), device="d1", settings=QUICK, store=SqliteStore(path)) as client:
        print("ready", flush=True)
        for number in range(first, first + 100_000):
            client.send("bob", f"m{number:06}")
            print(number, flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def test_what_was_said_goes_out_once_and_in_order_when_the_process_is_killed(
    server: FakeServer, tmp_path: Path
) -> None:
    """Twenty times at a random moment: while it connects, while messages are on their way, with and without replies."""
    path, moments, said = tmp_path / "a.db", random.Random(11), 0
    for _ in range(20):
        server.faults.lost_replies = moments.choice([0, 0, 3])
        url = moments.choice([server.url, server.url, NOWHERE])
        process = subprocess.Popen(
            [sys.executable, "-c", TALK, url, str(path), str(said)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        numbers = [int(line) for line in process.stdout.read().split("\n")[:-1] if line]
        process.wait(30)
        # The one of which the process could not tell any more may have been kept.
        said = max([said, *(number + 1 for number in numbers), *(n + 1 for n in kept_numbers(path))])
        said = max([said, *(number + 1 for number in numbers_of(server))])

    async def rest() -> None:
        async with Client(server.url, token(ALICE), device="d1", settings=QUICK, store=SqliteStore(path)) as alice:
            for outgoing in alice.outgoing():
                await outgoing

    server.faults.lost_replies = 0
    run(rest())
    assert numbers_of(server) == list(range(said))
    assert said > 50


def kept_numbers(path: Path) -> list[int]:
    store = SqliteStore(path)
    numbers = [int(item["body"]["text"][1:]) for item in store.load().outbox]
    store.close()
    return numbers


def numbers_of(server: FakeServer) -> list[int]:
    conversation = server.conversations.get(DIRECT)
    return [] if conversation is None else [int(entry["body"]["text"][1:]) for entry in conversation.log]


# ---- tokens


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_token_that_is_refused_is_asked_for_afresh(server: FakeServer, asynchronous: bool) -> None:  # noqa: FBT001
    asked: list[bool] = []

    def provide(*, fresh: bool) -> str:
        asked.append(fresh)
        return token(ALICE) if fresh else token(ALICE, secret="another secret, as long as HS256 wants it")

    async def provide_later(*, fresh: bool) -> str:
        await asyncio.sleep(0)
        return provide(fresh=fresh)

    async def work() -> None:
        async with client(server, ALICE, token=provide_later if asynchronous else provide) as alice:
            await alice.connected()
            assert (asked, alice.user) == ([False, True], ALICE)

    run(work())


def test_a_token_that_is_refused_twice_ends_it(server: FakeServer) -> None:
    async def work() -> None:
        wrong = token(ALICE, secret="another secret, as long as HS256 wants it")
        async with client(server, ALICE, token=wrong) as alice:
            states = told(alice, ConnectionChanged)
            with pytest.raises(UpgradeRefusedError):
                await alice.connected()
            assert (states[-1].state, states[-1].why) == (State.ENDED, "refused")
            with pytest.raises(UpgradeRefusedError):
                await alice.send("bob", "hello")
            with pytest.raises(UpgradeRefusedError):
                await alice.sync.unread()

    run(work())


def test_a_provider_that_fails_is_asked_again_later(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    failures = [OSError("no network"), ValueError("no session")]

    def provide(*, fresh: bool) -> str:
        if failures:
            raise failures.pop()
        return token(ALICE)

    async def work() -> None:
        async with client(server, ALICE, token=provide, user="alice") as alice:
            states = told(alice, ConnectionChanged)
            await alice.connected()
            waiting = [event for event in states if event.state is State.WAITING]
            assert ["no session" in str(waiting[0].error), "no network" in str(waiting[1].error)] == [True, True]

    run(work())
    assert "the token provider has failed" in caplog.text


def test_a_token_of_somebody_else_is_not_used(server: FakeServer) -> None:
    async def work() -> None:
        async with client(server, ALICE, token=token(BOB), user="alice") as alice:
            states = told(alice, ConnectionChanged)
            await until(lambda: any(event.error is not None for event in states))
            assert "not one of alice" in str(states[-1].error) or states[-1].state is State.CONNECTING
        assert server.upgrades == 0

    run(work())


# ---- starting without a network


def test_a_start_without_a_network_shows_what_is_stored(server: FakeServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with both(server, store=SqliteStore(tmp_path / "a.db")) as (alice, bob):
            for number in range(5):
                await bob.send("alice", f"message {number}")
            await until(lambda: alice.total_unread == 5)
            changed = told(alice, MessageChanged)
            await bob.recall(DIRECT, 2)
            await until(lambda: bool(changed))
        async with client(None, ALICE, token="no token at all", store=SqliteStore(tmp_path / "a.db")) as alice:
            assert [row.conv for row in alice.conversations()] == [DIRECT]
            assert (alice.user, alice.total_unread) == (ALICE, 5)
            texts = [message.text for message in await alice.messages(DIRECT)]
            assert texts == ["message 0", "", "message 2", "message 3", "message 4"]
            assert [message.seq for message in await alice.messages(DIRECT, before=4, limit=2)] == [2, 3]

    run(work())


def test_history_comes_from_the_store_without_asking_the_server(server: FakeServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(server, BOB) as bob:
            for number in range(30):
                await bob.send("alice", f"message {number}")
            await bob.edit(DIRECT, 3, "edited")
        async with client(server, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
            await alice.connected()
            newest = await alice.messages(DIRECT, limit=10)
            assert [message.seq for message in newest] == list(range(21, 31))
            older = await alice.messages(DIRECT, before=21, limit=50)
            assert [message.seq for message in older] == list(range(1, 21))
            assert older[2].text == "edited"
        async with client(server, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
            await alice.connected()
            asked = server.ops_of("alice").count("sync.entries")
            assert len(await alice.messages(DIRECT, limit=50)) == 30
            assert server.ops_of("alice").count("sync.entries") == asked

    run(work())


def test_history_stops_at_what_there_is_when_the_server_refuses(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            await bob.send("alice", "hello")
            await until(lambda: alice.total_unread == 1)
            assert await alice.messages("d:alice:carol") == []
            with pytest.raises(ReplyError, match="not_found"):
                await alice.messages("g:nowhere")
        server.faults.refused_entries = "forbidden"
        async with client(server, ALICE) as alice:
            await alice.connected()
            assert await alice.messages(DIRECT) == []

    run(work())


def test_what_came_while_it_was_away_is_told_once_and_in_order(server: FakeServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(server, BOB) as bob:
            await bob.send("alice", "before the first start: history")
            async with client(server, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
                early = told(alice, MessageCame)
                await alice.connected()
                await bob.send("alice", "one")
                await until(lambda: len(early) == 1)
            for text in ("two", "three"):
                await bob.send("alice", text)
            await bob.groups.create("Team", ["alice"], gid="team")
            await bob.send("g:team", "a new group")
            for _ in range(2):
                async with client(server, ALICE, store=SqliteStore(tmp_path / "a.db")) as alice:
                    came = told(alice, MessageCame)
                    await alice.connected()
                    await asyncio.sleep(0.2)
                    early += came
        texts = [event.message.text for event in early if event.message.conv == DIRECT]
        assert texts == ["one", "two", "three"]
        assert [event.message.kind for event in early if event.message.conv == "g:team"] == ["members", "text"]

    run(work())


def test_a_conversation_of_which_only_the_list_tells_is_told_from_its_beginning(server: FakeServer) -> None:
    server.faults.not_pushed = frozenset({(1, 1), (1, 2)})

    async def work() -> None:
        async with both(server) as (alice, bob):
            came = told(alice, MessageCame)
            await bob.groups.create("Team", ["alice"], gid="team")
            await bob.send("g:team", "hello")
            await alice.connected()
            await until(lambda: len(came) == 2)
            assert [event.message.seq for event in came] == [1, 2]

    run(work())


def test_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with client(None, ALICE, store=SqliteStore(tmp_path / "a.db")):
            pass
        for device, user in (("d1", "bob"), ("d2", None)):
            with pytest.raises(StoreError, match="alice on d1"):
                async with Client(NOWHERE, "t", device=device, user=user, store=SqliteStore(tmp_path / "a.db")):
                    pass

    run(work())


class FailingStore(MemoryStore):
    """A store whose disk is full for a while."""

    full = False

    def apply(self, changes: Any) -> None:
        if self.full:
            raise StoreError("disk full")
        super().apply(changes)


def test_what_could_not_be_kept_is_told_and_kept_with_what_follows(server: FakeServer) -> None:
    async def work() -> None:
        store = FailingStore()
        async with both(server, store=store) as (alice, _):
            failures = told(alice, StoreFailed)
            store.full = True
            await alice.send("bob", "one")
            store.full = False
            assert failures
            assert store.entries(DIRECT) == []
            await alice.send("bob", "two")
            assert [entry.seq for entry in store.entries(DIRECT)] == [2, 1]
            assert store.load().outbox == ()

    run(work())


# ---- events


def test_events_of_a_conversation_come_in_order_behind_a_hole(server: FakeServer) -> None:
    server.faults.not_pushed = frozenset({(0, 2), (0, 3)})

    async def work() -> None:
        async with both(server) as (alice, bob):
            came = told(alice, MessageCame)
            for number in range(6):
                await bob.send("alice", f"message {number}")
            await until(lambda: len(came) == 6)
            assert [event.message.seq for event in came] == [1, 2, 3, 4, 5, 6]

    run(work())


def test_changes_are_told_with_the_message_as_it_is_now(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            changed, mine = told(bob, MessageChanged), told(alice, MessageChanged)
            await alice.send("bob", "helo")
            await alice.edit(DIRECT, 1, "hello")
            await bob.react(DIRECT, 1, "👍")
            await alice.pin(DIRECT, 1)
            await alice.recall(DIRECT, 1)
            await until(lambda: len(changed) == len(mine) == 4)
            assert [(event.change, event.by, event.seq) for event in changed] == [
                ("edit", ALICE, 2), ("reaction", BOB, 3), ("pin", ALICE, 4), ("recall", ALICE, 5)
            ]  # fmt: skip
            assert changed[0].message.text == "hello"
            recalled = bob.message(DIRECT, 1)
            assert recalled is not None
            assert (recalled.recalled_by, recalled.body, dict(recalled.reactions)) == (ALICE, {}, {})
            assert bob.message(DIRECT, 9) is None

    run(work())


PUSHES = [
    ("read", {"conv": DIRECT, "user": "bob", "seq": 3}, ReadByPeer(DIRECT, BOB, 3)),  # type: ignore[arg-type]
    ("delivered", {"conv": DIRECT, "user": "bob", "seq": 3}, DeliveredToPeer(DIRECT, BOB, 3)),  # type: ignore[arg-type]
    ("typing", {"conv": DIRECT, "user": "bob", "on": True}, Typing(DIRECT, BOB, on=True)),  # type: ignore[arg-type]
    (
        "redpacket",
        {"packet": "p", "conv": DIRECT, "seq": 1, "event": "claimed", "user": "bob", "amount": 5},
        RedPacketChanged(
            "p", DIRECT, 1, "claimed",  # type: ignore[arg-type]
            {"packet": "p", "conv": DIRECT, "seq": 1, "event": "claimed", "user": "bob", "amount": 5},
        ),
    ),
    (
        "request",
        {"conv": "g:team", "user": "bob", "state": "requested", "note": "me"},
        JoinRequested("g:team", BOB, "requested", "me"),  # type: ignore[arg-type]
    ),
    ("privacy", {"receipts": True, "presence": False}, PrivacyChanged(receipts=True, presence=False)),
    ("weather", {"sun": 1}, OtherPush("weather", {"sun": 1})),
    ("typing", {"conv": 5}, OtherPush("typing", {"conv": 5})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "event"), PUSHES)
def test_pushes_are_told_as_events(server: FakeServer, name: str, data: dict[str, Any], event: Event) -> None:
    async def work() -> None:
        async with client(server, ALICE) as alice:
            await alice.connected()
            happened = told(alice)
            server.tell("alice", {"push": name, "data": data})
            await until(lambda: event in happened)

    run(work())


def test_typing_ends_by_itself_and_with_the_message(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imclient.client.TYPING_SECONDS", 0.05)

    async def work() -> None:
        async with both(server) as (alice, bob):
            types = told(alice, Typing)
            push = {"push": "typing", "data": {"conv": DIRECT, "user": "bob", "on": True}}
            server.tell("alice", push, push)
            await until(lambda: len(types) == 3)
            assert [event.on for event in types] == [True, True, False]
            monkeypatch.setattr("imclient.client.TYPING_SECONDS", 60)
            server.tell("alice", push)
            await bob.send("alice", "hello")
            await until(lambda: len(types) == 5)
            assert not types[-1].on

    run(work())


def test_a_kick_is_told_and_it_stays_away(server: FakeServer) -> None:
    async def work() -> None:
        async with client(server, ALICE) as alice:
            await alice.connected()
            happened = told(alice)
            server.tell("alice", {"push": "kicked", "data": {"reason": "replaced"}})
            await until(lambda: alice.state is State.ENDED)
            assert Kicked("replaced") in happened
            assert [e.why for e in happened if isinstance(e, ConnectionChanged)] == ["kicked"]
            with pytest.raises(ConnectionLostError) as ended:
                await alice.connected()
            assert ended.value.kicked == "replaced"

    run(work())


def test_a_handler_that_raises_is_logged_and_stops_nobody(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: MessageCame) -> None:
        raise ZeroDivisionError("in a function")

    async def broken_later(_: MessageCame) -> None:
        raise ZeroDivisionError("in a coroutine")

    later: list[str] = []

    async def well(event: MessageCame) -> None:
        await asyncio.sleep(0)
        later.append(event.message.text)

    async def work() -> None:
        async with both(server) as (alice, bob):
            alice.on(MessageCame, broken)
            alice.on(MessageCame, broken_later)
            alice.on(MessageCame, well)
            came = told(alice, MessageCame)
            for text in ("one", "two"):
                await bob.send("alice", text)
            await until(lambda: len(later) == 2)
            assert [event.message.text for event in came] == later == ["one", "two"]

    run(work())
    raised = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert sorted(raised) == ["in a coroutine", "in a coroutine", "in a function", "in a function"]


def test_a_handler_can_be_taken_off(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            first: list[Event] = []
            off = alice.on(MessageCame, first.append)
            rest = told(alice, MessageCame)
            await bob.send("alice", "one")
            await until(lambda: len(rest) == 1)
            off()
            await bob.send("alice", "two")
            await until(lambda: len(rest) == 2)
            assert len(first) == 1

    run(work())


def test_a_handler_may_send(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            alice.on(
                MessageCame, lambda event: event.own or alice.send(event.message.conv, "re: " + event.message.text)
            )
            came = told(bob, MessageCame)
            await bob.send("alice", "hello")
            await until(lambda: len(came) == 2)
            assert came[1].message.text == "re: hello"

    run(work())


def test_an_iterator_gives_all_events_and_ends_with_the_client(server: FakeServer) -> None:
    async def work() -> None:
        found: list[str] = []
        async with client(server, BOB) as bob, client(server, ALICE) as alice:
            await alice.connected()
            events = alice.events()
            for number in range(50):
                await bob.send("alice", str(number))
            await until(lambda: alice.total_unread == 50)
        async for event in events:
            if isinstance(event, MessageCame):
                found.append(event.message.text)
            assert not isinstance(event, EventsMissed)
        assert found == [str(number) for number in range(50)]

    run(work())


def test_an_iterator_that_is_not_read_tells_what_it_left_out(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            events = alice.events(limit=4)
            for number in range(20):
                await bob.send("alice", str(number))
            await until(lambda: alice.total_unread == 20)
            seen: list[int] = []
            while True:
                event = await anext(events)
                if isinstance(event, MessageCame):
                    seen.append(event.message.seq)
                if isinstance(event, EventsMissed):
                    break
            assert event.count >= 20 - len(seen)
            assert event.since == {DIRECT: seen[-1] + 1}
            assert [m.seq for m in alice.since(DIRECT, event.since[DIRECT])] == list(range(seen[-1] + 1, 21))  # type: ignore[index]
            await bob.send("alice", "after")
            while not isinstance(event := await anext(events), MessageCame):
                pass
            assert event.message.text == "after"

    run(work())


def test_what_was_left_out_is_told_before_what_came_after_it() -> None:
    events = [MessageCame(Message(ConvId(DIRECT), seq, seq, "text", BOB, 0, {}), own=False) for seq in range(1, 8)]

    async def work() -> None:
        stream = EventStream(limit=2)
        for event in events[:4]:
            stream.put(event)
        assert await anext(stream) == events[0]
        stream.put(events[4])
        assert [await anext(stream), await anext(stream)] == [events[1], EventsMissed(3, {ConvId(DIRECT): 3})]
        stream.put(events[5])
        stream.close()
        stream.put(events[6])
        assert [event async for event in stream] == [events[5]]

    run(work())


# ---- the list, and what a person does with conversations


def row(conv: str, at: int, **more: Any) -> dict[str, Any]:
    last = {"seq": 1, "kind": "text", "from": "bob", "ts": at, "preview": "hello"}
    return {
        "conv": conv,
        "last_seq": 1,
        "last_n": 1,
        "last": last,
        "unread": 1,
        "read_seq": 0,
        "read_n": 0,
        "at": at,
        **more,
    }


def test_conversations_are_sorted_as_the_protocol_says(server: FakeServer) -> None:
    server.rows = [
        row("d:alice:bob", 5),
        row("d:alice:carol", 9, hidden=True),
        row("g:old", 1, pinned=True, draft="well"),
        row("g:new", 7, mention_seq=1, muted=True),
        row("g:left", 6, left_seq=1, last=None, last_n=0, unread=0),
    ]

    async def work() -> None:
        async with client(server, ALICE, follow=False) as alice:
            await alice.connected()
            shown = alice.conversations()
            assert [each.conv for each in shown] == ["g:old", "g:new", "g:left", "d:alice:bob"]
            assert [each.conv for each in alice.conversations(hidden=True)][1] == "d:alice:carol"
            assert [each.peer for each in shown] == [None, None, None, "bob"]
            assert (shown[0].pinned, shown[0].draft) == (True, "well")
            assert (shown[1].mentioned, shown[1].muted) == (True, True)
            assert (shown[2].left, shown[2].last) == (True, None)
            assert alice.total_unread == 4

    run(work())


def test_reading_is_told_and_counts_at_once(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            await bob.send("alice", "one")
            await until(lambda: alice.total_unread == 1)
            changed = told(alice, ConversationChanged)
            alice.mark_read(DIRECT)
            assert alice.total_unread == 0
            assert [event.conversation.unread for event in changed] == [0]
            await until(lambda: server.conversations[DIRECT].read.get("alice") == 1)

    run(work())


def test_deleting_hides_here_and_on_the_server(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            for text in ("one", "two"):
                await bob.send("alice", text)
            await until(lambda: alice.total_unread == 2)
            changed = told(alice, HistoryChanged)
            await alice.delete(DIRECT, [1])
            assert changed == [HistoryChanged(DIRECT)]  # type: ignore[arg-type]
            assert [message.text for message in await alice.messages(DIRECT)] == ["two"]

    run(work())


def test_settings_of_a_conversation_change_its_row(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            await bob.send("alice", "hello")
            await until(lambda: alice.total_unread == 1)
            known = alice.session.rows[DIRECT]  # type: ignore[index]
            server.faults.answers["sync.settings"] = {**known, "muted": True, "draft": "well", "rev": 1}
            now = await alice.set_conversation(DIRECT, muted=True, draft="well")
            assert (now.muted, now.draft) == (True, "well")
            assert alice.conversation(DIRECT) == now
            sent = [frame["data"] for _, frame in server.frames if frame["op"] == "settings"]
            assert sent == [{"conv": DIRECT, "muted": True, "draft": "well"}]

    run(work())


def test_a_forward_is_fetched_by_who_sends_it(server: FakeServer) -> None:
    async def work() -> None:
        async with both(server) as (alice, bob):
            await bob.send("alice", "hello")
            await bob.send("alice", "the copy")  # what the server makes of the forward below
            await until(lambda: alice.total_unread == 2)
            server.faults.answers["message.forward"] = {"conv": DIRECT, "seq": 2, "n": 2, "ts": 1, "duplicate": False}
            assert await alice.forward("bob", DIRECT, [1], title="Said") == 2
            data = next(frame["data"] for _, frame in server.frames if frame["op"] == "forward")
            assert data.pop("cmid")
            assert data == {"to": "bob", "source": DIRECT, "seqs": [1], "title": "Said"}

    run(work())


# ---- operations and errors


def test_already_claimed_has_the_amount(server: FakeServer) -> None:
    server.faults.answers["redpacket.claim"] = Refusal("already_claimed", amount=300)

    async def work() -> None:
        async with client(server, ALICE) as alice:
            with pytest.raises(ReplyError) as error:
                await alice.redpackets.claim("p1")
            assert (error.value.code, error.value.amount) == ("already_claimed", 300)

    run(work())


def test_operations_leave_out_what_is_not_given_and_make_keys(server: FakeServer) -> None:
    server.faults.answers |= {
        "redpacket.create": {"packet": "p", "conv": "g:x", "seq": 1},
        "group.create": {"conv": "g:t"},
        "sync.receipts": {"members": 1},
    }

    async def work() -> None:
        async with client(server, ALICE) as alice:
            await alice.redpackets.create("g:x", "lucky", 100, count=3)
            await alice.groups.create("Team", ("bob",), history=False)
            await alice.sync.receipts("g:x", 5, list_="read")
        sent = {f"{frame['route']}.{frame['op']}": frame["data"] for _, frame in server.frames}
        assert len(sent["redpacket.create"].pop("cmid")) == len(sent["group.create"].pop("gid")) == 32
        assert sent["redpacket.create"] == {"conv": "g:x", "kind": "lucky", "total": 100, "count": 3}
        assert sent["group.create"] == {"name": "Team", "members": ["bob"], "history": False}
        assert sent["sync.receipts"] == {"conv": "g:x", "seq": 5, "list": "read"}

    run(work())


def test_all_pages_of_an_operation_can_be_read() -> None:
    async def operation(conv: str, *, cursor: str | None = None) -> dict[str, Any]:
        return {"members": [conv, cursor]} | ({"cursor": "2"} if cursor is None else {})

    async def work() -> None:
        found = [page["members"] async for page in pages(operation, "g:t")]
        assert found == [["g:t", None], ["g:t", "2"]]

    run(work())


def test_every_operation_of_the_protocol_has_a_method() -> None:
    table = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| (\w+)\.(\w+(?: / \w+)*) \|", table, re.MULTILINE)
    documented = {f"{route}.{op}" for route, ops in rows for op in ops.split(" / ")} - {"route.op"}
    made = Client(NOWHERE, "t", device="d1")
    by_table = {"group": made.groups, "redpacket": made.redpackets, "sync": made.sync}
    mine = {"message.send", "message.edit", "message.recall", "message.react", "message.pin", "message.forward",
            "message.delete", "message.typing", "connect.logout", "sync.settings"}  # fmt: skip
    by_session = {"connect.ping", "sync.inbox", "sync.entries", "sync.ack", "sync.read", "sync.deleted"}

    methods = {f"{route}.{name}" for route, table in by_table.items() for name in vars(type(table)) if name[0] != "_"}

    assert methods | mine | by_session == documented


def test_the_parameters_of_operations_are_those_of_the_protocol() -> None:
    table = (ROOT / "docs" / "protocol.md").read_text()
    made = Client(NOWHERE, "t", device="d1")
    for route, bound in {"group": made.groups, "redpacket": made.redpackets, "sync": made.sync}.items():
        for op, method in vars(type(bound)).items():
            if op.startswith("_"):
                continue
            [taken] = re.findall(rf"^\| {route}\.{op} \| `(\{{.*?\}})` →", table, re.MULTILINE)
            names = re.findall(r"[{,] ?(\w+)\??(?=[:,} ?])", re.sub(r"\[.*?\]", "", taken))
            given = [name.rstrip("_") for name in method.__signature__.parameters][1:]
            assert sorted(given) == sorted(names), (route, op)


def test_closing_twice_and_using_it_after_are_told(server: FakeServer) -> None:
    async def work() -> None:
        alice = client(server, ALICE)
        with pytest.raises(RuntimeError):
            alice.send("bob", "too early")
        await alice.start()
        await alice.close()
        await alice.close()
        with pytest.raises(ConnectionLostError):
            alice.send("bob", "too late")
        with pytest.raises(RuntimeError):
            await alice.start()

    run(work())


def test_closing_ends_the_connection_before_it_returns(server: FakeServer) -> None:
    async def work() -> None:
        async with client(server, ALICE) as alice:
            await alice.connected()
        async with asyncio.timeout(0.5):
            await until(lambda: "alice" not in server.connections)

    run(work())


@pytest.mark.parametrize("how", [{"device": "no device!"}, {"device": "d", "user": "no user!"}])
def test_ids_are_checked_before_anything_else(how: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a"):
        Client(NOWHERE, "t", **how)  # type: ignore[arg-type]


# ---- the documents


def test_the_quickstart_works_as_it_is_written(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "clients.md").read_text()
    code = re.search(r"## Python.*?```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert len(code[1].strip().split("\n")) <= 14
    monkeypatch.chdir(tmp_path)
    key = SigningKey(SECRET)
    program = code[1].replace("wss://….execute-api.eu-central-1.amazonaws.com/v1", server.url)

    ran = subprocess.run(
        [sys.executable, "-c", program, mint_token(key, ALICE, now=int(time.time()))],
        capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "clients/python/src")},
    )  # fmt: skip

    assert (ran.stdout, ran.stderr, ran.returncode) == ("alice: hello\nsent as 1\n", "", 0)
    assert [entry["body"] for entry in server.conversations[DIRECT].log] == [{"text": "hello"}]


def test_every_event_and_error_is_documented() -> None:
    text = (ROOT / "docs" / "clients.md").read_text()
    from imclient import events  # noqa: PLC0415 - only here

    kinds = [name for name, kind in vars(events).items() if isinstance(kind, type) and issubclass(kind, Event)]
    errors = ["ReplyError", "NoReplyError", "FrameTooLargeError", "ConnectionLostError", "UpgradeRefusedError",
              "UnreachableError", "StoreError", "DiscardedError"]  # fmt: skip

    assert [name for name in [*kinds, *errors] if f"`{name}`" not in text] == []
