"""What a red packet costs: what the documents say is what the functions do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.packet_costs import Cost, Growth, growth, markdown, operations

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {cost.what: cost for cost in operations()}


def test_the_costs_that_are_documented_are_those_of_the_functions(costs: dict[str, Cost]) -> None:
    table = markdown(list(costs.values()), []).split("\n\n")[0]

    assert table in (DOCS / "redpacket.md").read_text()


def test_a_claim_is_one_write_and_who_comes_too_late_makes_none(costs: dict[str, Cost]) -> None:
    assert (costs["claim"].writes, costs["claim"].reads) == (1, 2)
    assert costs["claim of what is sold out, and known to be"].writes == 0
    assert costs["claim of what is sold out, the first that a function meets"].writes == 0


def test_a_claim_grows_with_the_packet() -> None:
    first, fifth, last = growth(64, at=(1, 5, 20))

    assert (first.shares, first.last, first.all) == (1, 1, 1)
    assert fifth.kib < last.kib < 2
    assert (last.last, last.a_second) == (2, 500)
    assert last.all == 29, "11 claims of one KiB, and 9 of two"


def test_both_documents_have_the_same_growth() -> None:
    rows = [
        re.findall(r"^\| \d+ \| \d+ \| [\d.]+ KiB \|.*$", (DOCS / page).read_text(), re.MULTILINE)
        for page in ("redpacket.md", "decisions/0016-red-packets-in-one-item.md")
    ]

    assert rows[0] == rows[1]
    assert len(rows[0]) == 15
    assert f"| {Growth(500, 36, 20.1, 21, 5330).seconds:.1f} s |" in rows[0][9]
