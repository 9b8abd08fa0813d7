"""A group whose members all claim a red packet at the same moment, each with the client that people have.

Their frames come through sockets, or by `Instances` as API Gateway brings them on AWS: to several instances of the
function at once. MiniStack gives the frames of all sockets to one instance, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from botocore.exceptions import ReadTimeoutError

from imclient.connection import Connection
from imclient.errors import ReplyError, UnreachableError
from imclient.frames import JsonObject, Push
from local import Stack
from local.chaos.workers import functions_of
from tests.e2e.books import Packet, stored_packet

REPLY_S = 30.0
"""How long a client waits for a reply before it sends the frame again: 500 of them wait for one instance here."""

AGAIN_AFTER_S = 0.2
SENDINGS = 20
AT_ONCE = 200
"""Users in one request."""

OPENED_TOGETHER = 2
"""The authorizer is started anew for each who connects while others do."""

TRIES_TO_OPEN = 3

CLAIMS = "RedPacketFunction"
SETTLES = "SettlementFunction"
CLAIMED, AGAIN = "ok", "already_claimed"


class Answer(NamedTuple):
    """What somebody was told."""

    code: str
    amount: int
    """0 without a share."""
    sendings: int
    """How often the claim was sent until it was answered."""


class Answered(NamedTuple):
    """An answer, and how many seconds after the beginning it had come."""

    user: str
    answer: Answer
    seconds: float


Claim = Callable[["Member", str], Awaitable[Answer]]
"""Claims a packet for a member until there is an answer."""


class Member:
    """Somebody with one device."""

    def __init__(self, stack: Stack, user: str) -> None:
        self.user = user
        self.pushes: list[Push] = []
        self._stack = stack
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        for left in range(TRIES_TO_OPEN, 0, -1):
            try:
                self._connection = await Connection.open(
                    self._stack.websocket,
                    token=self._stack.token(self.user),
                    device=f"d{left}",  # one that came too late could still take the place of the next one
                    on_push=lambda push, _: self.pushes.append(push),
                )
                break
            except UnreachableError:
                if left == 1:
                    raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def ask(self, op: str, data: Mapping[str, Any] | None = None) -> JsonObject:
        """The data of a reply that must be a success."""
        assert self._connection is not None
        route, _, name = op.partition(".")
        return await self._connection.request(route, name, data or {}, timeout=REPLY_S, resends=SENDINGS - 1)

    async def claim(self, packet: str) -> Answer:
        """Claim through the socket, again while the answer is that it may be made again."""
        assert self._connection is not None
        before = self._connection.frames_resent
        for tries in range(1, SENDINGS + 1):
            try:
                amount = (await self.ask("redpacket.claim", {"packet": packet}))["amount"]
            except ReplyError as error:
                if error.retryable:
                    await asyncio.sleep(AGAIN_AFTER_S)
                    continue
                code, amount = error.code, error.amount or 0
            else:
                code = CLAIMED
            return Answer(code, amount, tries + self._connection.frames_resent - before)
        raise AssertionError(f"{self.user} got no answer")

    def told(self, packet: str, event: str) -> list[JsonObject]:
        """What was pushed about a packet."""
        return [
            push.data
            for push in self.pushes
            if push.name == "redpacket" and (push.data["packet"], push.data["event"]) == (packet, event)
        ]

    def has(self, conv: str, seq: int) -> bool:
        """Whether an entry was pushed."""
        return any(
            (entry["conv"], entry["seq"]) == (conv, seq)
            for push in self.pushes
            if push.name == "entries"
            for entry in push.data["entries"]
        )


@dataclass(frozen=True, slots=True)
class Members:
    """A group; the first of its members is the founder."""

    conv: str
    all: Sequence[Member]

    @classmethod
    async def gather(cls, stack: Stack, name: str, size: int, at_the_end: AsyncExitStack) -> Self:
        """Open their connections, which stay until `at_the_end`, and make a group of them."""
        founder, *others = (Member(stack, f"{name}{i:04d}") for i in range(size))
        room = asyncio.Semaphore(OPENED_TOGETHER)

        async def enter(member: Member) -> None:
            async with room:
                await at_the_end.enter_async_context(member)

        await at_the_end.enter_async_context(founder)
        await asyncio.gather(*map(enter, others))
        users = [member.user for member in others]
        await founder.ask("group.create", {"gid": name, "name": name, "members": users[:AT_ONCE]})
        for i in range(AT_ONCE, len(users), AT_ONCE):
            await founder.ask("group.invite", {"conv": f"g:{name}", "users": users[i : i + AT_ONCE]})
        return cls(f"g:{name}", [founder, *others])

    async def send(self, total: int, count: int, kind: str = "lucky", greeting: str = "Good luck") -> JsonObject:
        """The founder sends a red packet; the data of the reply."""
        asked = {"conv": self.conv, "cmid": str(uuid.uuid4()), "kind": kind, "total": total, "count": count}
        return await self.all[0].ask("redpacket.create", asked | {"greeting": greeting})

    async def all_have(self, seq: int, within_s: float) -> float:
        """Wait until an entry was pushed to all but the founder; how many seconds it took."""
        began = time.monotonic()
        while not all(member.has(self.conv, seq) for member in self.all[1:]):
            assert time.monotonic() < began + within_s, f"{self.conv} {seq} was not pushed to everybody"
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def all_claim(self, packet: str, claim: Claim) -> list[Answered]:
        """Everybody claims at once; what they were told, in the order in which they were."""
        answered: list[Answered] = []
        began = time.monotonic()

        async def one(member: Member) -> None:
            answer = await claim(member, packet)
            answered.append(Answered(member.user, answer, time.monotonic() - began))

        await asyncio.gather(*map(one, self.all))
        return answered


async def through_its_socket(member: Member, packet: str) -> Answer:
    """Claim as a client does. A client that gets no reply sends its frame again after REPLY_S."""
    return await member.claim(packet)


class Instances:
    """Brings claims to the function as API Gateway does, so many at once: each to an instance of its own.

    All are there from the beginning, and the next one is served when one is done. A claim whose function has died is
    brought again after AGAIN_AFTER_S.
    """

    def __init__(self, stack: Stack, at_once: int) -> None:
        self._lambda = stack.cloud.client("lambda")
        names = functions_of(stack.cloud, stack.name).names
        (self._function,) = (name for name, logical in names.items() if logical == CLAIMS)
        self._threads = ThreadPoolExecutor(at_once)
        self._at_once = at_once

    async def claim(self, member: Member, packet: str) -> Answer:
        """A `Claim`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._claim, member.user, packet)

    def warm_up(self) -> None:
        """Start as many instances as there will be calls at once, one after the other: all together need a minute."""
        for at_once in range(1, self._at_once + 1):
            together = threading.Barrier(at_once)

            def ask(_: int, together: threading.Barrier = together) -> None:
                together.wait()
                self.call("nobody", "wallet", {})

            list(self._threads.map(ask, range(at_once)))

    def _claim(self, user: str, packet: str) -> Answer:
        for sending in range(1, SENDINGS + 1):
            reply = self.call(user, "claim", {"packet": packet})
            if reply is not None and "error" not in reply:
                return Answer(CLAIMED, reply["data"]["amount"], sending)
            if reply is not None and not reply["error"]["retryable"]:
                return Answer(reply["error"]["code"], reply["error"].get("amount", 0), sending)
            time.sleep(AGAIN_AFTER_S)
        raise AssertionError(f"{user} got no answer")

    def call(self, user: str, op: str, data: JsonObject) -> JsonObject | None:
        """The reply to one frame; None when the function has died, or takes a minute to start."""
        frame = {"route": "redpacket", "op": op, "id": "r1", "data": data}
        identity = {"user": user, "device": "d1", "platform": "desktop", "principalId": user}
        context = {
            "routeKey": "redpacket",
            "eventType": "MESSAGE",
            "connectionId": f"of-{user}",
            "authorizer": identity,
        }
        event = {"requestContext": context, "body": json.dumps(frame), "isBase64Encoded": False}
        try:
            out = self._lambda.invoke(FunctionName=self._function, Payload=json.dumps(event))
        except ReadTimeoutError:
            return None
        answer = json.loads(out["Payload"].read())
        return None if "FunctionError" in out else dict(json.loads(answer["body"]))


def wrong_answers(packet: Packet, answered: Sequence[Answered]) -> Iterator[str]:
    """What people were told that the packet does not say, one line each."""
    won = packet.won
    for user, answer, _ in answered:
        if answer.amount != won.get(user, 0):
            yield f"{user} was told {answer}, and has {won.get(user, 0)} of {packet.name}"
        told = {CLAIMED} | ({AGAIN} if answer.sendings > 1 else set()) if user in won else {"sold_out"}
        if answer.code not in told:
            yield f"{user} was told {answer} of {packet.name}"


def wrong_with_winners(stack: Stack, name: str, shares: int, answered: Sequence[Answered]) -> list[str]:
    """What is not as it must be when more have claimed than there are shares, one line each."""
    packet = stored_packet(stack, name)
    found = list(wrong_answers(packet, answered))
    if (len(packet.claimers), sum(packet.won.values())) != (shares, packet.total):
        found.append(f"{len(packet.claimers)} have won {sum(packet.won.values())} of {packet.total}")
    return found
