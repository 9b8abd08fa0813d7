"""Percentiles of measured times. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` % of the values do not exceed.

    Always one of the values, never a mean of two. Raises ValueError without values, or outside 0 < percent <= 100.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    if not 0 < percent <= 100:
        raise ValueError(f"a percentage above 0 and up to 100, not {percent}")
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
