"""How commands say who they are and where they talk, and how they connect as that."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click

from imclient.cli.options import DeviceIdType, UserIdType
from imclient.ids import ConvId, UserId, direct_conversation

F = TypeVar("F", bound=Callable[..., Any])

as_option = click.option("--as", "user", type=UserIdType(), required=True, help="Who you are.")
to_option = click.option("--to", "peer", type=UserIdType(), help="The conversation with this user.")
conv_option = click.option("--conv", help="This conversation, such as g:team.")
platform_option = click.option(
    "--platform",
    type=click.Choice(["web", "ios", "android", "desktop", "other"]),
    default="desktop",
    show_default=True,
    help="What the server takes this device for.",
)


def device_option(command: str) -> Callable[[F], F]:
    """This device's id. Commands differ in it, so that one does not end another's connection on the same machine."""

    def default() -> str:
        return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{command}-{socket.gethostname()}")[:64]

    return click.option(
        "--device", type=DeviceIdType(), default=default, help="This device's id; one is made from the host."
    )


def conversation_of(user: UserId, peer: UserId | None, conv: str | None) -> ConvId | None:
    """What `--to` or `--conv` say. Ends the command with exit code 2 when they say nonsense."""
    if peer is not None and conv is not None:
        raise click.UsageError("--to and --conv exclude each other")
    if conv is not None and not conv.startswith(("d:", "g:")):
        raise click.UsageError("a conversation is d:<user>:<user> or g:<id>")
    if peer is not None:
        return direct_conversation(user, peer)
    return None if conv is None else ConvId(conv)
