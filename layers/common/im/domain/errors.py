"""Everything a flow may refuse, as types that carry their fields. wire/error_table.py gives each its code."""

from __future__ import annotations


class ImError(Exception):
    """Base of all refusals. The text is for the developer of a client, never for its user."""


class BadRequest(ImError):
    """The frame, or one of its fields, does not have the form that the protocol asks for."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class UnknownRoute(ImError):
    """No operation of that route and name exists."""

    def __init__(self, route: str, op: str) -> None:
        super().__init__(f"no such operation: {route}.{op}")
        self.route = route
        self.op = op


class Unauthorized(ImError):
    """The connection carries no verified identity."""

    def __init__(self) -> None:
        super().__init__("this connection has no verified identity")


class Forbidden(ImError):
    """The caller may not do this."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class NotFound(ImError):
    """What the request names does not exist."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not found: {what}")


class NotMember(ImError):
    """The caller is no member of the conversation, or it does not exist: the two look the same from outside."""

    def __init__(self, conv: str) -> None:
        super().__init__(f"not a member of {conv}")
        self.conv = conv


class Muted(ImError):
    """The caller may not send to the conversation before `retry_after_ms` are over."""

    def __init__(self, whom: str, retry_after_ms: int) -> None:
        super().__init__(f"{whom} may not send now")
        self.retry_after_ms = retry_after_ms


class RateLimited(ImError):
    """The caller does this too often. It may be done again after `retry_after_ms`."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__("too often")
        self.retry_after_ms = retry_after_ms


class TooLarge(ImError):
    """Something is above its limit, in bytes unless the text says otherwise."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what}: {size} is above the limit of {limit}")
        self.what = what
        self.size = size
        self.limit = limit


class TooManyGroups(TooLarge):
    """Somebody is in as many groups as they may be."""

    def __init__(self, user: str, groups: int, limit: int) -> None:
        super().__init__(f"groups of {user}", groups + 1, limit)
        self.user = user


class Expired(ImError):
    """It is too late for this."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Conflict(ImError):
    """The request contradicts what is stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class InsufficientFunds(ImError):
    """The caller has less money than this takes."""

    def __init__(self, amount: int) -> None:
        super().__init__(f"the wallet holds less than {amount}")
        self.amount = amount


class SoldOut(ImError):
    """Others have claimed all shares of a red packet."""

    def __init__(self, packet: str) -> None:
        super().__init__(f"all shares of {packet} are claimed")
        self.packet = packet


class AlreadyClaimed(ImError):
    """The caller has claimed a share of a red packet before: this one."""

    def __init__(self, packet: str, amount: int) -> None:
        super().__init__(f"claimed a share of {packet} before")
        self.packet = packet
        self.amount = amount


class Unavailable(ImError):
    """It could not be done now; nothing is wrong with the request. Retry after `retry_after_ms`."""

    def __init__(self, reason: str, retry_after_ms: int) -> None:
        super().__init__(reason)
        self.retry_after_ms = retry_after_ms
