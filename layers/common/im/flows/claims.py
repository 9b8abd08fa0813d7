"""A red packet is claimed: one write decides, and those who come too late cost none.

Nothing here moves money: what the packet says after a claim is what settlement pays (flows/settle.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from im.domain.conversation import Direct, parse_conversation
from im.domain.errors import AlreadyClaimed, Expired, Forbidden, ImError, NotFound, NotMember, SoldOut, Unavailable
from im.domain.ids import UserId
from im.domain.red_packet import Packet, PacketId
from im.flows.access import require_party
from im.flows.ports import Caller, Clock
from im.store.groups import GroupStore
from im.store.packets import Claimed, PacketStore
from im.wire.requests import PacketName

MAX_KNOWN: Final = 200
"""Packets kept in memory a function instance: up to 40 KiB each, when 500 have claimed."""


class KnownPackets:
    """What this function instance knows of packets: the terms of each, and how it has ended. Safe between threads.

    What is kept of a packet is as old as its reading, but for the claims this makes no difference: terms never change,
    and a packet that is sold out or closed stays so.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[PacketId, Packet] = OrderedDict()
        self._shares: OrderedDict[PacketId, tuple[int, ...]] = OrderedDict()
        self._lock = Lock()

    def packet(self, packet: PacketId) -> Packet | None:
        """A packet as it was once."""
        with self._lock:
            return self._known.get(packet)

    def shares(self, packet: PacketId) -> tuple[int, ...] | None:
        """The shares of a packet."""
        with self._lock:
            return self._shares.get(packet)

    def keep(self, packet: Packet) -> None:
        """Remember a packet that has its message."""
        with self._lock:
            _keep(self._known, packet.terms.packet, packet)

    def keep_shares(self, packet: PacketId, shares: tuple[int, ...]) -> None:
        """Remember the shares of a packet."""
        with self._lock:
            _keep(self._shares, packet, shares)


def _keep(known: OrderedDict[PacketId, Any], packet: PacketId, value: object) -> None:
    known[packet] = value
    known.move_to_end(packet)
    while len(known) > MAX_KNOWN:
        known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """The use case of redpacket.claim."""

    packets: PacketStore
    groups: GroupStore
    clock: Clock
    known: KnownPackets = field(default_factory=KnownPackets)

    def claim(self, caller: Caller, request: PacketName) -> Mapping[str, Any]:
        """Claim a share of a packet for the caller.

        2 R for the caller's membership in a group, 1 W a KiB of the packet; 1 R more for a packet, and for its shares,
        that this function instance does not know. No W once it knows that the packet is sold out or closed.

        Raises AlreadyClaimed with the amount for a repeat, SoldOut, Expired; NotFound, NotMember, and Forbidden for
        those whom it is not for.
        """
        name, user = PacketId(request.packet), caller.user
        packet = self.known.packet(name) or self._read(name)
        self._require_invited(packet, user)
        if packet.sold_out or packet.state == "closed":
            raise self._why_not(packet, user)
        now = self.clock()
        if now >= packet.expires:
            raise self._why_not(self._read(name), user)
        outcome = self.packets.claim(name, packet.terms.count, user, packet.opened, now)
        self.known.keep(outcome.packet)
        place = outcome.place if isinstance(outcome, Claimed) else outcome.packet.place_of(user)
        if place is None or (not isinstance(outcome, Claimed) and outcome.packet.times[place] != now - packet.opened):
            raise self._why_not(outcome.packet, user)
        # Refused, though it bears the time of this very request: its answer was lost, and boto3 has made it again.
        return {"packet": name, "amount": self.shares_of(name)[place]}

    def shares_of(self, packet: PacketId) -> tuple[int, ...]:
        """The shares of a packet. 1 R when not known."""
        shares = self.known.shares(packet)
        if shares is None:
            shares = self.packets.shares(packet)
            self.known.keep_shares(packet, shares)
        return shares

    def _read(self, name: PacketId) -> Packet:
        packet = self.packets.packet(name)
        if packet is None or not packet.seq:
            raise NotFound(f"red packet {name}")
        self.known.keep(packet)
        return packet

    def _require_invited(self, packet: Packet, user: UserId) -> None:
        """That a user may claim the packet if anything is left: they are in the group since before it was sent."""
        terms = packet.terms
        conversation = parse_conversation(terms.conv, "conv")
        require_party(conversation, user)
        if not isinstance(conversation, Direct):
            member = self.groups.member_yet(terms.conv, user)
            if member is None:
                raise NotMember(terms.conv)
            if member.joined_seq > packet.seq:
                raise Forbidden("the caller has come to the group after it was sent")
        if terms.to not in {None, user}:
            raise Forbidden("it is for somebody else")

    def _why_not(self, packet: Packet, user: UserId) -> ImError:
        name = packet.terms.packet
        place = packet.place_of(user)
        if place is not None:
            return AlreadyClaimed(name, self.shares_of(name)[place])
        if packet.sold_out:
            return SoldOut(name)
        if packet.over(self.clock()):
            return Expired("its time is over")
        return Unavailable("the red packet was not read as it is now", 200)
