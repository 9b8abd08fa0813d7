"""`im admin redrive`."""

from __future__ import annotations

from pathlib import Path

import click

from imclient.admin.redrive import Choice, DeadLetterQueue
from imclient.cli.admin_options import described, ends_when_aws_refuses, left, queues_of, which_stack
from imclient.printable import printable


@click.command()
@click.option("--conv", help="Only those of this conversation.")
@click.option("--only", multiple=True, metavar="ID", help="Only the one of this id; may be given repeatedly.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--drop", multiple=True, metavar="ID", help="Delete the one of this id; may be given repeatedly.")
@click.option("--yes", is_flag=True, help="Do delete what --drop names.")
@which_stack
def redrive(
    *,
    conv: str | None,
    only: tuple[str, ...],
    dry_run: bool,
    drop: tuple[str, ...],
    yes: bool,
    name: str | None,
    region: str | None,
    profile: str | None,
    stack_file: Path,
) -> None:
    """Move dead letters back to the queues that they came from. First mend what made them fail.

    What was there when the command began is moved, each conversation in its order; what comes meanwhile stays, and so
    does what cannot be read. It may be repeated, broken off, run twice at once, and run while the stack does.

    \b
    Examples:
      im admin redrive --stack serverless-im
      im admin redrive --conv g:team --dry-run
      im admin redrive --drop 5fea7756-0ea4-451a-a703-a558b933e274 --yes

    Exit code 0 when all that was asked for is done, 1 when some of it is left, 2 for wrong usage, without a usable
    stack, and when AWS refuses; what was moved until then is moved.
    """
    if drop and (conv is not None or only):
        raise click.UsageError("--drop moves nothing: it goes without --conv and --only")
    if drop and not (yes or dry_run):
        raise click.UsageError("--drop deletes for good: add --yes, or --dry-run to see what it would delete")
    if yes and not drop:
        raise click.UsageError("--yes goes with --drop")
    word = "deleted" if drop else "moved"
    queues = queues_of(name, region, profile, stack_file)
    if dry_run:
        letters = DeadLetterQueue(queues)
        with ends_when_aws_refuses(letters.outcome, "seen"):
            letters.look(Choice(conv=conv, ids=drop or only))
        outcome, word = letters.outcome, f"would be {word}"
        if not drop:
            outcome.unreadable = [letter for letter in outcome.done if queues.home(letter) is None]
            outcome.done = [letter for letter in outcome.done if queues.home(letter) is not None]
        for letter in outcome.done:
            click.echo(f"{word}: {described(letter)}")
    else:
        letters = DeadLetterQueue(queues, tell=lambda letter: click.echo(f"{word}: {described(letter)}"))
        outcome = letters.outcome
        with ends_when_aws_refuses(outcome, word):
            if drop:
                letters.drop(drop)
            else:
                letters.redrive(Choice(conv=conv, ids=only))
    stay = [f"stays, unreadable: {described(letter)}" for letter in outcome.unreadable]
    missing = [f"not found: {printable(id_)}" for id_ in outcome.missing]
    for line in [*stay, *missing, f"{len(outcome.done)} {word}", *left(outcome)]:
        click.echo(line)
    # Where ids were named, what was not seen is none of them, or is missing.
    unseen = outcome.unseen and not (drop or only)
    raise SystemExit(1 if outcome.unreadable or outcome.missing or unseen else 0)
