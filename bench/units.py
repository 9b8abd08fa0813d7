"""What AWS bills for one call, in units: the rules that AWS's documents give, with their examples as the tests.

DynamoDB bills items by their size: reads by 4 KiB, writes by 1 KiB, at least one of these for what is not there, twice
for what is part of a transaction, and writes whether their condition holds or not. SQS bills requests by 64 KiB of
payload, API Gateway messages on a WebSocket by 32 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

KIB: Final = 1024
READ_STEP: Final = 4 * KIB
WRITE_STEP: Final = KIB
QUEUE_STEP: Final = 64 * KIB
MESSAGE_STEP: Final = 32 * KIB

NESTED_OVERHEAD: Final = 3
ELEMENT_OVERHEAD: Final = 1

Item = Mapping[str, Any]


def item_size(item: Item) -> int:
    """The bytes of an item in DynamoDB's own JSON, `{"name": {"S": "value"}}`: names and values."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    """The bytes of one attribute's value, its name apart."""
    ((kind, content),) = value.items()
    return _SIZES[kind](content)


def _number_size(text: str) -> int:
    """One byte for two significant digits, and one. AWS says «approximately»: a sign is one more."""
    mantissa = text.lower().partition("e")[0]
    digits = mantissa.lstrip("+-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + mantissa.startswith("-")


def _list_size(elements: Sequence[Mapping[str, Any]]) -> int:
    return NESTED_OVERHEAD + sum(ELEMENT_OVERHEAD + value_size(element) for element in elements)


def _map_size(members: Item) -> int:
    return NESTED_OVERHEAD + ELEMENT_OVERHEAD * len(members) + item_size(members)


_SIZES: Final[Mapping[str, Callable[[Any], int]]] = {
    "S": lambda text: len(text.encode()),
    "N": _number_size,
    "B": len,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "SS": lambda members: sum(len(member.encode()) for member in members),
    "NS": lambda members: sum(_number_size(member) for member in members),
    "BS": lambda members: sum(len(member) for member in members),
    "L": _list_size,
    "M": _map_size,
}


def read_units(size: int, *, consistent: bool = False, transactional: bool = False) -> float:
    """The units of reading so many bytes at once: those of one item (0 for one that is not there) or of a Query's page.

    A Query is one read of all that it looked at, what its filter left out included.
    """
    factor = 2.0 if transactional else 1.0 if consistent else 0.5
    return factor * steps(size, READ_STEP)


def write_units(before: int, after: int, *, transactional: bool = False) -> int:
    """The units of a write of one item with these sizes before and after it; 0 is an item that is not there.

    For a write whose condition fails, `after` is what it would have stored, as far as that is known.
    """
    return (2 if transactional else 1) * steps(max(before, after), WRITE_STEP)


def queue_requests(payload: int) -> int:
    """What one call of SQS counts for that carries so many bytes, whether in one message or in ten."""
    return steps(payload, QUEUE_STEP)


def gateway_messages(payload: int) -> int:
    """What one frame of so many bytes counts for, in or out."""
    return steps(payload, MESSAGE_STEP)


def steps(size: int, step: int) -> int:
    """How many steps it takes to hold `size` bytes: one for nothing at all."""
    return max(1, -(-size // step))


def total_size(items: Iterable[Item]) -> int:
    """The bytes of several items together."""
    return sum(item_size(item) for item in items)
