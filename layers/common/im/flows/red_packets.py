"""A red packet is made: its money is held, then its message stands in the log.

Three steps, each of which can be repeated, and none of which can be undone by a crash: the packet is stored as *new*,
its money is taken, its message is published, which opens it. One that stays new, because whoever made it died or was
refused, is given up (flows/expire.py), and its money goes back (flows/settle.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from im.domain.conversation import Direct, Group, parse_conversation
from im.domain.entries import Draft, Entry
from im.domain.errors import BadRequest, Conflict, ImError, InsufficientFunds, NotFound, Unavailable
from im.domain.group_rules import check_may_send
from im.domain.ids import Cmid, Seq, UserId
from im.domain.red_packet import Below, Packet, PacketLimits, Terms, check_limits, check_split, packet_id, split
from im.flows.access import require_party
from im.flows.admission import Admissions
from im.flows.crowds import DEADLINE_MS, require_time, wait_s
from im.flows.payments import Payments
from im.flows.ports import Caller, Clock, Queue
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore
from im.store.packets import PacketStore
from im.wire.frames import dumps
from im.wire.requests import PacketCreate

NEW_LIFE_MS: Final = 5 * 60_000
"""How long a packet may stay new. Longer than its sender's client repeats the request."""

PUSHY: Final = 20
"""Tries that go straight to the next place in the log: the money is held already."""


@dataclass(frozen=True, slots=True)
class RedPackets:
    """The use case of redpacket.create."""

    log: ConversationStore
    groups: GroupStore
    packets: PacketStore
    admissions: Admissions
    payments: Payments
    queue: Queue
    clock: Clock
    limits: PacketLimits
    below: Below
    """A secure source of randomness: what is drawn here is money."""
    pause: Callable[[float], None] = time.sleep
    """Waits for so many seconds."""

    def create(self, caller: Caller, request: PacketCreate) -> Mapping[str, Any]:
        """Make a red packet of the caller's money and send it.

        2 R and ½ R, 4 W for the packet, 8 W for its money, 8 W for its message, 1 queue request; 4 R more for somebody
        who is new to this function in this state of a group. A repeat goes on where the first try has ended.
        """
        conversation = parse_conversation(request.conv)
        require_party(conversation, caller.user)
        terms = self._terms(caller.user, conversation, request)
        packet = self.packets.packet(terms.packet)
        if packet is None:
            check_limits(terms.total, terms.count, self.limits)
            self._admit(conversation, terms, self.log.tail(conversation.conv).epoch)
            packet = self._begun(terms)
        if packet is not None:
            _require_same(terms, packet.terms)
            if packet.state != "new":
                return self._repeated(caller, packet)
        self.payments.hold(terms.packet, terms.sender, terms.total)
        return self._publish(caller, conversation, terms)

    def _begun(self, terms: Terms) -> Packet | None:
        """Store a packet of money that its sender has; the one that is there, when a repeat of the request was faster.
        Raises InsufficientFunds."""
        try:
            self.payments.check(terms.sender, terms.total)
        except InsufficientFunds:
            # Perhaps for the very reason that the same request, on another device, has just taken it.
            packet = self.packets.packet(terms.packet)
            if packet is None:
                raise
            return packet
        shares = split(terms.kind, terms.total, terms.count, self.below)
        begun = self.packets.begin(terms, shares, terms.created + NEW_LIFE_MS)
        return None if begun else self._stored(terms)

    def _terms(self, sender: UserId, conversation: Direct | Group, request: PacketCreate) -> Terms:
        to = UserId(request.to) if request.to is not None else None
        if isinstance(conversation, Direct):
            if request.kind != "direct":
                raise BadRequest("data.kind", "a direct conversation has direct red packets")
            peer = conversation.other(sender)
            if to not in {None, peer}:
                raise BadRequest("data.to", "no part of this conversation")
            to = peer
        elif (to is None) == (request.kind == "direct"):
            raise BadRequest("data.to", "a direct red packet needs one, others have none")
        if to == sender:
            raise BadRequest("data.to", "a red packet for oneself")
        count = request.count if request.count is not None else 1
        if request.count is None and request.kind != "direct":
            raise BadRequest("data.count", "missing")
        check_split(request.kind, request.total, count)
        cmid = Cmid(request.cmid)
        return Terms(
            packet=packet_id(conversation.conv, sender, cmid),
            conv=conversation.conv,
            sender=sender,
            kind=request.kind,
            total=request.total,
            count=count,
            to=to,
            greeting=request.greeting,
            cmid=cmid,
            created=self.clock(),
        )

    def _admit(self, conversation: Direct | Group, terms: Terms, epoch: Seq) -> None:
        """That the packet may be sent in that state of its conversation. Raises what refuses it."""
        if isinstance(conversation, Direct):
            return
        head, member = self.admissions.at(conversation.conv, terms.sender, epoch)
        check_may_send(head, member, (), self.clock())
        if terms.to is not None and not self.groups.is_in(conversation.conv, terms.to):
            raise NotFound(f"{terms.to} is no member")

    def _publish(self, caller: Caller, conversation: Direct | Group, terms: Terms) -> Mapping[str, Any]:
        body: dict[str, Any] = {"packet": terms.packet, "kind": terms.kind, "greeting": terms.greeting}
        if terms.to is not None and isinstance(conversation, Group):
            body["to"] = terms.to
        draft = Draft(terms.conv, "redpacket", terms.sender, dumps(body), terms.cmid)
        deadline = self.clock() + DEADLINE_MS
        tail = self.log.tail(terms.conv)
        admitted: Seq | None = None
        attempt = 0
        while True:
            if tail.epoch != admitted:
                try:
                    self._admit(conversation, terms, tail.epoch)
                except Unavailable:
                    raise
                except ImError as refusal:
                    return self._given_up(caller, terms, refusal)
                admitted = tail.epoch
            now = self.clock()
            entry = draft.following(tail, now)
            expires = now + self.limits.life_ms
            done = self.packets.publish(terms, entry, self.log.table, expires)
            if done.done:
                self.queue.put(entry, caller.connection)
                return _sent(terms, entry, expires, duplicate=False)
            if done.not_new or done.cmid_known:
                return self._as_stored(caller, terms, cmid_known=done.cmid_known)
            require_time(self.clock(), deadline)
            attempt += 1
            if attempt > PUSHY:
                self.pause(wait_s(attempt - PUSHY))
            tail = self.log.tail(terms.conv, consistent=True)

    def _given_up(self, caller: Caller, terms: Terms, refusal: ImError) -> Mapping[str, Any]:
        """What is to be answered when a packet whose money is held may not be sent: it is cancelled, and its money goes
        back. Raises `refusal`, unless a repeat of the request was faster."""
        if not self.packets.cancel(terms.packet, self.clock()):
            packet = self._stored(terms)
            if packet.seq:
                return self._repeated(caller, packet)
        raise refusal

    def _as_stored(self, caller: Caller, terms: Terms, *, cmid_known: bool) -> Mapping[str, Any]:
        packet = self._stored(terms)
        if packet.state == "new" and cmid_known:
            if self.packets.cancel(terms.packet, self.clock()):
                raise Conflict("this cmid is another message's")
            packet = self._stored(terms)  # somebody else has published or given it up at this moment
        return self._repeated(caller, packet)

    def _stored(self, terms: Terms) -> Packet:
        packet = self.packets.packet(terms.packet)
        if packet is None:
            raise Unavailable("this red packet is being stored", 200)
        return packet

    def _repeated(self, caller: Caller, packet: Packet) -> Mapping[str, Any]:
        """The answer to a request that was made before. Its message is queued again: perhaps its function died."""
        if not packet.seq:
            raise Conflict("this red packet was given up: use another cmid")
        entry = self.log.entry(packet.terms.conv, packet.seq)
        if entry is None:
            raise RuntimeError("the message of an open red packet is not there")
        self.queue.put(entry, caller.connection)
        return _sent(packet.terms, entry, packet.expires, duplicate=True)


def _require_same(asked: Terms, stored: Terms) -> None:
    """That a `cmid` is used for one red packet. Raises Conflict."""
    for name in ("kind", "total", "count", "to", "greeting"):
        if getattr(asked, name) != getattr(stored, name):
            raise Conflict(f"this cmid is that of a red packet with another {name}")


def _sent(terms: Terms, entry: Entry, expires: int, *, duplicate: bool) -> Mapping[str, Any]:
    return {
        "packet": terms.packet,
        "conv": entry.conv,
        "seq": entry.seq,
        "n": entry.n,
        "ts": entry.ts,
        "expires": expires,
        "duplicate": duplicate,
    }
