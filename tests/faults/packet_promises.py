"""What is promised of money: checked on the tables, on what was replied and on what was pushed.

Once all is settled, every packet's money is where the packet says, to the cent: with those who have claimed, with its
sender again, or still in the packet (tests/integration/packet_books.py). When its time is over, nothing is left in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tests.integration import packet_books
from tests.integration.packet_books import Books, Stored

Data = dict[str, Any]
Key = tuple[str, str, str]

PACKETS: Final = "RedPacketTable"
WALLETS: Final = "WalletTable"
OPENING: Final = 100_000
"""What a new wallet starts with, in this world."""


class WrongBooks(AssertionError):
    """Money is lost, made, or with somebody else; or somebody was told so."""


def _require(holds: object, *what: object) -> None:
    if not holds:
        raise WrongBooks(" ".join(map(str, what)))


# ---- the essence of it, to be compared -------------------------------------------------------------------------------


def given_up(items: Mapping[Key, Data]) -> frozenset[str]:
    """Packets that never came to be. Once their money is back it is as if nobody had asked for them."""
    return frozenset(pk for (_, pk, sk), item in items.items() if sk == "META" and item.get("state") == "cancelled")


def essential(key: Key, gone: frozenset[str]) -> Key | None:
    """The key of what is of interest, without the times in it; None for what follows from the rest: balances are sums
    of lines, and when somebody's wallet was opened does not matter."""
    table, pk, sk = key
    if table not in {PACKETS, WALLETS}:
        return key
    if sk == "BALANCE" or pk.startswith("opening:") or sk.endswith("#opening"):
        return None
    if any(packet in f"{pk} {sk}" for packet in gone):
        return None
    return table, pk, re.sub(r"#\d{13}#", "#", sk)


# ---- tables ----------------------------------------------------------------------------------------------------------


def books_in(items: Mapping[Key, Any]) -> Books:
    """The books in what moto stores."""
    tables: dict[str, list[Data]] = {PACKETS: [], WALLETS: []}
    for (table, _, _), item in items.items():
        if table in tables:
            tables[table].append({name: value.to_regular_json() for name, value in item.attrs.items()})
    return packet_books.read(tables[PACKETS], tables[WALLETS])


def check_books(before: Books, after: Books) -> None:
    """That all money is where the packets say, and nothing has changed that must not. Raises WrongBooks."""
    wrong = [*packet_books.wrong(after, opening=OPENING, settled=True), *packet_books.broken(before, after)]
    _require(not wrong, *wrong)


def check_all_is_over(books: Books) -> None:
    """That no packet holds anything, and all that was ever given to wallets is with their users. Raises WrongBooks."""
    for packet in books.packets.values():
        _require(packet.state in {"closed", "cancelled"}, packet.id, "is still", packet.state)
    left = {
        account: balance for account, balance in books.balances.items() if account.startswith("packet:") and balance
    }
    _require(not left, "there is money left in", left)


# ---- what was said ---------------------------------------------------------------------------------------------------


def check_reply(books: Books, user: str, op: str, data: Data, reply: Data) -> None:
    """That a reply of the route is true at last. Raises WrongBooks."""
    if op == "redpacket.create" and reply["ok"]:
        told = reply["data"]
        packet = books.packets.get(told["packet"])
        _require(packet is not None and packet.state in {"open", "closed"}, told["packet"], "was answered, and is not")
        assert packet is not None
        _require(packet.name == (told["conv"], user, data["cmid"]), told["packet"], "is", packet.name)
        stored = {name: packet.number(name) for name in ("seq", "opened", "expires")}
        _require(stored == {"seq": told["seq"], "opened": told["ts"], "expires": told["expires"]}, told, "is", stored)
    if op == "redpacket.claim":
        share = _share_of(user, books.packets[data["packet"]])
        told = reply["data"] if reply["ok"] else reply["error"]
        _require("amount" not in told or told["amount"] == share, user, "was told", told, "and has", share)
        _require("amount" in told or share is None or told["code"] == "expired", user, "was told", told, "with", share)


def _share_of(user: str, packet: Stored) -> int | None:
    shares = dict(zip((user for user, _ in packet.claims), packet.shares or (), strict=False))
    return shares.get(user)


def check_push(books: Books, user: str, data: Data) -> None:
    """That somebody may know what they were pushed of a packet: no other claimer's amount. Raises WrongBooks."""
    packet = books.packets[data["packet"]]
    sender, claimers = packet.text("sender"), [user for user, _ in packet.claims]
    _require(user in {sender, *claimers}, user, "is told of", packet.id)
    if data["event"] == "claimed":
        _require(data["user"] == claimers[data["claimed"] - 1], "not the claim", data)
        _require(user in {sender, data["user"]}, user, "is told of the claim of", data["user"])
        own = _share_of(user, packet) if user == data["user"] else None
        _require(data.get("amount") == own, user, "is told", data)
    elif data["event"] == "finished":
        _require(len(claimers) == data["count"] and "amount" not in data, user, "is told", data)
    else:
        _require(data["event"] == "refunded" and user == sender, user, "is told", data)
        _require(data["amount"] == sum((packet.shares or ())[len(claimers) :]), user, "is told", data)
