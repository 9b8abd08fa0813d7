"""What people do with groups: make them, come and go, give roles, change them, look at them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from im.domain import group_rules as rules
from im.domain.conversation import Group, group_conversation, parse_conversation
from im.domain.errors import BadRequest, Conflict, NotFound, NotMember, TooLarge, TooManyGroups
from im.domain.group import GroupHead, JoinRequest, Member
from im.domain.group_rules import Change
from im.domain.ids import ConvId, Seq, UserId
from im.flows.changes import Changes, Decide
from im.flows.ports import Caller, Clock, Pusher
from im.flows.push_to import push_to_users
from im.store.connections import ConnectionStore
from im.store.group_rows import GroupRowStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.wire import requests
from im.wire.entries import fitting, group_data, member_data, request_data
from im.wire.frames import dumps, encode_push

Reply = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Groups:
    """The use cases of the route `group`.

    Who may do what is said in domain/group_rules.py, what a change costs in flows/changes.py.
    """

    groups: GroupStore
    inbox: InboxStore
    group_rows: GroupRowStore
    changes: Changes
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock
    new_gid: Callable[[], str]

    # ---- made --------------------------------------------------------------------------------------------------------

    def create(self, caller: Caller, request: requests.GroupCreate) -> Reply:
        """Make a group with its members. With a `gid` it can be repeated: the first request wins, and is finished.

        One entry for every 24 members. The first one stands for the group and names the others who are still to come,
        so a request that died half-way is completed by the next with its `gid`. Raises Conflict when somebody else
        made a group of that `gid`, TooLarge when a limit is passed: then nothing is stored.
        """
        group = group_conversation(request.gid if request.gid is not None else self.new_gid())
        self._check_name(request.name)
        head = self.groups.head(group.conv, consistent=True)
        founded = head is None
        if head is None:
            self.changes.found(caller.user, self._founding(group, caller, request))
            head = self.groups.head(group.conv, consistent=True)
        if head is None or head.created_by != caller.user or head.dissolved:
            raise Conflict("a group with this gid exists already")
        limits = self.changes.limits
        if not founded and not head.pending:
            self.changes.queue_again(head)
        while head.pending and self.groups.is_in(group.conv, caller.user):
            head, change = self.changes.change(
                caller.user, group.conv, head.pending, lambda now: rules.continue_founding(now, limits)
            )
            if change is None:
                break
        return self._info(head, caller.user)

    def _founding(self, group: Group, caller: Caller, request: requests.GroupCreate) -> Change:
        limits = self.changes.limits
        founders = list(dict.fromkeys([caller.user, *(UserId(user) for user in request.members)]))
        self._check_at_once("data.members", founders[1:])
        if len(founders) > limits.members:
            raise TooLarge("members", len(founders), limits.members)
        for user, count in self.group_rows.group_counts(founders).items():
            if count >= limits.groups and not self._make_room(user):
                raise TooManyGroups(user, count, limits.groups)
        now, later = founders[: rules.MAX_PER_CHANGE], founders[rules.MAX_PER_CHANGE :]
        told = request.model_dump(exclude={"gid", "members"})
        return Change(
            kind="members",
            body={"added": now, "removed": [], "by": caller.user, "group": told},
            head=GroupHead(
                conv=group.conv,
                name=request.name,
                notice=request.notice,
                avatar=request.avatar,
                custom=dumps(request.custom),
                owner=caller.user,
                admins=(),
                member_count=len(now),
                join_mode=request.join_mode,
                history=request.history,
                who_invites=request.who_invites,
                who_mentions_all=request.who_mentions_all,
                muted_until=0,
                created_at=self.clock(),
                created_by=caller.user,
                epoch=Seq(1),
                large=Seq(0),
                pending=tuple(later),
            ),
            joins=tuple(now),
        )

    # ---- who is in it ------------------------------------------------------------------------------------------------

    def invite(self, caller: Caller, request: requests.GroupUsers) -> Reply:
        """Add members. Those who are in it already are left out of the reply. 24 of them are one entry."""
        limits = self.changes.limits
        return self._some_at_a_time(
            caller, request, lambda now, users: rules.invite(now, caller.user, users, limits), lambda c: c.joins
        )

    def remove(self, caller: Caller, request: requests.GroupUsers) -> Reply:
        """Remove members. Those who are not in it are left out of the reply. 24 of them are one entry."""
        return self._some_at_a_time(
            caller, request, lambda now, users: rules.remove(now, caller.user, users), lambda c: c.leaves
        )

    def join(self, caller: Caller, request: requests.GroupJoin) -> Reply:
        """Come in, or ask to be let in where that is the rule (1 R, 4 W): then the owner and the admins are told."""
        conv = _group(request.conv).conv
        head = self.groups.head(conv, consistent=True)
        if head is None:
            raise NotFound(conv)
        if head.join_mode == "approval" and not head.dissolved:
            now, before = self.clock(), self.groups.request(conv, caller.user)
            if self.groups.ask_to_join(conv, JoinRequest(caller.user, request.note, now)):
                if before is None or not before.waits(now):  # who asks again rings no bell again
                    asked = {"conv": conv, "user": caller.user, "state": "requested", "note": request.note}
                    self._push((head.owner, *head.admins), asked)
                return {"state": "requested"}
        limits = self.changes.limits
        self._change(caller, conv, (), lambda now: rules.join(now, caller.user, limits))
        return {"state": "joined"}

    def leave(self, caller: Caller, request: requests.GroupName) -> Reply:
        """Go. The last one dissolves the group; out of a dissolved group it takes the caller's count of groups."""
        head, _ = self._change(caller, request.conv, (), lambda now: rules.leave(now, caller.user))
        if head.dissolved:
            self._uncount(caller.user, [head.conv])
        return {}

    def pending_requests(self, caller: Caller, request: requests.GroupPage) -> Reply:
        """A page of those who ask to be let in, by user id. For the owner and admins. 8 R, and 1 R a request."""
        conv = _group(request.conv).conv
        self._require_decider(conv, caller.user)
        page, rest = self.groups.requests_page(conv, after=_after(request), limit=request.limit)
        now, members = self.clock(), self.groups.members_among(conv, [asking.user for asking in page])
        waiting = [request_data(asking) for asking in page if asking.waits(now) and asking.user not in members]
        fit = fitting(waiting)
        reply: dict[str, Any] = {"requests": fit}
        cursor = fit[-1]["user"] if len(fit) < len(waiting) else rest
        return reply | ({"cursor": cursor} if cursor is not None else {})

    def decide(self, caller: Caller, request: requests.GroupDecide) -> Reply:
        """Let somebody in who asked, or not: then they are told."""
        conv, user = _group(request.conv).conv, UserId(request.user)
        limits = self.changes.limits
        if request.accept:
            self._change(caller, conv, [user], lambda now: rules.accept(now, caller.user, user, limits, self.clock()))
            return {}
        self._require_decider(conv, caller.user)
        dropped = self.groups.drop_request(conv, user)
        if dropped is None or not dropped.waits(self.clock()):
            raise NotFound(f"a request of {user}")
        self._push((user,), {"conv": conv, "user": user, "state": "refused"})
        return {}

    # ---- what they may do, what it is --------------------------------------------------------------------------------

    def role(self, caller: Caller, request: requests.GroupRole) -> Reply:
        """Make a member an admin, or a plain member again."""
        user, limits = UserId(request.user), self.changes.limits
        self._change(
            caller, request.conv, [user], lambda now: rules.set_role(now, caller.user, user, request.role, limits)
        )
        return {}

    def transfer(self, caller: Caller, request: requests.GroupUser) -> Reply:
        """Make a member the owner."""
        user = UserId(request.user)
        self._change(caller, request.conv, [user], lambda now: rules.transfer(now, caller.user, user))
        return {}

    def mute(self, caller: Caller, request: requests.GroupMute) -> Reply:
        """Forbid one member, or all but the owner and admins, to send until then. A time that is over is 0: unmuted."""
        until = request.until if request.until > self.clock() else 0
        if request.user is None:
            self._change(caller, request.conv, (), lambda now: rules.mute_all(now, caller.user, until))
            return {}
        user = UserId(request.user)
        self._change(caller, request.conv, [user], lambda now: rules.mute(now, caller.user, user, until))
        return {}

    def update(self, caller: Caller, request: requests.GroupUpdate) -> Reply:
        """Change what the group is called and allows: the fields that the request has."""
        fields = request.model_dump(exclude={"conv"}, exclude_none=True)
        if "name" in fields:
            self._check_name(fields["name"])
        if "custom" in fields:
            fields["custom"] = dumps(fields["custom"])
        if not fields:
            raise BadRequest("data", "names nothing to change")
        head, _ = self._change(caller, request.conv, (), lambda now: rules.update(now, caller.user, fields))
        return self._info(head, caller.user)

    def dissolve(self, caller: Caller, request: requests.GroupName) -> Reply:
        """End the group."""
        self._change(caller, request.conv, (), lambda now: rules.dissolve(now, caller.user))
        return {}

    # ---- seen --------------------------------------------------------------------------------------------------------

    def info(self, caller: Caller, request: requests.GroupName) -> Reply:
        """What a group is called and allows, and what the caller is in it. 2 R."""
        return self._info(self._require_head(request.conv), caller.user)

    def members(self, caller: Caller, request: requests.GroupPage) -> Reply:
        """A page of members by user id. 2 R, and ½ R a 30 members."""
        head = self._require_head(request.conv)
        self._require_member(head, caller.user)
        page, _ = self.groups.members_page(head.conv, after=_after(request), limit=request.limit + 1)
        return _page("members", [member_data(head, member) for member in page], request.limit)

    def mine(self, caller: Caller, request: requests.GroupsPage) -> Reply:
        """A page of the caller's groups by id. ½ R a 12 conversations of the caller, and ½ R a group of the page."""
        convs = [conv for conv in self._groups_of(caller.user, former=False) if conv > (request.cursor or "")]
        page, rest = convs[: request.limit], convs[request.limit :]
        heads = self.groups.heads(page)
        shown = [heads[conv] for conv in page if conv in heads and not heads[conv].dissolved]
        fit = fitting([group_data(head, None, caller.user) for head in shown])
        reply: dict[str, Any] = {"groups": fit}
        if len(fit) < len(shown):
            reply["cursor"] = fit[-1]["conv"]
        elif rest:
            reply["cursor"] = page[-1]
        return reply

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _change(
        self, caller: Caller, conv: str, users: Sequence[UserId], decide: Decide
    ) -> tuple[GroupHead, Change | None]:
        while True:
            try:
                return self.changes.change(caller.user, _group(conv).conv, users, decide)
            except TooManyGroups as e:
                if not self._make_room(UserId(e.user)):
                    raise

    def _some_at_a_time(
        self,
        caller: Caller,
        request: requests.GroupUsers,
        decide: Callable[[rules.Group, Sequence[UserId]], Change | None],
        done: Callable[[Change], Sequence[UserId]],
    ) -> Reply:
        """Change the group for so many users at once as one entry takes, until it is done for all of them."""
        left = self._users(request)
        out: list[UserId] = []
        while True:
            users = left
            _, change = self._change(caller, request.conv, users, lambda now: decide(now, users))  # noqa: B023 - called at once
            now_done = done(change) if change is not None else ()
            out += now_done
            left = [user for user in left if user not in now_done]
            if len(now_done) < rules.MAX_PER_CHANGE or not left:
                return {"users": out}

    def _users(self, request: requests.GroupUsers) -> list[UserId]:
        users = list(dict.fromkeys(UserId(user) for user in request.users))
        self._check_at_once("data.users", users)
        return users

    def _check_at_once(self, what: str, users: Sequence[UserId]) -> None:
        if len(users) > self.changes.limits.at_once:
            raise TooLarge(what, len(users), self.changes.limits.at_once)

    def _check_name(self, name: str) -> None:
        if len(name) > self.changes.limits.name:
            raise TooLarge("data.name characters", len(name), self.changes.limits.name)

    def _make_room(self, user: UserId) -> bool:
        """Take dissolved groups off the count of somebody who is at their limit. False when there is none.

        ½ R a group, 4 W a dissolved one.
        """
        heads = self.groups.heads(self._groups_of(user, former=True))
        return self._uncount(user, [conv for conv, head in heads.items() if head.dissolved])

    def _uncount(self, user: UserId, convs: Collection[ConvId]) -> bool:
        rows = [row for row in self.inbox.rows(user, consistent=True) if row.conv in convs]
        done = [self.group_rows.uncount(user, row) for row in rows]
        return any(done)

    def _groups_of(self, user: UserId, *, former: bool) -> list[ConvId]:
        rows = self.inbox.rows(user)
        return sorted(row.conv for row in rows if row.conv.startswith("g:") and (former or not row.left_seq))

    def _require_head(self, conv: str) -> GroupHead:
        head = self.groups.head(_group(conv).conv, consistent=True)
        if head is None:
            raise NotMember(conv)
        return head

    def _require_decider(self, conv: ConvId, user: UserId) -> None:
        """That somebody may see and answer requests to join. 8 R."""
        group = self.changes.store.group(conv, [user])
        if group is None:
            raise NotMember(conv)
        rules.check_may_decide(group, user)

    def _require_member(self, head: GroupHead, user: UserId) -> Member:
        member = None if head.dissolved else self.groups.member(head.conv, user)
        if member is None:
            raise NotMember(head.conv)
        return member

    def _info(self, head: GroupHead, user: UserId) -> Reply:
        return group_data(head, self._require_member(head, user), user)

    def _push(self, users: Iterable[UserId], data: Mapping[str, Any]) -> None:
        frames = {user: [encode_push("request", data)] for user in users}
        push_to_users(self.pusher, self.connections, frames, self.clock(), skip=None)


def _group(conv: str) -> Group:
    conversation = parse_conversation(conv)
    if not isinstance(conversation, Group):
        raise BadRequest("data.conv", "not a group")
    return conversation


def _after(request: requests.GroupPage) -> UserId | None:
    """The user whom a page goes on after."""
    return UserId(request.cursor) if request.cursor is not None else None


def _page(name: str, items: Sequence[Mapping[str, Any]], limit: int) -> Reply:
    """The first `limit` of `items`, as far as they fit; they go on after the user whom the cursor names."""
    page = fitting(items[:limit])
    reply: dict[str, Any] = {name: page}
    if len(page) < len(items):
        reply["cursor"] = page[-1]["user"]
    return reply
