"""`im admin audit` of a stack that goes on: pages come while packets are made, claimed, ended and settled."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from imclient.admin.ledger_audit import Report
from tests.integration.house import REGION
from tests.unit.client.ledger_world import (
    DAY_MS,
    PACKETS,
    PEOPLE,
    WALLETS,
    Change,
    Item,
    World,
    asked,
    live,
    world_with_people,
)

SEEDS = 5
BUSY = 30
"""Things that happen during one audit, at most."""


def test_wallets_that_start_with_nothing() -> None:
    with world_with_people(NEW_WALLET_AMOUNT="0") as world:
        assert world.ledger.audit().passed
        world.devices["bob"].ok("redpacket.wallet")

        report = world.ledger.audit()

    assert report.passed
    assert (report.figures.users, report.figures.opening, report.figures.postings) == (1, 0, 0)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with world_with_people() as made:
        live(made)
        yield made


def client_with_pages(between: Callable[[], None], size: int) -> Any:
    """A client whose Scans come in pages of `size`; `between` is called before each read."""
    client: Any = boto3.client("dynamodb", REGION)

    def begin(params: Item, model: Any, **_: Any) -> Item:
        between()
        return params | {"Limit": size} if model.name in {"Scan", "Query"} else params

    client.meta.events.register("provide-client-params.dynamodb", begin)
    return client


class Life:
    """People who go on while somebody looks: one thing at a time, as the dice say."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.done = 0

    def __call__(self) -> None:
        if self.done >= BUSY or self.dice.random() < 0.3:
            return
        self.done += 1
        self.world.house.now += self.dice.choice((0, 1, 300))
        what = self.dice.choice((self.create, self.create, self.claim, self.claim, self.claim, self.settle, self.end))
        what()

    def create(self) -> None:
        sender, kind = self.dice.choice(PEOPLE), self.dice.choice(("lucky", "equal"))
        count = self.dice.randint(1, 4)
        data = asked(f"m{self.done}", kind=kind, total=count * self.dice.randint(1, 50), count=count)
        reply = self.world.devices[sender].ask("redpacket.create", data)
        if reply["ok"]:
            self.world.packets[f"m{self.done}"] = reply["data"]["packet"]

    def claim(self) -> None:
        packet = self.dice.choice(sorted(self.world.packets.values()))
        self.world.devices[self.dice.choice(PEOPLE)].ask("redpacket.claim", {"packet": packet})

    def settle(self) -> None:
        self.world.house.packets.settle()

    def end(self) -> None:
        if self.dice.random() < 0.2:
            self.world.pass_ms(DAY_MS)


def audited(world: World, between: Callable[[], None], **more: Any) -> Report:
    client = client_with_pages(between, size=more.pop("size", 5))
    clock = {"clock": lambda: world.house.now, "late_ms": 2 * DAY_MS}
    return world.ledger.audit(client=client, **clock | more)


def test_an_audit_in_the_middle_of_everything_leaves_the_late_to_the_next_one(world: World) -> None:
    world.claim("open", "dave")

    assert audited(world, lambda: None).late == []
    assert [late.kind for late in audited(world, lambda: None, clock=lambda: world.house.now + 1, late_ms=0).late] == [
        "unsettled"
    ] * 2


def test_pages_of_any_size_tell_the_same(world: World) -> None:

    reports = [audited(world, lambda: None, size=size) for size in (1, 3, 1000)]

    assert reports[0] == reports[1] == reports[2]
    assert reports[0].passed


def test_what_is_read_is_read_consistently(world: World) -> None:
    calls: list[tuple[str, bool]] = []
    client: Any = boto3.client("dynamodb", REGION)

    def note(params: Item, model: Any, **_: Any) -> None:
        calls.append((model.name, params.get("ConsistentRead", model.name == "TransactGetItems")))

    client.meta.events.register("provide-client-params.dynamodb", note)
    gone = Change(PACKETS, world.packets["open"], "META", lambda _: None)
    less = Change(WALLETS, "user:bob", "BALANCE", lambda _: {"balance": {"N": "1"}})
    (line,) = [key for key in world.ledger.all(WALLETS) if key[1].endswith(f"{world.packets['finished']}#0")]
    lost = Change(WALLETS, *line, lambda _: None)
    with world.ledger.spoiled(gone, less, lost):
        report = world.ledger.audit(client=client)

    assert not report.passed
    assert {name for name, _ in calls} == {"Scan", "Query", "GetItem", "TransactGetItems"}
    assert all(consistent for _, consistent in calls)


def test_movement_is_no_finding(world: World) -> None:
    settled = younger = done = 0
    for seed in range(SEEDS):
        going_on = Life(world, random.Random(seed))

        report = audited(world, going_on)

        assert report.findings == [], seed
        assert (report.late, report.undecided, report.unlooked) == ([], [], 0), seed
        settled, younger, done = settled + report.settled, younger + report.younger, done + going_on.done
    assert min(settled, younger) > SEEDS
    assert done > BUSY * SEEDS / 2
    world.house.packets.settle()
    assert audited(world, lambda: None).figures.sum == 0


def test_what_is_wrong_is_found_while_all_goes_on(world: World) -> None:
    going_on = Life(world, random.Random(1))

    def taken(item: Item | None) -> Item:
        assert item is not None
        return item | {"balance": {"N": str(int(item["balance"]["N"]) - 7)}}

    wrong = Change(WALLETS, "opening:carol", "BALANCE", taken)
    with world.ledger.spoiled(wrong):
        report = audited(world, going_on)

    assert [(finding.kind, finding.subject) for finding in report.findings] == [("balance", "opening:carol")]
    assert going_on.done > BUSY / 2
