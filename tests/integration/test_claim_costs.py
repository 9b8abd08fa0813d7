"""What a storm of claims costs: who comes too late writes nothing, once the function instance that serves them knows.

Several instances of the function serve the claims, each with what it remembers; each has at most one claim under way,
as on Lambda, and the claims under way wait for each other at every AWS call. Tables are in memory: they count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

from im.aws import clients
from tests.integration import packet_books
from tests.integration.house import Device, House, built_house
from tests.integration.packet_tables import PacketTables

GROUP = "g:crowd"
PEOPLE = [f"u{i:03d}" for i in range(500)]
SHARES = 50
MEMBER = "batch_get_item"
"""Whether somebody is in the group, which they are asked for each time."""
READS = {"get_item", "query", "batch_get_item", "transact_get_items"}


class Counted:
    """A client of DynamoDB that counts, and at whose calls a claim that is under way lets others go first."""

    def __init__(self, storm: Storm, tables: PacketTables) -> None:
        self._storm, self._tables = storm, tables
        self.exceptions = tables.exceptions

    def __getattr__(self, operation: str) -> Any:
        def call(**params: Any) -> Any:
            here = getcurrent()
            if here.parent is not None:
                here.parent.switch()
            self._storm.calls.append((self._storm.serving, operation))
            return getattr(self._tables, operation)(**params)

        return call


@dataclass
class Storm:
    """A group, a packet, and function instances that serve claims."""

    house: House
    tables: PacketTables = field(default_factory=PacketTables)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Who was served, and what was called for them."""
    serving: str = ""
    instances: list[Any] = field(default_factory=list)

    def instance(self) -> Any:
        """One more, that knows nothing."""
        self.instances.append(self.house.load("redpacket"))
        return self.instances[-1]

    def device(self, user: str) -> Device:
        """How somebody asks without being connected."""
        return Device(self.house, user, "d", "web", f"of-{user}=")

    def claim(self, instance: int, user: str, packet: str) -> str:
        """The code of a claim that one of the instances serves."""
        self.serving = user
        self.house.apps["redpacket"] = self.instances[instance]
        reply = self.device(user).ask("redpacket.claim", {"packet": packet})
        return "ok" if reply["ok"] else str(reply["error"]["code"])

    def writes_for(self, users: set[str]) -> int:
        """Requests to write that were made for them, refused ones too."""
        return sum(user in users and operation not in READS for user, operation in self.calls)


@pytest.fixture
def storm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storm]:
    """A group of 501, and nothing under way."""
    with built_house(monkeypatch) as house:
        made = Storm(house)
        counted = Counted(made, made.tables)
        monkeypatch.setattr(clients, "dynamodb", lambda: counted)
        for name in house.apps:
            house.load(name)
        owner = made.device("owner")
        owner.ok("group.create", {"gid": "crowd", "name": "Crowd", "members": PEOPLE[:200]})
        for at in (200, 400):
            owner.ok("group.invite", {"conv": GROUP, "users": PEOPLE[at : at + 200]})
        yield made


def sent(storm: Storm, **more: Any) -> str:
    """The id of a packet."""
    data = {"conv": GROUP, "cmid": "c", "kind": "lucky", "total": 10_000, "count": SHARES}
    return str(storm.device("owner").ok("redpacket.create", data | more)["packet"])


def rage(storm: Storm, packet: str, instances: int) -> Counter[str]:
    """Everybody claims at once: each instance serves one claim after the other, whose AWS calls come in any order."""
    random = Random(instances)
    todo, codes = list(PEOPLE), Counter[str]()
    random.shuffle(todo)

    def serve(instance: int) -> None:
        while todo:
            user = todo.pop()
            reply = storm.claim(instance, user, packet)
            codes[reply] += 1

    class Work(greenlet):
        """The claims of one instance; who is served is its own."""

        user = ""

    works = [Work(lambda i=i: serve(i)) for i in range(instances)]  # type: ignore[misc]
    while works:
        work = random.choice(works)
        storm.serving = work.user
        work.switch()
        work.user = storm.serving
        works = [work for work in works if not work.dead]
    return codes


@pytest.mark.parametrize("instances", [1, 5, 20])
def test_a_loser_costs_no_write_once_the_instance_knows(storm: Storm, instances: int) -> None:
    packet = sent(storm)
    for _ in range(instances):
        storm.instance()
    storm.calls.clear()

    codes = rage(storm, packet, instances)

    books = packet_books.read(storm.tables.items("RedPacketTable"), storm.tables.items("WalletTable"))
    winners = {user for user, _ in books.packets[packet].claims}
    losers = set(PEOPLE) - winners
    assert codes == {"ok": SHARES, "sold_out": len(PEOPLE) - SHARES}
    assert storm.writes_for(winners) == SHARES
    assert storm.writes_for(losers) <= instances, "one that was under way when the last share went, of each instance"
    assert instances == 1 or storm.writes_for(losers) > 0, "some were under way"
    assert {operation for _, operation in storm.calls} == {"get_item", MEMBER, "update_item"}, "no transaction"


def test_an_instance_that_knows_writes_nothing_for_anybody(storm: Storm) -> None:
    packet = sent(storm, count=1)
    for _ in range(2):
        storm.instance()
    assert storm.claim(0, PEOPLE[0], packet) == "ok"
    storm.calls.clear()

    assert storm.claim(0, PEOPLE[1], packet) == "sold_out"
    assert storm.claim(0, PEOPLE[0], packet) == "already_claimed"
    assert storm.claim(1, PEOPLE[2], packet) == "sold_out", "what it reads tells it"

    assert storm.writes_for(set(PEOPLE)) == 0
    assert Counter(storm.calls) == {(user, MEMBER): 1 for user in PEOPLE[:3]} | {(PEOPLE[2], "get_item"): 1}


def test_who_comes_after_the_end_writes_nothing_either(storm: Storm) -> None:
    packet = sent(storm)
    storm.instance()
    assert storm.claim(0, PEOPLE[0], packet) == "ok"
    storm.house.now += 24 * 3_600_000
    storm.calls.clear()

    assert [storm.claim(0, user, packet) for user in PEOPLE[1:4]] == ["expired"] * 3

    assert storm.writes_for(set(PEOPLE)) == 0


def test_a_claim_is_one_write_of_one_item(storm: Storm) -> None:
    packet = sent(storm)
    storm.instance()
    for user in PEOPLE[:2]:
        storm.calls.clear()
        assert storm.claim(0, user, packet) == "ok"
        read = {"get_item": 2} if user == PEOPLE[0] else {}  # the packet and its shares, which an instance remembers
        assert Counter(operation for _, operation in storm.calls) == read | {MEMBER: 1, "update_item": 1}
