"""What becomes of a message that is edited, recalled, reacted to or pinned, and who may do it.

Each change first says whether it is made already (a repeated request is no error), then whether it may be made, then
what it makes of the message. Nothing here is stored: flows/message_changes.py does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from im.domain.entries import COUNTABLE, Entry
from im.domain.errors import BadRequest, Conflict, Expired, Forbidden, TooLarge
from im.domain.group import Role
from im.domain.ids import Seq, UserId
from im.domain.message_state import Edited, Reaction, Recalled, State

EDITABLE: Final = frozenset({"text", "custom"})
MAX_EDITS: Final = 20
MAX_EMOJI: Final = 20
MAX_PINNED: Final = 50
"""Of one conversation."""
NAMED_REACTIONS: Final = 16
"""Reactions of one message that name their user: with them, the largest message still fits into a frame."""

NOTHING: Final = "{}"
"""The body of a recalled message."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Deploy parameters: how long after it was sent a message may be changed, in milliseconds."""

    recall: int
    edit: int


@dataclass(frozen=True, slots=True)
class Target:
    """A message as it is, and what it is to the one who changes it."""

    message: Entry
    role: Role | None
    """Of the one who changes it; None in a direct conversation."""
    own_reactions: Mapping[str, Seq] = field(default_factory=dict)
    """The emoji with which they have reacted, each with the change that says so."""

    @property
    def state(self) -> State:
        """What changes have made of it until now."""
        return self.message.state

    @property
    def leads(self) -> bool:
        """Whether they are the owner or an admin of its group."""
        return self.role in {"owner", "admin"}


class MessageChange(Protocol):
    """One of the changes below."""

    @property
    def kind(self) -> str:
        """Of its entry."""

    @property
    def says(self) -> Mapping[str, Any]:
        """The body of its entry, `target` apart."""

    def made(self, target: Target) -> Seq | None:
        """If it is so already, the change that made it so, or the message itself."""

    def check(self, target: Target, now: int) -> None:
        """Whether it may be made. Raises BadRequest, Conflict, Expired, Forbidden, TooLarge."""

    def applied(self, target: Target, seq: Seq, ts: int) -> Entry:
        """The message once it is made, as the entry `seq` at `ts`."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A message says something else."""

    by: UserId
    body: str
    says: Mapping[str, Any]
    window: int
    kind: str = "edit"

    def made(self, target: Target) -> Seq | None:
        """It says this already."""
        if target.message.sender != self.by or target.message.body != self.body or target.state.recalled is not None:
            return None
        return target.state.edited.seq if target.state.edited is not None else target.message.seq

    def check(self, target: Target, now: int) -> None:
        """The sender's own message, while the window is open."""
        message = target.message
        if message.sender != self.by:
            raise Forbidden("only who sent a message may edit it")
        _require_there(target)
        if now - message.ts > self.window:
            raise Expired(f"a message can be edited for {self.window // 1000} s")
        if len(target.state.edits) >= MAX_EDITS:
            raise TooLarge("edits of one message", len(target.state.edits) + 1, MAX_EDITS)

    def applied(self, target: Target, seq: Seq, ts: int) -> Entry:
        """The first body is kept beside the newest; those between stand in their own entries."""
        state = target.state
        original = state.original if state.original is not None else target.message.body
        edits = (*state.edits, seq)
        return replace(
            target.message,
            body=self.body,
            state=replace(state, changed=seq, edits=edits, edited=Edited(seq, ts), original=original),
        )


@dataclass(frozen=True, slots=True)
class Recall:
    """A message is taken back: what it said is gone."""

    by: UserId
    window: int
    kind: str = "recall"
    says: Mapping[str, Any] = field(default_factory=dict)

    def made(self, target: Target) -> Seq | None:
        """It is gone already."""
        return target.state.recalled.seq if target.state.recalled is not None else None

    def check(self, target: Target, now: int) -> None:
        """The sender's own message, while the window is open; any at any time for the owner and admins of a group."""
        if target.leads:
            return
        if target.message.sender != self.by:
            raise Forbidden("only who sent a message may recall it, and in a group the owner and admins")
        if now - target.message.ts > self.window:
            raise Expired(f"a message can be recalled for {self.window // 1000} s")

    def applied(self, target: Target, seq: Seq, ts: int) -> Entry:
        """Nothing of it is left but that it was."""
        state = State(changed=seq, recalled=Recalled(seq, self.by, ts))
        return replace(target.message, body=NOTHING, state=state)


@dataclass(frozen=True, slots=True)
class React:
    """Somebody reacts to a message, or does not any more."""

    by: UserId
    emoji: str
    on: bool
    kind: str = "reaction"

    @property
    def says(self) -> Mapping[str, Any]:
        """The rest of its entry's body."""
        return {"emoji": self.emoji, "on": self.on}

    def made(self, target: Target) -> Seq | None:
        """They have, or have not, reacted so already."""
        if target.state.recalled is not None or (self.emoji in target.own_reactions) != self.on:
            return None
        return target.own_reactions.get(self.emoji) or target.state.changed or target.message.seq

    def check(self, target: Target, now: int) -> None:  # noqa: ARG002 - as all changes
        """Any message, with one of at most 20 emoji."""
        _require_there(target)
        reactions = target.state.reactions
        if self.on and self.emoji not in reactions and len(reactions) >= MAX_EMOJI:
            raise TooLarge("emoji of one message", len(reactions) + 1, MAX_EMOJI)

    def applied(self, target: Target, seq: Seq, ts: int) -> Entry:  # noqa: ARG002 - as all changes
        """One more or one less; the first NAMED_REACTIONS by name, as long as they last."""
        reactions = dict(target.state.reactions)
        count, users = reactions.get(self.emoji, Reaction(0, ()))
        if self.on:
            named = sum(len(reaction.users) for reaction in reactions.values())
            reactions[self.emoji] = Reaction(count + 1, (*users, self.by) if named < NAMED_REACTIONS else users)
        elif count > 1:
            reactions[self.emoji] = Reaction(count - 1, tuple(user for user in users if user != self.by))
        else:
            del reactions[self.emoji]
        return replace(target.message, state=replace(target.state, changed=seq, reactions=reactions))

    def reactions(self, target: Target, seq: Seq) -> dict[str, Seq]:
        """The reactions of the one who makes it, once it is made as the entry `seq`."""
        others = {emoji: at for emoji, at in target.own_reactions.items() if emoji != self.emoji}
        return others | ({self.emoji: seq} if self.on else {})


@dataclass(frozen=True, slots=True)
class Pin:
    """A message is pinned to its conversation, or not any more."""

    on: bool
    kind: str = "pin"

    @property
    def says(self) -> Mapping[str, Any]:
        """The rest of its entry's body."""
        return {"on": self.on}

    def made(self, target: Target) -> Seq | None:
        """It is, or is not, pinned already."""
        if target.state.recalled is not None or bool(target.state.pinned) != self.on:
            return None
        return target.state.pinned or target.state.changed or target.message.seq

    def check(self, target: Target, now: int) -> None:  # noqa: ARG002 - as all changes
        """Both in a direct conversation, the owner and admins in a group. How many are pinned is asked elsewhere."""
        if target.role is not None and not target.leads:
            raise Forbidden("only the owner and admins of a group may pin")
        _require_there(target)

    def applied(self, target: Target, seq: Seq, ts: int) -> Entry:  # noqa: ARG002 - as all changes
        """With the change that pinned it."""
        state = replace(target.state, changed=seq, pinned=seq if self.on else Seq(0))
        return replace(target.message, state=state)


def as_sent(message: Entry) -> Entry:
    """A message as it was before all changes; one that is recalled stays so."""
    state = message.state
    body = state.original if state.original is not None else message.body
    return replace(message, body=body, state=State()) if state.recalled is None else message


def require_editable(message: Entry) -> None:
    """That a message is one that says something of its sender's own. Raises BadRequest."""
    if message.kind not in EDITABLE or message.forwarded is not None:
        raise BadRequest("data.seq", f"cannot be edited: {message.kind}{', forwarded' if message.forwarded else ''}")


def require_message(entry: Entry, path: str = "data.seq") -> None:
    """That an entry is a message. Raises BadRequest naming `path`."""
    if entry.kind not in COUNTABLE:
        raise BadRequest(path, f"entry {entry.seq} is no message but a {entry.kind}")


def _require_there(target: Target) -> None:
    if target.state.recalled is not None:
        raise Conflict("the message is recalled")
