"""`im chat`."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import click

from imclient.chat import Chat
from imclient.cli.options import DeviceIdType, EnvironmentProblem, UserIdType, stack_at, stack_option
from imclient.core.outputs import Dial
from imclient.errors import ImClientError
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.session import Dialer
from imclient.socket import Socket
from imclient.stack import Stack
from imclient.tokens import mint_token


def _this_machine() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"im-{socket.gethostname()}")[:64]


@click.command()
@click.option("--as", "user", type=UserIdType(), required=True, help="Who you are.")
@click.option("--to", "peer", type=UserIdType(), help="Open the conversation with this user.")
@click.option("--conv", help="Open this conversation, such as g:team.")
@click.option(
    "--device", type=DeviceIdType(), default=_this_machine, help="This device's id; one is made from the host."
)
@click.option(
    "--platform",
    type=click.Choice(["web", "ios", "android", "desktop", "other"]),
    default="desktop",
    show_default=True,
    help="What the server takes this device for.",
)
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
    if peer is not None and conv is not None:
        raise click.UsageError("--to and --conv exclude each other")
    if conv is not None and not conv.startswith(("d:", "g:")):
        raise click.UsageError("a conversation is d:<user>:<user> or g:<id>")
    first = direct_conversation(user, peer) if peer is not None else ConvId(conv) if conv is not None else None
    try:
        dial = _dial(stack_at(stack_path), user, device, platform)
        not_sent = asyncio.run(_chat(dial, user, first, linger))
    except KeyboardInterrupt:
        return
    except ImClientError as error:
        raise EnvironmentProblem(str(error)) from error
    if not_sent:
        raise SystemExit(1)


def _dial(stack: Stack, user: UserId, device: str, platform: str) -> Dialer:
    async def dial(_: Dial) -> Socket:
        token = mint_token(stack.signing, user, now=int(time.time()))
        return await Socket.open(stack.websocket, token=token, device=device, platform=platform)

    return dial


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
