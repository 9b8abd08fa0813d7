"""`im soak`."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from imclient.cli.check import outcome
from imclient.cli.options import EnvironmentProblem, stack_at, stack_option
from imclient.errors import SoakError
from imclient.history import Verdict
from imclient.printable import printable
from imclient.soak import ChaosControl, Plan, Report, Soak, TablesNow, control_of, final_tables
from imclient.stack import Stack

SHOWN_DIFFERENCES = 10


@click.command()
@click.option("--users", type=click.IntRange(2, 200), default=40, show_default=True, help="How many people.")
@click.option("--minutes", type=click.FloatRange(0.01, 600), default=3.0, show_default=True, help="How long they talk.")
@click.option("--seed", type=int, help="Chooses what they do, and the faults; a random one without it.")
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 1000),
    default=2.0,
    show_default=True,
    help="How many things all of them together do a second. The local stack takes about 2.",
)
@click.option(
    "--chaos", is_flag=True, help="Let calls fail and functions die meanwhile (a stack of `make run CHAOS=1`)."
)
@click.option("--faults", type=click.IntRange(0, 60_000), default=60, show_default=True, help="Failing calls a minute.")
@click.option(
    "--kills", type=click.IntRange(0, 60_000), default=10, show_default=True, help="Ended processes a minute."
)
@click.option(
    "--patience",
    type=click.FloatRange(10),
    default=240.0,
    show_default=True,
    help="How many seconds all may take to come to rest.",
)
@click.option(
    "--record", type=click.Path(path_type=Path, file_okay=False), help="Keep the recordings here, for `im check`."
)
@click.option(
    "--no-tables", is_flag=True, help="Read no tables and give no verdict: `im check DIR --tables FILE` does."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every figure.")
@stack_option
def soak(
    *,
    users: int,
    minutes: float,
    seed: int | None,
    rate: float,
    chaos: bool,
    faults: int,
    kills: int,
    patience: float,
    record: Path | None,
    no_tables: bool,
    as_json: bool,
    stack_path: Path,
) -> None:
    """Let people use the stack for some minutes, then decide from what they saw and what is stored whether it is right.

    People named soak-SEED-0, soak-SEED-1 … talk to each other directly and in groups: they send, answer, read, react,
    edit, recall, lose their connection and come back. Then faults end, everybody comes online and to rest, and the
    history checker decides.

    \b
    Examples:
      im soak --users 10 --minutes 1
      im soak --chaos --seed 7
      im soak --users 20 --record /tmp/history && im check /tmp/history

    Exit code 0 when every promise was kept, 1 when one was broken or something did not come to rest, 2 without a usable
    stack (no chaos service, no boto3).
    """
    stack = stack_at(stack_path)
    chosen = random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
    plan = Plan(
        users=users,
        seconds=minutes * 60,
        seed=chosen,
        rate=rate,
        faults_per_minute=faults,
        kills_per_minute=kills,
        patience=patience,
        look_every=min(2.0, minutes * 6),
        record=record,
    )
    try:
        control = control_of(stack.chaos) if chaos else None
        tables = None if no_tables else partial(final_tables, stack)
        if tables is not None:
            tables()  # before minutes are spent: no boto3, no access
        report = asyncio.run(_soak(stack, plan, control, tables))
    except SoakError as error:
        raise EnvironmentProblem(str(error)) from error
    click.echo(json.dumps(to_json(report, plan), indent=2) if as_json else described(report, plan))
    raise SystemExit(0 if report.passed else 1)


async def _soak(stack: Stack, plan: Plan, control: ChaosControl | None, tables: TablesNow | None) -> Report:
    return await Soak(stack, plan, control, tables, tell=partial(click.echo, err=True)).run()


def to_json(report: Report, plan: Plan) -> Mapping[str, object]:
    """All figures as one JSON object."""
    verdict = report.verdict.to_json() if report.verdict is not None else None
    return {"seed": plan.seed, **asdict(report), "verdict": verdict, "passed": report.passed}


def described(report: Report, plan: Plan) -> str:
    """The report for a person."""
    actions = ", ".join(f"{name} {count}" for name, count in sorted(report.actions.items()))
    lines = [
        f"people            {report.users} with {report.devices} devices, seed {plan.seed}",
        f"time              {report.seconds:.0f} s of talk, {report.rest_seconds:.0f} s until all was at rest",
        f"rate              {report.messages_per_second:.1f} messages/s (asked for: {plan.rate:g} things a second)",
        f"actions           {actions or 'none'}",
        *(_of_verdict(report.verdict) if report.verdict is not None else []),
        f"given up          {report.given_up:,} requests after all tries; refused: {_counted(report.refusals)}",
        f"reconnects        {report.reconnects:,}; frames sent again {report.frames_resent:,}",
        f"ack               p50 {_ms(report.ack_p50_ms)}, p99 {_ms(report.ack_p99_ms)}",
        f"push              p50 {_ms(report.push_p50_ms)}, p99 {_ms(report.push_p99_ms)} after it was sent",
        f"faults            {_counted(report.faults)}",
    ]
    for title, some in (("not at rest", report.unrest), ("ended", report.ended)):
        lines += [f"  {title}: {printable(one)}" for one in some[:SHOWN_DIFFERENCES]]
        if len(some) > SHOWN_DIFFERENCES:
            lines.append(f"  {title}: … and {len(some) - SHOWN_DIFFERENCES:,} more")
    if report.verdict is None:
        lines.append("no verdict: the tables were not read")
    else:
        lines += outcome(report.verdict)
    if not report.passed and (report.verdict is None or report.verdict.passed):
        lines.append("FAILED  not everything came to rest")
    return "\n".join(lines)


def _of_verdict(verdict: Verdict) -> list[str]:
    counts = verdict.counts
    lost = sum(violation.kind == "loss" for violation in verdict.violations)
    return [
        f"messages          {counts.sent:,} sent, {counts.acked:,} acknowledged, {counts.stored:,} stored",
        f"lost              {lost:,}",
        f"entries           {counts.entries:,} stored, {counts.delivered:,} on devices at rest",
        f"pushes            {counts.pushes:,} of {counts.pushed:,} entries; {counts.fetched:,} entries fetched",
        f"duplicates        {counts.duplicates_dropped:,} pushed and dropped, {counts.shown_twice:,} shown",
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:,.0f} ms"
