"""All devices of a user show the same, and what they must show, whatever people do on any of them.

Four users with one to three devices each, in a direct conversation and two groups. They write, answer, mention, edit,
recall, react, pin, forward, delete for themselves, read, set, hide, type; people join and leave one of the groups;
devices go offline and come back, as they were or brand-new, and lose pushes; the queue brings entries in any order and
twice; the clock moves past the windows in which messages can be changed. Each device is a client that follows
docs/protocol.md and nothing else (devices.py). When all is quiet, every device reconnects as that says, and shows what
the model says (chat_model.py).

As in test_group_histories.py, histories are played on tables in memory, and a few of them on moto as well.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from hypothesis import Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.integration.chat_model import EDITABLE, OK, USERS, Data, Room, Said, World
from tests.integration.devices import FROM_THE_END, Device
from tests.integration.hypothesis_profile import examples
from tests.integration.test_group_histories import Stage, stage, starved

DEVICES = {"alice": ("pc", "phone", "tablet"), "bob": ("pc", "phone"), "carol": ("pc", "phone"), "dave": ("phone",)}
PLATFORMS = {"pc": "desktop", "phone": "ios", "tablet": "other"}
DIRECT = "d:alice:bob"
EMOJI = ("👍", "😀", "❤️", "🎉", "😢", "🚀", "👀")
FOUNDED = {
    "notice": "",
    "avatar": "",
    "custom": {},
    "who_invites": "members",
    "who_mentions_all": "admins",
    "join_mode": "open",
}
CONNECTION_LIFE_MS = 2 * 60 * 60 * 1000
CMID_LIFE_MS = 6 * 24 * 60 * 60 * 1000
TYPING_MS = 2000
BATCH = 10

who = st.sampled_from(USERS)
mostly = st.sampled_from((True, True, True, False))
device = st.integers(0, 2)
"""Which of the user's devices."""
where = st.sampled_from(("g:one", DIRECT, "g:one", "g:two"))
which = st.sampled_from(
    (
        *("the newest", "the second", "the newest", "the third", "the newest", "the second", "the oldest"),
        *("an edited one", "a recalled one", "a pinned one", "an edited one", "a recalled one"),
        *("no message", "one that is closed", "none yet"),
    )
)
"""Which message, of those that somebody sees; where there is none like that, the newest."""
limit = st.sampled_from((100, 7, 20, 3, 2))
LOOKS = ("edits", "reactions", "pins", "receipts", "presence", "edits")
MAX_ADMINS = 2


class DevicesAgree(RuleBasedStateMachine):
    """People with their devices, the queue, the clock."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.house, self.queue = stage, stage.house, stage.queue
        self.instances = stage.begin()
        self.world = World()
        self.devices = {
            user: [Device(self.house, user, name, PLATFORMS[name], hears=self.may_hear) for name in names]
            for user, names in DEVICES.items()
        }
        self.frames: list[tuple[str, str, Data, Data, int]] = []
        """What can be sent again: who, operation, data, the first reply, when."""
        self.delivered: list[Data] = []
        self.steps = self.turn = 0
        self.quiet = False
        """Whether what is asked is only a look at the outcome."""

    @initialize(history=st.booleans(), talk=st.sampled_from((True, True, True, False)))
    def the_groups_are_made(self, history: bool, talk: bool) -> None:  # noqa: FBT001
        self.world.rooms[DIRECT] = Room(self.world, DIRECT, members={"alice", "bob"})
        self.founds("alice", "one", ["bob", "carol"], history=history)
        self.founds("bob", "two", ["alice", "dave"], history=False)
        for room in self.world.rooms.values() if talk else ():
            self.everybody(room.conv, 0)
        self.deliver_everything()

    def founds(self, user: str, gid: str, others: list[str], *, history: bool) -> None:
        chosen = {"name": gid.title(), "join_mode": "open", "history": history}
        self.act(user, 0, "group.create", {"gid": gid, "members": others, **chosen}, OK)
        room = Room(self.world, f"g:{gid}", owner=user, history=history)
        self.world.rooms[room.conv] = room
        people = [user, *others]
        room.write(
            "members", user, {"added": people, "removed": [], "by": user, "group": FOUNDED | chosen}, added=people
        )

    # ---- messages ----------------------------------------------------------------------------------------------------

    @rule(
        who=who,
        device=device,
        where=where,
        what=st.sampled_from(("text", "answer", "custom")),
        mentions=st.sampled_from(("", "", *USERS, "@all")),
        which=which,
    )
    def says(self, who: str, device: int, where: str, what: str, mentions: str, which: str) -> None:
        room, text = self.place(who, where), self.words()
        body = text if what != "custom" else {"type": "poll", "payload": {"question": text["text"]}}
        more: Data = {"reply_to": self.pick(room, who, which)} if what == "answer" else {}
        if mentions and (not room.direct or mentions in room.members - {who}):
            more["mentions"] = [mentions]
        self.send(who, device, room, {"kind": "custom" if what == "custom" else "text", "body": body, **more})

    @rule(where=where, emoji=st.sampled_from((0, 0, 4, 6, 7)))
    def everybody(self, where: str, emoji: int) -> None:
        """Says something, or reacts to the newest message with so many emoji: more than are told by name."""
        room = self.world.rooms[where]
        for user in sorted(room.members):
            if not emoji:
                self.send(user, 0, room, {"kind": "text", "body": self.words()})
            for one in EMOJI[:emoji]:
                self.react(user, 0, room, self.pick(room, user, "the newest"), one, on=True)

    @rule(who=who, device=device, where=where, which=which, own=mostly, anew=mostly)
    def edits(self, who: str, device: int, where: str, which: str, own: bool, anew: bool) -> None:  # noqa: FBT001
        room = self.place(who, where)
        self.edit(who, device, room, self.pick(room, who, which, own=own), anew=anew)

    def edit(self, user: str, device: int, room: Room, seq: int, *, anew: bool = True) -> None:
        """To say something else, or what it says already."""
        body: Data = self.words()
        if seq in room.seen[user]:
            said = room.log[seq - 1]
            body = {"type": "poll", "payload": {"question": body["text"]}} if said.kind == "custom" else body
            if said.kind in EDITABLE and not anew:
                body = room.view(user, seq)["body"] or body
        allowed = room.may_edit(user, seq, body)
        self.change(user, device, room, "edit", {"seq": seq, "body": body}, {"body": body}, allowed)

    @rule(who=who, device=device, where=where, which=which, own=st.booleans())
    def recalls(self, who: str, device: int, where: str, which: str, own: bool) -> None:  # noqa: FBT001
        room = self.place(who, where)
        self.recall(who, device, room, self.pick(room, who, which, own=own))

    def recall(self, user: str, device: int, room: Room, seq: int) -> None:
        self.change(user, device, room, "recall", {"seq": seq}, {}, room.may_recall(user, seq))

    @rule(who=who, device=device, where=where, which=which, emoji=st.sampled_from(EMOJI[:2]), on=mostly)
    def reacts(self, who: str, device: int, where: str, which: str, emoji: str, on: bool) -> None:  # noqa: FBT001
        room = self.place(who, where)
        self.react(who, device, room, self.pick(room, who, which), emoji, on=on)

    def react(self, user: str, device: int, room: Room, seq: int, emoji: str, *, on: bool) -> None:
        says = {"emoji": emoji, "on": on}
        allowed = room.may_react(user, seq, emoji, on=on)
        if self.change(user, device, room, "react", {"seq": seq, **says}, says, allowed):
            reactions = room.view(user, seq)["reactions"].values()
            self.count("a reaction without a name", any(len(names) < number for number, names in reactions))

    @rule(who=who, device=device, where=where, which=which, on=mostly)
    def pins(self, who: str, device: int, where: str, which: str, on: bool) -> None:  # noqa: FBT001
        room = self.place(who, where)
        self.pin(who, device, room, self.pick(room, who, which), on=on)

    def pin(self, user: str, device: int, room: Room, seq: int, *, on: bool) -> None:
        self.change(user, device, room, "pin", {"seq": seq, "on": on}, {"on": on}, room.may_pin(user, seq, on=on))

    @rule(who=who, device=device, source=where, to=where, which=st.lists(which, min_size=1, max_size=3))
    def forwards(self, who: str, device: int, source: str, to: str, which: list[str]) -> None:
        room, target = self.place(who, source), self.place(who, to)
        seqs = sorted({self.pick(room, who, one) for one in which})
        if any(
            seq in room.seen[who] and not room.is_open(who, seq) and room.view(who, seq).get("edited") for seq in seqs
        ):
            return  # what was edited after they came back: as it was sent, or as they see it?
        allowed = room.may_forward(who, seqs)
        if who not in target.members:
            allowed = allowed - OK | {"not_member"}
        place = {"to": min(target.members - {who})} if target.direct else {"conv": target.conv}
        data = {**place, "cmid": self.cmid(), "source": room.conv, "seqs": seqs[::-1], "title": "What they said"}
        made = self.act(who, device, "message.forward", data, allowed)
        if made is None:
            return
        originals = [room.view(who, seq) | {"seq": seq} for seq in seqs]
        if len(originals) == 1:
            first = originals[0]
            origin = first["forwarded"] or {"from": first["from"], "ts": first["ts"]}
            seq = target.write(first["kind"], who, first["body"], forwarded=origin)
        else:
            told = [{name: one[name] for name in ("from", "ts", "kind", "body")} for one in originals]
            seq = target.write("merged", who, {"title": "What they said", "messages": told})
        self.count("forwarded one", len(seqs) == 1)
        self.count("forwarded several", len(seqs) > 1)
        self.count("forwarded what was edited", any(one["edited"] for one in originals))
        self.sent(who, "message.forward", data, made, target, seq)

    @rule(
        who=who,
        device=device,
        where=where,
        which=st.lists(which | st.just("no message"), min_size=1, max_size=3),
        up_to=st.booleans(),
    )
    def deletes(self, who: str, device: int, where: str, which: list[str], up_to: bool) -> None:  # noqa: FBT001
        """For themself: some entries, or all up to one."""
        room = self.place(who, where)
        seqs = sorted({self.pick(room, who, one) for one in which} & room.seen[who])
        if seqs and up_to:
            self.delete(who, device, room, {"up_to": seqs[0]}, set(range(1, seqs[0] + 1)))
        elif seqs:
            self.delete(who, device, room, {"seqs": seqs}, set(seqs))

    def delete(self, user: str, device: int, room: Room, what: Data, seqs: set[int]) -> None:
        made = self.act(user, device, "message.delete", {"conv": room.conv, **what}, OK)
        if made is not None:
            mine = room.mine[user]
            mine.deleted |= seqs
            told = {seq for first, last in made["ranges"] for seq in range(first, last + 1)}
            assert told & room.seen[user] == mine.deleted & room.seen[user]
            newest = room.newest(user)
            self.count("deleted the newest message", newest is not None and newest.seq in mine.deleted)
            self.count("deleted what is pinned", any(room.is_pinned(seq) for seq in seqs))

    @precondition(lambda self: self.frames)
    @rule(
        what=st.sampled_from(("send", "edit", "recall", "react", "pin", "forward")),
        nth=st.integers(0, 3),
        device=device,
    )
    def sends_again(self, what: str, nth: int, device: int) -> None:
        """A frame comes twice, the second time late: it is answered as the first time, and changes nothing."""
        frames = [frame for frame in self.frames if frame[1] == f"message.{what}"] or self.frames
        user, op, data, reply, ts = frames[-1 - nth % len(frames)]
        if self.world.now - ts < CMID_LIFE_MS:
            again = self.act(user, device, op, data, OK)
            assert again == reply | {"duplicate": True}
            self.stage.happened[f"{op}: again"] += 1

    # ---- what somebody marks and sets --------------------------------------------------------------------------------

    @rule(
        who=who,
        device=device,
        where=where,
        what=st.sampled_from(("reads", "acknowledges", "reads", "reads everything")),
        back=st.integers(-1, 6),
    )
    def marks(self, who: str, device: int, where: str, what: str, back: int) -> None:
        """Up to so many entries before the newest; -1 is one that is not there yet."""
        room = self.place(who, where)
        seq = max(1, len(room.log) - back)
        if what == "reads":
            self.read(who, device, room, seq)
        elif what == "acknowledges":
            self.acknowledge(who, device, room, seq)
        else:
            self.read_everything(who, device)

    def read(self, user: str, device: int, room: Room, seq: int) -> None:
        made = self.act(user, device, "sync.read", {"conv": room.conv, "seq": seq}, room.may_see(user, seq))
        if made is not None:
            room.mine[user].has_read(seq)
            assert made["read_seq"] >= seq
            assert made["total_unread"] >= made["unread"] >= 0

    def read_everything(self, user: str, device: int) -> None:
        made = self.act(user, device, "sync.read_all", {}, OK)
        assert made is not None
        for room in self.world.rooms_of(user):
            come = [seq for seq in room.seen[user] if seq <= room.arrived[user] and room.log[seq - 1].is_message]
            low, high = room.mine[user].read
            room.mine[user].read = max(low, *come, 0), max(high, *room.seen[user], 0)
        self.count("read everything while messages were under way", self.queue.records)
        if not self.queue.records:
            assert made["total_unread"] == 0

    def acknowledge(self, user: str, device: int, room: Room, seq: int) -> None:
        data, allowed = {"acks": [{"conv": room.conv, "seq": seq}]}, room.may_see(user, seq)
        if seq < max(room.seen[user], default=0):
            allowed |= OK  # "everything up to": it need not be one that they see
        if self.act(user, device, "sync.ack", data, allowed) is not None:
            room.mine[user].acked = max(room.mine[user].acked, seq)

    @rule(
        who=who,
        device=device,
        where=where,
        what=st.sampled_from(("hidden", "pinned", "muted", "draft", "hidden")),
        value=st.sampled_from((True, True, False)),
    )
    def sets(self, who: str, device: int, where: str, what: str, value: bool) -> None:  # noqa: FBT001
        self.set(
            who, device, self.place(who, where), {what: ("Dear all" if value else "") if what == "draft" else value}
        )

    def set(self, user: str, device: int, room: Room, what: Data) -> None:
        allowed = OK if room.seen[user] else frozenset({"not_member"})
        if room.direct and not room.arrived[user]:
            allowed = frozenset({"ok", "not_found"})  # an empty one
        row = self.act(user, device, "sync.settings", {"conv": room.conv, **what}, allowed)
        if row is None:
            return
        assert {name: row[name] for name in what} == what
        mine = room.mine[user]
        mine.listed = True
        for name in what.keys() - {"hidden"}:
            setattr(mine, name, what[name])
        if "hidden" in what:
            now = [room.log[at - 1].n if at else 0 for at in (room.arrived[user], len(room.log))]
            mine.hidden = (now[0], now[1]) if what["hidden"] else None
            self.count("hid while messages were under way", what["hidden"] and now[0] < now[1])

    @rule(who=who, device=device, what=st.sampled_from(("receipts", "presence")), show=st.booleans())
    def shows_others(self, who: str, device: int, what: str, show: bool) -> None:  # noqa: FBT001
        told = self.act(who, device, "sync.privacy", {what: show}, OK)
        getattr(self.world, what)[who] = show
        assert told == self.world.privacy(who)

    @rule(who=who, device=device, where=where, on=st.booleans())
    def types(self, who: str, device: int, where: str, on: bool) -> None:  # noqa: FBT001
        room, now = self.place(who, where), self.world.now + 1
        since = now - self.world.typed.get((who, room.conv), 0)
        allowed = OK if since >= TYPING_MS else frozenset({"ok", "rate_limited"})
        if who not in room.members:
            allowed = frozenset({"not_member", "rate_limited"})
        elif room.direct and not room.log:
            allowed |= {"not_member", "not_found"}
        for some in self.devices.values():
            for one in some:
                one.receive()
                one.transient.clear()
        made = self.act(who, device, "message.typing", {"conv": room.conv, "on": on}, allowed)
        self.world.typed[who, room.conv] = now
        if made is None or not room.log:  # whether a stranger's typing is told is left open
            return
        told = {"push": "typing", "conv": room.conv, "user": who, "on": on}
        for user, some in self.devices.items():
            for one in some:
                one.receive()
                if user != who:
                    assert one.transient == ([told] if user in room.members and one.online else []), (user, one.name)
                    self.count("was told that somebody types", one.transient)

    # ---- what somebody looks up --------------------------------------------------------------------------------------

    @rule(who=who, device=device, where=where, which=which, what=st.sampled_from(LOOKS))
    def looks_up(self, who: str, device: int, where: str, which: str, what: str) -> None:
        room = self.place(who, where)
        seq = self.pick(room, who, "an edited one" if what == "edits" and which.startswith("the ") else which)
        if what == "presence":
            self.look_who_is_there(who, device)
            return
        if what == "pins":
            self.look_at_pins(who, device, room)
            return
        allowed = room.may_see(who, seq)
        if allowed == OK and (not room.log[seq - 1].is_message or seq in room.mine[who].deleted):
            return
        data = {"conv": room.conv, "seq": seq}
        if what == "receipts":
            if room.standing(who) == "former":  # it is no reading of what they saw
                allowed = frozenset({"not_member"})
            self.look_at_receipts(who, device, room, seq, allowed)
        elif what == "reactions":
            told = self.pages(who, device, "sync.reactions", data | {"limit": 1}, "reactions", allowed)
            if told is not None and room.is_open(who, seq):
                there = sorted((one["user"], emoji) for one in told for emoji in one["emoji"])
                assert there == sorted(room.reactions(seq))
                assert [one["user"] for one in told] == sorted({user for user, _ in there})
        else:
            told = self.pages(who, device, "sync.edits", data, "versions", allowed)
            if told is not None:
                assert told == room.versions(who, seq)
                self.count("looked at several versions", len(told) > 1)

    def look_at_pins(self, user: str, device: int, room: Room) -> None:
        allowed = OK if room.log and room.seen[user] else frozenset({"not_member"})
        if room.direct and not room.log:
            allowed |= OK | {"not_found"}
        told = self.act(user, device, "sync.pins", {"conv": room.conv}, allowed)
        if told is None:
            return
        shown = {e["seq"] for e in told["entries"] if e["kind"] != "void" and room.is_open(user, e["seq"])}
        pinned = {said.seq for said in room.log if said.is_message and room.is_pinned(said.seq)}
        pinned &= {seq for seq in room.seen[user] - room.mine[user].deleted if room.is_open(user, seq)}
        assert shown == pinned
        assert told["seqs"] == [entry["seq"] for entry in told["entries"]] == sorted(told["seqs"])
        self.count("looked at pins", pinned)

    def look_at_receipts(self, user: str, device: int, room: Room, seq: int, allowed: frozenset[str]) -> None:
        data = {"conv": room.conv, "seq": seq}
        told = self.act(user, device, "sync.receipts", data, allowed)
        if told is None:
            return
        expected = room.receipts(seq)
        assert {name: told[name] for name in ("conv", "seq", "members", "private")} == {
            "conv": room.conv,
            "seq": seq,
            "members": expected["members"],
            "private": expected["private"],
        }
        assert told["members"] - told["private"] >= told["delivered"] >= told["read"] >= 0
        if self.queue.records or any(mine.read[0] < mine.read[1] for mine in room.mine.values()):
            return
        assert {name: told[name] for name in ("delivered", "read")} == {n: expected[n] for n in ("delivered", "read")}
        for which, names in expected["names"].items():
            assert self.pages(user, device, "sync.receipts", data | {"list": which, "limit": 1}, "users", OK) == names
        self.count("a receipt that is private", told["private"])
        self.count("a message that some have read", 0 < told["read"] < told["members"])

    def look_who_is_there(self, who: str, device: int) -> None:
        told = self.act(who, device, "sync.presence", {"users": [*USERS, "zoe"]}, OK)
        assert told is not None
        for user in set(USERS) - {who}:
            shared = [r for r in self.world.rooms.values() if r.log and {who, user} <= r.members]
            met = [r for r in self.world.rooms.values() if r.seen[who] and r.seen[user]]
            there = [one.platform for one in self.devices[user] if one.online]
            if not self.world.presence[user] or not met:
                assert told[user] == told["zoe"], "shows that they have been there"
                self.count("hides whether they are there", there)
            elif shared and there:
                assert told[user]["online"]
                assert set(there) <= set(told[user]["platforms"])
                self.count("sees that somebody is there", True)

    def pages(
        self, user: str, device: int, op: str, data: Data, name: str, allowed: frozenset[str]
    ) -> list[Any] | None:
        """All pages of a list."""
        out: list[Any] = []
        more: Data = {}
        for _ in range(100):
            page = self.act(user, device, op, data | more, allowed)
            if page is None:
                return None
            out += page[name]
            if "cursor" not in page:
                return out
            more = {"cursor": page["cursor"]}
        raise AssertionError("pages without end")

    # ---- who comes and goes ------------------------------------------------------------------------------------------

    @rule(who=who, whom=who, how=st.sampled_from(("leaves", "joins", "leaves", "joins", "invites", "removes")))
    def comes_or_goes(self, who: str, whom: str, how: str) -> None:
        """Into the group whose members change, or out of it."""
        room = self.world.rooms["g:one"]
        (getattr(self, how)(room, who) if how in {"leaves", "joins"} else getattr(self, how)(room, who, whom))

    @rule(
        who=st.sampled_from(USERS[1:]),
        meanwhile=st.lists(st.sampled_from(("says", "edits", "recalls", "reacts", "pins", "unreacts")), max_size=3),
        afterwards=st.sampled_from(("comes back", "comes back", "stays away", "sees everything")),
        later=st.lists(
            st.sampled_from(("edits", "reacts", "unreacts", "says", "answers", "recalls", "pins")), max_size=3
        ),
        wavers=st.sampled_from((False, False, True)),
    )
    def is_away(
        self,
        who: str,
        meanwhile: list[str],
        afterwards: str,
        later: list[str],
        wavers: bool,  # noqa: FBT001
    ) -> None:
        """Out of the group for a while. Its owner does something then to what they know from before, and later to that
        or to what was said meanwhile. Who wavers has reacted to it before, does not meanwhile, and does again later."""
        room = self.world.rooms["g:one"]
        self.comes(room, room.owner, who)
        before = self.pick(room, room.owner, "the newest", own=True)
        if wavers:
            self.does_to(room, "reacts", before)
            meanwhile, later = ["unreacts", *meanwhile], ["reacts", *later]
        self.leaves(room, who)
        for does in meanwhile:
            self.does_to(room, does, before)
        if afterwards != "stays away":
            self.set_history(room, show=afterwards == "sees everything")
            self.comes(room, who, who)
        for i, does in enumerate(later):
            self.does_to(room, does, self.pick(room, room.owner, "the newest", own=True) if i else before)

    def does_to(self, room: Room, does: str, seq: int) -> None:
        """The group's owner, from whichever device."""
        device = len(room.log)
        if does in {"says", "answers"}:
            more = {"reply_to": seq} if does == "answers" and seq <= len(room.log) else {}
            self.send(room.owner, device, room, {"kind": "text", "body": self.words(), **more})
        elif does == "edits":
            self.edit(room.owner, device, room, seq)
        elif does == "recalls":
            self.recall(room.owner, device, room, seq)
        elif does == "pins":
            self.pin(room.owner, device, room, seq, on=True)
        else:
            self.react(room.owner, device, room, seq, EMOJI[0], on=does == "reacts")

    def invites(self, room: Room, by: str, user: str) -> None:
        allowed = OK if by in room.members else frozenset({"not_member"})
        if self.act(by, 0, "group.invite", {"conv": room.conv, "users": [user]}, allowed) is not None:
            self.has_come(room, by, user)

    def joins(self, room: Room, user: str) -> None:
        self.act(user, 0, "group.join", {"conv": room.conv}, OK)
        self.has_come(room, user, user)

    def comes(self, room: Room, by: str, user: str) -> None:
        """Unless they are in it already."""
        if user not in room.members and by == user:
            self.joins(room, user)
        elif user not in room.members:
            self.invites(room, by, user)

    def has_come(self, room: Room, by: str, user: str) -> None:
        if user not in room.members:
            back = bool(room.seen[user])
            room.write("members", by, {"added": [user], "removed": [], "by": by}, added=[user])
            self.count("came back, to everything" if room.history else "came back, to what is new", back)
            self.count("came, to everything" if room.history else "came, to what is new", not back)

    def removes(self, room: Room, by: str, user: str) -> None:
        allowed = OK if room.leads(by) else frozenset({"forbidden"})
        if by == user:
            allowed = frozenset({"bad_request"})
        elif by != room.owner and room.leads(user):
            allowed = frozenset({"forbidden"})
        if by not in room.members:
            allowed = frozenset({"not_member"})
        if self.act(by, 0, "group.remove", {"conv": room.conv, "users": [user]}, allowed) is not None:
            self.goes(room, by, user)

    def leaves(self, room: Room, user: str) -> None:
        """An owner of others stays; the last one of all is not to leave here."""
        if user == room.owner:
            return
        allowed = OK if room.seen[user] else frozenset({"not_member"})
        if self.act(user, 0, "group.leave", {"conv": room.conv}, allowed) is not None:
            self.goes(room, user, user)

    def goes(self, room: Room, by: str, user: str) -> None:
        if user in room.members:
            room.write("members", by, {"added": [], "removed": [user], "by": by}, removed=[user])
            self.count("went with entries under way", len(self.queue.records) > 1)

    @rule(whom=st.sampled_from(USERS[1:]), what=st.sampled_from(("admin", "member", "history", "no history")))
    def the_owner_rules(self, whom: str, what: str) -> None:
        """Makes somebody an admin or a member; shows newcomers what was before, or does not."""
        room = self.world.rooms["g:one"]
        if "history" in what:
            self.set_history(room, show=what == "history")
            return
        allowed = OK if whom in room.members else frozenset({"not_found"})
        if whom in room.members and what == "admin" and whom not in room.admins and len(room.admins) >= MAX_ADMINS:
            allowed = frozenset({"too_large"})
        made = self.act(room.owner, 0, "group.role", {"conv": room.conv, "user": whom, "role": what}, allowed)
        if made is not None and (whom in room.admins) != (what == "admin"):
            (room.admins.append if what == "admin" else room.admins.remove)(whom)
            room.write("members", room.owner, {"added": [], "removed": [], "by": room.owner, "roles": {whom: what}})

    def set_history(self, room: Room, *, show: bool) -> None:
        self.act(room.owner, 0, "group.update", {"conv": room.conv, "history": show}, OK)
        if room.history != show:
            room.history = show
            room.write("profile", room.owner, {"history": show})

    # ---- devices -----------------------------------------------------------------------------------------------------

    @rule(
        who=who,
        device=device,
        does=st.sampled_from(
            (
                "hangs up",
                "connects",
                "connects as new",
                "vanishes",
                "loses pushes",
                "loses every other push",
                "hears",
                "pings",
                "mends",
                "scrolls",
            )
        ),
        where=where,
        limit=limit,
    )
    def a_device(self, who: str, device: int, does: str, where: str, limit: int) -> None:
        """Its connection begins or ends, its pushes come or do not, it fetches what is missing, or an older page."""
        one = self.one(who, device)
        self.next_instance()
        if does.startswith("connects"):
            if does == "connects as new":
                one.forget_everything()
            one.connect()
            one.sync(limit)
        elif one.link is not None and does.startswith("loses"):
            del one.link.pushes[:: 1 if does == "loses pushes" else 2]
        elif one.link is not None:
            one.receive()
            if does in {"hangs up", "vanishes"}:
                (one.hang_up if does == "hangs up" else one.vanish)()
            elif does == "pings" and one.ok("connect.ping", {})["inbox"] != one.inbox:
                one.sync(limit)
            elif does == "mends" and where in one.logs:
                one.mend(where, limit)
            elif does == "scrolls":
                one.scroll_back(where, limit)

    # ---- the queue, the clock ----------------------------------------------------------------------------------------

    @rule(
        brings=st.sampled_from(("everything", "some", "some again")),
        picks=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    )
    def the_queue(self, brings: str, picks: list[int]) -> None:
        """In any order, in batches."""
        records = self.queue.records
        if brings == "everything":
            self.deliver_everything()
        elif brings == "some":
            self.deliver([records.pop(pick % len(records)) for pick in picks if records])
        else:
            self.deliver(
                [self.delivered[-1 - pick] for pick in sorted(set(picks)) if pick < len(self.delivered)], again=True
            )

    @rule(ms=st.sampled_from((130_000, 1000, 90_000_000, 40_000, 130_000)))
    def time_passes(self, ms: int) -> None:
        self.world.now += ms
        self.house.now = self.world.now
        for some in self.devices.values():
            for one in some:
                if one.online and self.world.now >= one.since + CONNECTION_LIFE_MS:
                    one.receive()
                    one.vanish()

    # ---- when all is quiet -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.steps >= 40)
    @rule(limit=limit, new=st.integers(0, 2), how=st.sampled_from(("reconnect", "ping")))
    def all_is_quiet(self, limit: int, new: int, how: str) -> None:
        self.settle(limit, new, how)

    def teardown(self) -> None:
        if self.steps and sys.exc_info()[0] is None:
            self.settle(limit=20, new=1, how="reconnect")

    def settle(self, limit: int, new: int, how: str) -> None:
        """The queue empties, every device reconnects and loads everything, one of each user is brand-new.

        Or those that are online only ping, and sync when the answer says so: as devices do that have lost pushes.
        """
        self.quiet = True
        self.deliver_everything()
        for some in self.devices.values():
            for i, one in enumerate(some):
                self.next_instance()
                one.receive()
                if how == "ping" and one.online and i != new % len(some):
                    if one.ok("connect.ping", {})["inbox"] != one.inbox:
                        one.sync(limit)
                else:
                    (one.forget_everything if i == new % len(some) else one.hang_up)()
                    one.connect()
                    one.sync(limit)
                one.load_everything(limit)
        for user in USERS:
            self.check_list(user)
            for room in self.world.rooms_of(user):
                self.look_what_happened(room, user)
        for some in self.devices.values():
            for one in some:
                self.check_conversations(one)
            self.check_entries(some[new % len(some)])
        for room in self.world.rooms.values():
            self.check_what_can_be_looked_up(room)
        assert self.stage.errors.error is None, "something failed: nothing may, here"
        self.quiet, self.steps = False, 0

    def check_what_can_be_looked_up(self, room: Room) -> None:
        """By one of its members, of a new message and an older one."""
        messages = [said.seq for said in room.log if said.is_message]
        reader = sorted(room.members)[len(room.log) % len(room.members)]
        for seq in {messages[-1], messages[len(messages) // 2]} if messages else ():
            if seq in room.seen[reader] - room.mine[reader].deleted:
                self.look_at_receipts(reader, 0, room, seq, OK)
        self.look_at_pins(reader, 0, room)

    def check_list(self, user: str) -> None:
        """What all devices of a user show of their conversations."""
        rooms = self.world.rooms_of(user)
        first = self.devices[user][0]
        assert set(first.rows) == {room.conv for room in rooms}, user
        expected = {room.conv: room.row(user, first.rows[room.conv]) for room in rooms}
        total = sum(row["unread"] for row in expected.values())

        order = sorted(expected, key=lambda conv: (not expected[conv]["pinned"], -expected[conv]["at"], conv))
        for one in self.devices[user]:
            assert {conv: one.row(conv) for conv in one.rows} == expected, (user, one.name)
            assert one.conversations() == order, (user, one.name)
            assert one.privacy == self.world.privacy(user), (user, one.name)
            assert one.ok("connect.ping", {})["inbox"] == one.inbox, (user, one.name)
        unread = first.ok("sync.unread", {})
        assert unread["total_unread"] == total, user
        assert unread["conversations"] == {conv: row["unread"] for conv, row in expected.items() if row["unread"]}
        fresh = first.ok("sync.inbox", {})["conversations"]
        assert [row["conv"] for row in fresh] == order, user
        for row in fresh:
            assert row["unread"] == max(0, row["last_n"] - row["read_n"])
            assert row["ack_seq"] == self.world.rooms[row["conv"]].mine[user].acked, (user, row["conv"])

    def check_conversations(self, one: Device) -> None:
        """What a device shows of each conversation."""
        for room in self.world.rooms_of(one.user):
            shown, expected = one.messages(room.conv), room.messages(one.user)
            for seq in sorted(shown.keys() | expected.keys()):
                assert shown.get(seq) == expected.get(seq), (one.user, one.name, one.story(room.conv, seq))
            if room.direct:
                assert one.peer(room.conv) == room.peer(one.user), (one.user, one.name)

    def check_entries(self, one: Device) -> None:
        """What a device that had nothing was given, entry by entry: all of it, and nothing that is not its user's."""
        for room in self.world.rooms_of(one.user):
            entries = one.logs[room.conv].entries
            assert set(entries) == room.seen[one.user], (one.user, room.conv)
            for seq, entry in entries.items():
                said, mine = room.log[seq - 1], room.mine[one.user]
                assert entry["n"] == said.n
                gone = (said.target or seq) in mine.deleted
                if gone and (not said.target or entry["kind"] == "void"):  # a change may go with its message
                    assert (entry["kind"], entry["body"]) == ("void", {}), (one.user, room.conv, seq)
                    continue
                assert (entry["kind"], entry["from"], entry["ts"]) == (said.kind, said.by, said.ts)
                if said.kind == "edit" and (said.target not in room.seen[one.user] or room.recall_of(said.target)):
                    assert entry["body"] == {"target": said.target}, (one.user, room.conv, seq)
                elif said.target:
                    assert entry["body"] == said.body, (one.user, room.conv, seq)

    def look_what_happened(self, room: Room, user: str) -> None:
        """Count the cases that matter among what is shown."""
        for seq in room.seen[user] - room.mine[user].deleted:
            said = room.log[seq - 1]
            if said.target and said.target not in room.seen[user]:
                self.count(f"{said.kind} of a message that is not seen", True)
            if not said.is_message:
                continue
            now = room.view(user, seq)
            if not room.is_open(user, seq):
                recall = room.recall_of(seq)
                self.count("recalled for who was away", recall is not None and recall.seq not in room.seen[user])
                self.count(
                    "edited and seen as it was sent", not now["edited"] and len(room.versions(room.owner, seq)) > 1
                )
                self.count("changed after coming back", user in room.members and (now["edited"] or now["reactions"]))
                self.count("a reaction that comes twice", room.hears_twice(user, seq))
            if said.reply_to:
                self.count("a quote that is not seen", said.reply_to not in room.seen[user])
                self.count("a quote of what was recalled", now["quote"] and now["quote"]["recalled"])
                self.count("a quote of what was edited", now["quote"] and room.view(user, said.reply_to)["edited"])
        mine = room.mine[user]
        self.count("hidden at rest", mine.hidden)
        self.count("nothing to show in the list", room.last(user) is None)
        self.count("a former member", user not in room.members)
        self.count("pinned on the list", mine.pinned)

    # ---- how ---------------------------------------------------------------------------------------------------------

    def one(self, user: str, device: int) -> Device:
        return self.devices[user][device % len(self.devices[user])]

    def ready(self, user: str, device: int) -> Device:
        """A device, online: whoever wants to do something opens it first."""
        one = self.one(user, device)
        if not one.online:
            one.connect()
            one.sync(20)
        return one

    def place(self, user: str, where: str) -> Room:
        """A conversation; in place of one that they never had anything to do with, at times one of theirs."""
        room = self.world.rooms[where]
        if room.standing(user) == "stranger" and where != "g:two":
            return self.world.rooms["g:one" if user == "carol" else "g:two"]
        return room

    def pick(self, room: Room, user: str, which: str, *, own: bool = False) -> int:
        """A seq."""
        log = [said for said in room.log if said.seq in (room.seen[user] or range(FROM_THE_END))]
        mine = [said for said in log if said.is_message and (said.by == user or not own)]
        like: dict[str, list[Said]] = {
            "the second": mine[:-1],
            "the third": mine[:-2],
            "the oldest": mine[:1],
            "an edited one": [
                said for said in mine if said.kind in EDITABLE and len(room.versions(user, said.seq)) > 1
            ],
            "a recalled one": [said for said in mine if room.recall_of(said.seq)],
            "a pinned one": [said for said in mine if room.is_pinned(said.seq)],
            "no message": [said for said in log if not said.is_message],
            "one that is closed": [said for said in room.log if said.seq not in room.seen[user]],
        }
        found = like.get(which) or [said for said in mine if not room.recall_of(said.seq)] or mine
        return found[-1].seq if found and which != "none yet" else len(room.log) + 1

    def words(self) -> Data:
        """A text that nobody has said yet."""
        self.turn += 1
        return {"text": f"Words {self.turn}."}

    def cmid(self) -> str:
        self.turn += 1
        return f"c{self.turn}"

    def next_instance(self) -> None:
        """Two instances of each function take turns."""
        self.turn += 1
        self.house.apps = self.instances[self.turn % 2]

    def act(self, user: str, device: int, op: str, data: Data, allowed: frozenset[str]) -> Data | None:
        """Ask for something, with an outcome that the protocol allows. The data of a success."""
        self.steps += 1
        one = self.ready(user, device)
        self.world.now += 1
        self.house.now = self.world.now
        self.next_instance()
        reply = one.do(op, data)
        code = "ok" if reply["ok"] else str(reply["error"]["code"])
        told = reply["data"].get("seq", "ok") if reply["ok"] else code
        if not self.quiet:
            note(f"{user}'s {one.name}: {op} {data} -> {told}")
        assert self.stage.errors.error is None, "something failed: nothing may, here"
        assert self.house.now == self.world.now
        self.stage.happened[f"{op}: {code}"] += 1
        assert code in allowed, (user, op, data, reply, sorted(allowed))
        if not reply["ok"]:
            return None
        return dict(reply["data"])

    def send(self, user: str, device: int, room: Room, data: Data) -> None:
        data = {"conv": room.conv, "cmid": self.cmid(), **data}
        answered, mentions = data.get("reply_to"), data.get("mentions", ())
        problems: set[str] = set()
        if "@all" in mentions and not room.leads(user):
            problems |= {"forbidden"}
        if answered is not None and answered not in room.seen[user]:
            problems |= {"not_found"}
        allowed = frozenset(problems) or OK
        if answered in room.seen[user]:
            said = room.log[answered - 1]
            if not said.is_message or room.recall_of(said.seq) or said.seq in room.mine[user].deleted:
                allowed |= {"bad_request", "conflict", "not_found"}  # left open
        if user not in room.members:
            allowed = frozenset({"not_member"})
        made = self.act(user, device, "message.send", data, allowed)
        if made is None:
            return
        seq = room.write(data["kind"], user, data["body"], mentions=mentions, reply_to=answered)
        self.count("answered", answered)
        self.count("mentioned everybody", mentions == ["@all"])
        self.sent(user, "message.send", data, made, room, seq)

    def sent(self, user: str, op: str, data: Data, made: Data, room: Room, seq: int) -> None:
        """A message was taken: its reply says where it stands."""
        said = room.log[seq - 1]
        assert made == {"conv": room.conv, "seq": seq, "n": said.n, "ts": said.ts, "duplicate": False}
        self.frames.append((user, op, data, made, self.world.now))

    def change(
        self,
        user: str,
        device: int,
        room: Room,
        op: str,
        data: Data,
        says: Data,
        allowed: tuple[frozenset[str], bool],
    ) -> bool:
        """Change a message. Whether that made an entry."""
        data = {"conv": room.conv, **data} | ({"cmid": self.cmid()} if self.turn % 4 else {})
        made = self.act(user, device, f"message.{op}", data, allowed[0])
        if made is None:
            return False
        assert made["duplicate"] == allowed[1], (op, data, made)
        if made["duplicate"]:
            self.stage.happened[f"message.{op}: already"] += 1
            return False
        seq = room.write("reaction" if op == "react" else op, user, {"target": data["seq"], **says})
        said = room.log[-1]
        assert made == {"conv": room.conv, "seq": seq, "n": said.n, "ts": said.ts, "duplicate": False}
        if "cmid" in data:
            self.frames.append((user, f"message.{op}", data, made, self.world.now))
        return True

    def deliver_everything(self) -> None:
        while self.queue.records:
            batch, self.queue.records[:] = self.queue.records[:BATCH], self.queue.records[BATCH:]
            self.deliver(batch)

    def deliver(self, batch: list[Data], *, again: bool = False) -> None:
        if not batch:
            return
        self.next_instance()
        assert self.house.call("fanout", {"Records": batch}) == {"batchItemFailures": []}
        assert self.stage.errors.error is None, "something failed: nothing may, here"
        if not again:
            self.delivered += batch
            for record in batch:
                entry = json.loads(record["body"])["entry"]
                self.world.rooms[entry["conv"]].arrive(int(entry["seq"]))

    def may_hear(self, one: Device, name: str, data: Data) -> None:
        """Nobody is pushed what they may not see."""
        if name == "entries":
            room = self.world.rooms[data["conv"]]
            for entry in data["entries"]:
                said = room.log[entry["seq"] - 1]
                assert said.seq in room.seen[one.user], (one.user, entry)
                if said.kind == "edit" and said.target not in room.seen[one.user]:
                    assert "body" not in entry["body"], (one.user, entry, "is of a message that they may not see")
                if said.reply_to is not None and said.reply_to not in room.seen[one.user]:
                    assert "quote" not in entry, (one.user, entry, "quotes what they may not see")
        elif name in {"read", "delivered"} and data["user"] != one.user:
            assert data["conv"] == DIRECT
            assert one.user in self.world.rooms[DIRECT].members

    def count(self, what: str, happened: object) -> None:
        self.stage.happened[what] += bool(happened)


MUST_HAPPEN = (
    *(
        f"message.edit: {code}"
        for code in (
            "ok",
            "already",
            "again",
            "bad_request",
            "not_found",
            "forbidden",
            "conflict",
            "expired",
            "not_member",
        )
    ),
    *(
        f"message.recall: {code}"
        for code in ("ok", "already", "again", "bad_request", "not_found", "forbidden", "expired", "not_member")
    ),
    *(
        f"message.react: {code}"
        for code in ("ok", "already", "again", "bad_request", "not_found", "conflict", "not_member")
    ),
    *(
        f"message.pin: {code}"
        for code in ("ok", "already", "again", "bad_request", "not_found", "forbidden", "conflict", "not_member")
    ),
    *(f"message.forward: {code}" for code in ("ok", "again", "bad_request", "not_found", "conflict", "not_member")),
    *(f"message.send: {code}" for code in ("ok", "again", "not_member", "forbidden")),
    *(f"message.typing: {code}" for code in ("ok", "not_member")),
    *(
        f"{op}: ok"
        for op in ("message.delete", "sync.settings", "sync.privacy", "sync.read", "sync.read_all", "sync.ack")
    ),
    *(f"{op}: ok" for op in ("sync.receipts", "sync.reactions", "sync.edits", "sync.pins", "sync.presence")),
    "answered",
    "mentioned everybody",
    "a reaction without a name",
    "forwarded one",
    "forwarded several",
    "forwarded what was edited",
    "deleted the newest message",
    "deleted what is pinned",
    "hid while messages were under way",
    "was told that somebody types",
    "looked at several versions",
    "looked at pins",
    "a receipt that is private",
    "a message that some have read",
    "hides whether they are there",
    "sees that somebody is there",
    "came, to everything",
    "came, to what is new",
    "came back, to everything",
    "came back, to what is new",
    "went with entries under way",
    *(f"{kind} of a message that is not seen" for kind in ("edit", "recall", "reaction", "pin")),
    "recalled for who was away",
    "edited and seen as it was sent",
    "changed after coming back",
    "a reaction that comes twice",
    "a quote that is not seen",
    "a quote of what was recalled",
    "a quote of what was edited",
    "hidden at rest",
    "nothing to show in the list",
    "a former member",
    "pinned on the list",
)


def play(stage: Stage, runs: int, steps: int, on_ci: int) -> None:
    """Play so many histories of so many steps at most; on CI those of the seed `on_ci`, in which all of MUST_HAPPEN
    comes up several times."""
    factory: Any = lambda: DevicesAgree(stage)  # noqa: E731 - it gets an attribute
    run_state_machine_as_test(
        seed(on_ci)(factory) if "CI" in os.environ else factory,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            report_multiple_bugs=False,
            phases=set(Phase) - {Phase.explain},  # takes minutes
        ),
    )


@pytest.mark.timeout(900)  # for the shrinking of a failure
def test_all_devices_of_a_user_show_what_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(monkeypatch, members=5, SIGN_IN_POLICY="multi") as here:
        play(here, examples(280), steps=50, on_ci=3)

    assert starved(here, MUST_HAPPEN) == []


@pytest.mark.timeout(900)
def test_all_devices_of_a_user_show_what_they_must_in_large_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(monkeypatch, members=5, SIGN_IN_POLICY="multi", LARGE_GROUP_ABOVE="2") as here:
        play(here, examples(240), steps=60, on_ci=5)

    assert starved(here, MUST_HAPPEN) == []


@pytest.mark.timeout(900)
def test_devices_agree_on_moto_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(monkeypatch, members=5, SIGN_IN_POLICY="multi", on_moto=True) as here:
        play(here, examples(3), steps=50, on_ci=1)
