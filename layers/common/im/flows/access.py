"""What of a conversation somebody may see."""

from __future__ import annotations

from im.domain.conversation import Direct, Group
from im.domain.errors import NotMember
from im.domain.group import WHOLE, Spans
from im.domain.ids import UserId
from im.store.groups import GroupStore


def require_visible(groups: GroupStore, conversation: Direct | Group, user: UserId) -> Spans:
    """The parts of a conversation that a user may see. Raises NotMember for somebody who never took part in it.

    Nothing is read for a direct conversation, whose id says it all; 1 R for a group, 2 R for a former one.
    """
    if isinstance(conversation, Direct):
        if user not in conversation.peers:
            raise NotMember(conversation.conv)
        return WHOLE
    spans = groups.spans(conversation.conv, user)
    if not spans:
        raise NotMember(conversation.conv)
    return spans
