"""`im load`."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import click

from imclient.cli.bars import Bars
from imclient.cli.options import EnvironmentProblem, stack_at, stack_option
from imclient.errors import ImClientError
from imclient.load import Latencies, Load, Plan, Report
from imclient.stack import Stack

PHASES = {"connect": "connecting", "send": "sending", "receive": "complete"}


@click.command()
@click.option("--users", type=click.IntRange(min=2, max=2_000), default=20, show_default=True, help="How many people.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Messages a second, of all together.",
)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="For so long."
)
@click.option(
    "--group-size",
    type=click.IntRange(min=2, max=1_000),
    default=2,
    show_default=True,
    help="People in a conversation; 2: direct conversations.",
)
@click.option(
    "--text", type=click.IntRange(min=1, max=16_000), default=40, show_default=True, help="Characters in a message."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="After so many more seconds, what has not come has not come.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses who says something when, and where.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every figure.")
@stack_option
def load(
    *,
    users: int,
    rate: float,
    seconds: float,
    group_size: int,
    text: int,
    patience: float,
    seed: int,
    as_json: bool,
    stack_path: Path,
) -> None:
    """Send messages at a steady rate and measure how long they take, until the server has them and until they come.

    The load is open: a message begins when it is due, also when the one before it is still waited for, and its time
    counts from then. So a server that stalls is measured as slow as those find it who use it meanwhile.

    \b
    Examples:
      im load                                          10 messages a second in direct conversations
      im load --users 100 --group-size 50 --rate 5
      im load --rate 50 --seconds 120 --json > figures.json

    Exit code 0 when every message was taken and came once to everybody, 1 otherwise, 2 without a usable stack. On AWS
    this costs what the same messages of real people cost.
    """
    stack = stack_at(stack_path)
    run = f"load{secrets.token_hex(4)}"
    plan = Plan(run, users, rate, seconds, group_size=group_size, text=text, seed=seed, patience=patience)
    try:
        with Bars(PHASES) as bars:
            report = asyncio.run(_load(stack, plan, bars))
    except ImClientError as error:
        raise EnvironmentProblem(str(error)) from error
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else described(report))
    raise SystemExit(0 if report.passed else 1)


async def _load(stack: Stack, plan: Plan, bars: Bars) -> Report:
    return await Load(stack, plan, on_progress=bars.update).run()


def described(report: Report) -> str:
    """The report for a person."""
    refused = "".join(f", {count} {code}" for code, count in sorted(report.refused.items()))
    return "\n".join(
        [
            f"people         {report.users} in {report.conversations} conversations",
            f"messages       {report.due:,} due, {report.acked:,} taken{refused}",
            f"rate           {report.rate:g} a second asked for, {report.achieved:g} achieved",
            f"ack            {_row(report.ack)}  since it was due",
            f"  of that      {_row(report.service)}  since its frame left",
            f"push           {_row(report.push)}  since it was due",
            f"not come       {report.pushes_missing:,}; shown twice {report.shown_twice:,}",
            f"reconnects     {report.reconnects:,}; frames sent again {report.frames_resent:,}",
            "OK" if report.passed else "FAILED",
        ]
    )


def _row(latencies: Latencies) -> str:
    found = [f"{name} {_ms(value)}" for name, value in latencies.percentiles.items()]
    return ", ".join([*found, f"max {_ms(latencies.most)}"])


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f} ms"
