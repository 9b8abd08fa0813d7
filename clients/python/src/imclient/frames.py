"""The shapes on the wire, version 1 of the protocol: requests out, replies and pushes in. No I/O.

Everything that comes in is read leniently, as the protocol asks: fields, pushes and entry kinds that are not known are
left alone, and a message that is neither a reply nor a push is no error, it is nothing (`decode` gives None).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self, TypeAlias, TypeGuard

from imclient.errors import FrameTooLargeError, MalformedEntryError, ReplyError
from imclient.ids import ConvId, UserId

JsonObject: TypeAlias = dict[str, Any]

PROTOCOL_VERSION = 1
MAX_REQUEST_BYTES = 32 * 1024
MAX_INCOMING_BYTES = 128 * 1024

# Kinds that count as unread. Every other kind is a change or a notice.
COUNTABLE_KINDS = frozenset(
    {"text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged"},
)

CHANGE_KINDS = frozenset({"edit", "recall", "reaction", "pin"})
"""Kinds that change the message `target`."""

PREVIEW = 80
"""Characters of a message in one line."""

LARGEST = 2**53 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer for everybody: no boolean, and exact in a language whose numbers are doubles."""
    return type(value) is int and -LARGEST <= value <= LARGEST


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a conversation's log. `ts` is in milliseconds since the epoch; `sender` is the field `from`.

    What the server fetches is as it is now, with the changes up to `changed` in it; a push is as it was sent.

    - `edited`: whether `body` is not what was said first; `recalled_by`: who recalled it, `body` is empty then.
    - `reactions`: how many there are of each emoji; `pinned`: whether it is pinned.
    - `quoted`: the start of the message that it answers; `forwarded_from`: who said it first.
    """

    conv: ConvId
    seq: int
    n: int
    kind: str
    sender: UserId
    ts: int
    body: JsonObject
    cmid: str | None = None
    mentions: tuple[str, ...] = ()
    reply_to: int | None = None
    changed: int = 0
    edited: bool = False
    recalled_by: UserId | None = None
    reactions: Mapping[str, int] = field(default_factory=dict)
    pinned: bool = False
    quoted: str | None = None
    forwarded_from: UserId | None = None
    wire: JsonObject = field(default_factory=dict, repr=False, compare=False)
    """All of it, as it came."""

    @property
    def countable(self) -> bool:
        """Whether this entry counts as unread for those who have not read it."""
        return self.kind in COUNTABLE_KINDS

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Read an entry. Raises MalformedEntryError when a field that every entry has is missing or of a wrong type."""
        match wire:
            case {
                "conv": str(conv),
                "seq": seq,
                "n": n,
                "kind": str(kind),
                "ts": ts,
                "body": dict(body),
                **rest,
            } if is_integer(seq) and is_integer(n) and is_integer(ts) and seq >= 1:
                sender, cmid, reply_to = rest.get("from"), rest.get("cmid"), rest.get("reply_to")
                mentions = rest.get("mentions")
                return cls(
                    conv=ConvId(conv),
                    seq=seq,
                    n=n,
                    kind=kind,
                    # A notice of the system itself may have no sender.
                    sender=UserId(sender if isinstance(sender, str) else ""),
                    ts=ts,
                    body=body,
                    cmid=cmid if isinstance(cmid, str) else None,
                    mentions=tuple(one for one in mentions if isinstance(one, str))
                    if isinstance(mentions, list)
                    else (),
                    reply_to=reply_to if is_integer(reply_to) else None,
                    wire=dict(wire),  # type: ignore[call-overload]
                    **_state(rest),
                )
            case _:
                raise MalformedEntryError("an entry without conv, seq, n, kind, ts or body")


def preview_of(kind: str, body: JsonObject) -> str:
    """A message in one line, as rows and quotes have it."""
    said = body.get("text") if kind == "text" else body.get("title") if kind == "merged" else None
    return " ".join(said.split())[:PREVIEW] if isinstance(said, str) else ""


def _state(rest: Mapping[Any, Any]) -> JsonObject:
    """What changes have made of a message, and where it comes from: as fields of an Entry."""
    state: JsonObject = {"edited": isinstance(rest.get("edited"), dict), "pinned": rest.get("pinned") is True}
    if is_integer(changed := rest.get("changed")):
        state["changed"] = changed
    if isinstance(reactions := rest.get("reactions"), dict):
        counts = {emoji: _inner(one, "count") for emoji, one in reactions.items()}
        state["reactions"] = {emoji: count for emoji, count in counts.items() if is_integer(count)}
    for field_name, where, inner in (
        ("recalled_by", "recalled", "by"),
        ("quoted", "quote", "preview"),
        ("forwarded_from", "forwarded", "from"),
    ):
        if isinstance(found := _inner(rest.get(where), inner), str):
            state[field_name] = found
    return state


def entries_of(reply: JsonObject, conv: ConvId | None = None) -> tuple[Entry, ...]:
    """The entries of a reply, all of `conv` where that is given. Raises MalformedEntryError."""
    wires = reply.get("entries")
    if not isinstance(wires, list):
        raise MalformedEntryError("a page without entries")
    entries = tuple(Entry.from_wire(wire) for wire in wires)
    if conv is not None and any(entry.conv != conv for entry in entries):
        raise MalformedEntryError(f"entries of another conversation than {conv}")
    return entries


def _inner(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class Page:
    """An ascending reply to `sync.entries`, which leaves out only what the caller may not see.

    From `first` to `last` it settles the log for them: what is not among `entries` there is closed to them. `more` says
    that there is something for them above `last`; without it they may see nothing that was there when they asked.
    `newest` is the newest seq that they might see then: the entries are as they were when the log had come that far.
    """

    entries: tuple[Entry, ...]
    first: int
    last: int
    more: bool
    newest: int = 0

    @classmethod
    def from_wire(cls, reply: JsonObject, *, after: int, conv: ConvId | None = None) -> Self:
        """Read the data of a reply to a request with this `after`. Raises MalformedEntryError."""
        entries = entries_of(reply, conv)
        last = max((entry.seq for entry in entries), default=after)
        more, last_seq = reply.get("more") is True, reply.get("last_seq")
        newest = max(last, last_seq) if is_integer(last_seq) else last
        if not more:
            last = newest
        return cls(entries, after + 1, last, more, newest)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the request with the same `id`: either `data`, or `error`."""

    id: str
    data: JsonObject = field(default_factory=dict)
    error: ReplyError | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """Something the server says unasked: `name` is the field `push`."""

    name: str
    data: JsonObject


def encode_request(route: str, op: str, request_id: str, data: Mapping[str, Any]) -> str:
    """The text of a request frame. Raises FrameTooLargeError above 32 KiB, for which the server has no use."""
    text = json.dumps(
        {"route": route, "op": op, "id": request_id, "data": dict(data)}, ensure_ascii=False, separators=(",", ":")
    )
    # No UTF-8 has half a surrogate pair. As an escape the server can read it, and refuse it.
    frame = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    size = len(frame.encode())
    if size > MAX_REQUEST_BYTES:
        raise FrameTooLargeError(size, MAX_REQUEST_BYTES)
    return frame


def decode(text: str | bytes) -> Reply | Push | None:
    """Read one incoming message.

    None for anything that is neither a reply to a readable request nor a push: text that is not JSON, a reply whose
    `id` is null, and API Gateway's own `{"message": "Internal server error", "connectionId": …, "requestId": …}`.
    """
    try:
        frame = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None
    match frame:
        case {"push": str(name), "data": dict(data)}:
            return Push(name, data)
        case {"id": str(request_id), "ok": True, "data": dict(data)}:
            return Reply(request_id, data)
        case {"id": str(request_id), "ok": False, "error": {"code": str(code), **rest}}:
            wait, amount, message = rest.get("retry_after_ms"), rest.get("amount"), rest.get("message")
            error = ReplyError(
                code,
                message if isinstance(message, str) else "",
                retryable=rest.get("retryable") is True,
                retry_after_ms=max(0, wait) if is_integer(wait) else None,
                amount=amount if is_integer(amount) else None,
            )
            return Reply(request_id, error=error)
        case _:
            return None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
