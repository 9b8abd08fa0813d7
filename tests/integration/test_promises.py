"""The promises of docs/data-model.md, against people who do anything in any order.

Four users, two devices each, in two direct conversations and two groups. They connect, lose their network, send, send
again, read, acknowledge; functions die; the queue brings batches in part, twice and in any order; pushes get lost. Then
everybody repeats what had no reply, the queue empties, clients sync as the protocol says, and all must be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from im.domain.signin import CONNECTION_LIFE_MS
from tests.integration.house import Crash, Device, House, built_house
from tests.integration.hypothesis_profile import examples

MEMBERS = {
    "d:alice:bob": {"alice", "bob"},
    "d:alice:carol": {"alice", "carol"},
    "g:one": {"alice", "bob", "carol"},
    "g:two": {"bob", "dave"},
}
USERS = ("alice", "bob", "carol", "dave")

Death = tuple[int, bool] | None


class Client:
    """One device, as the protocol asks of it. What it knows outlives its connections."""

    def __init__(self, house: House, user: str, device: str, platform: str) -> None:
        self.house = house
        self.user, self.device, self.platform = user, device, platform
        self.link: Device | None = None
        self.since = 0
        self.entries: dict[str, dict[int, dict[str, Any]]] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.inbox: str | None = None

    def open(self) -> Device:
        """The connection; a new one if there is none."""
        if self.link is None or self.link.closed:
            self.reconnect()
        assert self.link is not None
        return self.link

    def reconnect(self) -> None:
        """A new connection, whatever has become of the old one."""
        old = self.link
        self.link = self.house.connect(self.user, self.device, self.platform)
        self.since = self.house.now
        if old is not None:
            assert old.closed or old.connection not in self.house.devices, "one device, two connections"

    def can_be_reached(self) -> bool:
        """Whether a push must reach it."""
        return self.link is not None and not self.link.closed and self.link.connection in self.house.devices

    def learn(self, entry: dict[str, Any]) -> None:
        """Keep an entry; what it has already must be the same."""
        assert self.entries.setdefault(entry["conv"], {}).setdefault(entry["seq"], entry) == entry

    def receive(self) -> None:
        """Take in the pushes that have come."""
        if self.link is None:
            return
        pushes, self.link.pushes[:] = list(self.link.pushes), []
        for push in pushes:
            if push["push"] == "entries":
                seqs = [entry["seq"] for entry in push["data"]["entries"]]
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
                assert self.user in MEMBERS[push["data"]["conv"]]
                for entry in push["data"]["entries"]:
                    self.learn(entry)

    def complete_to(self, conv: str) -> int:
        """The highest seq up to which nothing is missing."""
        have = self.entries.get(conv, {})
        return next(seq for seq in range(len(have) + 1) if seq + 1 not in have)

    def sync(self, limit: int) -> None:
        """As on connect: the inbox since the stored version, then the holes."""
        data: dict[str, Any] = {"limit": limit} | ({"since": self.inbox} if self.inbox is not None else {})
        while True:
            page = self.open().ok("sync.inbox", data)
            self.rows |= {row["conv"]: row for row in page["conversations"]}
            if "cursor" not in page:
                break
            data = {"limit": limit, "cursor": page["cursor"]}
        self.inbox = page["inbox"]
        for conv, row in self.rows.items():
            while self.complete_to(conv) < row["last_seq"]:
                self.fetch(conv, limit)

    def fetch(self, conv: str, limit: int) -> None:
        """Fill the first hole."""
        before = self.complete_to(conv)
        page = self.open().ok("sync.entries", {"conv": conv, "after": before, "limit": limit})
        for entry in page["entries"]:
            self.learn(entry)
        assert self.complete_to(conv) > before or not page["more"]


class Promises(RuleBasedStateMachine):
    """People, the queue, and what must always be true of them."""

    def __init__(self) -> None:
        super().__init__()
        self.monkeypatch = pytest.MonkeyPatch()
        self.context = built_house(self.monkeypatch)
        self.house = self.context.__enter__()
        self.clients = [
            Client(self.house, user, device, platform)
            for user in USERS
            for device, platform in (("pc", "desktop"), ("phone", "ios"))
        ]
        self.frames: list[dict[str, Any]] = []
        """Everything that anybody has sent: user, data, and the first reply, or None while there is none."""
        self.read: dict[tuple[str, str], int] = {}
        self.acked: dict[tuple[str, str], int] = {}
        self.queue: list[dict[str, Any]] = []
        """What the queue holds, outside of moto: it comes in any order."""
        self.delivered: list[dict[str, Any]] = []
        self.marks: dict[tuple[str, str], tuple[int, int, int]] = {}
        self.steps = self.turn = 0
        self.written = False
        """Whether inbox rows may have changed since the last look."""

    def teardown(self) -> None:
        try:
            self.settle(limit=3)
        finally:
            self.context.__exit__(None, None, None)
            self.monkeypatch.undo()

    @initialize()
    def the_groups_are_made(self) -> None:
        alice, bob = self.client("alice"), self.client("bob")
        alice.open().ok("group.create", {"gid": "one", "name": "One", "members": ["bob", "carol"]})
        bob.open().ok("group.create", {"gid": "two", "name": "Two", "members": ["dave"]})
        for client, conv in ((alice, "d:alice:bob"), (bob, "d:alice:bob"), (alice, "g:one"), (bob, "g:two")):
            self.send(client, self.frame(client.user, conv, mention=False))

    # ---- people ------------------------------------------------------------------------------------------------------

    who = st.integers(0, len(USERS) * 2 - 1)
    where = st.integers(0, 11)
    """A conversation of the one who acts, or seldom another one: `place`."""
    pick = st.integers(0, 10**6)
    death = st.none() | st.tuples(st.integers(0, 12), st.booleans())
    """Where a function dies: at which AWS call, and whether after its effect."""

    @rule(i=who, how=st.sampled_from(["comes", "hangs up", "vanishes"]))
    def a_connection(self, i: int, how: str) -> None:
        client = self.clients[i]
        client.receive()
        if how == "comes":
            client.reconnect()
        elif client.link is not None and not client.link.closed:
            if how == "hangs up":
                client.link.hang_up()
            else:
                self.house.devices.pop(client.link.connection, None)
                client.link = None

    @rule(i=who, where=where, mentions=st.lists(st.booleans(), min_size=1, max_size=3), death=death)
    def sends(self, i: int, where: int, mentions: list[bool], death: Death) -> None:
        client = self.clients[i]
        conv = self.place(client.user, where)
        for mention in mentions:
            self.dying(death, self.send, client, self.frame(client.user, conv, mention=mention))

    @precondition(lambda self: self.frames)
    @rule(picks=st.lists(pick, min_size=1, max_size=3), second=st.booleans())
    def sends_again(self, picks: list[int], *, second: bool) -> None:
        for pick in picks:
            frame = self.frames[pick % len(self.frames)]
            devices = [client for client in self.clients if client.user == frame["user"]]
            self.send(devices[second], frame)

    @rule(i=who, where=where, backs=st.lists(st.integers(-1, 4), min_size=1, max_size=3), ack=st.booleans())
    def marks_up_to(self, i: int, where: int, backs: list[int], *, ack: bool) -> None:
        """Reads or acknowledges so many before the newest; at times what does not exist, or not for them."""
        conv = self.place(self.clients[i].user, where)
        length = len(self.house.log(conv))
        for back in backs:
            self.mark(self.clients[i], conv, max(1, length - back), length, ack=ack)

    @rule(i=who, where=where, limit=st.integers(1, 5), how=st.sampled_from(["receives", "misses", "syncs", "looks"]))
    def a_client(self, i: int, where: int, limit: int, how: str) -> None:
        client = self.clients[i]
        if how == "receives":
            client.receive()
        elif how == "misses" and client.link is not None:
            del client.link.pushes[::2]
        elif how == "syncs":
            client.sync(limit)
        else:
            self.look_into(client, self.place(client.user, where))

    # ---- the queue, the clock ----------------------------------------------------------------------------------------

    @rule(picks=st.lists(pick, min_size=1, max_size=10), death=death, anew=st.booleans())
    def delivers(self, picks: list[int], death: Death, *, anew: bool) -> None:
        if anew:
            self.house.load("fanout")
        batch = self.some_of(self.take_all(), picks)
        if self.dying(death, self.deliver, batch):
            return
        for record in batch:
            self.queue.remove(record)
        self.delivered += batch

    @precondition(lambda self: self.delivered)
    @rule(picks=st.lists(pick, min_size=1, max_size=5))
    def delivers_again(self, picks: list[int]) -> None:
        self.deliver(self.some_of(self.delivered, picks))

    @rule(ms=st.sampled_from([1, 1000, 40_000, 130_000, 3_600_000]))
    def time_passes(self, ms: int) -> None:
        self.house.now += ms
        for client in self.clients:
            if client.link is not None and self.house.now >= client.since + CONNECTION_LIFE_MS:
                client.receive()
                self.house.devices.pop(client.link.connection, None)
                client.link = None

    # ---- always ------------------------------------------------------------------------------------------------------

    @invariant()
    def marks_never_move_back(self) -> None:
        if not self.written:
            return
        self.written = False
        for item in self.house.items("InboxTable"):
            numbers = tuple(int(item.get(name, {"N": "0"})["N"]) for name in ("last_seq", "read_seq", "ack_seq"))
            key = item["pk"]["S"], item["sk"]["S"]
            before = self.marks.get(key, (0, 0, 0))
            assert all(now >= then for now, then in zip(numbers, before, strict=True)), key
            self.marks[key] = (numbers[0], numbers[1], numbers[2])

    @invariant()
    def the_total_is_the_sum_of_its_parts(self) -> None:
        self.steps += 1
        self.turn += 1
        client = self.clients[self.turn % len(self.clients)]
        if client.link is not None and not client.link.closed:
            unread = client.link.ok("sync.unread")
            assert unread["total_unread"] == sum(unread["conversations"].values())
            assert all(count > 0 for count in unread["conversations"].values())

    # ---- and at rest -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.steps >= 8)
    @rule(limit=st.integers(1, 7))
    def settle(self, limit: int) -> None:
        """No network fails any more: then everything is as if nothing ever had."""
        for frame in self.frames:
            if frame["reply"] is None:
                self.send(self.client(frame["user"]), frame)
        while batch := self.take_all()[:10]:
            self.deliver(batch)
            self.queue = self.queue[len(batch) :]
            self.delivered += batch
        for client in self.clients:
            client.receive()
            client.sync(limit)

        self.steps = 0
        logs = {conv: self.house.log(conv) for conv in MEMBERS}
        self.every_acked_message_stands_where_it_was_acked(logs)
        for user in USERS:
            fresh = self.client(user).open().ok("sync.inbox")
            assert self.client(user).open().ok("connect.ping")["inbox"] == fresh["inbox"]
            rows = {row["conv"]: row for row in fresh["conversations"]}
            self.the_counts_are_exact(user, rows, logs)
            for client in self.clients:
                if client.user == user:
                    assert client.inbox == fresh["inbox"]
                    self.a_client_has_everything(client, rows, logs)

    def every_acked_message_stands_where_it_was_acked(self, logs: dict[str, list[dict[str, Any]]]) -> None:
        for frame in self.frames:
            entry = logs[frame["data"]["conv"]][frame["reply"]["seq"] - 1]
            assert (entry["from"], entry["cmid"]) == (frame["user"], frame["data"]["cmid"])
            assert json.loads(entry["body"]) == frame["data"]["body"]
        assert sum(map(len, logs.values())) == len(self.frames) + 2

    def a_client_has_everything(
        self, client: Client, rows: dict[str, dict[str, Any]], logs: dict[str, list[dict[str, Any]]]
    ) -> None:
        assert set(client.entries) == {conv for conv in MEMBERS if client.user in MEMBERS[conv] and logs[conv]}
        for conv, entries in client.entries.items():
            have = [entries[seq] for seq in sorted(entries)]
            assert [e["seq"] for e in have] == list(range(1, len(logs[conv]) + 1))
            assert [e["n"] for e in have] == [int(e["n"]) for e in logs[conv]]
            assert [e.get("cmid") for e in have] == [e.get("cmid") for e in logs[conv]]
        # An acknowledgement is no news for the user's other devices: they may have an older one.
        assert {c: r | {"ack_seq": 0} for c, r in client.rows.items()} == {
            c: r | {"ack_seq": 0} for c, r in rows.items()
        }

    def the_counts_are_exact(
        self, user: str, rows: dict[str, dict[str, Any]], logs: dict[str, list[dict[str, Any]]]
    ) -> None:
        expected = {}
        assert set(rows) == {conv for conv in MEMBERS if user in MEMBERS[conv] and logs[conv]}
        for conv, row in rows.items():
            log = logs[conv]
            own = max((int(entry["seq"]) for entry in log if entry["from"] == user), default=0)
            read = max(own, self.read.get((user, conv), 0))
            expected[conv] = sum(int(e["seq"]) > read and e["kind"] != "members" and e["from"] != user for e in log)
            assert row["last_seq"] == len(log)
            assert row["read_seq"] == read
            assert row["ack_seq"] == self.acked.get((user, conv), 0)
            assert row["unread"] == expected[conv]
            told = [int(e["seq"]) for e in log if f'"{user}"' in e.get("mentions", "") and e["from"] != user]
            assert row["mention_seq"] == max((seq for seq in told if seq > read), default=0)
        unread = self.client(user).open().ok("sync.unread")
        assert unread["conversations"] == {conv: count for conv, count in expected.items() if count}
        assert unread["total_unread"] == sum(expected.values())

    # ---- how ---------------------------------------------------------------------------------------------------------

    def client(self, user: str) -> Client:
        return next(client for client in self.clients if client.user == user)

    @staticmethod
    def place(user: str, where: int) -> str:
        """A conversation: one of the user's own for all but the first number."""
        mine = sorted(conv for conv in MEMBERS if user in MEMBERS[conv])
        others = sorted(MEMBERS.keys() - set(mine))
        return others[0] if where == 0 else mine[where % len(mine)]

    def frame(self, user: str, conv: str, *, mention: bool) -> dict[str, Any]:
        number = len(self.frames)
        body = {"text": f"Message {number}."}
        others = sorted(MEMBERS[conv] - {user})
        data = {"conv": conv, "cmid": f"c{number}", "kind": "text", "body": body}
        return {"user": user, "data": data | ({"mentions": others[:1]} if mention else {}), "reply": None}

    def look_into(self, client: Client, conv: str) -> None:
        """Read the whole of a log, as far as it is theirs."""
        reply = client.open().ask("sync.entries", {"conv": conv, "after": 0, "limit": 100})
        if client.user in MEMBERS[conv]:
            assert [e["seq"] for e in reply["data"]["entries"]] == [int(e["seq"]) for e in self.house.log(conv)]
        else:
            assert reply["error"]["code"] == "not_member"

    def mark(self, client: Client, conv: str, seq: int, length: int, *, ack: bool) -> None:
        """Read or acknowledge up to an entry of a log of some length."""
        self.written = True
        mark = {"conv": conv, "seq": seq}
        reply = client.open().ask(*(("sync.ack", {"acks": [mark]}) if ack else ("sync.read", mark)))
        if client.user not in MEMBERS[conv]:
            assert reply["error"]["code"] == "not_member"
        elif seq > length:
            assert reply["error"]["code"] == "not_found"
        else:
            assert reply["ok"], reply
            marks = self.acked if ack else self.read
            marks[client.user, conv] = max(seq, marks.get((client.user, conv), 0))
            if not ack:
                assert reply["data"]["read_seq"] >= marks[client.user, conv]
                assert reply["data"]["total_unread"] >= reply["data"]["unread"] >= 0

    def send(self, client: Client, frame: dict[str, Any]) -> None:
        """Send a frame, for the first time or again."""
        conv = frame["data"]["conv"]
        if client.user not in MEMBERS[conv]:
            assert client.open().error("message.send", frame["data"])["code"] == "not_member"
            return
        if frame not in self.frames:
            self.frames.append(frame)
        reply = client.open().ok("message.send", frame["data"])
        if frame["reply"] is not None:
            assert reply == frame["reply"] | {"duplicate": True}
        frame["reply"] = reply
        shown = {
            name: frame["data"][name] for name in ("conv", "cmid", "kind", "body", "mentions") if name in frame["data"]
        }
        client.learn(shown | {"from": client.user} | {name: reply[name] for name in ("seq", "n", "ts")})

    def take_all(self) -> list[dict[str, Any]]:
        """Empty moto's queue into ours."""
        while records := self.house.take():
            for record in records:
                self.house.sqs.delete_message(QueueUrl=self.house.queue_url, ReceiptHandle=record["receiptHandle"])
            self.queue += records
        return self.queue

    @staticmethod
    def some_of(records: list[dict[str, Any]], picks: list[int]) -> list[dict[str, Any]]:
        left = list(records)
        return [left.pop(pick % len(left)) for pick in picks[: len(records)]]

    def deliver(self, batch: list[dict[str, Any]]) -> None:
        """Invoke the fan-out; whoever can be reached must have got what the batch holds."""
        if not batch:
            return
        self.written = True
        sent: dict[tuple[str, int], set[str]] = {}
        for message in (json.loads(record["body"]) for record in batch):
            assert message["only"] is None, "no row has failed"
            sent.setdefault((message["entry"]["conv"], message["entry"]["seq"]), set()).add(message["origin"])
        before = {client: len(client.link.pushes) for client in self.clients if client.link is not None}
        assert self.house.call("fanout", {"Records": batch}) == {"batchItemFailures": []}
        for client in self.clients:
            if client.link is None or not client.can_be_reached():
                continue
            new = {
                (push["data"]["conv"], entry["seq"])
                for push in client.link.pushes[before[client] :]
                if push["push"] == "entries"
                for entry in push["data"]["entries"]
            }
            for entry, origins in sent.items():
                if client.user in MEMBERS[entry[0]] and client.link.connection not in origins:
                    assert entry in new, "a device that can be reached got nothing"

    def dying(self, death: Death, action: Callable[..., None], *args: Any) -> bool:
        """Whether `action`, whose function dies at `death` if it comes that far, did."""
        at, after = death if death is not None else (-1, False)
        count = -1

        def before_call(_: object) -> None:
            nonlocal count
            count += 1
            if count == at and not after:
                raise Crash

        def after_call(_: object, __: object) -> None:
            if count == at and after:
                raise Crash

        if isinstance(args[0], Client):
            args[0].open()
        with self.house.watched(before=before_call, after=after_call):
            try:
                action(*args)
            except Crash:
                return True
        return False


Promises.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=20)
test_the_promises_hold_whatever_people_networks_and_functions_do = Promises.TestCase
