"""A session outlives a server that is busy, or does not answer, for longer than any one request is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.ids import ConvId, UserId
from imclient.session import Session
from imclient.socket import Socket
from tests.unit.client import sessions
from tests.unit.client.fake_server import FakeServer
from tests.unit.client.sessions import run, token, until

ALICE, BOB = UserId("alice"), UserId("bob")
DIRECT = ConvId("d:alice:bob")
TEAM = ConvId("g:team")
TRIES = 2
LONG = 3 * TRIES
"""More failures than one request is tried."""
QUICK = Settings(
    backlog=None,
    acknowledges=False,
    tries=TRIES,
    sends=TRIES,
    reply=50,
    hole=10,
    hole_longest=20,
    acknowledge=10,
    read=10,
    inbox=10,
    inbox_retry=20,
    ping_every=50,
    backoff_first=10,
    backoff_longest=20,
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def session(server: FakeServer, user: UserId, **more: Any) -> AbstractAsyncContextManager[Session]:
    return sessions.session(server, user, QUICK, **more)


def asked(server: FakeServer, user: UserId, op: str) -> list[dict[str, Any]]:
    return [frame["data"] for who, frame in server.frames if who == user and frame["op"] == op]


@pytest.mark.parametrize("fault", ["busy_of", "lost_replies_of"])
def test_a_hole_is_asked_for_until_the_server_answers(server: FakeServer, fault: str) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            await alice.send(DIRECT, {"text": "1"})
            await until(lambda: DIRECT in bob.transcripts and bob.transcript(DIRECT).complete)
            getattr(server.faults, fault)["sync.entries"] = LONG
            bob.expect(DIRECT, 2)
            server.faults.not_pushed = frozenset({(1, 2)})
            await alice.send(DIRECT, {"text": "2"})
            await until(lambda: bob.transcript(DIRECT).complete)
            assert bob.transcript(DIRECT).watermark == 2
            assert bob.failure is None

    run(work())
    assert getattr(server.faults, fault) == {"sync.entries": 0}


@pytest.mark.parametrize("fault", ["busy_of", "lost_replies_of"])
def test_the_inbox_is_asked_for_until_the_server_answers(server: FakeServer, fault: str) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            getattr(server.faults, fault)["sync.inbox"] = LONG
            server.faults.not_pushed = frozenset({(1, 1)})
            await alice.send(DIRECT, {"text": "1"})
            await asyncio.to_thread(server.close_connection, BOB)
            await until(lambda: DIRECT in bob.transcripts and bob.transcript(DIRECT).watermark == 1)
            assert bob.failure is None

    run(work())
    assert getattr(server.faults, fault) == {"sync.inbox": 0}


def test_what_could_not_be_told_is_told_later(server: FakeServer) -> None:
    server.faults.busy_of = {"sync.ack": LONG, "sync.read": LONG}

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, acknowledges=True) as bob:
            for conv in (DIRECT, TEAM):
                if conv == TEAM:
                    await alice.call("group", "create", {"gid": "team", "name": "T", "members": [BOB]})
                await alice.send(conv, {"text": "1"})
            await until(lambda: {DIRECT, TEAM} <= bob.transcripts.keys() and bob.transcript(TEAM).watermark == 2)
            bob.mark_read(DIRECT, 1)
            bob.mark_read(TEAM, 2)
            await until(lambda: not any(server.faults.busy_of.values()))
            await until(lambda: server.conversations[TEAM].read.get(BOB) == 2)
            assert bob.failure is None

    run(work())
    assert server.conversations[DIRECT].read[BOB] == 1
    last = {ack["conv"]: ack["seq"] for data in asked(server, BOB, "ack") for ack in data["acks"]}
    assert last == {DIRECT: 1, TEAM: 2}


def test_what_the_server_refuses_is_told_once(server: FakeServer) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            await alice.send(DIRECT, {"text": "1"})
            bob.mark_read(TEAM, 1)  # no such group
            await until(lambda: len(asked(server, BOB, "read")) == 1)
            bob.mark_read(DIRECT, 1)
            await until(lambda: server.conversations[DIRECT].read.get(BOB) == 1)
            await asyncio.sleep(20 * QUICK.acknowledge / 1000)
            assert bob.failure is None

    run(work())
    assert [data["conv"] for data in asked(server, BOB, "read")] == [TEAM, DIRECT]


def test_a_session_that_is_closing_does_not_connect_again(server: FakeServer) -> None:
    """The app has been started again: the connection of its next session would be kicked."""
    dialled = 0

    async def dial(_: Dial) -> Socket:
        nonlocal dialled
        dialled += 1
        return await Socket.open(server.url, token=token(ALICE), device="d1")

    async def work() -> None:
        alice = Session(dial, ALICE, settings=replace(QUICK, reply=20_000, acknowledges=True))
        await alice.start()
        server.faults.lost_replies_of["sync.ack"] = LONG
        async with session(server, BOB) as bob:
            await bob.send(DIRECT, {"text": "1"})
        await until(lambda: DIRECT in alice.transcripts)
        closing = asyncio.create_task(alice.close())
        await until(lambda: bool(asked(server, ALICE, "ack")))
        await asyncio.to_thread(server.close_connection, ALICE)
        await closing
        assert alice.failure is None

    run(work())
    assert dialled == 1
