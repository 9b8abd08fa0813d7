"""What happens at once: real concurrency on the emulated cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from im.domain.entries import Draft
from im.domain.errors import Unavailable
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.flows.append import Appended, Appender
from im.store.conversations import ConversationStore
from local import Stack
from tests.e2e.talker import Talker

pytestmark = pytest.mark.e2e


def test_one_cmid_sent_twenty_times_at_once_on_four_connections_is_one_entry(stack: Stack) -> None:
    data = {"to": "liz", "cmid": "the-one", "kind": "text", "body": {"text": "once"}}
    with ExitStack() as open_sockets:
        liz = open_sockets.enter_context(Talker(stack, "liz"))
        devices = [open_sockets.enter_context(Talker(stack, "kim", f"d{i}")) for i in range(4)]

        begun = [(device, device.begin("message.send", data)) for _ in range(5) for device in devices]
        replies = [device.end(request_id)["data"] for device, request_id in begun]

        assert {(reply["seq"], reply["n"], reply["ts"]) for reply in replies} == {(1, 1, replies[0]["ts"])}
        assert sorted(reply["duplicate"] for reply in replies) == [False] + [True] * 19
        assert liz.entry()["cmid"] == "the-one"
        log = liz.ok("sync.entries", {"conv": "d:kim:liz", "after": 0})
        assert [entry["seq"] for entry in log["entries"]] == [1]
        assert liz.ok("sync.unread")["total_unread"] == 1


def appender(stack: Stack) -> Appender:
    """The product's own, on the deployed table. Functions answer one frame at a time here; AWS runs them side by side,
    so this race is played one level below."""
    store = ConversationStore(stack.cloud.client("dynamodb"), stack.outputs["ConversationTableName"])
    return Appender(store, lambda: time.time_ns() // 1_000_000)


def patient(appends: Appender) -> Callable[[Draft], Appended]:
    """Sends again what is answered with `unavailable`, as a client does: how many tries 10 s are, the machine says."""

    def append(draft: Draft) -> Appended:
        for _ in range(30):
            with suppress(Unavailable):
                return appends.append(draft)
        raise AssertionError(f"{draft} found no place")

    return append


def test_one_cmid_appended_by_twenty_threads_is_one_entry_among_the_others(stack: Stack) -> None:
    append = patient(appender(stack))
    conv = ConvId("d:mia:ned")

    def draft(i: int) -> Draft:
        same = i % 2 == 0
        cmid = Cmid("the-one" if same else f"other-{i}")
        return Draft(conv, "text", UserId("mia"), json.dumps({"text": "hello"}), cmid)

    with ThreadPoolExecutor(20) as threads:
        appended = list(threads.map(append, [draft(i) for i in range(40)]))

    ones = [a for a in appended if a.entry.cmid == "the-one"]
    assert len({a.entry.seq for a in ones}) == 1
    assert [a.duplicate for a in ones].count(False) == 1
    assert sorted(a.entry.seq for a in appended if not a.duplicate) == list(range(1, 22))


def test_fifty_senders_at_once_get_places_without_holes_or_repeats(stack: Stack) -> None:
    append = patient(appender(stack))
    conv = ConvId("g:fifty")

    def talk(sender: int) -> list[tuple[Seq, int]]:
        drafts = [
            Draft(conv, "text" if i else "profile", UserId(f"u{sender}"), '{"text":"x"}', Cmid(str(i)))
            for i in range(3)
        ]
        return [(a.entry.seq, a.entry.n) for a in map(append, drafts)]

    with ThreadPoolExecutor(50) as threads:
        of_each = list(threads.map(talk, range(50)))

    places = sorted(place for of_one in of_each for place in of_one)
    assert [seq for seq, _ in places] == list(range(1, 151))
    assert places[-1][1] == 100, "two of three were countable"
    assert all(of_one == sorted(of_one) for of_one in of_each), "a sender's own order is kept"
