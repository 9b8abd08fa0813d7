"""What is written is what is there: a test fails when something is undocumented, or documented and gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from im.wire.error_table import CODES
from tests.integration.house import House, template

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def documented_operations() -> set[str]:
    """The operations of protocol.md's table that are not marked as not served yet."""
    rows = re.findall(r"^\| (\w+)\.(\w+(?: / \w+)*) \|", PROTOCOL, re.MULTILINE)
    return {f"{route}.{op}" for route, ops in rows for op in ops.split(" / ")} - {"route.op"}


def test_protocol_md_lists_the_operations_that_are_served_and_no_others(house: House) -> None:
    routers = [house.apps[name].router for name in ("connect", "message", "sync", "group")]

    served = {f"{router.route}.{op}" for router in routers for op in router.operations}

    assert documented_operations() == served


def test_operations_marked_as_not_served_are_answered_with_unknown_route(house: House) -> None:
    alice = house.connect("alice")
    marked = re.findall(r"^\| ○ (\w+)\.([\w /]+?) \|", PROTOCOL, re.MULTILINE)
    assert marked

    for route, ops in marked:
        for op in ops.split(" / "):
            assert alice.error(f"{route}.{op}")["code"] == "unknown_route", f"{route}.{op}"


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


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("*.md")), ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_commands_are_targets_of_the_makefile() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None

    used = set(re.findall(r"\bmake (\w+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()))

    assert used <= set(targets[1].split())
