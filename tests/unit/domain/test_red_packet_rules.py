"""Red packets: which may be made, what one is at any time, and shares that always add up."""

from __future__ import annotations

import random
import secrets
from dataclasses import replace
from typing import Final, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from im.domain.errors import BadRequest
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.red_packet import (
    UNSENT,
    Below,
    Kind,
    Packet,
    PacketId,
    PacketLimits,
    State,
    Terms,
    best_luck,
    check_limits,
    check_split,
    double_mean,
    packet_id,
    shuffled,
    split,
)

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
GROUP: Final = ConvId("g:a")
CREATED: Final = 1_795_253_400_000
LIMITS: Final = PacketLimits(shares=500, amount=10**12, life_ms=86_400_000)
HIGHEST: Final = 10**12


def packet(*claimers: UserId, state: State = "open", count: int = 3, expires: int = CREATED + 100) -> Packet:
    """One of 30 that was opened a moment after it was asked for."""
    terms = Terms(
        packet=PacketId("rp1"),
        conv=GROUP,
        sender=ALICE,
        kind="lucky",
        total=30,
        count=count,
        to=None,
        greeting="",
        cmid=Cmid("c1"),
        created=CREATED,
    )
    return Packet(terms, state, Seq(7), CREATED + 5, expires, claimers, tuple(range(len(claimers))))


# ---- which may be made -----------------------------------------------------------------------------------------------


def check_terms(kind: Kind, total: int, count: int, limits: PacketLimits) -> None:
    """As for a packet that is new."""
    check_split(kind, total, count)
    check_limits(total, count, limits)


@pytest.mark.parametrize(
    ("kind", "total", "count"),
    [
        ("lucky", 1, 1),
        ("lucky", 500, 500),
        ("lucky", HIGHEST, 500),
        ("lucky", 7, 2),
        ("equal", 500, 500),
        ("equal", 12, 4),
        ("equal", HIGHEST, 1),
        ("direct", 1, 1),
        ("direct", HIGHEST, 1),
    ],
)
def test_a_packet_within_its_limits_may_be_made(kind: Kind, total: int, count: int) -> None:
    check_terms(kind, total, count, LIMITS)


@pytest.mark.parametrize(
    ("kind", "total", "count", "path"),
    [
        ("lucky", 10, 0, "data.count"),
        ("lucky", 10, -1, "data.count"),
        ("lucky", 10_000, 501, "data.count"),
        ("equal", 1_002, 501, "data.count"),
        ("direct", 10, 2, "data.count"),
        ("direct", 10, 0, "data.count"),
        ("lucky", 4, 5, "data.total"),
        ("lucky", -5, 1, "data.total"),
        ("equal", 0, 1, "data.total"),
        ("direct", 0, 1, "data.total"),
        ("lucky", HIGHEST + 1, 2, "data.total"),
        ("direct", HIGHEST + 1, 1, "data.total"),
        ("equal", 10, 4, "data.total"),
    ],
)
def test_a_packet_that_breaks_a_rule_is_refused_by_the_field_that_does(
    kind: Kind, total: int, count: int, path: str
) -> None:
    with pytest.raises(BadRequest) as error:
        check_terms(kind, total, count, LIMITS)
    assert error.value.path == path


def test_the_limits_are_parameters() -> None:
    few = replace(LIMITS, shares=2, amount=9)

    check_terms("lucky", 9, 2, few)
    for total, count in ((10, 2), (9, 3)):
        with pytest.raises(BadRequest):
            check_terms("lucky", total, count, few)


# ---- what it is at any time ------------------------------------------------------------------------------------------


def test_a_packet_is_sold_out_with_its_last_share() -> None:
    assert not packet().sold_out
    assert not packet(ALICE, BOB).sold_out
    assert packet(ALICE, BOB, CAROL).sold_out


@pytest.mark.parametrize(
    ("now", "claimers", "state", "over"),
    [
        (CREATED + 99, (ALICE,), "open", False),
        (CREATED + 100, (ALICE,), "open", True),
        (CREATED + 50, (ALICE, BOB, CAROL), "open", True),
        (CREATED + 50, (ALICE,), "closed", True),
    ],
    ids=["open", "its time is up", "sold out", "closed"],
)
def test_a_packet_is_over_when_nobody_can_claim_it_any_more(
    now: int, claimers: tuple[UserId, ...], state: State, *, over: bool
) -> None:
    assert packet(*claimers, state=state).over(now) is over


def test_whoever_claims_has_the_share_of_their_place() -> None:
    claimed = packet(BOB, ALICE)

    assert (claimed.place_of(BOB), claimed.place_of(ALICE), claimed.place_of(CAROL)) == (0, 1, None)


def test_a_new_packet_has_no_message_and_no_claims() -> None:
    new = Packet(packet().terms, "new")

    assert (new.seq, new.claimers, new.times) == (UNSENT, (), ())


@pytest.mark.parametrize(
    ("shares", "place"), [((5,), 0), ((1, 7, 3), 1), ((3, 1, 9), 2), ((4, 9, 2, 9), 1), ((2, 2, 2), 0)]
)
def test_the_best_luck_is_the_first_of_the_largest_shares(shares: tuple[int, ...], place: int) -> None:
    assert best_luck(shares) == place


# ---- ids -------------------------------------------------------------------------------------------------------------


def test_a_packet_that_is_asked_for_twice_is_one_packet() -> None:
    assert packet_id(GROUP, ALICE, Cmid("c1")) == packet_id(GROUP, ALICE, Cmid("c1"))


ids = st.text("ab-_0", min_size=1, max_size=4)
askings = st.tuples(
    ids.map(lambda name: ConvId(f"g:{name}")), ids.map(UserId), st.text("ab#:0", min_size=1, max_size=5).map(Cmid)
)


@given(st.lists(askings, unique=True, min_size=2, max_size=20))
@example([(GROUP, UserId("a"), Cmid("b")), (GROUP, UserId("a"), Cmid("#b")), (GROUP, UserId("a"), Cmid("b#"))])
@example([(GROUP, UserId("a"), Cmid("bc")), (GROUP, UserId("ab"), Cmid("c")), (GROUP, UserId("b"), Cmid("bc"))])
@example([(ConvId("g:a"), UserId("bc"), Cmid("c")), (ConvId("g:ab"), UserId("c"), Cmid("c"))])
def test_what_is_asked_for_otherwise_is_another_packet(asked: list[tuple[ConvId, UserId, Cmid]]) -> None:
    made = {packet_id(*one) for one in asked}

    assert len(made) == len(asked)
    assert all(len(one) == 28 and one.startswith("rp") and one.isalnum() and one.islower() for one in made)


# ---- shares ----------------------------------------------------------------------------------------------------------


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """A total and a count: often just one for each share, and often more than anybody has."""
    count = draw(st.integers(1, 500))
    more = draw(st.one_of(st.integers(0, count), st.integers(0, HIGHEST - count)))
    return count + more, count


def lowest(_: int) -> int:
    return 0


def highest(bound: int) -> int:
    return bound - 1


dice = st.one_of(
    st.sampled_from([lowest, highest]), st.integers().map(lambda seed: cast("Below", random.Random(seed).randrange))
)


@given(sizes(), dice)
@example((1, 1), lowest)
@example((2, 2), highest)
@example((500, 500), highest)
@example((501, 500), highest)
@example((HIGHEST, 500), lowest)
@example((HIGHEST, 500), highest)
@example((HIGHEST, 2), highest)
def test_the_shares_of_any_lucky_packet_add_up_and_none_is_empty(size: tuple[int, int], below: Below) -> None:
    total, count = size

    shares = split("lucky", total, count, below)

    assert len(shares) == count
    assert sum(shares) == total
    assert min(shares) >= 1


@given(st.data())
def test_whatever_the_dice_show_there_is_enough_left_for_the_others(data: st.DataObject) -> None:
    total, count = data.draw(st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(n, 4 * n), st.just(n))))

    def below(bound: int) -> int:
        assert bound >= 1
        return data.draw(st.integers(0, bound - 1))

    shares = double_mean(total, count, below)

    left = total
    for still, share in zip(range(count, 0, -1), shares, strict=True):
        assert 1 <= share <= max(1, -(-2 * left // still) - 1) or still == 1
        left -= share
        assert left >= still - 1
    assert left == 0


@given(st.lists(st.integers(1, 9), max_size=30), st.integers())
def test_a_shuffle_keeps_all_shares(shares: list[int], seed: int) -> None:
    assert sorted(shuffled(shares, random.Random(seed).randrange)) == sorted(shares)


@given(st.integers(1, 500), st.integers(1, HIGHEST // 500), st.sampled_from(["equal", "direct"]))
def test_equal_shares_are_equal_and_take_no_dice(count: int, share: int, kind: Kind) -> None:
    count = 1 if kind == "direct" else count

    assert split(kind, share * count, count, no_dice) == (share,) * count


@pytest.mark.parametrize("total", [1, 7, HIGHEST])
def test_one_share_is_the_whole_packet(total: int) -> None:
    assert split("lucky", total, 1, no_dice) == (total,)


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_a_packet_of_1_a_share_gives_1_to_each(count: int) -> None:
    assert split("lucky", count, count, secrets.randbelow) == (1,) * count


def test_two_packets_with_the_same_terms_are_split_in_different_ways() -> None:
    one, other = (split("lucky", HIGHEST, 20, secrets.randbelow) for _ in range(2))

    assert one != other


def test_nothing_but_the_dice_decides() -> None:
    same = [split("lucky", 1_000, 20, random.Random(5).randrange) for _ in range(2)]

    assert same[0] == same[1]


def no_dice(bound: int) -> int:
    raise AssertionError(f"rolled for {bound}")
