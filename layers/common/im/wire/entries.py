"""Entries and rows as clients see them, and how many fit into a frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from im.domain.entries import Entry, preview
from im.domain.group import GroupHead, JoinRequest, Member
from im.domain.ids import Seq, UserId
from im.domain.inbox import Row
from im.domain.message_state import State
from im.wire.frames import MAX_FRAME_BYTES, dumps

ENVELOPE_BYTES: Final = 512
"""Room for everything in a frame that is not one of its items: the envelope, an id, a conversation id."""


def entry_data(entry: Entry, quoted: Entry | None = None) -> dict[str, Any]:
    """An entry of the protocol, with the message that it answers where the reader may see that."""
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
    if entry.forwarded is not None:
        out["forwarded"] = {"from": entry.forwarded.sender, "ts": entry.forwarded.ts}
    if quoted is not None:
        out["quote"] = _glimpse(quoted)
    return out | _state_data(entry.state)


def _state_data(state: State) -> dict[str, Any]:
    if not state.changed:
        return {}
    out: dict[str, Any] = {"changed": state.changed}
    if state.edited is not None:
        out["edited"] = {"seq": state.edited.seq, "ts": state.edited.ts}
    if state.recalled is not None:
        out["recalled"] = {"by": state.recalled.by, "ts": state.recalled.ts}
    if state.reactions:
        out["reactions"] = {
            emoji: {"count": count, "users": list(users)} for emoji, (count, users) in state.reactions.items()
        }
    if state.pinned:
        out["pinned"] = True
    return out


def _glimpse(entry: Entry) -> dict[str, Any]:
    """An entry in one line."""
    out = {"seq": entry.seq, "kind": entry.kind, "from": entry.sender, "ts": entry.ts, "preview": preview(entry)}
    out |= {"changed": entry.state.changed} if entry.state.changed else {}
    return out | ({"recalled": True} if entry.state.recalled is not None else {})


def row_data(row: Row, last: Entry | None) -> dict[str, Any]:
    """A row of the protocol's inbox, with the entry that a conversation list shows."""
    out = {
        "conv": row.conv,
        "last_seq": row.last_seq,
        "last_n": row.last_n,
        "last": _glimpse(last) if last is not None else None,
        "unread": row.unread,
        "read_seq": row.read_seq,
        "read_n": row.read_n,
        "ack_seq": row.ack_seq,
        "mention_seq": row.open_mention,
        "muted": row.muted,
        "pinned": row.pinned,
        "draft": row.draft,
        "hidden": row.hidden,
        "rev": row.rev,
        "deleted": row.deleted,
        "at": row.at,
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


def push_frames(entries: Sequence[Entry], quoted: Mapping[Seq, Entry]) -> Iterator[str]:
    """The `entries` pushes for ascending entries of one conversation: each frame holds consecutive ones and fits.

    `quoted` are messages that they answer, by seq, as far as the reader may see them.
    """
    frame: list[str] = []
    size = 0
    expected = 0
    for entry in entries:
        answered = quoted.get(entry.reply_to) if entry.reply_to is not None else None
        text = dumps(entry_data(entry, answered))
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
