"""`python -m tests.faults [FLOW [CALL [FAULT]]]` lets every AWS call go wrong in every way, and prints what came of it.

A line a flow and call, a column a fault; in a cell, what came of it when whoever does such things again did, and when
nobody ever did. With arguments it plays one flow, one of its calls (by number), one fault, and tells more.
Exit status 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "layers/common")]

from tests.faults.faults import FAULTS  # noqa: E402 - they find the functions' code by the line above
from tests.faults.flows import FLOWS, Flow  # noqa: E402
from tests.faults.play import MARKS, THEN, Played, Stage, staged  # noqa: E402
from tests.faults.world import built_world  # noqa: E402

WIDTH = 14


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("flow", nargs="?", choices=[*FLOWS], metavar="FLOW", help=f"one of: {', '.join(FLOWS)}")
    parser.add_argument("call", nargs="?", type=int, metavar="CALL", help="the number of an AWS call, from 0")
    parser.add_argument("fault", nargs="?", choices=[*FAULTS], metavar="FAULT", help=f"one of: {', '.join(FAULTS)}")
    asked = parser.parse_args()
    flows = [FLOWS[asked.flow]] if asked.flow else list(FLOWS.values())
    started = time.monotonic()
    played: list[Played] = []
    broken = 0
    _head()
    with built_world() as (world, injector, base):
        for flow in flows:
            with staged(world, injector, base, flow) as stage:
                broken += _without_a_fault(flow, stage)
                some = [
                    stage.play(case)
                    for case in stage.cases()
                    if asked.call in {None, case.at} and asked.fault in {None, case.fault}
                ]
            _table(some)
            for one in some:
                broken += bool(one.broken)
                if asked.call is not None:
                    print(f"{one.case}: {', '.join(one.outcome)}")
                for promise in one.broken:
                    print(f"    BROKEN {one.case}\n        {promise}")
            played += some
    _counts(played, broken, time.monotonic() - started)
    return 1 if broken else 0


def _without_a_fault(flow: Flow, stage: Stage) -> bool:
    for promise in (broken := (*stage.nothing.broken, *stage.done.broken)):
        print(f"    BROKEN {flow.name}, without a fault\n        {promise}")
    return bool(broken)


def _head() -> None:
    print(f"{'flow, AWS call':<58}" + "".join(f"{fault:<{WIDTH}}" for fault in FAULTS))


def _table(played: Sequence[Played]) -> None:
    cells: dict[tuple[str, str, int, str], dict[tuple[str, str], str]] = {}
    for one in played:
        case = one.case
        row = cells.setdefault((case.flow, case.instance, case.at, case.call), {})
        row[case.fault, case.then] = one.marks + ("!" if one.broken else "")
    for (flow, instance, at, call), row in cells.items():
        name = f"{flow}{', warm' if instance == 'warm' else ''}: {at} {call}"
        shown = {fault: " / ".join(row[fault, then] for then in THEN) for fault in FAULTS if (fault, THEN[0]) in row}
        print(f"{name:<57} " + "".join(f"{shown.get(fault, ''):<{WIDTH}}" for fault in FAULTS), flush=True)


def _counts(played: Sequence[Played], broken: int, seconds: float) -> None:
    print("\nIn a cell: it is done again / nobody does it again. ! a promise is broken.")
    print("Letters: " + ", ".join(f"{letter} {word}" for word, letter in MARKS.items()))
    for outcome, count in Counter(", ".join(one.outcome) for one in played).most_common():
        print(f"{count:>7}  {outcome}")
    print(f"{len(played)} cases, {broken} broken promises, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
