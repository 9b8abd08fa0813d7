"""Plays a flow with every fault at every AWS call that it makes, and names what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

import pytest

from tests.faults.faults import DEATHS, FAULTS, Injector
from tests.faults.flow import Flow
from tests.faults.outcomes import AtRest, Seen, essence, judge, pushes_of, timeless
from tests.faults.world import LOST, Said, Start, World, be_done
from tests.integration.house import Call

Data = dict[str, Any]

THEN: Final = ("repeat", "nobody")
"""Whoever would do it again does; or nobody ever does."""

CLIENT_WAITS_MS: Final = 5_000
"""Before a client sends a frame again that had no reply."""

SAME = "as if nothing had happened"
MARKS: Final = {
    SAME: "=",
    "done": "d",
    "not done": "n",
    "in part": "p",
    "refused": "r",
    "no reply": "x",
    "told twice": "2",
    "some not told": "s",
}
"""The words of outcomes, and the letters that stand for them in a table."""


@dataclass(frozen=True)
class Case:
    """One fault at one call of a flow."""

    flow: str
    instance: str
    """`cold`: its function has just started; `warm`: it has served the same before, or what it says."""
    at: int
    call: str
    fault: str
    then: str

    def __str__(self) -> str:
        return f"{self.flow} ({self.instance}), call {self.at} {self.call}: {self.fault}, then {self.then}"


@dataclass(frozen=True)
class Played:
    """What came of a case."""

    case: Case
    outcome: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def marks(self) -> str:
        """The outcome in letters."""
        return "".join(MARKS[word] for word in self.outcome)


@dataclass
class Stage:
    """A flow, prepared."""

    world: World
    injector: Injector
    flow: Flow
    start: Start
    calls: dict[str, list[str]] = field(default_factory=dict)
    """The AWS calls that it makes without a fault, in a cold instance, and in a warm one where they are others."""
    known: dict[str, AtRest] = field(default_factory=dict)
    """What became of moments that have been seen: the same moment comes to the same end."""
    seen: Seen = field(default_factory=Seen)
    reply: Said = Said(None)  # noqa: RUF009 - frozen
    done: AtRest = field(default_factory=lambda: AtRest({}, None, ()))  # type: ignore[arg-type]
    nothing: AtRest = field(default_factory=lambda: AtRest({}, None, ()))  # type: ignore[arg-type]
    replies: dict[str, Said] = field(default_factory=dict)
    settled: int = 0

    def cases(self) -> Iterator[Case]:
        """All there are.

        Where a warm instance comes to the same calls as a cold one, up to the end, the cold one knows by then what the
        warm one knew before: these are played once. Nor does it matter what an instance knew that dies.
        """
        for instance, calls in self.calls.items():
            faults = FAULTS if instance == "cold" else [fault for fault in FAULTS if fault not in DEATHS]
            others = len(calls) if instance == "cold" else len(calls) - _same_end(calls, self.calls["cold"])
            for at, call in enumerate(calls[:others]):
                for fault in faults:
                    for then in THEN:
                        yield Case(self.flow.name, instance, at, call, fault, then)

    def learn(self) -> None:
        """What the flow does without a fault, and what is there when it is not done at all."""
        self._begin("cold")
        self.nothing = self._rest()
        for instance in ("cold", "warm"):
            self._begin(instance)
            with self.world.house.watched() as calls:
                said = self.flow.act(self.world)
            assert self._answered(said), f"{self.flow.name}: {said}"
            names = [_name(call) for call in calls]
            if instance == "cold" or names != self.calls["cold"]:
                self.calls[instance] = names
                self.replies[instance] = said
            if instance == "cold":
                self.reply, short = said, self.world.fingerprint(self.start)
                self.done = self._rest()
        self._begin("cold")
        with self.injector.all_the_way():
            assert self.flow.act(self.world) == self.reply
        assert self.world.fingerprint(self.start) == short, "the short way is another"

    def play(self, case: Case) -> Played:
        """One case."""
        broken: list[str] = []
        world, flow = self.world, self.flow
        self._begin(case.instance)
        with self.injector.fault(case.fault, case.at):
            first = flow.act(world)
        if case.fault in DEATHS or _gets_a_new_instance(case):
            world.fresh(flow.function)
        said = [first]
        if case.then == "repeat":
            world.house.now += CLIENT_WAITS_MS
            again = flow.again(world, first)
            if again.refused != "closed":
                said.append(again)
        if any(self._answered(one) for one in said):
            broken += self._check_queued()
        rest = self._rest()
        broken += self._check_replies(case, said)
        broken += self._check_effect(said, rest)
        return Played(case, self._outcome(said, rest), (*broken, *rest.broken))

    # ---- how

    def _begin(self, instance: str) -> None:
        world = self.world
        world.put_back(self.start)
        world.fresh_again(self.flow.function)
        if instance == "warm":
            world.house.now -= CLIENT_WAITS_MS
            (self.flow.warm or self.flow.act)(world)
            world.put_back(self.start)

    def _rest(self) -> AtRest:
        world, start = self.world, self.start
        moment = world.fingerprint(start)
        if moment in self.known:
            return self.known[moment]
        self.settled += 1
        world.settle()
        settled = world.fingerprint(start)
        if settled not in self.known:
            stored = essence(world, start, acks=self.flow.covers == "sync.ack")
            pushes = pushes_of(world)
            self.known[settled] = AtRest(stored, pushes, tuple(judge(world, start, self.seen)))
        self.known[moment] = self.known[settled]
        return self.known[settled]

    def _check_replies(self, case: Case, said: Sequence[Said]) -> Iterator[str]:
        first = said[0]
        if first.reply is None and not first.refused and case.fault not in DEATHS:
            yield "no reply, though nothing died"
        if first.refused == LOST and not case.call.startswith("PostToConnection"):
            yield "no reply, though it could be pushed"
        for one in said:
            if one.reply is None:
                continue
            if self._answered(one):
                tells = [timeless(self._tells(reply)) for reply in (one, self.reply)]
                if tells[0] != tells[1]:
                    yield f"it says {tells[0]}, not {tells[1]}"
            elif one is first and not one.reply["error"]["retryable"] and not self._is_over(case, one.reply):
                yield f"refused for good: {one.reply['error']}"
        if len(said) > 1 and not self._answered(said[1]):
            reply = said[1].reply
            if reply is None or reply["error"]["code"] not in self.flow.over:
                yield f"its repeat was refused: {said[1]}"

    def _answered(self, said: Said) -> bool:
        """Whether it had the reply that it has without a fault."""
        return said.ok if not self.flow.refused else _code_of(said) == self.flow.refused

    def _tells(self, said: Said) -> Any:
        assert said.reply is not None
        return self.flow.tells(said.reply["data" if said.ok else "error"])

    def _check_queued(self) -> Iterator[str]:
        """Nothing is acked that is not stored and queued: the auditor is there for what nobody was told."""
        names = {name for _, _, name in self.world.house.queued}
        for table, conv, sk in self.world.changed(self.start):
            if table == "ConversationTable" and sk.startswith("MSG#") and (table, conv, sk) not in self.start.items:
                name = f"{conv}:{int(sk.removeprefix('MSG#'))}"
                if name not in names:
                    yield f"acked, and {name} is not queued"

    def _is_over(self, case: Case, reply: Data) -> bool:
        """Whether the call that botocore made twice was answered as a repeat of the frame would be."""
        return case.fault == "repeated" and reply["error"]["code"] in self.flow.over

    def _check_effect(self, said: Sequence[Said], rest: AtRest) -> Iterator[str]:
        is_done = rest.essence == self.done.essence
        is_undone = rest.essence == self.nothing.essence
        if (any(self._answered(one) for one in said) or len(said) > 1) and not is_done:
            yield f"acked, and not done: {_difference(rest.essence, self.done.essence)}"
        elif not is_done and not is_undone and not self.flow.in_parts:
            yield f"half done: {_difference(rest.essence, self.done.essence)}"

    def _told(self, pushes: Counter[str]) -> list[str]:
        """What others were told: which of the caller's own devices are depends on which one asks."""
        return [push for push in pushes if not self.flow.who or not push.startswith(f"{self.flow.who} ")]

    def _outcome(self, said: Sequence[Said], rest: AtRest) -> tuple[str, ...]:
        is_done, is_undone = (rest.essence == one.essence for one in (self.done, self.nothing))
        if not is_done:
            return ("not done" if is_undone else "in part", *_heard(said))
        more, fewer = self._told(rest.pushes - self.done.pushes), self._told(self.done.pushes - rest.pushes)
        answered = any(self._answered(one) for one in said)
        if not answered and is_undone and not self.flow.pending:
            return ("not done", *_heard(said))
        if self._answered(said[0]) and said[0].reply == self.reply.reply and not more and not fewer:
            return (SAME,)
        out = ["done", *(() if self.flow.pending or answered else _heard(said))]
        if more:
            out.append("told twice")
        if fewer:
            out.append("some not told")
        return tuple(out)


def _code_of(said: Said) -> str:
    return str(said.reply["error"]["code"]) if said.reply is not None and not said.ok else ""


def _heard(said: Sequence[Said]) -> tuple[str, ...]:
    return ("refused" if said[-1].reply is not None or said[-1].refused else "no reply",)


def _same_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of their last calls are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _gets_a_new_instance(case: Case) -> bool:
    """After a failure the same instance goes on, or another one serves the next event: each in turn."""
    return bool((case.at + list(FAULTS).index(case.fault) + THEN.index(case.then)) % 2)


def _name(call: Call) -> str:
    """What a call is called in tables: its operation, and what it is about."""
    names: dict[str, Any] = call.params
    writes = names.get("TransactItems", [])
    table = names.get("TableName") or next(iter(names.get("RequestItems", {})), "")
    if writes:
        table = next(iter(writes[0].values()))["TableName"]
    where = table.removesuffix("Table") or names.get("QueueUrl", "").rpartition("/")[2]
    what = call.sort_key.partition("#")[0]
    return " ".join(part for part in (call.operation, where, what) if part)


def _difference(one: Any, other: Any) -> str:
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    return "; ".join(f"{key}: {one.get(key)} not {other.get(key)}" for key in sorted(keys)[:3])


@contextmanager
def staged(world: World, injector: Injector, base: Start, flow: Flow) -> Iterator[Stage]:
    """A flow, prepared from the world as it was at `base`, and known without a fault."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module, name, value in flow.settings:
            monkeypatch.setattr(module, name, value)
        for name, text in flow.environment.items():
            monkeypatch.setenv(name, text)
        world.put_back(base)
        world.fresh()
        flow.prepare(world)
        if not flow.pending:
            be_done(world)
        for link in world.house.devices.values():
            link.pushes.clear()
        stage = Stage(world, injector, flow, world.start())
        stage.learn()
        yield stage
