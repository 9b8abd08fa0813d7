"""How fast can one red packet be claimed on AWS? Its claims are writes of one item, which grows with each of them.

DynamoDB makes at most 1,000 write units a second on one item, and throttles what is more (the SDK, then the client,
asks again). Items are those that the product writes, sizes and units are by AWS's rules. The emulator has no such
limit.
"""

from __future__ import annotations

from typing import Any, Final, cast

from bench.units import item_size, write_units
from im.domain.ids import Cmid, ConvId, UserId
from im.domain.red_packet import MAX_GREETING, PacketId, Terms
from im.store.packets import PacketStore

UNITS_A_SECOND: Final = 1000
"""DynamoDB Developer Guide, «Best practices for designing and using partition keys effectively»."""

SHARES: Final = (10, 50, 100, 200, 500)
ID_LENGTHS: Final = (8, 20, 36, 64)
"""Of users: names, random ids, UUIDs, and the longest that there may be."""

LOSERS: Final = 500
"""Claims that come to as many function instances, none of which knows yet that it is sold out: the worst case."""


class _Kept:
    """A client that keeps what is to be stored."""

    item: dict[str, Any]

    def transact_write_items(self, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803 - boto3's name
        self.item = TransactItems[0]["Put"]["Item"]


def packet_item(claims: int, id_length: int, greeting: int = MAX_GREETING) -> dict[str, Any]:
    """An open packet of a group as it is stored when `claims` users with ids of that length have claimed it."""
    user = UserId("u" * id_length)
    terms = Terms(
        packet=PacketId("rp" + "a" * 26),
        conv=ConvId("g:" + "c" * 36),
        sender=user,
        kind="lucky",
        total=100_000,
        count=500,
        to=None,
        greeting="g" * greeting,
        cmid=Cmid("m" * 36),
        created=1_795_000_000_000,
    )
    kept = _Kept()
    PacketStore(cast("Any", kept), "table").begin(terms, (), 1_795_000_300_000)
    opened = {"seq": {"N": "123456"}, "opened": {"N": "1795000000123"}, "expires": {"N": "1795086400123"}}
    claimed = {"claimers": {"L": [{"S": user}] * claims}, "times": {"L": [{"N": "34567"}] * claims}}
    return kept.item | opened | claimed


def claim_units(claims: int, id_length: int) -> int:
    """The write units of the claim that is the packet's `claims`-th."""
    before, after = (item_size(packet_item(n, id_length)) for n in (claims - 1, claims))
    return write_units(before, after)


def hot_item_table() -> str:
    """The table of the report."""
    head = ("shares", "id", "bytes at last", "W of the last", "W of all", "seconds", f"{LOSERS} losers' W", "seconds")
    lines = ["".join(f"{title:>17}" for title in head)]
    for shares in SHARES:
        for id_length in ID_LENGTHS:
            size = item_size(packet_item(shares, id_length))
            last = claim_units(shares, id_length)
            won = sum(claim_units(n, id_length) for n in range(1, shares + 1))
            lost = LOSERS * write_units(size, size)
            row = (
                f"{shares}",
                f"{id_length}",
                f"{size:,}",
                f"{last}",
                f"{won:,}",
                f"{won / UNITS_A_SECOND:.2f}",
                f"{lost:,}",
                f"{lost / UNITS_A_SECOND:.2f}",
            )
            lines.append("".join(f"{cell:>17}" for cell in row))
    return "\n".join(lines)
