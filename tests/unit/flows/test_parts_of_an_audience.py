"""How the members of a large group are cut into parts that are pushed to by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.ids import UserId
from im.flows.broadcast import PART_MEMBERS, parts_for
from im.store.audience import SHARDS, shard_of


@pytest.mark.parametrize(
    ("members", "parts"),
    [
        (0, 1),
        (1, 1),
        (PART_MEMBERS, 1),
        (PART_MEMBERS + 1, 2),
        (2 * PART_MEMBERS, 2),
        (2 * PART_MEMBERS + 1, 4),
        (4 * PART_MEMBERS, 4),
        (4 * PART_MEMBERS + 1, 8),
        (8 * PART_MEMBERS, 8),
        (8 * PART_MEMBERS + 1, 16),
        (16 * PART_MEMBERS, 16),
        (100_000, 16),
        (10**9, 16),
    ],
)
def test_a_part_is_for_no_more_members_than_it_may_while_there_are_shards(members: int, parts: int) -> None:
    assert parts_for(members) == parts


@given(st.integers(0, 10**6))
def test_every_shard_is_in_one_part_and_all_parts_have_as_many(members: int) -> None:
    of = parts_for(members)
    parts = [list(range(number, SHARDS, of)) for number in range(of)]

    assert sorted(shard for part in parts for shard in part) == list(range(SHARDS))
    assert len({len(part) for part in parts}) == 1


def test_users_are_spread_over_all_shards_and_stay_where_they_are() -> None:
    """Their items have the shard in their key: another rule would lose them."""
    users = [UserId(f"user-{i}") for i in range(1600)]
    sizes = [sum(shard_of(user) == shard for user in users) for shard in range(SHARDS)]

    assert sum(sizes) == len(users)
    assert all(50 <= size <= 150 for size in sizes)
    assert [shard_of(UserId(name)) for name in ("alice", "bob", "carol")] == [7, 0, 3]
