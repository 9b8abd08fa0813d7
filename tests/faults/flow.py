"""What a flow is, and the kinds of them that there are: a frame, and messages that a queue brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.world import Said, World
from tests.integration.house import Crash

Data = dict[str, Any]
Act = Callable[[World], Said]
Again = Callable[[World, Said], Said]
Prepare = Callable[[World], None]


@dataclass(frozen=True)
class Flow:
    """One thing that a function does."""

    name: str
    function: str
    act: Act
    again: Again
    covers: str
    """The operation, or the function."""
    prepare: Prepare = lambda _: None
    warm: Act | None = None
    """What an instance has served before that is warm; the same thing, if that teaches it nothing but what is true."""
    who: str = ""
    """The user whose frame it is."""
    settings: Sequence[tuple[Any, str, Any]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    pending: bool = False
    """Whether its preparation leaves work in the queues or the stream."""
    in_parts: bool = False
    """Whether it may stay half done when nobody does it again."""
    over: frozenset[str] = frozenset()
    """What its repeat may be refused with: then it was done, and cannot be done twice."""
    refused: str = ""
    """The code that it is refused with, when that is what it does."""
    tells: Callable[[Data], Any] = lambda data: data
    """What of the data of its reply, or of the error, must be the same, whoever asks how often."""


def frame(
    name: str,
    who: str,
    op: str,
    data: Data,
    *,
    again_by: str | None = None,
    prepare: Prepare = lambda _: None,
    **more: Any,
) -> Flow:
    """A client's frame; who repeats it does so on another connection."""
    other = again_by or (who if " " in who else f"{who} phone")

    def prepared(world: World) -> None:
        world.client(other)
        prepare(world)

    return Flow(
        name=name,
        function=op.partition(".")[0],
        act=lambda world: world.ask(who, op, data),
        again=lambda world, _: world.ask(other, op, data),
        covers=op,
        prepare=prepared,
        who=who.partition(" ")[0],
        **more,
    )


def deliver(*, parts: bool = False, express: bool = False) -> Act:
    """SQS brings a batch; what is reported as failed is not done."""

    def act(world: World) -> Said:
        try:
            failed = world.house.deliver(world.notes["records"], parts=parts, express=express)
        except Crash:
            return Said(None)
        if failed:
            return Said({"ok": False, "error": {"code": "unavailable", "retryable": True}})
        return Said({"ok": True, "data": {}})

    return act


def batch(name: str, prepare: Prepare, *, parts: bool = False, express: bool = False, **more: Any) -> Flow:
    """A batch of a queue, of which `prepare` fills it."""
    act = deliver(parts=parts, express=express)

    def prepared(world: World) -> None:
        prepare(world)
        world.notes["records"] = world.house.take(parts=parts, express=express)
        assert world.notes["records"]

    function = "express" if express else "broadcast" if parts else "fanout"
    return Flow(
        name,
        function,
        act,
        lambda world, _: act(world),
        function,
        prepared,
        environment={"REDELIVER_AFTER_SECONDS": "10"},
        pending=True,
        in_parts=True,
        **more,
    )


def queued(*frames: tuple[str, str, Data]) -> Prepare:
    """Frames whose entries are queued and not fanned out."""

    def prepare(world: World) -> None:
        for who, op, data in frames:
            world.link(who).ok(op, data)

    return prepare


def text(cmid: str, **more: Any) -> Data:
    """The data of a message.send."""
    return {"cmid": cmid, "kind": "text", "body": {"text": f"Text of {cmid}."}} | more


def done_before(op: str, who: str, data: Data) -> Prepare:
    """Somebody has asked for something."""

    def prepare(world: World) -> None:
        world.link(who).ok(op, data)

    return prepare


def behind(flow: Flow) -> Flow:
    """Its function reads the end of the log from a replica that lags behind: somebody else was faster."""

    def act(world: World) -> Said:
        with world.lagging():
            return flow.act(world)

    return replace(flow, name=f"{flow.name} too late", act=act)
