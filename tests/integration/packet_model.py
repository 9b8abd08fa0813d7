"""What red packets promise, as a plain model: who may send one, who may claim it until when, and whose the money is.

It knows nothing of tables, transactions, streams and caches. A request that nothing disturbs has one right answer,
which `create`, `claim` and `sweep` tell. Where more than one outcome is right (a function has died, requests overlap),
the model is told what has come of them, and `learn` says what of it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

Name = tuple[str, str, str]
"""What a sender calls a packet: the conversation, who they are, the cmid."""

PATHS: Final = {
    ("", "new"): ("new",),
    ("", "open"): ("new", "open"),
    ("", "closed"): ("new", "open", "closed"),
    ("", "cancelled"): ("new", "cancelled"),
    ("new", "open"): ("open",),
    ("new", "closed"): ("open", "closed"),
    ("new", "cancelled"): ("cancelled",),
    ("open", "closed"): ("closed",),
}
"""By which states a packet comes from one to another."""


class Refused(Exception):
    """What must be refused, with the code of the refusal."""

    def __init__(self, code: str, amount: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.amount = amount


@dataclass(frozen=True)
class Rules:
    """What the deployment has chosen."""

    opening: int
    """What a new wallet holds."""
    life_ms: int
    """How long a packet may be claimed."""
    new_life_ms: int
    """How long one may wait for its message."""
    shares: int
    amount: int
    greeting: int


@dataclass(frozen=True)
class Terms:
    """A packet, as its sender asks for it."""

    conv: str
    sender: str
    cmid: str
    kind: str
    total: int
    count: int | None
    to: str | None = None
    greeting: str = ""

    @property
    def name(self) -> Name:
        return self.conv, self.sender, self.cmid

    @property
    def peers(self) -> tuple[str, ...]:
        """Who takes part in a direct conversation; nobody where it is a group."""
        kind, *users = self.conv.split(":")
        return tuple(users) if kind == "d" else ()


@dataclass
class Packet:
    """A packet."""

    terms: Terms
    created: int
    state: Literal["new", "open", "closed", "cancelled"] = "new"
    held: bool = False
    """Whether its money was taken."""
    id: str = ""
    shares: tuple[int, ...] = ()
    opened: int = 0
    expires: int = 0
    seq: int = 0
    moment: int = 0
    """When it was sent, among all that was sent and all comings and goings."""
    claims: list[tuple[str, int]] = field(default_factory=list)
    """Who has claimed, and when."""

    @property
    def count(self) -> int:
        return self.terms.count or 1

    @property
    def sold_out(self) -> bool:
        return len(self.claims) >= self.count

    @property
    def unclaimed(self) -> int:
        return sum(self.shares[len(self.claims) :])

    def place_of(self, user: str) -> int | None:
        """Which share somebody has, from 0."""
        return next((i for i, (who, _) in enumerate(self.claims) if who == user), None)


@dataclass
class Room:
    """A group."""

    owner: str
    members: dict[str, int]
    """Since which moment each is in it."""
    muted: dict[str, int] = field(default_factory=dict)
    """Until when each may not send."""
    dissolved: bool = False


class Stored(Protocol):
    """A packet, as it is found."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> Name: ...
    @property
    def state(self) -> Any: ...
    @property
    def shares(self) -> tuple[int, ...] | None: ...
    @property
    def claims(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def held(self) -> bool: ...
    @property
    def void(self) -> bool: ...
    def text(self, name: str) -> str: ...
    def number(self, name: str) -> int: ...


@dataclass
class Ask:
    """A request, or something that happens by itself, and what has come of it."""

    op: Literal["create", "claim", "sweep", "settle"]
    user: str = ""
    terms: Terms | None = None
    packet: Name | None = None
    first: int = 0
    """What the clock of whoever served it said at the beginning."""
    last: int = 0
    """And at the end."""
    disturbed: bool = False
    """Whether something was done to the function that served it."""
    code: str | None = None
    """ok, or that of the refusal; None when no answer came."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Of the answer, or of the refusal."""


@dataclass
class World:
    """Everybody, their groups, their packets and their money."""

    rules: Rules
    rooms: dict[str, Room] = field(default_factory=dict)
    packets: dict[Name, Packet] = field(default_factory=dict)
    messages: set[Name] = field(default_factory=set)
    """Those that are no packets."""
    moments: int = 0

    # ---- groups

    def join(self, conv: str, users: Sequence[str]) -> None:
        self.moments += 1
        room = self.rooms[conv]
        room.members |= {user: self.moments for user in users if user not in room.members}

    def leave(self, conv: str, users: Sequence[str]) -> None:
        for user in users:
            self.rooms[conv].members.pop(user, None)

    # ---- what must come of a request that nothing disturbs

    def create(self, terms: Terms, clock: int, funds: int) -> tuple[Packet, bool]:
        """A packet, and whether it was there before. `funds`: what its sender has."""
        terms = self.checked(terms)
        packet = self.packets.get(terms.name)
        if packet is None:
            self.check_limits(terms)
            self.admit(terms, clock)
            if funds < terms.total:
                raise Refused("insufficient_funds")
            packet = self.packets[terms.name] = Packet(terms, clock)
        elif packet.terms != terms:
            raise Refused("conflict")
        if packet.state == "cancelled":
            raise Refused("conflict")
        if packet.state != "new":
            return packet, True
        if not packet.held and funds < terms.total:
            raise Refused("insufficient_funds")
        packet.held = True
        try:
            self.admit(terms, clock)
            if terms.name in self.messages:
                raise Refused("conflict")
        except Refused:
            packet.state = "cancelled"
            raise
        self.moments += 1
        packet.state, packet.opened, packet.moment = "open", clock, self.moments
        packet.expires = clock + self.rules.life_ms
        return packet, False

    def checked(self, terms: Terms) -> Terms:
        """The same, and to whom it goes. Raises what forbids its figures."""
        count, to = terms.count if terms.count is not None else 1, terms.to
        if terms.total < 1 or count < 1 or len(terms.greeting) > self.rules.greeting:
            raise Refused("bad_request")
        if terms.peers:
            if terms.sender not in terms.peers:
                raise Refused("not_member")
            (peer,) = set(terms.peers) - {terms.sender}
            if terms.kind != "direct" or to not in {None, peer}:
                raise Refused("bad_request")
            to = peer
        if (to is None) == (terms.kind == "direct") or to == terms.sender:
            raise Refused("bad_request")
        if terms.total < count or (terms.kind == "direct" and count > 1):
            raise Refused("bad_request")
        if terms.kind != "direct" and terms.count is None:
            raise Refused("bad_request")
        if terms.kind == "equal" and terms.total % count:
            raise Refused("bad_request")
        return Terms(terms.conv, terms.sender, terms.cmid, terms.kind, terms.total, count, to, terms.greeting)

    def check_limits(self, terms: Terms) -> None:
        """Raises when the deployment allows no packet so large."""
        if (terms.count or 1) > self.rules.shares or terms.total > self.rules.amount:
            raise Refused("bad_request")

    def admit(self, terms: Terms, clock: int) -> None:
        """Raises why the sender may not send it now."""
        if terms.peers:
            return
        room = self.rooms[terms.conv]
        if terms.sender not in room.members or room.dissolved:
            raise Refused("not_member")
        if terms.sender != room.owner and room.muted.get(terms.sender, 0) > clock:
            raise Refused("muted")
        if terms.to is not None and terms.to not in room.members:
            raise Refused("not_found")

    def claim(self, user: str, packet: Packet, clock: int) -> int:
        """The place of the claimed share."""
        self.invite(user, packet)
        place = packet.place_of(user)
        if place is not None:
            raise Refused("already_claimed", packet.shares[place])
        if packet.sold_out:
            raise Refused("sold_out")
        if packet.state == "closed" or clock >= packet.expires:
            raise Refused("expired")
        packet.claims.append((user, clock))
        return len(packet.claims) - 1

    def invite(self, user: str, packet: Packet) -> None:
        """Raises why a packet is not for somebody, whatever is left of it."""
        terms = packet.terms
        if packet.state in {"new", "cancelled"}:
            raise Refused("not_found")
        if terms.peers and user not in terms.peers:
            raise Refused("not_member")
        if not terms.peers:
            since = self.rooms[terms.conv].members.get(user)
            if since is None or self.rooms[terms.conv].dissolved:
                raise Refused("not_member")
            if since > packet.moment:
                raise Refused("forbidden")
        if terms.to not in {None, user}:
            raise Refused("forbidden")

    def sweep(self, clock: int) -> list[Packet]:
        """Those that end because their time is over."""
        ended = []
        for packet in self.packets.values():
            if packet.state == "open" and packet.expires <= clock:
                packet.state = "closed"
                ended.append(packet)
            elif packet.state == "new" and packet.created + self.rules.new_life_ms <= clock:
                packet.state = "cancelled"
                ended.append(packet)
        return ended

    # ---- whose the money is

    def money(self, user: str) -> int:
        """What somebody has when nothing is under way."""
        out = self.rules.opening
        for packet in self.packets.values():
            place = packet.place_of(user)
            out += packet.shares[place] if place is not None else 0
            if packet.terms.sender == user and packet.held and packet.state != "cancelled":
                out -= packet.terms.total - (packet.unclaimed if packet.state == "closed" else 0)
        return out

    # ---- what is found

    def compare(self, found: Mapping[Name, Stored]) -> Iterator[str]:
        """What is not as the model says. What only chance decides, it is told here: ids, shares, places in a log."""
        if self.packets.keys() != found.keys():
            besides, missing = sorted(found.keys() - self.packets.keys()), sorted(self.packets.keys() - found.keys())
            yield f"there are {besides} besides, and not {missing}"
            return
        for name, packet in self.packets.items():
            stored = found[name]
            yield from self._told(packet, stored)
            seen = (
                stored.state,
                stored.held,
                list(stored.claims),
                *map(stored.number, ("created", "opened", "expires")),
            )
            own = (packet.state, packet.held, packet.claims, packet.created, packet.opened, packet.expires)
            if seen != own:
                yield f"{name} is {seen}, and should be {own}"

    def _told(self, packet: Packet, stored: Stored) -> Iterator[str]:
        if not packet.id:
            packet.id, packet.shares = stored.id, stored.shares or ()
            terms = packet.terms
            if len(packet.shares) != packet.count or sum(packet.shares) != terms.total or min(packet.shares) < 1:
                yield f"{packet.shares} are no shares of {terms}"
            if terms.kind == "equal" and len(set(packet.shares)) > 1:
                yield f"{packet.shares} are not equal"
            if terms != _terms_of(stored):
                yield f"{_terms_of(stored)} should be {terms}"
        if not packet.seq and packet.opened:
            packet.seq = stored.number("seq")

    def learn(self, found: Mapping[Name, Stored], asks: Sequence[Ask], funds: Mapping[str, int]) -> Iterator[str]:
        """What of it cannot have come of `asks`, and of their answers. `funds`: what each had before."""
        before = {name: (packet.state, list(packet.claims), packet.held) for name, packet in self.packets.items()}
        for name in self.packets.keys() - found.keys():
            yield f"{name} is gone"
        for name, stored in found.items():
            state, claims, held = before.get(name, ("", [], False))
            packet = self.packets.get(name) or Packet(_terms_of(stored), stored.number("created"))
            yield from self._changed(packet, state, stored, asks)
            if list(stored.claims)[: len(claims)] != claims:
                yield f"{name}: the claims were {claims}, and are {stored.claims}"
            if held != stored.held and not (stored.held and _creates(asks, packet)):
                yield f"{name}: its money was taken: {held}, is taken: {stored.held}"
            if stored.state in {"open", "closed"} and not packet.opened:
                self.moments += 1
                packet.moment, packet.opened = self.moments, stored.number("opened")
                packet.expires = packet.opened + self.rules.life_ms
                if not any(ask.first <= packet.opened <= ask.last for ask in _creates(asks, packet)):
                    yield f"{name} was opened at {packet.opened}"
            packet.state, packet.held = stored.state, stored.held
            for user, at in stored.claims[len(claims) :]:
                yield from self._claimed(packet, user, at, asks)
                packet.claims.append((user, at))
            self.packets[name] = packet
        yield from self.compare(found)
        for ask in asks:
            if ask.op == "create":
                yield from self._created(ask, asks, before, funds)
            elif ask.op == "claim":
                yield from self._answered(ask, before)

    def _changed(self, packet: Packet, was: str, stored: Stored, asks: Sequence[Ask]) -> Iterator[str]:
        """Whether what has become of a packet can have come of `asks`."""
        if was == stored.state:
            return
        creates = _creates(asks, packet)
        swept = max((ask.last for ask in asks if ask.op == "sweep"), default=0)
        for state in PATHS.get((was, stored.state), ("nothing that it can be",)):
            may = self.may_be_sent(packet.terms, creates)
            opened = packet.opened or stored.number("opened")
            reason = {
                "new": any(ask.first <= stored.number("created") <= ask.last for ask in creates)
                and may in {None, "conflict"}
                and self.allowed(packet.terms),
                "open": bool(creates) and may is None and stored.held,
                "closed": swept >= opened + self.rules.life_ms,
                "cancelled": swept >= packet.created + self.rules.new_life_ms or (bool(creates) and may is not None),
            }
            if not reason.get(state):
                yield f"{packet.terms.name} was {was or 'not there'}, and is {stored.state}: nobody has made it {state}"

    def allowed(self, terms: Terms) -> bool:
        """Whether the deployment allows a packet so large."""
        try:
            self.check_limits(terms)
        except Refused:
            return False
        return True

    def may_be_sent(self, terms: Terms, creates: Sequence[Ask]) -> str | None:
        """The code of what refuses a packet's message; None when it may be sent."""
        try:
            self.admit(self.checked(terms), max((ask.first for ask in creates), default=0))
        except Refused as e:
            return e.code
        return "conflict" if terms.name in self.messages else None

    def _claimed(self, packet: Packet, user: str, at: int, asks: Sequence[Ask]) -> Iterator[str]:
        """Whether somebody can have claimed a share of a packet."""
        name = packet.terms.name
        if not any(
            ask.op == "claim" and (ask.user, ask.packet) == (user, name) and ask.first <= at <= ask.last for ask in asks
        ):
            yield f"{name}: {user} has not claimed it at {at}"
        if packet.place_of(user) is not None or packet.sold_out or at >= packet.expires:
            yield f"{name}: {user} has claimed it at {at}, after {packet.claims}, and it ends at {packet.expires}"
        try:
            self.invite(user, packet)
        except Refused as e:
            yield f"{name}: {user} has claimed it, who should be told {e.code}"

    # ---- what was answered

    def _created(
        self,
        ask: Ask,
        asks: Sequence[Ask],
        before: Mapping[Name, tuple[str, Any, bool]],
        funds: Mapping[str, int],
    ) -> Iterator[str]:
        assert ask.terms is not None
        packet = self.packets.get(ask.terms.name)
        said = f"{ask.user} has asked for {ask.terms} and was told {ask.code}"
        try:
            terms = self.checked(ask.terms)
        except Refused as e:
            if ask.code not in {e.code, None}:
                yield said
            return
        was, _, held = before.get(terms.name, ("", None, False))
        others = sum(
            a.terms.total for a in asks if a.terms is not None and a.user == ask.user and a.terms.name != terms.name
        )
        may, same = self.may_be_sent(terms, [ask]), packet is not None and packet.terms == terms
        gave_up = packet is not None and packet.state == "cancelled"
        right = {
            "ok": same and packet is not None and packet.seq > 0,
            "conflict": not same or gave_up or may == "conflict",
            "insufficient_funds": not held and funds[ask.user] - others < terms.total,
            "bad_request": was == "" and not self.allowed(terms),
            "not_member": may == "not_member" and was in {"", "new"},
            "muted": may == "muted" and was in {"", "new"},
            "not_found": may == "not_found" and was in {"", "new"},
            "internal": ask.disturbed,
            "unavailable": ask.disturbed,
        }
        if ask.code is not None and not right.get(ask.code):
            yield said
        if ask.code == "ok" and packet is not None:
            yield from told_of(packet, ask.data)
            if not ask.data["duplicate"] and was not in {"", "new"}:
                yield f"{said} as for the first time"
            firsts = [a for a in _creates(asks, packet) if a.code == "ok" and not a.data["duplicate"]]
            if len(firsts) > 1:
                yield f"{said}, as were others"

    def _answered(self, ask: Ask, before: Mapping[Name, tuple[str, Any, bool]]) -> Iterator[str]:
        assert ask.packet is not None
        packet = self.packets[ask.packet]
        said = f"{ask.user} has claimed {packet.terms.name}, {packet.claims}, and was told {ask.code} {dict(ask.data)}"
        was, claims, _ = before.get(ask.packet, ("", [], False))
        had = any(user == ask.user for user, _ in claims) or len(claims) >= packet.count
        place = packet.place_of(ask.user)
        try:
            self.invite(ask.user, packet)
            refusal = None
        except Refused as e:
            refusal = e.code
        if ask.code == "not_found" and was in {"", "new"}:
            return  # if it was opened, then after that
        right = {
            "ok": place is not None and ask.data.get("amount") == packet.shares[place],
            "already_claimed": place is not None and ask.data.get("amount") == packet.shares[place],
            "sold_out": place is None and packet.sold_out,
            # By the clock of another instance it may still have been in time.
            "expired": not had and (ask.last >= packet.expires or packet.state == "closed"),
            "internal": ask.disturbed,
            "unavailable": ask.disturbed,
        }
        if refusal is not None:
            right = {refusal: True, "internal": ask.disturbed}
        if ask.code is not None and not right.get(ask.code):
            yield said


def told_of(packet: Packet, data: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong in the answer to whoever has sent a packet."""
    told = {name: data[name] for name in ("packet", "conv", "seq", "ts", "expires")}
    right = {
        "packet": packet.id,
        "conv": packet.terms.conv,
        "seq": packet.seq,
        "ts": packet.opened,
        "expires": packet.expires,
    }
    if told != right:
        yield f"was told {told}, and it is {right}"


def _creates(asks: Sequence[Ask], packet: Packet) -> list[Ask]:
    """The requests for this very packet."""
    name = packet.terms.name
    return [ask for ask in asks if ask.op == "create" and ask.terms is not None and ask.terms.name == name]


def _terms_of(stored: Stored) -> Terms:
    conv, sender, cmid = stored.name
    return Terms(
        conv,
        sender,
        cmid,
        stored.text("kind"),
        stored.number("total"),
        stored.number("count"),
        stored.text("to") or None,
        stored.text("greeting"),
    )
