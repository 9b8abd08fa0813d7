"""What is written is what is there: a test fails when something is undocumented, or documented and gone."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from im.wire.error_table import CODES
from tests.integration.house import House, template

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def documented_operations() -> set[str]:
    """The operations of protocol.md's table."""
    rows = re.findall(r"^\| (\w+)\.(\w+(?: / \w+)*) \|", PROTOCOL, re.MULTILINE)
    return {f"{route}.{op}" for route, ops in rows for op in ops.split(" / ")} - {"route.op"}


def test_protocol_md_lists_the_operations_that_are_served_and_no_others(house: House) -> None:
    routers = [house.apps[name].router for name in ("connect", "message", "sync", "group", "redpacket")]

    served = {f"{router.route}.{op}" for router in routers for op in router.operations}

    assert documented_operations() == served


def test_protocol_md_names_every_error_code() -> None:
    listed = PROTOCOL.split("Error codes:")[1].split("\n\n")[0]

    for code, _ in CODES.values():
        assert f"`{code}`" in listed


def test_operations_md_names_every_parameter_and_alarm() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    resources = template()["Resources"]
    alarms = [name for name, resource in resources.items() if resource["Type"] == "AWS::CloudWatch::Alarm"]

    missing = [name for name in [*template()["Parameters"], *alarms] if f"`{name}`" not in text]

    assert missing == []


PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tests_that_documents_name_are_there(page: Path) -> None:
    """`file::name` and `file.py`, wherever below tests/ the file is."""
    files: dict[str, str] = defaultdict(str)
    for path in ROOT.glob("tests/**/test_*.py"):
        files[path.name] += path.read_text()
    named = re.findall(r"`(?:tests/)?(?:[\w/]+/)?(test_\w+\.py)(?:::(\w+))?", page.read_text())

    assert [file for file, _ in named if file not in files] == []
    tests = [(file, name) for file, name in named if name]
    assert [(file, name) for file, name in tests if not re.search(rf"\bdef {name}\(", files[file])] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text())

    assert [file for file, _ in links if not (page.parent / file).exists()] == []
    targets = [(page.parent / file if file else page, section) for file, section in links if section]
    assert [section for target, section in targets if section not in sections(target)] == []


def sections(page: Path) -> set[str]:
    """The names of a page's sections, as links have them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_commands_are_targets_of_the_makefile() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None

    used = set(re.findall(r"\bmake (\w+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()))

    assert used <= set(targets[1].split())
