"""Who may do what in a group, what change follows, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain import group_rules as rules
from im.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ImError,
    Muted,
    NotFound,
    NotMember,
    TooLarge,
    TooManyGroups,
)
from im.domain.group import REQUEST_LIFE_MS, WHOLE, FormerMember, GroupLimits, JoinRequest, Member
from im.domain.group_rules import EVERYBODY, MAX_PER_CHANGE, Change, Group
from im.domain.ids import Seq, UserId
from tests.unit.heads import head_of

NOW = 1_795_253_400_000
LIMITS = GroupLimits(members=10, groups=3, admins=2, name=64, at_once=200, large_above=200)

ALICE, AMY, ADAM, CAROL, DAVE, ERIN, MALLORY = map(UserId, ("alice", "amy", "adam", "carol", "dave", "erin", "mallory"))
"""The owner, two admins, two members, one who asks to be let in, one who has nothing to do with it."""


def user(name: str) -> UserId:
    return UserId(name)


def member(name: str, muted_until: int = 0) -> Member:
    return Member(user(name), joined_at=1, joined_seq=Seq(1), spans=WHOLE, muted_until=muted_until)


def group(*, muted: dict[str, int] | None = None, members: int = 5, **head: Any) -> Group:
    """The group of five, with `head` as it is not usually, and more members until there are `members`."""
    names = [ALICE, AMY, ADAM, CAROL, DAVE, *(f"u{i:03d}" for i in range(members - 5))][:members]
    usual = {"admins": (AMY, ADAM), "member_count": members, "epoch": Seq(7)}
    return Group(
        head=head_of(**usual | head),
        members={user(name): member(name, (muted or {}).get(name, 0)) for name in names},
        requests={ERIN: JoinRequest(ERIN, "", NOW - 1)},
    )


def alone(**head: Any) -> Group:
    return group(members=1, admins=(), **head)


def done(change: Change | None) -> Change:
    assert change is not None
    return change


Act = Callable[[Group, UserId], Change | None]
"""What somebody does, all else being good."""

ACTS: dict[str, Act] = {
    "invite": lambda g, who: rules.invite(g, who, [MALLORY], LIMITS),
    "accept": lambda g, who: rules.accept(g, who, ERIN, LIMITS, NOW),
    "remove": lambda g, who: rules.remove(g, who, [DAVE]),
    "leave": rules.leave,
    "make admin": lambda g, who: rules.set_role(g, who, CAROL, "admin", replace(LIMITS, admins=9)),
    "make member": lambda g, who: rules.set_role(g, who, ADAM, "member", LIMITS),
    "transfer": lambda g, who: rules.transfer(g, who, CAROL),
    "mute": lambda g, who: rules.mute(g, who, DAVE, NOW),
    "unmute": lambda g, who: rules.mute(replace(g, members={**g.members, DAVE: member(DAVE, NOW)}), who, DAVE, 0),
    "mute all": lambda g, who: rules.mute_all(g, who, NOW),
    "update": lambda g, who: rules.update(g, who, {"name": "B"}),
    "dissolve": rules.dissolve,
}

ALL, ADMINS, OWNER = {ALICE, AMY, CAROL}, {ALICE, AMY}, {ALICE}
ALLOWED: dict[str, set[UserId]] = {
    "invite": ALL,
    "accept": ADMINS,
    "remove": ADMINS,
    "leave": {AMY, CAROL},
    "make admin": OWNER,
    "make member": OWNER,
    "transfer": OWNER,
    "mute": ADMINS,
    "unmute": ADMINS,
    "mute all": ADMINS,
    "update": ADMINS,
    "dissolve": OWNER,
}


# ---- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", sorted(ALL))
@pytest.mark.parametrize("act", ACTS)
def test_everybody_may_do_what_their_role_allows_and_nothing_else(act: str, who: UserId) -> None:
    if who in ALLOWED[act]:
        assert ACTS[act](group(), who) is not None
        return
    with pytest.raises((Forbidden, Conflict)):
        ACTS[act](group(), who)


@pytest.mark.parametrize("who", [ERIN, MALLORY])
@pytest.mark.parametrize("act", ACTS)
def test_who_is_no_member_may_do_nothing(act: str, who: UserId) -> None:
    with pytest.raises(NotMember):
        ACTS[act](group(who_invites="members"), who)


@pytest.mark.parametrize("who", [*sorted(ALL), MALLORY])
@pytest.mark.parametrize("act", ACTS)
def test_nobody_does_anything_in_a_dissolved_group(act: str, who: UserId) -> None:
    ended = group(dissolved=True)
    if (act, who) in {("leave", ALICE), ("leave", AMY), ("leave", CAROL), ("dissolve", ALICE)}:
        assert ACTS[act](ended, who) is None, "what is done already is no error"
        return
    with pytest.raises(NotMember):
        ACTS[act](ended, who)


def test_a_role_is_what_the_head_says_of_a_member_and_nothing_without_one() -> None:
    assert [group().role(who) for who in (ALICE, AMY, CAROL)] == ["owner", "admin", "member"]
    with pytest.raises(NotMember):
        group(owner=MALLORY).role(MALLORY)
    with pytest.raises(NotMember):
        group(dissolved=True).role(ALICE)


# ---- sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "own_mute", "group_mute", "refused"),
    [
        (CAROL, 0, 0, None),
        (CAROL, NOW, 0, None),  # over at this very moment
        (CAROL, NOW + 1, 0, 1),
        (CAROL, 0, NOW, None),
        (CAROL, 0, NOW + 900, 900),
        (CAROL, NOW + 5, NOW + 900, 900),
        (CAROL, NOW + 900, NOW + 5, 900),
        (AMY, 0, NOW + 900, None),  # that is for members
        (AMY, NOW + 1, NOW + 900, 1),
        (AMY, NOW, 0, None),
        (ALICE, NOW + 1, NOW + 900, None),
    ],
)
def test_who_is_muted_may_not_send_before_it_is_over(
    who: UserId, own_mute: int, group_mute: int, refused: int | None
) -> None:
    head, me = group(muted_until=group_mute).head, member(who, own_mute)
    if refused is None:
        rules.check_may_send(head, me, (), NOW)
        return
    with pytest.raises(Muted) as error:
        rules.check_may_send(head, me, (), NOW)
    assert error.value.retry_after_ms == refused


def test_who_is_muted_hears_whether_it_is_them_alone() -> None:
    with pytest.raises(Muted, match=r"^you may not"):
        rules.check_may_send(group(muted_until=NOW + 5).head, member(CAROL, NOW + 9), (), NOW)
    with pytest.raises(Muted, match=r"^members who are no admins"):
        rules.check_may_send(group(muted_until=NOW + 9).head, member(CAROL, NOW + 5), (), NOW)


@pytest.mark.parametrize(
    ("rule", "who", "may"),
    [
        ("admins", ALICE, True),
        ("admins", AMY, True),
        ("admins", CAROL, False),
        ("members", ALICE, True),
        ("members", AMY, True),
        ("members", CAROL, True),
    ],
)
def test_everybody_is_mentioned_by_those_who_may(rule: str, who: UserId, *, may: bool) -> None:
    head = group(who_mentions_all=rule).head
    rules.check_may_send(head, member(who), (DAVE, CAROL), NOW)
    if may:
        rules.check_may_send(head, member(who), (EVERYBODY,), NOW)
        return
    with pytest.raises(Forbidden):
        rules.check_may_send(head, member(who), (EVERYBODY,), NOW)


def test_nobody_sends_to_a_dissolved_group() -> None:
    for who in (ALICE, AMY, CAROL):
        with pytest.raises(NotMember):
            rules.check_may_send(group(dissolved=True).head, member(who), (), NOW)


@pytest.mark.parametrize(
    ("who", "refusal"), [(ALICE, None), (AMY, None), (CAROL, Forbidden), (ERIN, NotMember), (MALLORY, NotMember)]
)
def test_requests_to_join_are_for_the_owner_and_admins(who: UserId, refusal: type[ImError] | None) -> None:
    if refusal is None:
        rules.check_may_decide(group(), who)
        return
    with pytest.raises(refusal):
        rules.check_may_decide(group(), who)


# ---- coming ----------------------------------------------------------------------------------------------------------


def test_an_invitation_adds_those_who_are_not_there_each_once_in_their_order() -> None:
    change = done(rules.invite(group(), CAROL, [MALLORY, DAVE, ERIN, MALLORY, CAROL], LIMITS))

    assert change == Change(
        kind="members",
        body={"added": [MALLORY, ERIN], "removed": [], "by": CAROL},
        head=replace(group().head, member_count=7),
        joins=(MALLORY, ERIN),
    )


def test_an_invitation_of_members_alone_changes_nothing() -> None:
    assert rules.invite(group(), CAROL, [CAROL, DAVE, ALICE], LIMITS) is None


@pytest.mark.parametrize(("who", "may"), [(ALICE, True), (AMY, True), (CAROL, False)])
def test_a_group_may_leave_invitations_to_its_admins(who: UserId, *, may: bool) -> None:
    closed = group(who_invites="admins")
    if may:
        assert done(rules.invite(closed, who, [MALLORY], LIMITS)).joins == (MALLORY,)
        return
    with pytest.raises(Forbidden):
        rules.invite(closed, who, [MALLORY], LIMITS)


@pytest.mark.parametrize(("new", "fits"), [(5, True), (6, False), (60, False)])
def test_a_group_has_no_more_members_than_it_may(new: int, *, fits: bool) -> None:
    users = [user(f"new{i}") for i in range(new)]
    if fits:
        assert done(rules.invite(group(), ALICE, users, LIMITS)).head.member_count == LIMITS.members
        return
    with pytest.raises(TooLarge) as error:
        rules.invite(group(), ALICE, users, LIMITS)
    assert (error.value.what, error.value.size, error.value.limit) == ("members", 5 + new, 10)


def test_members_who_are_named_again_take_no_room() -> None:
    full = group(members=9)

    assert done(rules.invite(full, ALICE, [CAROL, DAVE, MALLORY, MALLORY], LIMITS)).joins == (MALLORY,)


@pytest.mark.parametrize(("count", "fits"), [(0, True), (2, True), (3, False), (4, False)])
@pytest.mark.parametrize("act", ["invite", "accept", "join"])
def test_nobody_gets_into_more_groups_than_they_may(act: str, count: int, *, fits: bool) -> None:
    busy = replace(group(join_mode="open"), groups={ERIN: count})
    acts: dict[str, Callable[[], Change | None]] = {
        "invite": lambda: rules.invite(busy, ALICE, [MALLORY, ERIN], LIMITS),
        "accept": lambda: rules.accept(busy, ALICE, ERIN, LIMITS, NOW),
        "join": lambda: rules.join(busy, ERIN, LIMITS),
    }
    if fits:
        assert ERIN in done(acts[act]()).joins
        return
    with pytest.raises(TooManyGroups, match="groups of erin") as error:
        acts[act]()
    assert (error.value.user, error.value.size, error.value.limit) == (ERIN, count + 1, 3)


def test_who_is_in_all_the_groups_they_may_stays_in_this_one() -> None:
    busy = replace(group(), groups={DAVE: 3})

    assert rules.invite(busy, ALICE, [DAVE], LIMITS) is None


def test_one_change_adds_as_many_as_a_transaction_takes_and_the_limits_hold_for_all() -> None:
    users = [user(f"new{i:03d}") for i in range(MAX_PER_CHANGE + 3)]
    roomy = replace(LIMITS, members=5 + len(users))

    first = done(rules.invite(group(), ALICE, users, roomy))

    assert first.joins == tuple(users[:MAX_PER_CHANGE])
    assert first.body["added"] == users[:MAX_PER_CHANGE]
    assert first.head.member_count == 5 + MAX_PER_CHANGE
    with pytest.raises(TooLarge):
        rules.invite(group(), ALICE, users, replace(roomy, members=roomy.members - 1))
    with pytest.raises(TooLarge):
        rules.invite(replace(group(), groups={users[-1]: 3}), ALICE, users, roomy)


def test_who_comes_goes_and_comes_takes_four_items_of_a_transaction() -> None:
    assert 4 * MAX_PER_CHANGE + 2 <= 100


@pytest.mark.parametrize("mode", ["invite", "approval"])
def test_nobody_comes_by_themselves_into_a_group_that_is_not_open(mode: str) -> None:
    for who in (MALLORY, ERIN):
        with pytest.raises(Forbidden):
            rules.join(group(join_mode=mode), who, LIMITS)


@pytest.mark.parametrize("mode", ["open", "invite", "approval"])
def test_joining_again_changes_nothing(mode: str) -> None:
    assert rules.join(group(join_mode=mode), CAROL, LIMITS) is None


def test_anybody_comes_into_an_open_group_by_themselves() -> None:
    change = done(rules.join(group(join_mode="open", who_invites="admins"), MALLORY, LIMITS))

    assert change.body == {"added": [MALLORY], "removed": [], "by": MALLORY}
    assert (change.joins, change.head.member_count) == ((MALLORY,), 6)


def test_an_open_group_has_no_more_members_than_it_may_either() -> None:
    with pytest.raises(TooLarge):
        rules.join(group(join_mode="open", members=10), MALLORY, LIMITS)


@pytest.mark.parametrize("who", [ALICE, CAROL, MALLORY])
def test_a_group_that_is_dissolved_is_not_there_to_be_joined(who: UserId) -> None:
    with pytest.raises(NotFound):
        rules.join(group(join_mode="open", dissolved=True), who, LIMITS)


def test_who_asked_is_let_in_in_the_name_of_who_decided() -> None:
    change = done(rules.accept(group(), AMY, ERIN, LIMITS, NOW))

    assert change.body == {"added": [ERIN], "removed": [], "by": AMY}
    assert change.joins == (ERIN,)


def test_who_did_not_ask_is_not_let_in() -> None:
    with pytest.raises(NotFound, match="mallory"):
        rules.accept(group(), AMY, MALLORY, LIMITS, NOW)


@pytest.mark.parametrize(("age", "waits"), [(REQUEST_LIFE_MS - 1, True), (REQUEST_LIFE_MS, False)])
def test_who_asked_too_long_ago_is_not_let_in(age: int, *, waits: bool) -> None:
    asking = replace(group(), requests={ERIN: JoinRequest(ERIN, "", NOW - age)})
    if waits:
        assert done(rules.accept(asking, AMY, ERIN, LIMITS, NOW)).joins == (ERIN,)
        return
    with pytest.raises(NotFound):
        rules.accept(asking, AMY, ERIN, LIMITS, NOW)


def test_who_has_been_let_in_is_let_in_again_without_a_change() -> None:
    assert rules.accept(group(), AMY, DAVE, LIMITS, NOW) is None


# ---- a founding of many ----------------------------------------------------------------------------------------------


def founding(pending: int, **more: Any) -> Group:
    return group(pending=tuple(user(f"f{i:03d}") for i in range(pending)), **more)


ROOMY = replace(LIMITS, members=1000)


def test_a_founding_goes_on_with_the_next_founders_and_names_the_rest() -> None:
    change = done(rules.continue_founding(founding(MAX_PER_CHANGE + 2), ROOMY))

    assert change.joins == tuple(user(f"f{i:03d}") for i in range(MAX_PER_CHANGE))
    assert change.body == {"added": list(change.joins), "removed": [], "by": ALICE}
    assert change.head.pending == (f"f{MAX_PER_CHANGE:03d}", f"f{MAX_PER_CHANGE + 1:03d}")
    assert change.head.member_count == 5 + MAX_PER_CHANGE


def test_a_founding_goes_on_in_the_name_of_who_began_it() -> None:
    begun = founding(1, owner=CAROL, created_by=ALICE)

    assert done(rules.continue_founding(begun, ROOMY)).body["by"] == ALICE


def test_the_last_founders_leave_nobody_pending() -> None:
    assert done(rules.continue_founding(founding(3), ROOMY)).head.pending == ()


def test_a_founding_leaves_out_who_is_in_it_already_who_has_left_and_who_is_in_too_many_groups() -> None:
    begun = founding(5)
    begun = replace(
        begun,
        members={**begun.members, user("f001"): member("f001")},
        former={user("f004"): FormerMember(WHOLE, 0)},
        groups={user("f002"): 3},
    )

    change = done(rules.continue_founding(begun, ROOMY))

    assert change.joins == ("f000", "f003")
    assert change.head.pending == ()


def test_a_founding_adds_no_more_than_there_is_room_for() -> None:
    change = done(rules.continue_founding(founding(8), LIMITS))

    assert len(change.joins) == 5
    assert change.head.member_count == LIMITS.members


@pytest.mark.parametrize(
    "over",
    [
        founding(0),
        founding(3, dissolved=True),
        founding(3, members=10),
        founding(3, members=12),
        group(pending=(CAROL, DAVE)),
        replace(founding(1), groups={user("f000"): 3}),
        replace(founding(1), former={user("f000"): FormerMember(WHOLE, 0)}),
    ],
    ids=["all are in", "dissolved", "full", "a lower limit since then", "invited", "in too many groups", "left"],
)
def test_a_founding_ends_when_nobody_can_be_added(over: Group) -> None:
    assert rules.continue_founding(over, LIMITS) is None


# ---- going -----------------------------------------------------------------------------------------------------------


def test_members_are_removed_each_once_and_who_is_none_is_left_out() -> None:
    change = done(rules.remove(group(), AMY, [DAVE, MALLORY, DAVE, CAROL]))

    assert change.body == {"added": [], "removed": [DAVE, CAROL], "by": AMY}
    assert (change.leaves, change.head.member_count) == ((DAVE, CAROL), 3)
    assert change.head.admins == (AMY, ADAM)


def test_removing_who_is_no_member_changes_nothing() -> None:
    assert rules.remove(group(), AMY, [MALLORY, ERIN]) is None


@pytest.mark.parametrize("users", [[ADAM], [DAVE, ADAM], [ALICE], [MALLORY, ALICE]])
def test_admins_remove_no_admins_and_not_the_owner(users: list[UserId]) -> None:
    with pytest.raises(Forbidden):
        rules.remove(group(), AMY, users)


def test_the_owner_removes_admins_who_are_none_then() -> None:
    change = done(rules.remove(group(), ALICE, [ADAM, DAVE]))

    assert change.head.admins == (AMY,)
    assert change.leaves == (ADAM, DAVE)


@pytest.mark.parametrize("who", [ALICE, AMY, CAROL])
def test_nobody_removes_themselves(who: UserId) -> None:
    with pytest.raises(BadRequest) as error:
        rules.remove(group(), who, [DAVE, who])
    assert error.value.path == "data.users"


def test_one_change_removes_as_many_as_a_transaction_takes() -> None:
    crowd = group(members=MAX_PER_CHANGE + 10)
    others = [name for name in crowd.members if name != ALICE]

    assert done(rules.remove(crowd, ALICE, others)).leaves == tuple(others[:MAX_PER_CHANGE])


def test_an_admin_who_removes_many_removes_none_when_one_of_them_is_an_admin() -> None:
    crowd = group(members=MAX_PER_CHANGE + 10)
    others = [name for name in crowd.members if name not in {ALICE, AMY, ADAM}]

    with pytest.raises(Forbidden):
        rules.remove(crowd, AMY, [*others, ADAM])


@pytest.mark.parametrize(("who", "admins"), [(CAROL, (AMY, ADAM)), (AMY, (ADAM,))])
def test_who_leaves_is_gone_and_no_admin(who: UserId, admins: tuple[UserId, ...]) -> None:
    change = done(rules.leave(group(), who))

    assert change.body == {"added": [], "removed": [who], "by": who}
    assert (change.leaves, change.head.member_count, change.head.admins) == ((who,), 4, admins)
    assert not change.head.dissolved


def test_the_owner_of_others_transfers_the_group_before_leaving_it() -> None:
    for members in (2, 5):
        with pytest.raises(Conflict, match="transfer"):
            rules.leave(group(members=members), ALICE)


def test_the_last_one_who_leaves_dissolves_the_group() -> None:
    change = done(rules.leave(alone(), ALICE))

    assert (change.head.dissolved, change.head.member_count, change.leaves) == (True, 0, (ALICE,))
    assert change.body == {"added": [], "removed": [ALICE], "by": ALICE, "dissolved": True}


def test_leaving_again_changes_nothing() -> None:
    left = replace(group(), former={MALLORY: FormerMember(WHOLE, 0)})

    assert rules.leave(left, MALLORY) is None


def test_who_came_back_can_leave_again() -> None:
    back = replace(group(), former={CAROL: FormerMember(WHOLE, 0)})

    assert done(rules.leave(back, CAROL)).leaves == (CAROL,)


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_the_owner_makes_admins_and_plain_members() -> None:
    made = done(rules.set_role(group(admins=(AMY,)), ALICE, CAROL, "admin", LIMITS))
    unmade = done(rules.set_role(group(), ALICE, AMY, "member", LIMITS))

    assert made.head.admins == (AMY, CAROL)
    assert made.body == {"added": [], "removed": [], "by": ALICE, "roles": {CAROL: "admin"}}
    assert unmade.head.admins == (ADAM,)
    assert unmade.body["roles"] == {AMY: "member"}
    assert (made.joins, made.leaves, made.head.member_count) == ((), (), 5)


@pytest.mark.parametrize(("whom", "role"), [(AMY, "admin"), (CAROL, "member")])
def test_a_role_that_somebody_has_changes_nothing(whom: UserId, role: Any) -> None:
    assert rules.set_role(group(), ALICE, whom, role, replace(LIMITS, admins=0)) is None


def test_a_group_has_no_more_admins_than_it_may() -> None:
    with pytest.raises(TooLarge) as error:
        rules.set_role(group(), ALICE, CAROL, "admin", LIMITS)
    assert (error.value.what, error.value.size, error.value.limit) == ("admins", 3, 2)


@pytest.mark.parametrize("role", ["admin", "member"])
def test_the_owner_does_not_become_less_by_a_role(role: Any) -> None:
    with pytest.raises(BadRequest) as error:
        rules.set_role(group(), ALICE, ALICE, role, LIMITS)
    assert error.value.path == "data.user"


@pytest.mark.parametrize(
    "act",
    [
        lambda who: rules.set_role(group(), ALICE, who, "admin", LIMITS),
        lambda who: rules.transfer(group(), ALICE, who),
        lambda who: rules.mute(group(), ALICE, who, NOW),
    ],
    ids=["role", "transfer", "mute"],
)
def test_who_is_no_member_has_no_role_and_no_mute(act: Callable[[UserId], Change | None]) -> None:
    for who in (MALLORY, ERIN):
        with pytest.raises(NotFound):
            act(who)


@pytest.mark.parametrize(("heir", "admins"), [(CAROL, (AMY, ADAM)), (AMY, (ADAM,))])
def test_a_transfer_makes_the_other_the_owner_and_oneself_a_member(heir: UserId, admins: tuple[UserId, ...]) -> None:
    change = done(rules.transfer(group(), ALICE, heir))

    assert (change.head.owner, change.head.admins) == (heir, admins)
    assert change.head.role_of(ALICE) == "member"
    assert change.body == {"added": [], "removed": [], "by": ALICE, "roles": {heir: "owner", ALICE: "member"}}


def test_a_transfer_that_is_done_changes_nothing() -> None:
    assert rules.transfer(group(owner=CAROL), ALICE, CAROL) is None


def test_a_transfer_to_oneself_is_none() -> None:
    with pytest.raises(BadRequest):
        rules.transfer(group(), ALICE, ALICE)


def test_who_was_the_owner_does_not_transfer_to_others() -> None:
    with pytest.raises(Forbidden):
        rules.transfer(group(owner=CAROL), ALICE, DAVE)


# ---- mutes -----------------------------------------------------------------------------------------------------------


def test_a_member_is_muted_and_the_entry_says_until_when() -> None:
    change = done(rules.mute(group(), AMY, CAROL, NOW))

    assert change.body == {"added": [], "removed": [], "by": AMY, "muted": {CAROL: NOW}}
    assert (change.muted, change.head, change.kind) == ({CAROL: NOW}, group().head, "members")


@pytest.mark.parametrize("until", [0, NOW])
def test_a_mute_that_is_so_already_changes_nothing(until: int) -> None:
    assert rules.mute(group(muted={CAROL: until}), AMY, CAROL, until) is None
    assert rules.mute_all(group(muted_until=until), AMY, until) is None


@pytest.mark.parametrize(("who", "whom"), [(AMY, ALICE), (AMY, ADAM)])
def test_admins_mute_members_alone(who: UserId, whom: UserId) -> None:
    for until in (NOW, 0):
        with pytest.raises(Forbidden):
            rules.mute(group(), who, whom, until)


def test_the_owner_mutes_admins_too() -> None:
    assert done(rules.mute(group(), ALICE, AMY, NOW)).muted == {AMY: NOW}


@pytest.mark.parametrize("who", [ALICE, AMY])
def test_nobody_mutes_themselves(who: UserId) -> None:
    with pytest.raises(BadRequest) as error:
        rules.mute(group(), who, who, NOW)
    assert error.value.path == "data.user"


@pytest.mark.parametrize(("before", "until"), [(0, NOW), (NOW, 0), (NOW, NOW + 5)])
def test_all_are_muted_and_unmuted_by_a_change_of_the_group(before: int, until: int) -> None:
    change = done(rules.mute_all(group(muted_until=before), AMY, until))

    assert change == Change("profile", {"muted_until": until}, replace(group().head, muted_until=until))


# ---- what it is ------------------------------------------------------------------------------------------------------

NEW: dict[str, Any] = {
    "name": "B",
    "notice": "n",
    "avatar": "https://pictures.example/2",
    "history": True,
    "join_mode": "open",
    "who_invites": "admins",
    "who_mentions_all": "members",
}


@pytest.mark.parametrize("name", NEW)
def test_one_field_changes_and_the_entry_tells_it_alone(name: str) -> None:
    change = done(rules.update(group(), AMY, {name: NEW[name]}))

    assert change == Change("profile", {name: NEW[name]}, replace(group().head, **{name: NEW[name]}))


def test_fields_that_have_their_value_already_are_not_told_again() -> None:
    change = done(rules.update(group(), AMY, {"name": "A", "notice": "n", "history": False}))

    assert change.body == {"notice": "n"}
    assert rules.update(group(), AMY, {"name": "A", "history": False, "custom": "{}"}) is None


def test_custom_is_text_in_the_head_and_an_object_in_the_entry() -> None:
    change = done(rules.update(group(), AMY, {"custom": '{"team":7}'}))

    assert change.head.custom == '{"team":7}'
    assert change.body == {"custom": {"team": 7}}


def test_a_dissolved_group_keeps_its_members_for_what_they_have_seen() -> None:
    change = done(rules.dissolve(group(pending=(MALLORY,)), ALICE))

    assert (change.kind, change.body, change.leaves) == ("profile", {"dissolved": True}, ())
    assert (change.head.dissolved, change.head.pending, change.head.member_count) == (True, (), 5)


def test_who_did_not_own_a_dissolved_group_has_not_dissolved_it() -> None:
    for who in (AMY, CAROL, MALLORY):
        with pytest.raises(NotMember):
            rules.dissolve(group(dissolved=True), who)


# ---- whatever people do ----------------------------------------------------------------------------------------------

NAMES = [user(name) for name in "abcdefgh"]
SMALL = GroupLimits(members=6, groups=9, admins=2, name=64, at_once=200, large_above=200)
names = st.sampled_from(NAMES)
some = st.lists(names, min_size=1, max_size=4)
acts = st.one_of(
    st.builds(lambda users: lambda g, who: rules.invite(g, who, users, SMALL), some),
    st.just(lambda g, who: rules.join(g, who, SMALL)),
    st.builds(lambda whom: lambda g, who: rules.accept(g, who, whom, SMALL, NOW), names),
    st.builds(lambda users: lambda g, who: rules.remove(g, who, users), some),
    st.just(rules.leave),
    st.builds(
        lambda whom, role: lambda g, who: rules.set_role(g, who, whom, role, SMALL),
        names,
        st.sampled_from(["admin", "member"]),
    ),
    st.builds(lambda whom: lambda g, who: rules.transfer(g, who, whom), names),
    st.builds(lambda whom, until: lambda g, who: rules.mute(g, who, whom, until), names, st.integers(0, 2)),
    st.builds(lambda until: lambda g, who: rules.mute_all(g, who, until), st.integers(0, 2)),
    st.builds(
        lambda mode, who_invites: lambda g, who: rules.update(g, who, {"join_mode": mode, "who_invites": who_invites}),
        st.sampled_from(["open", "approval", "invite"]),
        st.sampled_from(["members", "admins"]),
    ),
    st.just(rules.dissolve),
)


def made(before: Group, change: Change) -> Group:
    """The group after `change`, as the store makes it."""
    members = {name: m for name, m in before.members.items() if name not in change.leaves}
    members |= {name: member(name) for name in change.joins}
    members |= {name: replace(members[name], muted_until=until) for name, until in change.muted.items()}
    former = {**before.former, **{name: FormerMember(WHOLE, 0) for name in change.leaves}}
    return Group(replace(change.head, epoch=Seq(before.head.epoch + 1)), members, former, before.requests)


@given(st.lists(st.tuples(names, acts), max_size=40))
def test_whatever_people_do_a_group_stays_a_group(steps: list[tuple[UserId, Act]]) -> None:
    """It has an owner and admins who are members, and as many members as it says; its entries say what was done."""
    now = Group(
        replace(group().head, owner=NAMES[0], admins=(), member_count=1, join_mode="open"),
        {NAMES[0]: member(NAMES[0])},
        requests={name: JoinRequest(name, "", NOW) for name in NAMES[5:]},
    )
    for who, act in steps:
        try:
            change = act(now, who)
        except ImError:
            continue
        if change is None:
            continue
        assert not now.head.dissolved
        assert who in now.members or change.joins == (who,)
        if change.kind == "members":
            assert change.body["by"] == who
            assert (tuple(change.body["added"]), tuple(change.body["removed"])) == (change.joins, change.leaves)
        assert not set(change.joins) & set(now.members)
        assert set(change.leaves) <= set(now.members)
        assert len(set(change.joins)) + len(set(change.leaves)) <= MAX_PER_CHANGE
        assert change.head.epoch == now.head.epoch, "only the store knows it"
        json.dumps(change.body)

        before, now = now, made(now, change)

        assert now != before
        assert act_is_done(act, now, who)
        head = now.head
        assert head.member_count == len(now.members) <= SMALL.members
        assert set(head.admins) <= set(now.members)
        assert len(set(head.admins)) == len(head.admins) <= SMALL.admins
        assert head.owner not in head.admins
        assert head.owner in now.members or head.dissolved


def act_is_done(act: Act, now: Group, who: UserId) -> bool:
    """Whether the same again changes nothing, or may not be done any more."""
    try:
        return act(now, who) is None
    except ImError:
        return True
