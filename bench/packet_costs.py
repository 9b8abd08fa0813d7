"""What does a red packet cost, operation by operation, and how do its claims grow with it?

The real functions run on emulated tables, and bench/meter.py reads the bill of every AWS call that they make, by the
sizes of the items in it.

    PYTHONPATH=layers/common:. .venv/bin/python -m bench.packet_costs [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pytest

from bench.meter import Meter, stored
from bench.units import KIB, item_size, steps, write_units
from im.domain.ids import UserId
from im.domain.red_packet import PacketId
from im.runtime.logs import log
from im.store import keys
from im.store.packets import Claimed, PacketStore
from tests.integration.house import House, built_house

GROUP: Final = "g:team"
PEOPLE: Final = ("alice", "bob", "carol", "dave")
DAY_MS: Final = 24 * 3_600_000
TABLE: Final = "RedPacketTable"

SHARES: Final = (10, 50, 100, 200, 500)
ID_LENGTHS: Final = (8, 36, 64)
"""Characters of a user id: a name, a UUID, the longest that there may be."""

WRITES_A_SECOND: Final = 1000
"""What DynamoDB gives one item."""


@dataclass(frozen=True)
class Cost:
    """What one thing costs."""

    what: str
    writes: float
    reads: float
    queue: float
    pushes: float


@dataclass(frozen=True)
class Growth:
    """What the claims of a packet cost that has so many shares."""

    shares: int
    id_length: int
    kib: float
    """The item, when it is sold out."""
    last: int
    """W of the last claim, and of each that comes too late and is not known to."""
    all: int
    """W of all claims."""

    @property
    def a_second(self) -> int:
        """How many claims a second one item takes at its end."""
        return WRITES_A_SECOND // self.last

    @property
    def seconds(self) -> float:
        """How long all its claims take at least, when all come at once."""
        return self.all / WRITES_A_SECOND


def operations() -> list[Cost]:
    """Each operation, by functions that know the packet and the group but where it says otherwise.

    The writes of the index `due` are apart: the meter does not know it.
    """
    with pytest.MonkeyPatch.context() as monkeypatch, built_house(monkeypatch) as house:
        meter = Meter(house, monkeypatch)
        devices = {name: house.connect(name) for name in PEOPLE}
        devices["alice"].ok("group.create", {"gid": "team", "name": "Team", "members": list(PEOPLE[1:])})
        for device in devices.values():
            device.ok("redpacket.wallet")
        house.fan_out()
        out: list[Cost] = []

        def cost(what: str, act: Callable[[], object]) -> Any:
            house.now += 1000
            with meter.measured() as bill:
                done = act()
            out.append(Cost(what, bill.writes, bill.reads, bill.queue, bill.pushes))
            return done

        def create(cmid: str) -> str:
            asked = {"conv": GROUP, "cmid": cmid, "kind": "lucky", "total": 1000, "count": 3}
            return str(devices["alice"].ok("redpacket.create", asked)["packet"])

        def claim(name: str, packet: str) -> object:
            return devices[name].ok("redpacket.claim", {"packet": packet})

        def settled(what: str) -> None:
            cost(what, house.packets.settle)

        packet = cost("create, by a function that has not met the group", lambda: create("c1"))
        cost("create", lambda: create("c2"))
        cost("create, repeated", lambda: create("c2"))
        settled("settlement of two new packets")
        house.load("redpacket")
        cost("claim, by a function that does not know the packet", lambda: claim("bob", packet))
        settled("settlement of a claim")
        cost("claim", lambda: claim("carol", packet))
        cost("claim again", lambda: devices["bob"].error("redpacket.claim", {"packet": packet}))
        house.packets.settle()
        claim("alice", packet)
        settled("settlement of the last claim of three")
        cost("claim of what is sold out, and known to be", lambda: _refused(devices["dave"], packet))
        house.load("redpacket")
        cost("claim of what is sold out, the first that a function meets", lambda: _refused(devices["dave"], packet))
        cost("detail", lambda: devices["dave"].ok("redpacket.detail", {"packet": packet}))
        cost("mine, one packet", lambda: devices["bob"].ok("redpacket.mine", {"which": "received"}))
        cost("wallet", lambda: devices["bob"].ok("redpacket.wallet"))
        cost("ledger, two postings", lambda: devices["bob"].ok("redpacket.ledger"))
        cost("a minute in which nothing is due", house.packets.sweep)
        house.now += DAY_MS
        cost("a minute in which two packets end", house.packets.sweep)
        settled("settlement of their ends: one refund")
        return out


def _refused(device: Any, packet: str) -> None:
    if device.error("redpacket.claim", {"packet": packet})["code"] != "sold_out":
        raise SystemExit("it is not sold out")


def growth(id_length: int, at: Sequence[int] = SHARES) -> list[Growth]:
    """The claims of one packet, one after the other, as the store makes them; looked at after so many."""
    out = []
    with pytest.MonkeyPatch.context() as monkeypatch, built_house(monkeypatch) as house:
        packet, opened = _open_packet(house)
        store = PacketStore(house.dynamodb, TABLE)
        size = _size(packet)
        units = 0
        for i in range(max(at)):
            user = UserId(f"{i:05d}".rjust(id_length, "u"))
            if not isinstance(store.claim(packet, max(SHARES), user, opened, opened + i * 10), Claimed):
                raise SystemExit("a claim was refused")
            before, size = size, _size(packet)
            units += write_units(before, size)
            if i + 1 in at:
                out.append(Growth(i + 1, id_length, round(size / KIB, 1), steps(size, KIB), units))
    return out


def _open_packet(house: House) -> tuple[PacketId, int]:
    """A packet, and when it was opened."""
    alice = house.connect("alice")
    alice.ok("group.create", {"gid": "team", "name": "Team", "members": list(PEOPLE[1:])})
    about = {"cmid": "a-uuid-with-thirty-six-characters-00", "greeting": "Best wishes to all of you"}
    made = alice.ok("redpacket.create", {"conv": GROUP, "kind": "equal", "total": 500, "count": 500} | about)
    return PacketId(made["packet"]), int(made["ts"])


def _size(packet: PacketId) -> int:
    item = stored(TABLE, keys.packet(packet))
    if item is None:
        raise SystemExit("the packet is not there")
    return item_size(item)


def markdown(costs: Sequence[Cost], grown: Sequence[Growth]) -> str:
    """As tables for docs/redpacket.md."""
    lines = ["| | W | R | queue requests | pushes |", "|---|---|---|---|---|"]
    lines += [
        f"| {cost.what} | {cost.writes:g} | {cost.reads:g} | {cost.queue:g} | {cost.pushes:g} |" for cost in costs
    ]
    names = ("shares", "user ids of", "item at the end", "W of the last claim", "W of all claims")
    limits = ("claims a second at the end", "all at once take at least")
    lines += ["", f"| {' | '.join(names + limits)} |", "|---" * (len(names) + len(limits)) + "|"]
    for one in grown:
        figures = f"{one.shares} | {one.id_length} | {one.kib:g} KiB | {one.last} | {one.all:,}"
        lines.append(f"| {figures} | {one.a_second:,} | {one.seconds:.1f} s |")
    return "\n".join(lines)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="the figures, for a program to read")
    arguments = parser.parse_args()
    log.setLevel("CRITICAL")
    costs = operations()
    grown = [one for id_length in ID_LENGTHS for one in growth(id_length)]
    if arguments.json:
        print(json.dumps({"costs": [asdict(one) for one in costs], "growth": [asdict(one) for one in grown]}, indent=2))
        return
    print(markdown(costs, grown))


if __name__ == "__main__":
    main()
