"""Does a red packet wait for the ordinary messages that are queued ahead of it?

On the emulated cloud, deployed as everywhere: a group whose members are all online over real WebSockets. A packet is
created by `redpacket.create`, and the clock runs from the frame to the moment the last of them has it. Once with the
fan-out queue empty, once right after thousands of ordinary messages were stored and queued ahead, of that group and of
others, as functions/message does it; the same log both times, the same people, one after the other. For comparison, how
far the ordinary messages have come by then.

The emulator is one process on this machine: while the fan-out works the backlog off, it has the same processors and the
same interpreter as the red packet, which AWS would give others. So the backlog is met twice: while it is worked off,
and while it stands still (the event source of the fan-out is off, as when the account gives it no executions).

    PYTHONPATH=layers/common:. .venv/bin/python -m bench.express_lane [--members 200] [--backlog 10000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from im.aws.queue import Queued, encode
from im.aws.queue_messages import MAX_BATCH
from im.domain.conversation import direct_conversation
from im.domain.entries import Draft, Entry, tail_at
from im.domain.ids import Cmid, ConvId, UserId
from im.store.conversations import ConversationStore, entry_item
from local import Stack, running_stack

GROUP: Final = ConvId("g:lane")
OTHERS: Final = 19
"""Direct conversations of the backlog; the group has as much of it as each of these."""
TOGETHER: Final = 3
"""Connections that open at once: the emulator starts an authorizer for each."""
PATIENCE_S: Final = 120.0
WARM_UP: Final = 2
"""Packets that are not counted: functions start, and learn who is a member."""


@dataclass
class Client:
    """One open connection, and when each entry of the group came to it."""

    user: str
    socket: ClientConnection
    came: dict[int, float] = field(default_factory=dict)
    replies: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def listen(self) -> None:
        """Note what comes, until the connection ends."""
        async for text in self.socket:
            now = time.monotonic()
            frame = json.loads(text)
            if frame.get("push") == "entries" and frame["data"]["conv"] == GROUP:
                for entry in frame["data"]["entries"]:
                    self.came.setdefault(entry["seq"], now)
            elif (reply := self.replies.pop(str(frame.get("id")), None)) is not None:
                reply.set_result(frame)

    async def ask(self, op: str, data: dict[str, Any]) -> dict[str, Any]:
        """The data of a reply that must be a success."""
        route, _, name = op.partition(".")
        request = f"r{time.monotonic_ns()}"
        self.replies[request] = asyncio.get_running_loop().create_future()
        answer = self.replies[request]
        await self.socket.send(json.dumps({"route": route, "op": name, "id": request, "data": data}))
        reply = await asyncio.wait_for(answer, PATIENCE_S)
        if not reply["ok"]:
            raise SystemExit(f"{op}: {reply['error']}")
        return dict(reply["data"])


@dataclass(frozen=True)
class Timing:
    """One packet; seconds from the frame that asked for it."""

    ahead: int
    """Messages that waited in the fan-out queue when it was asked for."""
    still_ahead: int
    """And when the last member had it."""
    stored_s: float
    """Its sender has the reply."""
    half_s: float
    last_s: float


@dataclass(frozen=True)
class Lane:
    """The deployed stack with everybody online."""

    stack: Stack
    sqs: Any
    sender: Client
    members: Sequence[Client]

    def waiting(self, name: str = "FanoutQueueUrl") -> int:
        """How many messages a queue holds, those under way included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        out = self.sqs.get_queue_attributes(QueueUrl=self.stack.outputs[name], AttributeNames=names)
        return sum(int(out["Attributes"][name]) for name in names)

    async def packet(self) -> Timing:
        """Create a packet, and wait until everybody has heard of it."""
        ahead = await asyncio.to_thread(self.waiting)
        began = time.monotonic()
        data = {"conv": GROUP, "cmid": f"p{time.monotonic_ns()}", "kind": "lucky", "total": 1000, "count": 10}
        seq = (await self.sender.ask("redpacket.create", data))["seq"]
        stored = time.monotonic()
        while not all(seq in member.came for member in self.members):
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit("not everybody has heard of the packet")
            await asyncio.sleep(0.01)
        still = await asyncio.to_thread(self.waiting)
        times = sorted(member.came[seq] - began for member in self.members)
        return Timing(ahead, still, stored - began, times[len(times) // 2], times[-1])

    async def calm(self) -> None:
        """Throw away what the fan-out has not come to, and wait until nothing is under way."""
        await asyncio.to_thread(self.sqs.purge_queue, QueueUrl=self.stack.outputs["FanoutQueueUrl"])
        quiet = 0
        while quiet < 3:
            queues = [await asyncio.to_thread(self.waiting, name) for name in ("FanoutQueueUrl", "ExpressQueueUrl")]
            quiet = quiet + 1 if not any(queues) else 0
            await asyncio.sleep(0.3)

    def queue_messages(self, total: int) -> None:
        """Store and queue ordinary messages of the group and of others, which take turns."""
        outputs, dynamodb = self.stack.outputs, self.stack.cloud.client("dynamodb")
        table = outputs["ConversationTableName"]
        people = [UserId(member.user) for member in self.members]
        others = [direct_conversation(a, b).conv for a, b in pairwise(people)][:OTHERS]
        tails = {conv: ConversationStore(dynamodb, table).tail(conv) for conv in (GROUP, *others)}
        entries: list[Entry] = []
        for i in range(total // len(tails)):
            for conv, tail in tails.items():
                sender = UserId(self.sender.user if conv == GROUP else conv.split(":")[1])
                draft = Draft(conv, "text", sender, json.dumps({"text": f"Message {i}."}), Cmid(f"c{tail.seq}"))
                entries.append(draft.following(tail, time.time_ns() // 1_000_000))
                tails[conv] = tail_at(entries[-1])
        for some in batched(entries, 25):
            puts = [{"PutRequest": {"Item": entry_item(entry)}} for entry in some]
            dynamodb.batch_write_item(RequestItems={table: puts})
        for some in batched(entries, MAX_BATCH):
            messages = [
                {
                    "Id": str(i),
                    "MessageBody": encode(Queued(entry, None)),
                    "MessageGroupId": entry.conv,
                    "MessageDeduplicationId": f"{entry.conv}:{entry.seq}",
                }
                for i, entry in enumerate(some)
            ]
            self.sqs.send_message_batch(QueueUrl=outputs["FanoutQueueUrl"], Entries=messages)

    @contextmanager
    def without(self, *sources: str) -> Iterator[None]:
        """Event sources are off, by the ends of their names."""
        functions = self.stack.cloud.client("lambda")
        found = functions.list_event_source_mappings()["EventSourceMappings"]
        off = [one["UUID"] for one in found if one["FunctionArn"].split(":")[6].split("-")[-2] in sources]
        if len(off) != len(sources):
            raise SystemExit(f"no event sources of {', '.join(sources)}")
        for uuid in off:
            functions.update_event_source_mapping(UUID=uuid, Enabled=False)
        try:
            yield
        finally:
            for uuid in off:
                functions.update_event_source_mapping(UUID=uuid, Enabled=True)


def batched(entries: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    """`entries` in runs of `size`."""
    return (entries[at : at + size] for at in range(0, len(entries), size))


@asynccontextmanager
async def everybody_online(stack: Stack, members: int) -> AsyncIterator[Lane]:
    """A group of so many, all connected; its sender has a second device, which hears of what the first one does."""
    users = [f"u{i:04d}" for i in range(members)]
    room = asyncio.Semaphore(TOGETHER)
    async with AsyncExitStack() as at_the_end:
        listening = await at_the_end.enter_async_context(asyncio.TaskGroup())

        async def online(user: str, platform: str) -> Client:
            url = f"{stack.websocket}?token={stack.token(user)}&device={platform}&platform={platform}"
            async with room:
                socket = await connect(url, open_timeout=PATIENCE_S, proxy=None, max_queue=None)
            client = Client(user, socket)
            listening.create_task(client.listen())
            at_the_end.push_async_callback(socket.close)
            return client

        sender = await online(users[0], "ios")
        await sender.ask("group.create", {"gid": "lane", "name": "Lane", "members": users[1:]})
        clients = await asyncio.gather(*(online(user, "web") for user in users))
        yield Lane(stack, stack.cloud.client("sqs"), sender, clients)


async def measure(stack: Stack, members: int, backlog: int, rounds: int) -> dict[str, list[Timing]]:
    """Packets by what they met, each as often as there are rounds."""
    timings: dict[str, list[Timing]] = {"nothing ahead": [], "ahead, worked off": [], "ahead, standing still": []}
    async with everybody_online(stack, members) as lane:
        print(f"{members} members online", flush=True)
        # Everything here is queued by whoever stores it. The auditor would queue what is thrown away.
        with lane.without("AuditFunction"):
            await lane.calm()
            for _ in range(WARM_UP):
                await lane.packet()
            for _ in range(rounds):
                with lane.without("FanoutFunction"):
                    await asyncio.to_thread(lane.queue_messages, backlog)
                    timings["ahead, standing still"].append(await lane.packet())
                await asyncio.sleep(2)
                timings["ahead, worked off"].append(await lane.packet())
                await lane.calm()
                timings["nothing ahead"].append(await lane.packet())
                for name, some in timings.items():
                    print(f"  {name}: {some[-1].last_s:.2f} s ({some[-1].ahead} ahead)", flush=True)
    return timings


def table(timings: dict[str, list[Timing]]) -> Iterator[str]:
    """The medians of all rounds, and the best of them: whatever else this machine does only makes a packet later."""
    yield "| | messages ahead | then | stored | half have it | all have it | ratio | best | ratio |"
    yield "|---|---|---|---|---|---|---|---|---|"
    alone = [one.last_s for one in timings["nothing ahead"]]
    for name, some in timings.items():
        ahead, then = min(one.ahead for one in some), min(one.still_ahead for one in some)
        stored, half, last = (
            statistics.median(getattr(one, of) for one in some) for of in ("stored_s", "half_s", "last_s")
        )
        best = min(one.last_s for one in some)
        yield (
            f"| {name} | {ahead} | {then} | {stored:.2f} s | {half:.2f} s | {last:.2f} s "
            f"| {last / statistics.median(alone):.2f} | {best:.2f} s | {best / min(alone):.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.express_lane", description=__doc__)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--backlog", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, help="of the emulated cloud; a free one without it")
    parser.add_argument("--json", action="store_true", help="print every packet instead of the table")
    options = parser.parse_args()
    parameters = {"RedeliverAfterSeconds": "0"}
    with running_stack(port=options.port, parameters=parameters, tell=lambda step: print(step, flush=True)) as stack:
        timings = asyncio.run(measure(stack, options.members, options.backlog, options.rounds))
    if options.json:
        print(json.dumps({name: [asdict(one) for one in some] for name, some in timings.items()}, indent=2))
    else:
        print("\n".join(table(timings)))


if __name__ == "__main__":
    main()
