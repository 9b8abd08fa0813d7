"""`im admin settle`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import click

from imclient.admin.deployed import AwsRefusedError
from imclient.admin.settling import PACKET_ID, Settling
from imclient.cli.admin_options import deployed, ends_without_a_stack, which_stack
from imclient.cli.options import EnvironmentProblem
from imclient.printable import printable


@click.command()
@click.argument("packets", nargs=-1, metavar="[PACKET]...")
@click.option(
    "--from-audit",
    type=click.File(encoding="utf-8"),
    help="The packets that `im admin audit --json` has called unsettled; - for what comes through a pipe.",
)
@which_stack
def settle(
    *,
    packets: tuple[str, ...],
    from_audit: IO[str] | None,
    name: str | None,
    region: str | None,
    profile: str | None,
    stack_file: Path,
) -> None:
    """Let settlement look at red packets again: what should have been paid, given back or released is.

    May be repeated at any time, for any packet: what has moved does not move again. What still does not settle becomes
    a dead letter (`im admin dead`).

    \b
    Examples:
      im admin settle rpabcdefghijklmnopqrstuvwxyz --stack serverless-im
      im admin audit --json | im admin settle --from-audit -

    Exit code 0 when all are queued, 1 when there is no such packet, 2 without a usable stack or when AWS refuses.
    """
    if from_audit is None and not packets:
        raise click.UsageError("which? Name packets, or --from-audit")
    chosen = list(dict.fromkeys([*packets, *(unsettled(from_audit) if from_audit is not None else [])]))
    if wrong := [packet for packet in chosen if not PACKET_ID.fullmatch(packet)]:
        raise click.UsageError(f"no packet's id: {printable(wrong[0])}")
    stack = deployed(name, region, profile, stack_file)
    with ends_without_a_stack():
        settling = Settling(
            stack.client("sqs"),
            stack.output("SettlementQueueUrl"),
            stack.client("dynamodb"),
            stack.output("RedPacketTableName"),
        )
    missing = queued = 0
    for packet in chosen:
        try:
            found = settling.settle(packet)
        except AwsRefusedError as error:
            raise EnvironmentProblem(f"stopped; {queued} queued until then. {error}") from error
        click.echo(f"{'queued' if found else 'no such packet'}: {packet}")
        queued, missing = queued + found, missing + (not found)
    click.echo(f"{queued} queued")
    raise SystemExit(1 if missing else 0)


def unsettled(file: IO[str]) -> list[str]:
    """The packets that an audit has called unsettled, each once, or the command ends with exit code 2."""
    try:
        return [str(late["packet"]) for late in json.load(file)["late"] if late["kind"] == "unsettled"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError("--from-audit needs what `im admin audit --json` prints") from error
