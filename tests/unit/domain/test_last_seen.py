"""How somebody looks to others, from their slots."""

from __future__ import annotations

import pytest

from im.domain.ids import ConnectionId, DeviceId
from im.domain.presence import LAST_SEEN_LIFE_MS, UNSEEN, Presence, presence_at
from im.domain.signin import SLOT_LIFE_MS, Slot

NOW = 1_763_717_400_000
LIVING, DEAD = NOW - SLOT_LIFE_MS + 1, NOW - SLOT_LIFE_MS


def slots(*opened: tuple[str, int]) -> list[Slot]:
    return [
        Slot(f"s{i}", ConnectionId(f"c{i}"), DeviceId(f"d{i}"), platform, since)
        for i, (platform, since) in enumerate(opened)
    ]


@pytest.mark.parametrize(
    ("opened", "platforms"),
    [
        ([("web", NOW)], ("web",)),
        ([("web", LIVING)], ("web",)),
        ([("web", NOW), ("ios", NOW), ("web", LIVING)], ("ios", "web")),
        ([("web", NOW), ("ios", DEAD)], ("web",)),
        ([("web", NOW + 1000)], ("web",)),  # another clock
    ],
)
@pytest.mark.parametrize("last_end", [None, NOW, DEAD])
def test_a_slot_that_lives_is_online(
    opened: list[tuple[str, int]], platforms: tuple[str, ...], last_end: int | None
) -> None:
    assert presence_at(NOW, slots(*opened), last_end) == Presence(online=True, platforms=platforms, last_seen=None)


@pytest.mark.parametrize(
    ("opened", "last_end", "last_seen"),
    [
        ([], NOW, NOW),
        ([], NOW - LAST_SEEN_LIFE_MS + 1, NOW - LAST_SEEN_LIFE_MS + 1),
        ([("web", DEAD)], None, DEAD),
        ([("web", DEAD - 1), ("ios", DEAD)], None, DEAD),
        ([("web", DEAD)], DEAD + 1, DEAD + 1),
        ([("web", DEAD)], DEAD - 1, DEAD),
    ],
)
def test_who_is_not_was_there_at_the_newest_time_that_is_known(
    opened: list[tuple[str, int]], last_end: int | None, last_seen: int
) -> None:
    assert presence_at(NOW, slots(*opened), last_end) == Presence(online=False, platforms=(), last_seen=last_seen)


@pytest.mark.parametrize(
    ("opened", "last_end"),
    [
        ([], None),
        ([], NOW - LAST_SEEN_LIFE_MS),
        ([("web", NOW - LAST_SEEN_LIFE_MS)], None),
        ([("web", NOW - LAST_SEEN_LIFE_MS)], 0),
    ],
)
def test_who_was_never_there_or_long_ago_is_not_known(opened: list[tuple[str, int]], last_end: int | None) -> None:
    assert presence_at(NOW, slots(*opened), last_end) == UNSEEN
