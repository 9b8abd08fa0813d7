"""An auditor's check of the books of red packets: whether what the two tables say can be true.

It knows what the items of the tables mean (docs/data-model.md), and nothing of the code that writes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

Item = Mapping[str, Any]

NEW_LIFE_MS: Final = 5 * 60_000
"""How long a packet may wait for its message."""

STATES: Final[Mapping[str, frozenset[str]]] = {
    "new": frozenset({"new", "open", "closed", "cancelled"}),
    "open": frozenset({"open", "closed"}),
    "closed": frozenset({"closed"}),
    "cancelled": frozenset({"cancelled"}),
}
"""What may come of which."""


@dataclass(frozen=True)
class Stored:
    """A packet, as the tables have it."""

    id: str
    item: Item
    shares: tuple[int, ...] | None
    lines: Mapping[str, Item]
    """The movements of its money, by their names."""

    def text(self, name: str) -> str:
        """A text of it; empty when it is not there."""
        return str(self.item.get(name, {"S": ""})["S"])

    def number(self, name: str) -> int:
        """A number of it; 0 when it is not there."""
        return int(self.item.get(name, {"N": "0"})["N"])

    @property
    def name(self) -> tuple[str, str, str]:
        """What its sender calls it: the conversation, who they are, the cmid."""
        return self.text("conv"), self.text("sender"), self.text("cmid")

    @property
    def state(self) -> str:
        """new, open, closed, or cancelled."""
        return self.text("state")

    @cached_property
    def claims(self) -> tuple[tuple[str, int], ...]:
        """Who has claimed when, in order."""
        times = (int(time["N"]) for time in self.item["times"]["L"])
        return tuple(
            (who["S"], self.number("opened") + t) for who, t in zip(self.item["claimers"]["L"], times, strict=True)
        )

    @property
    def void(self) -> bool:
        """Whether its money can not be taken any more, and never was."""
        return "void" in self.lines.get("hold", {})

    @property
    def held(self) -> bool:
        """Whether its money was taken."""
        return "hold" in self.lines and not self.void


@dataclass(frozen=True)
class Books:
    """Both tables at one moment."""

    packets: Mapping[str, Stored]
    balances: Mapping[str, int]
    lines: Mapping[tuple[str, str], Item]
    """Of all accounts, by account and sort key."""
    notes: Mapping[tuple[str, str], Item]
    """What users are told to have sent and received, by user and sort key."""
    strange: tuple[str, ...] = ()
    """Items that nobody can make sense of."""

    def of(self, user: str) -> int | None:
        """What a user has; None without a wallet."""
        return self.balances.get(f"user:{user}")


def read(packet_items: Iterable[Item], wallet_items: Iterable[Item]) -> Books:
    """The books that two tables hold."""
    balances: dict[str, int] = {}
    lines: dict[tuple[str, str], Item] = {}
    movements: dict[str, dict[str, Item]] = defaultdict(dict)
    strange = []
    for item in wallet_items:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if sk == "BALANCE":
            balances[pk] = int(item["balance"]["N"])
            continue
        kind, _, name = pk.partition(":")
        if (kind, sk[:2]) not in {("user", "L#"), ("packet", "P#"), ("opening", "P#")}:
            strange.append(f"{pk} {sk}: no line")
        lines[pk, sk] = item
        if kind == "packet":
            movements[name][sk[2:]] = item
    heads: dict[str, Item] = {}
    shares: dict[str, tuple[int, ...]] = {}
    notes: dict[tuple[str, str], Item] = {}
    for item in packet_items:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if sk == "META":
            heads[pk] = item
        elif sk == "SHARES":
            shares[pk] = tuple(int(share["N"]) for share in item["shares"]["L"])
        else:
            notes[pk, sk] = item
    strange += [f"{name} has shares, and is nowhere" for name in shares if name not in heads]
    strange += [f"{name} has money, and is nowhere" for name in movements if name not in heads]
    packets = {name: Stored(name, item, shares.get(name), movements.get(name, {})) for name, item in heads.items()}
    return Books(packets, balances, lines, notes, tuple(strange))


def wrong(books: Books, *, opening: int, settled: bool) -> list[str]:
    """What cannot be true. `settled`: nothing is under way, so all money is where the packets say."""
    return list(_Audit(books, opening, settled).all())


def broken(before: Books, after: Books) -> Iterator[str]:
    """What has changed that must never."""
    for name, old in before.packets.items():
        new = after.packets.get(name)
        if new is None:
            yield f"{name} is gone"
            continue
        if new.shares != old.shares:
            yield f"{name}: the shares were {old.shares}, and are {new.shares}"
        if new.item is not old.item and new.item != old.item:
            yield from _broken(old, new)
    for key, line in before.lines.items():
        if after.lines.get(key) is not line and after.lines.get(key) != line:
            yield f"{key}: a line has changed"
    for key, note in before.notes.items():
        if after.notes.get(key) != note:
            yield f"{key}: a note has changed"


def wrongly_changed(images: Iterable[tuple[Item, Item]]) -> Iterator[str]:
    """Of packets before and after one write each: what no write may do."""
    for before, after in images:
        old, new = (Stored(item["pk"]["S"], item, None, {}) for item in (before, after))
        yield from _broken(old, new)
        if len(new.claims) > len(old.claims) + 1:
            yield f"{new.id}: several claims at once"


def _broken(old: Stored, new: Stored) -> Iterator[str]:
    """What has changed of a packet that must never."""
    if new.state not in STATES[old.state]:
        yield f"{old.id} was {old.state}, and is {new.state}"
    elif old.state in {"closed", "cancelled"}:
        yield f"{old.id} was {old.state}, and has changed"
    if new.claims[: len(old.claims)] != old.claims:
        yield f"{old.id}: the claims were {old.claims}, and are {new.claims}"
    for what in sorted(set(old.item) - {"state", "claimers", "times", "due", "due_shard"}):
        if new.item.get(what) != old.item[what]:
            yield f"{old.id}: {what} was {old.item[what]}, and is {new.item.get(what)}"


@dataclass
class _Audit:
    books: Books
    opening: int
    settled: bool
    sums: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def all(self) -> Iterator[str]:
        yield from self.books.strange
        yield from self._lines()
        yield from self._balances()
        for packet in self.books.packets.values():
            for line in self._packet(packet):
                yield f"{packet.id} ({packet.state}): {line}"
        yield from self._notes()

    # ---- the ledger

    def _lines(self) -> Iterator[str]:
        """Each line of a user has its other side in the account where the money came from or went to."""
        others: dict[tuple[str, str, str], int] = {}
        own: dict[tuple[str, str, str], int] = {}
        for (account, sk), item in self.books.lines.items():
            if "void" in item:
                continue
            amount = int(item["amount"]["N"])
            self.sums[account] += amount
            kind, _, name = account.partition(":")
            if kind == "packet":
                others[item["user"]["S"], name, sk[2:]] = amount
            elif kind == "opening":
                others[name, "", sk[2:]] = amount
            else:
                _, ts, *which = sk.split("#")
                at = (name, which[0], which[1]) if len(which) > 1 else (name, "", which[0])
                if at in own:
                    yield f"{account}: {sk} is there twice"
                own[at] = amount
                if int(item["ts"]["N"]) != int(ts):
                    yield f"{account}: {sk} bears another time"
                if item.get("packet", {"S": ""})["S"] != at[1]:
                    yield f"{account}: {sk} bears another packet"
        for at in own.keys() | others.keys():
            if own.get(at, 0) != -others.get(at, 0):
                yield f"{at}: {own.get(at)} on one side, {others.get(at)} on the other"

    def _balances(self) -> Iterator[str]:
        balances = self.books.balances
        for account in balances.keys() | self.sums.keys():
            if balances.get(account) != self.sums.get(account, 0):
                yield f"{account} has {balances.get(account)}, its lines say {self.sums.get(account)}"
        for account, balance in balances.items():
            kind, _, name = account.partition(":")
            if kind == "opening":
                if balance != -self.opening or f"user:{name}" not in balances:
                    yield f"{account} has {balance}"
            elif balance < 0:
                yield f"{account} has {balance}"
        if (total := sum(balances.values())) != 0:
            yield f"{total} was made of nothing"

    # ---- packets

    def _packet(self, packet: Stored) -> Iterator[str]:
        count, total, claims = packet.number("count"), packet.number("total"), packet.claims
        shares = packet.shares or ()
        if len(shares) != count or sum(shares) != total or min(shares, default=0) < 1:
            yield f"{shares} are not {count} shares of {total}"
            return
        if len(claims) > count:
            yield f"{len(claims)} claims of {count}"
        users = [user for user, _ in claims]
        if len(set(users)) != len(users):
            yield f"somebody has claimed twice: {users}"
        if claims and packet.state not in {"open", "closed"}:
            yield f"claims: {users}"
        if any(at >= packet.number("expires") for _, at in claims):
            yield f"claimed after its end at {packet.number('expires')}: {claims}"
        yield from self._life(packet)
        yield from self._money(packet, shares, users)

    def _life(self, packet: Stored) -> Iterator[str]:
        """What each state has, and no other."""
        was_sent, over = packet.state in {"open", "closed"}, packet.state in {"closed", "cancelled"}
        for name in ("seq", "opened", "expires"):
            if (name in packet.item) != was_sent:
                yield f"{name} is {packet.item.get(name)}"
        if ("ended" in packet.item) != over:
            yield f"ended is {packet.item.get('ended')}"
        if packet.state == "closed" and packet.number("ended") < packet.number("expires"):
            yield f"was closed at {packet.number('ended')}, before {packet.number('expires')}"
        if over:
            if {"due", "due_shard"} & packet.item.keys():
                yield "is in the index of what is due"
        elif "due_shard" not in packet.item:
            yield "is not in the index of what is due"
        elif packet.number("due") != (packet.number("expires") or packet.number("created") + NEW_LIFE_MS):
            yield f"is due at {packet.number('due')}"

    def _money(self, packet: Stored, shares: tuple[int, ...], users: list[str]) -> Iterator[str]:
        """Its movements are those that it says, and when it is settled all of them."""
        if packet.void and packet.state != "cancelled":
            yield "its money can not be taken"
        if packet.state in {"open", "closed"} and not packet.held:
            yield "its money was never taken"
        allowed = _movements(packet, shares, users)
        made = {
            name: (item["user"]["S"], int(item["amount"]["N"]))
            for name, item in packet.lines.items()
            if "void" not in item
        }
        for name, movement in made.items():
            if allowed.get(name) != movement:
                yield f"{name} is {movement}, and should be {allowed.get(name)}"
        if not self.settled or packet.state == "new":
            return
        if packet.state == "cancelled" and not packet.lines:
            yield "its money could still be taken"
        if packet.held and (lacking := sorted(allowed.keys() - made.keys())):
            yield f"not made: {lacking}"
        left = sum(shares[len(users) :]) if packet.state == "open" else 0
        if (holds := self.books.balances.get(f"packet:{packet.id}", 0)) != left:
            yield f"holds {holds} and should hold {left}"

    # ---- what users are told

    def _notes(self) -> Iterator[str]:
        due: dict[tuple[str, str], int] = {}
        for packet in self.books.packets.values():
            if packet.state in {"open", "closed"} and packet.shares is not None:
                due[packet.text("sender"), f"SENT#{packet.number('opened'):013d}#{packet.id}"] = packet.number("total")
                for (user, at), share in zip(packet.claims, packet.shares, strict=False):
                    due[user, f"GOT#{at:013d}#{packet.id}"] = share
        for key, item in self.books.notes.items():
            if due.get(key) != int(item["amount"]["N"]):
                yield f"{key}: noted as {item['amount']['N']}, which is {due.get(key)}"
        if self.settled:
            for key in sorted(due.keys() - self.books.notes.keys()):
                yield f"{key}: not noted"


def _movements(packet: Stored, shares: tuple[int, ...], users: list[str]) -> dict[str, tuple[str, int]]:
    """All that a packet's state allows, by name: whose account is on the other side, and what it adds to the packet."""
    sender, total = packet.text("sender"), packet.number("total")
    out = {} if packet.void else {"hold": (sender, total)}
    if packet.state in {"open", "closed"}:
        out |= {str(i): (user, -shares[i]) for i, user in enumerate(users[: len(shares)])}
    rest = sum(shares[len(users) :]) if packet.state == "closed" else 0
    if packet.state == "cancelled" and packet.held:
        rest = total
    return out | ({"rest": (sender, -rest)} if rest else {})
