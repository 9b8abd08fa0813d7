"""Are shares alike, whatever their place? Tests of whole distributions, with p-values, by the standard library alone.

A p-value is the chance of a statistic as large as this one, or larger, if the shares are alike: any number from 0 to 1
is as likely as another then, and one below 0.001 says that they are not.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

QUARTERS: Final = 9
"""Classes of shares: by quarters of the mean of their packet, and the last is twice the mean and more."""

TENTHS: Final = 10
"""Groups of places: the first place of a packet is in the first, and its last one in the last."""

SINGULAR: Final = 1e-9
"""A variance that is as small as this, compared with the largest, is none: it is what rounding leaves."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A chi-square statistic."""

    statistic: float
    degrees: int

    @property
    def p(self) -> float:
        """The p-value."""
        return chi_square_survival(self.statistic, self.degrees)

    def __str__(self) -> str:
        return f"chi-square {self.statistic:,.1f} of {self.degrees} degrees of freedom, {shown(self.p)}"


def shown(p: float) -> str:
    """A p-value as text."""
    return "p < 1e-300" if p < 1e-300 else f"p = {p:.2g}" if p < 0.01 else f"p = {p:.2f}"


def chi_square_survival(statistic: float, degrees: int) -> float:
    """How often a chi-square variable is larger than `statistic`.

    It is Q(a, x) for a = degrees/2, x = statistic/2, the incomplete gamma function: from Q(½, x) = erfc(√x) or
    Q(1, x) = exp(-x) on by Q(a + 1, x) = Q(a, x) + x^a exp(-x) / Γ(a + 1). All of it is added, nothing cancels.
    """
    if statistic <= 0:
        return 1.0
    x = statistic / 2
    terms = [math.erfc(math.sqrt(x))] if degrees % 2 else [math.exp(-x)]
    a = 0.5 if degrees % 2 else 1.0
    while a < degrees / 2:
        terms.append(math.exp(a * math.log(x) - x - math.lgamma(a + 1)))
        a += 1
    return min(1.0, math.fsum(terms))


def homogeneity(table: Sequence[Sequence[int]]) -> Verdict:
    """Pearson's test that the rows are counts from one distribution. Each count is of observations that are independent
    of all others: of one share of a packet, say, or of one pair."""
    columns = [sum(column) for column in zip(*table, strict=True)]
    rows = [sum(row) for row in table]
    whole = sum(rows)
    statistic = sum(
        (seen - row * column / whole) ** 2 / (row * column / whole)
        for counts, row in zip(table, rows, strict=True)
        for seen, column in zip(counts, columns, strict=True)
        if row and column
    )
    return Verdict(statistic, (sum(map(bool, rows)) - 1) * (sum(map(bool, columns)) - 1))


def evenness(counts: Sequence[int]) -> Verdict:
    """Pearson's test that all of some events are as likely, which were seen so often."""
    expected = sum(counts) / len(counts)
    return Verdict(sum((seen - expected) ** 2 / expected for seen in counts), len(counts) - 1)


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The largest distance between two empirical distribution functions, and its p-value (for some 100 values and more;
    where values are equal it is too large, never too small)."""
    one, other = sorted(one), sorted(other)
    distance = max(abs(bisect_right(one, x) / len(one) - bisect_right(other, x) / len(other)) for x in (*one, *other))
    root = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    t = (root + 0.12 + 0.11 / root) * distance
    if t < 0.3:  # where the series is slow: below it is 1 to five places
        return distance, 1.0
    return distance, min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * t) ** 2) for k in range(1, 30)))


@dataclass(slots=True)
class _Stratum:
    """The packets of one number of shares."""

    packets: int = 0
    classes: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    """How many shares there are of each class."""
    products: list[int] = field(default_factory=lambda: [0] * QUARTERS**2)
    """Of the numbers of two classes in the same packet, added."""

    def merge(self, other: _Stratum) -> None:
        self.packets += other.packets
        self.classes = [a + b for a, b in zip(self.classes, other.classes, strict=True)]
        self.products = [a + b for a, b in zip(self.products, other.products, strict=True)]


@dataclass(slots=True)
class Places:
    """The shares of many packets, of any sizes, counted by the group of their place and by their class.

    The shares of a packet are not independent of one another: their sum is fixed. But if places are alike, then any
    order of the shares that a packet has is as likely as the others, and this alone gives the mean and the covariances
    of all counts exactly, packet by packet: the generalised test of Cochran, Mantel, and Haenszel (Landis, Heyman, and
    Koch 1978). It takes every share of every packet, and no assumption about their distribution.
    """

    groups: int = TENTHS
    strata: dict[int, _Stratum] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    """Counts: QUARTERS for each group of places."""

    def __post_init__(self) -> None:
        self.seen = self.seen or [0] * (self.groups * QUARTERS)

    def add(self, shares: Sequence[int], total: int) -> None:
        """One packet, its shares in the order of their places."""
        count = len(shares)
        if count == 1:
            return
        scale, last, seen = 4 * count, QUARTERS - 1, self.seen
        classes = [0] * QUARTERS
        for start, share in zip(_starts(count, self.groups), shares, strict=True):
            of = share * scale // total
            of = min(of, last)
            classes[of] += 1
            seen[start + of] += 1
        stratum = self.strata.setdefault(count, _Stratum())
        stratum.packets += 1
        sums, products = stratum.classes, stratum.products
        for a, many in enumerate(classes):
            if many:
                sums[a] += many
                row = a * QUARTERS
                for b, more in enumerate(classes):
                    products[row + b] += many * more

    def merge(self, other: Places) -> None:
        """Those of another part of the packets."""
        self.seen = [a + b for a, b in zip(self.seen, other.seen, strict=True)]
        for count, stratum in other.strata.items():
            self.strata.setdefault(count, _Stratum()).merge(stratum)

    def verdict(self) -> Verdict:
        """Whether all groups of places have the same distribution of shares."""
        size = self.groups * QUARTERS
        off = [float(count) for count in self.seen]
        covariance = [[0.0] * size for _ in range(size)]
        for count, stratum in sorted(self.strata.items()):
            starts = _starts(count, self.groups)
            members = [starts.count(group * QUARTERS) for group in range(self.groups)]
            weight = 1 / (count**2 * (count - 1))
            within = [
                [
                    weight * ((a == b) * count * stratum.classes[a] - stratum.products[a * QUARTERS + b])
                    for b in _CLASSES
                ]
                for a in _CLASSES
            ]
            for i, many in enumerate(members):
                for a in _CLASSES:
                    off[i * QUARTERS + a] -= many * stratum.classes[a] / count
                for j, more in enumerate(members):
                    if between := (i == j) * many * count - many * more:
                        for a in _CLASSES:
                            row = covariance[i * QUARTERS + a]
                            for b in _CLASSES:
                                row[j * QUARTERS + b] += between * within[a][b]
        return _mahalanobis(off, covariance)


_CLASSES: Final = range(QUARTERS)


@cache
def _starts(count: int, groups: int) -> tuple[int, ...]:
    """For each place of so many, where the counts of its group start."""
    step = count - 1
    return tuple((2 * place * (groups - 1) + step) // (2 * step) * QUARTERS for place in range(count))


def _mahalanobis(off: Sequence[float], covariance: Sequence[Sequence[float]]) -> Verdict:
    """The square of the distance of `off` from 0, in standard deviations; the degrees of freedom are those directions
    in which there is any variance (Cholesky's decomposition, the largest pivot first)."""
    rest, rows = list(off), [list(row) for row in covariance]
    left = list(range(len(rest)))
    smallest = SINGULAR * max(rows[i][i] for i in left)
    statistic, degrees = 0.0, 0
    while left:
        pivot = max(left, key=lambda i: rows[i][i])
        variance = rows[pivot][pivot]
        if variance <= smallest:
            break
        left.remove(pivot)
        statistic += rest[pivot] ** 2 / variance
        degrees += 1
        for i in left:
            if factor := rows[i][pivot] / variance:
                rest[i] -= factor * rest[pivot]
                for j in left:
                    rows[i][j] -= factor * rows[pivot][j]
    return Verdict(statistic, degrees)
