"""Chat logs as JSON lines, `{"from": nickname, "text": …}` in order, and user ids for the people in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imclient.errors import ChatLogError
from imclient.ids import MAX_USER_ID_LENGTH, UserId

_NOT_IN_A_USER_ID = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log: who said what."""

    nickname: str
    text: str


def read_chat_log(path: Path, *, limit: int | None = None) -> list[Line]:
    """The first `limit` lines of a log (all of them without), in order; empty lines of the file are skipped.

    Raises ChatLogError, with the line's number, for a file that cannot be read, a line that is no such object, and a
    log without any line.
    """
    lines: list[Line] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, raw in enumerate(file, start=1):
                if limit is not None and len(lines) >= limit:
                    break
                if raw.strip():
                    lines.append(_line(path, number, raw))
    except (OSError, UnicodeDecodeError) as error:
        raise ChatLogError(f"cannot read {path}: {error}") from error
    if not lines:
        raise ChatLogError(f"{path} holds no message")
    return lines


def user_ids(nicknames: Iterable[str], *, prefix: str) -> dict[str, UserId]:
    """A user id for each nickname: `<prefix>-<nickname>`, with what a user id may not contain replaced by `_`.

    Different nicknames get different ids, also when they differ only in what is replaced or cut off: the later one gets
    a number behind it. The same nicknames in the same order, with the same prefix, get the same ids. Raises ValueError
    for a prefix that leaves no room for a name.
    """
    room = MAX_USER_ID_LENGTH - len(prefix) - 1
    if room < 16 or _NOT_IN_A_USER_ID.search(prefix):
        raise ValueError(f"not a prefix for user ids: {prefix!r}")
    ids: dict[str, UserId] = {}
    taken: set[str] = set()
    for nickname in nicknames:
        if nickname in ids:
            continue
        safe = _NOT_IN_A_USER_ID.sub("_", nickname) or "_"
        candidate, count = safe[:room], 1
        while candidate in taken:
            count += 1
            suffix = f"-{count}"
            candidate = safe[: room - len(suffix)] + suffix
        taken.add(candidate)
        ids[nickname] = UserId(f"{prefix}-{candidate}")
    return ids


def _line(path: Path, number: int, raw: str) -> Line:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ChatLogError(f"{path}, line {number}: not JSON: {error}") from error
    match found:
        case {"from": str(nickname), "text": str(text)} if nickname and text:
            return Line(nickname, text)
        case _:
            raise ChatLogError(f'{path}, line {number}: not an object with "from" and "text"')
