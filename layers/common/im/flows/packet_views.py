"""What users see of red packets and of their own money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from im.domain.conversation import Group, parse_conversation
from im.domain.errors import NotFound
from im.domain.group import visible
from im.domain.ids import UserId
from im.domain.red_packet import Packet, PacketId, best_luck
from im.flows.access import require_visible
from im.flows.claims import Claims
from im.flows.ports import Caller, Clock
from im.store.groups import GroupStore
from im.store.packets import PacketStore
from im.store.wallets import Posting
from im.wire.entries import fitting
from im.wire.requests import LedgerPage, OwnPackets, PacketPage


class Wallet(Protocol):
    """Where users' money is, if it is here."""

    def balance(self, user: UserId) -> int:
        """What a user has."""

    def postings(self, user: UserId, before: str | None, limit: int) -> tuple[list[Posting], str | None]:
        """A page of what has moved it, the newest first, and where the next one begins."""


@dataclass(frozen=True, slots=True)
class PacketViews:
    """The use cases of redpacket.detail, mine, wallet and ledger."""

    packets: PacketStore
    groups: GroupStore
    claims: Claims
    wallet: Wallet | None
    """None where an external payment system keeps it."""
    clock: Clock

    def detail(self, caller: Caller, request: PacketPage) -> Mapping[str, Any]:
        """A packet as it is now, its claims in pages. 1 R a 4 KiB of it, 1 R for its shares, 1 R in a group.

        Never what is unclaimed, nor what would tell it: as long as somebody can claim a share of a lucky packet, they
        are not told what others have got. Raises NotFound, NotMember.
        """
        name, user = PacketId(request.packet), caller.user
        packet = self.packets.packet(name)
        if packet is None or not packet.seq:
            raise NotFound(f"red packet {name}")
        conversation = parse_conversation(packet.terms.conv, "conv")
        spans = require_visible(self.groups, conversation, user)
        if not visible(spans, packet.seq):
            raise NotFound(f"red packet {name}")
        now = self.clock()
        terms, place, over = packet.terms, packet.place_of(user), packet.over(now)
        shares = self.claims.shares_of(name)
        tells = over or place is not None or terms.kind != "lucky"
        first = int(request.cursor) if request.cursor is not None else 0
        last = min(first + request.limit, len(packet.claimers))
        claims: list[dict[str, Any]] = [
            {"user": packet.claimers[i], "ts": packet.opened + packet.times[i]}
            | ({"amount": shares[i]} if tells else {})
            for i in range(first, last)
        ]
        out: dict[str, Any] = {
            "packet": name,
            "conv": terms.conv,
            "seq": packet.seq,
            "from": terms.sender,
            "kind": terms.kind,
            "greeting": terms.greeting,
            "total": terms.total,
            "count": terms.count,
            "state": state_of(packet, now),
            "created": packet.opened,
            "expires": packet.expires,
            "claimed": len(packet.claimers),
            "claims": claims,
        }
        if terms.to is not None and isinstance(conversation, Group):
            out["to"] = terms.to
        if place is not None:
            out["amount"] = shares[place]
        if over and not packet.sold_out:
            out["refunded"] = sum(shares[len(packet.claimers) :])
        if over and (best := best_of(packet, shares)) is not None:
            out["best"] = best
        if last < len(packet.claimers):
            out["cursor"] = str(last)
        return out

    def mine(self, caller: Caller, request: OwnPackets) -> Mapping[str, Any]:
        """What the caller has sent or received, the newest first. ½ R a page, ½ R a packet. Settlement notes it, so it
        comes some moments after the message or the claim."""
        found, cursor = self.packets.of_user(request.which, caller.user, request.cursor, request.limit)
        packets = self.packets.packets([reference.packet for reference in found])
        found = [reference for reference in found if reference.packet in packets]
        now = self.clock()
        out: list[dict[str, Any]] = []
        for reference in found:
            packet = packets[reference.packet]
            terms = packet.terms
            about = {
                "packet": terms.packet,
                "conv": terms.conv,
                "seq": packet.seq,
                "kind": terms.kind,
                "greeting": terms.greeting,
            }
            if request.which == "sent":
                counts = {"total": terms.total, "count": terms.count, "claimed": len(packet.claimers)}
                out.append(about | counts | {"state": state_of(packet, now), "created": reference.ts})
            else:
                out.append(about | {"from": terms.sender, "amount": reference.amount, "ts": reference.ts})
        page = fitting(out)
        if len(page) < len(out):
            cursor = found[len(page) - 1].cursor
        return {"packets": page} | ({"cursor": cursor} if cursor is not None else {})

    def balance(self, caller: Caller) -> Mapping[str, Any]:
        """What the caller has. 1 R."""
        return {"balance": self._wallet().balance(caller.user)}

    def ledger(self, caller: Caller, request: LedgerPage) -> Mapping[str, Any]:
        """What has moved the caller's money, the newest first. 1 R a 4 KiB."""
        found, cursor = self._wallet().postings(caller.user, request.cursor, request.limit)
        postings = [
            {"id": line.id, "ts": line.ts, "amount": line.amount, "kind": line.kind}
            | ({"packet": line.packet} if line.packet is not None else {})
            for line in found
        ]
        return {"postings": postings} | ({"cursor": cursor} if cursor is not None else {})

    def _wallet(self) -> Wallet:
        if self.wallet is None:
            raise NotFound("a wallet: the payment system keeps it")
        return self.wallet


def state_of(packet: Packet, now: int) -> str:
    """What has become of an open packet, as clients call it."""
    if packet.sold_out:
        return "finished"
    return "expired" if packet.over(now) else "open"


def best_of(packet: Packet, shares: tuple[int, ...]) -> UserId | None:
    """Who had most of a lucky packet that is over."""
    if packet.terms.kind != "lucky" or not packet.claimers:
        return None
    return packet.claimers[best_luck(shares[: len(packet.claimers)])]
