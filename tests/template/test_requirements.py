"""The pinned lists: every package by its hashes, from no particular index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.house import ROOT

LISTS = sorted([ROOT / "layers/common/requirements.txt", *(ROOT / "requirements").glob("*.txt")])


def requirements(path: Path) -> dict[str, list[str]]:
    """Every requirement of a list with its hashes."""
    joined = re.sub(r"\\\n", " ", path.read_text())
    lines = [line.split(" #")[0].strip() for line in joined.splitlines()]
    out = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, *rest = re.split(r"\s+--", line)
            out[name] = rest
    return out


def test_the_lists_are_known() -> None:
    assert {path.name for path in LISTS} == {"requirements.txt", "dev.txt", "cloud.txt"}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_names_no_index(path: Path) -> None:
    text = path.read_text()

    assert "index-url" not in text
    assert "find-links" not in text
    assert "trusted-host" not in text
    assert "://" not in text
    assert not re.search(r"^\s*-", re.sub(r"^\s+--hash=\S+", "", text, flags=re.MULTILINE), flags=re.MULTILINE)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_is_pinned_by_version_and_hash(path: Path) -> None:
    found = requirements(path)

    assert len(found) >= 5
    for requirement, hashes in found.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z0-9, -]+\])?==[^\s;]+( ; .+)?", requirement), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"hash=sha256:[0-9a-f]{64}", text) for text in hashes), requirement


def test_the_functions_run_on_the_versions_that_are_tested() -> None:
    layer = {line.split(" ;")[0] for line in requirements(ROOT / "layers/common/requirements.txt")}
    dev = {line.split(" ;")[0] for line in requirements(ROOT / "requirements/dev.txt")}

    assert layer <= dev
