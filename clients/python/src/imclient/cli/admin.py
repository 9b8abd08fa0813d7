"""`im admin`: what operators do. Its commands need boto3, and are imported when one is called."""

from __future__ import annotations

import importlib

import click

from imclient.cli.options import EnvironmentProblem

COMMANDS = {
    "audit": "imclient.cli.admin_audit",
    "dead": "imclient.cli.admin_dead",
    "redrive": "imclient.cli.admin_redrive",
    "settle": "imclient.cli.admin_settle",
}
"""Where each command is, under its own name."""


class _Imported(click.Group):
    """A group whose commands are imported one by one: boto3 takes longer than all other commands together."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """One of them, None when there is none. Without boto3 it ends with exit code 2."""
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
                raise
            raise EnvironmentProblem("im admin needs boto3: pip install 'imclient[admin]'") from error
        return command


@click.group(cls=_Imported)
def admin() -> None:
    """Look after a deployed stack, with your own AWS credentials.

    Without --stack the commands mean the local stack.
    """
