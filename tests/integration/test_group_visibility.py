"""Who sees what of a group: from their joining to their leaving, however the queue brings it.

Most tests are played twice: in a small group, whose members each have a row of their own, and in a large one, whose
members share one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.group_state import Told, check_groups, drop_queued, pages, people_of, row, rows_of, text, told
from tests.integration.house import Call, Device, House, built_house

CONV = "g:g"
NAME = {"conv": CONV}
OTHER = "g:other"


@pytest.fixture(params=["small", "large"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose groups are all small, or all large."""
    with built_house(monkeypatch, LARGE_GROUP_ABOVE="200" if request.param == "small" else "1") as built:
        yield built


def group(people: dict[str, Device], members: str = "bob carol", **more: Any) -> None:
    """A group of alice and these, open to everybody."""
    made = {"gid": "g", "name": "G", "members": members.split(), "join_mode": "open", "who_mentions_all": "members"}
    people["alice"].ok("group.create", made | more)


def go(people: dict[str, Device], name: str, way: str) -> None:
    """`name` leaves, or is removed by alice."""
    if way == "leave":
        people[name].ok("group.leave", NAME)
    else:
        people["alice"].ok("group.remove", NAME | {"users": [name]})


def come(people: dict[str, Device], name: str, way: str = "join") -> None:
    """`name` joins, or is invited by alice."""
    if way == "join":
        people[name].ok("group.join", NAME)
    else:
        people["alice"].ok("group.invite", NAME | {"users": [name]})


def check_views(house: House, people: dict[str, Device], *closely: str) -> Told:
    """Everybody gets what they may see and has been pushed nothing else. Returns the group.

    `closely`: those who try pages of several sizes, and from every place in the log.
    """
    check_groups()
    now = told(CONV)
    for name, device in people.items():
        sees = now.sees(name)
        for pushed in house.devices.values():
            assert pushed.user != name or set(pushed.seen(CONV)) <= set(sees), name
        if not sees:
            for op, data in (("entries", {"after": 0}), ("read", {"seq": 1})):
                assert device.error(f"sync.{op}", NAME | data)["code"] == "not_member"
            assert device.error("sync.ack", {"acks": [NAME | {"seq": 1}]})["code"] == "not_member"
            continue
        for limit in (2, 3, 100) if name in closely else (100,):
            assert pages(device, CONV, limit) == sees, (name, limit)
            assert pages(device, CONV, limit, ascending=False) == sees[::-1], (name, limit)
        for seq in range(now.seq + 2) if name in closely else ():
            up = device.ok("sync.entries", NAME | {"after": seq, "limit": 1})
            down = device.ok("sync.entries", NAME | {"before": seq, "limit": 1})
            assert [e["seq"] for e in up["entries"]] == [s for s in sees if s > seq][:1], (name, seq)
            assert [e["seq"] for e in down["entries"]] == [s for s in sees if s < seq][-1:], (name, seq)
            assert up["last_seq"] == down["last_seq"] == sees[-1], (name, seq)
            assert up["more"] == (len([s for s in sees if s > seq]) > 1), (name, seq)
            assert down["more"] == (len([s for s in sees if s < seq]) > 1), (name, seq)
    return now


def in_row(device: Device) -> tuple[int, int, int, int]:
    """What a row says: last_seq, unread, mention_seq, left_seq. The parts of the total are checked on the way."""
    found = row(device, CONV)
    counts = device.ok("sync.unread")
    assert counts["conversations"].get(CONV, 0) == found["unread"]
    assert counts["total_unread"] == sum(counts["conversations"].values())
    return found["last_seq"], found["unread"], found["mention_seq"], found.get("left_seq", 0)


# ---- coming ----------------------------------------------------------------------------------------------------------


def test_who_joins_sees_what_comes_from_then_on(sized: House) -> None:
    people = people_of(sized, "alice bob carol dave erin")
    group(people)
    people["alice"].say("Before.", "1", conv=CONV, mentions=["dave", "erin"])
    sized.fan_out()

    come(people, "dave", "join")
    come(people, "erin", "invite")
    sized.fan_out()
    assert in_row(people["dave"]) == (4, 0, 0, 0)
    assert in_row(people["erin"]) == (4, 0, 0, 0)
    assert [row(people[name], CONV)["read_seq"] for name in ("dave", "erin")] == [3, 3], "who was invited may not know"
    people["bob"].say("After.", "1", conv=CONV)
    sized.fan_out()

    assert in_row(people["dave"]) == in_row(people["erin"]) == (5, 1, 0, 0)
    assert (people["dave"].seen(), people["erin"].seen()) == ([3, 4, 5], [4, 5])
    assert check_views(sized, people).sees("dave") == [3, 4, 5]
    for seq in (1, 2):
        assert people["dave"].error("sync.read", NAME | {"seq": seq})["code"] == "not_found"
    assert people["dave"].ok("sync.read", NAME | {"seq": 5})["unread"] == 0


def test_who_joins_a_group_that_shows_its_history_sees_all_of_it_and_it_is_not_unread(sized: House) -> None:
    people = people_of(sized, "alice bob carol dave")
    group(people, history=True)
    people["alice"].say("Before.", "1", conv=CONV, mentions=["dave"])
    people["alice"].say("Before.", "2", conv=CONV, mentions=["@all"])

    come(people, "dave")
    people["bob"].say("After.", "1", conv=CONV)
    sized.fan_out()

    assert in_row(people["dave"]) == (5, 1, 0, 0)
    assert people["dave"].ok("sync.read", NAME | {"seq": 1})["unread"] == 1
    assert check_views(sized, people).sees("dave") == [1, 2, 3, 4, 5]


def test_history_counts_for_those_who_join_while_it_is_on(house: House) -> None:
    people = people_of(house, "alice bob carol dave erin")
    group(people, "bob")
    come(people, "carol")  # 2
    people["alice"].ok("group.update", NAME | {"history": True})  # 3
    come(people, "dave")  # 4
    people["alice"].ok("group.update", NAME | {"history": False})  # 5
    come(people, "erin")  # 6
    go(people, "dave", "leave")  # 7
    people["alice"].say("Between.", "1", conv=CONV)  # 8
    come(people, "dave")  # 9
    go(people, "carol", "leave")  # 10
    people["alice"].ok("group.update", NAME | {"history": True})  # 11
    come(people, "carol")  # 12
    house.fan_out()

    now = check_views(house, people, "dave")

    assert {name: now.sees(name) for name in ("carol", "dave", "erin")} == {
        "carol": list(range(1, 13)),
        "dave": [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12],
        "erin": [6, 7, 8, 9, 10, 11, 12],
    }


# ---- going -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["leave", "remove"])
def test_who_has_gone_keeps_what_they_saw_and_nothing_moves_any_more(sized: House, way: str) -> None:
    people = people_of(sized, "alice bob carol")
    phone, bob = sized.connect("bob", "phone", "ios"), people["bob"]
    group(people)
    people["alice"].say("One.", "1", conv=CONV, mentions=["bob"])
    people["alice"].say("Two.", "2", conv=CONV)
    sized.fan_out()
    assert in_row(bob) == (3, 2, 2, 0)

    go(people, "bob", way)
    sized.fan_out()
    gone, version = row(bob, CONV), bob.ok("connect.ping")["inbox"]
    sized.now += 1000
    people["alice"].say("After.", "3", conv=CONV, mentions=["bob"])
    people["carol"].say("After.", "1", conv=CONV, mentions=["@all"])
    people["alice"].ok("group.update", NAME | {"name": "Without Bob"})
    sized.fan_out()

    assert in_row(bob) == ((4, 0, 0, 4) if way == "leave" else (4, 2, 2, 4))
    assert gone == row(bob, CONV)
    assert gone["last"] == {
        "seq": 4,
        "kind": "members",
        "from": "bob" if way == "leave" else "alice",
        "ts": sized.now - 1000,
        "preview": "",
    }
    assert bob.ok("connect.ping")["inbox"] == version
    assert bob.seen() == phone.seen() == [1, 2, 3, 4]
    check_views(sized, people)

    for seq in (5, 6, 7):
        assert bob.error("sync.read", NAME | {"seq": seq})["code"] == "not_found"
        assert bob.error("sync.ack", {"acks": [NAME | {"seq": seq}]})["code"] == "not_found"
    assert bob.ok("sync.read", NAME | {"seq": 2})["unread"] == (0 if way == "leave" else 1)
    bob.ok("sync.ack", {"acks": [NAME | {"seq": 4}]})
    assert bob.ok("sync.read", NAME | {"seq": 4}) == NAME | {"read_seq": 4, "unread": 0, "total_unread": 0}
    assert (row(bob, CONV)["ack_seq"], row(bob, CONV)["left_seq"]) == (4, 4)
    assert [push["seq"] for push in phone.got("read")] == ([] if way == "leave" else [2, 4])
    assert bob.error("message.send", text("x", CONV))["code"] == "not_member"


def test_who_has_gone_is_told_so_by_the_next_sync(sized: House) -> None:
    people = people_of(sized, "alice bob carol")
    group(people)
    sized.fan_out()
    before = people["bob"].ok("sync.inbox")["inbox"]
    sized.now += 600_000

    go(people, "bob", "remove")
    since = people["bob"].ok("sync.inbox", {"since": before})

    assert [found["left_seq"] for found in since["conversations"]] == [2], "without any fan-out"
    sized.fan_out()
    assert people["bob"].ok("sync.inbox", {"since": since["inbox"]})["conversations"] == []


def test_what_was_said_between_leaving_and_coming_back_stays_closed(sized: House) -> None:
    people = people_of(sized, "alice bob carol")
    group(people)  # 1
    marks: list[int] = []
    for i, ways in enumerate((("leave", "join"), ("remove", "invite"), ("remove", "join"))):
        people["alice"].say("Seen.", f"s{i}", conv=CONV, mentions=["bob"])
        people["carol"].say("Seen.", f"s{i}", conv=CONV, mentions=["@all"])
        sized.fan_out()
        assert row(people["bob"], CONV)["unread"] == 2
        go(people, "bob", ways[0])
        people["alice"].say("Closed.", f"c{i}", conv=CONV, mentions=["bob"])
        people["carol"].say("Closed.", f"c{i}", conv=CONV, mentions=["@all"])
        if i:
            sized.fan_out()
        come(people, "bob", ways[1])
        sized.fan_out()
        last, unread, mention, left = in_row(people["bob"])
        assert (unread, mention, left) == (0, 0, 0), "what they could not see is not unread"
        marks.append(last)

    people["carol"].say("Seen.", "s", conv=CONV, mentions=["bob"])
    sized.fan_out()

    assert marks == [7, 13, 19]
    assert in_row(people["bob"]) == (20, 1, 20, 0)
    assert people["alice"].seen(CONV) == [s for s in range(1, 21) if s not in {2, 5, 8, 11, 14, 17}]
    now = check_views(sized, people, "bob")
    assert now.sees("bob") == [1, 2, 3, 4, 7, 8, 9, 10, 13, 14, 15, 16, 19, 20]
    closed = [seq for seq in range(1, 21) if seq not in now.sees("bob")]
    for seq in closed:
        assert people["bob"].error("sync.read", NAME | {"seq": seq})["code"] == "not_found"


def test_a_total_is_the_sum_of_what_is_left_everywhere(sized: House) -> None:
    people = people_of(sized, "alice bob carol")
    bob = people["bob"]
    group(people)
    people["alice"].ok("group.create", {"gid": "other", "name": "O", "members": ["bob"]})
    for conv in (CONV, CONV, OTHER, OTHER, OTHER, "d:alice:bob"):
        people["alice"].say("x", f"{sized.now}", conv=conv)
        sized.now += 1
    sized.fan_out()
    assert bob.ok("sync.unread") == {"total_unread": 6, "conversations": {CONV: 2, OTHER: 3, "d:alice:bob": 1}}

    go(people, "bob", "remove")
    people["carol"].say("x", "1", conv=CONV)
    sized.fan_out()
    assert bob.ok("sync.unread") == {"total_unread": 6, "conversations": {CONV: 2, OTHER: 3, "d:alice:bob": 1}}
    assert bob.ok("sync.read", NAME | {"seq": 2})["total_unread"] == 5
    bob.ok("group.leave", {"conv": OTHER})
    assert bob.ok("sync.unread") == {"total_unread": 2, "conversations": {CONV: 1, "d:alice:bob": 1}}
    come(people, "bob")
    sized.fan_out()
    assert bob.ok("sync.unread") == {"total_unread": 1, "conversations": {"d:alice:bob": 1}}


def test_a_dissolved_group_stays_as_everybody_saw_it_last(sized: House) -> None:
    people = people_of(sized, "alice bob carol dave")
    group(people)
    come(people, "dave")  # 2
    people["alice"].say("Bye.", "1", conv=CONV, mentions=["bob"])  # 3
    go(people, "carol", "remove")  # 4
    people["alice"].ok("group.dissolve", NAME)  # 5
    sized.fan_out()

    assert in_row(people["alice"]) == (5, 0, 0, 5)
    assert in_row(people["bob"]) == (5, 1, 3, 5)
    assert in_row(people["carol"])[::3] == (4, 4)
    assert in_row(people["dave"]) == (5, 1, 0, 5)
    assert [people[name].seen()[-1] for name in people] == [5, 5, 4, 5]
    assert people["bob"].ok("sync.read", NAME | {"seq": 3})["unread"] == 0
    people["dave"].ok("sync.ack", {"acks": [NAME | {"seq": 5}]})
    assert people["dave"].ok("group.leave", NAME) == {}
    assert in_row(people["dave"]) == (5, 1, 0, 5)
    now = check_views(sized, people)
    assert [now.sees(name)[0] for name in people] == [1, 1, 1, 2]


# ---- mentions --------------------------------------------------------------------------------------------------------


def test_mentions_count_for_those_who_are_in_it_then(sized: House) -> None:
    people = people_of(sized, "alice bob carol dave erin")
    group(people, "bob carol dave")
    people["alice"].say("All.", "1", conv=CONV, mentions=["@all"])  # 2
    people["carol"].say("Bob and Erin.", "1", conv=CONV, mentions=["bob", "erin"])  # 3
    sized.fan_out()
    assert {name: in_row(people[name])[1:3] for name in ("alice", "bob", "carol", "dave")} == {
        "alice": (1, 0),
        "bob": (2, 3),
        "carol": (0, 0),
        "dave": (2, 2),
    }

    go(people, "bob", "leave")  # 4
    go(people, "dave", "remove")  # 5
    come(people, "erin")  # 6
    people["alice"].say("All.", "2", conv=CONV, mentions=["@all"])  # 7
    people["alice"].say("You.", "3", conv=CONV, mentions=["bob", "dave"])  # 8
    sized.fan_out()

    assert {name: in_row(people[name])[1:3] for name in ("bob", "carol", "dave", "erin")} == {
        "bob": (0, 0),
        "carol": (2, 7),
        "dave": (2, 2),
        "erin": (2, 7),
    }
    people["dave"].ok("sync.read", NAME | {"seq": 3})
    assert in_row(people["dave"]) == (5, 0, 0, 5)


def test_who_is_removed_right_after_a_mention_still_has_it(sized: House) -> None:
    """The message and the removal come in one batch."""
    people = people_of(sized, "alice bob carol")
    group(people)
    sized.fan_out()

    people["alice"].say("Bob!", "1", conv=CONV, mentions=["bob"])
    go(people, "bob", "remove")
    sized.fan_out()

    assert in_row(people["bob"]) == (3, 1, 2, 3)


# ---- whatever the queue does -----------------------------------------------------------------------------------------


def queued_through_a_removal(people: dict[str, Device]) -> None:
    """Bob is removed, comes back and leaves, with messages in between: entries 1 to 9."""
    group(people)  # 1
    people["bob"].say("I see.", "1", conv=CONV)  # 2
    people["alice"].say("Bob?", "1", conv=CONV)  # 3
    go(people, "bob", "remove")  # 4
    people["alice"].say("He is gone.", "2", conv=CONV, mentions=["carol"])  # 5
    come(people, "bob", "invite")  # 6
    people["alice"].say("Here he is.", "3", conv=CONV)  # 7
    go(people, "bob", "leave")  # 8
    people["carol"].say("Gone again.", "1", conv=CONV)  # 9


WAYS = ["in order", "one by one", "backwards", "twice", "the removal last", "the others first", "a new function each"]
PLAYED = [("small", way) for way in WAYS] + [("large", way) for way in WAYS if way not in {"one by one", "twice"}]


def in_this_way(house: House, way: str) -> None:
    """Deliver what is queued."""
    records = house.take()
    if way == "in order":
        house.deliver(records)
        return
    if way == "backwards":
        records = records[::-1]
    if way == "the removal last":
        records = [records[i] for i in (0, 1, 2, 4, 5, 6, 7, 8, 3)]
    if way == "the others first":
        records = records[3:] + records[:3]
    for record in records:
        assert house.deliver([record]) == []
        if way == "twice":
            assert house.deliver([record]) == []
        if way == "a new function each":
            house.load("fanout")
    if way == "twice":
        assert house.deliver(records) == []


def check_after_the_removal(house: House, people: dict[str, Device]) -> None:
    now = check_views(house, people)
    assert now.sees("bob") == [1, 2, 3, 4, 6, 7, 8]
    assert {name: in_row(people[name]) for name in people} == {
        "alice": (9, 1, 0, 0),
        "bob": (8, 0, 0, 8),
        "carol": (9, 0, 0, 0),
    }
    for name in ("alice", "carol"):
        theirs = {int(seq) for seq, sender in enumerate("abaaaaabc", 1) if sender == name[0]}
        assert set(people[name].seen(CONV)) >= set(range(1, 10)) - theirs


def test_who_was_mentioned_when_the_group_ended_still_knows_who_mentioned_everybody(sized: House) -> None:
    people = people_of(sized, "alice bob carol")
    group(people)
    people["alice"].say("You.", "1", conv=CONV, mentions=["bob"])  # 2, which the queue brings late
    drop_queued(sized)
    people["alice"].say("All.", "2", conv=CONV, mentions=["@all"])  # 3
    sized.fan_out()
    people["alice"].say("You.", "1", conv=CONV, mentions=["bob"])
    people["alice"].ok("group.dissolve", NAME)  # 4
    sized.fan_out()

    assert [in_row(people[name]) for name in ("bob", "carol")] == [(4, 2, 3, 4)] * 2


@pytest.mark.parametrize(("sized", "way"), PLAYED, indirect=["sized"])
def test_nobody_is_pushed_what_they_may_not_see_however_late_it_comes(sized: House, way: str) -> None:
    people = people_of(sized, "alice bob carol")
    queued_through_a_removal(people)

    in_this_way(sized, way)

    check_after_the_removal(sized, people)
    assert {4, 8} <= set(people["bob"].seen(CONV)), "who goes is told so"


@pytest.mark.parametrize(("sized", "seed"), [("small", 1), ("small", 2), ("large", 3)], indirect=["sized"])
def test_entries_delivered_while_people_come_and_go_reach_those_alone_who_may_see_them(sized: House, seed: int) -> None:
    """Each entry at any time between its being stored and the end, some twice, by functions old and new."""
    rng = random.Random(seed)
    people = people_of(sized, "alice bob carol")
    group(people)
    inside, kept = True, []
    for i in range(12):
        if i % 3 == 2:
            ways = ("leave", "remove") if inside else ("join", "invite")
            (go if inside else come)(people, "bob", rng.choice(ways))
            inside = not inside
        else:
            people[rng.choice(["alice", "carol"])].say("x", f"c{i}", conv=CONV)
        records = sized.take()
        drop_queued(sized)
        kept += records
        for record in rng.sample(kept, min(len(kept), rng.randrange(3))):
            assert sized.deliver([record]) == []
            if rng.random() < 0.7:
                kept.remove(record)
        if rng.random() < 0.3:
            sized.load("fanout")
    rng.shuffle(kept)
    for record in kept:
        assert sized.deliver([record]) == []

    now = check_views(sized, people)
    for name, device in people.items():
        last = now.sees(name)[-1]
        assert in_row(device)[::3] == (last, 0 if name in now.members else last)


def test_a_message_accepted_before_its_sender_s_removal_reaches_everybody(sized: House) -> None:
    people = people_of(sized, "alice bob carol")
    group(people)
    sized.fan_out()
    sent = people["bob"].say("Last words.", "1", conv=CONV)
    go(people, "bob", "remove")
    sized.fan_out()

    again = people["bob"].say("Last words.", "1", conv=CONV)
    sized.fan_out()

    assert (sent["seq"], again) == (2, sent | {"duplicate": True})
    assert sized.texts(CONV) == ["Last words."]
    assert in_row(people["carol"])[:2] == (3, 1)
    assert {2, 3} <= set(people["carol"].seen())
    assert set(people["bob"].seen()) == {1, 3}
    assert people["bob"].error("message.send", text("2", CONV))["code"] == "not_member"
    check_views(sized, people)


def test_a_message_that_was_queued_late_does_not_come_back_to_who_was_removed(sized: House) -> None:
    """The sender's function died before it could queue the message; its repeat comes after others were removed."""
    people = people_of(sized, "alice bob carol")
    group(people)
    sized.fan_out()
    people["alice"].say("One.", "1", conv=CONV)
    drop_queued(sized)
    go(people, "bob", "remove")
    people["alice"].say("Two.", "2", conv=CONV)
    sized.fan_out()

    people["alice"].say("One.", "1", conv=CONV)
    sized.fan_out()

    assert in_row(people["bob"])[::3] == (3, 3)
    assert in_row(people["bob"])[1] == 1, "stored before the removal: theirs to read"
    assert in_row(people["carol"])[:2] == (4, 2)
    check_views(sized, people)


def test_a_row_that_failed_is_not_repaired_beyond_a_removal(house: House) -> None:
    people = people_of(house, "alice bob carol")
    group(people)
    house.fan_out()
    people["alice"].say("One.", "1", conv=CONV)

    def fail(call: Call) -> None:
        if call.operation == "UpdateItem" and (call.user, call.sort_key) == ("bob", f"CONV#{CONV}"):
            raise ClientError({"Error": {"Code": "InternalServerError"}}, call.operation)

    with house.watched(before=fail):
        house.deliver(house.take())
    (repair,) = house.take()
    assert json.loads(repair["body"])["only"] == "bob"
    go(people, "bob", "remove")
    people["alice"].say("Two.", "2", conv=CONV)
    before = rows_of(CONV)["bob"]
    house.deliver([repair])
    house.fan_out()

    assert rows_of(CONV)["bob"] == before
    assert in_row(people["bob"]) == (3, 1, 0, 3)
    assert set(people["bob"].seen()) <= {1, 2, 3}
    check_views(house, people)
