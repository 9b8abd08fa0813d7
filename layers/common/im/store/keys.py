"""Builds every key of every table. Nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.red_packet import PacketId

Key = dict[str, dict[str, str]]

HEAD: Final = "META"
MEMBER_PREFIX: Final = "MEM#"
FORMER_PREFIX: Final = "PAST#"
REQUEST_PREFIX: Final = "REQ#"
ENTRY_PREFIX: Final = "MSG#"
ROW_PREFIX: Final = "CONV#"
GROUP_ROW_PREFIX: Final = ROW_PREFIX + "g:"
USER: Final = "USER"
DELETED_PREFIX: Final = "WITHOUT#"
SHARED: Final = "SHARED"
SLOT_PREFIX: Final = "slot:"

Which = Literal["sent", "received"]
PACKET_PREFIXES: Final[Mapping[Which, str]] = {"sent": "SENT#", "received": "GOT#"}
PACKET_LINE_PREFIX: Final = "P#"
USER_LINE_PREFIX: Final = "L#"
TIME_DIGITS: Final = 13
"""Of milliseconds since the epoch: text order is number order until the year 2286."""

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


def former_member(conv: ConvId, user: UserId) -> Key:
    """What somebody may see of a group that they are no member of any more."""
    return _pair(conv, FORMER_PREFIX + user)


def join_request(conv: ConvId, user: UserId) -> Key:
    """Somebody's request to be let into a group."""
    return _pair(conv, REQUEST_PREFIX + user)


def entry_sort(seq: int) -> str:
    """The sort key of an entry: text order is number order."""
    return f"{ENTRY_PREFIX}{seq:0{SEQ_DIGITS}d}"


def entry(conv: ConvId, seq: Seq) -> Key:
    """One entry of a conversation."""
    return _pair(conv, entry_sort(seq))


def reaction_prefix(target: Seq) -> str:
    """What the sort keys of all reactions to a message begin with."""
    return f"REACT#{target:0{SEQ_DIGITS}d}#"


def reaction(conv: ConvId, target: Seq, user: UserId) -> Key:
    """How one user has reacted to a message."""
    return _pair(conv, reaction_prefix(target) + user)


def pins(conv: ConvId) -> Key:
    """Which messages are pinned."""
    return _pair(conv, "PINS")


def cmid(conv: ConvId, sender: UserId, cmid: Cmid) -> Key:
    """The mark that a sender has begun to send a `cmid`. User ids hold no '#', so no two marks share a key."""
    return _pair(conv, f"CMID#{sender}#{cmid}")


def row(user: UserId, conv: ConvId) -> Key:
    """One conversation of one user's inbox."""
    return _pair(user, ROW_PREFIX + conv)


def user(user: UserId) -> Key:
    """What concerns all of a user's inbox. Right after the user's rows: one Query reads both."""
    return _pair(user, USER)


def deleted(user: UserId, conv: ConvId) -> Key:
    """Which entries of a conversation a user has deleted for themself."""
    return _pair(user, DELETED_PREFIX + conv)


def shared_row(conv: ConvId) -> Key:
    """What the rows of all members of a large group have in common. No user id holds a ':', so this is nobody's."""
    return _pair(conv, SHARED)


def audience(conv: ConvId, shard: int) -> str:
    """The partition of those members of a large group, a part of them, who may have open connections."""
    return f"{conv}#{shard:02d}"


def audience_member(conv: ConvId, shard: int, user: UserId) -> Key:
    """That a member of a large group may have open connections."""
    return _pair(audience(conv, shard), user)


def connections(user: UserId) -> Key:
    """All connections of one user."""
    return {"pk": {"S": user}}


def packet(packet: PacketId) -> Key:
    """A red packet, its shares apart."""
    return _pair(packet, HEAD)


def shares(packet: PacketId) -> Key:
    """The shares of a red packet."""
    return _pair(packet, "SHARES")


def of_user(which: Which, user: UserId, ts: int, packet: PacketId) -> Key:
    """That a user has sent or received a red packet."""
    return _pair(user, PACKET_PREFIXES[which] + place_of_packet(ts, packet))


def place_of_packet(ts: int, packet: PacketId) -> str:
    """Where a red packet stands among those that a user has sent, or received. Text order is the order of time."""
    return f"{_time(ts)}#{packet}"


def balance(account: str) -> Key:
    """What stands on an account."""
    return _pair(account, "BALANCE")


def packet_line(packet: PacketId, name: str) -> Key:
    """One movement of a packet's money, by its name: it is made once."""
    return line_of(packet_account(packet), name)


def line_of(account: str, name: str) -> Key:
    """One movement of an account that is no user's, by its name."""
    return _pair(account, f"{PACKET_LINE_PREFIX}{name}")


def user_line(user: UserId, ts: int, name: str) -> Key:
    """One movement of a user's money. Text order is the order of time."""
    return _pair(user_account(user), f"{USER_LINE_PREFIX}{_time(ts)}#{name}")


def user_account(user: UserId) -> str:
    """The account of a user's wallet."""
    return f"user:{user}"


def packet_account(packet: PacketId) -> str:
    """The account that holds a red packet's money."""
    return f"packet:{packet}"


def opening_account(user: UserId) -> str:
    """The account that the first money of a user's wallet comes from: what it lacks was given."""
    return f"opening:{user}"


def _time(ts: int) -> str:
    return f"{ts:0{TIME_DIGITS}d}"
