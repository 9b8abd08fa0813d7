"""A group as it usually is, for tests that care about one thing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from im.domain.group import GroupHead
from im.domain.ids import ConvId, Seq, UserId

_USUAL: Final = GroupHead(
    conv=ConvId("g:a"),
    name="A",
    notice="",
    avatar="",
    custom="{}",
    owner=UserId("alice"),
    admins=(),
    member_count=1,
    join_mode="invite",
    history=False,
    who_invites="members",
    who_mentions_all="admins",
    muted_until=0,
    created_at=0,
    created_by=UserId("alice"),
    epoch=Seq(1),
    large=Seq(0),
)


def head_of(**fields: Any) -> GroupHead:
    """The usual one with some fields different."""
    return replace(_USUAL, **fields)
