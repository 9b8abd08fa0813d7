"""What does a message to a group cost, and from which size on is it cheaper to serve a group as a large one?

The real functions run on emulated tables and queues, with groups of 2 to 100,000 members, and bench/meter.py reads the
bill of every AWS call that they make, by the sizes of the items in it: the figures change when the code does. Units
are exact by AWS's rules, dollars follow from bench/prices.py, and times are estimates.

    PYTHONPATH=layers/common:. .venv/bin/python -m bench.group_costs [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import pytest

from bench import prices
from bench.crowds import CONV, Crowd, forget, gather, put_other_groups
from bench.meter import Bill, Meter
from im.aws.clients import POOL
from im.domain.ids import Seq, UserId
from im.runtime.logs import log
from tests.integration.house import House, built_house, template

LIMIT: Final = int(template()["Parameters"]["LargeGroupAbove"]["Default"])
"""LARGE_GROUP_ABOVE of the template."""
NEVER: Final = 1_000_000
"""LARGE_GROUP_ABOVE so high that every group is served as a small one."""
ALWAYS: Final = 2
"""LARGE_GROUP_ABOVE so low that every group is served as a large one."""

SIZES: Final = (2, 10, 100, 200, 500, 5_000, 100_000)
SERVED_SMALL: Final = (500, 5_000)
ONLINE_SHARE: Final = 0.5
SIMULATED: Final = 5_000
"""From this size on, one in a hundred is online; and when the group is large, nobody else is stored."""
SIMULATED_SHARE: Final = 0.01
TEN: Final = 10

COMPARED: Final = tuple((size, share) for share in (0.1, 0.5) for size in (10, 50, 100, 200))
"""Sizes of groups and shares of their members online that are measured both ways, besides those of the tables."""
GROUPS_OF_A_READER: Final = (1, 10, 100)

# What members do besides sending: assumptions of the comparison, and of nothing else.
PINGS_A_DAY: Final = 360
"""Of a connection that is always there: one every four minutes (docs/protocol.md)."""
CONNECTS_A_DAY: Final = 12
"""A connection lives two hours at most."""
READS_A_DAY: Final = 100
"""In other conversations: each of these looks at every group for the total."""
READERS: Final = 0.2
"""Of those online, how many have the group before them and mark each message as read."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one message costs in one case."""

    members: int
    online: int
    large: bool
    case: str
    writes: float
    reads: float
    reads_when_cold: float | None
    """When the functions have not met the group in this state yet."""
    queue_requests: float
    function_calls: float
    pushes: float
    rounds: int
    """Of AWS calls that follow one another until all have their pushes: fan-out, and the longest call of broadcast."""
    ms: float
    database_dollars: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one request of a member of so many groups costs."""

    groups: int
    large: bool
    what: str
    writes: float
    reads: float
    calls: int
    """AWS calls that follow one another."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """What it costs that a group becomes large."""

    members: int
    online: int
    writes: float
    reads: float
    rounds: int
    ms: float
    dollars: float


@contextmanager
def house_with(limit: int) -> Iterator[tuple[House, Meter]]:
    """A house in which groups of more than `limit` members are large, and its meter."""
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        built_house(monkeypatch, MAX_GROUP_MEMBERS="100000", LARGE_GROUP_ABOVE=str(limit)) as house,
    ):
        yield house, Meter(house, monkeypatch)


# ---- messages --------------------------------------------------------------------------------------------------------


def message_costs(size: int, share: float, limit: int, *, burst: bool) -> list[Cost]:
    """The costs of one message; with `burst`, also of each of ten that are sent within a second."""
    online = max(1, round(size * share))
    with house_with(limit) as (house, meter):
        crowd = gather(house, size, online, limit=limit, whole=size <= limit or size < SIMULATED)
        start = len(house.calls)
        cold = None
        if crowd.large or size < SIMULATED:
            forget(house)
            cold = _batch(crowd, meter, 1)
        else:
            # Thousands of rows are slow to emulate: what the fan-out would remember is looked up without any.
            house.apps["fanout"].fan_out.members.between(CONV, Seq(1), Seq(1))
        _warm(crowd)
        one = _batch(crowd, meter, 1)
        costs = [_cost(crowd, "one", one, cold=cold)]
        if burst:
            nine = _batch(crowd, meter, TEN - 1, first=1)
            costs.append(_cost(crowd, "ten, in one batch", _batch(crowd, meter, TEN)))
            costs.append(_cost(crowd, "ten, one and nine", one + nine))
        crowd.check(house.calls[start:])
    return costs


def _warm(crowd: Crowd) -> None:
    """Every sender has sent something in this state of the group, and the fan-out has met them."""
    for device in crowd.online[:TEN]:
        crowd.say(device)
    if crowd.large:
        crowd.deliver()
    else:
        crowd.drop()  # in a small group it knows all members already


def _batch(crowd: Crowd, meter: Meter, messages: int, first: int = 0) -> Bill:
    """Messages, each of another of the first ten members online, fanned out as one batch."""
    senders = crowd.online[:TEN]
    with meter.measured() as bill:
        for i in range(messages):
            crowd.say(senders[(first + i) % len(senders)])
        crowd.deliver(meter)
    return bill


def _cost(crowd: Crowd, case: str, bill: Bill, *, cold: Bill | None = None) -> Cost:
    messages = sum(1 for one in bill.invocations if one.function == "message")
    return Cost(
        members=crowd.size,
        online=len(crowd.online),
        large=crowd.large,
        case=case,
        writes=bill.writes / messages,
        reads=bill.reads / messages,
        reads_when_cold=cold.reads if cold is not None else None,
        queue_requests=bill.queue / messages,
        function_calls=bill.functions / messages,
        pushes=bill.pushes / messages,
        rounds=bill.rounds_of("fanout") + bill.rounds_of("broadcast"),
        ms=bill.ms_of("fanout") + bill.ms_of("broadcast"),
        database_dollars=bill.database_dollars / messages,
        dollars=bill.dollars / messages,
    )


# ---- becoming large --------------------------------------------------------------------------------------------------


def crossing(size: int, share: float) -> Crossing:
    """The member comes in who makes a group of `size` large: what the fan-out of that entry costs."""
    online = round(size * share)
    with house_with(size - 1) as (house, meter):
        crowd = gather(house, size - 1, online, limit=size - 1)
        crowd.online[0].ok("group.invite", {"conv": CONV, "users": ["newcomer"]})
        with meter.measured() as bill:
            crowd.deliver(meter)
    return Crossing(size, online, bill.writes, bill.reads, bill.rounds_of("fanout"), bill.ms_of("fanout"), bill.dollars)


# ---- what members ask for --------------------------------------------------------------------------------------------


def readings(groups: int, *, large: bool) -> list[Reading]:
    """What the requests of a member of `groups` groups cost, all of them large or all of them small."""
    reader = UserId("user000001")
    with house_with(ALWAYS if large else NEVER) as (house, meter):
        crowd = gather(house, 3, 1, limit=ALWAYS if large else NEVER)
        put_other_groups(house, reader, groups - 1, large=large)
        crowd.say(crowd.online[0])
        crowd.deliver()
        out: list[Reading] = []

        def ask(what: str, request: Callable[[], Any]) -> Any:
            with meter.measured() as bill:
                answer = request()
            calls = sum(one.rounds for one in bill.invocations)
            out.append(Reading(groups, large, what, bill.writes, bill.reads, calls))
            return answer

        newest = {"conv": CONV, "seq": max(crowd.told)}
        device = ask("connect", lambda: house.connect(reader))
        ask("ping", lambda: device.ok("connect.ping"))
        ask("sync.inbox", lambda: device.ok("sync.inbox"))
        ask("sync.unread", lambda: device.ok("sync.unread"))
        ask("sync.ack", lambda: device.ok("sync.ack", {"acks": [newest]}))
        ask("sync.read", lambda: device.ok("sync.read", newest))
        ask("disconnect", device.hang_up)
    return out


# ---- from how many messages on ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BreakEven:
    """How many messages a day make a group cheaper when it is large."""

    members: int
    online: int
    saved_by_a_message: float
    """Dollars, what its readers ask for afterwards taken off."""
    spent_in_a_day: float
    """Dollars, whatever is said."""

    @property
    def messages(self) -> float | None:
        """A day; None when it is never cheaper."""
        return self.spent_in_a_day / self.saved_by_a_message if self.saved_by_a_message > 0 else None


def extra_dollars(read: Sequence[Reading], what: str) -> float:
    """What a request costs more when the one group that it is about is large."""
    small, large = (
        next(r for r in read if r.what == what and r.groups == 1 and r.large is large) for large in (False, True)
    )
    return (large.writes - small.writes) * prices.WRITE_UNIT + (large.reads - small.reads) * prices.READ_UNIT


def break_even(small: Cost, large: Cost, read: Sequence[Reading]) -> BreakEven:
    """Both ways to serve one group compared."""
    a_connection = PINGS_A_DAY * (extra_dollars(read, "ping") + extra_dollars(read, "sync.inbox"))
    a_connection += CONNECTS_A_DAY * (extra_dollars(read, "connect") + extra_dollars(read, "disconnect"))
    a_connection += READS_A_DAY * extra_dollars(read, "sync.read")
    a_message = READERS * small.online * extra_dollars(read, "sync.read")
    return BreakEven(
        small.members, small.online, small.dollars - large.dollars - a_message, small.online * a_connection
    )


# ---- all of it -------------------------------------------------------------------------------------------------------


def share_of(size: int) -> float:
    """How many of a group's members are online."""
    return SIMULATED_SHARE if size >= SIMULATED else ONLINE_SHARE


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is measured."""

    messages: Sequence[Cost]
    served_small: Sequence[Cost]
    readings: Sequence[Reading]
    crossing: Crossing
    break_even: Sequence[BreakEven]
    seconds: float
    processor_seconds: float


def measure(processes: int = 2) -> Report:
    """Measure everything, each group in a house of its own. The longest come first."""
    started = time.monotonic()
    with ProcessPoolExecutor(processes, initializer=partial(log.setLevel, "WARNING")) as pool:

        def later(job: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            return pool.submit(partial(job, *arguments, **options))

        small = [later(message_costs, size, share_of(size), NEVER, burst=True) for size in reversed(SERVED_SMALL)]
        messages = [later(message_costs, size, share_of(size), LIMIT, burst=True) for size in reversed(SIZES)]
        compared = [
            [later(message_costs, size, share, limit, burst=False) for limit in (NEVER, ALWAYS)]
            for size, share in COMPARED
        ]
        crossed = later(crossing, LIMIT + 1, ONLINE_SHARE)
        read = [later(readings, groups, large=large) for groups in GROUPS_OF_A_READER for large in (False, True)]
        read_costs = [reading for job in read for reading in job.result()]
        costs = [cost for job in reversed(messages) for cost in job.result()]
        small_costs = [cost for cost in costs if not cost.large]
        small_costs += [cost for job in reversed(small) for cost in job.result()]
        even = [break_even(a.result()[0], b.result()[0], read_costs) for a, b in compared]
        even += [
            break_even(one, other, read_costs)
            for one in small_costs
            for other in costs
            if one.members == other.members and other.large and one.case == other.case == "one"
        ]
    busy = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Report(
        messages=costs,
        served_small=small_costs,
        readings=read_costs,
        crossing=crossed.result(),
        break_even=even,
        seconds=time.monotonic() - started,
        processor_seconds=busy.ru_utime + busy.ru_stime,
    )


# ---- shown -----------------------------------------------------------------------------------------------------------


_LEGEND: Final = (
    f"Half of the members are online, from {SIMULATED:,} members on one in a hundred. Ten messages: sent in one second"
    " by up to ten members, and a figure is for one of the ten; they come to the fan-out in one batch, or the first"
    " comes alone and nine behind it. W, R: DynamoDB write and read units. R cold: when the functions meet the group in"
    " this state for the first time; no figure where that was not measured. Rounds: AWS calls that follow one another"
    f" from the queue to the last push, {POOL} at a time; ms: estimated from them. Dollars for a million messages,"
    f" {prices.REGION}, {prices.AS_OF}: check them. The sender's request and its reply are in the dollars. So are the"
    " auditor, and the check whether the pushes have arrived, each as if it came with nothing else."
)


def markdown(report: Report) -> str:
    """The report as Markdown."""
    return "\n\n".join(
        [
            f"## A message to a group, groups of more than {LIMIT:,} members being large",
            _costs_table(report.messages),
            _LEGEND,
            "## The same, every group served as a small one",
            _costs_table(report.served_small),
            "## What a member asks for, by how many groups they are in",
            _readings_table(report.readings),
            "Behind the units: how many AWS calls follow one another. sync.read and sync.ack are about one of the"
            " groups and come right after a message was fanned out there. sync.inbox is that of a new device: it asks"
            " for all groups, and reads what each of them shows.",
            "## Becoming large",
            _crossing_text(report.crossing),
            "## From how many messages a day a group is cheaper when it is large",
            _break_even_table(report.break_even),
            f"Whoever is online is so all day: {PINGS_A_DAY} pings, each of which finds the inbox changed and asks for"
            f" it, {CONNECTS_A_DAY} connections, {READS_A_DAY} reads of other conversations; {READERS:.0%} of them mark"
            " each message as read. Acks are not in it: there are none in groups of more than 100.",
            f"Measured in {report.seconds:.0f} s ({report.processor_seconds:.0f} s of processors).",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _costs_table(costs: Sequence[Cost]) -> str:
    head = ["members", "online", "as", "messages", "W", "R", "R cold", "queue requests", "function calls", "pushes"]
    head += ["rounds", "ms", "$ tables", "$ in all"]
    return _table(
        head,
        [
            (
                f"{c.members:,}",
                f"{c.online:,}",
                "large" if c.large else "small",
                c.case,
                _number(c.writes),
                _number(c.reads),
                _number(c.reads_when_cold) if c.reads_when_cold is not None else "",
                _number(c.queue_requests),
                _number(c.function_calls),
                _number(c.pushes),
                f"{c.rounds:,}",
                f"{c.ms:,.0f}",
                f"{c.database_dollars * prices.MILLION:,.2f}",
                f"{c.dollars * prices.MILLION:,.2f}",
            )
            for c in costs
        ],
    )


def _readings_table(read: Sequence[Reading]) -> str:
    by: Mapping[tuple[str, int, bool], Reading] = {(r.what, r.groups, r.large): r for r in read}
    columns = sorted({(r.groups, r.large) for r in read})
    head = ["", *(f"{groups} {'large' if large else 'small'}" for groups, large in columns)]
    return _table(
        head,
        [
            [what, *(_reading(by[what, groups, large]) for groups, large in columns)]
            for what in dict.fromkeys(r.what for r in read)
        ],
    )


def _reading(r: Reading) -> str:
    return f"{_number(r.writes)} W {_number(r.reads)} R, {r.calls}"


def _crossing_text(crossed: Crossing) -> str:
    return (
        f"The entry with which a group comes to {crossed.members:,} members, {crossed.online:,} of them online, costs"
        f" its fan-out {_number(crossed.writes)} W and {_number(crossed.reads)} R in {crossed.rounds} rounds (some"
        f" {crossed.ms:,.0f} ms): {crossed.dollars * prices.MILLION:,.0f} dollars for a million of them."
    )


def _break_even_table(even: Sequence[BreakEven]) -> str:
    head = ("members", "online", "a message saves, $ a million", "a day costs, $ a million", "messages a day")
    return _table(
        head,
        [
            (
                f"{e.members:,}",
                f"{e.online:,}",
                f"{e.saved_by_a_message * prices.MILLION:,.2f}",
                f"{e.spent_in_a_day * prices.MILLION:,.2f}",
                f"{e.messages:,.0f}" if e.messages is not None else "never",
            )
            for e in even
        ],
    )


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="the figures, for a program to read")
    parser.add_argument("--processes", type=int, default=2, help="how many groups to measure at once")
    arguments = parser.parse_args()
    report = measure(arguments.processes)
    print(json.dumps(asdict(report), indent=1) if arguments.json else markdown(report))


if __name__ == "__main__":
    main()
