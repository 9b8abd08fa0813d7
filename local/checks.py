"""`python -m local.checks STAGE…` runs checks one after the other, up to the first that fails; `test` is all of them.

Ends with a table of what ran, and with the line `N passed, M failed` over all tests. A check that fails without a test
(a type error, say) counts as one failure. Where the environment variable CI is set, a skipped test counts as failed.
Exit status 1 when anything failed.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from local.build import sam, sam_environment
from local.cloud import REGION
from local.paths import CLOUD_TOOLS, REPORTS, ROOT

TOOLS = ROOT / ".venv/bin"
ON_CI = bool(os.environ.get("CI"))
# These need more than Python, and have stages of their own.
SPECIAL = ("tests/e2e", "tests/browser")
# Stages fail when a folder is missing: a renamed one must not pass for tested.
EXPECTED = ("tests/unit", "tests/integration", "tests/faults", "tests/contracts", "tests/template", "tests/docs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one stage: it is in order when nothing failed."""

    passed: int = 0
    failed: int = 0
    skipped: Sequence[str] = ()
    """One line a test: its name, and why it was skipped."""

    @property
    def ok(self) -> bool:
        return self.failed == 0


@dataclass(slots=True)
class _Row:
    stage: str
    seconds: float | None = None
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Report:
    rows: list[_Row] = field(default_factory=list)

    def show(self) -> None:
        print(f"\n{'stage':<10}{'seconds':>9}  {'result':<9}{'passed':>7}{'failed':>8}{'skipped':>9}")
        for row in self.rows:
            if row.outcome is None or row.seconds is None:
                print(f"{row.stage:<10}{'':>9}  not run")
                continue
            result = "ok" if row.outcome.ok else "FAILED"
            counts = f"{row.outcome.passed:>7}{row.outcome.failed:>8}{len(row.outcome.skipped):>9}"
            print(f"{row.stage:<10}{row.seconds:>9.1f}  {result:<9}{counts}")
        outcomes = [row.outcome for row in self.rows if row.outcome is not None]
        skipped = [line for outcome in outcomes for line in outcome.skipped]
        if skipped:
            print(f"\nSkipped{', which is a failure on CI' if ON_CI else ''}:")
            for line in skipped:
                print(f"  {line}")
        passed = sum(outcome.passed for outcome in outcomes)
        failed = sum(outcome.failed for outcome in outcomes)
        print(f"\n{passed} passed, {failed} failed", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.checks", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=[*STAGES, "test"], metavar="STAGE")
    asked = parser.parse_args().stages
    stages = list(STAGES) if "test" in asked else asked
    report = _Report([_Row(stage) for stage in stages])
    ok = True
    try:
        for row in report.rows:
            print(f"\n== {row.stage}", flush=True)
            started = time.monotonic()
            row.outcome = STAGES[row.stage]()
            row.seconds = time.monotonic() - started
            ok = row.outcome.ok
            if not ok:
                break
    except KeyboardInterrupt:
        print("\nInterrupted", file=sys.stderr)
        return 130
    report.show()
    return 0 if ok else 1


def _lint() -> Outcome:
    ruff = str(TOOLS / "ruff")
    return _commands(
        [ruff, "check", "."],
        [ruff, "format", "--check", "."],
        [str(TOOLS / "lint-imports")],
    )


def _types() -> Outcome:
    # The functions are all called app.py: from the root of the repository each is functions.<route>.app.
    return _commands([str(TOOLS / "mypy"), "layers/common/im", "functions", "clients/python/src", "local", "bench"])


def _validate() -> Outcome:
    return _commands(
        [*sam("validate", "--lint", "--template-file", "template.yaml", "--region", REGION)],
        [str(CLOUD_TOOLS / "cfn-lint"), "template.yaml"],
    )


def _unit() -> Outcome:
    ignored = [argument for folder in SPECIAL for argument in ("--ignore", folder)]
    # As many at once as there are processors; each test has a house of its own.
    outcome = _tests("unit", ["tests", *ignored, "-n", "auto", "--dist", "worksteal"], EXPECTED)
    _run([str(TOOLS / "python"), "-m", "tests.faults.figures"])
    return outcome


def _e2e() -> Outcome:
    # Two at once: one on the common stack, one on stacks of its own.
    return _tests("e2e", ["tests/e2e", "-n", "2", "--dist", "loadgroup"], ["tests/e2e"])


def _browser() -> Outcome:
    return _tests("browser", ["tests/browser"], ["tests/browser"])


STAGES: Mapping[str, Callable[[], Outcome]] = {
    "lint": _lint,
    "types": _types,
    "unit": _unit,
    "validate": _validate,
    "e2e": _e2e,
    "browser": _browser,
}


def _commands(*commands: Sequence[str]) -> Outcome:
    return Outcome(failed=0 if all(_run(command) == 0 for command in commands) else 1)


def _run(command: Sequence[str]) -> int:
    """Exit status of a command that has no AWS account at hand and shows its output here."""
    # lint-imports imports the packages that it checks.
    env = sam_environment() | {"PYTHONPATH": str(ROOT / "layers/common")}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def _tests(stage: str, arguments: Sequence[str], folders: Sequence[str]) -> Outcome:
    for folder in folders:
        if not any((ROOT / folder).rglob("test_*.py")):
            print(f"There are no tests in {folder}", file=sys.stderr)
            return Outcome(failed=1)
    results = REPORTS / f"{stage}.xml"
    results.unlink(missing_ok=True)
    status = _run([str(TOOLS / "python"), "-m", "pytest", *arguments, f"--junit-xml={results}"])
    outcome = _read(results) if results.is_file() else Outcome()
    # No test at all, or none of them at fault: pytest still says that something is wrong.
    return outcome if status == 0 or outcome.failed else replace(outcome, failed=1)


def _read(results: Path) -> Outcome:
    """Counts the test cases of a JUnit report; an error before or after a test is a failure like any other."""
    passed = failed = 0
    skipped = []
    for case in ET.parse(results).iter("testcase"):  # noqa: S314  # our own pytest has just written it
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif (skip := case.find("skipped")) is not None:
            skipped.append(f"{case.get('classname')}.{case.get('name')}: {skip.get('message')}")
        else:
            passed += 1
    return Outcome(passed, failed + (len(skipped) if ON_CI else 0), skipped)


if __name__ == "__main__":
    sys.exit(main())
