"""The table at the end of `make test` says what happened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local import checks

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="no"/></testcase>
<testcase classname="a" name="broken"><error message="no fixture"/></testcase>
<testcase classname="a" name="later"><skipped message="no Chromium"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    return path


def test_failures_and_errors_are_failures_and_skips_are_named(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ON_CI", False)

    assert checks._read(report) == checks.Outcome(1, 2, ["a.later: no Chromium"])


def test_a_skip_is_a_failure_on_ci(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ON_CI", True)

    assert checks._read(report).failed == 3


def test_it_stops_at_the_first_stage_that_fails_and_says_what_did_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {"lint": checks.Outcome(passed=2), "types": checks.Outcome(failed=1), "unit": checks.Outcome(passed=9)}
    monkeypatch.setattr(checks, "STAGES", {name: lambda o=o: o for name, o in outcomes.items()})
    monkeypatch.setattr(sys, "argv", ["checks", "test"])

    assert checks.main() == 1

    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("unit") and line.endswith("not run") for line in lines)
    assert lines[-1] == "2 passed, 1 failed"


def test_a_folder_without_tests_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ROOT", tmp_path)

    assert checks._tests("unit", ["tests"], ["tests/unit"]).failed == 1
