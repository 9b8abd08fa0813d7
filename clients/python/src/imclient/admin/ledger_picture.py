"""What a Scan has shown of the tables, kept where it can be asked: in SQLite, whose temporary file is nobody's.

SQLite deletes the file as soon as it has opened it, so nothing of anybody's money stays on the operator's disk. In
memory is no more than a part of it, however large the tables are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from imclient.admin.ledger_items import (
    Account,
    Balance,
    Head,
    Item,
    Leg,
    LegKey,
    UnreadableError,
    Void,
    Whole,
    head_of,
    is_head,
    shares_of,
    wallet_item,
)
from imclient.admin.ledger_rules import Finding

_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -65536;
    CREATE TABLE balances (account TEXT PRIMARY KEY, amount INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE voids (account TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE legs (
        account TEXT NOT NULL, name TEXT NOT NULL, other_account TEXT NOT NULL, other_name TEXT NOT NULL,
        amount INTEGER NOT NULL, kind TEXT NOT NULL, ts INTEGER NOT NULL,
        PRIMARY KEY (account, name)
    ) WITHOUT ROWID;
    CREATE TABLE packets (packet TEXT PRIMARY KEY, state TEXT, head TEXT, shares TEXT) WITHOUT ROWID;
"""

_UNBALANCED: Final = """
    SELECT account, max(balance), sum(amount), sum(line)
    FROM (
        SELECT account, amount AS balance, 0 AS amount, 0 AS line FROM balances
        UNION ALL SELECT account, NULL, amount, 1 FROM legs
    )
    GROUP BY account
    HAVING max(balance) IS NOT sum(amount) OR (max(balance) < 0 AND account NOT LIKE 'opening:%')
"""

# Of a posting whose halves differ, that of the packet or the opening account is given: each once.
_UNPAIRED: Final = """
    SELECT one.account, one.name, one.other_account, one.other_name, one.amount, one.kind, one.ts
    FROM legs AS one LEFT JOIN legs AS other ON other.account = one.other_account AND other.name = one.other_name
    WHERE other.account IS NULL
        OR (
            one.account NOT LIKE 'user:%'
            AND (
                other.amount != -one.amount OR other.kind != one.kind OR other.ts != one.ts
                OR other.other_account != one.account OR other.other_name != one.name
            )
        )
"""

_PACKETS: Final = """
    SELECT packet, head, shares FROM packets
    UNION ALL
    SELECT packet, NULL, NULL
    FROM (
        SELECT substr(account, 8) AS packet FROM balances WHERE account LIKE 'packet:%'
        UNION SELECT substr(account, 8) FROM legs WHERE account LIKE 'packet:%'
        UNION SELECT substr(account, 8) FROM voids
    )
    WHERE packet NOT IN (SELECT packet FROM packets)
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is, as far as the Scan has seen it. While money moves it is no picture of one moment."""

    users: int
    """Wallets."""
    packet_accounts: int
    postings: int
    packets: dict[str, int]
    """By state."""
    in_wallets: int
    in_packets: int
    opening: int
    """What new wallets were given; 0 or less."""

    @property
    def sum(self) -> int:
        """Of all balances: 0 when nothing moves."""
        return self.in_wallets + self.in_packets + self.opening


class Picture:
    """The tables as they were scanned. Close it when done."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.executescript(_SCHEMA)
        self.unreadable: list[Finding] = []

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    # ---- what is put in ----------------------------------------------------------------------------------------------

    def add_wallet(self, items: Iterable[Item]) -> None:
        """Add items of the wallet's table."""
        for item in items:
            try:
                self._add(wallet_item(item))
            except UnreadableError as error:
                self._note_unreadable(item, error)

    def add_packets(self, items: Iterable[Item]) -> None:
        """Add packets and their shares."""
        for item in items:
            try:
                if is_head(item):
                    head = head_of(item)
                    self._put(head.packet, "head", head.state, json.dumps(asdict(head)))
                else:
                    self._put(item["pk"]["S"], "shares", None, json.dumps(shares_of(item)))
            except UnreadableError as error:
                self._note_unreadable(item, error)

    def _add(self, read: Balance | Leg | Void) -> None:
        match read:
            case Balance(account, amount):
                self._db.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (account, amount))
            case Void(account):
                self._db.execute("INSERT OR REPLACE INTO voids VALUES (?)", (account,))
            case Leg(key, other, amount, kind, ts):
                self._db.execute(
                    "INSERT OR REPLACE INTO legs VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, *other, amount, kind, ts)
                )

    def _put(self, packet: str, column: str, state: str | None, value: str) -> None:
        self._db.execute(
            f"INSERT INTO packets (packet, state, {column}) VALUES (?, ?, ?) ON CONFLICT (packet)"  # noqa: S608
            f" DO UPDATE SET {column} = excluded.{column}, state = coalesce(excluded.state, state)",
            (packet, state, value),
        )

    def _note_unreadable(self, item: Item, error: UnreadableError) -> None:
        subject = " ".join(str(next(iter(item[name].values()))) for name in ("pk", "sk"))
        self.unreadable.append(Finding("unreadable", subject, str(error)))

    # ---- what it tells -----------------------------------------------------------------------------------------------

    def figures(self) -> Figures:
        """The figures."""
        held: dict[str, tuple[int, int]] = {
            kind: (count, amount)
            for kind, count, amount in self._db.execute(
                "SELECT substr(account, 1, instr(account, ':') - 1) AS kind, count(*), sum(amount)"
                " FROM balances GROUP BY kind"
            )
        }
        ((postings,),) = self._db.execute("SELECT count(*) FROM legs WHERE account NOT LIKE 'user:%'")
        states = dict(
            self._db.execute(
                "SELECT state, count(*) FROM packets WHERE state IS NOT NULL GROUP BY state ORDER BY state"
            )
        )
        return Figures(
            users=held.get("user", (0, 0))[0],
            packet_accounts=held.get("packet", (0, 0))[0],
            postings=postings,
            packets=states,
            in_wallets=held.get("user", (0, 0))[1],
            in_packets=held.get("packet", (0, 0))[1],
            opening=held.get("opening", (0, 0))[1],
        )

    def unbalanced(self) -> Iterator[str]:
        """Accounts whose balance is not what their lines come to, or below 0."""
        return (account for account, *_ in self._db.execute(_UNBALANCED))

    def unpaired(self) -> Iterator[Leg]:
        """Lines whose other half is missing or another."""
        return (_leg(row) for row in self._db.execute(_UNPAIRED))

    def packets(self) -> Iterator[tuple[str, Whole]]:
        """Each packet with its shares and its account, those of which only a part is there included."""
        with closing(self._db.cursor()) as cursor:
            rows = cursor.execute(_PACKETS)
            for packet, head, shares in rows:
                yield packet, Whole(_head(head), _shares(shares), self._account(f"packet:{packet}"))

    def _account(self, name: str) -> Account | None:
        balances = self._db.execute("SELECT amount FROM balances WHERE account = ?", (name,)).fetchone()
        void = self._db.execute("SELECT 1 FROM voids WHERE account = ?", (name,)).fetchone() is not None
        rows = self._db.execute("SELECT * FROM legs WHERE account = ?", (name,))
        legs = {leg.key.name: leg for leg in map(_leg, rows)}
        if balances is None and not legs and not void:
            return None
        return Account(name, balances[0] if balances is not None else None, legs, void)


def _leg(row: tuple[Any, ...]) -> Leg:
    account, name, other_account, other_name, amount, kind, ts = row
    return Leg(LegKey(account, name), LegKey(other_account, other_name), amount, kind, ts)


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    stored = json.loads(text)
    return Head(**stored | {name: tuple(stored[name]) for name in ("claimers", "times")})


def _shares(text: str | None) -> tuple[int, ...] | None:
    return tuple(json.loads(text)) if text is not None else None
