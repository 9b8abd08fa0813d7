"""People who behave like people: they talk, read, change their mind and lose their signal, on one device or two."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from imclient.core.outputs import Dial, Source
from imclient.core.settings import Settings
from imclient.errors import ConnectionLostError, NoReplyError, ReplyError, UnreachableError, UpgradeRefusedError
from imclient.frames import Entry, JsonObject
from imclient.history import Recorder
from imclient.ids import ConvId, UserId, peer_in
from imclient.session import Arrival, Session
from imclient.socket import Socket
from imclient.stack import Stack
from imclient.tokens import mint_token

PLATFORMS: Final = {"phone": "ios", "desktop": "desktop"}
EMOJI: Final = ("👍", "😀", "🎉", "😢")
WORDS: Final = ("yes", "no", "perhaps", "lunch", "train", "later", "now", "see", "you", "where", "good", "😀", "ok")

ACTIONS: Final = {"say": 46, "answer": 10, "read": 20, "react": 8, "edit": 6, "recall": 4, "lose signal": 6}
"""What somebody does next, and how likely it is."""
LATELY: Final = 12
"""How far back people answer, react and change their mind, in entries."""


@dataclass(slots=True)
class Measures:
    """What is counted and measured over all devices. Times in milliseconds."""

    tried: int = 0
    acked: int = 0
    given_up: int = 0
    ack_ms: list[float] = field(default_factory=list)
    push_ms: list[float] = field(default_factory=list)
    sent_at: dict[tuple[str, int], float] = field(default_factory=dict)
    pushed_at: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    duplicates: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)

    def took(self, arrival: Arrival) -> None:
        """An entry came to a device."""
        place = arrival.entry.conv, arrival.entry.seq
        self.duplicates += not arrival.new
        if arrival.source is Source.PUSH and arrival.new:
            self.pushed_at.setdefault(place, []).append(arrival.at)

    def latencies(self) -> list[float]:
        """From the first frame to the push, for each device that was pushed to, of messages whose sending was timed."""
        return [(at - sent) * 1000 for place, sent in self.sent_at.items() for at in self.pushed_at.get(place, ())]


class Device:
    """One app of one person: a session over real sockets, recorded."""

    def __init__(
        self, stack: Stack, user: UserId, name: str, recorder: Recorder, settings: Settings, measures: Measures
    ) -> None:
        self.user = user
        self.name = name
        self.recorder = recorder
        self.shown_twice: Counter[ConvId] = Counter()
        self._stack = stack
        self._measures = measures
        self._socket: Socket | None = None
        self._offline_until = 0.0
        self._closing: asyncio.Task[None] | None = None
        self._shown: dict[ConvId, set[int]] = {}
        self.session = Session(self._dial, user, settings=settings, on_arrival=self._take)

    @property
    def online(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        return self._socket is not None and self._socket.is_open

    def lose_signal(self, seconds: float, *, properly: bool) -> None:
        """The connection breaks, with or without a word to the server, and no other opens for a while."""
        self._offline_until = time.monotonic() + seconds
        if self._socket is not None:
            if properly:
                self._closing = asyncio.create_task(self._socket.close())
            else:
                self._socket.abort()

    def find_signal(self) -> None:
        """Connections open again from now on."""
        self._offline_until = 0.0

    def note_held(self) -> None:
        """Record what it shows now."""
        for conv, transcript in self.session.transcripts.items():
            seqs = [entry.seq for entry in transcript.entries()]
            self.recorder.holds(conv, seqs, shown=self.shown_twice[conv], floor=transcript.floor)

    async def _dial(self, _: Dial) -> Socket:
        if time.monotonic() < self._offline_until:
            raise UnreachableError("no signal")
        token = mint_token(self._stack.signing, self.user, now=int(time.time()))
        self._socket = await Socket.open(
            self._stack.websocket,
            token=token,
            device=self.name,
            platform=PLATFORMS[self.name],
            listener=self.recorder.connection(),
        )
        return self._socket

    def _take(self, arrival: Arrival) -> None:
        self._measures.took(arrival)
        entry = arrival.entry
        shown = self._shown.setdefault(entry.conv, set())
        if arrival.new:
            self.shown_twice[entry.conv] += entry.seq in shown
            shown.add(entry.seq)


class Person:
    """Somebody with some devices and some conversations. They are offline for at most `longest_offline` seconds."""

    def __init__(
        self,
        user: UserId,
        devices: Sequence[Device],
        dice: random.Random,
        measures: Measures,
        *,
        longest_offline: float,
    ) -> None:
        self.user = user
        self.devices = devices
        self.conversations: list[ConvId] = []
        self._dice = dice
        self._longest_offline = longest_offline
        self._measures = measures

    async def live(self, think: Callable[[random.Random], float], gate: asyncio.Semaphore, until: float) -> None:
        """Do something, think, do the next thing, until a time on the clock of `time.monotonic`.

        `gate` is how many of all people do something at a time: when the stack is slow they wait for it.
        """
        await asyncio.sleep(think(self._dice) * self._dice.random())
        while time.monotonic() < until:
            device = self._dice.choice(self.devices)
            (action,) = self._dice.choices(list(ACTIONS), weights=list(ACTIONS.values()))
            conv = self._dice.choice(self.conversations)
            try:
                async with gate:
                    if time.monotonic() < until and await self._do(action, device, conv):
                        self._measures.actions[action] += 1
            except ReplyError as refused:
                self._measures.refusals[refused.code] += 1
            except (NoReplyError, ConnectionLostError, UpgradeRefusedError):
                self._measures.given_up += 1
            await asyncio.sleep(think(self._dice))

    async def _do(self, action: str, device: Device, conv: ConvId) -> bool:
        """Whether there was something to do it to."""
        match action:
            case "say":
                await self.say(device, conv, self._words())
            case "answer" if (to := self._one(device, conv)) is not None:
                await self.say(device, conv, self._words(), reply_to=to.seq)
            case "read" if (seq := device.session.transcript(conv).watermark) > 0:
                await device.session.call("sync", "read", {"conv": conv, "seq": seq})
            case "react" if (to := self._one(device, conv)) is not None:
                await device.session.react(conv, to.seq, self._dice.choice(EMOJI), on=self._dice.random() < 0.8)
            case "edit" if (own := self._one(device, conv, own=True)) is not None:
                await device.session.edit(conv, own.seq, {"text": self._words()})
            case "recall" if (own := self._one(device, conv, own=True)) is not None:
                await device.session.recall(conv, own.seq)
            case "lose signal":
                seconds = self._dice.uniform(0, self._longest_offline)
                device.lose_signal(seconds, properly=self._dice.random() < 0.5)
            case _:
                return False
        return True

    async def say(self, device: Device, conv: ConvId, text: str, *, reply_to: int | None = None) -> None:
        """Send a text. Raises what Session.call raises; it may be stored all the same."""
        measures = self._measures
        measures.tried += 1
        if reply_to is None:
            sent = await device.session.send(conv, {"text": text})
            seq, began, ended = sent.entry.seq, sent.sent_at, sent.acked_at
        else:
            peer = peer_in(conv, self.user)
            where: Mapping[str, Any] = {"conv": conv} if peer is None else {"to": peer}
            data: JsonObject = {**where, "cmid": str(uuid.uuid4()), "kind": "text", "body": {"text": text}}
            began = time.perf_counter()
            reply = await device.session.call("message", "send", {**data, "reply_to": reply_to})
            seq, ended = int(reply["seq"]), time.perf_counter()
            # Its quote is the server's: fetched as any other entry that is missing.
            device.session.expect(conv, seq)
        measures.acked += 1
        measures.ack_ms.append((ended - began) * 1000)
        measures.sent_at[conv, seq] = began

    def _words(self) -> str:
        return " ".join(self._dice.choices(WORDS, k=self._dice.randint(1, 12)))

    def _one(self, device: Device, conv: ConvId, *, own: bool = False) -> Entry | None:
        """One of the newest messages that the device holds; one of the person's own if asked for."""
        newest = device.session.transcript(conv).entries()[-LATELY:]
        some = [entry for entry in newest if entry.countable and (not own or entry.sender == self.user)]
        return self._dice.choice(some) if some else None
