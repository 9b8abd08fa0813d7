"""Batch calls whole: DynamoDB may leave some of a batch undone, and says so instead of failing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from im.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITE_BATCH: Final = 25
READ_BATCH: Final = 100
ATTEMPTS: Final = 6

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def write_all(client: DynamoDBClient, table: str, items: Sequence[dict[str, Any]]) -> None:
    """Put all `items`. Raises Unavailable when DynamoDB keeps leaving some undone; those before it are stored."""
    for chunk in chunks(items, WRITE_BATCH):
        todo: Any = {table: [{"PutRequest": {"Item": item}} for item in chunk]}
        for attempt in range(ATTEMPTS):
            todo = client.batch_write_item(RequestItems=todo).get("UnprocessedItems")
            if not todo:
                break
            _wait(attempt)
        else:
            raise Unavailable("the table is busy", 1000)


def read_all(
    client: DynamoDBClient, table: str, wanted: Sequence[dict[str, Any]], *, consistent: bool = False
) -> Iterator[dict[str, Any]]:
    """The items that exist of `wanted` keys, in no order. Raises Unavailable when DynamoDB keeps leaving some unread.

    ½ R an item, 1 R when consistent.
    """
    for chunk in chunks(wanted, READ_BATCH):
        todo: Any = {table: {"Keys": list(chunk), "ConsistentRead": consistent}}
        for attempt in range(ATTEMPTS):
            out = client.batch_get_item(RequestItems=todo)
            yield from out["Responses"].get(table, [])
            todo = out.get("UnprocessedKeys")
            if not todo:
                break
            _wait(attempt)
        else:
            raise Unavailable("the table is busy", 1000)


def _wait(attempt: int) -> None:
    """Full jitter: AWS asks for exponential backoff between the rounds of a batch."""
    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - spreads load, guards nothing
