"""The last claim of a red packet and its refund, at the same moment, on the deployed stack: who is first?

Two people claim the last share when the life of a packet ends and the function is called that gives the rest back. In
every other race the proxy between functions and cloud keeps the three writes until all are there, and lets them go in
any order, perhaps the claims when the money is back already: so much may a network be late. In the others all comes as
it comes.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from local import Stack
from local.chaos.workers import functions_of
from tests.e2e.books import Books, money_left, stored_packet
from tests.e2e.claimers import CLAIMED, CLAIMS, Instances
from tests.e2e.short_lives import packets_live
from tests.e2e.talker import Talker

EXPIRES = "ExpiryFunction"
WRITE = "dynamodb.UpdateItem"
FOUNDER, EARLY, *LAST = "founder", "early", "last1", "last2"
TOTAL, SHARES = 1000, 2

LIFE_S = 6
"""How long the packets live: long enough to make some, and to claim all but one share of each."""

A_RACE_S = 0.7
"""From one packet's end to that of the next one."""

LEAD_MS = 350
"""How long before the end the last ones claim, when their writes are kept."""

CAUGHT_WITHIN_S = 0.8
BACK_WITHIN_S = 1.0
"""How long a write is kept for another one, and for the money. The SDK gives a call up after 3 s."""

PAID_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Race:
    """What came of one packet."""

    packet: str
    answers: Sequence[str]
    """What the two last ones were told."""
    met: bool | None
    """Whether all three writes were kept until all were there; None when none was to be kept."""


@dataclass(slots=True)
class Races:
    """Packets of a group of their own, on a stack whose calls can be held up."""

    stack: Stack
    dice: random.Random
    done: list[Race] = field(default_factory=list)
    _instances: Instances = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _conv: str = field(init=False)
    _lambda: Any = field(init=False)
    _expiry: str = field(init=False)

    def __post_init__(self) -> None:
        self._instances = Instances(self.stack, len(LAST))
        self._threads = ThreadPoolExecutor(4)
        self._lambda = self.stack.cloud.client("lambda")
        names = functions_of(self.stack.cloud, self.stack.name).names
        (self._expiry,) = (name for name, logical in names.items() if logical == EXPIRES)
        gid = f"race-{uuid.uuid4()}"
        self._conv = f"g:{gid}"
        with Talker(self.stack, FOUNDER) as founder:
            founder.ok("group.create", {"gid": gid, "name": "Race", "members": [EARLY, *LAST]})

    def run(self, times: int) -> None:
        """So many races."""
        with packets_live(self.stack, LIFE_S):
            self._instances.warm_up()
            self._sweep()
            self._run(times)

    def _run(self, times: int) -> None:
        """Packets are made as long as the first one lives, then each has its race when it ends."""
        while len(self.done) < times:
            began = time.monotonic()
            packets = [self._packet()]
            while len(self.done) + len(packets) < times:
                time.sleep(max(0.0, began + len(packets) * A_RACE_S - time.monotonic()))
                if time.monotonic() > began + LIFE_S - 2 * A_RACE_S:
                    break
                packets.append(self._packet())
            for name, expires in packets:
                self.done.append(self._race(name, expires, kept=len(self.done) % 2 == 0))
            self._sweep()

    def wrong(self) -> Iterator[str]:
        """Wait until all money has moved; what is wrong then, one line each."""
        deadline = time.monotonic() + PAID_WITHIN_S
        while left := [race.packet for race in self.done if money_left(self.stack, race.packet)]:
            if time.monotonic() > deadline:
                yield f"neither: {left} still hold money"
                break
            time.sleep(0.2)
        books = Books.read(self.stack)
        yield from books.wrong
        for race in self.done:
            packet = stored_packet(self.stack, race.packet)
            yield from packet.wrong
            yield from books.wrong_with(packet)
            lines = books.lines[f"packet:{race.packet}"]
            if ("1" in lines) == ("rest" in lines):
                yield f"both or neither: {race} {lines}"
            must = ["expired"] * len(LAST) if "rest" in lines else [CLAIMED, *["sold_out"] * (len(LAST) - 1)]
            if sorted(race.answers) != sorted(must):
                yield f"told otherwise: {race} {lines}"

    @property
    def claimed(self) -> int:
        """How often the last claim was first."""
        return sum(CLAIMED in race.answers for race in self.done)

    def _packet(self) -> tuple[str, int]:
        """A packet with one share left, and when it ends."""
        asked = {"conv": self._conv, "cmid": str(uuid.uuid4()), "kind": "lucky", "total": TOTAL, "count": SHARES}
        sent = self._ask(FOUNDER, "create", asked)
        self._ask(EARLY, "claim", {"packet": sent["packet"]})
        return sent["packet"], sent["expires"]

    def _race(self, name: str, expires: int, *, kept: bool) -> Race:
        if not kept:
            claims = [self._claim_at(expires - self.dice.uniform(0, 50), user, name) for user in LAST]
            _sleep_until(expires + self.dice.uniform(-30, 10))
            self._sweep()
            return Race(name, [claim.result() for claim in claims], None)
        chaos = self.stack.chaos
        assert chaos is not None
        with chaos.trap(CLAIMS, WRITE) as one, chaos.trap(CLAIMS, WRITE) as other, chaos.trap(EXPIRES, WRITE) as end:
            claims = [self._claim_at(expires - LEAD_MS, user, name) for user in LAST]
            _sleep_until(expires - LEAD_MS)
            here = [one.wait_caught(CAUGHT_WITHIN_S), other.wait_caught(CAUGHT_WITHIN_S)]
            _sleep_until(expires)
            swept = self._threads.submit(self._sweep)
            here.append(end.wait_caught(CAUGHT_WITHIN_S))
            writes = [one, other]
            self.dice.shuffle(writes)
            place = self.dice.choice((0, 0, 1, 2))
            writes.insert(place, end)
            for write in writes:
                write.open()
                time.sleep(self.dice.uniform(0, 0.01))
                if write is end and place == 0 and self.dice.random() < 0.5:
                    self._money_is_back(name)
            swept.result()
            return Race(name, [claim.result() for claim in claims], all(here))

    def _money_is_back(self, name: str) -> None:
        """Wait some moments for the refund: what comes now comes after it."""
        deadline = time.monotonic() + BACK_WITHIN_S
        while money_left(self.stack, name) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _claim_at(self, moment: float, user: str, packet: str) -> Future[str]:
        def claim() -> str:
            _sleep_until(moment)
            reply = self._instances.call(user, "claim", {"packet": packet})
            assert reply is not None
            return str(reply["error"]["code"]) if "error" in reply else CLAIMED

        return self._threads.submit(claim)

    def _ask(self, user: str, op: str, data: dict[str, Any]) -> dict[str, Any]:
        reply = self._instances.call(user, op, data)
        assert reply is not None
        assert "error" not in reply, reply
        return dict(reply["data"])

    def _sweep(self) -> None:
        """What the clock does once a minute."""
        out = self._lambda.invoke(FunctionName=self._expiry, Payload=json.dumps({}))
        assert "FunctionError" not in out, out["Payload"].read()


def _sleep_until(moment: float) -> None:
    """`moment` is in milliseconds since the epoch."""
    time.sleep(max(0.0, moment / 1000 - time.time()))
