"""Calls that DynamoDB may answer in part, made whole: batches, pages, transactions that meet others."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from im.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100
SNAPSHOT: Final = 100
ATTEMPTS: Final = 6

PASSING: Final = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""Reasons of a cancelled transaction that say nothing against making it again."""

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


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
            pause(attempt)
        else:
            raise Unavailable("the table is busy", 1000)


def query_all(client: DynamoDBClient, **query: Any) -> Iterator[dict[str, Any]]:
    """All items that a Query finds, page by page. A page is 1 MiB at most: ½ R a 4 KiB of it, 1 R when consistent."""
    start: dict[str, Any] = {}
    while True:
        out = client.query(**query, **start)
        yield from out["Items"]
        if "LastEvaluatedKey" not in out:
            return
        start = {"ExclusiveStartKey": out["LastEvaluatedKey"]}


def snapshot(client: DynamoDBClient, table: str, wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """At most 100 items as they all were at one moment; None for one that is not there. 2 R each.

    A transaction that is being written is applied item by item: single reads, consistent ones too, may see one of its
    items changed and the next one not yet. This does not: DynamoDB cancels it while one of the items is being changed,
    and it is made again. Raises Unavailable when that goes on.
    """
    gets: Any = [{"Get": {"TableName": table, "Key": key}} for key in wanted]
    for attempt in range(ATTEMPTS):
        try:
            out = client.transact_get_items(TransactItems=gets)
        except client.exceptions.TransactionCanceledException as e:
            reasons: Any = cast("Any", e.response)["CancellationReasons"]
            if not {reason["Code"] for reason in reasons} <= PASSING:
                raise
            pause(attempt)
        else:
            return [cast("dict[str, Any] | None", response.get("Item")) for response in out["Responses"]]
    raise Unavailable("the table is busy", 1000)


def transact(client: DynamoDBClient, writes: Sequence[dict[str, Any]], attempts: int = ATTEMPTS) -> list[bool]:
    """Make `writes` in one transaction; nothing is returned then. Else which of them met an unmet condition, and none
    is made. What somebody else's transaction is in the way of is made again; raises Unavailable when that goes on.
    """
    for attempt in range(attempts):
        try:
            client.transact_write_items(TransactItems=cast("Any", writes))
        except client.exceptions.TransactionCanceledException as e:
            codes = [reason["Code"] for reason in cast("Any", e.response)["CancellationReasons"]]
            unmet = [code == "ConditionalCheckFailed" for code in codes]
            # Beside a conflict an unmet condition says nothing yet: some of the items are being written at this moment.
            if any(unmet) and all(u or code == "None" for u, code in zip(unmet, codes, strict=True)):
                return unmet
            if not {code for u, code in zip(unmet, codes, strict=True) if not u} <= PASSING:
                raise
            pause(attempt)
        else:
            return []
    raise Unavailable("the table is busy", 1000)


def pause(attempt: int) -> None:
    """Wait before the next try. Full jitter: AWS asks for exponential backoff between the rounds of a batch."""
    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - spreads load, guards nothing
