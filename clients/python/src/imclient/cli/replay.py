"""`im replay`."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import click

from imclient.chatlog import Line, read_chat_log
from imclient.cli.bars import Bars
from imclient.cli.options import EnvironmentProblem, stack_at, stack_option
from imclient.errors import ChatLogError, ReplayStoppedError, UnreachableError, UpgradeRefusedError
from imclient.replay import Plan, Replay, Report
from imclient.stack import Stack

SHOWN_DIFFERENCES = 20

PHASES = {"connect": "connecting", "send": "sending", "receive": "complete", "check": "counters"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--limit", type=click.IntRange(min=1), help="Play only the first so many messages.")
@click.option("--group-name", help="The group's name; the file's name without it.")
@click.option("--listeners", type=click.IntRange(min=0), default=0, help="So many more people who only listen.")
@click.option(
    "--window",
    type=click.IntRange(min=0),
    help="How many messages the senders may be ahead of the slowest member; without it, any number.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Give up after so many seconds without progress.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the member whose history is read again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every figure.")
@stack_option
def replay(
    *,
    file: Path,
    limit: int | None,
    group_name: str | None,
    listeners: int,
    window: int | None,
    patience: float,
    seed: int,
    as_json: bool,
    stack_path: Path,
) -> None:
    """Play the chat log FILE through the deployed stack and compare what everybody got with it.

    FILE has one JSON object a line, {"from": nickname, "text": …}, in order. Everybody in it gets a connection and is
    in one group. Each message is sent as soon as the one before it is acknowledged. In the end every member's
    transcript, the history as the server has it, unread counts and inbox must agree with the log.

    \b
    Examples:
      im replay tests/data/irc/2004-11-15_03.jsonl
      im replay tests/data/irc/2011-05-29_19.jsonl --limit 200 --listeners 2
      im replay tests/data/irc/2004-11-15_03.jsonl --window 20 --json > figures.json

    Exit code 0 when all agrees, 1 when anything differs or the server did not take a message, 2 without a usable stack.
    """
    stack = stack_at(stack_path)
    plan = Plan(
        run=f"r{secrets.token_hex(4)}",
        group_name=group_name or file.stem,
        listeners=listeners,
        window=window,
        patience=patience,
        seed=seed,
    )
    try:
        lines = read_chat_log(file, limit=limit)
        with Bars(PHASES) as bars:
            report = asyncio.run(_play(stack, lines, plan, bars))
    except (ChatLogError, UnreachableError, UpgradeRefusedError) as error:
        raise EnvironmentProblem(str(error)) from error
    except ReplayStoppedError as error:
        click.echo(json.dumps({"passed": False, "stopped": str(error)}) if as_json else f"FAILED  {error}")
        raise SystemExit(1) from error
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else described(report))
    raise SystemExit(0 if report.passed else 1)


async def _play(stack: Stack, lines: list[Line], plan: Plan, bars: Bars) -> Report:
    return await Replay(stack, lines, plan, on_progress=bars.update).run()


def described(report: Report) -> str:
    """The report for a person: figures, then the verdict, then the first differences."""
    lines = [
        f"people            {report.people} in {report.conv}",
        f"messages          {report.messages:,} and {report.notices} of the group itself, in {report.seconds:.1f} s",
        f"rate              {report.messages_per_second:,.1f} messages/s",
        f"ack               p50 {_ms(report.ack_p50_ms)}, p99 {_ms(report.ack_p99_ms)}",
        f"push              p50 {_ms(report.push_p50_ms)}, p99 {_ms(report.push_p99_ms)}"
        f" over {report.push_deliveries:,} deliveries",
        f"entries           {report.by_push:,} by push ({report.late_pushes:,} of them after they were fetched)",
        f"holes filled      {report.only_by_fetch:,} entries came only by being fetched",
        f"duplicates        {report.duplicate_pushes:,} pushed, {report.duplicates_shown:,} shown",
        f"frames resent     {report.frames_resent:,}; replies that say duplicate {report.duplicate_replies:,}",
        f"reconnects        {report.reconnects:,}",
        f"late counters     {report.counters_late:,} members",
        f"history read by   {', '.join(report.histories_read_again)}",
    ]
    if report.passed:
        lines.append(f"OK  {report.people} members hold the same {report.messages:,} messages in the log's order")
    else:
        lines += [f"  {difference}" for difference in report.differences[:SHOWN_DIFFERENCES]]
        if len(report.differences) > SHOWN_DIFFERENCES:
            lines.append(f"  … and {len(report.differences) - SHOWN_DIFFERENCES:,} more")
        lines.append(f"FAILED  {len(report.differences):,} differences")
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f} ms"
