"""Every place of a lucky packet is alike: in all outcomes of small packets exactly, in large ones by statistics.

The seeds are fixed, so that these pass or fail for good. Each test shows as well that it would notice: shares in the
order in which they are drawn, before they are shuffled, are rejected by it.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Final

import pytest

from bench.fairness import TENTHS, Places, evenness, homogeneity, kolmogorov_smirnov
from bench.split import as_claimed, as_drawn, measure
from im.domain.red_packet import Below, best_luck

SEED: Final = 20_261_121
ALIKE: Final = 0.001
"""A p-value above it is one of chance. One test in a thousand would fail by chance, if its seed were not fixed."""
REJECTED: Final = 1e-9

HALVES: Final = 4
"""Classes of the shares of pairs: by halves of the mean, and the last is one and a half means and more."""

Shares = tuple[int, ...]
Way = Callable[[int, int, Below], Shares]


# ---- all outcomes of small packets -----------------------------------------------------------------------------------


@dataclass
class Script:
    """Dice that show what is written down first, and then 0; and what they could have shown instead."""

    written: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    chance: Fraction = Fraction(1)
    others: list[tuple[int, ...]] = field(default_factory=list)

    def below(self, bound: int) -> int:
        self.chance /= bound
        if len(self.shown) == len(self.written):
            self.others += [(*self.shown, other) for other in range(1, bound)]
            self.written = (*self.written, 0)
        self.shown = self.written[: len(self.shown) + 1]
        return self.shown[-1]


def outcomes(way: Way, total: int, count: int) -> Iterator[tuple[Shares, Fraction]]:
    """Every way in which the dice can fall: the shares, and the probability."""
    unplayed: list[tuple[int, ...]] = [()]
    while unplayed:
        script = Script(unplayed.pop())
        yield way(total, count, script.below), script.chance
        unplayed += script.others


@cache
def distribution(way: Way, total: int, count: int) -> dict[Shares, Fraction]:
    """The probability of each division."""
    out: dict[Shares, Fraction] = {}
    for shares, chance in outcomes(way, total, count):
        out[shares] = out.get(shares, Fraction(0)) + chance
    assert sum(out.values()) == 1
    return out


SMALL: Final = [(2, 2), (3, 2), (7, 2), (3, 3), (4, 3), (5, 3), (8, 3), (10, 3), (4, 4), (5, 4), (6, 4), (7, 4)]


@pytest.mark.parametrize(("total", "count"), SMALL)
def test_any_order_of_the_same_shares_has_exactly_the_same_probability(total: int, count: int) -> None:
    """So each place has the same distribution, each pair of places, and so on; and so has, whatever the first places
    have shown, each of the others."""
    found = distribution(as_claimed, total, count)

    for shares, chance in found.items():
        assert all(found[other] == chance for other in itertools.permutations(shares))


@pytest.mark.parametrize(("total", "count"), SMALL)
def test_every_division_is_possible(total: int, count: int) -> None:
    every = {shares for shares in itertools.product(range(1, total + 1), repeat=count) if sum(shares) == total}

    assert set(distribution(as_claimed, total, count)) == every


@pytest.mark.parametrize("way", [as_claimed, as_drawn])
@pytest.mark.parametrize(("total", "count"), SMALL)
def test_the_mean_of_every_place_is_exactly_the_same(way: Way, total: int, count: int) -> None:
    found = distribution(way, total, count)

    for place in range(count):
        assert sum(shares[place] * chance for shares, chance in found.items()) == Fraction(total, count)


@pytest.mark.parametrize(("total", "count"), SMALL)
def test_the_mean_of_what_is_still_to_come_is_the_mean_of_what_is_left(total: int, count: int) -> None:
    found = distribution(as_claimed, total, count)

    for known in range(1, count):
        for first in {shares[:known] for shares in found}:
            those = {shares: chance for shares, chance in found.items() if shares[:known] == first}
            for place in range(known, count):
                mean = sum(shares[place] * chance for shares, chance in those.items()) / sum(those.values())
                assert mean == Fraction(total - sum(first), count - known)


def test_the_order_of_drawing_is_not_fair() -> None:
    found = distribution(as_drawn, 8, 3)

    def spread(place: int) -> Fraction:
        return sum(((shares[place] - Fraction(8, 3)) ** 2 * c for shares, c in found.items()), Fraction(0))

    assert spread(0) < spread(1) == spread(2)


def test_two_shares_are_alike_as_they_are_drawn() -> None:
    assert distribution(as_drawn, 9, 2) == distribution(as_claimed, 9, 2)


# ---- many large packets ----------------------------------------------------------------------------------------------


def packets(way: Way, number: int, count: int, total: int, *, seed: int = SEED) -> Iterator[Shares]:
    """So many of the same size."""
    print(f"seed {seed}")
    dice = random.Random(f"{seed} {count} {total}")
    for _ in range(number):
        yield way(total, count, dice.randrange)


SIZES: Final = [
    (3, 3_000_000, 6_000),
    (5, 1_234_567, 6_000),
    (10, 100_000, 4_000),
    (10, 25, 4_000),
    (50, 10**12, 1_500),
]
"""Shares, total, packets. 25 in ten shares: hardly more than each must have."""


@pytest.mark.parametrize(("count", "total", "number"), SIZES)
def test_every_place_has_the_same_distribution(count: int, total: int, number: int) -> None:
    """All shares of all packets, counted by place (by tenth of 50 places) and class."""
    verdicts = []
    for way in (as_claimed, as_drawn):
        places = Places(groups=min(count, TENTHS))
        for shares in packets(way, number, count, total):
            places.add(shares, total)
        verdicts.append(places.verdict())

    claimed, drawn = verdicts
    print(claimed, drawn, sep="\n")
    assert claimed.p > ALIKE
    assert drawn.p < REJECTED


@pytest.mark.parametrize(("first", "last"), [(0, 9), (0, 8), (4, 9)])
def test_the_first_and_the_last_of_ten_are_alike_by_kolmogorov_and_smirnov(first: int, last: int) -> None:
    """Of each packet one share, so that all are independent."""
    claimed, drawn = (
        kolmogorov_smirnov(
            [shares[first] for shares in itertools.islice(all_shares, 0, None, 2)],
            [shares[last] for shares in itertools.islice(all_shares, 1, None, 2)],
        )
        for all_shares in (list(packets(way, 12_000, 10, 10**9)) for way in (as_claimed, as_drawn))
    )

    print(claimed, drawn, sep="\n")
    assert claimed[1] > ALIKE
    assert drawn[1] < REJECTED


def test_all_pairs_of_places_are_alike() -> None:
    """Of each packet one pair of places, in turn, so that all are independent: how often which classes meet."""
    count, total = 5, 10**8
    pairs = list(itertools.permutations(range(count), 2))
    verdicts = []
    for way in (as_claimed, as_drawn):
        table = [[0] * HALVES**2 for _ in pairs]
        for i, shares in enumerate(packets(way, 40_000, count, total)):
            row = i % len(pairs)
            one, other = (min(HALVES - 1, 2 * shares[place] * count // total) for place in pairs[row])
            table[row][one * HALVES + other] += 1
        verdicts.append(homogeneity(table))

    claimed, drawn = verdicts
    print(claimed, drawn, sep="\n")
    assert claimed.degrees == (len(pairs) - 1) * (HALVES**2 - 1)
    assert claimed.p > ALIKE
    assert drawn.p < REJECTED


@pytest.mark.parametrize("count", [10, 20])
def test_every_place_is_as_likely_to_have_the_best_luck(count: int) -> None:
    verdicts = []
    for way in (as_claimed, as_drawn):
        best = Counter(best_luck(shares) for shares in packets(way, 20_000, count, 10**12))
        verdicts.append(evenness([best[place] for place in range(count)]))

    claimed, drawn = verdicts
    print(claimed, drawn, sep="\n")
    assert claimed.p > ALIKE
    assert drawn.p < REJECTED


# ---- many packets of any size ----------------------------------------------------------------------------------------


def test_packets_of_random_sizes_add_up_and_their_places_are_alike() -> None:
    """What `python -m bench.split` does with a million."""
    claimed = measure(20_000, SEED)
    drawn = measure(2_000, SEED, as_drawn)

    print(SEED, claimed.places.verdict(), drawn.places.verdict(), sep="\n")
    assert claimed.exact == claimed.packets == 20_000
    assert claimed.smallest == 1
    assert claimed.places.verdict().p > ALIKE
    assert drawn.places.verdict().p < REJECTED
