"""What the measurement of the fast path says of its rounds."""

from __future__ import annotations

from bench.express_lane import Timing, table


def test_the_ratios_are_those_of_medians_and_of_the_best() -> None:
    timings = {
        "nothing ahead": [Timing(0, 0, 0.1, 0.5, last) for last in (1.0, 2.0, 9.0)],
        "ahead": [Timing(10_000, left, 0.2, 0.6, last) for left, last in ((9_990, 3.0), (9_900, 1.5), (9_950, 2.5))],
    }

    _, _, alone, ahead = table(timings)

    assert alone == "| nothing ahead | 0 | 0 | 0.10 s | 0.50 s | 2.00 s | 1.00 | 1.00 s | 1.00 |"
    assert ahead == "| ahead | 10000 | 9900 | 0.20 s | 0.60 s | 2.50 s | 1.25 | 1.50 s | 1.50 |"
