"""Clients of the fake server, on an event loop that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from imclient.connection import Connection, PushHandler
from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.ids import UserId
from imclient.session import Dialer, Session
from imclient.socket import Socket
from imclient.stack import SigningKey
from imclient.tokens import mint_token
from tests.unit.client.fake_server import SECRET, FakeServer


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` for half a minute at most."""

    async def within() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(within())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that `run` does not wait for longer."""
    while not condition():
        await asyncio.sleep(0.005)


def token(user: UserId, secret: str = SECRET) -> str:
    """A token of the fake server's, or of another one's."""
    return mint_token(SigningKey(secret), user, now=int(time.time()))


async def connect(server: FakeServer, user: UserId, on_push: PushHandler | None = None) -> Connection:
    """A connection of a user's only device."""
    return await Connection.open(server.url, token=token(user), device="d1", on_push=on_push)


def dialer(server: FakeServer, user: UserId) -> Dialer:
    """What a session of that device opens connections with."""

    async def dial(_: Dial) -> Socket:
        return await Socket.open(server.url, token=token(user), device="d1")

    return dial


@asynccontextmanager
async def session(server: FakeServer, user: UserId, settings: Settings, **how: Any) -> AsyncIterator[Session]:
    """A session that has started; `how` is what Session takes, or other settings."""
    other = {name: how.pop(name) for name in list(how) if hasattr(settings, name)}
    made = Session(dialer(server, user), user, settings=replace(settings, **other), **how)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
