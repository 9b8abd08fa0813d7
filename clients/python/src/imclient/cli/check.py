"""`im check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from imclient.cli.options import EnvironmentProblem
from imclient.errors import RecordingError
from imclient.history import TABLES_FILE, Tables, Verdict, check, read_recordings, read_tables
from imclient.printable import printable

SHOWN_VIOLATIONS = 20


@click.command("check")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--tables",
    "tables_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"The final tables; {TABLES_FILE} of FOLDER without it.",
)
@click.option("--lagging-reads", is_flag=True, help="Recorded on DynamoDB: some reads may be older than what is known.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every figure.")
def check_command(*, folder: Path, tables_path: Path | None, lagging_reads: bool, as_json: bool) -> None:
    """Check a recorded history: FOLDER holds what each device recorded, and the final tables.

    Nothing acknowledged may be lost, nothing may come twice, all see one order, counts are right, marks go forward,
    nobody sees what is closed to them. docs/reliability.md has the list.

    \b
    Examples:
      im soak --users 10 --minutes 1 --record /tmp/history
      im check /tmp/history

    Exit code 0 when every promise was kept, 1 when one was broken, 2 when FOLDER holds no recordings or no tables.
    """
    try:
        tables = Tables.from_items(read_tables(tables_path or folder / TABLES_FILE))
        verdict = check(read_recordings(folder), tables, lagging_reads=lagging_reads)
    except RecordingError as error:
        raise EnvironmentProblem(str(error)) from error
    click.echo(json.dumps(verdict.to_json(), indent=2) if as_json else described(verdict))
    raise SystemExit(0 if verdict.passed else 1)


def described(verdict: Verdict) -> str:
    """The verdict for a person: what was looked at, the first broken promises, the outcome."""
    figures = [f"{name.replace('_', ' '):<20}{count:,}" for name, count in asdict(verdict.counts).items()]
    return "\n".join([*figures, *outcome(verdict)])


def outcome(verdict: Verdict) -> list[str]:
    """The first broken promises, and the outcome in one line."""
    if verdict.passed:
        return ["OK  every promise was kept"]
    # They quote what people wrote.
    lines = [f"  {printable(str(violation))}" for violation in verdict.violations[:SHOWN_VIOLATIONS]]
    if (more := len(verdict.violations) - SHOWN_VIOLATIONS) > 0:
        lines.append(f"  … and {more:,} more")
    kinds = ", ".join(sorted(verdict.kinds))
    return [*lines, f"FAILED  {len(verdict.violations):,} broken promises ({kinds})"]
