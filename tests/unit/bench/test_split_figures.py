"""The statistics of bench/fairness.py against known values; the report and the picture of bench/split.py."""

from __future__ import annotations

import math
import random
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import split
from bench.fairness import (
    Places,
    chi_square_survival,
    evenness,
    homogeneity,
    kolmogorov_smirnov,
    shown,
)
from bench.split import Tally, as_claimed, as_drawn, measure, random_size, report
from bench.split_picture import drawing
from im.domain.red_packet import Below

PICTURE = Path(__file__).resolve().parents[3] / "docs" / "pictures" / "split.svg"


# ---- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "degrees", "p"),
    [
        # The quantiles of tables, to as many digits as are printed there.
        (3.841459, 1, 0.05),
        (6.634897, 1, 0.01),
        (5.991465, 2, 0.05),
        (11.070498, 5, 0.05),
        (9.341816, 10, 0.5),
        (23.209251, 10, 0.01),
        (10.982321, 24, 0.989),
        (124.342113, 100, 0.05),
        (149.449253, 100, 0.001),
        (0.0, 7, 1.0),
    ],
)
def test_the_chi_square_distribution_is_that_of_the_tables(statistic: float, degrees: int, p: float) -> None:
    assert chi_square_survival(statistic, degrees) == pytest.approx(p, rel=2e-3 if p == 0.989 else 1e-6)


@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 63, 72, 81, 500])
@pytest.mark.parametrize("of_mean", [0.5, 1.0, 1.5])
def test_the_chi_square_distribution_is_the_integral_of_its_density(degrees: int, of_mean: float) -> None:
    """By Simpson's rule, in s = √x, where the density has no pole."""
    a = degrees / 2

    def density(s: float) -> float:
        return 2 * math.exp((degrees - 1) * math.log(s) - s * s / 2 - a * math.log(2) - math.lgamma(a))

    start = math.sqrt(degrees * of_mean)
    steps, width = 4_000, 15 / 4_000
    weights = [1, *[4, 2] * (steps // 2 - 1), 4, 1]
    integral = sum(w * density(start + i * width) for i, w in enumerate(weights)) * width / 3

    assert chi_square_survival(degrees * of_mean, degrees) == pytest.approx(integral, rel=1e-8)


def test_a_p_value_too_small_for_a_number_is_shown_as_such() -> None:
    assert [shown(p) for p in (0.0, 1.5e-20, 0.004, 0.051, 1.0)] == [
        "p < 1e-300",
        "p = 1.5e-20",
        "p = 0.004",
        "p = 0.05",
        "p = 1.00",
    ]


def test_homogeneity_is_pearsons_test() -> None:
    # Expected are 25, 30, 0 and 45 in both rows: 2 (5²/25 + 5²/45) = 28/9. And 20 of each: (10² + 10²) / 20 = 10.
    alike, even = homogeneity([[20, 30, 0, 50], [30, 30, 0, 40]]), evenness([10, 20, 30])

    assert [alike.statistic, even.statistic] == pytest.approx([28 / 9, 10])
    assert [alike.degrees, even.degrees] == [2, 2]


def test_the_distance_of_kolmogorov_and_smirnov_and_its_p_value() -> None:
    ones = [i / 1_000 for i in range(1_000)]

    distance, p = kolmogorov_smirnov(ones, [x + 0.0605 for x in ones])

    # Smirnov's limit: 5 % at 1.358 / √(n/2), and 1.358 / √500 = 0.0607.
    assert distance == pytest.approx(0.061)
    assert p == pytest.approx(0.05, rel=0.1)
    assert kolmogorov_smirnov(ones, ones) == (0.0, 1.0)


@pytest.mark.parametrize("count", [2, 5, 13])
def test_places_that_are_alike_have_p_values_that_are_uniform(count: int) -> None:
    """Packets of shares as unlike as can be, in any order: the statistic has the distribution that it claims."""
    dice = random.Random(f"uniform {count}")
    values = []
    for _ in range(300):
        places = Places(groups=5)
        for _ in range(100):
            shares = [int(1 + 1_000 * dice.paretovariate(1)) if dice.random() < 0.5 else 700 for _ in range(count)]
            places.add(shares, sum(shares))
        values.append(places.verdict().p)

    grid = [(i + 0.5) / 5_000 for i in range(5_000)]
    assert kolmogorov_smirnov(values, grid)[1] > 0.001


def test_places_that_differ_only_in_spread_are_told_apart() -> None:
    dice = random.Random("spread")
    places = Places()
    for _ in range(2_000):
        wide, narrow = dice.randrange(-900, 900), dice.randrange(-300, 300)
        places.add([1_000 + narrow, 1_000 - narrow, 1_000 + wide, 1_000 - wide], 4_000)

    assert places.verdict().p < 1e-12


def test_packets_of_several_sizes_are_counted_together_as_well_as_in_parts() -> None:
    dice = random.Random("parts")
    sizes = [(dice.randrange(100, 9_000), count) for count in [1, 2, 3, 5, 9, 10, 11, 40] * 20]
    whole, parts = Places(), [Places(), Places()]
    for i, (total, count) in enumerate(sizes):
        shares = as_claimed(total, count, dice.randrange)
        whole.add(shares, total)
        parts[i % 2].add(shares, total)

    parts[0].merge(parts[1])

    assert parts[0].verdict() == whole.verdict()
    assert whole.verdict().degrees == 72


# ---- the report ------------------------------------------------------------------------------------------------------


def test_the_sizes_are_as_random_as_they_are_said_to_be() -> None:
    dice = random.Random("sizes")
    sizes = [random_size(dice) for _ in range(50_000)]

    assert {count for _, count in sizes} >= {1, 2, 499, 500}
    assert all(1 <= count <= 500 and count <= total <= 10**12 for total, count in sizes)
    assert any(total == count for total, count in sizes)
    assert any(total > 9 * 10**11 for total, _ in sizes)


def test_the_figures_do_not_depend_on_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "BATCH", 50)

    one, three = (measure(180, 7, processes=processes) for processes in (1, 3))

    assert one == three
    assert one.packets == 180
    assert measure(180, 8, processes=1) != one


def test_a_report_says_what_was_split(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["split", "--packets", "600", "--processes", "1", "--secure"])

    split.main()

    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.replace("s e", "s-e").splitlines())
    assert lines["packets"].startswith("600 of 1 to 500 shares")
    assert lines["dice"] == "secrets.randbelow"
    assert lines["sums-exact"] == "600 of 600"
    assert "smallest" in lines
    assert "p = " in lines["places"]
    assert "(60 packets" in lines["unshuffled"]


def test_a_split_that_loses_money_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(total: int, count: int, below: Below) -> tuple[int, ...]:
        first, *rest = as_claimed(total, count, below)
        return (first + (below(20) == 0), *rest)

    monkeypatch.setattr(split, "measure", lambda *_, **__: split.play(50, 1, 1, way=careless, secure=False))

    with pytest.raises(SystemExit, match=r"sums exact +4\d of 50"):
        report(50, 1)


def test_a_share_of_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    tally.add((0, 4), 4)
    monkeypatch.setattr(split, "measure", lambda *_, **__: tally)

    with pytest.raises(SystemExit, match=r"smallest share +0"):
        report(1, 1)


def test_the_largest_share_is_told_in_means() -> None:
    tally = Tally()
    tally.add((1, 5, 3), 9)
    tally.add((10, 10), 20)

    assert (tally.packets, tally.shares, tally.exact, tally.smallest) == (2, 5, 2, 1)
    assert tally.largest == pytest.approx(5 / 3)


@pytest.mark.parametrize("way", [as_claimed, as_drawn])
def test_both_ways_to_split_take_the_same_sizes(way: split.Split) -> None:
    seeded, secure = split.play(20, 3, 1, way=way, secure=False), split.play(20, 3, 1, way=as_claimed, secure=True)

    assert seeded.shares == secure.shares


# ---- the picture -----------------------------------------------------------------------------------------------------


def test_the_picture_in_the_documents_is_current() -> None:
    """If not: `python -m bench.split --packets 1 --picture docs/pictures/split.svg`."""
    assert PICTURE.read_text() == drawing(split.SEED)


def test_the_picture_is_small_and_stands_alone() -> None:
    text = PICTURE.read_text()
    root = ET.fromstring(text)  # noqa: S314 - ours

    assert len(text.encode()) < 40 * 1024
    assert "prefers-color-scheme: dark" in text
    assert "href" not in text
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    svg = "{http://www.w3.org/2000/svg}"
    assert [node.tag for node in root][:2] == [f"{svg}title", f"{svg}desc"]
