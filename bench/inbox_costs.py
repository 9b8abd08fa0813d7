"""What do a conversation list, a total and the receipts of a group cost, and how do they grow?

The real functions run on emulated tables, and bench/meter.py reads the bill of every AWS call that they make, by the
sizes of the items in it.

    PYTHONPATH=layers/common:. .venv/bin/python -m bench.inbox_costs [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pytest

from bench.crowds import CONV, gather
from bench.meter import Bill, Meter
from im.domain.entries import EMPTY, Draft
from im.domain.ids import ConvId, Seq, UserId
from im.runtime.logs import log
from im.store import keys
from im.store.batches import chunks
from im.store.conversations import entry_item
from im.store.inbox import Delivery, InboxStore
from im.wire.frames import dumps
from tests.integration.house import House, built_house

CONVERSATIONS: Final = (50, 500, 5_000)
WHOLE: Final = 500
"""Lists that are read to their end: what a page costs is the same from here on, but for the rows read each time."""
GROUPS: Final = (10, 100, 300, 1_000)
TEXT: Final = "A message of sixty characters, about as long as most of them."
ME: Final = UserId("alice")
NEVER_LARGE: Final = "1000"


@dataclass(frozen=True)
class Cost:
    """What one thing that a client does costs."""

    what: str
    size: int
    """Conversations of the user, or members of the group."""
    requests: int
    """Frames of the client."""
    calls: int
    """AWS calls of the function."""
    reads: float
    writes: float


def inbox_costs(size: int) -> list[Cost]:
    """For a user with so many direct conversations, one message in each."""
    with pytest.MonkeyPatch.context() as monkeypatch, built_house(monkeypatch) as house:
        meter = Meter(house, monkeypatch)
        fill(house, size)
        me = house.connect(ME)
        others = [house.connect(other_user(i)) for i in range(3)]
        known = me.ok("sync.inbox")["inbox"]

        def three_changes() -> None:
            for i, other in enumerate(others):
                other.say(TEXT, f"more-{i}", to=ME)
            house.fan_out()

        def whole_list() -> int:
            seen = 0
            data: dict[str, Any] = {}
            for requests in range(1, 1_000):
                page = me.ok("sync.inbox", data)
                seen += len(page["conversations"])
                if "cursor" not in page:
                    if seen != size:
                        raise SystemExit(f"{seen} conversations of {size}")
                    return requests
                data = {"cursor": page["cursor"]}
            raise SystemExit("the list does not end")

        out = [
            measured(meter, size, "first page of the list", lambda: me.ok("sync.inbox")),
            measured(meter, size, "total unread", lambda: me.ok("sync.unread")),
            measured(meter, size, "ping", lambda: me.ok("connect.ping")),
        ]
        if size <= WHOLE:
            out.append(measured(meter, size, "all pages of the list", whole_list))
        three_changes()

        def since() -> None:
            page = me.ok("sync.inbox", {"since": known})
            changed = {row["conv"] for row in page["conversations"] if row["unread"] == 2}
            if len(changed) != len(others):
                raise SystemExit(f"{len(changed)} changes of {len(others)}")

        out.append(measured(meter, size, "`since` with 3 changes", since))
        conv = f"d:{ME}:{other_user(0)}"
        out.append(measured(meter, size, "read", lambda: me.ok("sync.read", {"conv": conv, "seq": 2})))
        return out


def receipt_costs(size: int) -> list[Cost]:
    """For a group of so many members, half of whom have read."""
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        built_house(monkeypatch, LARGE_GROUP_ABOVE=NEVER_LARGE) as house,
    ):
        meter = Meter(house, monkeypatch)
        crowd = gather(house, size, 1, limit=int(NEVER_LARGE))
        sender = crowd.online[0]
        seq = sender.say(TEXT, "asked", conv=CONV)["seq"]
        house.fan_out()
        inbox = InboxStore(house.dynamodb, "InboxTable")
        readers = [user for user in crowd.stored if user != sender.user][: size // 2]
        for user in readers:
            inbox.mark_read(user, ConvId(CONV), Seq(seq), 1, house.now)

        def counts() -> None:
            found = sender.ok("sync.receipts", {"conv": CONV, "seq": seq})
            if (found["members"], found["read"]) != (size - 1, len(readers)):
                raise SystemExit(f"{found} of {size - 1}, {len(readers)}")

        def all_names() -> int:
            names: list[str] = []
            data: dict[str, Any] = {"conv": CONV, "seq": seq, "list": "read"}
            for requests in range(1, 100):
                page = sender.ok("sync.receipts", data)
                names += page["users"]
                if "cursor" not in page:
                    if names != sorted(readers):
                        raise SystemExit("not the readers")
                    return requests
                data = data | {"cursor": page["cursor"]}
            raise SystemExit("the list does not end")

        return [
            measured(meter, size, "receipts: counts", counts),
            measured(meter, size, "receipts: all names of readers", all_names),
        ]


def measured(meter: Meter, size: int, what: str, act: Callable[[], object]) -> Cost:
    """The bill of `act`, which returns how many requests it made, if not one."""
    with meter.measured() as bill:
        done = act()
    requests = done if isinstance(done, int) else 1
    return Cost(what, size, requests, calls_in(bill), bill.reads, bill.writes)


def calls_in(bill: Bill) -> int:
    """AWS calls, pushes apart."""
    return sum(count for name, count in bill.operations.items() if "PostToConnection" not in name)


def other_user(i: int) -> UserId:
    """The other side of a conversation."""
    return UserId(f"user{i:05d}")


def fill(house: House, size: int) -> None:
    """Store so many conversations, as the product stores them, one message in each. They began long ago."""
    inbox = InboxStore(house.dynamodb, "InboxTable")
    entries: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i in range(size):
        conv = ConvId(f"d:{ME}:{other_user(i)}")
        draft = Draft(conv, "text", other_user(i), dumps({"text": TEXT}))
        entry = draft.following(EMPTY, house.now - 86_400_000 - i * 600_000)
        entries.append(entry_item(entry))
        if not rows:
            inbox.deliver(ME, conv, Delivery(entry, entry, None, Seq(0)), entry.ts)
            pattern = house.dynamodb.get_item(TableName="InboxTable", Key=keys.row(ME, conv))["Item"]
        times: dict[str, Any] = {"shown_ts": {"N": str(entry.ts)}, "updated": {"N": str(entry.ts)}}
        rows.append({**pattern, **keys.row(ME, conv), **times})
    for table, items in (("ConversationTable", entries), ("InboxTable", rows)):
        for some in chunks(items, 25):
            house.dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in some]})


def markdown(costs: Sequence[Cost]) -> str:
    """As a table for docs/costs.md."""
    lines = ["| | of | requests | calls of DynamoDB | R | W |", "|---|---|---|---|---|---|"]
    for cost in costs:
        numbers = f"{cost.size:,} | {cost.requests} | {cost.calls:,} | {cost.reads:,g} | {cost.writes:g}"
        lines.append(f"| {cost.what} | {numbers} |")
    return "\n".join(lines)


def measure() -> list[Cost]:
    """All of it."""
    costs = [cost for size in CONVERSATIONS for cost in inbox_costs(size)]
    return costs + [cost for size in GROUPS for cost in receipt_costs(size)]


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="the figures, for a program to read")
    arguments = parser.parse_args()
    log.setLevel("WARNING")
    costs = measure()
    print(json.dumps([asdict(cost) for cost in costs], indent=1) if arguments.json else markdown(costs))


if __name__ == "__main__":
    main()
