"""The command line `im`."""

from __future__ import annotations

import click

from imclient import __version__
from imclient.cli.admin import admin
from imclient.cli.chat import chat
from imclient.cli.check import check_command
from imclient.cli.load import load
from imclient.cli.replay import replay
from imclient.cli.send import send
from imclient.cli.soak import soak
from imclient.cli.tail import tail
from imclient.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="im")
def main() -> None:
    """Talk to a serverless-im stack.

    \b
    Examples:
      im token alice
      im chat --as alice --to bob
      im send --as ci --conv g:team "Deployed"
      im tail --as alice --conv g:team | jq .body.text
      im replay tests/data/irc/2004-11-15_03.jsonl
      im load --users 50 --rate 20
      im admin dead --stack serverless-im

    Exit codes: 0 all is well, 1 a comparison failed or a line could not be sent, 2 wrong usage or no usable stack.
    """


main.add_command(admin)
main.add_command(token)
main.add_command(chat)
main.add_command(send)
main.add_command(tail)
main.add_command(replay)
main.add_command(load)
main.add_command(check_command)
main.add_command(soak)
