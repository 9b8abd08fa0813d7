"""The money of red packets follows their state: paid, given back, told.

What a packet says is the outbox. The stream of its table brings every change of it; each is settled up to what it says.
All of it can be repeated: each movement of money has a name, and the payment system makes it once. A packet that
cannot be settled goes to a queue of its own, so that no other waits for it, and is settled there from the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from im.aws.failures import may_pass
from im.domain.errors import Unavailable
from im.domain.ids import UserId
from im.domain.red_packet import Packet, PacketId
from im.flows.packet_views import best_of
from im.flows.payments import Payments
from im.flows.ports import Clock, Pusher
from im.flows.push_to import push_to_users
from im.store.connections import ConnectionStore
from im.store.packets import PacketStore, Reference
from im.wire.frames import encode_push

log = logging.getLogger("im")

PUSH: Final = "redpacket"


@dataclass(frozen=True, slots=True)
class PacketChange:
    """A packet before and after some writes."""

    before: Packet
    after: Packet


class PacketQueue(Protocol):
    """Takes packets that are to be settled from the tables."""

    def put(self, packet: PacketId, what: str) -> None:
        """Queue a packet; returns once it is safe there."""


class NoSuchPacket(Exception):
    """A queue message of another time: a human must look at it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement has moved, some of it perhaps before."""

    paid: int = 0
    refunded: int = 0
    released: int = 0

    def __add__(self, other: Settled) -> Settled:
        return Settled(self.paid + other.paid, self.refunded + other.refunded, self.released + other.released)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The use cases of the stream of red packets, and of the queue of those that failed."""

    packets: PacketStore
    payments: Payments
    queue: PacketQueue
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    threads: Executor
    """Settle packets."""
    push_threads: Executor
    """Push. Others than those that wait for it."""

    def follow(self, changes: Sequence[PacketChange], deadline: int) -> Mapping[str, Any]:
        """Settle what `changes` say, in their order; packets side by side. Each claim costs what `Payments.pay` does,
        1 W for the note, ½ R a user and 1 push a connection of the sender and the claimer.

        What fails, or is not begun before `deadline` in milliseconds since the epoch, is queued. Raises when it cannot
        be queued: Lambda then brings the records again.
        """
        spans: dict[PacketId, PacketChange] = {}
        for change in changes:
            name = change.after.terms.packet
            before = spans[name].before if name in spans else change.before
            spans[name] = PacketChange(before, change.after)
        outcomes = list(self.threads.map(lambda change: self._try(change, deadline), spans.values()))
        done = sum((outcome for outcome in outcomes if outcome is not None), Settled())
        return {
            "packets": len(spans),
            "paid": done.paid,
            "refunded": done.refunded,
            "released": done.released,
            "queued": outcomes.count(None),
        }

    def settle(self, name: PacketId, deadline: int) -> Settled:
        """Settle a packet from the tables, all that is not noted as paid. 1 R a claim, then as `follow`.

        Raises what fails, Unavailable when `deadline` comes first, and NoSuchPacket. What was paid until then is noted:
        the next try goes on from there.
        """
        packet = self.packets.packet(name)
        if packet is None:
            raise NoSuchPacket(name)
        done = self._move(packet, 0, deadline, paid=self.packets.noted(packet))
        if packet.state == "closed":
            self._tell(packet, len(packet.claimers))
        return done

    def _try(self, change: PacketChange, deadline: int) -> Settled | None:
        after = change.after
        settled = None
        try:
            if self.clock() < deadline:
                settled = self._settled(change, deadline)
        except Exception:  # whatever it is, no other packet waits for it
            log.exception("a red packet was not settled", extra={"packet": after.terms.packet})
        if settled is None:
            self.queue.put(after.terms.packet, f"{after.state}:{len(after.claimers)}")
        if (after.state == "open" or settled is not None) and self.clock() < deadline:
            self._tell(after, len(change.before.claimers))
        return settled

    def _settled(self, change: PacketChange, deadline: int) -> Settled:
        """Settle what has come between; of a packet that has ended all, whatever was missed before: nothing comes after
        its last record. 1 R more a claim then."""
        after = change.after
        if after.state == "closed":
            return self._move(after, 0, deadline, paid=self.packets.noted(after))
        since = len(change.before.claimers)
        return self._move(after, since, deadline, was_new=change.before.state == "new")

    def _move(
        self,
        packet: Packet,
        since: int,
        deadline: int,
        *,
        was_new: bool = True,
        paid: Collection[UserId] = (),
    ) -> Settled:
        """Make all movements of a packet from the share `since` on, but those to users who are `paid`.

        A share that nothing can pay, because the payment system will not have that user, keeps nobody else's waiting:
        what it fails with is raised when all others are paid, and the rest is given back.
        """
        terms = packet.terms
        if packet.state == "cancelled":
            self.payments.release(terms.packet, terms.sender, terms.total)
            return Settled(released=1)
        if packet.state == "new":
            return Settled()
        if was_new:
            self.packets.note("sent", terms.sender, Reference(terms.packet, packet.opened, terms.total))
        if packet.state == "open" and since >= len(packet.claimers):
            return Settled()
        shares = self.packets.shares(terms.packet)
        unpaid = [i for i in range(since, len(packet.claimers)) if packet.claimers[i] not in paid]
        failed: Exception | None = None
        for i in unpaid:
            if self.clock() > deadline:
                raise Unavailable("the settlement of a red packet goes on later", 1000)
            try:
                self._pay(packet, i, shares[i])
            except Exception as e:
                if may_pass(e):
                    raise
                log.exception("a share cannot be paid", extra={"packet": terms.packet, "share": i})
                failed = e
        rest = sum(shares[len(packet.claimers) :])
        refunds = packet.state == "closed" and rest > 0
        if refunds:
            self.payments.refund(terms.packet, terms.sender, rest)
        if failed is not None:
            raise failed
        return Settled(len(unpaid), refunded=int(refunds))

    def _pay(self, packet: Packet, place: int, amount: int) -> None:
        user = packet.claimers[place]
        self.payments.pay(packet.terms.packet, place, user, amount)
        at = packet.opened + packet.times[place]
        self.packets.note("received", user, Reference(packet.terms.packet, at, amount))

    def _tell(self, packet: Packet, since: int) -> None:
        """Push what has happened to those whom it concerns. A courtesy: it never raises, and may come twice."""
        try:
            frames = self._frames(packet, since)
        except Exception:
            log.exception("nobody is told", extra={"packet": packet.terms.packet})
            return
        if frames:
            push_to_users(self.pusher, self.connections, frames, self.clock(), skip=None, threads=self.push_threads)

    def _frames(self, packet: Packet, since: int) -> dict[UserId, list[str]]:
        terms = packet.terms
        about = {"packet": terms.packet, "conv": terms.conv, "seq": packet.seq}
        frames: dict[UserId, list[str]] = {}

        def tell(user: UserId, event: str, data: Mapping[str, Any]) -> None:
            frames.setdefault(user, []).append(encode_push(PUSH, {**about, "event": event, **data}))

        if packet.state not in {"open", "closed"}:
            return frames
        shares: tuple[int, ...] = ()
        if since < len(packet.claimers) or packet.state == "closed":
            shares = self.packets.shares(terms.packet)
        for i in range(since, len(packet.claimers)):
            user = packet.claimers[i]
            data = {"user": user, "claimed": i + 1, "count": terms.count}
            if user != terms.sender:
                tell(terms.sender, "claimed", data)
            tell(user, "claimed", data | {"amount": shares[i]})
        if packet.sold_out and since < terms.count:
            best = best_of(packet, shares)
            finished = {"count": terms.count} | ({"best": best} if best is not None else {})
            for user in dict.fromkeys([terms.sender, *packet.claimers]):
                tell(user, "finished", finished)
        rest = sum(shares[len(packet.claimers) :])
        if packet.state == "closed" and rest:
            tell(terms.sender, "refunded", {"amount": rest})
        return frames
