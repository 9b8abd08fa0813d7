"""`im admin dead`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from imclient.admin.dead_letters import Content, DeadLetter, Unsettled
from imclient.admin.redrive import Choice, DeadLetterQueue
from imclient.cli.admin_options import age_s, described, ends_when_aws_refuses, left, queues_of, which_stack


@click.command()
@click.option("--conv", help="Only those of this conversation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@which_stack
def dead(
    *, conv: str | None, as_json: bool, name: str | None, region: str | None, profile: str | None, stack_file: Path
) -> None:
    """List the dead letters: entries, and parts of pushes to large groups, whose fan-out failed, and red packets whose
    money was not moved. They stay.

    No text of a message is shown. Of a message group, which is a conversation or a part of its audience, SQS shows ten
    at most.

    \b
    Examples:
      im admin dead --stack serverless-im
      im admin dead --json

    Exit code 0 whatever is there, 2 without a usable stack or when AWS refuses.
    """
    letters = DeadLetterQueue(queues_of(name, region, profile, stack_file))
    outcome = letters.outcome
    with ends_when_aws_refuses(outcome, "seen"):
        letters.look(Choice(conv=conv))
    if as_json:
        shown = [as_data(letter) for letter in outcome.done]
        click.echo(json.dumps({"dead": shown, "later": outcome.later, "unseen": outcome.unseen}, indent=2))
        return
    for line in [*map(described, outcome.done), f"{len(outcome.done)} dead letters", *left(outcome)]:
        click.echo(line)


def as_data(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter for a program; `age` in seconds."""
    entries = letter.content if isinstance(letter.content, Content) else None
    return {
        "id": letter.id,
        "source": letter.source,
        "readable": letter.content is not None,
        "conv": entries and entries.conv,
        "first": entries and entries.first,
        "last": entries and entries.last,
        "packet": letter.content.packet if isinstance(letter.content, Unsettled) else None,
        "reason": letter.reason,
        "age": age_s(letter),
        "received": letter.received,
    }
