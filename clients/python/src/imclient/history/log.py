"""The log of one conversation as it is stored, and what follows from it: who may see what, what became of a message.

What docs/protocol.md says under "Conversations and entries", computed once more from the entries alone. Pure: no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from imclient.frames import COUNTABLE_KINDS

CHANGE_KINDS: Final = frozenset({"edit", "recall", "reaction", "pin"})
NAMED_REACTIONS: Final = 16
REMEMBERED_STAYS: Final = 20
PREVIEW_CHARACTERS: Final = 80
EMPTY_BODY: Final = "{}"

FOREVER: Final = 10**15
"""Above every seq: the end of what goes on."""


def canonical(value: object) -> str:
    """JSON in one form: two bodies are the same when these are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry as it is stored; of a message also what the store says that changes have made of it (`state`)."""

    seq: int
    n: int
    kind: str
    sender: str
    ts: int
    body: Mapping[str, Any]
    cmid: str | None = None
    mentions: tuple[str, ...] = ()
    reply_to: int | None = None
    forwarded: tuple[str, int] | None = None
    changed: int = 0
    original: Mapping[str, Any] | None = None
    """The body as it was sent, once it is edited."""
    state: State | None = None

    @property
    def countable(self) -> bool:
        """Whether it is a message."""
        return self.kind in COUNTABLE_KINDS

    @property
    def target(self) -> int:
        """The message that a change is about; 0 for an entry that is none."""
        target = self.body.get("target") if self.kind in CHANGE_KINDS else None
        return target if isinstance(target, int) else 0


class Stay(NamedTuple):
    """A part of a log in which somebody was a member: from the entry that says that they came to the one that says that
    they went."""

    first: int
    last: int

    def __contains__(self, seq: object) -> bool:
        """Whether the entry `seq` lies in it."""
        return isinstance(seq, int) and self.first <= seq <= self.last


@dataclass(frozen=True, slots=True)
class State:
    """What changes have made of a message.

    `version` names its body: 0 as it was sent, else the seq of the edit; None once it is recalled.
    `reactions`: of each emoji the count, and the names in order of seq.
    """

    version: int | None = 0
    edited: tuple[int, int] | None = None
    recalled: tuple[str, int] | None = None
    reactions: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    pinned: bool = False

    def after(self, change: Stored) -> State:
        """The state once `change` is made."""
        if change.kind == "recall":
            return State(version=None, recalled=(change.sender, change.ts))
        if change.kind == "edit":
            edited = (change.seq, change.ts)
            return State(change.seq, edited, self.recalled, self.reactions, self.pinned)
        if change.kind == "pin":
            is_on = change.body.get("on") is True
            return State(self.version, self.edited, self.recalled, self.reactions, is_on)
        emoji, is_on = str(change.body.get("emoji")), change.body.get("on") is True
        reactions = _reacted(self.reactions, emoji, change.sender, on=is_on)
        return State(self.version, self.edited, self.recalled, reactions, self.pinned)


UNCHANGED: Final = State()


def _reacted(
    before: Mapping[str, tuple[int, tuple[str, ...]]], emoji: str, user: str, *, on: bool
) -> dict[str, tuple[int, tuple[str, ...]]]:
    reactions = dict(before)
    count, users = reactions.get(emoji, (0, ()))
    if on:
        named = sum(len(some) for _, some in reactions.values())
        reactions[emoji] = count + 1, (*users, user) if named < NAMED_REACTIONS else users
    elif count > 1:
        reactions[emoji] = count - 1, tuple(other for other in users if other != user)
    else:
        reactions.pop(emoji, None)
    return reactions


@dataclass(frozen=True)
class Log:
    """The entries of one conversation by seq."""

    conv: str
    entries: Mapping[int, Stored]

    @cached_property
    def ordered(self) -> list[Stored]:
        """The entries, ascending."""
        return [self.entries[seq] for seq in sorted(self.entries)]

    @cached_property
    def last(self) -> int:
        """The newest seq; 0 of an empty log."""
        return max(self.entries, default=0)

    def n_at(self, seq: int) -> int | None:
        """`n` at an entry; 0 before the first one, None where there is none."""
        if seq == 0:
            return 0
        entry = self.entries.get(seq)
        return entry.n if entry is not None else None

    # ---- who may see it

    @cached_property
    def stays(self) -> Mapping[str, tuple[Stay, ...]]:
        """When who was in it. In a direct conversation its two people, all the time."""
        if self.conv.startswith("d:"):
            return {user: (Stay(1, FOREVER),) for user in self.conv.split(":")[1:]}
        stays: dict[str, list[Stay]] = {}
        for entry in self.ordered:
            for user in _names(entry, "added"):
                stays.setdefault(user, []).append(Stay(entry.seq, FOREVER))
            for user in _names(entry, "removed"):
                if theirs := stays.get(user):
                    theirs[-1] = Stay(theirs[-1].first, entry.seq)
        return {user: tuple(theirs) for user, theirs in stays.items()}

    def stays_of(self, user: str) -> tuple[Stay, ...]:
        """When somebody was in it; nothing for somebody who never was."""
        return self.stays.get(user, ())

    @cached_property
    def _history_at(self) -> Mapping[int, bool]:
        """For each entry that adds members: whether the group showed its history to them."""
        shown, out = False, {}
        for entry in self.ordered:
            about = entry.body.get("group") if entry.kind == "members" else entry.body
            if entry.kind in {"members", "profile"} and isinstance(about, Mapping) and "history" in about:
                shown = about["history"] is True
            if entry.kind == "members":
                out[entry.seq] = shown
        return out

    @cached_property
    def dissolved(self) -> int:
        """The entry that dissolves the group; 0 without one."""
        of = [e.seq for e in self.ordered if e.kind in {"members", "profile"} and e.body.get("dissolved") is True]
        return of[-1] if of else 0

    @cached_property
    def _seen(self) -> Mapping[str, tuple[tuple[Stay, ...], tuple[Stay, ...]]]:
        out: dict[str, tuple[tuple[Stay, ...], tuple[Stay, ...]]] = {}
        for user, stays in self.stays.items():
            now: tuple[Stay, ...] = ()
            ever: tuple[Stay, ...] = ()
            for stay in stays:
                opens_all = self._history_at.get(stay.first, False)
                now = (Stay(1, stay.last),) if opens_all else (*now, stay)[-REMEMBERED_STAYS:]
                ever = (Stay(1, stay.last),) if opens_all else (*ever, stay)
            out[user] = now, ever
        return out

    def sees(self, user: str, seq: int) -> bool:
        """Whether the user may see an entry, as of the end of the log."""
        return any(seq in span for span in self._seen.get(user, ((), ()))[0])

    def ever_saw(self, user: str, seq: int) -> bool:
        """Whether the user was ever allowed to see an entry."""
        return any(seq in span for span in self._seen.get(user, ((), ()))[1])

    def was_in(self, user: str, seq: int) -> bool:
        """Whether the user was a member when the entry came, or comes or goes with it: from then on it is open to them
        at any time."""
        return any(seq in stay for stay in self.stays.get(user, ())[-REMEMBERED_STAYS:])

    def is_in(self, user: str) -> bool:
        """Whether the user is a member, as of the end of the log."""
        return self.was_in(user, FOREVER) and not self.dissolved

    def last_seen_by(self, user: str) -> int:
        """The newest entry that the user may see; 0 for somebody who was never in it."""
        spans = self._seen.get(user, ((), ()))[0]
        return min(spans[-1].last, self.last) if spans else 0

    def seen_by(self, user: str) -> Iterable[int]:
        """All that the user may see, ascending, as of the end of the log."""
        return (entry.seq for entry in self.ordered if self.sees(user, entry.seq))

    # ---- what became of messages

    @cached_property
    def changes(self) -> Mapping[int, tuple[Stored, ...]]:
        """The changes of each message that has any, ascending."""
        out: dict[int, list[Stored]] = {}
        for entry in self.ordered:
            if entry.target:
                out.setdefault(entry.target, []).append(entry)
        return {target: tuple(theirs) for target, theirs in out.items()}

    @cached_property
    def _states(self) -> dict[int, dict[int, State]]:
        out: dict[int, dict[int, State]] = {}
        for target, changes in self.changes.items():
            state, after = UNCHANGED, {0: UNCHANGED}
            for change in changes:
                state = after[change.seq] = state.after(change)
            out[target] = after
        return out

    def state_at(self, target: int, changed: int) -> State | None:
        """What a message is up to its change `changed` (0: as it was sent); None when it has no such change."""
        return self._states.get(target, {0: UNCHANGED}).get(changed)

    def newest_change(self, target: int) -> int:
        """The seq of a message's newest change; 0 without one."""
        changes = self.changes.get(target)
        return changes[-1].seq if changes else 0

    def recall_of(self, target: int) -> int:
        """The seq of the entry that recalls a message; 0 without one."""
        return next((change.seq for change in self.changes.get(target, ()) if change.kind == "recall"), 0)


def is_empty(body: object) -> bool:
    """Whether nothing is said."""
    return canonical(body) == EMPTY_BODY


def _names(entry: Stored, what: str) -> list[str]:
    found = entry.body.get(what) if entry.kind == "members" else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def preview(kind: str, body: Mapping[str, Any]) -> str:
    """A message in one line, as quotes and rows show it."""
    name = {"text": "text", "merged": "title"}.get(kind)
    text = body.get(name) if name is not None else None
    return " ".join(text.split())[:PREVIEW_CHARACTERS].rstrip() if isinstance(text, str) else ""
