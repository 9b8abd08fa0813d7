"""The distribution of shares as a picture: docs/pictures/split.svg.

It has a background of its own, light or dark as the reader's system is, and is the same for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from im.domain.red_packet import double_mean, shuffled

MEAN: Final = 10_000
"""Of the shares: fine enough that the picture shows no steps."""
SHARES: Final = 100_000
"""Of each distribution."""
COUNTS: Final = (2, 5, 10, 50)
PLACES: Final = 10
PACKETS: Final = 20_000
"""Of PLACES shares each."""
PERCENTILES: Final = (90, 50, 10)

BARS: Final = 10
"""For each mean."""
WIDEST: Final = 4
"""Means that the axis holds: fewer than 1 share in 1,000 are worth more."""

WIDTH: Final = 900
HEIGHT: Final = 452

DESCRIPTION: Final = (
    "Left: the distribution of a share of packets of 2, 5, 10 and 50 shares. Right: the 10th, 50th and 90th percentile"
    " of each place of a packet of 10: level, whereas before the shuffle they drift apart."
)
STYLE: Final = """
  .card { fill: #ffffff; stroke: #d8dee6 }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2733 }
  .title { font-size: 17px; font-weight: 600 }
  .name { font-weight: 600 }
  .small { font-size: 12px; fill: #5d6877 }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .grid { stroke: #e4e8ee }
  .axis { stroke: #9aa4b2 }
  .bars { fill: #3b7ddd; fill-opacity: .22; stroke: #3b7ddd; stroke-width: 1.3; stroke-linejoin: round }
  .claimed { fill: none; stroke: #3b7ddd; stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round }
  .band { fill: #3b7ddd; fill-opacity: .1 }
  .drawn { fill: none; stroke: #d0661b; stroke-width: 1.8; stroke-dasharray: 2 5; stroke-linecap: round }
  .mean { stroke: #5d6877; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151b23; stroke: #333d49 }
    text { fill: #e8edf3 }
    .small { fill: #9ba7b5 }
    .grid { stroke: #26303b }
    .axis { stroke: #667384 }
    .bars { fill: #6fa8ff; stroke: #6fa8ff }
    .claimed { stroke: #6fa8ff }
    .band { fill: #6fa8ff }
    .drawn { stroke: #f29a4f }
    .mean { stroke: #9ba7b5 }
  }
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of the picture with axes of its own: its edges, and the values that they stand for."""

    left: float
    right: float
    bottom: float
    top: float
    from_x: float
    to_x: float
    to_y: float

    def x(self, value: float) -> float:
        """Where a value of the horizontal axis is."""
        return self.left + (value - self.from_x) / (self.to_x - self.from_x) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value of the vertical axis is, which begins at 0."""
        return self.bottom - value / self.to_y * (self.bottom - self.top)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """A line through points."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)


def drawing(seed: int) -> str:
    """The picture."""
    dice = random.Random(f"{seed} picture")
    parts = [
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
        _text(28, 36, "How a lucky packet is split", "title"),
        *_distributions(dice),
        *_places(dice),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            ' role="img" aria-labelledby="t d">',
            '<title id="t">How a lucky packet is split</title>',
            f'<desc id="d">{DESCRIPTION}</desc>',
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>",
            "",
        ]
    )


# ---- the distribution of one share -----------------------------------------------------------------------------------


def _distributions(dice: random.Random) -> list[str]:
    rows = [_text(28, 68, "What a share is worth, by the shares of its packet", "name")]
    top, row = 84.0, 77.0
    frames = []
    for i, count in enumerate(COUNTS):
        bottom = top + (i + 1) * row - 4
        frames.append(Frame(left=104, right=420, bottom=bottom, top=bottom - 58, from_x=0, to_x=WIDEST, to_y=0.06))
        rows += _distribution(frames[-1], count, dice)
    last = frames[-1]
    rows += [_text(last.x(value), last.bottom + 18, f"{value}", "small middle") for value in range(WIDEST + 1)]
    mean = last.x(1)
    rows.append(f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="{top:.0f}" y2="{last.bottom:.1f}"/>')
    rows.append(_text(mean + 7, top + 8, "the mean", "small"))
    rows.append(
        _text((last.left + last.right) / 2, last.bottom + 38, "a share, in means of its packet", "small middle")
    )
    return rows


def _distribution(frame: Frame, count: int, dice: random.Random) -> list[str]:
    """Bars: how many in a hundred shares are of that size."""
    bars = [0] * (WIDEST * BARS)
    above = 0
    for _ in range(SHARES // count):
        for share in shuffled(double_mean(MEAN * count, count, dice.randrange), dice.randrange):
            above += share > 2 * MEAN
            if (bar := share * BARS // MEAN) < len(bars):
                bars[bar] += 1
    steps = [(0.0, 0.0)]
    for i, many in enumerate(bars):
        steps += [(i / BARS, many / SHARES), ((i + 1) / BARS, many / SHARES)]
    steps.append((float(WIDEST), 0.0))
    while steps[-2][1] == 0:
        steps.pop()
    twice = f"{100 * above / SHARES:.0f} % are above 2" if above else "none is above 2"
    return [
        f'<line class="axis" x1="{frame.left}" x2="{frame.right}" y1="{frame.bottom}" y2="{frame.bottom}"/>',
        f'<path class="bars" d="{frame.path(steps)}Z"/>',
        _text(frame.left - 14, frame.bottom - 20, f"{count} shares", "end"),
        _text(frame.right, frame.bottom - 20, twice, "small end"),
    ]


# ---- places ----------------------------------------------------------------------------------------------------------


def _places(dice: random.Random) -> list[str]:
    drawn: list[list[int]] = [[] for _ in range(PLACES)]
    claimed: list[list[int]] = [[] for _ in range(PLACES)]
    for _ in range(PACKETS):
        shares = double_mean(MEAN * PLACES, PLACES, dice.randrange)
        for place, share in enumerate(shares):
            drawn[place].append(share)
        for place, share in enumerate(shuffled(shares, dice.randrange)):
            claimed[place].append(share)
    frame = Frame(left=516, right=818, bottom=388, top=96, from_x=1, to_x=PLACES, to_y=2.5)
    parts = [_text(488, 68, "What each place of ten gets, in means of the packet", "name")]
    for half in range(6):
        y = frame.y(half / 2)
        parts.append(f'<line class="{"grid" if half else "axis"}" x1="506" x2="828" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(498, y + 4, f"{half / 2:g}", "small end"))
    parts += [_text(frame.x(place), frame.bottom + 18, f"{place}", "small middle") for place in range(1, PLACES + 1)]
    parts.append(
        _text((frame.left + frame.right) / 2, frame.bottom + 38, "place, in the order of claims", "small middle")
    )
    before = {percent: _line(drawn, percent) for percent in PERCENTILES}
    after = {percent: _line(claimed, percent) for percent in PERCENTILES}
    parts.append(f'<path class="band" d="{frame.path([*after[90], *reversed(after[10])])}Z"/>')
    for percent in PERCENTILES:
        parts.append(f'<path class="drawn" d="{frame.path(before[percent])}"/>')
        parts.append(f'<path class="claimed" d="{frame.path(after[percent])}"/>')
        name = "median" if percent == 50 else f"{percent} %"
        parts.append(_text(836, frame.y(after[percent][-1][1]) + 4, name, "small"))
    return parts + _legend()


def _line(places: Sequence[Sequence[int]], percent: int) -> list[tuple[float, float]]:
    """That percentile of each place, in means."""
    return [(i + 1, sorted(shares)[len(shares) * percent // 100] / MEAN) for i, shares in enumerate(places)]


def _legend() -> list[str]:
    return [
        '<line class="claimed" x1="520" x2="546" y1="110" y2="110"/>',
        _text(554, 114, "as claimed", "small"),
        '<line class="drawn" x1="648" x2="674" y1="110" y2="110"/>',
        _text(682, 114, "before the shuffle", "small"),
    ]


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{text}</text>'
