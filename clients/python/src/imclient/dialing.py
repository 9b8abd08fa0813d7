"""Connections to a stack whose secret is known: for the command line and for tests, which are anybody they like."""

from __future__ import annotations

import time

from imclient.core.outputs import Dial
from imclient.ids import UserId
from imclient.session import Dialer
from imclient.socket import Socket
from imclient.stack import Stack
from imclient.tokens import mint_token


def dialer(stack: Stack, user: UserId, device: str, platform: str = "desktop") -> Dialer:
    """Connects as a user, with a token that is signed with the stack's own secret."""

    async def dial(_: Dial) -> Socket:
        token = mint_token(stack.signing, user, now=int(time.time()))
        return await Socket.open(stack.websocket, token=token, device=device, platform=platform)

    return dial
