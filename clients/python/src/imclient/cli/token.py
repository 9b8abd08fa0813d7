"""`im token`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from imclient.cli.options import UserIdType, stack_at, stack_option
from imclient.ids import UserId
from imclient.tokens import DEFAULT_TTL_SECONDS, mint_token


@click.command()
@click.argument("user", type=UserIdType())
@click.option(
    "--ttl",
    type=click.IntRange(min=1),
    default=DEFAULT_TTL_SECONDS,
    show_default=True,
    help="How many seconds the token lives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print an object with the token, the user and when it ends.")
@stack_option
def token(*, user: UserId, ttl: int, as_json: bool, stack_path: Path) -> None:
    """Print a demo token for USER, signed with the stack's own secret.

    \b
    Examples:
      im token alice
      im token alice --ttl 60
    """
    now = int(time.time())
    minted = mint_token(stack_at(stack_path).signing, user, now=now, ttl=ttl)
    click.echo(json.dumps({"token": minted, "user": user, "exp": now + ttl}) if as_json else minted)
