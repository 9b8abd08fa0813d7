"""What the machine asks its owner to do, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from imclient.errors import ImClientError
from imclient.frames import Entry, JsonObject
from imclient.ids import ConvId


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection, and say `opened` or `failed` with its number. `fresh`: with a token that was not used yet."""

    link: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send a frame over a connection."""

    link: int
    frame: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close a connection, or stop opening it. Nothing need be said of it any more."""

    link: int


@dataclass(frozen=True, slots=True)
class Change:
    """One row of what is kept: put there, or, without a `value`, no longer there.

    The tables: `meta` by name, `rows`, `logs`, `reads` and `deleted` by conversation, `outbox` by cmid, `entries` by
    conversation and seq. An `entries` row without a seq and a value stands for all entries of its conversation.
    """

    table: Literal["meta", "rows", "logs", "reads", "deleted", "outbox", "entries"]
    key: str
    value: JsonObject | None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """Keep all of this, or nothing of it, before anything that follows is done."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of `call`: the reply's data, or an error."""

    call: int
    data: JsonObject | None = None
    error: ImClientError | None = None


class State(StrEnum):
    """How the client is connected."""

    CONNECTING = "connecting"
    ONLINE = "online"
    WAITING = "waiting"  # until the next attempt
    ENDED = "ended"  # and it stays away: kicked, refused or stopped


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The connection has opened, is lost, or will stay away. `why` is a word or two for a program, `error` what went
    wrong."""

    state: State
    why: str = ""
    error: ImClientError | None = None


class Source(StrEnum):
    """How an entry came to this client."""

    PUSH = "push"
    REPLY = "reply"  # its own message, known from the reply
    FETCH = "fetch"  # asked for, to fill a hole
    OLDER = "older"  # asked for, as history


@dataclass(frozen=True, slots=True)
class Arrived:
    """An entry has come; `new` is False for a duplicate."""

    entry: Entry
    source: Source
    new: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """A page of a conversation was fetched, whatever was in it. Below `restarted`, when it is not None, everything was
    forgotten, to be loaded anew."""

    conv: ConvId
    restarted: int | None = None


@dataclass(frozen=True, slots=True)
class RowChanged:
    """A row of the conversation list, as it is now."""

    row: JsonObject


@dataclass(frozen=True, slots=True)
class DeletedChanged:
    """The user has deleted something of a conversation for themself, here or on another device."""

    conv: ConvId


@dataclass(frozen=True, slots=True)
class OutgoingChanged:
    """What has become of a message that is to be sent: as in `outbox`, with a `state` of `queued`, `sending`, `failed`
    (with `code`), `sent` (with `seq`) or `discarded`. `error` is why it has failed just now."""

    item: JsonObject
    error: ImClientError | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push that is none of the machine's business."""

    name: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class Noted:
    """Something for a person who looks for a fault."""

    text: str


Event: TypeAlias = StateChanged | Arrived | Settled | RowChanged | DeletedChanged | OutgoingChanged | Pushed | Noted
Output: TypeAlias = Dial | Transmit | Hangup | Save | Answer | Event
