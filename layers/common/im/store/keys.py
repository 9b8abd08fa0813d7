"""Builds every key of every table. Nothing else does."""

from __future__ import annotations

from typing import Final

from im.domain.ids import Cmid, ConvId, Seq, UserId

Key = dict[str, dict[str, str]]

HEAD: Final = "META"
MEMBER_PREFIX: Final = "MEM#"
ENTRY_PREFIX: Final = "MSG#"
ROW_PREFIX: Final = "CONV#"
SLOT_PREFIX: Final = "slot:"

SEQ_DIGITS: Final = 12
MAX_SEQ: Final = 10**SEQ_DIGITS - 1


def _pair(pk: str, sk: str) -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def head(conv: ConvId) -> Key:
    """What a group is called and allows."""
    return _pair(conv, HEAD)


def member(conv: ConvId, user: UserId) -> Key:
    """One member of a group."""
    return _pair(conv, MEMBER_PREFIX + user)


def entry_sort(seq: int) -> str:
    """The sort key of an entry: text order is number order."""
    return f"{ENTRY_PREFIX}{seq:0{SEQ_DIGITS}d}"


def entry(conv: ConvId, seq: Seq) -> Key:
    """One entry of a conversation."""
    return _pair(conv, entry_sort(seq))


def cmid(conv: ConvId, sender: UserId, cmid: Cmid) -> Key:
    """The mark that a sender has begun to send a `cmid`. User ids hold no '#', so no two marks share a key."""
    return _pair(conv, f"CMID#{sender}#{cmid}")


def row(user: UserId, conv: ConvId) -> Key:
    """One conversation of one user's inbox."""
    return _pair(user, ROW_PREFIX + conv)


def connections(user: UserId) -> Key:
    """All connections of one user."""
    return {"pk": {"S": user}}
