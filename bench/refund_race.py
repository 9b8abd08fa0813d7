"""When the last claim of a red packet and its refund come at the same moment, is it always exactly one of them?

A stack of its own is started. tests/e2e/refund_race.py says how the two meet; the tables say who was first, and that
the money has gone one way, not both and not neither. Exit status 1 otherwise.

    PYTHONPATH=layers/common:clients/python/src:. .venv/bin/python -m bench.refund_race [--times 200] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time

from local import running_stack
from tests.e2e.refund_race import Races

SEED = 20261121


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=200, help="races")
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments; which write is first, the machine says")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack ends with this program, whoever ends that
    with running_stack(parameters={"NewWalletAmount": "1000000000"}, chaos=True) as stack:
        began = time.monotonic()
        races = Races(stack, random.Random(options.seed))
        races.run(options.times)
        wrong = list(races.wrong())
        seconds = time.monotonic() - began
    kept = [race for race in races.done if race.met is not None]
    print(
        f"{len(races.done)} races in {seconds:.0f} s: the last claim was first in {races.claimed},"
        f" the refund in {len(races.done) - races.claimed}.\n"
        f"In {len(kept)} the writes were kept for each other, and met in {sum(race.met is True for race in kept)}."
    )
    print("\n".join(wrong) or "Always one of them, never both, never neither; all books balance.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
