"""Random histories of red packets: `python -m tests.integration.packet_histories --histories 10000 --seed 7`.

Five users in two groups and their direct conversations send red packets, claim them, come and go; time passes, packets
end, settlement has its records late, twice, backwards; functions die at any AWS call and requests overlap. After every
step the books must be right (packet_books.py) and everything must be as a plain model says (packet_model.py); at the
end all packets are over, and everybody has what the model says to the cent.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "layers/common")]

from tests.integration import packet_acts as acts  # noqa: E402 - it finds the functions' code by the line above
from tests.integration.packet_acts import CLUB, HOME, USERS, Act, Acts, Figures, Order, Racing  # noqa: E402
from tests.integration.packet_books import NEW_LIFE_MS, Books, Stored, broken, wrong, wrongly_changed  # noqa: E402
from tests.integration.packet_model import Ask, Name, Packet, Refused, Room, Rules, Terms, World, told_of  # noqa: E402
from tests.integration.packet_stage import (  # noqa: E402
    AMOUNT,
    KINDS,
    LIFE_MS,
    LITTLE_TIME,
    NO_TIME,
    OPENING,
    SHARES,
    Fault,
    Invocation,
    Stage,
    stage,
)

RULES: Final = Rules(OPENING, LIFE_MS, NEW_LIFE_MS, SHARES, AMOUNT, greeting=120)
STEPS: Final = 16
CHUNK: Final = 250
"""Histories that are played with one seed of Hypothesis."""


class Histories(RuleBasedStateMachine):
    """People and their red packets."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.house = stage, stage.house
        self.world = World(RULES)
        self.books: Books | None = None
        self.asked: list[Terms] = []
        """What was asked for, the newest last."""
        self.said = 0
        self.turn = 0
        self.indexes: list[list[Any]] = []
        """What the index of what is due has said, before each step."""
        self.going_well = True

    @initialize(ahead=acts.CLOCKS, what=acts.CREATING)
    def the_groups_are_made(self, ahead: tuple[int, int], what: tuple[Any, ...]) -> None:
        self.stage.begin(ahead)
        self.count("begun", happened=True)
        for conv, owner, members in ((HOME, "alice", ("bob", "carol", "dave")), (CLUB, "bob", ("alice", "carol"))):
            data = {"gid": conv[2:], "name": "Ours", "members": list(members), "join_mode": "open"}
            self.stage.device(owner).ok("group.create", data)
            self.world.rooms[conv] = Room(owner, {})
            self.world.join(conv, [owner, *members])
        self.do([what])

    @rule(acts=acts.some(acts.PEOPLE, 6))
    def people(self, acts: Acts) -> None:
        self.do(acts)

    @rule(acts=acts.some(acts.CLOCKWORK, 5))
    def clockwork(self, acts: Acts) -> None:
        self.do(acts)

    @rule(acts=acts.some(acts.COMING, 5))
    def coming_and_going(self, acts: Acts) -> None:
        self.do(acts)

    @rule(what=acts.DISTURBED, fault=acts.any_fault, then=st.none() | acts.some(acts.CLOCKWORK, 2))
    def a_function_is_disturbed(self, what: Act, fault: Fault, then: Acts | None) -> None:
        """With or without a repeat of the request, and with what happens in between."""
        self.do([(*what, fault)])
        if then is not None:
            again = {"creates": [("repeats", 0, None)], "claims": [what]}
            self.do([*then, *again.get(what[0], [])])

    @rule(
        pick=acts.which_packet,
        racing=st.lists(acts.racing, min_size=2, max_size=4),
        edge=acts.edge,
        order=acts.order,
    )
    def requests_overlap(self, pick: int, racing: list[Racing], edge: int | None, order: Order) -> None:
        self.do([("races", pick, racing, edge, order)])

    @rule(what=acts.POPULAR, edge=acts.before_the_end, acts=acts.some(acts.ENDING, 7))
    def a_packet_ends(self, what: Act, edge: int, acts: Acts) -> None:
        """Some have claimed it; all instances know it."""
        self.do([what, ("claims", 0, 0), ("claims", 1, 0), ("waits_for", 0, edge), *acts])

    @rule(
        what=acts.CREATING,
        call=st.integers(3, 11),
        then=acts.MEANWHILE,
        edge=acts.after_the_end,
        more=st.lists(acts.racing, max_size=2),
        order=acts.sweep_stops,
    )
    def a_packet_is_given_up_while_it_is_sent(
        self, what: Act, call: int, then: str, edge: int, more: list[Racing], order: Order
    ) -> None:
        """Its sender's function has died, and the request comes again, about when it is too late."""
        self.do([(*what, Fault(call, "death before"))])
        sender = self.asked[-1].sender
        if then == "says":
            self.do([("says_the_same", 0)])
        elif then in {"leaves", "is muted"}:
            self.do([("changes", "leave" if then == "leaves" else "mute", sender)])
        if then not in {"nothing", "says"}:
            self.do([("repeats", 0, None)])
        racing: list[Racing] = [(("create", 0), 0, None), (("sweep", 0), 1, None), (("settle", 0), 0, None), *more]
        self.do([("races", 0, racing, edge, order)])

    @rule(what=acts.CREATING, rivals=acts.RIVALS, order=acts.first_stops)
    def requests_for_packets_overlap(
        self, what: Act, rivals: list[tuple[str, int, Fault | None]], order: Order
    ) -> None:
        self.do([("creates_at_once", what[1:], rivals, order)])

    @rule(user=acts.user, conv=st.sampled_from((HOME, CLUB)))
    def a_group_is_dissolved(self, user: str, conv: str) -> None:
        if self.turn % 5 == 0:
            self.do([("dissolves", user, conv)])

    def do(self, acts: Acts) -> None:
        """One after the other; each takes a moment."""
        self.going_well = False
        if self.stage.tables is not None:
            self.indexes.append(self.stage.tables.index_of("RedPacketTable"))
        for name, *arguments in acts:
            self.turn += 1
            self.house.now += 7
            getattr(self, name)(*arguments)
        self.going_well = True

    # ---- what people do

    def creates(self, by: int, conv: str, figures: Figures, to: str, cmid: str, *fault: Fault) -> None:
        self.create(self.terms(by, conv, figures, to, cmid), *fault)

    def terms(self, by: int, conv: str, figures: Figures, to: str, cmid: str) -> Terms:
        kind, total, count = figures
        if conv.startswith("d:") and self.turn % 4:
            kind, count = "direct", None
        whom = to if kind == "direct" and (conv.startswith("g:") or self.turn % 5 == 0) else None
        name = f"c{len(self.asked)}" if cmid == "new" else cmid
        greeting = "x" * 121 if self.turn % 50 == 0 else ""
        return Terms(conv, self.one(by, conv), name, kind, total, count, whom, greeting)

    def creates_at_once(self, what: tuple[Any, ...], others: list[tuple[str, int, Fault | None]], order: Order) -> None:
        """The same request twice, or with another total, or one more, or somebody else's in that conversation."""
        terms = self.terms(*what)
        asks = [Ask("create", terms.sender, terms=terms)]
        for how, _, _ in others:
            other = terms
            if how == "total":
                other = replace(terms, total=terms.total + 6)
            elif how == "one more":
                other = replace(terms, cmid=f"{terms.cmid}+")
            elif how == "another's":
                other = replace(terms, sender=self.one(what[0] % 8 + 1, terms.conv), to=None)
            asks.append(Ask("create", other.sender, terms=other))
        self.asked += [ask.terms for ask in asks if ask.terms is not None]
        funds = self.funds()
        self.serve(
            asks, [0, *(which for _, which, _ in others)], [None, *(fault for _, _, fault in others)], order=order
        )
        self.learn(asks, funds)
        sent = {ask.data["seq"] for ask in asks if ask.code == "ok"}
        self.count("two packets were sent at once", len(sent) > 1)
        self.count("one was sent twice at once", len(sent) < sum(ask.code == "ok" for ask in asks))

    def repeats(self, pick: int, change: str | None) -> None:
        """The same request, or one that has only the cmid in common."""
        if not self.asked:
            return
        terms = self.asked[-1 - pick % len(self.asked)]
        other: dict[str, Any] = {
            "kind": "equal" if terms.kind == "lucky" else "lucky",
            "total": terms.total + 6,
            "count": (terms.count or 1) + 1,
            "to": "erin",
            "greeting": "Other wishes",
        }
        self.create(terms if change is None else replace(terms, **{change: other[change]}))

    def create(self, terms: Terms, *fault: Fault) -> None:
        self.asked.append(terms)
        ask = Ask("create", terms.sender, terms=terms)
        funds = self.funds()
        self.serve([ask], [self.turn % 2], [*fault, None][:1])
        if ask.disturbed:
            self.learn([ask], funds)
            return
        was = self.world.packets.get(terms.name)
        lacked, was_over = was is not None and not was.held, was is not None and was.state == "cancelled"
        told, refusal = _outcome(lambda: self.world.create(terms, ask.first, funds[terms.sender]))
        self.found_as_predicted()
        self.answered(ask, refusal)
        if told is not None:
            packet, duplicate = told
            assert ask.data["duplicate"] == duplicate, ask
            self.none(told_of(packet, ask.data))
            self.count("create: duplicate", duplicate)
            self.count("got its money later", lacked and not duplicate)
        elif (packet := self.world.packets.get(terms.name)) is not None:
            self.count(
                "given up as its sender has a message of that cmid", packet.state == "cancelled" and not was_over
            )

    def claims(self, by: int, pick: int, *fault: Fault) -> None:
        packet = self.pick(pick)
        if packet is None:
            nothing = {"packet": f"rp{'a' * 26}"}
            assert self.stage.device(USERS[0]).error("redpacket.claim", nothing)["code"] == "not_found"
            return
        user = self.one(by, packet.terms.conv)
        ask = Ask("claim", user, packet=packet.terms.name)
        funds, before = self.funds(), replace(packet)
        self.serve([ask], [self.turn % 2], [*fault, None][:1])
        if ask.disturbed:
            self.learn([ask], funds)
            return
        place, refusal = _outcome(lambda: self.world.claim(user, packet, ask.first))
        self.found_as_predicted()
        if refusal is not None and refusal.code == "already_claimed" and (user, ask.first) in packet.claims:
            assert ask.data["amount"] == refusal.amount  # the same request as far as anybody can tell
            return
        self.answered(ask, refusal)
        if place is not None:
            assert ask.data == {"packet": packet.id, "amount": packet.shares[place]}
            self.count("the last share was claimed", packet.sold_out)
            self.count("claimed by its sender", user == packet.terms.sender)
        elif refusal is not None and refusal.code == "expired":
            self.count("a slow clock claimed too late", before.state == "closed" and ask.first < packet.expires)

    def crowds(self, pick: int, first: int, many: int) -> None:
        """So many claim it one after the other."""
        for i in range(many):
            self.turn += 1
            self.claims(first + i, pick)

    def says(self, by: int, conv: str, cmid: str) -> None:
        """A message, at times with a cmid that was used before."""
        if cmid == "new":
            cmid, self.said = f"m{self.said}", self.said + 1
        self.say((conv, self.one(by, conv), cmid))

    def says_the_same(self, pick: int) -> None:
        """A message that has the cmid of a packet."""
        if (packet := self.pick(pick)) is not None:
            self.say(packet.terms.name)

    def say(self, name: Name) -> None:
        conv, user, cmid = name
        reply = self.stage.device(user).ask(
            "message.send", {"conv": conv, "cmid": cmid, "kind": "text", "body": {"text": "Hello."}}
        )
        packet = self.world.packets.get(name)
        if packet is not None and packet.opened:
            if reply["ok"]:
                assert (reply["data"]["seq"], reply["data"]["duplicate"]) == (packet.seq, True)
        elif reply["ok"]:
            self.world.messages.add(name)
            self.count("a message has the cmid of a new packet", packet is not None and packet.state == "new")
        self.found_as_predicted()

    def looks(self, user: str, pick: int) -> None:
        """Somebody looks at a packet, and at their wallet."""
        packet = self.pick(pick)
        if packet is None:
            return
        balance = self.stage.device(user).ok("redpacket.wallet")["balance"]
        self.found_as_predicted()
        assert balance == self.funds()[user]
        reply = self.stage.device(user).ask("redpacket.detail", {"packet": packet.id})
        try:
            self.world.invite(user, packet)
        except Refused:
            return
        now, place = self.house.now, packet.place_of(user)
        over = packet.sold_out or packet.state == "closed" or now >= packet.expires
        data = reply["data"]
        state = "finished" if packet.sold_out else "expired" if over else "open"
        assert (data["state"], data["claimed"], data["total"]) == (state, len(packet.claims), packet.terms.total)
        assert data.get("amount") == (packet.shares[place] if place is not None else None)
        assert data.get("refunded") == (packet.unclaimed if state == "expired" else None)
        told = [claim.get("amount") for claim in data["claims"]]
        shown = over or place is not None or packet.terms.kind != "lucky"
        assert told == [share if shown else None for share in packet.shares[: len(packet.claims)]]

    def recalls(self, pick: int) -> None:
        """The message goes, the money does not."""
        packet = self.pick(pick)
        if packet is not None and packet.seq:
            target = {"conv": packet.terms.conv, "seq": packet.seq}
            reply = self.stage.device(packet.terms.sender).ask("message.recall", target)
            self.count("recalled", reply["ok"])
            self.found_as_predicted()

    def changes(self, what: str, user: str) -> None:
        """Somebody comes to the club, goes, or may not send there. What groups answer is tested elsewhere."""
        room, owner = self.world.rooms[CLUB], self.world.rooms[CLUB].owner
        by = user if what in {"join", "leave"} else owner
        data: dict[str, Any] = {"conv": CLUB}
        if what in {"remove", "invite"}:
            data["users"] = [user]
        elif what in {"mute", "unmute"}:
            data |= {"user": user, "until": self.house.now + LIFE_MS if what == "mute" else 0}
        reply = self.stage.device(by).ask(f"group.{what.removeprefix('un')}", data)
        if not reply["ok"]:
            return
        if what in {"join", "invite"}:
            self.world.join(CLUB, [user])
        elif what in {"leave", "remove"}:
            self.world.leave(CLUB, [user])
            room.dissolved |= not room.members
        else:
            room.muted[user] = data["until"]
        self.found_as_predicted()

    def dissolves(self, user: str, conv: str) -> None:
        reply = self.stage.device(user).ask("group.dissolve", {"conv": conv})
        assert reply["ok"] == (user == self.world.rooms[conv].owner)
        self.world.rooms[conv].dissolved |= reply["ok"]
        self.found_as_predicted()

    # ---- what happens by itself

    def waits(self, ms: int) -> None:
        self.house.now += ms

    def waits_for(self, pick: int, ms: int) -> None:
        """Until shortly before or after the end of a packet."""
        packet = self.pick(pick)
        if packet is not None:
            end = packet.expires or packet.created + NEW_LIFE_MS
            self.house.now = max(self.house.now, end + ms)

    def sweeps(self, which: int, index: str, *fault: Fault) -> None:
        ask, funds = Ask("sweep"), self.funds()
        if index == "lags" and self.stage.tables is not None:
            self.stage.tables.indexed = self.indexes[-2:][0]
        self.serve([ask], [which], [*fault, None][:1])
        if self.stage.tables is not None:
            self.stage.tables.indexed = None
        if ask.disturbed or index == "lags":
            self.learn([ask], funds)
            return
        for packet in self.world.sweep(ask.first):
            self.ended(packet)
        self.found_as_predicted()

    def ended(self, packet: Packet) -> None:
        if packet.state == "cancelled":
            self.count("given up with its money", packet.held)
            self.count("given up without its money", not packet.held)
            self.count("given up as its sender has a message of that cmid", packet.terms.name in self.world.messages)
        else:
            self.count("ended untouched", not packet.claims)
            self.count("ended with a rest", packet.claims and not packet.sold_out)
            self.count("ended sold out", packet.sold_out)

    def settles(self, how: str, which: int, *fault: Fault) -> None:
        ask, funds = Ask("settle"), self.funds()
        self.serve([ask], [which], [*fault, None][:1], how=how)
        if ask.disturbed:
            self.learn([ask], funds)
            return
        self.count(f"settlement: {how}", happened=True)
        if how == "all":
            assert self.stage.idle
        self.found_as_predicted()

    def settlement(self, how: str) -> None:
        """Let settlement have some of what there is for it."""
        here, records = self.stage, self.house.packets.records
        if how == "all":
            while not here.idle:
                here.settle(records[:100])
                here.settle_message()
        elif how == "some":
            here.settle(records[: 1 + self.turn % 3])
        elif how == "newest":
            here.settle(records[-1 - self.turn % 3 :])
        elif how == "late":
            here.settle(records[:100], remaining=NO_TIME)
        elif how == "slow":
            here.call_ms = 1 + self.turn % 5
            here.settle(records[:100], remaining=LITTLE_TIME)
            here.settle_message(remaining=LITTLE_TIME)
            here.call_ms = 0
        elif how == "message":
            here.settle_message()
        elif here.told:
            first = self.turn * 7 % len(here.told)
            source = here.told[first]["eventSource"]
            same = [record for record in here.told[first : first + 3] if record["eventSource"] == source]
            here.settle_again(same if source == "aws:dynamodb" else same[:1])

    # ---- at once

    def races(
        self,
        pick: int,
        acts: list[Racing],
        edge: int | None,
        order: Order,
    ) -> None:
        """All of it about one packet."""
        packet = self.pick(pick)
        if packet is None:
            return
        if edge is not None and packet.state in {"new", "open"}:
            self.waits_for(pick, edge)
        asks = []
        for (what, who), _, _ in acts:
            if what == "claim":
                asks.append(Ask("claim", self.one(who, packet.terms.conv), packet=packet.terms.name))
            elif what == "create":
                asks.append(Ask("create", packet.terms.sender, terms=packet.terms))
            elif what == "sweep":
                asks.append(Ask("sweep"))
            else:
                asks.append(Ask("settle", user="again" if what == "settle again" else "all"))
        funds, before = self.funds(), replace(packet)
        left = packet.count - len(packet.claims)
        self.serve(asks, [which for _, which, _ in acts], [fault for _, _, fault in acts], order=order)
        self.learn(asks, funds)
        claims = [ask for ask in asks if ask.op == "claim"]
        self.count("several raced for the last share", left == 1 and len(claims) > 1 and packet.sold_out)
        self.count("a claim raced the end", claims and before.state == "open" and packet.state == "closed")
        if before.state == "new" and any(ask.op == "create" for ask in asks):
            gone = packet.state == "cancelled"
            self.count("sent while it was given up", gone or packet.state == "open")
            self.count("given up while it was sent", gone)
            self.count("the money came after it was given up", gone and packet.held and not before.held)
            late = gone and not packet.held and not before.held and any(ask.code == "conflict" for ask in asks)
            self.count("the money came too late", late and self.stored(packet).void)

    # ---- how

    def serve(
        self,
        asks: Sequence[Ask],
        instances: Sequence[int],
        faults: Sequence[Fault | None],
        *,
        order: Order | None = None,
        how: str = "",
    ) -> None:
        """Let functions answer; each ask is told what has come of it."""
        invocations = [
            Invocation(which, self.job(ask, how), fault)
            for ask, which, fault in zip(asks, instances, faults, strict=True)
        ]
        self.stage.serve(invocations, order or [])
        for ask, one in zip(asks, invocations, strict=True):
            self.stage.call_ms = 0
            ask.first, ask.last, ask.disturbed = one.first, one.last, one.hit
            if isinstance(one.raised, AssertionError) or (one.raised is not None and not one.hit):
                raise one.raised
            if isinstance(one.result, dict):
                ok = one.result["ok"]
                ask.code = "ok" if ok else one.result["error"]["code"]
                ask.data = one.result["data" if ok else "error"]
            self.count(f"{ask.op}: {ask.code or ('died' if one.died else 'done')}", happened=True)
            what, fault = ask.terms or ask.packet or how, one.fault if one.hit else ""
            note(f"{self.house.now} {ask.op} {ask.user} {what}: {ask.code} {fault}")
        # A message that has failed before says so.
        if how != "slow" and not any(one.hit for one in invocations) and self.stage.errors.error != "still failing":
            assert self.stage.errors.error is None, f"nothing may fail, here: {self.stage.errors.error!r}"
        self.stage.errors.error = None

    def job(self, ask: Ask, how: str) -> Callable[[], Any]:
        """What a function is called with."""
        if ask.op == "sweep":
            return self.stage.sweep
        if ask.op == "settle":
            return partial(self.settlement, how or ask.user)
        device = self.stage.device(ask.user)
        if ask.op == "claim":
            assert ask.packet is not None
            return partial(device.ask, "redpacket.claim", {"packet": self.world.packets[ask.packet].id})
        assert ask.terms is not None
        names = ("conv", "cmid", "kind", "total", "count", "to", "greeting")
        told = {name: getattr(ask.terms, name) for name in names}
        data = {name: value for name, value in told.items() if value not in {None, ""}}
        return partial(device.ask, "redpacket.create", data)

    def answered(self, ask: Ask, refusal: Refused | None) -> None:
        """It was answered as it must be."""
        assert ask.code == ("ok" if refusal is None else refusal.code), (ask, refusal)
        if refusal is not None and refusal.amount is not None:
            assert ask.data["amount"] == refusal.amount

    def found_as_predicted(self) -> None:
        self.none(self.world.compare(self.look()))
        self.check_money()

    def learn(self, asks: Sequence[Ask], funds: Mapping[str, int]) -> None:
        before = {name: packet.state for name, packet in self.world.packets.items()}
        self.none(self.world.learn(self.look(), asks, funds))
        self.check_money()
        for name, packet in self.world.packets.items():
            if before.get(name) != packet.state and packet.state in {"closed", "cancelled"}:
                self.ended(packet)

    def look(self) -> dict[Name, Stored]:
        """The packets as they are stored. The books must be right, and what must never change has not."""
        books = self.stage.books()
        if books is not self.books:
            self.none(wrong(books, opening=OPENING, settled=self.stage.idle))
            if self.books is not None:
                self.none(broken(self.books, books))
            self.books = books
        self.none(wrongly_changed(self.stage.changes()))
        assert not self.stage.dead
        return {packet.name: packet for packet in books.packets.values()}

    def none(self, wrong: Iterable[str]) -> None:
        """Nothing is wrong."""
        lines = list(wrong)
        assert not lines, lines

    def check_money(self) -> None:
        """Everybody has what they must when nothing is under way."""
        if not self.stage.idle:
            return
        self.none(wrong(self.stage.books(), opening=OPENING, settled=True))
        assert self.funds() == {user: self.world.money(user) for user in USERS}

    def funds(self) -> dict[str, int]:
        """What everybody has now."""
        has = {user: self.stage.books().of(user) for user in USERS}
        return {user: OPENING if balance is None else balance for user, balance in has.items()}

    def packets(self) -> list[Packet]:
        """All of them, the newest last."""
        return sorted(self.world.packets.values(), key=lambda packet: packet.created)

    def one(self, party: int, conv: str) -> str:
        """Somebody of a conversation, or just somebody."""
        kind, *users = conv.split(":")
        parties = users if kind == "d" else list(self.world.rooms[conv].members)
        return parties[party % len(parties)] if party < 8 and parties else USERS[party % len(USERS)]

    def pick(self, pick: int) -> Packet | None:
        """A packet, from the newest one on."""
        found = self.packets()
        return found[-1 - pick % len(found)] if found else None

    def stored(self, packet: Packet) -> Stored:
        return self.stage.books().packets[packet.id]

    def count(self, what: str, happened: object) -> None:
        self.stage.happened[what] += bool(happened)

    # ---- the end

    def teardown(self) -> None:
        if not self.going_well or self.books is None:
            return
        self.going_well = False
        ends = [packet.expires or packet.created + NEW_LIFE_MS for packet in self.world.packets.values()]
        self.house.now = max(self.house.now, *ends, 0) + 10_000
        self.do([("sweeps", 0, "knows"), ("settles", "all", 1)])
        assert {packet.state for packet in self.world.packets.values()} <= {"closed", "cancelled"}
        books = self.stage.books()
        assert {
            account: 0 for account in books.balances if account.startswith("packet:")
        }.items() <= books.balances.items()
        for user in USERS:
            device = self.stage.device(user)
            assert device.ok("redpacket.wallet")["balance"] == self.world.money(user)
            postings = device.ok("redpacket.ledger")["postings"]
            assert len(postings) == 100 or sum(line["amount"] for line in postings) == self.world.money(user)
        assert sum(self.world.money(user) for user in USERS) == len(USERS) * OPENING
        self.check_logs()
        self.count("histories", happened=True)
        self.count("packets", False)
        self.stage.happened["packets"] += len(self.world.packets)

    def check_logs(self) -> None:
        """Each packet that was sent is one message, and no other is."""
        logs: dict[str, list[Any]] = {}
        for item in self.stage.items("ConversationTable"):
            if item["sk"]["S"].startswith("MSG#"):
                logs.setdefault(item["pk"]["S"], []).append(item)
        sent = []
        for conv, entries in logs.items():
            assert sorted(int(entry["seq"]["N"]) for entry in entries) == list(range(1, len(entries) + 1))
            cmids = [(entry["from"]["S"], entry["cmid"]["S"]) for entry in entries if "cmid" in entry]
            assert len(set(cmids)) == len(cmids)
            packets = [entry for entry in entries if entry["kind"]["S"] == "redpacket"]
            sent += [((conv, entry["from"]["S"], entry["cmid"]["S"]), int(entry["seq"]["N"])) for entry in packets]
        assert sorted(sent) == sorted((name, packet.seq) for name, packet in self.world.packets.items() if packet.seq)


def _outcome(act: Callable[[], Any]) -> tuple[Any, Refused | None]:
    """What an act returns, or why it is refused."""
    try:
        return act(), None
    except Refused as e:
        return None, e


MUST_HAPPEN: Final = (
    *(f"create: {code}" for code in ("ok", "duplicate", "bad_request", "not_member", "not_found", "muted", "conflict")),
    *(f"create: {code}" for code in ("insufficient_funds", "died", "internal")),
    *(f"claim: {code}" for code in ("ok", "sold_out", "already_claimed", "expired", "not_member", "forbidden")),
    *(f"claim: {code}" for code in ("not_found", "died", "internal")),
    *(f"{op}: {end}" for op in ("sweep", "settle") for end in ("done", "died")),
    *(f"settlement: {how}" for how in ("all", "some", "newest", "again", "late", "slow", "message")),
    *KINDS,
    "ended untouched",
    "ended with a rest",
    "ended sold out",
    "given up with its money",
    "given up without its money",
    "given up as its sender has a message of that cmid",
    "given up while it was sent",
    "sent while it was given up",
    "the money came after it was given up",
    "the money came too late",
    "got its money later",
    "a message has the cmid of a new packet",
    "the last share was claimed",
    "several raced for the last share",
    "a claim raced the end",
    "a slow clock claimed too late",
    "claimed by its sender",
    "recalled",
    "two packets were sent at once",
    "one was sent twice at once",
)


def starved(happened: Mapping[str, int]) -> list[str]:
    """What the histories have never come by."""
    return [name for name in MUST_HAPPEN if not happened.get(name)]


def play(here: Stage, histories: int, *, number: int | None = None, quickly: bool = False) -> None:
    """Play so many histories: those of a seed, or those that the profile of the session draws. `quickly`: the first
    that fails ends it, as it is."""

    def begin() -> Histories:
        return Histories(here)

    chosen = settings(
        Histories.TestCase.settings,
        max_examples=histories,
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},  # takes minutes
    )
    if number is not None:
        begin = seed(number)(begin)
        chosen = settings(chosen, derandomize=False, database=None, phases=(Phase.generate, Phase.shrink))
    if quickly:
        chosen = settings(chosen, phases=(Phase.generate,), report_multiple_bugs=False)
    run_state_machine_as_test(begin, settings=chosen)  # type: ignore[arg-type]


def _some(chunk: tuple[int, int, int]) -> tuple[int, Counter[str], str]:
    """The counts of a chunk, and what is wrong."""
    number, chunk_number, histories = chunk
    with pytest.MonkeyPatch.context() as patch, stage(patch) as here:
        try:
            play(here, histories, number=number * 1_000_000 + chunk_number)
        except Exception as e:  # noqa: BLE001 - whatever it is: the chunk is told with it
            return chunk_number, here.happened, "".join(traceback.format_exception(e))
    return chunk_number, here.happened, ""


def main() -> int:
    """Exit status 1 when a history failed, or something has never happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.packet_histories", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chunk", type=int, help=f"play only this one: {CHUNK} histories, or as many as are left")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    started, happened, failed = time.monotonic(), Counter[str](), 0
    sizes = [min(CHUNK, asked.histories - done) for done in range(0, asked.histories, CHUNK)]
    chunks = [(asked.seed, i, size) for i, size in enumerate(sizes) if asked.chunk in {None, i}]
    with ProcessPoolExecutor(asked.processes) as pool:
        for chunk, counts, text in pool.map(_some, chunks):
            happened += counts
            if text:
                failed += 1
                print(f"chunk {chunk} of seed {asked.seed}:\n{text}", flush=True)
    for name, count in sorted(happened.items()):
        print(f"{count:>9}  {name}")
    missing = starved(happened)
    for what in missing:
        print(f"    never  {what}")
    worked = os.times().children_user + os.times().children_system
    print(
        f"seed {asked.seed}: {happened['histories']} histories with {happened['packets']} packets, {failed} chunks "
        f"failed; {time.monotonic() - started:.0f} s, {worked:.0f} s of processors"
    )
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
