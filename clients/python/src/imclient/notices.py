"""What changed in a group, in words: the entries of kind `members` and `profile`. No I/O.

The words may hold anything that a user has chosen, such as a name: make them printable before they are printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from imclient.frames import Entry, JsonObject

NAMES_SHOWN = 5

_ROLES: Final[Mapping[object, str]] = MappingProxyType(
    {"owner": "made {} the owner", "admin": "made {} an admin", "member": "took the admin role from {}"}
)
_MEANINGS: Final[Mapping[str, Mapping[object, str]]] = MappingProxyType(
    {
        "history": {
            True: "let new members see earlier messages",
            False: "hid earlier messages from new members",
        },
        "join_mode": {
            "open": "let anybody join",
            "approval": "made joining need approval",
            "invite": "made the group invite-only",
        },
        "who_invites": {
            "members": "let all members invite others",
            "admins": "let only admins invite others",
        },
        "who_mentions_all": {
            "members": "let all members mention everybody",
            "admins": "let only admins mention everybody",
        },
    }
)


def members_changed(entry: Entry) -> str:
    """Who came, who went, who may do what, and who did it."""
    body = entry.body
    by = str(body.get("by") or entry.sender)
    did = [*_founded(body), *_came_and_went(by, body), *_roles(by, body), *_muted(entry, body), *_dissolved(body)]
    return f"{by} {', '.join(did) or 'changed the members'}"


def profile_changed(entry: Entry) -> str:
    """What the group is called and allows now, and who did it."""
    body = entry.body
    did: list[str] = []
    if isinstance(name := body.get("name"), str):
        did.append(f"changed the name to {name}")
    if isinstance(notice := body.get("notice"), str):
        did.append(f"changed the notice to: {notice}" if notice else "removed the notice")
    if "avatar" in body:
        did.append("changed the picture")
    did += [what for field, meanings in _MEANINGS.items() if (what := _meaning(body.get(field), meanings))]
    if (until := _time(body.get("muted_until"))) is not None:
        did.append(_until("muted everybody", until, entry) if until else "let everybody write again")
    did += _dissolved(body)
    return f"{entry.sender} {', '.join(did) or 'changed the group'}"


def clock(milliseconds: int) -> str:
    """Hours and minutes where the user is."""
    return _local(milliseconds).strftime("%H:%M")


def _founded(body: JsonObject) -> list[str]:
    match body.get("group"):
        case {"name": str(name)}:
            return [f"created the group {name}"]
        case _:
            return []


def _came_and_went(by: str, body: JsonObject) -> list[str]:
    added, removed = _users(body.get("added")), _users(body.get("removed"))
    others = [user for user in added if user != by]
    did: list[str] = []
    if others:
        did.append(f"added {_names(others)}")
    elif added and "group" not in body:
        did.append("joined")
    if removed == [by]:
        did.append("left")
    elif removed:
        did.append(f"removed {_names(removed)}")
    return did


def _roles(by: str, body: JsonObject) -> list[str]:
    roles = _by_user(body.get("roles"))
    if "owner" in roles.values():
        roles.pop(by, None)  # whoever gives the group away has lost their own role by that: it goes without saying
    return [what.format(user) for user, role in roles.items() if (what := _meaning(role, _ROLES))]


def _muted(entry: Entry, body: JsonObject) -> list[str]:
    times = {user: _time(until) for user, until in _by_user(body.get("muted")).items()}
    return [
        _until(f"muted {user}", until, entry) if until else f"unmuted {user}"
        for user, until in times.items()
        if until is not None
    ]


def _dissolved(body: JsonObject) -> list[str]:
    return ["dissolved the group"] if body.get("dissolved") is True else []


def _meaning(value: object, meanings: Mapping[object, str]) -> str | None:
    """What a value says; None for one that is not known, or no field at all."""
    return meanings.get(value) if isinstance(value, str | bool) else None


def _users(value: object) -> list[str]:
    return [str(user) for user in value] if isinstance(value, list) else []


def _by_user(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _names(users: list[str]) -> str:
    more = len(users) - NAMES_SHOWN
    return ", ".join(users[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _time(value: object) -> int | None:
    """A time in milliseconds, 0 for none at all; None for what is no time."""
    return value if isinstance(value, int) and value >= 0 else None


def _until(what: str, until: int, entry: Entry) -> str:
    """With the day where it is another one than the entry's; without any time where it is too far away to be told."""
    try:
        end, said = _local(until), _local(entry.ts)
    except (OverflowError, ValueError, OSError):
        return what
    return f"{what} until {end:%H:%M}" if end.date() == said.date() else f"{what} until {end:%Y-%m-%d %H:%M}"


def _local(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
