"""Who may do what in a group, and what change follows. One function a request.

Each looks at the group as it is and returns the Change that makes it as asked, or None when it is so already (a
repeated request is no error). What may not be is raised. Nothing here is stored: flows/changes.py does that, and asks
again when the group has changed in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from im.domain.errors import BadRequest, Conflict, Forbidden, Muted, NotFound, NotMember, TooLarge, TooManyGroups
from im.domain.group import FormerMember, GroupHead, GroupLimits, JoinRequest, Member, Role
from im.domain.ids import UserId

EVERYBODY: Final = "@all"

MAX_PER_CHANGE: Final = 24
"""Users added or removed by one entry: four items each and the two of the entry itself make 98 of the 100 that one
DynamoDB transaction may have."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is, as far as a request concerns it: its head, and those of its members that were asked about."""

    head: GroupHead
    members: Mapping[UserId, Member]
    former: Mapping[UserId, FormerMember] = field(default_factory=dict)
    """Those who left at some time, whether or not they came back."""
    requests: Mapping[UserId, JoinRequest] = field(default_factory=dict)
    groups: Mapping[UserId, int] = field(default_factory=dict)
    """How many groups each of them is in."""

    def role(self, user: UserId) -> Role:
        """The role of `user`. Raises NotMember, also when the group is dissolved: then nobody is in it."""
        if self.head.dissolved or user not in self.members:
            raise NotMember(self.head.conv)
        return self.head.role_of(user)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a group: its new head, and who comes, goes or is muted. Its entry says so to everybody."""

    kind: Literal["members", "profile"]
    body: Mapping[str, Any]
    head: GroupHead
    """As it will be, but for what follows from the change's own seq, which is not known yet: `epoch` and `large`."""
    joins: tuple[UserId, ...] = ()
    leaves: tuple[UserId, ...] = ()
    muted: Mapping[UserId, int] = field(default_factory=dict)


# ---- what changes nothing --------------------------------------------------------------------------------------------


def check_may_send(head: GroupHead, member: Member, mentions: Sequence[str], now: int) -> None:
    """Whether `member` may send now, mentioning these. Raises NotMember, Muted, Forbidden."""
    role = head.role_of(member.user)
    if head.dissolved:
        raise NotMember(head.conv)
    alone = member.muted_until if role != "owner" else 0
    with_others = head.muted_until if role == "member" else 0
    if (until := max(alone, with_others)) > now:
        raise Muted("you" if alone == until else "members who are no admins", until - now)
    if role == "member" and EVERYBODY in mentions and head.who_mentions_all == "admins":
        raise Forbidden("only the owner and admins of this group may mention everybody")


def check_may_decide(group: Group, caller: UserId) -> None:
    """Whether the caller may see and answer requests to join. Raises NotMember, Forbidden."""
    _require_admin(group, caller, "see and answer requests to join")


# ---- who is in it ----------------------------------------------------------------------------------------------------


def invite(group: Group, caller: UserId, users: Sequence[UserId], limits: GroupLimits) -> Change | None:
    """Add the first MAX_PER_CHANGE of `users` who are not members yet. The limits hold for all of them."""
    if group.role(caller) == "member" and group.head.who_invites == "admins":
        raise Forbidden("only the owner and admins of this group may invite")
    return _add(group, caller, users, limits)


def join(group: Group, caller: UserId, limits: GroupLimits) -> Change | None:
    """Come in by oneself; None for a member. Raises Forbidden where that needs somebody else."""
    if group.head.dissolved:
        raise NotFound(group.head.conv)
    if caller not in group.members and group.head.join_mode != "open":
        raise Forbidden("nobody can join this group without being let in")
    return _add(group, caller, [caller], limits)


def accept(group: Group, caller: UserId, user: UserId, limits: GroupLimits, now: int) -> Change | None:
    """Let in somebody who asked; None for a member. Raises NotFound when they did not ask, or too long ago."""
    check_may_decide(group, caller)
    asking = group.requests.get(user)
    if user not in group.members and (asking is None or not asking.waits(now)):
        raise NotFound(f"a request of {user}")
    return _add(group, caller, [user], limits)


def continue_founding(group: Group, limits: GroupLimits) -> Change | None:
    """Add the next founders; None when all are in.

    Left out is who has come to their limit of groups meanwhile, and who was here already and has left.
    """
    head = group.head
    room = 0 if head.dissolved else max(0, limits.members - head.member_count)
    new = [u for u in head.pending if u not in group.members and u not in group.former]
    fit = [u for u in new if group.groups.get(u, 0) < limits.groups][:room]
    now, later = fit[:MAX_PER_CHANGE], fit[MAX_PER_CHANGE:]
    return _joining(replace(head, pending=tuple(later)), head.created_by, now) if now else None


def remove(group: Group, caller: UserId, users: Sequence[UserId]) -> Change | None:
    """Remove the first MAX_PER_CHANGE of `users` who are members. The owner removes anybody else, admins members."""
    role = group.role(caller)
    if caller in users:
        raise BadRequest("data.users", "to leave oneself is group.leave")
    if role == "member":
        raise Forbidden("only the owner and admins of this group may remove members")
    present = [user for user in dict.fromkeys(users) if user in group.members]
    if role == "admin" and any(group.head.role_of(user) != "member" for user in present):
        raise Forbidden("only the owner may remove the owner's admins")
    return _leaving(group.head, caller, present[:MAX_PER_CHANGE]) if present else None


def leave(group: Group, caller: UserId) -> Change | None:
    """Go; None for who has gone. The last one dissolves the group. Raises Conflict for the owner of others."""
    if caller not in group.members and caller in group.former:
        return None
    if group.head.dissolved and caller in group.members:
        return None
    if group.role(caller) != "owner":
        return _leaving(group.head, caller, [caller])
    if group.head.member_count > 1:
        raise Conflict("the owner transfers the group before leaving it")
    gone = _leaving(group.head, caller, [caller])
    return replace(gone, head=replace(gone.head, dissolved=True), body={**gone.body, "dissolved": True})


def _add(group: Group, by: UserId, users: Sequence[UserId], limits: GroupLimits) -> Change | None:
    new = [user for user in dict.fromkeys(users) if user not in group.members]
    if not new:
        return None
    if (size := group.head.member_count + len(new)) > limits.members:
        raise TooLarge("members", size, limits.members)
    for user in new:
        if (count := group.groups.get(user, 0)) >= limits.groups:
            raise TooManyGroups(user, count, limits.groups)
    return _joining(group.head, by, new[:MAX_PER_CHANGE])


def _joining(head: GroupHead, by: UserId, users: Sequence[UserId]) -> Change:
    return Change(
        kind="members",
        body={"added": list(users), "removed": [], "by": by},
        head=replace(head, member_count=head.member_count + len(users)),
        joins=tuple(users),
    )


def _leaving(head: GroupHead, by: UserId, users: Sequence[UserId]) -> Change:
    return Change(
        kind="members",
        body={"added": [], "removed": list(users), "by": by},
        head=replace(
            head,
            member_count=head.member_count - len(users),
            admins=tuple(admin for admin in head.admins if admin not in users),
        ),
        leaves=tuple(users),
    )


# ---- what they may do ------------------------------------------------------------------------------------------------


def set_role(
    group: Group, caller: UserId, user: UserId, role: Literal["admin", "member"], limits: GroupLimits
) -> Change | None:
    """Make `user` an admin, or a plain member again. For the owner alone."""
    _require_owner(group, caller, "give roles")
    head = group.head
    was = _role_of_other(group, user)
    if was == role:
        return None
    if was == "owner":
        raise BadRequest("data.user", "the owner stays the owner until the group is transferred")
    if role == "admin" and len(head.admins) >= limits.admins:
        raise TooLarge("admins", len(head.admins) + 1, limits.admins)
    others = tuple(admin for admin in head.admins if admin != user)
    return _roles(replace(head, admins=(*others, user) if role == "admin" else others), caller, {user: role})


def transfer(group: Group, caller: UserId, user: UserId) -> Change | None:
    """Make `user` the owner; the caller stays as a plain member. None when that has been done."""
    if group.role(caller) != "owner" and group.head.owner == user and user in group.members:
        return None
    _require_owner(group, caller, "transfer it")
    if _role_of_other(group, user) == "owner":
        raise BadRequest("data.user", "is the owner already")
    head = replace(group.head, owner=user, admins=tuple(admin for admin in group.head.admins if admin != user))
    return _roles(head, caller, {user: "owner", caller: "member"})


def mute(group: Group, caller: UserId, user: UserId, until: int) -> Change | None:
    """Forbid `user` to send until then; 0 allows it again. The owner mutes anybody else, admins members."""
    role = _require_admin(group, caller, "mute members")
    whom = _role_of_other(group, user)
    if user == caller:
        raise BadRequest("data.user", "nobody mutes themselves")
    if whom == "owner" or (role == "admin" and whom == "admin"):
        raise Forbidden("only the owner may mute admins, and nobody the owner")
    if group.members[user].muted_until == until:
        return None
    body = {"added": [], "removed": [], "by": caller, "muted": {user: until}}
    return Change(kind="members", body=body, head=group.head, muted={user: until})


def mute_all(group: Group, caller: UserId, until: int) -> Change | None:
    """Forbid all but the owner and the admins to send until then; 0 allows it again."""
    _require_admin(group, caller, "mute everybody")
    if group.head.muted_until == until:
        return None
    return Change(kind="profile", body={"muted_until": until}, head=replace(group.head, muted_until=until))


def _roles(head: GroupHead, by: UserId, roles: Mapping[UserId, Role]) -> Change:
    return Change(kind="members", body={"added": [], "removed": [], "by": by, "roles": dict(roles)}, head=head)


# ---- what it is ------------------------------------------------------------------------------------------------------


def update(group: Group, caller: UserId, fields: Mapping[str, Any]) -> Change | None:
    """Give the head new values for these of its fields. For the owner and admins."""
    _require_admin(group, caller, "change it")
    new = {name: value for name, value in fields.items() if getattr(group.head, name) != value}
    body = {name: json.loads(value) if name == "custom" else value for name, value in new.items()}
    return Change(kind="profile", body=body, head=replace(group.head, **new)) if new else None


def dissolve(group: Group, caller: UserId) -> Change | None:
    """End the group; None when it has ended and the caller owned it. What was said stays with whoever could see it."""
    if group.head.dissolved and group.head.owner == caller:
        return None
    _require_owner(group, caller, "dissolve it")
    return Change(kind="profile", body={"dissolved": True}, head=replace(group.head, dissolved=True, pending=()))


def _require_admin(group: Group, caller: UserId, what: str) -> Role:
    role = group.role(caller)
    if role == "member":
        raise Forbidden(f"only the owner and admins of this group may {what}")
    return role


def _require_owner(group: Group, caller: UserId, what: str) -> None:
    if group.role(caller) != "owner":
        raise Forbidden(f"only the owner of this group may {what}")


def _role_of_other(group: Group, user: UserId) -> Role:
    """The role of the one whom a request names. Raises NotFound for no member."""
    if user not in group.members:
        raise NotFound(f"{user} is no member")
    return group.head.role_of(user)
