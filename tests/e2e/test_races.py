"""What happens at once: real concurrency on the emulated cloud. Leaving against sending is in test_groups.py."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import pytest
from websockets.exceptions import ConnectionClosed

from im.domain.entries import Draft
from im.domain.errors import Unavailable
from im.domain.ids import Cmid, ConnectionId, ConvId, DeviceId, Seq, UserId
from im.domain.signin import Policy
from im.flows.append import Appended, Appender
from im.flows.ports import Caller
from im.store.conversations import ConversationStore
from local import Stack
from tests.e2e.instances import Doorman, Gateway, Inboxes, all_at_once
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
    conv = ConvId("d:fifty:senders")  # the auditor finds these entries: the fan-out must know whom they are for

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


def test_who_reads_while_entries_are_fanned_out_has_exact_counts_afterwards(stack: Stack) -> None:
    dice = random.Random(11)
    reader, writer = "rae", "rob"
    instances = [Inboxes(stack) for _ in range(10)]
    for round_number in range(20):
        conv = ConvId(f"d:rae:rob{round_number}")
        # The reader says something, too: that moves their mark with the fan-out.
        senders = dice.choices([reader, f"{writer}{round_number}"], weights=[1, 3], k=9)
        entries = [
            instances[0].sender.append(Draft(conv, "text", UserId(sender), '{"text":"x"}', Cmid(str(i)))).entry
            for i, sender in enumerate(senders)
        ]
        marked, acked = [dice.randint(1, 9) for _ in range(3)], [dice.randint(1, 9) for _ in range(2)]
        batches = [entries[0:3], entries[3:6], entries[6:9], entries[2:7]]
        works = [partial(each.fan_out, batch) for each, batch in zip(instances, batches, strict=False)]
        works += [partial(each.read, reader, conv, seq) for each, seq in zip(instances[4:], marked, strict=False)]
        works += [partial(each.ack, reader, conv, seq) for each, seq in zip(instances[7:], acked, strict=False)]
        works.append(partial(instances[9].fan_out, entries[0:1]))
        dice.shuffle(works)

        all_at_once(works)

        own = [i for i, sender in enumerate(senders, 1) if sender == reader]
        read = max([*marked, *own])
        unread = sum(sender != reader for sender in senders[read:])
        row = instances[0].row(reader, conv)
        assert (row.last_seq, row.last_n, row.read_seq, row.read_n, row.ack_seq) == (9, 9, read, read, max(acked))
        assert row.unread == unread, f"round {round_number}: {senders}, marked {marked}"


@pytest.mark.parametrize("policy", ["multi", "per_platform", "single"])
def test_of_connections_that_open_at_once_in_one_place_one_gets_the_pushes_and_no_other_stays(
    stack: Stack, policy: Policy
) -> None:
    gateway, dice = Gateway(), random.Random(12)
    doormen = [Doorman(stack, gateway, policy) for _ in range(5)]
    kicked = 0
    for round_number in range(20):
        user = f"rush-{policy}-{round_number}"
        # Under the other policies two devices are in each other's way, too.
        devices = ["d1"] if policy == "multi" else ["d1", "d2"]
        callers = [
            Caller(UserId(user), DeviceId(dice.choice(devices)), "web", ConnectionId(f"{user}-{i}")) for i in range(5)
        ]
        former = callers.pop()
        doormen[4].open(former)
        works = [partial(doorman.open, caller) for doorman, caller in zip(doormen, callers, strict=False)]
        # The end of the connection that was there before comes late.
        works.append(partial(doormen[4].close, former))

        all_at_once(works)
        gateway.open.discard(former.connection)
        kicked += sum(caller.connection in gateway.kicked for caller in callers)
        all_at_once([partial(doorman.ping, caller) for doorman, caller in zip(doormen, callers, strict=False)])

        assert doormen[0].holders(user) == [c.connection for c in callers if c.connection in gateway.open]
        assert len(doormen[0].holders(user)) == 1
    assert kicked, "some were there early enough to be told"


def test_of_one_device_that_connects_four_times_at_once_one_connection_stays(stack: Stack) -> None:
    with ExitStack() as open_sockets, ThreadPoolExecutor(4) as threads:
        sockets = list(threads.map(lambda _: Talker(stack, "noa"), range(4)))
        for socket in sockets:
            open_sockets.enter_context(socket)

        def is_there_after_its_ping(socket: Talker) -> bool:
            try:
                # The first ping ends a connection that has no place, after its answer.
                socket.ok("connect.ping")
                socket.ok("connect.ping")
            except ConnectionClosed:
                return False
            return True

        staying = [socket for socket in sockets if is_there_after_its_ping(socket)]
        assert len(staying) == 1
        with Talker(stack, "oto") as oto:
            oto.say("Are you there?", "c1", to="noa")
        assert staying[0].entry()["body"] == {"text": "Are you there?"}
