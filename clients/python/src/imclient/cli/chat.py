"""`im chat`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import click

from imclient.chat import Chat
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
from imclient.errors import ImClientError
from imclient.ids import ConvId, UserId
from imclient.session import Dialer


@click.command()
@as_option
@to_option
@conv_option
@device_option("im")
@platform_option
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Go on printing for so many seconds after the input has ended.",
)
@stack_option
def chat(
    *, user: UserId, peer: UserId | None, conv: str | None, device: str, platform: str, linger: float, stack_path: Path
) -> None:
    """Chat, line by line: what comes is printed, what you type is sent. /help lists the commands.

    \b
    Examples:
      im chat --as alice                          what is unread; then /open
      im chat --as alice --to bob
      im chat --as alice --conv g:team
      echo "deployed" | im chat --as ci --to bob  sends a line and ends

    The conversation that is open is marked as read. Exit code 1 when a line could not be sent.
    """
    first = conversation_of(user, peer, conv)
    try:
        dial = dialer(stack_at(stack_path), user, device, platform)
        not_sent = asyncio.run(_chat(dial, user, first, linger))
    except KeyboardInterrupt:
        return
    except ImClientError as error:
        raise EnvironmentProblem(str(error)) from error
    if not_sent:
        raise SystemExit(1)


async def _chat(dial: Dialer, user: UserId, conv: ConvId | None, linger: float) -> int:
    # A terminal shows what is typed; a pipe does not.
    program = Chat(dial, user, write=click.echo, echoes=not sys.stdin.isatty())
    await program.run(lines_of(sys.stdin.fileno()), conv=conv, linger=linger)
    return program.not_sent


async def lines_of(descriptor: int) -> AsyncIterator[str]:
    """The lines of a file, pipe or terminal, as they come, without their ends.

    A thread reads them, because a plain file cannot be waited for; it reads the descriptor itself, because a thread
    that holds the lock of `sys.stdin` when the program ends would keep it from ending.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        while True:
            try:
                piece = os.read(descriptor, 65_536)
            except OSError:
                piece = b""
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the loop is closed: nobody listens any more
                return
            if not piece:
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    rest = b""
    while piece := await pieces.get():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").removesuffix("\r")
    if rest:
        yield rest.decode("utf-8", "replace")
