"""Do shares of red packets add up, and is every place alike? Splits very many packets of random sizes and looks.

Of the places, the whole distribution of shares is tested: bench/fairness.py says how. The same test on shares in the
order in which they are drawn, before they are shuffled, shows that it would notice. --picture draws that distribution.

    PYTHONPATH=layers/common:. .venv/bin/python -m bench.split [--packets N] [--seed N | --secure] [--picture FILE]
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final

from bench.fairness import Places
from bench.split_picture import drawing
from im.domain.red_packet import Below, double_mean, split

SEED: Final = 20261121
PACKETS: Final = 1_000_000
CONTROL: Final = 10
"""One packet in so many is split without a shuffle, too."""
BATCH: Final = 5_000
"""Packets with dice of their own: what comes out does not depend on the number of processes."""

MOST_SHARES: Final = 500
HIGHEST_TOTAL: Final = 10**12

Split = Callable[[int, int, Below], tuple[int, ...]]


@dataclass(slots=True)
class Tally:
    """What is known of the packets that were split."""

    packets: int = 0
    shares: int = 0
    exact: int = 0
    """Packets whose shares add up to their total."""
    smallest: int = HIGHEST_TOTAL
    largest: Fraction = Fraction(0)
    """Of all shares, in means of its packet."""
    places: Places = field(default_factory=Places)

    def add(self, shares: tuple[int, ...], total: int) -> None:
        """One packet."""
        self.packets += 1
        self.shares += len(shares)
        self.exact += sum(shares) == total
        self.smallest = min(self.smallest, *shares)
        self.largest = max(self.largest, Fraction(max(shares) * len(shares), total))
        self.places.add(shares, total)

    def merge(self, other: Tally) -> None:
        """Those of another batch."""
        self.packets += other.packets
        self.shares += other.shares
        self.exact += other.exact
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        self.places.merge(other.places)


def as_claimed(total: int, count: int, below: Below) -> tuple[int, ...]:
    """A lucky packet as the product splits it."""
    return split("lucky", total, count, below)


def as_drawn(total: int, count: int, below: Below) -> tuple[int, ...]:
    """The same without the shuffle."""
    return tuple(double_mean(total, count, below))


def random_size(dice: random.Random) -> tuple[int, int]:
    """A total and a count: 1 to 500 shares, the total from 1 a share up to 10^12, small ones as likely as large ones
    (the logarithms of the count, and of what is more than 1 a share, are uniform)."""
    count = int((MOST_SHARES + 1) ** dice.random())
    return count - 1 + int((HIGHEST_TOTAL - count + 2) ** dice.random()), count


def play(packets: int, seed: int, number: int, *, way: Split, secure: bool) -> Tally:
    """One batch. Its sizes come from the seed in any case."""
    sizes = random.Random(f"{seed} {number}")
    below: Below = secrets.randbelow if secure else random.Random(f"{seed} {number} shares").randrange
    tally = Tally()
    for _ in range(packets):
        total, count = random_size(sizes)
        tally.add(way(total, count, below), total)
    return tally


def measure(packets: int, seed: int, way: Split = as_claimed, *, secure: bool = False, processes: int = 2) -> Tally:
    """Split so many packets and look at all of them."""
    sizes = list(_batches(packets))
    job = partial(play, seed=seed, way=way, secure=secure)
    tally = Tally()
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(_numbered, [job] * len(sizes), sizes, range(len(sizes))):
            tally.merge(part)
    return tally


def _numbered(job: Callable[..., Tally], packets: int, number: int) -> Tally:
    return job(packets, number=number)


def _batches(packets: int) -> Iterator[int]:
    for start in range(0, packets, BATCH):
        yield min(BATCH, packets - start)


def report(packets: int, seed: int, *, secure: bool = False, processes: int = 2) -> str:
    """What there is to say. Raises SystemExit when a packet does not add up or a share is below 1."""
    started = time.monotonic()
    claimed = measure(packets, seed, secure=secure, processes=processes)
    drawn = measure(max(1, packets // CONTROL), seed, as_drawn, secure=secure, processes=processes)
    lines = {
        "packets": f"{claimed.packets:,} of 1 to {MOST_SHARES} shares, totals up to {HIGHEST_TOTAL:,}",
        "shares": f"{claimed.shares:,}",
        "dice": "secrets.randbelow" if secure else f"seed {seed}",
        "sums exact": f"{claimed.exact:,} of {claimed.packets:,}",
        "smallest share": f"{claimed.smallest}",
        "largest share": f"{float(claimed.largest):.1f} times the mean of its packet",
        "places alike": f"{claimed.places.verdict()}",
        "unshuffled": f"{drawn.places.verdict()} ({drawn.packets:,} packets, to compare)",
        "time": f"{time.monotonic() - started:.0f} s in {processes} processes",
    }
    text = "\n".join(f"{name:<16}{value}" for name, value in lines.items())
    if claimed.exact != claimed.packets or claimed.smallest < 1:
        raise SystemExit(text)
    return text


def main() -> None:
    """Print the report, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--packets", type=int, default=PACKETS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--secure", action="store_true", help="the product's dice, secrets.randbelow: never the same")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--picture", type=Path, help="an SVG file to write; it comes from a seed of its own")
    asked = parser.parse_args()
    if asked.picture:
        asked.picture.write_text(drawing(SEED))
    print(report(asked.packets, asked.seed, secure=asked.secure, processes=asked.processes))


if __name__ == "__main__":
    main()
