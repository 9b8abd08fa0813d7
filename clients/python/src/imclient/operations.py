"""The operations of the protocol that are a request and its reply, as one table: a method each, with what it takes.

The methods have no bodies: `bound` makes them. An argument that is None is left out; a `cmid` or `gid` that is missing
is made, so that a frame that goes out twice counts once. For what they take and give see docs/protocol.md; all of them
raise what `Session.call` raises.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

from imclient.frames import JsonObject

Call: TypeAlias = Callable[[str, str, JsonObject], Awaitable[JsonObject]]

_MADE = ("cmid", "gid")


class Groups(Protocol):
    """`group.*`."""

    async def create(
        self,
        name: str,
        members: Sequence[str] = (),
        *,
        gid: str | None = None,
        notice: str | None = None,
        avatar: str | None = None,
        custom: JsonObject | None = None,
        join_mode: str | None = None,
        history: bool | None = None,
        who_invites: str | None = None,
        who_mentions_all: str | None = None,
    ) -> JsonObject:
        """The new group's info. Give a `gid` of your own to try again after an error without making a second group."""

    async def info(self, conv: str) -> JsonObject:
        """Its name, settings, number of members, and this user's role."""

    async def mine(self, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """`{groups, cursor?}`: those this user is in."""

    async def members(self, conv: str, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """`{members, cursor?}`."""

    async def invite(self, conv: str, users: Sequence[str]) -> JsonObject:
        """`{users}` actually added."""

    async def remove(self, conv: str, users: Sequence[str]) -> JsonObject:
        """`{users}` actually removed."""

    async def join(self, conv: str, *, note: str | None = None) -> JsonObject:
        """`{state}`: `joined` or `requested`."""

    async def leave(self, conv: str) -> JsonObject:
        """Go."""

    async def requests(self, conv: str, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """`{requests, cursor?}`: who wants to join."""

    async def decide(self, conv: str, user: str, accept: bool) -> JsonObject:  # noqa: FBT001 - as the protocol has it
        """Let somebody in who has asked, or do not."""

    async def role(self, conv: str, user: str, role: str) -> JsonObject:
        """Make somebody `admin` or `member`."""

    async def transfer(self, conv: str, user: str) -> JsonObject:
        """Make somebody else the owner."""

    async def mute(self, conv: str, until: int, *, user: str | None = None) -> JsonObject:
        """Mute one, or all but owner and admins, until a time in ms; 0 unmutes."""

    async def update(
        self,
        conv: str,
        *,
        name: str | None = None,
        notice: str | None = None,
        avatar: str | None = None,
        custom: JsonObject | None = None,
        history: bool | None = None,
        join_mode: str | None = None,
        who_invites: str | None = None,
        who_mentions_all: str | None = None,
    ) -> JsonObject:
        """Change what is given; the group's info."""

    async def dissolve(self, conv: str) -> JsonObject:
        """End it for all."""


class RedPackets(Protocol):
    """`redpacket.*`. Amounts are integers in the smallest unit."""

    async def create(
        self,
        conv: str,
        kind: str,
        total: int,
        *,
        count: int | None = None,
        greeting: str | None = None,
        to: str | None = None,
        cmid: str | None = None,
    ) -> JsonObject:
        """`{packet, conv, seq, …}`. Keep a `cmid` of your own: with it, trying again after an error pays once."""

    async def claim(self, packet: str) -> JsonObject:
        """`{packet, amount}`. ReplyError `already_claimed` has the `amount`."""

    async def detail(self, packet: str, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """Its state, and who has claimed what."""

    async def mine(self, which: str, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """`{packets, cursor?}`: those `sent` or `received`."""

    async def wallet(self) -> JsonObject:
        """`{balance}`."""

    async def ledger(self, *, cursor: str | None = None, limit: int | None = None) -> JsonObject:
        """`{postings, cursor?}`, newest first."""


class Sync(Protocol):
    """`sync.*`, as far as the session does not ask by itself."""

    async def unread(self, *, cursor: str | None = None) -> JsonObject:
        """`{total_unread, conversations, cursor?}`."""

    async def read_all(self) -> JsonObject:
        """Everything is read: `{total_unread}`."""

    async def receipts(
        self, conv: str, seq: int, *, list_: str | None = None, cursor: str | None = None, limit: int | None = None
    ) -> JsonObject:
        """Who has received and read a message: the numbers, and names of the `list_` `read` or `unread`."""

    async def reactions(
        self, conv: str, seq: int, *, cursor: str | None = None, limit: int | None = None
    ) -> JsonObject:
        """`{reactions, cursor?}`: all of a message by user."""

    async def edits(self, conv: str, seq: int, *, cursor: str | None = None) -> JsonObject:
        """`{versions, cursor?}`: what a message said, oldest first."""

    async def pins(self, conv: str) -> JsonObject:
        """`{seqs, entries}`: the pinned messages."""

    async def presence(self, users: Sequence[str]) -> JsonObject:
        """Of each user: online, platforms, last seen."""

    async def privacy(self, *, receipts: bool | None = None, presence: bool | None = None) -> JsonObject:
        """`{receipts, presence}`: what others are told of this user; set what is given."""


def bound(table: type[Any], route: str, call: Call) -> Any:
    """An object with the methods of a table: each makes its request of `route`."""
    operations = {name: made for name, made in vars(table).items() if inspect.iscoroutinefunction(made)}
    methods = {name: _method(route, name, made, call) for name, made in operations.items()}
    return type(table.__name__, (), {"__doc__": table.__doc__, **methods})()


def _method(route: str, op: str, declared: Callable[..., Any], call: Call) -> Callable[..., Awaitable[JsonObject]]:
    signature = inspect.signature(declared)
    made = [name for name in _MADE if name in signature.parameters]

    async def method(*args: Any, **kwargs: Any) -> JsonObject:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        data = {name.rstrip("_"): value for name, value in list(given.arguments.items())[1:] if value is not None}
        data |= {name: uuid.uuid4().hex for name in made if name not in data}
        return await call(route, op, {n: list(v) if isinstance(v, tuple | set) else v for n, v in data.items()})

    method.__name__, method.__doc__ = op, declared.__doc__
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


async def pages(
    operation: Callable[..., Awaitable[JsonObject]], *args: Any, **kwargs: Any
) -> AsyncIterator[JsonObject]:
    """All pages of an operation that has a `cursor`: `async for page in pages(client.groups.members, conv)`."""
    cursor: str | None = None
    while True:
        page = await operation(*args, **kwargs, cursor=cursor)
        yield page
        cursor = page.get("cursor")
        if cursor is None:
            return
