"""The messages of a conversation as a person sees them: entries, with the changes to them. No I/O, no clock.

The rules are those of the protocol, "Changes". A message as the server gives it holds the changes up to its `changed`;
what came apart from it is put on top in the order of seq. So the outcome is the same in whatever order entries came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from imclient.frames import CHANGE_KINDS, COUNTABLE_KINDS, Entry, JsonObject, preview_of
from imclient.ids import ConvId, UserId

NAMED_REACTIONS = 16
"""So many reactions of a message are named, all emoji together."""

Ranges: TypeAlias = Iterable[Collection[int]]
"""First and last seq of each."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """How many people have put this emoji on a message, and the names of some of them."""

    count: int
    users: tuple[UserId, ...] = ()


@dataclass(frozen=True, slots=True)
class Quote:
    """The message that another one answers, in one line, as it is now."""

    seq: int
    kind: str
    sender: UserId
    ts: int
    preview: str
    recalled: bool = False
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message, or a notice (`members`, `profile`: not `countable`), as it is now. Times are in ms since the epoch.

    - `seq` is 0 for one that is not sent yet.
    - `edited_at`, `recalled_by`, `recalled_at`: None where it is not. What is recalled has an empty body.
    - `quote`: what it answers; None where that is not to be seen. `forwarded_from`: who said it first.
    - `changed`: up to which change this is.
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
    quote: Quote | None = None
    edited_at: int | None = None
    recalled_by: UserId | None = None
    recalled_at: int | None = None
    reactions: Mapping[str, Reaction] = field(default_factory=dict)
    pinned: bool = False
    forwarded_from: UserId | None = None
    forwarded_ts: int | None = None
    changed: int = 0

    @property
    def countable(self) -> bool:
        """Whether it is a message, and no notice."""
        return self.kind in COUNTABLE_KINDS

    @property
    def recalled(self) -> bool:
        """Whether it was taken back."""
        return self.recalled_by is not None

    @property
    def text(self) -> str:
        """What a text says; empty for all else."""
        text = self.body.get("text")
        return text if self.kind == "text" and isinstance(text, str) else ""


def is_change(kind: str) -> bool:
    """Whether an entry of this kind changes a message."""
    return kind in CHANGE_KINDS


def target_of(entry: Entry) -> int | None:
    """The seq of the message that a change is about; None for what is no change."""
    target = entry.body.get("target")
    return target if is_change(entry.kind) and type(target) is int else None


def message_of(entry: Entry) -> Message:
    """An entry as it came. What of it has a form that is not known is left out."""
    wire = entry.wire
    recalled, forwarded = _part(wire, "recalled"), _part(wire, "forwarded")
    return Message(
        conv=entry.conv,
        seq=entry.seq,
        n=entry.n,
        kind=entry.kind,
        sender=entry.sender,
        ts=entry.ts,
        body=entry.body,
        cmid=entry.cmid,
        mentions=entry.mentions,
        reply_to=entry.reply_to,
        quote=_quote(_part(wire, "quote")),
        edited_at=_number(_part(wire, "edited").get("ts")),
        recalled_by=UserId(_word(recalled.get("by"))) if recalled else None,
        recalled_at=_number(recalled.get("ts")),
        reactions=_reactions(_part(wire, "reactions")),
        pinned=wire.get("pinned") is True,
        forwarded_from=UserId(_word(forwarded.get("from"))) if forwarded else None,
        forwarded_ts=_number(forwarded.get("ts")),
        changed=_number(wire.get("changed")) or 0,
    )


def with_change(message: Message, change: Entry) -> Message:
    """A message after a change to it. One that it holds already does nothing, and so does one of what is recalled."""
    if change.seq <= message.changed:
        return message
    now = replace(message, changed=change.seq)
    if message.recalled:
        return now
    match change.kind, change.body:
        case "edit", {"body": dict(body)}:
            now = replace(now, body=body, edited_at=change.ts)
        case "recall", _:
            now = replace(now, body={}, edited_at=None, reactions={}, pinned=False)
            now = replace(now, recalled_by=change.sender, recalled_at=change.ts)
        case "reaction", {"emoji": str(emoji), **rest}:
            on = rest.get("on") is not False
            now = replace(now, reactions=_reacted(message.reactions, emoji, change.sender, on=on))
        case "pin", body:
            now = replace(now, pinned=body.get("on") is not False)
    return now


def quote_of(message: Message) -> Quote:
    """A message in one line, as an answer to it has it."""
    preview = "" if message.recalled else preview_of(message.kind, message.body)
    return Quote(message.seq, message.kind, message.sender, message.ts, preview, message.recalled, message.changed)


def quote_with_change(quote: Quote, change: Entry) -> Quote:
    """A quote after a change to the message that it shows."""
    if change.seq <= quote.changed:
        return quote
    now = replace(quote, changed=change.seq)
    if quote.recalled:
        return now
    match change.kind, change.body:
        case "recall", _:
            return replace(now, preview="", recalled=True)
        case "edit", {"body": dict(body)}:
            return replace(now, preview=preview_of(quote.kind, body))
        case _:
            return now


def timeline(entries: Iterable[Entry], *, deleted: Ranges = (), whole: int | None = None) -> list[Message]:
    """The messages and notices among the entries of one conversation as they are now, ascending.

    The entries may come in any order and more than once: of two with one seq, that with the later changes counts.
    `deleted` is what the user has deleted for themself. `whole` is the seq up to which nothing is missing: a change
    above it waits, because one before it may be missing. None: nothing is missing.
    """
    ranges = [(first, last) for first, last in deleted]
    held: dict[int, Entry] = {}
    for entry in entries:
        known = held.get(entry.seq)
        if known is None or entry.changed > known.changed:
            held[entry.seq] = entry
    changes: defaultdict[int, list[Entry]] = defaultdict(list)
    for seq in sorted(held):
        target = target_of(held[seq])
        if target is not None and (whole is None or seq <= whole):
            changes[target].append(held[seq])
    shown: dict[int, Message] = {}
    for seq in sorted(held):
        entry = held[seq]
        if is_change(entry.kind) or entry.kind == "void" or is_within(ranges, seq):
            continue
        message = message_of(entry)
        for change in changes.get(seq, ()) if message.countable else ():
            message = with_change(message, change)
        shown[seq] = _answering(message, shown, held, changes, ranges)
    return list(shown.values())


def ranges_of(deleted: JsonObject | None) -> list[tuple[int, int]]:
    """What a reply, a push or a kept row says that the user has deleted of a conversation."""
    ranges = (deleted or {}).get("ranges")
    pairs = (pair for pair in (ranges if isinstance(ranges, list) else []) if isinstance(pair, list))
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and all(type(seq) is int for seq in pair)]


def is_within(ranges: Ranges, seq: int) -> bool:
    """Whether a seq lies in one of the ranges, first and last included."""
    return any(first <= seq <= last for first, last in ranges)


def _answering(
    message: Message,
    shown: Mapping[int, Message],
    held: Mapping[int, Entry],
    changes: Mapping[int, list[Entry]],
    deleted: Ranges,
) -> Message:
    """A message with what it answers as that is now: from that message where it is here, else from the quote."""
    seq = message.reply_to
    if seq is None:
        return message
    if is_within(deleted, seq):
        return replace(message, quote=None)
    if (answered := shown.get(seq)) is not None and answered.countable:
        return replace(message, quote=quote_of(answered))
    if message.quote is None or seq in held:
        return replace(message, quote=None)
    quote = message.quote
    for change in changes.get(seq, ()):
        quote = quote_with_change(quote, change)
    return replace(message, quote=quote)


def _reacted(reactions: Mapping[str, Reaction], emoji: str, user: UserId, *, on: bool) -> Mapping[str, Reaction]:
    known = reactions.get(emoji, Reaction(0))
    others = tuple(name for name in known.users if name != user)
    if not on:
        now = Reaction(max(known.count - 1, len(others)), others)
    elif user in known.users:
        now = known  # that it was taken off in between is closed to this user
    else:
        named = sum(len(each.users) for each in reactions.values())
        now = Reaction(known.count + 1, (*known.users, user) if named < NAMED_REACTIONS else known.users)
    rest = {name: each for name, each in reactions.items() if name != emoji}
    return {**reactions, emoji: now} if now.count > 0 else rest


# ---- what is recalled is kept nowhere


def without_text(entry: Entry, recall: Entry) -> JsonObject:
    """What may be kept of an entry once the message that it is, changes or answers is recalled: its wire form."""
    wire = entry.wire
    if target_of(entry) is not None:
        return {**wire, "body": {name: value for name, value in entry.body.items() if name != "body"}}
    if entry.seq == target_of(recall):
        gone = {"edited", "reactions", "pinned"}
        kept = {name: value for name, value in wire.items() if name not in gone}
        changed = max(recall.seq, entry.changed)
        return {**kept, "body": {}, "recalled": {"by": recall.sender, "ts": recall.ts}, "changed": changed}
    quote = _part(wire, "quote")
    return {**wire, "quote": {**quote, "preview": "", "recalled": True}} if quote else dict(wire)


# ---- reading what may have any form


def _part(value: Mapping[str, Any], name: str) -> JsonObject:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _quote(wire: JsonObject) -> Quote | None:
    match wire:
        case {"seq": int(seq), "kind": str(kind)}:
            return Quote(
                seq=seq,
                kind=kind,
                sender=UserId(_word(wire.get("from"))),
                ts=_number(wire.get("ts")) or 0,
                preview=_word(wire.get("preview")),
                recalled=bool(wire.get("recalled")),
                changed=_number(wire.get("changed")) or 0,
            )
        case _:
            return None


def _reactions(wire: JsonObject) -> dict[str, Reaction]:
    found: dict[str, Reaction] = {}
    for emoji, reaction in wire.items():
        match reaction:
            case {"count": int(count), **rest} if count > 0:
                users = rest.get("users")
                names = users if isinstance(users, list) else []
                found[emoji] = Reaction(count, tuple(UserId(name) for name in names if isinstance(name, str)))
    return found
