"""Demo tokens, signed with the secret of a local stack. In production an identity provider issues them."""

from __future__ import annotations

import jwt

from imclient.frames import JsonObject
from imclient.ids import UserId, is_user_id
from imclient.stack import SigningKey

DEFAULT_TTL_SECONDS = 86_400


def mint_token(key: SigningKey, user: UserId, *, now: int, ttl: int = DEFAULT_TTL_SECONDS) -> str:
    """A signed JWT for `user`, valid from `now` (seconds since the epoch) for `ttl` seconds.

    Raises ValueError for a user id the server would refuse, or a `ttl` that is not positive.
    """
    if not is_user_id(user):
        raise ValueError(f"not a user id: {user!r}; 1 to 64 of A-Z a-z 0-9 _ -")
    if ttl <= 0:
        raise ValueError(f"a token must live at least one second, not {ttl}")
    claims: JsonObject = {"sub": user, "iat": now, "exp": now + ttl}
    if key.issuer is not None:
        claims["iss"] = key.issuer
    if key.audience is not None:
        claims["aud"] = key.audience
    return jwt.encode(claims, key.secret, algorithm=key.algorithm)
