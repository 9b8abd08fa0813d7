"""Groups: made, shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from im.domain.conversation import Group, GroupHead, Member, group_conversation, parse_conversation
from im.domain.entries import EMPTY, Draft, Entry
from im.domain.errors import BadRequest, Conflict, TooLarge
from im.domain.ids import UserId
from im.flows.access import require_group
from im.flows.ports import Caller, Clock, Queue
from im.store.conversations import ConversationStore
from im.wire.entries import group_data, member_data
from im.wire.frames import dumps
from im.wire.requests import GroupCreate, GroupMembers

MAX_FOUNDERS: Final = 200
"""Members named at once: their `members` entry must fit into a frame."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The use cases of the route `group`."""

    store: ConversationStore
    queue: Queue
    clock: Clock
    new_gid: Callable[[], str]
    max_members: int

    def create(self, caller: Caller, request: GroupCreate) -> Mapping[str, Any]:
        """Make a group with its members. With a `gid` it can be repeated: the first request wins, and is finished.

        2 W, 1 W a member, 4 R, 1 queue request. The first write, entry 1 of the log, decides who is in it; all else
        follows from it and can be repeated, so a request that died half-way is completed by the next with its `gid`.
        Raises Conflict when somebody else owns a group of that `gid`.
        """
        group = group_conversation(request.gid if request.gid is not None else self.new_gid())
        first = self._first_entry(group, caller, request)
        if first.sender != caller.user:
            raise Conflict("a group with this gid exists already")
        founding: Mapping[str, Any] = json.loads(first.body)
        members = [
            Member(
                user=UserId(user),
                role="owner" if user == first.sender else "member",
                joined_at=first.ts,
                joined_seq=first.seq,
                joined_n=0,
            )
            for user in founding["added"]
        ]
        made, _ = self.store.membership(group.conv, caller.user)
        if made is None:
            # The head comes last: it makes the group one, with all of its members.
            self.store.put_members(group.conv, members)
            self.store.put_head(_head(group, first, founding, len(members)))
        self.queue.put(first, None)
        return group_data(*require_group(self.store, group, caller.user))

    def info(self, caller: Caller, conv: str) -> Mapping[str, Any]:
        """What a group is called and allows, and what the caller is in it. 1 R."""
        return group_data(*require_group(self.store, _group(conv), caller.user))

    def members(self, caller: Caller, request: GroupMembers) -> Mapping[str, Any]:
        """A page of members by user id. 1 R, and ½ R a 30 members."""
        group = _group(request.conv)
        require_group(self.store, group, caller.user)
        after = UserId(request.cursor) if request.cursor is not None else None
        page, cursor = self.store.members_page(group.conv, after=after, limit=request.limit)
        reply: dict[str, Any] = {"members": [member_data(member) for member in page]}
        if cursor is not None:
            reply["cursor"] = cursor
        return reply

    def _first_entry(self, group: Group, caller: Caller, request: GroupCreate) -> Entry:
        """Entry 1 of the log: this request's, or the one that was first. 1 W."""
        founders = list(dict.fromkeys([caller.user, *request.members]))
        limit = min(self.max_members, MAX_FOUNDERS)
        if len(founders) > limit:
            raise TooLarge("members", len(founders), limit)
        draft = Draft(
            conv=group.conv,
            kind="members",
            sender=caller.user,
            body=dumps(
                {
                    "added": founders,
                    "removed": [],
                    "by": caller.user,
                    "group": request.model_dump(include={"name", "notice", "join_mode", "history"}),
                }
            ),
        )
        entry = draft.following(EMPTY, self.clock())
        return self.store.append(entry) or entry


def _group(conv: str) -> Group:
    conversation = parse_conversation(conv)
    if not isinstance(conversation, Group):
        raise BadRequest("data.conv", "not a group")
    return conversation


def _head(group: Group, first: Entry, founding: Mapping[str, Any], members: int) -> GroupHead:
    said = founding["group"]
    return GroupHead(
        conv=group.conv,
        name=said["name"],
        notice=said["notice"],
        owner=first.sender,
        member_count=members,
        join_mode=said["join_mode"],
        history=said["history"],
        created_at=first.ts,
    )
