"""Many people at once, each with the client that people have, and a record of all that reached them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from imclient.core.outputs import Dial
from imclient.core.settings import Settings
from imclient.errors import ReplyError, UnreachableError
from imclient.frames import Entry, Push, decode
from imclient.ids import ConvId, UserId
from imclient.session import Arrival, Session
from imclient.socket import Socket
from local import Stack

TOGETHER = 3
"""How many do something at a time. Functions answer one after the other here, but for the authorizer: it is started
anew, in seconds and 60 MB, for each who connects while others do."""

SETTINGS = Settings(backlog=None, acknowledges=False, reply=10_000)
"""A client of an emulated cloud that shares two cores with everything else: half of the frames that it would send again
after 5 s are only late, and make all others later."""

T = TypeVar("T")


class Person:
    """Somebody with one device. `backlog` 0: they look at their inbox alone, and not at what was said."""

    def __init__(self, stack: Stack, user: str, *, backlog: int | None = None) -> None:
        self.user = user
        self.arrivals: list[Arrival] = []
        self.pushed: list[Entry] = []
        """Every entry of every push, in the order in which they came."""
        self._stack = stack
        settings = replace(SETTINGS, backlog=backlog)
        self.session = Session(self._dial, UserId(user), settings=settings, on_arrival=self.arrivals.append)

    async def __aenter__(self) -> Self:
        for left in (2, 1, 0):
            try:
                await self.session.start()
                break
            except UnreachableError:
                if not left:
                    raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, op: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a reply that must be a success; asked again as clients do."""
        route, _, name = op.partition(".")
        return await self.session.call(route, name, data or {})

    async def say_until_taken(self, conv: str, text: str, cmid: str) -> tuple[Entry, int]:
        """Send a message, again and again while the sender is out of the group; its entry, and how often refused."""
        refused = 0
        while True:
            try:
                sent = await self.session.send(ConvId(conv), {"text": text}, cmid=cmid)
            except ReplyError as error:
                if error.code != "not_member" and not error.retryable:
                    raise
                refused += 1
                await asyncio.sleep(0.1)
            else:
                return sent.entry, refused

    def holds(self, conv: str) -> list[Entry]:
        """What they have of a conversation, ascending."""
        return self.session.transcript(ConvId(conv)).entries()

    async def inbox(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """All rows by conversation, and the unread counts."""
        rows: dict[str, dict[str, Any]] = {}
        page: dict[str, Any] = {}
        while True:
            reply = await self.ask("sync.inbox", page)
            rows |= {row["conv"]: row for row in reply["conversations"]}
            if reply.get("cursor") is None:
                return rows, await self.ask("sync.unread")
            page = {"cursor": reply["cursor"]}

    async def _dial(self, _: Dial) -> Socket:
        token = self._stack.token(self.user)
        return await Socket.open(self._stack.websocket, token=token, device="d1", listener=_Pushes(self.pushed))


@dataclass(slots=True)
class _Pushes:
    """Notes the entries of every push of a connection."""

    pushed: list[Entry]

    def opened(self) -> None:
        pass

    def sent(self, frame: str) -> None:
        pass

    def received(self, message: str | bytes) -> None:
        match decode(message):
            case Push(name="entries", data=data):
                self.pushed += map(Entry.from_wire, data["entries"])

    def closed(self) -> None:
        pass


async def connect_all(people: Iterable[Person], at_the_end: AsyncExitStack) -> None:
    """Connect them until `at_the_end`. One first: functions that nobody has called yet take seconds to start."""
    first, *others = people
    await at_the_end.enter_async_context(first)
    await some_at_a_time(others, at_the_end.enter_async_context)


async def some_at_a_time(things: Iterable[T], work: Callable[[T], Awaitable[Any]]) -> None:
    """Do `work` for each, TOGETHER at a time. Raises the first error."""
    room = asyncio.Semaphore(TOGETHER)

    async def one(thing: T) -> None:
        async with room:
            await work(thing)

    await asyncio.gather(*(one(thing) for thing in things))


async def queues_are_empty(stack: Stack, within_s: float) -> None:
    """Wait until no entry is on its way any more: not in a queue, not in a function. None may be in the dead-letter
    queue."""
    sqs = stack.cloud.client("sqs")
    urls = [stack.outputs[f"{name}QueueUrl"] for name in ("Fanout", "Broadcast", "Express", "ExpressParts")]
    deadline = time.monotonic() + within_s
    quiet = 0
    while quiet < 2:
        left = [await asyncio.to_thread(_waiting, sqs, url) for url in urls]
        assert time.monotonic() < deadline, f"the queues still hold {left} messages after {within_s:g} s"
        quiet = quiet + 1 if not any(left) else 0
        await asyncio.sleep(0.2)
    dead = await asyncio.to_thread(_waiting, sqs, stack.outputs["FanoutDeadLetterQueueUrl"])
    assert not dead, f"{dead} messages are in the dead-letter queue"


@contextmanager
def fan_out_held_up(stack: Stack, queue: str = "FanoutQueueUrl") -> Iterator[None]:
    """Entries wait in the queue as long as the context lasts, and then come together."""
    functions = stack.cloud.client("lambda")
    (fan_out,) = (
        source["UUID"]
        for source in functions.list_event_source_mappings()["EventSourceMappings"]
        if source["EventSourceArn"].split(":")[-1] == stack.outputs[queue].split("/")[-1]
    )
    functions.update_event_source_mapping(UUID=fan_out, Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=fan_out, Enabled=True)


@contextmanager
def visible_again_soon(stack: Stack, seconds: int) -> Iterator[None]:
    """What a dead process had taken from the fan-out queue comes again after so many seconds. The template says 180,
    because AWS asks for six times the time-out of the function; twenty such waits would be an hour."""
    sqs, url = stack.cloud.client("sqs"), stack.outputs["FanoutQueueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


def _waiting(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
