"""What the functions of red packets do: create, claim, settle, end, look; and the queues that overtake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from im.flows import broadcast
from im.flows.red_packets import NEW_LIFE_MS
from tests.faults.flow import Data, Flow, Prepare, batch, behind, frame, queued
from tests.faults.world import DIRECT, LARGE, SMALL, Said, World
from tests.integration.house import Call, Crash, sample

DAY_MS: Final = 86_400_000
LUCKY: Final = {"conv": SMALL, "cmid": "rp", "kind": "lucky", "total": 1000, "count": 3, "greeting": "Best wishes"}
EQUAL: Final = {"conv": LARGE, "cmid": "rp", "kind": "equal", "total": 900, "count": 3}
NEW: Final = {"conv": "d:bob:carol", "cmid": "rp", "kind": "direct", "total": 1000}
TO_ALICE: Final = {"conv": DIRECT, "cmid": "rp", "kind": "direct", "total": 800, "to": "alice"}
TO_BOB: Final = {"conv": DIRECT, "cmid": "rp", "kind": "direct", "total": 800}
TO_CAROL: Final = {"conv": SMALL, "cmid": "rp", "kind": "direct", "total": 800, "to": "carol"}
TOO_MUCH: Final = {"conv": SMALL, "cmid": "rp", "kind": "lucky", "total": 200_000, "count": 3}
SMALL_PARTS: Final = ((broadcast, "PART_MEMBERS", 4),)


# ---- what has happened before ----------------------------------------------------------------------------------------


def _sent(data: Data = LUCKY, *claimers: str, by: str = "alice") -> Prepare:
    """A packet was sent and settled, and then claimed by these."""

    def prepare(world: World) -> None:
        world.notes["packet"] = world.link(by).ok("redpacket.create", data)["packet"]
        world.settle()
        for name in claimers:
            _claimed(world, name)

    return prepare


def _claimed(world: World, name: str) -> None:
    world.link(name).ok("redpacket.claim", {"packet": world.notes["packet"]})


def _then(*steps: Prepare) -> Prepare:
    def prepare(world: World) -> None:
        for step in steps:
            step(world)

    return prepare


def _a_day_later(world: World) -> None:
    """No connection lives that long: everybody has another one."""
    world.house.now += DAY_MS
    for client in world.clients.values():
        client.connect()


def _minutes_later(world: World) -> None:
    """Nobody goes on with a new packet any more."""
    world.house.now += NEW_LIFE_MS


def _swept(world: World) -> None:
    world.house.packets.sweep()


def _settled(world: World) -> None:
    world.settle()


def _never_sent(data: Data = LUCKY, *, dies_at: str) -> Prepare:
    """The function has died before a call: the first to this table."""

    def prepare(world: World) -> None:
        def die(call: Call) -> None:
            if call.operation == "TransactWriteItems" and dies_at in str(call.params["TransactItems"][0]):
                raise Crash

        with world.house.watched(before=die):
            assert world.ask("alice", "redpacket.create", data).reply is None
        world.fresh("redpacket")

    return prepare


LOG: Final = "ConversationTable"
NO_MESSAGE: Final = _never_sent(dies_at=LOG)
NO_MONEY: Final = _never_sent(dies_at="WalletTable")


# ---- frames ----------------------------------------------------------------------------------------------------------


def _place(data: Data) -> Data:
    return {name: data[name] for name in ("packet", "conv", "seq", "n")}


def _create(name: str, who: str, data: Data, **more: Any) -> Flow:
    return frame(name, who, "redpacket.create", data, **{"tells": _place, **more})


def _ask(world: World, client: str, op: str) -> Said:
    return world.ask(client, f"redpacket.{op}", {"packet": world.notes["packet"]})


def _of_packet(name: str, who: str, op: str, prepare: Prepare, **more: Any) -> Flow:
    """A frame about the packet that was prepared."""

    def prepared(world: World) -> None:
        world.client(f"{who} phone")
        prepare(world)

    return Flow(
        name=name,
        function="redpacket",
        act=lambda world: _ask(world, who, op),
        again=lambda world, _: _ask(world, f"{who} phone", op),
        covers=f"redpacket.{op}",
        prepare=prepared,
        who=who,
        **more,
    )


def _claim(name: str, who: str, prepare: Prepare, **more: Any) -> Flow:
    """A warm instance knows the packet as it is before the claim: somebody has asked for it whom it is not for."""
    over = frozenset({"already_claimed"}) if "refused" not in more else frozenset()
    return _of_packet(name, who, "claim", prepare, warm=lambda world: _ask(world, "frank", "claim"), over=over, **more)


def _look(name: str, who: str, op: str, prepare: Prepare = lambda _: None, **data: Any) -> Flow:
    return frame(name, who, f"redpacket.{op}", data, prepare=prepare)


CREATES: Final = (
    _create("create a lucky packet", "alice", LUCKY),
    _create("create an equal packet", "bob", EQUAL),
    _create("create a direct packet", "alice", TO_BOB),
    _create("create a packet for one", "alice", TO_CAROL),
    _create("create from a new wallet", "carol", NEW),
    behind(_create("create a packet", "bob", TO_ALICE)),
    _create("create again", "alice", LUCKY, prepare=_sent()),
    _create("create what was not sent", "alice", TO_BOB, prepare=_never_sent(TO_BOB, dies_at=LOG), pending=True),
    _create("create with too little", "alice", TOO_MUCH, refused="insufficient_funds", tells=lambda error: error),
    _create(
        "create what was given up",
        "alice",
        LUCKY,
        prepare=_then(NO_MESSAGE, _minutes_later, _swept),
        refused="conflict",
        tells=lambda error: error,
    ),
)
CLAIMS: Final = (
    _claim("claim the first", "carol", _sent()),
    _claim("claim the last", "carol", _sent(LUCKY, "alice", "bob")),
    _claim("claim a direct one", "bob", _sent(TO_BOB)),
    _claim("claim too late", "carol", _sent(LUCKY | {"count": 2}, "alice", "bob"), refused="sold_out"),
    _claim("claim again", "carol", _sent(LUCKY, "carol"), refused="already_claimed"),
    _claim("claim what is over", "carol", _then(_sent(), _a_day_later), refused="expired", pending=True),
)
LOOKS: Final = (
    _of_packet("look at a packet", "carol", "detail", _sent(LUCKY, "bob", "carol")),
    _of_packet("look at what is closed", "bob", "detail", _then(_sent(LUCKY, "bob"), _a_day_later, _swept)),
    _look("packets sent", "alice", "mine", _sent(), which="sent"),
    _look("packets received", "bob", "mine", _sent(TO_BOB, "bob"), which="received"),
    _look("open a wallet", "carol", "wallet"),
    _look("wallet", "alice", "wallet"),
    _look("ledger", "alice", "ledger", _sent()),
)


# ---- what is behind them ---------------------------------------------------------------------------------------------


def _records(name: str, prepare: Prepare) -> Flow:
    """The stream brings what was written since the packet was settled."""

    def prepared(world: World) -> None:
        prepare(world)
        world.notes["changes"] = list(world.house.packets.records)
        assert world.notes["changes"]

    def follow(world: World) -> Data:
        world.house.packets.records[:] = world.notes["changes"]
        world.house.packets.follow()
        return {}

    return _behind_the_scenes(name, "settlement", prepared, lambda world: world.call(lambda: follow(world)))


def _message(name: str, prepare: Prepare) -> Flow:
    """Settlement's queue brings a packet whose records came when no money could be moved."""

    def prepared(world: World) -> None:
        prepare(world)

        def fail(call: Call) -> None:
            if "WalletTable" in str(call.params):
                raise OSError("made by a test")

        with world.house.watched(before=fail):
            world.house.packets.follow()
        world.notes["message"] = world.house.packets.take()
        assert world.notes["message"]

    def act(world: World) -> Said:
        try:
            done = world.house.packets.deliver(world.notes["message"])
        except Crash:
            return Said(None)
        if not done:
            return Said({"ok": False, "error": {"code": "unavailable", "retryable": True}})
        return Said({"ok": True, "data": {}})

    return _behind_the_scenes(name, "settlement", prepared, act)


def _sweep(name: str, prepare: Prepare) -> Flow:
    """A minute is over; should this sweep fail, the next one comes in a minute."""
    return _behind_the_scenes(
        name, "expiry", prepare, lambda world: world.call(lambda: world.house.call("expiry", sample("expiry")))
    )


def _parts(world: World) -> None:
    """A packet's push to the large group is queued in parts."""
    queued(("bob", "redpacket.create", EQUAL))(world)
    world.house.deliver(world.house.take(express=True), express=True)


def _behind_the_scenes(name: str, function: str, prepare: Prepare, act: Callable[[World], Said]) -> Flow:
    return Flow(name, function, act, lambda world, _: act(world), function, prepare, pending=True, in_parts=True)


SETTLEMENT: Final = (
    _records("settle a claim", _sent(LUCKY, "bob")),
    _records("settle a claim of a new wallet", _sent(LUCKY, "carol")),
    _records("settle the last claim", _sent(LUCKY | {"count": 2}, "alice", "bob")),
    _records("settle what nobody has claimed", _then(_sent(LUCKY, "bob"), _settled, _a_day_later, _swept)),
    _records("settle what was never sent", _then(NO_MESSAGE, _minutes_later, _swept)),
    _records("settle what was never paid for", _then(NO_MONEY, _minutes_later, _swept)),
    _message("settle claims later", _sent(LUCKY, "bob", "carol")),
    _message("settle a closed packet later", _then(_sent(LUCKY, "bob"), _a_day_later, _swept)),
    _message("settle what was never sent later", _then(NO_MESSAGE, _minutes_later, _swept)),
)
EXPIRY: Final = (
    _sweep("end what is over", _then(_sent(LUCKY, "bob"), _a_day_later)),
    _sweep("end what is sold out", _then(_sent(TO_BOB, "bob"), _a_day_later)),
    _sweep("give up what was never sent", _then(NO_MESSAGE, _minutes_later)),
    _sweep("end nothing", _sent()),
)
EXPRESS: Final = (
    batch("overtake direct", queued(("alice", "redpacket.create", TO_BOB)), express=True),
    batch("overtake in a large group", queued(("bob", "redpacket.create", EQUAL)), express=True, settings=SMALL_PARTS),
    batch("overtake in a part", _parts, express=True, parts=True, settings=SMALL_PARTS),
)

PACKETS: Final = (*CREATES, *CLAIMS, *LOOKS, *SETTLEMENT, *EXPIRY, *EXPRESS)
