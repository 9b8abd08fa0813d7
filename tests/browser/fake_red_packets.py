"""Red packets for the chat page's tests: the route `redpacket` on top of the backend in this process.

Money moves at once, nothing expires by itself, and how a lucky packet is split is what a test has said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.browser.fake_backend import Data, FakeBackend, Log, RefusedError, Socket, now_ms, reply_of

OPENING_BALANCE = 100_00


@dataclass
class Packet:
    """A red packet. `shares` has the amounts in the order of the claims."""

    packet: str
    conv: str
    seq: int
    sender: str
    kind: str
    greeting: str
    to: str | None
    total: int
    shares: list[int]
    created: int
    expired: bool = False
    claims: list[tuple[str, int]] = field(default_factory=list)
    """Who claimed, and when."""

    @property
    def state(self) -> str:
        return "finished" if len(self.claims) == len(self.shares) else "expired" if self.expired else "open"

    @property
    def left(self) -> int:
        return sum(self.shares[len(self.claims) :])

    @property
    def best(self) -> str:
        taken = self.shares[: len(self.claims)]
        return self.claims[taken.index(max(taken))][0]

    def amount_of(self, user: str) -> int | None:
        places = [place for place, (who, _) in enumerate(self.claims) if who == user]
        return self.shares[places[0]] if places else None

    def may_claim(self, user: str) -> bool:
        """Whether the user still may, so that what others got is none of their business yet."""
        mine = self.to in {None, user} and not (self.kind == "direct" and user == self.sender)
        return mine and self.amount_of(user) is None and self.state == "open"


class RedPacketBackend(FakeBackend):
    """`page_size` cuts pages shorter than they are asked for; `has_wallet` is off where others keep the money."""

    def __init__(self, users: dict[str, str]) -> None:
        super().__init__(users)
        self.page_size = 100
        self.has_wallet = True
        self._packets: dict[str, Packet] = {}
        self._postings: dict[str, list[Data]] = {}
        self._next_shares: list[int] = []
        self._losing_packet_pushes = False
        self._operations |= {
            "redpacket.create": self._create_packet,
            "redpacket.claim": self._claim,
            "redpacket.detail": self._detail,
            "redpacket.mine": self._mine,
            "redpacket.wallet": self._wallet,
            "redpacket.ledger": self._ledger,
        }

    # --- what a test may do ---------------------------------------------------------------------------------------

    def split_next(self, *shares: int) -> None:
        """How the next lucky packet is split, in the order of the claims."""
        self._run(lambda: self._next_shares.extend(shares))

    def send_packet(self, conv: str, sender: str, kind: str, total: int, **more: Any) -> str:
        """Sends a packet as another device of the sender would, and returns its id."""
        data = {"conv": conv, "cmid": f"cmid-{len(self._packets)}", "kind": kind, "total": total, **more}
        return str(self.act(sender, "redpacket.create", data)["packet"])

    def claim(self, packet: str, *users: str) -> None:
        """Others claim, one after the other."""
        for user in users:
            self.act(user, "redpacket.claim", {"packet": packet})

    def expire(self, packet: str) -> None:
        """The time of a packet is over: what is left goes back."""

        async def expire() -> None:
            it = self._packets[packet]
            refunded = it.left
            it.expired = True
            self._book(it.sender, refunded, "refund", packet)
            await self._push_packet(it, {it.sender}, "refunded", amount=refunded)

        self._call(expire())

    def lose_packet_pushes(self, *, lose: bool) -> None:
        """While on, nobody hears what happens to packets."""

        def switch() -> None:
            self._losing_packet_pushes = lose

        self._run(switch)

    def balance(self, user: str) -> int:
        """What the user's wallet holds."""
        return self._run(lambda: sum(int(posting["amount"]) for posting in self._ledger_of(user)))

    def packets_in(self, conv: str) -> list[Packet]:
        """The packets of a conversation, the first one first."""
        return self._run(lambda: [packet for packet in self._packets.values() if packet.conv == conv])

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def _create_packet(self, socket: Socket, data: Data) -> Data:
        conv, cmid, user = data["conv"], data["cmid"], socket.user
        key = (user, conv, cmid)
        known = next((packet for packet in self._packets.values() if packet.packet == f"rp-{user}-{cmid}"), None)
        if known is not None:
            return self._created(known, self._by_cmid[key], duplicate=True)
        if key in self._by_cmid:
            raise RefusedError("conflict")
        count, total, to = data.get("count", 1), data["total"], data.get("to")
        members = conv.split(":")[1:] if conv.startswith("d:") else self._log_for(user, conv).members
        if not _is_sound(conv, data):
            raise RefusedError("bad_request")
        if to is not None and to not in members:
            raise RefusedError("not_found")
        if sum(posting["amount"] for posting in self._ledger_of(user)) < total:
            raise RefusedError("insufficient_funds")
        packet = f"rp-{user}-{cmid}"
        self._book(user, -total, "sent", packet)
        body = {"packet": packet, "kind": data["kind"], "greeting": data.get("greeting", "")}
        body |= {"to": to} if to and conv.startswith("g:") else {}
        entry = self._append(conv, user, "redpacket", body, cmid=cmid)
        self._by_cmid[key] = entry
        shares = self._split(data["kind"], total, count)
        made = Packet(packet, conv, entry["seq"], user, data["kind"], body["greeting"], to, total, shares, entry["ts"])
        self._packets[packet] = made
        await self._fan_out(conv, [entry], but=socket)
        return self._created(made, entry, duplicate=False)

    @staticmethod
    def _created(packet: Packet, entry: Data, *, duplicate: bool) -> Data:
        return {"packet": packet.packet, "expires": packet.created + 86_400_000, **reply_of(entry, duplicate=duplicate)}

    def _split(self, kind: str, total: int, count: int) -> list[int]:
        if kind == "lucky" and self._next_shares:
            shares, self._next_shares = self._next_shares[:count], []
            assert sum(shares) == total
            return shares
        return [total // count + (place < total % count) for place in range(count)]

    async def _claim(self, socket: Socket, data: Data) -> Data:
        packet, user = self._packet_for(socket.user, data["packet"]), socket.user
        before = packet.amount_of(user)
        if before is not None:
            raise RefusedError("already_claimed", amount=before)
        if packet.state == "finished":
            raise RefusedError("sold_out")
        if packet.state == "expired":
            raise RefusedError("expired")
        if not packet.may_claim(user) or packet.seq < self._first_seen(packet.conv, user):
            raise RefusedError("forbidden")
        packet.claims.append((user, now_ms()))
        amount = packet.shares[len(packet.claims) - 1]
        self._book(user, amount, "received", packet.packet)
        facts = {"user": user, "claimed": len(packet.claims), "count": len(packet.shares)}
        await self._push_packet(packet, {user}, "claimed", **facts, amount=amount)
        await self._push_packet(packet, {packet.sender} - {user}, "claimed", **facts)
        if packet.state == "finished":
            best = {"best": packet.best} if packet.kind == "lucky" else {}
            told = {packet.sender, *(who for who, _ in packet.claims)}
            await self._push_packet(packet, told, "finished", count=len(packet.shares), **best)
        return {"packet": packet.packet, "amount": amount}

    async def _detail(self, socket: Socket, data: Data) -> Data:
        packet, user = self._packet_for(socket.user, data["packet"]), socket.user
        shown = not packet.may_claim(user) or packet.kind != "lucky"
        claims: list[Data] = [
            {"user": who, "ts": ts, **({"amount": packet.shares[place]} if shown else {})}
            for place, (who, ts) in enumerate(packet.claims)
        ]
        reply = {
            "packet": packet.packet,
            "conv": packet.conv,
            "seq": packet.seq,
            "from": packet.sender,
            "kind": packet.kind,
            "greeting": packet.greeting,
            "total": packet.total,
            "count": len(packet.shares),
            "state": packet.state,
            "created": packet.created,
            "expires": packet.created + 86_400_000,
            "claimed": len(packet.claims),
        }
        reply |= {"to": packet.to} if packet.to else {}
        reply |= {"amount": packet.amount_of(user)} if packet.amount_of(user) is not None else {}
        reply |= {"refunded": packet.left} if packet.state == "expired" else {}
        reply |= {"best": packet.best} if packet.kind == "lucky" and packet.state != "open" and packet.claims else {}
        return reply | self._page("claims", claims, data)

    async def _mine(self, socket: Socket, data: Data) -> Data:
        found: list[Data] = []
        for packet in self._packets.values():
            amount = packet.amount_of(socket.user)
            shared = {"packet": packet.packet, "conv": packet.conv, "seq": packet.seq, "kind": packet.kind}
            shared |= {"greeting": packet.greeting}
            if data["which"] == "sent" and packet.sender == socket.user:
                done = {"count": len(packet.shares), "claimed": len(packet.claims), "state": packet.state}
                found.append(shared | {"total": packet.total, "created": packet.created, **done})
            elif data["which"] == "received" and amount is not None:
                ts = dict(packet.claims)[socket.user]
                found.append(shared | {"from": packet.sender, "amount": amount, "ts": ts})
        return self._page("packets", found[::-1], data)

    async def _wallet(self, socket: Socket, _data: Data) -> Data:
        return {"balance": sum(posting["amount"] for posting in self._ledger_of(socket.user))}

    async def _ledger(self, socket: Socket, data: Data) -> Data:
        return self._page("postings", self._ledger_of(socket.user)[::-1], data)

    # --- state ----------------------------------------------------------------------------------------------------

    def _page(self, name: str, rows: Sequence[Data], data: Data) -> Data:
        start = int(data.get("cursor", 0))
        end = start + min(self.page_size, data.get("limit", 50))
        return {name: list(rows[start:end])} | ({"cursor": str(end)} if end < len(rows) else {})

    def _packet_for(self, user: str, packet: str) -> Packet:
        found = self._packets.get(packet)
        if found is None:
            raise RefusedError("not_found")
        self._log_for(user, found.conv)
        return found

    def _first_seen(self, conv: str, user: str) -> int:
        """Where the user's present stay began."""
        log: Log = self._logs[conv]
        return log.stays[user][-1][0]

    def _ledger_of(self, user: str) -> list[Data]:
        if not self.has_wallet:
            raise RefusedError("not_found")
        opening = {"id": "opening", "ts": now_ms() - 86_400_000, "amount": OPENING_BALANCE, "kind": "opening"}
        return self._postings.setdefault(user, [opening])

    def _book(self, user: str, amount: int, kind: str, packet: str) -> None:
        ledger = self._ledger_of(user)
        ledger.append({"id": f"p{len(ledger)}", "ts": now_ms(), "amount": amount, "kind": kind, "packet": packet})

    async def _push_packet(self, packet: Packet, users: set[str], event: str, **facts: Any) -> None:
        if self._losing_packet_pushes:
            return
        data = {"packet": packet.packet, "conv": packet.conv, "seq": packet.seq, "event": event, **facts}
        for user in users:
            await self._push(user, {"push": "redpacket", "data": data})


def _is_sound(conv: str, data: Data) -> bool:
    count, total, to = data.get("count", 1), data["total"], data.get("to")
    if len(data.get("greeting", "")) > 120 or not 1 <= count <= 500 or not count <= total <= 20_000_00:
        return False
    if data["kind"] == "direct":
        return count == 1 and (to is not None or conv.startswith("d:"))
    return conv.startswith("g:") and to is None and (data["kind"] == "lucky" or total % count == 0)
