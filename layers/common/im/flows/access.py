"""Who may take part in a conversation, and from where on they see it."""

from __future__ import annotations

from im.domain.conversation import Direct, Group, GroupHead, Member
from im.domain.errors import NotMember
from im.domain.ids import Seq, UserId
from im.store.conversations import ConversationStore

FROM_THE_START = Seq(1)


def require_member(store: ConversationStore, conversation: Direct | Group, user: UserId) -> Member | None:
    """The caller's membership of a group; None in a direct conversation, whose id says it all. Raises NotMember.

    Nothing is read for a direct conversation, 1 R for a group.
    """
    if isinstance(conversation, Direct):
        if user not in conversation.peers:
            raise NotMember(conversation.conv)
        return None
    return require_group(store, conversation, user)[1]


def require_group(store: ConversationStore, group: Group, user: UserId) -> tuple[GroupHead, Member]:
    """A group and the caller's membership of it. 1 R. Raises NotMember, also while the group is still being made.

    A group is made members first and head last: before its head stands, nobody is in it.
    """
    head, member = store.membership(group.conv, user)
    if head is None or member is None:
        raise NotMember(group.conv)
    return head, member


def first_visible(member: Member | None) -> Seq:
    """The first seq that a member may see."""
    return FROM_THE_START if member is None else member.joined_seq
