"""What of a conversation somebody may see."""

from __future__ import annotations

from im.domain.conversation import Direct, Group
from im.domain.errors import NotMember
from im.domain.group import WHOLE, Spans
from im.domain.ids import UserId
from im.store.groups import GroupStore


def require_party(conversation: Direct | Group, user: UserId) -> None:
    """That a direct conversation is one of the user's: its id says so. Raises NotMember. Groups are not asked."""
    if isinstance(conversation, Direct) and user not in conversation.peers:
        raise NotMember(conversation.conv)


def require_visible(groups: GroupStore, conversation: Direct | Group, user: UserId) -> Spans:
    """The parts of a conversation that a user may see. Raises NotMember for somebody who never took part in it.

    Nothing is read for a direct conversation, whose id says it all; 1 R for a group, 2 R for a former one.
    """
    require_party(conversation, user)
    if isinstance(conversation, Direct):
        return WHOLE
    spans = groups.spans(conversation.conv, user)
    if not spans:
        raise NotMember(conversation.conv)
    return spans
