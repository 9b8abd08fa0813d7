"""What the entries of a group say about who comes and goes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from im.domain.entries import GROUP_CHANGES, Entry
from im.domain.group import Span, Spans
from im.domain.ids import UserId


def added_by(entries: Sequence[Entry]) -> list[UserId]:
    """Who has come in with these entries, each once."""
    added = (user for entry in entries if entry.kind == "members" for user in json.loads(entry.body)["added"])
    return list(dict.fromkeys(UserId(user) for user in added))


def removed_by(entries: Sequence[Entry]) -> dict[UserId, Spans]:
    """Who has gone with these entries, each with the entries that say so: the last that they may see of a stay."""
    out: dict[UserId, Spans] = {}
    for entry in entries:
        if entry.kind == "members":
            for user in json.loads(entry.body)["removed"]:
                out[UserId(user)] = (*out.get(UserId(user), ()), Span(entry.seq, entry.seq))
    return out


def ends_group(entry: Entry) -> bool:
    """Whether a group is dissolved with this entry."""
    return entry.kind in GROUP_CHANGES and bool(json.loads(entry.body).get("dissolved"))
