"""Red packets: what one is, how it is split, and what a claim comes to. No I/O, no clock, no dice of its own.

A packet is *new* while its money is being taken, *open* from the moment its message stands in the log, and then
*closed* with what nobody has claimed, or *cancelled* because its money never came. docs/redpacket.md draws it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NewType

from im.domain.errors import BadRequest
from im.domain.ids import Cmid, ConvId, Seq, UserId

PacketId = NewType("PacketId", str)
Kind = Literal["lucky", "equal", "direct"]
State = Literal["new", "open", "closed", "cancelled"]

Below = Callable[[int], int]
"""A whole number from 0 to below another one, each as likely as the others; `secrets.randbelow` where money is."""

PACKET_ID: Final = re.compile(r"rp[a-z2-7]{26}", re.ASCII)

MIN_SHARE: Final = 1
"""Nobody opens an empty packet. Amounts are whole numbers of the smallest unit of money."""

MAX_GREETING: Final = 120
"""Characters."""

UNSENT: Final = Seq(0)
"""Where the message of a packet stands that has none yet."""


@dataclass(frozen=True, slots=True)
class PacketLimits:
    """Deploy parameters."""

    shares: int
    """Of one packet."""
    amount: int
    """In one packet."""
    life_ms: int
    """How long a packet may be claimed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a packet is from its creation on."""

    packet: PacketId
    conv: ConvId
    sender: UserId
    kind: Kind
    total: int
    count: int
    to: UserId | None
    """The one who may claim it; None for every member."""
    greeting: str
    cmid: Cmid
    created: int
    """When its sender asked for it, milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it is now."""

    terms: Terms
    state: State
    seq: Seq = UNSENT
    """Where its message stands."""
    opened: int = 0
    """When its message was accepted, milliseconds since the epoch."""
    expires: int = 0
    """From when on nobody can claim it any more."""
    claimers: tuple[UserId, ...] = ()
    """Who has claimed, in order: each has the share of that number."""
    times: tuple[int, ...] = ()
    """When, milliseconds since it was opened."""

    @property
    def sold_out(self) -> bool:
        """Whether nothing is left of it."""
        return len(self.claimers) >= self.terms.count

    def over(self, now: int) -> bool:
        """Whether nobody can claim it any more."""
        return self.sold_out or self.state == "closed" or now >= self.expires

    def place_of(self, user: UserId) -> int | None:
        """Which share a user has claimed, from 0."""
        return self.claimers.index(user) if user in self.claimers else None


def check_split(kind: Kind, total: int, count: int) -> None:
    """That so much money can be split like this. Raises BadRequest."""
    if kind == "direct" and count != 1:
        raise BadRequest("data.count", "a direct packet has one share")
    if count < 1:
        raise BadRequest("data.count", "at least 1 share")
    if total < count * MIN_SHARE:
        raise BadRequest("data.total", "at least 1 a share")
    if kind == "equal" and total % count:
        raise BadRequest("data.total", "not the same amount for each share")


def check_limits(total: int, count: int, limits: PacketLimits) -> None:
    """That a deployment allows so large a packet. Raises BadRequest."""
    if count > limits.shares:
        raise BadRequest("data.count", f"1 to {limits.shares} shares")
    if total > limits.amount:
        raise BadRequest(
            "data.total", f"at most {limits.amount}" if limits.amount else "no red packets can be made now"
        )


def split(kind: Kind, total: int, count: int, below: Below) -> tuple[int, ...]:
    """The shares of a packet, each at least MIN_SHARE, in the order of the claims; their sum is `total`.

    Those of a lucky packet are drawn by the double-mean method and then shuffled: any order of them is as likely as any
    other. So each place has the same distribution, and not only the same mean. And whatever the places before it have
    shown, those still to come are alike, the mean of what is left being the mean of each.
    """
    if kind != "lucky":
        return (total // count,) * count
    return shuffled(double_mean(total, count, below), below)


def double_mean(total: int, count: int, below: Below) -> list[int]:
    """Shares in the order in which they are drawn, which is not fair yet: all have the same mean, and later ones vary
    more.

    Each share is uniform in 1 … 2m - 1, m being the mean of what is left, and the last one is the rest. Where 2m - 1 is
    no whole number, the bound is one of the two next to it, as often as makes m the mean exactly. Neither leaves less
    than 1 for each of the others: with `still` shares to come and `still` + e left, the bound is at most 1 + e.
    """
    shares = []
    left = total
    for still in range(count, 1, -1):
        bound, odd = divmod(2 * left, still)
        if below(still) >= odd:
            bound -= 1
        share = 1 + below(bound)
        shares.append(share)
        left -= share
    shares.append(left)
    return shares


def shuffled(shares: Sequence[int], below: Below) -> tuple[int, ...]:
    """The same shares in any order, each order as likely as the others (Fisher and Yates)."""
    out = list(shares)
    for last in range(len(out) - 1, 0, -1):
        other = below(last + 1)
        out[last], out[other] = out[other], out[last]
    return tuple(out)


def best_luck(shares: Sequence[int]) -> int:
    """The place of the largest of the claimed shares, the first of them."""
    return max(range(len(shares)), key=lambda i: (shares[i], -i))


def packet_id(conv: ConvId, sender: UserId, cmid: Cmid) -> PacketId:
    """The id of what a sender asks for with a `cmid`: asked for twice, it is one packet."""
    digest = hashlib.sha256(f"{conv}#{sender}#{cmid}".encode()).digest()
    return PacketId("rp" + base64.b32encode(digest).decode()[:26].lower())
