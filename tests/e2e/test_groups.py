"""Groups on the deployed stack: crowds that come and go while they talk, and changes that race each other."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import pytest

from im.domain.errors import NotMember, TooLarge
from im.domain.group import MAX_SPANS
from im.domain.ids import ConvId
from im.flows.append import Appended
from imclient.frames import Entry
from imclient.replay import count_deliveries
from local import Stack
from tests.e2e.crowd import Person, connect_all, fan_out_held_up, queues_are_empty, some_at_a_time
from tests.e2e.group_log import GroupLog, Tables
from tests.e2e.instances import LIMITS, Instance, all_at_once
from tests.e2e.talker import Talker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LARGE_ABOVE = 200
"""The template's own: a group of more members is large, and one of 160 small again."""


# ---- a crowd that comes and goes while it talks ----------------------------------------------------------------------

CONV = "g:crowd"
FOUNDERS = [f"crowd{i:03}" for i in range(200)]
OWNER = FOUNDERS[0]
HERE = FOUNDERS[:180:3]
"""The sixty who are connected. A founding of 200 is nine entries: there are some of them in nearly each of these."""
SENDERS = HERE[:10]
UNLUCKY = SENDERS[7:]
"""They are removed while they talk, and go on when they are let in again."""
HASTY = UNLUCKY[0]
ADMIN, LEAVER, DRIFTER, OUTCAST, QUITTER = HERE[11:16]
READERS = [ADMIN, LEAVER, DRIFTER, OUTCAST, *HERE[20:26]]
GUESTS = [f"guest{i}" for i in range(4)]
"""Connected too, and no members at first."""
STRANGERS = [f"stranger{i}" for i in range(8)]
"""Not connected, and no members at first."""
AWAY = [user for user in FOUNDERS if user not in HERE]
MANY = AWAY[20:68]
"""So many go and come that the group crosses its limits."""
EVERYBODY = [*FOUNDERS, *GUESTS, *STRANGERS]
LATE = [*MANY[4:8], *AWAY[:3], STRANGERS[0]]
"""They connect when all is over, and read what was said."""

MESSAGES_EACH = 50
AHEAD = 5
"""So many messages may each send while one step of the changes goes on."""


@dataclass
class Turmoil:
    """What happens in the group, and what the server has promised meanwhile."""

    people: Mapping[str, Person]
    acked: dict[tuple[str, str], Entry] = field(default_factory=dict)
    """By sender and cmid, what the reply said."""
    marked: Counter[str] = field(default_factory=Counter)
    """How far each has marked the group as read."""
    refused: int = 0
    """How often somebody who was removed has tried to send."""
    slowest_step_s: float = 0
    taken: int = 0
    """Messages of those who are never removed."""
    next_step: int = 0
    """After how many messages each the next step of the changes comes, or came that goes on."""
    _turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def happen(self) -> None:
        """Ten talk at once, each one message after the other, while members come and go. The talk and the changes keep
        pace: there is some of it during each change, however slow the machine is."""
        async with asyncio.TaskGroup() as at_once:
            at_once.create_task(self._members_come_and_go())
            for sender in SENDERS:
                at_once.create_task(self._talk(sender))

    async def _talk(self, sender: str) -> None:
        for i in range(MESSAGES_EACH):
            async with self._turn:
                await self._turn.wait_for(lambda: i < self.next_step + AHEAD)  # noqa: B023 - awaited here
            entry, refused = await self.people[sender].say_until_taken(CONV, f"{sender} says {i}", f"m{i}")
            async with self._turn:
                self.acked[sender, f"m{i}"] = entry
                self.refused += refused
                self.taken += sender not in UNLUCKY
                self._turn.notify_all()

    async def _members_come_and_go(self) -> None:
        for after, step in self._steps():
            async with self._turn:
                self.next_step = after
                self._turn.notify_all()
                await self._turn.wait_for(lambda: self.taken >= after * (len(SENDERS) - len(UNLUCKY)))  # noqa: B023
            began = time.monotonic()
            async with asyncio.TaskGroup() as at_once:
                for doing in (*step(), *(self._read(user) for user in READERS)):
                    at_once.create_task(doing)
            self.slowest_step_s = max(self.slowest_step_s, time.monotonic() - began)
        async with self._turn:
            self.next_step = MESSAGES_EACH
            self._turn.notify_all()

    def _steps(self) -> Sequence[tuple[int, Callable[[], Sequence[Coroutine[object, object, None]]]]]:
        """What happens at once, and after how many messages of each sender."""
        return [
            (0, lambda: [self._leave(LEAVER), self._make_admin(ADMIN)]),
            # 209 members: the group becomes large.
            (2, lambda: [self._join(GUESTS[0]), self._join(GUESTS[1]), self._invite(OWNER, STRANGERS)]),
            (7, lambda: [self._remove(ADMIN, [DRIFTER, OUTCAST, AWAY[0]])]),
            (9, lambda: [self._remove_for_a_moment(HASTY)]),
            (12, lambda: [self._remove(OWNER, UNLUCKY[1:])]),
            # 156: small.
            (17, lambda: [self._remove(OWNER, MANY)]),
            (19, lambda: [self._join(LEAVER), self._invite(ADMIN, [DRIFTER])]),
            (21, lambda: [self._invite(OWNER, UNLUCKY[1:]), self._join(GUESTS[2])]),
            (22, lambda: [self._remove_for_a_moment(HASTY)]),
            # 209: large again.
            (23, lambda: [self._invite(OWNER, MANY)]),
            (31, lambda: [self._leave(DRIFTER), self._remove(ADMIN, [GUESTS[0], *AWAY[1:4]])]),
            (36, lambda: [self._remove_for_a_moment(HASTY)]),
            (40, lambda: [self._join(DRIFTER), self._leave(QUITTER), self._remove(OWNER, [GUESTS[1], *MANY[:6]])]),
            (45, lambda: [self._invite(ADMIN, [GUESTS[3], AWAY[1]])]),
        ]

    async def _make_admin(self, user: str) -> None:
        await self.people[OWNER].ask("group.role", {"conv": CONV, "user": user, "role": "admin"})

    async def _invite(self, by: str, users: Sequence[str]) -> None:
        await self.people[by].ask("group.invite", {"conv": CONV, "users": list(users)})

    async def _remove(self, by: str, users: Sequence[str]) -> None:
        await self.people[by].ask("group.remove", {"conv": CONV, "users": list(users)})

    async def _remove_for_a_moment(self, user: str) -> None:
        await self._remove(OWNER, [user])
        await self._invite(OWNER, [user])

    async def _join(self, user: str) -> None:
        assert await self.people[user].ask("group.join", {"conv": CONV}) == {"state": "joined"}

    async def _leave(self, user: str) -> None:
        await self.people[user].ask("group.leave", {"conv": CONV})

    async def _read(self, user: str) -> None:
        newest = max((entry.seq for entry in self.people[user].holds(CONV)), default=0)
        if newest <= self.marked[user]:
            return
        await self.people[user].ask("sync.read", {"conv": CONV, "seq": newest})
        self.marked[user] = newest


def test_in_a_crowd_that_comes_and_goes_while_it_talks_everybody_sees_exactly_what_they_may(stack: Stack) -> None:
    asyncio.run(_crowd(stack))


async def _crowd(stack: Stack) -> None:
    clock = Clock()
    people = {user: Person(stack, user) for user in (*HERE, *GUESTS)}
    async with AsyncExitStack() as at_the_end:
        await connect_all(people.values(), at_the_end)
        clock.lap("connect_s")
        request = {"gid": "crowd", "name": "Crowd", "members": FOUNDERS[1:], "join_mode": "open"}
        assert (await people[OWNER].ask("group.create", request))["members"] == 200
        clock.lap("create_s")

        turmoil = Turmoil(people)
        async with asyncio.timeout(300):
            await turmoil.happen()
        clock.lap("talk_s")
        await queues_are_empty(stack, within_s=120)
        tables = Tables(stack)
        log = GroupLog(CONV, tables.log(CONV), large_above=LARGE_ABOVE)
        await _everybody_holds(people.values(), log, within_s=60)
        clock.lap("settle_s")

        assert log.wrong == []
        assert [large for large, _ in _periods(log)] == [False, True, False, True]
        assert len(turmoil.acked) == len(log.by_cmid) == len(SENDERS) * MESSAGES_EACH
        for key, entry in turmoil.acked.items():
            assert (log.by_cmid[key].seq, log.by_cmid[key].body) == (entry.seq, entry.body)
        assert _stored_otherwise(tables, log) == []
        assert [line for person in people.values() for line in _differences(person, log)] == []
        assert await _wrong_rows(stack, people, log, turmoil.marked, within_s=60) == []
        clock.lap("rows_s")

        late = [Person(stack, user) for user in LATE]
        await connect_all(late, at_the_end)
        await _everybody_holds(late, log, within_s=30)
        assert [line for person in late for line in _differences(person, log)] == []
        clock.lap("late_s")
    print(json.dumps(_figures(people.values(), log, turmoil) | clock.laps))


class Clock:
    """How long the parts of a test took."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._at = time.monotonic()

    def lap(self, name: str) -> None:
        """The part `name` ends now."""
        now = time.monotonic()
        self.laps[name], self._at = round(now - self._at, 1), now


def _periods(log: GroupLog) -> list[tuple[bool, int]]:
    """How many messages were sent while the group was small or large, one period after the other."""
    of_messages = [large for entry, large in zip(log.entries, log.large, strict=True) if entry.countable]
    return [(large, len(list(some))) for large, some in groupby(of_messages)]


async def _everybody_holds(people: Collection[Person], log: GroupLog, within_s: float) -> None:
    """Wait until all of them hold as much as they must see, within reason. A hole at the very end shows by no later
    push: who lacks something looks at their inbox, as they would after their next ping."""
    deadline = time.monotonic() + within_s
    while short := [person for person in people if len(person.holds(log.conv)) < len(log.visible(person.user))]:
        if time.monotonic() > deadline:
            return
        await some_at_a_time(short, lambda person: person.session.catch_up())
        await asyncio.sleep(0.5)


def _differences(person: Person, log: GroupLog) -> list[str]:
    """What somebody holds, or was pushed or shown, that is not exactly what they must see; one line each."""
    must = {e.seq: (e.kind, e.sender, e.n, e.cmid, e.body) for e in log.visible(person.user)}

    def fields(entry: Entry) -> tuple[object, ...]:
        return (entry.kind, entry.sender, entry.n, entry.cmid, entry.body)

    held = {entry.seq: fields(entry) for entry in person.holds(log.conv)}
    found = [f"{person.user} lacks {seq}" for seq in must if seq not in held]
    found += [f"{person.user} holds {seq}, which is closed to them" for seq in held if seq not in must]
    found += [
        f"{person.user} holds another {seq}: {held[seq]}" for seq in held if held[seq] != must.get(seq, held[seq])
    ]
    for entry in person.pushed:
        if fields(entry) != must.get(entry.seq):
            found.append(f"{person.user} was pushed {entry.seq}, {fields(entry)}; must be {must.get(entry.seq)}")
    shown = Counter(arrival.entry.seq for arrival in person.arrivals if arrival.new)
    return found + [f"{person.user} was shown {seq} {times} times" for seq, times in shown.items() if times > 1]


async def _wrong_rows(
    stack: Stack, people: Mapping[str, Person], log: GroupLog, marked: Mapping[str, int], within_s: float
) -> list[str]:
    """Whose inbox does not say what it must, one line each; who is not connected looks at theirs for a moment. Rows may
    be written a moment after the pushes: what is still different in the end is wrong."""
    wrong: dict[str, str] = {}

    async def look(user: str) -> None:
        async with AsyncExitStack() as for_a_moment:
            if (person := people.get(user)) is None:
                person = await for_a_moment.enter_async_context(Person(stack, user, backlog=0))
            rows, unread = await person.inbox()
        must = log.row(user, marked.get(user, 0))
        parts = {CONV: must["unread"]} if must["unread"] else {}
        row = {name: rows.get(CONV, {}).get(name, 0) for name in must}
        wrong.pop(user, None)
        if [*rows] != [CONV] or row != must or unread != {"total_unread": must["unread"], "conversations": parts}:
            wrong[user] = f"{user}: the inbox is {row}, {unread} in {list(rows)}; it must be {must}"

    deadline = time.monotonic() + within_s
    await some_at_a_time(EVERYBODY, look)
    while wrong and time.monotonic() < deadline:
        await asyncio.sleep(1)
        await some_at_a_time(list(wrong), look)
    return sorted(wrong.values())


def _figures(people: Collection[Person], log: GroupLog, turmoil: Turmoil) -> dict[str, object]:
    deliveries = [count_deliveries(person.arrivals) for person in people]
    return {
        "entries": len(log.entries),
        "changes": sum(entry.kind == "members" for entry in log.entries),
        "sizes": [min(log.sizes[8:]), max(log.sizes)],
        "periods": _periods(log),
        "refused": turmoil.refused,
        "slowest_step_s": round(turmoil.slowest_step_s, 1),
        "by_push": sum(len(of_one.pushed) for of_one in deliveries),
        "only_by_fetch": sum(of_one.only_by_fetch for of_one in deliveries),
        "late_pushes": sum(of_one.late_pushes for of_one in deliveries),
        "duplicate_pushes": sum(of_one.duplicate_pushes for of_one in deliveries),
        "resent": sum(person.session.frames_resent for person in people),
        "reconnects": sum(person.session.reconnects for person in people),
    }


# ---- a group crosses the limit ---------------------------------------------------------------------------------------


def test_pushes_and_unread_counts_stay_exact_when_a_group_becomes_large_and_small_again(stack: Stack) -> None:
    many = [f"limit{i}" for i in range(250)]
    with Talker(stack, "lea") as lea, Talker(stack, "max") as max_, Talker(stack, "opal") as opal:
        conv = lea.ok("group.create", {"gid": "limit", "name": "L", "members": ["max", "nora", *many[:197]]})["conv"]

        def change(op: str, *users: str) -> None:
            assert lea.ok(f"group.{op}", {"conv": conv, "users": users})["users"] == list(users)

        def say(text: str, *listeners: Talker, **more: Any) -> None:
            """Lea says something, and all who listen are pushed it, and nothing before it that they were not."""
            lea.say(text, text, conv=conv, **more)
            for listener in listeners:
                assert _heard(listener, text) == [text]

        def nora_finds() -> dict[str, Any]:
            """Her row comes before anybody's push: it is exact as soon as others have been pushed to."""
            with Talker(stack, "nora") as nora:
                (row,) = nora.ok("sync.inbox")["conversations"]
                assert nora.ok("sync.unread")["total_unread"] == row["unread"]
                return {"unread": row["unread"], "mention_seq": row["mention_seq"], "last": row["last"]["preview"]}

        say("200 are small", max_)
        assert nora_finds() == {"unread": 1, "mention_seq": 0, "last": "200 are small"}

        change("invite", "opal", *many[197:202])
        say("206 are large", max_, opal)
        assert nora_finds() == {"unread": 2, "mention_seq": 0, "last": "206 are large"}

        with Talker(stack, "nora") as nora:
            say("Nora is here", max_, opal, nora)
            newest = nora.ok("sync.inbox")["conversations"][0]["last_seq"]
            assert nora.ok("sync.read", {"conv": conv, "seq": newest})["total_unread"] == 0
        say("Nora is away", max_, opal, mentions=["nora"])
        assert nora_finds() == {"unread": 1, "mention_seq": newest + 1, "last": "Nora is away"}

        change("remove", *many[:45])
        say("161 are large still", max_, opal)
        assert nora_finds() == {"unread": 2, "mention_seq": newest + 1, "last": "161 are large still"}
        change("remove", many[45])
        say("160 are small", max_, opal)
        assert nora_finds() == {"unread": 3, "mention_seq": newest + 1, "last": "160 are small"}

        change("invite", *many[202:242])
        say("200 are small again", max_, opal)
        assert nora_finds() == {"unread": 4, "mention_seq": newest + 1, "last": "200 are small again"}
        change("invite", many[242])
        say("201 are large", max_, opal)
        assert nora_finds() == {"unread": 5, "mention_seq": newest + 1, "last": "201 are large"}

    log = GroupLog(conv, Tables(stack).log(conv), large_above=LARGE_ABOVE)
    assert log.wrong == [], "whether it was large stands in each of its entries"
    assert _periods(log) == [(False, 1), (True, 4), (False, 2), (True, 1)]


def _heard(listener: Talker, text: str) -> list[str]:
    """The texts of the pushes up to the one of `text`."""
    return [entry["body"]["text"] for entry in _pushed(listener, text) if entry["kind"] == "text"]


def _pushed(listener: Talker, text: str) -> list[dict[str, Any]]:
    """The entries that are pushed up to the one of `text`, each once, and none of the listener's own."""
    entries = [listener.entry()]
    while entries[-1]["body"].get("text") != text:
        entries.append(listener.entry())
    return entries


# ---- somebody is removed while their entries are on the way ----------------------------------------------------------


def test_nothing_that_somebody_said_is_unread_for_them_when_they_are_removed_right_after(stack: Stack) -> None:
    with Talker(stack, "pia") as pia, Talker(stack, "quin") as quin:
        conv = pia.ok("group.create", {"gid": "hasty", "name": "H", "members": ["quin"]})["conv"]
        quin.entry()

        with fan_out_held_up(stack):
            said = quin.say("That is all", "c1", conv=conv)
            pia.ok("group.remove", {"conv": conv, "users": ["quin"]})

        assert quin.entry()["body"]["removed"] == ["quin"]
        (row,) = quin.ok("sync.inbox")["conversations"]
        assert (row["left_seq"], row["read_seq"], row["unread"]) == (said["seq"] + 1, said["seq"], 0)


@pytest.mark.parametrize("members", [3, LARGE_ABOVE + 1])
def test_who_is_removed_and_let_in_again_at_once_is_pushed_all_but_what_was_closed(stack: Stack, members: int) -> None:
    others = [f"again{members}-{i}" for i in range(members - 2)]
    with Talker(stack, f"una{members}") as una, Talker(stack, f"val{members}") as val:
        request = {"gid": f"again{members}", "name": "A", "members": [val.user, *others]}
        conv = una.ok("group.create", request)["conv"]
        una.say("Now", "c0", conv=conv)
        _heard(val, "Now")

        with fan_out_held_up(stack):
            una.say("Before", "c1", conv=conv)
            una.ok("group.remove", {"conv": conv, "users": [val.user]})
            una.say("In between", "c2", conv=conv)
            una.ok("group.invite", {"conv": conv, "users": [val.user]})
            own = val.say("Back again", "c3", conv=conv)
            una.say("After", "c4", conv=conv)

        pushed = {entry["seq"] for entry in _pushed(val, "After")}
        assert pushed == {own["seq"] - 4, own["seq"] - 3, own["seq"] - 1, own["seq"] + 1}
        (row,) = val.ok("sync.inbox")["conversations"]
        assert (row["last_seq"], row["read_seq"], row["unread"]) == (own["seq"] + 1, own["seq"], 1)


# ---- changes of one group that race each other -----------------------------------------------------------------------


def made(stack: Stack, *gids: str, owner: str, members: Sequence[str] = ()) -> list[ConvId]:
    """New groups that everybody may join."""
    request = {"name": "Race", "members": members, "join_mode": "open"}
    with Talker(stack, owner) as founder:
        return [founder.ok("group.create", {"gid": gid} | request)["conv"] for gid in gids]


def test_of_those_who_join_at_once_as_many_come_in_as_there_are_places(stack: Stack) -> None:
    (conv,) = made(stack, "places", owner="place0", members=[f"place{i}" for i in range(1, 13)])
    newcomers = [[f"single{i}"] for i in range(10)] + [[f"pair{i}", f"pair{i}b"] for i in range(4)]

    def come_in(users: Sequence[str]) -> Callable[[], Sequence[str]]:
        instance = Instance(stack)

        def come() -> Sequence[str]:
            try:
                if len(users) == 1:
                    instance.join(conv, users[0])
                else:
                    instance.invite(conv, "place0", users)
            except TooLarge:
                return []
            return users

        return come

    came = [user for users in all_at_once([come_in(users) for users in newcomers]) for user in users]

    assert len(came) == 7, "13 were there, and 20 is the limit"
    tables = Tables(stack)
    log = GroupLog(conv, tables.log(conv), large_above=LIMITS.large_above)
    assert log.wrong == []
    assert log.members == {*(f"place{i}" for i in range(13)), *came}
    assert _stored_otherwise(tables, log) == []


def test_who_joins_many_groups_at_once_comes_into_as_many_as_their_limit(stack: Stack) -> None:
    convs = made(stack, *(f"many{i}" for i in range(10)), owner="rick")

    def come_into(conv: ConvId) -> Callable[[], bool]:
        instance = Instance(stack)

        def come() -> bool:
            try:
                instance.join(conv, "ruth")
            except TooLarge:
                return False
            return True

        return come

    came = all_at_once([come_into(conv) for conv in convs])

    tables = Tables(stack)
    assert came.count(True) == tables.groups("ruth") == LIMITS.groups
    for conv, is_in in zip(convs, came, strict=True):
        log = GroupLog(conv, tables.log(conv), large_above=LIMITS.large_above)
        assert (log.wrong, "ruth" in log.members) == ([], is_in)
        assert set(tables.members(conv)) == log.members


def test_changes_and_messages_that_race_each_other_leave_one_group_that_its_log_explains(stack: Stack) -> None:
    people = [f"race{i}" for i in range(18)]
    owner, others = people[0], people[1:]
    (conv,) = made(stack, "race", owner=owner, members=people[1:8])
    before = time.monotonic()

    changing = list(range(10))
    refused: list[str] = []

    def change(instance: Instance, number: int, by: str, some: Sequence[str]) -> None:
        # Nobody but the owner is sure to be a member when their turn comes.
        with suppress(NotMember):
            match number % 5:
                case 0 | 1:
                    instance.invite(conv, by, some)
                case 2:
                    instance.join(conv, some[0])
                case 3:
                    instance.remove(conv, owner, some)
                case _:
                    instance.leave(conv, some[0])

    def keep_changing(number: int) -> list[tuple[str, Appended]]:
        instance, dice = Instance(stack), random.Random(number)
        try:
            for _ in range(12):
                change(instance, number, dice.choice(people), dice.sample(others, dice.randint(1, 5)))
        finally:
            changing.remove(number)
        return []

    def keep_talking(number: int) -> list[tuple[str, Appended]]:
        instance, dice = Instance(stack), random.Random(number)
        taken: list[tuple[str, Appended]] = []
        sender = dice.choice(others)
        while changing:
            cmid = f"{number}-{len(taken)}"
            try:
                taken.append((cmid, instance.send(conv, sender, cmid)))
            except NotMember:
                refused.append(sender)
                sender = dice.choice(others)
        return taken

    changers = [partial(keep_changing, number) for number in changing]
    taken = all_at_once([*changers, *(partial(keep_talking, number) for number in range(10, 16))])

    tables = Tables(stack)
    log = GroupLog(conv, tables.log(conv), large_above=LIMITS.large_above)
    assert log.wrong == []
    acked = {(a.entry.sender, cmid): a.entry.seq for some in taken for cmid, a in some}
    assert {key: entry.seq for key, entry in log.by_cmid.items()} == acked, "acked is stored, and refused is not"
    assert _stored_otherwise(tables, log) == []
    figures = {
        "entries": len(log.entries),
        "messages": len(acked),
        "refused": len(refused),
        "changes": len(log.entries) - len(acked),
        "stays": max(map(len, log.stays.values())),
        "sizes": [min(log.sizes), max(log.sizes)],
        "seconds": round(time.monotonic() - before, 1),
    }
    print(json.dumps(figures))


def _stored_otherwise(tables: Tables, log: GroupLog) -> list[str]:
    """What is stored about the members of a group, who are in no other one, and is not what its log says."""
    found = []
    if (size := tables.size(log.conv)) != len(log.members):
        found.append(f"the head says {size} members, the log {len(log.members)}")
    members, former = tables.members(log.conv), tables.former_members(log.conv)
    if members.keys() != log.members:
        found.append(f"the members are {sorted(members)}, by the log {sorted(log.members)}")
    for user, stays in log.stays.items():
        spans = [(stay.first, stay.last) for stay in stays][-MAX_SPANS:]
        is_in = user in log.members
        if (kept := members.get(user) if is_in else former.get(user)) != spans:
            found.append(f"{user} may see {kept}, by the log {spans}")
        told = (tables.groups(user), tables.left_seq(user, log.conv))
        if told != (must := (int(is_in), 0 if is_in else stays[-1].last)):
            found.append(f"{user} has (groups, left_seq) {told}, by the log {must}")
    return found
