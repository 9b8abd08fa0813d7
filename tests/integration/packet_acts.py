"""What may happen in a history of red packets, and how often: the strategies that Hypothesis draws from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from hypothesis import strategies as st

from tests.integration.packet_books import NEW_LIFE_MS
from tests.integration.packet_stage import KINDS, LIFE_MS, Fault

USERS: Final = ("alice", "bob", "carol", "dave", "erin")
HOME, CLUB = "g:home", "g:club"
CONVS: Final = (HOME, HOME, HOME, CLUB, CLUB, "d:alice:bob", "d:bob:carol")

Act = tuple[Any, ...]
"""Something that is done: the name of a method of the histories, and what it is told."""
Acts = list[Act]
Figures = tuple[str, int, int | None]
"""Of a packet: its kind, total and count."""
Order = list[tuple[int, int]]
"""Whose turn it is, and how many times they go on up to their next AWS call."""
Racing = tuple[tuple[str, int], int, Fault | None]
"""What overlaps with others, whose request it is, by which instance it is served, and what goes wrong."""

RIGHT: Final = (
    ("lucky", 500, 2),
    ("lucky", 650, 4),
    ("lucky", 100, 3),
    ("lucky", 7, 5),
    ("lucky", 2, 2),
    ("equal", 690, 3),
    ("equal", 90, 2),
    ("equal", 700, 1),
    ("direct", 50, None),
    ("direct", 600, 1),
)
WRONG: Final = (
    ("lucky", 2, 3),
    ("lucky", 701, 2),
    ("lucky", 100, 7),
    ("lucky", 100, None),
    ("lucky", 0, 1),
    ("lucky", 5, 0),
    ("equal", 100, 3),
    ("direct", 50, 2),
)

user = st.sampled_from(USERS)
party = st.integers(0, 9)
"""Somebody of a conversation; from 8 on anybody."""
which_packet = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3, 5))
"""From the newest one."""
figures = st.sampled_from((*RIGHT * 4, *WRONG))
cmid = st.sampled_from(("new", "new", "new", "new", "new", "new", "c0", "m0"))
instance = st.sampled_from((0, 1))
stopping = st.builds(
    lambda one, calls, others: [(one, calls), *((other, 20) for other in others)],
    st.integers(0, 2),
    st.integers(1, 11),
    st.lists(st.integers(0, 3), min_size=1, max_size=2),
)
"""One stops somewhere, others go on to their ends."""
order = st.one_of(
    stopping, stopping, st.lists(st.tuples(st.integers(0, 7), st.sampled_from((1, 1, 2, 3, 4, 20))), max_size=8)
)
fault = st.one_of(
    st.none(),
    st.none(),
    st.none(),
    st.builds(Fault, st.integers(1, 12), st.sampled_from((*KINDS, "death before", "death after"))),
)
edge = st.sampled_from((None, None, -5000, -2000, -1, 0, 0, 1, 2000, 5000))
"""When something happens, from the end of a packet on, milliseconds."""


def act(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Act]:
    """Something that may be done."""
    return st.tuples(st.just(name), *arguments)


CREATING = act("creates", party, st.sampled_from(CONVS), figures, user, cmid)
CLAIMING = act("claims", party, which_packet)
PEOPLE: Final = (
    CREATING,
    CREATING,
    CLAIMING,
    CLAIMING,
    act("crowds", which_packet, st.integers(0, 4), st.integers(2, 5)),
    act("repeats", which_packet, st.sampled_from((None, None, "kind", "total", "count", "to", "greeting"))),
    act("says", party, st.sampled_from(CONVS), st.sampled_from(("new", "new", "c0"))),
    act("says_the_same", which_packet),
    act("looks", user, which_packet),
)
SETTLING = act(
    "settles", st.sampled_from(("all", "all", "some", "newest", "again", "late", "slow", "message")), instance
)
CLOCKWORK: Final = (
    SETTLING,
    SETTLING,
    act("waits", st.sampled_from((1, 1000, 60_000, NEW_LIFE_MS, LIFE_MS))),
    act("waits_for", which_packet, st.sampled_from((-5000, -1, 0, 1, 5000))),
    act("sweeps", instance, st.sampled_from(("knows", "knows", "lags"))),
    CLAIMING,
)
ENDING: Final = (
    act("sweeps", instance, st.sampled_from(("knows", "lags"))),
    CLAIMING,
    CLAIMING,
    CLAIMING,
    act("waits", st.sampled_from((1, 2000, 4000))),
    act("settles", st.sampled_from(("all", "newest", "again", "slow")), instance),
)
COMING: Final = (
    act(
        "changes",
        st.sampled_from(("join", "join", "leave", "remove", "invite", "mute", "mute", "mute", "unmute")),
        user,
    ),
    act("recalls", which_packet),
    act("creates", party, st.just(CLUB), figures, user, cmid),
    act("creates", party, st.just(CLUB), figures, user, cmid),
    CLAIMING,
    act("crowds", which_packet, st.integers(0, 4), st.integers(2, 5)),
)
RACING = st.one_of(
    st.tuples(st.just("claim"), party),
    st.tuples(st.just("claim"), party),
    st.tuples(st.just("claim"), party),
    st.tuples(st.sampled_from(("create", "sweep", "sweep", "settle", "settle again")), st.just(0)),
)


def some(acts: Iterable[st.SearchStrategy[Act]], most: int) -> st.SearchStrategy[Acts]:
    """A few of these, one after the other."""
    return st.lists(st.one_of(*acts), min_size=1, max_size=most)


# ---- the rules -------------------------------------------------------------------------------------------------------

CLOCKS: Final = st.sampled_from(((0, 0), (0, 4000), (0, -4000), (3000, -3000), (-3000, 3000)))
"""How far those of the two instances are ahead."""
DISTURBED: Final = st.one_of(
    CREATING, CREATING, CLAIMING, SETTLING, SETTLING, act("sweeps", instance, st.just("knows"))
)
any_fault = st.builds(Fault, st.integers(1, 12), st.sampled_from(KINDS))
POPULAR: Final = act("creates", party, st.just(HOME), st.sampled_from(RIGHT[:3]), user, st.just("new"))
"""A packet that several can claim."""
before_the_end = st.sampled_from((-5000, -2000, -2000, -1, 0))
MEANWHILE: Final = st.sampled_from(("nothing", "nothing", "nothing", "comes again", "says", "leaves", "is muted"))
"""What the sender of an unfinished packet does."""
after_the_end = st.sampled_from((0, 0, 1, 5000, -1, -2000))
racing = st.tuples(RACING, instance, fault)
sweep_stops = st.one_of(st.builds(lambda calls: [(1, calls), (0, 20)], st.integers(1, 8)), order)
first_stops = st.one_of(st.builds(lambda calls: [(0, calls), (1, 20)], st.integers(1, 11)), order)
RIVALS: Final = st.lists(
    st.tuples(st.sampled_from(("same", "total", "one more", "another's", "another's")), instance, fault),
    min_size=1,
    max_size=2,
)
"""Requests for packets that come with one."""
