"""The one table from refusals to their codes on the wire."""

from __future__ import annotations

from typing import Any, Final

from im.domain import errors

CODES: Final[dict[type[errors.ImError], tuple[str, bool]]] = {
    # refusal: (code, whether the same request may succeed later)
    errors.BadRequest: ("bad_request", False),
    errors.UnknownRoute: ("unknown_route", False),
    errors.Unauthorized: ("unauthorized", False),
    errors.Forbidden: ("forbidden", False),
    errors.NotFound: ("not_found", False),
    errors.NotMember: ("not_member", False),
    errors.Muted: ("muted", False),
    errors.RateLimited: ("rate_limited", False),
    errors.TooLarge: ("too_large", False),
    errors.TooManyGroups: ("too_large", False),
    errors.Expired: ("expired", False),
    errors.Conflict: ("conflict", False),
    errors.InsufficientFunds: ("insufficient_funds", False),
    errors.SoldOut: ("sold_out", False),
    errors.AlreadyClaimed: ("already_claimed", False),
    errors.Unavailable: ("unavailable", True),
}


def describe(error: errors.ImError) -> dict[str, Any]:
    """The `error` of a reply."""
    code, retryable = CODES[type(error)]
    out: dict[str, Any] = {"code": code, "message": str(error), "retryable": retryable}
    if isinstance(error, errors.Unavailable | errors.Muted | errors.RateLimited):
        out["retry_after_ms"] = error.retry_after_ms
    if isinstance(error, errors.AlreadyClaimed):
        out["amount"] = error.amount
    return out
