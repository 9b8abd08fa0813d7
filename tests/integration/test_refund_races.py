"""Two things happen to a red packet at once: one of them comes first, and no money is there twice, or nowhere.

Each pair is played call by call (turns.py), from the same start, in every order that changes hands up to three times,
and in 200 random ones. After each, settlement does its work, the packet comes to its end, and the books must be right
to the cent (packet_books.py).
"""

from __future__ import annotations

import copy
import itertools
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.integration.house import Call
from tests.integration.packet_books import NEW_LIFE_MS, Stored, broken, wrong, wrongly_changed
from tests.integration.packet_stage import LIFE_MS, NO_TIME, OPENING, Sqs, Stage, stage, to_hold, to_publish
from tests.integration.turns import Turns

GROUP = "g:team"
SEEDS = 200
CALL_MS = 2
"""Time passes during a race: an AWS call takes so long."""

Act = Callable[[Stage], Any]


# ---- who does what ---------------------------------------------------------------------------------------------------


def request(cmid: str = "c", **other: Any) -> dict[str, Any]:
    return {"conv": GROUP, "cmid": cmid, "kind": "lucky", "total": 600, "count": 2} | other


def creates(user: str, **other: Any) -> Act:
    return lambda here: here.device(user).ask("redpacket.create", request(**other))


def claims(user: str) -> Act:
    return lambda here: here.device(user).ask("redpacket.claim", {"packet": packet_of(here).id})


def says(user: str, cmid: str) -> Act:
    data = {"conv": GROUP, "cmid": cmid, "kind": "text", "body": {"text": "Hello."}}
    return lambda here: here.device(user).ask("message.send", data)


def removes(user: str) -> Act:
    return lambda here: here.device("alice").ok("group.remove", {"conv": GROUP, "users": [user]})


def joins(user: str) -> Act:
    return lambda here: here.device(user).ok("group.join", {"conv": GROUP})


def settles(here: Stage) -> None:
    here.settle(list(here.house.packets.records))


def settles_from_tables(here: Stage) -> None:
    here.settle_message()


def ends(here: Stage) -> None:
    """What is due ends, and is settled."""
    here.sweep()
    settles(here)


def ends_soon(here: Stage) -> None:
    """The same, some moments later."""
    here.house.now += 4 * CALL_MS
    ends(here)


def packets_of(here: Stage) -> list[Stored]:
    return sorted(here.books().packets.values(), key=lambda packet: packet.name)


def packet_of(here: Stage) -> Stored:
    (packet,) = packets_of(here)
    return packet


def code(reply: dict[str, Any]) -> str:
    return "ok" if reply["ok"] else str(reply["error"]["code"])


# ---- the races -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Race:
    """Two acts, from one start."""

    start: Act
    acts: tuple[Act, Act]
    outcome: Callable[[Stage, list[Any]], str]
    """What has come of it, when all is settled; it must be one thing."""
    outcomes: frozenset[str]
    """What must come of it in some order, and nothing else may."""
    soon: Act = lambda _: None
    """What holds before any time has passed."""


def group(here: Stage, *members: str) -> None:
    here.begin((0, 0))
    data = {"gid": "team", "name": "Team", "join_mode": "open", "members": list(members or ("bob", "carol", "dave"))}
    here.device("alice").ok("group.create", data)


def one_share_left(here: Stage) -> None:
    group(here)
    creates("alice")(here)
    claims("bob")(here)
    here.settle(list(here.house.packets.records))


def two_shares_left(here: Stage) -> None:
    group(here)
    creates("alice", count=3)(here)
    claims("bob")(here)


def nearly_over(here: Stage) -> None:
    """One share is left, and some milliseconds."""
    one_share_left(here)
    here.house.now = packet_of(here).number("expires") - 4 * CALL_MS


def claimed_or_refunded(here: Stage, replies: list[Any]) -> str:
    packet, told = packet_of(here), code(replies[0])
    assert packet.shares is not None
    share = packet.shares[1]
    paid = [-int(line["amount"]["N"]) for name, line in packet.lines.items() if line["user"]["S"] == "carol"]
    back = [-int(packet.lines["rest"]["amount"]["N"])] if "rest" in packet.lines else []
    assert (told, paid, back) in [("ok", [share], []), ("expired", [], [share])]
    return "claimed" if paid else "refunded"


def the_last_share(here: Stage, replies: list[Any]) -> str:
    told = [code(reply) for reply in replies]
    winner = told.index("ok")
    assert sorted(told) == ["ok", "sold_out"]
    assert [user for user, _ in packet_of(here).claims] == ["bob", ("carol", "dave")[winner]]
    return f"{winner}"


def one_share_for_two_devices(here: Stage, replies: list[Any]) -> str:
    amounts = {reply["data" if reply["ok"] else "error"]["amount"] for reply in replies}
    packet = packet_of(here)
    assert packet.shares is not None
    assert [user for user, _ in packet.claims] == ["bob", "carol"]
    assert amounts == {packet.shares[1]}
    told = [code(reply) for reply in replies]
    assert sorted(told) == ["already_claimed", "ok"]
    return f"{told.index('ok')}"


def given_up(here: Stage, before: Callable[[Call], bool]) -> None:
    """A packet whose sender's function has died, and whose time is over in a moment."""
    group(here)
    here.dies(partial(creates("bob"), here), before)
    here.house.now = packet_of(here).number("created") + NEW_LIFE_MS


def sent_or_given_up(here: Stage, replies: list[Any]) -> str:
    packet, told = packet_of(here), code(replies[0])
    if told == "ok":
        assert packet.held
        assert packet.state == "closed"
        return "sent"
    assert (told, packet.state) == ("conflict", "cancelled")
    return "given up, the money came too late" if packet.void else "given up, the money went back"


def one_packet(here: Stage, replies: list[Any]) -> str:
    packet = packet_of(here)
    assert [code(reply) for reply in replies] == ["ok", "ok"]
    told = [(reply["data"]["packet"], reply["data"]["seq"], reply["data"]["expires"]) for reply in replies]
    assert told == [(packet.id, packet.number("seq"), packet.number("expires"))] * 2
    first = [reply["data"]["duplicate"] for reply in replies].index(False)
    assert replies[1 - first]["data"]["duplicate"]
    assert len(messages(here)) == 1
    return f"{first}"


def one_of_two_totals(here: Stage, replies: list[Any]) -> str:
    told = [code(reply) for reply in replies]
    assert sorted(told) == ["conflict", "ok"]
    assert packet_of(here).number("total") == (600, 602)[told.index("ok")]
    return f"{told.index('ok')}"


def one_has_the_money(here: Stage, replies: list[Any]) -> str:
    told = [code(reply) for reply in replies]
    assert sorted(told) == ["insufficient_funds", "ok"]
    assert [packet.name[2] for packet in packets_of(here) if packet.held] == [("c1", "c2")[told.index("ok")]]
    return f"{told.index('ok')}"


def short_of_money(here: Stage) -> None:
    """Bob's packet waits for its money, which he has spent meanwhile; what he has claimed is not paid yet."""
    group(here)
    here.dies(partial(creates("bob"), here), to_hold)
    creates("bob", cmid="spent")(here)
    given = creates("alice", cmid="given", kind="direct", total=400, count=1, to="bob")(here)
    here.device("bob").ok("redpacket.claim", {"packet": given["data"]["packet"]})


def creates_and_looks(here: Stage) -> tuple[str, bool]:
    """What bob is told, and whether his packet has its money at that moment."""
    told = code(creates("bob")(here))
    (packet,) = (packet for packet in packets_of(here) if packet.name[2] == "c")
    return told, packet.held


def gets_paid_and_creates(here: Stage) -> tuple[str, bool]:
    settles(here)
    return creates_and_looks(here)


def told_as_it_was(here: Stage, replies: list[Any]) -> str:
    told = [answer for answer, _ in replies]
    assert told[1] == "ok"
    assert replies[0] in {("ok", True), ("insufficient_funds", False)}
    return str(told[0])


def two_places(here: Stage, replies: list[Any]) -> str:
    places = [reply["data"]["seq"] for reply in replies]
    assert sorted(places) == [2, 3]
    assert messages(here) == [packet.id for packet in sorted(packets_of(here), key=lambda p: p.number("seq"))]
    return f"{places}"


def the_cmid_is_one_s(here: Stage, replies: list[Any]) -> str:
    """The packet's or the message's. Who says it is told where it stands, as for any repeat."""
    packet, told = packet_of(here), [code(reply) for reply in replies]
    assert told[1] == "ok"
    if told[0] == "ok":
        assert replies[1]["data"]["seq"] == packet.number("seq")
        return "packet"
    assert (told[0], packet.state, messages(here)) == ("conflict", "cancelled", [])
    return "message"


def came_too_late(here: Stage, replies: list[Any]) -> str:
    assert [user for user, _ in packet_of(here).claims] == ["bob"]
    return code(replies[0])


def sent_before_the_removal_or_not(here: Stage, replies: list[Any]) -> str:
    told = code(replies[0])
    found = [packet for packet in packets_of(here) if packet.number("seq")]
    assert [packet.number("seq") for packet in found] == ([2] if told == "ok" else [])
    return told


def nothing_waits(here: Stage) -> None:
    """What was refused is given up at once."""
    assert all(packet.state != "new" for packet in packets_of(here))


def paid_once(here: Stage, _: list[Any]) -> str:
    packet = packet_of(here)
    assert sorted(packet.lines) == ["0", "hold", "rest"]
    return "paid"


def refunded_once(here: Stage, _: list[Any]) -> str:
    packet = packet_of(here)
    assert sorted(packet.lines) == ["0", "hold", "rest"]
    return "refunded"


def waiting_for_settlement(here: Stage) -> None:
    """A claim and an end, and both the stream and the queue bring them."""
    group(here)
    creates("alice")(here)
    claims("bob")(here)
    here.house.now += LIFE_MS
    here.sweep()
    records = list(here.house.packets.records)
    here.settle(records, remaining=NO_TIME)
    here.house.packets.records += records


def money_for_one(here: Stage) -> None:
    group(here)
    assert OPENING < 1200


def messages(here: Stage) -> list[str]:
    """The packets that have a message in the log, in its order."""
    items = [item for item in here.items("ConversationTable") if item["sk"]["S"].startswith("MSG#")]
    items.sort(key=lambda item: item["sk"]["S"])
    assert [int(item["seq"]["N"]) for item in items] == list(range(1, len(items) + 1))
    return [
        packet.id
        for item in items
        for packet in packets_of(here)
        if item["kind"]["S"] == "redpacket" and packet.id in item["body"]["S"]
    ]


EITHER = frozenset({"0", "1"})

RACES = {
    "refund against the last claim": Race(
        nearly_over, (claims("carol"), ends_soon), claimed_or_refunded, frozenset({"claimed", "refunded"})
    ),
    "two claims of the last share": Race(one_share_left, (claims("carol"), claims("dave")), the_last_share, EITHER),
    "two claims of one user": Race(
        two_shares_left, (claims("carol"), claims("carol")), one_share_for_two_devices, EITHER
    ),
    "giving up against publishing": Race(
        lambda here: given_up(here, to_publish),
        (creates("bob"), ends),
        sent_or_given_up,
        frozenset({"sent", "given up, the money went back"}),
    ),
    "release against hold": Race(
        lambda here: given_up(here, to_hold),
        (creates("bob"), ends),
        sent_or_given_up,
        frozenset({"sent", "given up, the money went back", "given up, the money came too late"}),
    ),
    "one request twice": Race(group, (creates("bob"), creates("bob")), one_packet, EITHER),
    "one cmid, two totals": Race(group, (creates("bob"), creates("bob", total=602)), one_of_two_totals, EITHER),
    "money for one of two": Race(
        money_for_one, (creates("bob", cmid="c1"), creates("bob", cmid="c2")), one_has_the_money, EITHER
    ),
    "money that comes between two tries": Race(
        short_of_money,
        (creates_and_looks, gets_paid_and_creates),
        told_as_it_was,
        frozenset({"ok", "insufficient_funds"}),
    ),
    "two packets of one group": Race(
        group, (creates("bob", cmid="c1"), creates("carol", cmid="c2")), two_places, frozenset({"[2, 3]", "[3, 2]"})
    ),
    "packet against message": Race(
        group, (creates("bob"), says("bob", "c")), the_cmid_is_one_s, frozenset({"packet", "message"})
    ),
    "claim against coming to the group": Race(
        one_share_left, (claims("erin"), joins("erin")), came_too_late, frozenset({"not_member", "forbidden"})
    ),
    "packet against the removal of its sender": Race(
        group,
        (creates("bob"), removes("bob")),
        sent_before_the_removal_or_not,
        frozenset({"ok", "not_member"}),
        soon=nothing_waits,
    ),
    "two ends": Race(nearly_over, (ends_soon, ends_soon), refunded_once, frozenset({"refunded"})),
    "stream against queue": Race(
        waiting_for_settlement, (settles, settles_from_tables), paid_once, frozenset({"paid"})
    ),
}


# ---- how they are played ---------------------------------------------------------------------------------------------


class Start:
    """Where a race begins, again and again."""

    def __init__(self, here: Stage, race: Race) -> None:
        self.here, self.race = here, race
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.begin()
        if here.tables is not None:
            tables = here.tables.tables
            self.tables = {name: {pk: dict(items) for pk, items in table.items()} for name, table in tables.items()}
        self.now, self.records = here.house.now, list(here.house.packets.records)
        self.newest = dict(here.house.packets.newest)
        self.messages = copy.deepcopy(here.house.sqs.messages) if isinstance(here.house.sqs, Sqs) else []

    def begin(self) -> None:
        self.race.start(self.here)

    def again(self) -> None:
        """As it was. What functions remember is forgotten."""
        here = self.here
        if here.tables is None or not isinstance(here.house.sqs, Sqs):
            self.begin()
            return
        here.begin((0, 0))
        assert isinstance(here.house.sqs, Sqs)
        tables = {name: {pk: dict(items) for pk, items in table.items()} for name, table in self.tables.items()}
        here.tables.tables = tables
        here.tables.writes += 1
        here.house.now = self.now
        here.house.packets.records[:] = self.records
        here.changes()
        here.house.packets.newest.update(self.newest)
        here.house.sqs.messages[:] = copy.deepcopy(self.messages)

    def play(self, order: Sequence[int]) -> str:
        """What comes of it in one order."""
        self.again()
        here, race = self.here, self.race
        before = here.books()
        here.call_ms = CALL_MS
        replies = Turns(here.house).run([partial(self.act, i) for i in range(2)], order)
        here.call_ms = 0
        assert here.errors.error is None, here.errors.error
        self.settle()
        self.none(broken(before, here.books()))
        self.none(wrongly_changed(here.changes()))
        race.soon(here)
        here.house.now += LIFE_MS + NEW_LIFE_MS + 1000
        here.sweep()
        self.settle()
        assert {packet.state for packet in here.books().packets.values()} <= {"closed", "cancelled"}
        return race.outcome(here, replies)

    def act(self, i: int) -> Any:
        self.here.house.apps = self.here.house.apps | self.here.instances[i]
        return self.race.acts[i](self.here)

    def settle(self) -> None:
        while not self.here.idle:
            settles(self.here)
            self.here.settle_message()
        self.none(wrong(self.here.books(), opening=OPENING, settled=True))
        assert not self.here.dead

    @staticmethod
    def none(lines: Any) -> None:
        found = list(lines)
        assert not found, found

    def turns(self) -> list[int]:
        """How many turns each act takes by itself."""
        out = []
        for i in range(2):
            self.again()
            with self.here.house.watched() as calls:
                self.act(i)
            out.append(len(calls) + 1)
        return out


def switching(turns: Sequence[int]) -> Iterator[list[int]]:
    """Every order of two acts that changes hands up to three times."""
    for first in range(2):
        for i in range(turns[first] + 1):
            for j in range(1, turns[1 - first] + 1):
                yield [first] * i + [1 - first] * j + [first] * 50


def shuffled(turns: Sequence[int], seed: int) -> list[int]:
    """A random order."""
    order = [0] * turns[0] + [1] * turns[1]
    random.Random(seed).shuffle(order)
    return order


def played(here: Stage, race: Race, *, seeds: int, every: bool) -> Counter[str]:
    """What comes of a race, and how often."""
    start = Start(here, race)
    turns = start.turns()
    orders = [*(switching(turns) if every else ()), *(shuffled(turns, seed) for seed in range(seeds))]
    seen = Counter[str]()
    for order in orders:
        try:
            seen[start.play(order)] += 1
        except AssertionError as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            runs = " ".join(f"{who}x{len(list(turns))}" for who, turns in itertools.groupby(order))
            raise AssertionError(f"in the order {runs}: {str(e) or where.line}") from e
    return seen


@pytest.mark.parametrize("name", RACES)
def test_one_of_the_two_comes_first_in_every_order(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with stage(monkeypatch) as here:
        seen = played(here, RACES[name], seeds=SEEDS, every=True)

    print(f"{name}: {dict(seen)}")
    assert set(seen) == RACES[name].outcomes


@pytest.mark.parametrize("name", RACES)
def test_moto_says_the_same_as_the_tables_in_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with stage(monkeypatch, on_moto=True) as here:
        seen = played(here, RACES[name], seeds=4, every=False)

    assert set(seen) <= RACES[name].outcomes
