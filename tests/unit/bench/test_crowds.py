"""Members put straight into the tables are as members who came in through the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from bench.crowds import CONV, gather, read_in
from im.domain.ids import UserId
from im.store import keys
from im.store.groups import GroupStore
from tests.integration.house import House, built_house

SIZE = 7
NAMES = [f"user{i:06d}" for i in range(SIZE)]


@contextmanager
def house_above(limit: int) -> Iterator[House]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        built_house(monkeypatch, LARGE_GROUP_ABOVE=str(limit)) as house,
    ):
        yield house


def invited(house: House, *, online: int) -> None:
    """The same group as `gather` makes, everybody in it by request."""
    founder = house.connect(NAMES[0])
    founder.ok("group.create", {"gid": CONV.removeprefix("g:"), "name": "Crowd", "members": NAMES[1:-1]})
    house.fan_out()
    founder.ok("group.invite", {"conv": CONV, "users": NAMES[-1:]})
    house.fan_out()
    founder.hang_up()
    for name in NAMES[:online]:
        house.connect(name)


def state(house: House) -> Mapping[str, Any]:
    """Every item that says who is in the group and what they have in their inbox; the log, and times, apart."""
    tables = ("ConversationTable", "InboxTable", "ConnectionTable", "AudienceTable")
    out = {}
    for table in tables:
        for item in house.items(table):
            name = (table, item["pk"]["S"], item.get("sk", {}).get("S", ""))
            if not name[2].startswith("MSG#"):
                out[" ".join(name)] = _without_connection_ids(item)
    return out


def _without_connection_ids(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        name: {"M": {**value["M"], "connection": "…"}} if name.startswith("slot:") else value
        for name, value in item.items()
    }


def test_a_large_group_that_was_gathered_is_one_whose_members_were_invited() -> None:
    with house_above(SIZE - 1) as house:
        invited(house, online=4)
        expected = state(house)
    with house_above(SIZE - 1) as house:
        crowd = gather(house, SIZE, 4, limit=SIZE - 1)

        assert crowd.large
        assert state(house) == expected


def test_those_who_are_stored_of_a_large_group_are_as_if_all_were() -> None:
    with house_above(SIZE - 1) as house:
        invited(house, online=4)
        everybody = state(house)
    with house_above(SIZE - 1) as house:
        gather(house, SIZE, 4, limit=SIZE - 1, whole=False)
        some = state(house)

    left_out = {name for name in everybody if any(user in name for user in NAMES[4:-1])}
    assert len(left_out) == 2 * 3
    assert some == {name: item for name, item in everybody.items() if name not in left_out}


def test_a_small_group_that_was_gathered_has_its_members_and_their_rows() -> None:
    with house_above(100) as house:
        crowd = gather(house, SIZE, 3, limit=100)
        crowd.say(crowd.online[0])
        crowd.deliver()

        found = {member["user"] for member in crowd.online[0].ok("group.members", {"conv": CONV})["members"]}
        inboxes = [house.connect(name, "d2").ok("sync.inbox")["conversations"] for name in NAMES]
    assert found == set(NAMES)
    assert [row["unread"] for (row,) in inboxes] == [0, *[1] * (SIZE - 1)]


def test_a_push_that_somebody_misses_is_noticed() -> None:
    with house_above(100) as house:
        crowd = gather(house, SIZE, 3, limit=100)
        crowd.say(crowd.online[0])
        crowd.deliver()
        crowd.check([])
        crowd.online[2].pushes.clear()

        with pytest.raises(SystemExit, match=NAMES[2]):
            crowd.check([])


def test_a_read_of_somebody_who_is_not_stored_is_noticed() -> None:
    with house_above(SIZE - 1) as house:
        crowd = gather(house, SIZE, 2, limit=SIZE - 1, whole=False)
        table, client = "ConversationTable", house.client("dynamodb")
        member, stranger = (keys.member(CONV, UserId(name)) for name in (NAMES[1], NAMES[4]))
        connections = {"ConnectionTable": {"Keys": [keys.connections(UserId(NAMES[0]))]}}
        with house.watched() as known:
            client.get_item(TableName=table, Key=member)
            client.transact_get_items(TransactItems=[{"Get": {"TableName": table, "Key": keys.head(CONV)}}])
            client.batch_get_item(RequestItems=connections)
        with house.watched() as not_stored:
            client.transact_get_items(TransactItems=[{"Get": {"TableName": table, "Key": stranger}}])
        with house.watched() as everybody:
            GroupStore(client, table).members_page(CONV, after=None, limit=None)

    assert read_in(known) == set(NAMES[:2])
    crowd.check(known)
    with pytest.raises(SystemExit, match=NAMES[4]):
        crowd.check(not_stored)
    with pytest.raises(SystemExit, match="all members"):
        crowd.check(everybody)
