"""A connection pairs replies, sends again what got none, and ends cleanly; a session keeps the client's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from imclient.connection import Connection
from imclient.core.outputs import Source
from imclient.core.settings import Settings
from imclient.errors import (
    ConnectionLostError,
    NoReplyError,
    ReplyError,
    UnreachableError,
    UpgradeRefusedError,
)
from imclient.ids import ConvId, UserId
from imclient.session import Arrival, Session
from tests.unit.client import sessions
from tests.unit.client.fake_server import GATEWAY_FAILURE, Conversation, FakeServer, Faults
from tests.unit.client.sessions import connect, run, token, until

ALICE, BOB = UserId("alice"), UserId("bob")
DIRECT = ConvId("d:alice:bob")
TEAM = ConvId("g:team")
QUICK = Settings(
    backlog=None, acknowledges=False, reply=500, hole=20, acknowledge=20, read=20, backoff_first=10, backoff_longest=50
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def session(server: FakeServer, user: UserId, **more: Any) -> AbstractAsyncContextManager[Session]:
    return sessions.session(server, user, QUICK, **more)


def test_replies_go_to_their_requests(server: FakeServer) -> None:
    async def work() -> None:
        async with await connect(server, ALICE) as connection:
            created, unread, ping = await asyncio.gather(
                connection.request("group", "create", {"gid": "t", "name": "T", "members": []}),
                connection.request("sync", "unread", {}),
                connection.request("connect", "ping", {}),
            )
            assert created["conv"] == "g:t"
            assert unread == {"total_unread": 0, "conversations": {}}
            assert ping["inbox"] == "1"

    run(work())


def test_an_error_reply_is_raised_with_its_fields(server: FakeServer) -> None:
    async def work() -> None:
        async with await connect(server, ALICE) as connection:
            with pytest.raises(ReplyError) as raised:
                await connection.request("sync", "entries", {"conv": "g:none", "after": 0, "limit": 1})
            assert (raised.value.code, raised.value.retryable) == ("not_found", False)

    run(work())


def test_a_request_without_a_reply_is_sent_again_as_the_same_frame(server: FakeServer) -> None:
    server.faults.lost_replies_of = {"sync.unread": 1}

    async def work() -> None:
        async with await connect(server, ALICE) as connection:
            reply = await connection.request("sync", "unread", {}, timeout=0.1)
            assert reply["total_unread"] == 0
            assert connection.frames_resent >= 1
            assert connection.messages_ignored >= 1  # what the gateway said instead
            assert server.frames[0] == server.frames[1]

    run(work())


def test_a_request_that_never_gets_a_reply_says_so(server: FakeServer) -> None:
    server.faults.lost_replies_of = {"sync.unread": 99}

    async def work() -> None:
        async with await connect(server, ALICE) as connection:
            with pytest.raises(NoReplyError) as raised:
                await connection.request("sync", "unread", {}, timeout=0.02, resends=2)
            assert (raised.value.sent, connection.frames_resent) == (3, 2)

    run(work())


def test_noise_is_ignored_and_pushes_are_iterated_until_the_server_closes(server: FakeServer) -> None:
    async def work() -> None:
        connection = await connect(server, ALICE)
        await connection.request("connect", "ping", {})
        noise = ["nonsense", GATEWAY_FAILURE, {"id": "r99", "ok": True, "data": {}}, {"id": None, "ok": False}]
        await asyncio.to_thread(server.tell, ALICE, *noise, {"push": "new-thing", "data": {"a": 1}})
        await asyncio.to_thread(server.close_connection, ALICE)

        assert [push.name async for push in connection.pushes()] == ["new-thing"]
        assert connection.messages_ignored == 4
        lost = await connection.wait_lost()
        assert (lost.code, lost.kicked) == (1001, None)
        with pytest.raises(ConnectionLostError):
            await connection.request("connect", "ping", {})

    run(work())


def test_kicked_says_why_and_fails_what_waits(server: FakeServer) -> None:
    server.faults.lost_replies_of = {"sync.unread": 1}

    async def work() -> None:
        connection = await connect(server, ALICE)
        waiting = asyncio.create_task(connection.request("sync", "unread", {}))
        await until(lambda: bool(server.frames))
        await asyncio.to_thread(server.tell, ALICE, {"push": "kicked", "data": {"reason": "replaced"}})
        with pytest.raises(ConnectionLostError) as raised:
            await waiting
        assert raised.value.kicked == "replaced"
        assert (await connection.wait_lost()).kicked == "replaced"

    run(work())


def test_a_refused_upgrade_and_a_server_that_is_not_there(server: FakeServer) -> None:
    async def work() -> None:
        with pytest.raises(UpgradeRefusedError) as raised:
            await Connection.open(server.url, token=token(ALICE, "another secret of the right length"), device="d1")
        assert raised.value.status == 403
        with pytest.raises(UnreachableError):
            await Connection.open("ws://127.0.0.1:1/x", token="t", device="d1")

    run(work())


def test_a_message_whose_reply_was_lost_is_stored_once(server: FakeServer) -> None:
    server.faults.lost_replies = 1

    async def work() -> None:
        async with session(server, ALICE) as alice:
            sent = await alice.send(DIRECT, {"text": "hi"})
            assert sent.duplicate
            assert sent.entry.seq == 1
            assert alice.frames_resent >= 1
            assert [entry.body for entry in alice.transcript(DIRECT).entries()] == [{"text": "hi"}]
        assert len(server.conversations[DIRECT].log) == 1

    run(work())


def test_a_change_is_made_once_and_is_in_the_transcript_of_who_made_it(server: FakeServer) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            sent = await alice.send(DIRECT, {"text": "helo"})
            seqs = [
                await alice.edit(DIRECT, sent.entry.seq, {"text": "hello"}),
                await bob.react(DIRECT, sent.entry.seq, "👍"),
                await bob.react(DIRECT, sent.entry.seq, "👍", on=False),
                await alice.recall(DIRECT, sent.entry.seq),
            ]
            assert seqs == [2, 3, 4, 5]
            await until(lambda: alice.transcript(DIRECT).watermark == bob.transcript(DIRECT).watermark == 5)
            for one in (alice, bob):
                bodies = [entry.body for entry in one.transcript(DIRECT).entries()]
                assert [body.get("target") for body in bodies] == [None, 1, 1, 1, 1]
                assert [body.get("on") for body in bodies[2:4]] == [True, False]
                assert bodies[1]["body"] == {"text": "hello"}

    run(work())


def test_a_message_the_server_is_too_busy_for_is_tried_again(server: FakeServer) -> None:
    server.faults.busy_replies = 3

    async def work() -> None:
        async with session(server, ALICE) as alice:
            assert (await alice.send(DIRECT, {"text": "hi"})).entry.seq == 1

    run(work())
    cmids = {frame["data"]["cmid"] for _, frame in server.frames if frame["op"] == "send"}
    assert len(cmids) == 1


def test_a_busy_server_is_not_asked_for_ever(server: FakeServer) -> None:
    server.faults.busy_replies = 99

    async def work() -> None:
        async with session(server, ALICE, tries=3) as alice:
            with pytest.raises(ReplyError, match="unavailable"):
                await alice.send(DIRECT, {"text": "hi"})

    run(work())
    assert server.ops_of(ALICE).count("message.send") == 3


def test_a_hole_is_fetched_a_duplicate_dropped(server: FakeServer) -> None:
    server.faults = Faults(not_pushed=frozenset({(1, 2), (1, 3)}), pushed_twice=frozenset({4}))
    arrivals: list[Arrival] = []

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, on_arrival=arrivals.append) as bob:
            for number in range(1, 5):
                await alice.send(DIRECT, {"text": str(number)})
            await until(lambda: DIRECT in bob.transcripts and bob.transcript(DIRECT).watermark == 4)
            assert [entry.body["text"] for entry in bob.transcript(DIRECT).entries()] == ["1", "2", "3", "4"]

    run(work())
    by_fetch = [arrival.entry.seq for arrival in arrivals if arrival.source is Source.FETCH]
    assert by_fetch == [2, 3]
    assert [arrival.entry.seq for arrival in arrivals if not arrival.new] == [4]
    fetches = [frame["data"] for who, frame in server.frames if who == BOB and frame["op"] == "entries"]
    assert fetches == [{"conv": DIRECT, "after": 1, "limit": 2}]


def test_after_a_lost_connection_the_session_comes_back_and_catches_up(server: FakeServer) -> None:
    states: list[str] = []

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, on_state=states.append) as bob:
            await alice.send(DIRECT, {"text": "1"})
            await until(lambda: DIRECT in bob.transcripts)
            await asyncio.to_thread(server.close_connection, BOB)
            await alice.send(DIRECT, {"text": "2"})
            await until(lambda: bob.transcript(DIRECT).watermark == 2)
            assert bob.reconnects == 1
            assert (await bob.send(DIRECT, {"text": "3"})).entry.seq == 3

    run(work())
    assert len(states) == 2


def test_a_session_that_was_kicked_stays_away(server: FakeServer) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice:
            await asyncio.to_thread(server.tell, ALICE, {"push": "kicked", "data": {"reason": "replaced"}})
            await alice.wait_ended()
            assert isinstance(alice.failure, ConnectionLostError)
            with pytest.raises(ConnectionLostError, match="replaced"):
                await alice.send(DIRECT, {"text": "hi"})

    run(work())
    assert server.upgrades == 1


def test_what_was_received_is_acknowledged_together_and_once(server: FakeServer) -> None:
    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, acknowledges=True) as bob:
            for number in range(20):
                await alice.send(DIRECT, {"text": str(number)})
            await until(lambda: DIRECT in bob.transcripts and bob.transcript(DIRECT).watermark == 20)
            bob.mark_read(DIRECT, 20)
            bob.mark_read(DIRECT, 7)
            await until(lambda: "sync.read" in server.ops_of(BOB))

    run(work())
    acks = [frame["data"]["acks"] for who, frame in server.frames if who == BOB and frame["op"] == "ack"]
    assert acks[-1] == [{"conv": DIRECT, "seq": 20}]
    assert [ack[0]["seq"] for ack in acks] == sorted({ack[0]["seq"] for ack in acks})
    assert server.conversations[DIRECT].read[BOB] == 20


# --- what the user may not see ----------------------------------------------------------------------------------------


def test_no_more_is_acknowledged_at_once_than_a_frame_may_hold(server: FakeServer) -> None:
    teams = [ConvId(f"g:{number}") for number in range(60)]
    server.conversations.update((team, Conversation(team, [ALICE, BOB])) for team in teams)

    def acked() -> list[list[str]]:
        frames = [frame for who, frame in server.frames if who == BOB and frame["op"] == "ack"]
        return [[ack["conv"] for ack in frame["data"]["acks"]] for frame in frames]

    async def work() -> None:
        async with session(server, ALICE) as alice:
            for team in teams:
                await alice.send(team, {"text": "hi"})
            async with session(server, BOB, acknowledges=True):
                await until(lambda: {conv for convs in acked() for conv in convs} == set(teams))

    run(work())
    assert max(map(len, acked())) <= 50


def fetches(server: FakeServer, user: UserId) -> list[dict[str, Any]]:
    return [frame["data"] for who, frame in server.frames if who == user and frame["op"] == "entries"]


async def quiet() -> None:
    """Long enough for several more tries, if anything were to try again."""
    await asyncio.sleep(30 * QUICK.hole / 1000)


def test_who_joins_late_asks_once_for_what_is_closed_to_them(server: FakeServer) -> None:
    server.conversations[TEAM] = Conversation(TEAM, [ALICE])

    async def work() -> None:
        async with (
            session(server, ALICE) as alice,
            session(server, BOB, acknowledges=True) as bob,
        ):
            for number in range(1, 8):
                await alice.send(TEAM, {"text": str(number)})
            await asyncio.to_thread(server.join, TEAM, BOB)
            await alice.send(TEAM, {"text": "welcome"})
            await until(lambda: TEAM in bob.transcripts and bob.transcript(TEAM).watermark == 9)
            assert bob.transcript(TEAM).complete
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == [8, 9]
            await until(lambda: "sync.ack" in server.ops_of(BOB))
            await quiet()
            await alice.send(TEAM, {"text": "still without a hole"})
            await until(lambda: bob.transcript(TEAM).watermark == 10)
            await quiet()

    run(work())
    assert fetches(server, BOB) == [{"conv": TEAM, "after": 0, "limit": 7}]
    acks = [frame["data"]["acks"] for who, frame in server.frames if who == BOB and frame["op"] == "ack"]
    assert acks[-1] == [{"conv": TEAM, "seq": 10}]
    assert not {ack["seq"] for of_one_frame in acks for ack in of_one_frame} & server.conversations[TEAM].closed[BOB]


def test_who_joined_late_and_starts_anew_reads_only_what_is_open_to_them(server: FakeServer) -> None:
    server.conversations[TEAM] = Conversation(TEAM, [ALICE])

    async def work() -> None:
        async with session(server, ALICE) as alice:
            for number in range(1, 8):
                await alice.send(TEAM, {"text": str(number)})
            server.join(TEAM, BOB)
            await alice.send(TEAM, {"text": "welcome"})
        async with session(server, BOB) as bob:
            await until(lambda: bob.transcript(TEAM).complete and bob.transcript(TEAM).watermark == 9)
            await quiet()
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == [8, 9]

    run(work())
    assert len(fetches(server, BOB)) == 1


def test_who_comes_back_lacks_nothing_but_what_was_said_without_them(server: FakeServer) -> None:
    server.conversations[TEAM] = Conversation(TEAM, [ALICE, BOB])
    # A hole before they left: only the time between is closed.
    server.faults = Faults(not_pushed=frozenset({(1, 2)}))
    settled: list[ConvId] = []

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, on_settled=settled.append) as bob:
            for number in range(1, 3):
                await alice.send(TEAM, {"text": str(number)})
            await asyncio.to_thread(server.leave, TEAM, BOB)
            for number in range(4, 9):
                await alice.send(TEAM, {"text": str(number)})
            await until(lambda: bob.transcript(TEAM).watermark == 3)
            await quiet()
            assert bob.transcript(TEAM).complete
            await bob.catch_up()
            assert bob.rows[TEAM]["left_seq"] == 3

            await asyncio.to_thread(server.join, TEAM, BOB)
            await alice.send(TEAM, {"text": "10"})
            await until(lambda: bob.transcript(TEAM).watermark == 10)
            await quiet()
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == [1, 2, 3, 9, 10]
            await bob.catch_up()
            assert "left_seq" not in bob.rows[TEAM]

    run(work())
    # All of it once more: what they had may have been recalled while nobody told them.
    assert [query["after"] for query in fetches(server, BOB)] == [1, 0]
    assert settled == [TEAM, TEAM]


def test_who_comes_back_to_a_group_that_shows_its_history_gets_all_of_it(server: FakeServer) -> None:
    conversation = server.conversations[TEAM] = Conversation(TEAM, [ALICE, BOB])

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            await alice.send(TEAM, {"text": "1"})
            await asyncio.to_thread(server.leave, TEAM, BOB)
            await alice.send(TEAM, {"text": "3"})
            await asyncio.to_thread(server.join, TEAM, BOB)
            await until(lambda: bob.transcript(TEAM).watermark == 4)
            assert 3 not in bob.transcript(TEAM)

            await asyncio.to_thread(server.leave, TEAM, BOB)
            await alice.send(TEAM, {"text": "6"})
            conversation.closed[BOB].clear()
            await asyncio.to_thread(server.join, TEAM, BOB)

            await until(lambda: bob.transcript(TEAM).watermark == 7)
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == [1, 2, 3, 4, 5, 6, 7]

    run(work())


def test_a_long_closed_part_is_passed_over_page_by_page(server: FakeServer) -> None:
    conversation = server.conversations[TEAM] = Conversation(TEAM, [ALICE, BOB])
    entry = {"conv": TEAM, "kind": "text", "from": ALICE, "ts": 1, "cmid": "", "body": {"text": "x"}}
    conversation.log = [{**entry, "seq": seq, "n": seq} for seq in range(1, 1201)]
    open_to_bob = [*range(1, 151), *range(800, 1001), 1200]
    conversation.closed[BOB] = set(range(1, 1201)) - set(open_to_bob)

    async def work() -> None:
        async with session(server, BOB) as bob:
            await until(lambda: bob.transcript(TEAM).complete and bob.transcript(TEAM).watermark == 1200)
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == open_to_bob

    run(work())
    assert [query["after"] for query in fetches(server, BOB)] == [0, 100, 849, 949]


def test_what_is_known_of_but_above_all_that_the_user_may_see_is_asked_for_once(server: FakeServer) -> None:
    server.conversations[TEAM] = Conversation(TEAM, [ALICE, BOB])

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB) as bob:
            await alice.send(TEAM, {"text": "1"})
            await asyncio.to_thread(server.leave, TEAM, BOB)
            await until(lambda: TEAM in bob.transcripts and bob.transcript(TEAM).watermark == 2)
            bob.expect(TEAM, 5)
            await until(lambda: bool(fetches(server, BOB)))
            await quiet()
            assert len(fetches(server, BOB)) == 1

            # Nothing of it was given up: it is asked for when there is news.
            await alice.send(TEAM, {"text": "without bob"})
            await asyncio.to_thread(server.join, TEAM, BOB)
            await until(lambda: bob.transcript(TEAM).watermark == 4)
            assert [entry.seq for entry in bob.transcript(TEAM).entries()] == [1, 2, 4]

    run(work())


def test_a_refused_hole_is_reported_and_not_asked_for_again(server: FakeServer) -> None:
    server.faults = Faults(not_pushed=frozenset({(1, 2)}), refused_entries="not_member")
    states: list[str] = []

    async def work() -> None:
        async with session(server, ALICE) as alice, session(server, BOB, on_state=states.append) as bob:
            for number in range(1, 4):
                await alice.send(DIRECT, {"text": str(number)})
            await until(lambda: bool(states))
            await quiet()
            assert bob.failure is None
            assert not bob.transcript(DIRECT).complete

    run(work())
    assert len(fetches(server, BOB)) == 1
    assert states == [f"cannot fetch what is missing of {DIRECT}: not_member: not_member"]


@pytest.mark.parametrize("code", ["muted", "not_member"])
def test_a_message_that_may_not_be_sent_is_sent_once(server: FakeServer, code: str) -> None:
    conversation = server.conversations[TEAM] = Conversation(TEAM, [ALICE, BOB])
    if code == "muted":
        server.faults.muted = frozenset({BOB})
    else:
        conversation.away.add(BOB)

    async def work() -> None:
        async with session(server, BOB) as bob:
            with pytest.raises(ReplyError) as raised:
                await bob.send(TEAM, {"text": "hi"})
            assert raised.value.code == code
            assert raised.value.retry_after_ms == (1 if code == "muted" else None)

    run(work())
    assert server.ops_of(BOB).count("message.send") == 1
