"""The final tables, read as docs/data-model.md describes them. Pure: items in DynamoDB's JSON come in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from imclient.errors import RecordingError
from imclient.history.log import Log, State, Stored
from imclient.history.recording import Range

CONVERSATION: Final = "Conversation"
INBOX: Final = "Inbox"

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The watermarks of one row. `left_seq` is 0 for a member."""

    last_seq: int = 0
    last_n: int = 0
    read_seq: int = 0
    read_n: int = 0
    ack_seq: int = 0
    left_seq: int = 0

    def completed_by(self, shared: StoredRow) -> StoredRow:
        """The row of a large group's member, with the newest entry that all of them share."""
        newer = shared if shared.last_seq > self.last_seq else self
        left_seq = self.left_seq or shared.left_seq
        return StoredRow(newer.last_seq, newer.last_n, self.read_seq, self.read_n, self.ack_seq, left_seq)


@dataclass(frozen=True, slots=True)
class Tables:
    """What is stored at the end: logs by conversation; rows, and what was deleted, by user and conversation."""

    logs: Mapping[str, Log]
    rows: Mapping[tuple[str, str], StoredRow]
    deleted: Mapping[tuple[str, str], tuple[Range, ...]]

    @classmethod
    def of(cls, conversation: Iterable[Item], inbox: Iterable[Item]) -> Self:
        """Read the items of the tables Conversation and Inbox. Raises RecordingError for an entry that is none."""
        entries: dict[str, dict[int, Stored]] = {}
        for item in conversation:
            conv, sort = _key(item)
            if sort.startswith("MSG#"):
                entry = _entry(item)
                entries.setdefault(conv, {})[entry.seq] = entry
        return cls({conv: Log(conv, some) for conv, some in entries.items()}, *_inbox(inbox))

    @classmethod
    def from_items(cls, tables: Mapping[str, Iterable[Item]]) -> Self:
        """Read the items of a file of tables, by table."""
        return cls.of(tables.get(CONVERSATION, ()), tables.get(INBOX, ()))

    def has_deleted(self, user: str, conv: str, seq: int) -> bool:
        """Whether the user has deleted an entry for themself."""
        return any(first <= seq <= last for first, last in self.deleted.get((user, conv), ()))


def _inbox(items: Iterable[Item]) -> tuple[dict[tuple[str, str], StoredRow], dict[tuple[str, str], tuple[Range, ...]]]:
    own: dict[tuple[str, str], StoredRow] = {}
    shared: dict[str, StoredRow] = {}
    large: dict[str, frozenset[str]] = {}
    deleted: dict[tuple[str, str], tuple[Range, ...]] = {}
    for item in items:
        user, sort = _key(item)
        if sort == "SHARED":
            shared[user] = _row(item)
        elif sort == "USER":
            large[user] = frozenset(item.get("large", {"SS": []})["SS"])
        elif sort.startswith("CONV#"):
            own[user, sort.removeprefix("CONV#")] = _row(item)
        elif sort.startswith("WITHOUT#"):
            seqs = [int(seq["N"]) for seq in item["ranges"]["L"]]
            deleted[user, sort.removeprefix("WITHOUT#")] = tuple(zip(seqs[::2], seqs[1::2], strict=True))
    rows = {
        (user, conv): row.completed_by(shared[conv])
        if conv in shared and conv in large.get(user, ()) and not row.left_seq
        else row
        for (user, conv), row in own.items()
    }
    return rows, deleted


def _key(item: Item) -> tuple[str, str]:
    match item:
        case {"pk": {"S": str(pk)}, **rest}:
            sort = rest.get("sk")
            return pk, str(sort["S"]) if isinstance(sort, Mapping) and "S" in sort else ""
        case _:
            raise RecordingError("an item of a table without a key")


def _number(item: Item, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _row(item: Item) -> StoredRow:
    names = ("last_seq", "last_n", "read_seq", "read_n", "ack_seq", "left_seq")
    return StoredRow(*(_number(item, name) for name in names))


def _entry(item: Item) -> Stored:
    try:
        forwarded = item["forwarded"]["M"] if "forwarded" in item else None
        return Stored(
            seq=int(item["seq"]["N"]),
            n=int(item["n"]["N"]),
            kind=item["kind"]["S"],
            sender=item["from"]["S"],
            ts=int(item["ts"]["N"]),
            body=json.loads(item["body"]["S"]),
            cmid=item["cmid"]["S"] if "cmid" in item else None,
            mentions=tuple(json.loads(item["mentions"]["S"])) if "mentions" in item else (),
            reply_to=int(item["reply_to"]["N"]) if "reply_to" in item else None,
            forwarded=(forwarded["from"]["S"], int(forwarded["ts"]["N"])) if forwarded is not None else None,
            changed=_number(item, "changed"),
            original=json.loads(item["original"]["S"]) if "original" in item else None,
            state=_state(item) if "changed" in item else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        key = item.get("pk"), item.get("sk")
        raise RecordingError(f"the item {key} is no entry of a log: {error!r}") from error


def _state(item: Item) -> State:
    edited = item["edited"]["M"] if "edited" in item else None
    recalled = item["recalled"]["M"] if "recalled" in item else None
    version = 0 if edited is None else int(edited["seq"]["N"])
    reactions = {
        emoji: (int(one["M"]["count"]["N"]), tuple(user["S"] for user in one["M"]["users"]["L"]))
        for emoji, one in item.get("reactions", {"M": {}})["M"].items()
    }
    return State(
        version=None if recalled is not None else version,
        edited=(int(edited["seq"]["N"]), int(edited["ts"]["N"])) if edited is not None else None,
        recalled=(recalled["by"]["S"], int(recalled["ts"]["N"])) if recalled is not None else None,
        reactions=reactions,
        pinned="pinned" in item,
    )
