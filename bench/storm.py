"""What happens when everybody claims a red packet at the same moment? On the deployed stack, through real sockets.

A stack of its own is started. All members of a group connect; a packet with fewer shares than there are members is
sent, and when everybody has it, all of them claim. When all are answered and all money has moved, the tables are read:
they and not the answers say who has won, and both must agree. Exit status 1 when anything is wrong.

Claims come through the sockets, which MiniStack serves with one instance of the function, one frame after the other;
or with `--instances N` as API Gateway brings them on AWS, N at a time to N instances (the sockets take the pushes).
With `--kill`, processes of the claim function and of the settlement are killed at random meanwhile; who gets no answer
asks again.

Times are those of one machine with the emulated cloud, all functions and all clients on it: compare them with each
other and with nothing else. MiniStack decides each write alone, as DynamoDB does; but it does not throttle an item that
is written more often than 1,000 units a second, and no write of its is ever in the way of a transaction. `--hot-item`
prints what that limit means on AWS, by the sizes of items.

    PYTHONPATH=layers/common:clients/python/src:. .venv/bin/python -m bench.storm --times 20 --instances 8 --kill
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields

from bench.hot_item import hot_item_table
from bench.units import item_size, write_units
from local import Stack, running_stack
from local.chaos.faults import Call
from tests.e2e.books import Books, Packet, money_left, stored_packet
from tests.e2e.claimers import (
    AGAIN,
    CLAIMS,
    SETTLES,
    Claim,
    Instances,
    Member,
    Members,
    through_its_socket,
    wrong_answers,
)
from tests.e2e.killings import instances_of, killing

SEED = 20261121
A_SHARE = 100
"""What a share holds in the mean."""

MONEY = "1000000000"
PARAMETERS = {"NewWalletAmount": MONEY, "SignInPolicy": "multi", "RedeliverAfterSeconds": "0"}
"""Its clients acknowledge nothing: each push would come three times."""

KILL_EVERY_S = 0.7
MOST_KILLS = 8
"""For one packet. A process that starts anew takes seconds here, more when all are starting."""

PUSHED_WITHIN_S = 120.0
PAID_WITHIN_S = 300.0
TOLD_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One packet. Times are seconds from the moment when everybody claimed."""

    winners: int
    total: int
    won: int
    """What the winners have together."""
    sold_out_s: float
    """Until the last share was claimed."""
    median_s: float
    p99_s: float
    all_answered_s: float
    all_paid_s: float
    instances: int
    """Of the claim function, at the end."""
    writes: int
    """Claims that were written or refused by the table: one a winner is needed."""
    refused: int
    """Those of them that changed nothing: of losers, and of winners who asked again."""
    refused_units: int
    """What AWS bills for these."""
    reads: int
    kills: int
    sent_again: int
    """Claims that got no answer at first."""
    told_again: int
    """Of these, those of winners who had won before: the function died between its write and its answer."""
    not_pushed: int
    """Winners whose device was not told by a push what they have."""
    wrong: list[str]


def main() -> int:
    """Print the report."""
    options = _options()
    if options.hot_item:
        print(hot_item_table())
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack ends with this program, whoever ends that
    with running_stack(parameters=PARAMETERS, chaos=True, tell=_tell) as stack:
        outcomes = asyncio.run(_storms(stack, options))
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    else:
        print(_summary(outcomes))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


async def _storms(stack: Stack, options: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    dice = random.Random(options.seed)
    async with AsyncExitStack() as at_the_end:
        began = time.monotonic()
        members = await Members.gather(stack, "storm", options.claimers, at_the_end)
        _tell(f"{options.claimers} members are connected, after {time.monotonic() - began:.0f} s")
        claim: Claim = through_its_socket
        if options.instances:
            instances = Instances(stack, options.instances)
            await asyncio.to_thread(instances.warm_up)
            claim = instances.claim
        for number in range(1, options.times + 1):
            outcome = await _storm(stack, members, claim, options, dice)
            outcomes.append(outcome)
            _tell(f"{number:>3}: {_line(outcome)}")
            for line in outcome.wrong:
                _tell(f"     WRONG: {line}")
    return outcomes


async def _storm(
    stack: Stack, members: Members, claim: Claim, options: argparse.Namespace, dice: random.Random
) -> Outcome:
    """One packet: all claim it, and its money moves."""
    sent = await members.send(total=dice.randint(options.shares, 2 * A_SHARE * options.shares), count=options.shares)
    name = sent["packet"]
    await members.all_have(sent["seq"], PUSHED_WITHIN_S)
    with ExitStack() as during:
        calls = during.enter_context(_calls_of(stack, CLAIMS))
        killed: Counter[str] = Counter()
        if options.kill:
            functions = (CLAIMS, SETTLES)
            killed = during.enter_context(
                killing(stack, functions, every_s=KILL_EVERY_S, at_most=MOST_KILLS, dice=dice)
            )
        began = time.time()
        answered = await members.all_claim(name, claim)
    wrong = await _all_paid(stack, name)
    packet, books = stored_packet(stack, name), Books.read(stack)
    wrong += [*packet.wrong, *books.wrong, *books.wrong_with(packet), *wrong_answers(packet, answered)]
    if len(packet.claimers) != min(options.shares, options.claimers):
        wrong.append(f"{len(packet.claimers)} have won")
    size = item_size(packet.head)
    writes = calls["dynamodb.UpdateItem"]
    refused = writes - len(packet.claimers)
    seconds = sorted(one.seconds for one in answered)
    return Outcome(
        winners=len(packet.claimers),
        total=packet.total,
        won=sum(packet.won.values()),
        sold_out_s=packet.last_claim / 1000 - began,
        median_s=statistics.median(seconds),
        p99_s=seconds[int(len(seconds) * 0.99) - 1],
        all_answered_s=seconds[-1],
        all_paid_s=books.last_movement(packet) / 1000 - began,
        instances=instances_of(stack, CLAIMS),
        writes=writes,
        refused=refused,
        refused_units=refused * write_units(size, size),
        reads=sum(calls[f"dynamodb.{read}"] for read in ("GetItem", "BatchGetItem", "Query")),
        kills=killed.total(),
        sent_again=sum(one.answer.sendings - 1 for one in answered),
        told_again=sum(one.answer.code == AGAIN for one in answered),
        not_pushed=await _not_pushed(members, packet),
        wrong=wrong,
    )


def _was_told(member: Member, packet: str, won: dict[str, int]) -> bool:
    """Whether somebody's device was told what they have, if they have anything."""
    if member.user not in won:
        return True
    return any(told.get("amount") == won[member.user] for told in member.told(packet, "claimed"))


@contextmanager
def _calls_of(stack: Stack, function: str) -> Iterator[Counter[str]]:
    """Counts a function's AWS calls by operation, each attempt of a call, as they pass the proxy."""
    counted: Counter[str] = Counter()

    def count(call: Call) -> bool:
        counted[call.operation] += call.function == function
        return False

    assert stack.chaos is not None  # noqa: S101 - it was started so
    with stack.chaos.proxy.trap(count):
        yield counted


async def _all_paid(stack: Stack, packet: str) -> list[str]:
    """Wait until a packet is empty; what is wrong when it stays full."""
    deadline = time.monotonic() + PAID_WITHIN_S
    while left := await asyncio.to_thread(money_left, stack, packet):
        if time.monotonic() > deadline:
            return [f"{packet} still holds {left} after {PAID_WITHIN_S:g} s"]
        await asyncio.sleep(0.2)
    return []


async def _not_pushed(members: Members, packet: Packet) -> int:
    """How many of the winners are not told by a push what they have, though there was time for it."""
    deadline = time.monotonic() + TOLD_WITHIN_S
    while True:
        left = sum(not _was_told(member, packet.name, packet.won) for member in members.all)
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.1)


def _line(outcome: Outcome) -> str:
    about = (
        f"{outcome.winners} winners, {outcome.won:,} of {outcome.total:,}; sold out after {outcome.sold_out_s:.1f} s,"
        f" all answered after {outcome.all_answered_s:.1f} s"
        f" (p50 {outcome.median_s:.1f}, p99 {outcome.p99_s:.1f}), paid after {outcome.all_paid_s:.1f} s;"
        f" {outcome.refused} of {outcome.writes} writes refused ({outcome.refused_units} W), {outcome.reads} reads,"
        f" {outcome.instances} instances"
    )
    if outcome.kills:
        about += f"; {outcome.kills} kills, {outcome.sent_again} sent again, {outcome.told_again} had won before"
    if outcome.not_pushed:
        about += f"; {outcome.not_pushed} winners were pushed nothing"
    return about + ("; WRONG" if outcome.wrong else "; ledger balanced")


def _summary(outcomes: Sequence[Outcome]) -> str:
    """The least, the median and the most of every figure."""
    lines = [f"\n{len(outcomes)} packets, {sum(bool(outcome.wrong) for outcome in outcomes)} of them wrong\n"]
    lines.append(f"{'':<16}{'least':>10}{'median':>10}{'most':>10}")
    for field in fields(Outcome):
        if field.name == "wrong":
            continue
        values: list[float] = [getattr(outcome, field.name) for outcome in outcomes]
        shown: Callable[[float], str] = "{:,.1f}".format if field.name.endswith("_s") else "{:,.0f}".format
        least, median, most = (shown(of) for of in (min(values), statistics.median(values), max(values)))
        lines.append(f"{field.name:<16}{least:>10}{median:>10}{most:>10}")
    return "\n".join(lines)


def _tell(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--claimers", type=int, default=500, help="members of the group, at most 1,000")
    parser.add_argument("--shares", type=int, default=50, help="at most as many as claimers, and 500")
    parser.add_argument("--times", type=int, default=20, help="packets, one after the other")
    parser.add_argument("--instances", type=int, default=0, help="of the claim function; 0: through the sockets")
    parser.add_argument("--kill", action="store_true", help="kill processes at random meanwhile")
    parser.add_argument("--seed", type=int, default=SEED, help="of the amounts and the kills, but not of their moments")
    parser.add_argument("--hot-item", action="store_true", help="only what AWS's limit for one item means")
    parser.add_argument("--json", action="store_true", help="the figures, for a program to read")
    options = parser.parse_args()
    if not 1 <= options.shares <= min(options.claimers, 500) or options.claimers > 1000:
        parser.error("too many")
    return options


if __name__ == "__main__":
    sys.exit(main())
