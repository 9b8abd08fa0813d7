"""Entries and rows as clients see them, and how many fit into a frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from im.domain.entries import Entry
from im.domain.group import GroupHead, JoinRequest, Member
from im.domain.ids import UserId
from im.domain.inbox import Row
from im.wire.frames import MAX_FRAME_BYTES, dumps

ENVELOPE_BYTES: Final = 512
"""Room for everything in a frame that is not one of its items: the envelope, an id, a conversation id."""


def entry_data(entry: Entry) -> dict[str, Any]:
    """An entry of the protocol."""
    out: dict[str, Any] = {
        "conv": entry.conv,
        "seq": entry.seq,
        "n": entry.n,
        "kind": entry.kind,
        "from": entry.sender,
        "ts": entry.ts,
        "body": json.loads(entry.body),
    }
    if entry.cmid is not None:
        out["cmid"] = entry.cmid
    if entry.mentions:
        out["mentions"] = list(entry.mentions)
    if entry.reply_to is not None:
        out["reply_to"] = entry.reply_to
    return out


def row_data(row: Row) -> dict[str, Any]:
    """A row of the protocol's inbox."""
    last = row.last
    out = {
        "conv": row.conv,
        "last_seq": row.last_seq,
        "last": last and {"kind": last.kind, "from": last.sender, "ts": last.ts, "preview": last.preview},
        "unread": row.unread,
        "read_seq": row.read_seq,
        "ack_seq": row.ack_seq,
        "mention_seq": row.open_mention,
        "muted": False,
        "pinned": False,
        "draft": "",
        "hidden": False,
        "updated": row.updated,
    }
    if row.left_seq:
        out["left_seq"] = row.left_seq
    return out


def group_data(head: GroupHead, me: Member | None, user: UserId) -> dict[str, Any]:
    """What group.info answers a member; without `me`, what group.mine says of a group."""
    mine: dict[str, Any] = {"role": head.role_of(user)}
    if me is not None:
        mine |= {"joined_seq": me.joined_seq, "joined_at": me.joined_at, "muted_until": me.muted_until}
    return {
        "conv": head.conv,
        "name": head.name,
        "notice": head.notice,
        "avatar": head.avatar,
        "custom": json.loads(head.custom),
        "owner": head.owner,
        "admins": list(head.admins),
        "members": head.member_count,
        "join_mode": head.join_mode,
        "history": head.history,
        "who_invites": head.who_invites,
        "who_mentions_all": head.who_mentions_all,
        "muted_until": head.muted_until,
        "created": head.created_at,
        "me": mine,
    }


def member_data(head: GroupHead, member: Member) -> dict[str, Any]:
    """A member of group.members."""
    return {
        "user": member.user,
        "role": head.role_of(member.user),
        "joined_at": member.joined_at,
        "muted_until": member.muted_until,
    }


def request_data(request: JoinRequest) -> dict[str, Any]:
    """A request of group.requests."""
    return {"user": request.user, "note": request.note, "asked_at": request.asked_at}


def fitting(items: Iterable[Any], reserve: int = ENVELOPE_BYTES) -> list[Any]:
    """The longest prefix of `items` whose JSON fits into one frame; at least one item."""
    out: list[Any] = []
    room = MAX_FRAME_BYTES - reserve
    for item in items:
        room -= len(dumps(item).encode()) + 1
        if room < 0 and out:
            break
        out.append(item)
    return out


def push_frames(entries: Sequence[Entry]) -> Iterator[str]:
    """The `entries` pushes for ascending entries of one conversation: each frame holds consecutive ones and fits."""
    frame: list[str] = []
    size = 0
    expected = 0
    for entry in entries:
        text = dumps(entry_data(entry))
        length = len(text.encode()) + 1
        if frame and (entry.seq != expected or size + length > MAX_FRAME_BYTES - ENVELOPE_BYTES):
            yield _entries_push(entries[0].conv, frame)
            frame, size = [], 0
        frame.append(text)
        size += length
        expected = entry.seq + 1
    if frame:
        yield _entries_push(entries[0].conv, frame)


def _entries_push(conv: str, frame: Sequence[str]) -> str:
    return f'{{"push":"entries","data":{{"conv":"{conv}","entries":[{",".join(frame)}]}}}}'
