"""`im admin audit`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from imclient.admin.deployed import AwsRefusedError, Deployed
from imclient.admin.ledger_audit import Audit, Report
from imclient.admin.ledger_tables import LedgerTables
from imclient.cli.admin_options import deployed, ends_without_a_stack, which_stack
from imclient.cli.options import EnvironmentProblem
from imclient.printable import printable

SHOWN = 20
TELL_EVERY_S = 2.0

PROVEN = (
    "every balance is the sum of its lines",
    "every line has its other half, equal and opposite: all balances together are 0",
    "nobody, and no packet, has less than nothing",
    "what each packet took, paid and gave back is what its terms, its claims and its end say",
)
PROVEN_ELSEWHERE = "of packets whose money an external payment system keeps: that their shares and claims are right"
NOT_PROVEN = "whether that system has moved the money: its own books say so"


@click.command()
@click.option(
    "--late-after",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="MINUTES",
    help="What has waited longer is late.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@which_stack
def audit(
    *,
    late_after: int,
    as_json: bool,
    name: str | None,
    region: str | None,
    profile: str | None,
    stack_file: Path,
) -> None:
    """Prove from the tables alone that all the money of red packets is there.

    It may run while money moves: what does not fit is looked up again, and is told only when it stays wrong. What is
    right and should have moved long ago is told apart, as late: `im admin settle` makes it move.

    \b
    Examples:
      im admin audit --stack serverless-im
      im admin audit --json > audit.json; im admin settle --from-audit audit.json

    Exit code 0 when all is proven and nothing is late, 1 when not, 2 without a usable stack or when AWS refuses.
    """
    stack = deployed(name, region, profile, stack_file)
    with ends_without_a_stack():
        made = audit_of(stack, late_after)
    began = time.monotonic()
    try:
        report = made.run()
    except AwsRefusedError as error:
        raise EnvironmentProblem(f"stopped, and nothing is proven. {error}") from error
    took = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(as_data(report, gateway=made.gateway, took=took), indent=2))
    else:
        click.echo("\n".join(described(report, gateway=made.gateway)))
    raise SystemExit(0 if report.passed else 1)


def audit_of(stack: Deployed, late_after: int) -> Audit:
    """The audit of a stack. Raises StackError."""
    tables = LedgerTables(
        stack.client("dynamodb"), wallets=stack.output("WalletTableName"), packets=stack.output("RedPacketTableName")
    )
    gateway = bool(stack.parameters.get("PaymentGatewayUrl"))
    return Audit(tables, gateway=gateway, late_ms=late_after * 60_000, tell=_Progress())


class _Progress:
    """Tells a person on a terminal how far it is."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, what: str, items: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            click.echo(f"{what}: {items:,}", err=True)


def proven(report: Report, *, gateway: bool) -> tuple[list[str], list[str]]:
    """What an audit that has found nothing has proven, and what it cannot."""
    if not gateway:
        return list(PROVEN), []
    of_this_wallet = [*PROVEN] if report.figures.users else []
    return [*of_this_wallet, PROVEN_ELSEWHERE], [NOT_PROVEN]


def as_data(report: Report, *, gateway: bool, took: float) -> dict[str, Any]:
    """The report for a program."""
    proves, not_proven = proven(report, gateway=gateway)
    return {
        "passed": report.passed,
        "external_payment_system": gateway,
        "proven": proves if report.passed else [],
        "not_proven": not_proven,
        "figures": asdict(report.figures) | {"sum": report.figures.sum},
        "findings": [finding._asdict() for finding in report.findings],
        "late": [late._asdict() for late in report.late],
        "undecided": report.undecided,
        "unlooked": report.unlooked,
        "settled": report.settled,
        "younger": report.younger,
        "elsewhere": report.elsewhere,
        "seconds": round(took, 1),
    }


def described(report: Report, *, gateway: bool) -> list[str]:
    """The report for a person: the figures, what is wrong, what is late, the outcome."""
    figures = report.figures
    states = ", ".join(f"{count:,} {state}" for state, count in figures.packets.items())
    rows = {
        "wallets": f"{figures.users:,}",
        "postings": f"{figures.postings:,}",
        "packets": f"{sum(figures.packets.values()):,}" + (f"  ({printable(states)})" if states else ""),
        "money in wallets": f"{figures.in_wallets:,}",
        "money in packets": f"{figures.in_packets:,}",
        "given to new wallets": f"{-figures.opening:,}",
        "sum of all balances": f"{figures.sum:,}"
        + ("  as scanned, while money moved" if figures.sum and not report.findings else ""),
    }
    notes = {
        "differences that were money under way": report.settled,
        "packets made since this audit began, which are the next one's": report.younger,
        "packets whose money an external payment system keeps": report.elsewhere,
    }
    lines = [f"{row:<22}{figure}" for row, figure in rows.items()]
    lines += [f"{count:,} {note}" for note, count in notes.items() if count]
    lines += _some("late", [f"{one.kind} since {_time(one.since)}: {one.packet} {one.problem}" for one in report.late])
    lines += _some("wrong", [f"{one.kind}: {one.subject} {one.problem}" for one in report.findings])
    lines += _some("undecided", [f"{one} was another thing with every look" for one in report.undecided])
    return [*lines, *_outcome(report, gateway=gateway)]


def _outcome(report: Report, *, gateway: bool) -> list[str]:
    proves, not_proven = proven(report, gateway=gateway)
    if report.passed:
        return [*[f"OK  {one}" for one in proves], *[f"NOT PROVEN  {one}" for one in not_proven]]
    outcome = []
    if report.findings:
        kinds = ", ".join(sorted({finding.kind for finding in report.findings}))
        outcome.append(f"FAILED  {len(report.findings):,} findings ({kinds})")
    if report.late:
        outcome.append(f"LATE  {len(report.late):,} packets; docs/redpacket.md says what to do")
    if undecided := len(report.undecided) + report.unlooked:
        outcome.append(f"UNDECIDED  {undecided:,} differences: too much moves; run it again")
    return outcome


def _some(word: str, lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*[f"{word}: {printable(line)}" for line in lines[:SHOWN]], *([f"… and {more:,} more"] if more > 0 else [])]


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    except (ValueError, OverflowError, OSError):
        return str(ms)
