"""`im send`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import click

from imclient.cli.chat import lines_of
from imclient.cli.connecting import (
    as_option,
    conv_option,
    conversation_of,
    device_option,
    platform_option,
    to_option,
)
from imclient.cli.options import EnvironmentProblem, stack_at, stack_option
from imclient.dialing import dialer
from imclient.errors import FrameTooLargeError, ImClientError, ReplyError
from imclient.ids import ConvId, UserId
from imclient.session import Dialer, Sent, Session


@click.command()
@click.argument("text", required=False)
@as_option
@to_option
@conv_option
@click.option("--cmid", help="The message's idempotency key: the same one again sends nothing twice. With TEXT only.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Give up on a message after so many seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each message that was sent.")
@device_option("im-send")
@platform_option
@stack_option
def send(
    *,
    text: str | None,
    user: UserId,
    peer: UserId | None,
    conv: str | None,
    cmid: str | None,
    timeout: float,
    as_json: bool,
    device: str,
    platform: str,
    stack_path: Path,
) -> None:
    """Send TEXT, or without it each line of the standard input, and wait until the server has it.

    \b
    Examples:
      im send --as alice --to bob "Lunch?"
      im send --as ci --conv g:team "Deployed" --cmid "deploy-$BUILD"   once, however often this is run
      tail -f app.log | im send --as logger --conv g:alerts
      im send --as alice --to bob "Lunch?" --json | jq .seq

    Prints the seq of each message. Exit code 1 when one was refused or not taken in time: the lines behind it are not
    sent. A message that was not taken in time may still be stored; the same --cmid tells.
    """
    where = conversation_of(user, peer, conv)
    if where is None:
        raise click.UsageError("where to? Say --to or --conv")
    if cmid is not None and text is None:
        raise click.UsageError("--cmid names one message: give its TEXT")
    dial = dialer(stack_at(stack_path), user, device, platform)
    lines = lines_of(sys.stdin.fileno()) if text is None else _one(text)
    try:
        asyncio.run(_send(dial, user, where, lines, cmid, timeout, _told if as_json else _seq))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ReplyError, FrameTooLargeError) as error:
        click.echo(f"not sent: {error}", err=True)
        raise SystemExit(1) from error
    except TimeoutError as error:
        click.echo(f"not taken within {timeout:g} s", err=True)
        raise SystemExit(1) from error
    except ImClientError as error:
        raise EnvironmentProblem(str(error)) from error


async def _one(text: str) -> AsyncIterator[str]:
    yield text


async def _send(
    dial: Dialer,
    user: UserId,
    conv: ConvId,
    lines: AsyncIterator[str],
    cmid: str | None,
    timeout: float,
    told: Callable[[Sent], str],
) -> None:
    session = Session(dial, user)
    await session.start()
    try:
        async for line in lines:
            if line.strip():
                async with asyncio.timeout(timeout):
                    sent = await session.send(conv, {"text": line}, cmid=cmid)
                click.echo(told(sent))
    finally:
        await session.close()


def _seq(sent: Sent) -> str:
    return str(sent.entry.seq)


def _told(sent: Sent) -> str:
    entry = sent.entry
    found = {"conv": entry.conv, "seq": entry.seq, "ts": entry.ts, "cmid": entry.cmid, "duplicate": sent.duplicate}
    return json.dumps(found, separators=(",", ":"))
