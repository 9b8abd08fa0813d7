"""What stands in the tables of red packets and of the built-in wallet, as far as an auditor reads it. No I/O.

docs/data-model.md has both tables; nothing here is shared with the server that writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Item = Mapping[str, Any]
"""As DynamoDB gives it: `{"name": {"S": "value"}}`."""

AccountKind = Literal["user", "packet", "opening"]
ACCOUNT_KINDS: Final[tuple[AccountKind, ...]] = ("user", "packet", "opening")
STATES: Final = ("new", "open", "closed", "cancelled")

HOLD: Final = "hold"
REST: Final = "rest"
OPENING: Final = "opening"
"""The names of movements; the payment of a share is named by its number."""

_BALANCE: Final = "BALANCE"
_NAMED: Final = "P#"
_TIMED: Final = "L#"
_HEAD: Final = "META"
_SHARES: Final = "SHARES"
PACKET_KEYS: Final = (_HEAD, _SHARES)
"""The sort keys of the two items of a packet."""

_LARGEST: Final = 2**53
"""No money and no time comes near it, and SQLite's integers hold a thousand of them together."""


class UnreadableError(Exception):
    """An item that does not have the form of its table."""


class LegKey(NamedTuple):
    """Where one line of an account stands."""

    account: str
    name: str
    """The sort key."""


class Leg(NamedTuple):
    """One line of an account: half of a posting."""

    key: LegKey
    other: LegKey
    """Where the other half stands."""
    amount: int
    """What it adds to the account's balance."""
    kind: str
    ts: int

    @property
    def movement(self) -> str:
        """What a packet calls it."""
        return self.key.name.removeprefix(_NAMED)

    @property
    def user(self) -> str:
        """Whose money it moves."""
        return (self.other if self.other.account.startswith("user:") else self.key).account.partition(":")[2]


class Balance(NamedTuple):
    """What an account says it holds."""

    account: str
    amount: int


class Void(NamedTuple):
    """That a packet's money is not taken any more."""

    account: str


@dataclass(frozen=True, slots=True)
class Account:
    """All of an account."""

    name: str
    balance: int | None = None
    legs: Mapping[str, Leg] = field(default_factory=dict)
    """By their names: those of a packet's movements."""
    void: bool = False

    @property
    def total(self) -> int:
        """What its lines come to."""
        return sum(leg.amount for leg in self.legs.values())


@dataclass(frozen=True, slots=True)
class Head:
    """A packet, its shares apart."""

    packet: str
    sender: str
    kind: str
    total: int
    count: int
    to: str | None
    state: str
    created: int
    claimers: tuple[str, ...]
    times: tuple[int, ...]
    """When, milliseconds since it was opened."""
    seq: int | None
    opened: int | None
    expires: int | None
    ended: int | None
    due: int | None


class Whole(NamedTuple):
    """All that there is of a packet."""

    head: Head | None
    shares: tuple[int, ...] | None
    account: Account | None
    """What holds its money."""


def account_kind(account: str) -> AccountKind:
    """Whose account it is. Raises UnreadableError."""
    kind, _, name = account.partition(":")
    if kind not in ACCOUNT_KINDS or not name:
        raise UnreadableError("nobody's account")
    return kind


def wallet_item(item: Item) -> Balance | Leg | Void:
    """An item of the wallet's table. Raises UnreadableError."""
    account, name = _text(item, "pk"), _text(item, "sk")
    kind = account_kind(account)
    if name == _BALANCE:
        return Balance(account, _number(item, "balance"))
    if "void" in item and (kind, name) == ("packet", _NAMED + HOLD):
        return Void(account)
    ts = _number(item, "ts")
    if kind == "user" and name.startswith(_TIMED):
        other = _other_of_user_line(account, name.removeprefix(_TIMED), ts, item)
    elif kind == "packet" and name.startswith(_NAMED):
        packet = account.partition(":")[2]
        other = _timed(_text(item, "user"), ts, f"{packet}#{name.removeprefix(_NAMED)}")
    elif kind == "opening" and name == _NAMED + OPENING:
        other = _timed(account.partition(":")[2], ts, OPENING)
    else:
        raise UnreadableError("no line of that name belongs there")
    return Leg(LegKey(account, name), other, _number(item, "amount"), _text(item, "kind"), ts)


def _timed(user: str, ts: int, name: str) -> LegKey:
    return LegKey(f"user:{user}", f"{_TIMED}{ts:013d}#{name}")


def _other_of_user_line(account: str, name: str, ts: int, item: Item) -> LegKey:
    told, _, movement = name.partition("#")
    if told != f"{ts:013d}":
        raise UnreadableError("its key and its time differ")
    if movement == OPENING:
        return LegKey(f"opening:{account.partition(':')[2]}", _NAMED + OPENING)
    packet, _, movement = movement.partition("#")
    if not packet or not movement or packet != _text(item, "packet"):
        raise UnreadableError("its key and its packet differ")
    return LegKey(f"packet:{packet}", _NAMED + movement)


def head_of(item: Item) -> Head:
    """A packet as its item says it. Raises UnreadableError."""
    return Head(
        packet=_text(item, "pk"),
        sender=_text(item, "sender"),
        kind=_text(item, "kind"),
        total=_number(item, "total"),
        count=_number(item, "count"),
        to=_text(item, "to") if "to" in item else None,
        state=_text(item, "state"),
        created=_number(item, "created"),
        claimers=tuple(_text(one, "") for one in _list(item, "claimers")),
        times=tuple(_number(one, "") for one in _list(item, "times")),
        seq=_number_or_none(item, "seq"),
        opened=_number_or_none(item, "opened"),
        expires=_number_or_none(item, "expires"),
        ended=_number_or_none(item, "ended"),
        due=_number_or_none(item, "due"),
    )


def shares_of(item: Item) -> tuple[int, ...]:
    """The shares of a packet. Raises UnreadableError."""
    return tuple(_number(share, "") for share in _list(item, "shares"))


def is_head(item: Item) -> bool:
    """Whether it is a packet, and not its shares."""
    return bool(item["sk"] == {"S": _HEAD})


def packet_keys(packet: str) -> list[Item]:
    """The keys of a packet and of its shares."""
    return [{"pk": {"S": packet}, "sk": {"S": name}} for name in PACKET_KEYS]


def _value(item: Item, name: str, kind: str) -> Any:
    value = item.get(name) if name else item
    if not isinstance(value, Mapping) or list(value) != [kind]:
        raise UnreadableError(f"no {name or 'element'} of type {kind}")
    return value[kind]


def _text(item: Item, name: str) -> str:
    return str(_value(item, name, "S"))


def _list(item: Item, name: str) -> list[Item]:
    return list(_value(item, name, "L"))


def _number(item: Item, name: str) -> int:
    text = str(_value(item, name, "N"))
    try:
        number = int(text)
    except ValueError:
        raise UnreadableError(f"{name or 'an element'} is no whole number") from None
    if abs(number) > _LARGEST:
        raise UnreadableError(f"{name or 'an element'} is no amount and no time")
    return number


def _number_or_none(item: Item, name: str) -> int | None:
    return _number(item, name) if name in item else None
