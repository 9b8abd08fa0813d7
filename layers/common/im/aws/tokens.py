"""Verifies the tokens that connections open with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt

from im.domain.ids import USER_ID, UserId

MAX_TOKEN_BYTES: Final = 8 * 1024
MIN_SECRET_BYTES: Final = 32
"""RFC 7518, 3.2: a key for HS256 has at least as many bits as its hash."""


class BadToken(Exception):
    """The token is not to be trusted. The reason is for the log and never reaches the client."""


class Keys(Protocol):
    """Where the key for a token comes from, and which algorithms that key is for."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The only algorithms that a token may name."""

    def key_for(self, token: str) -> Any:
        """The key that must have signed `token`. Raises jwt.PyJWTError."""


class SharedSecret:
    """HS256 with one secret."""

    algorithms = ("HS256",)

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def key_for(self, token: str) -> str:  # noqa: ARG002 - one key for all tokens
        """The secret."""
        secret = self._read()
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise BadToken(f"the token secret is shorter than {MIN_SECRET_BYTES} bytes")
        return secret


class PublishedKeys:
    """RS256 or ES256 with the keys that a JWKS URL publishes; fetched at first use and kept for five minutes.

    A withdrawn key is refused after that time. (PyJWKClient's cache of single keys has no end, so it stays off.)
    """

    algorithms = ("RS256", "ES256")

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, lifespan=300, timeout=3)

    def key_for(self, token: str) -> Any:
        """The published key that the token's `kid` names. The key knows its own algorithm."""
        return self._client.get_signing_key_from_jwt(token)


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Verifies signature and claims. The algorithm comes from the kind of key, never from the token alone."""

    keys: Keys
    issuer: str | None
    audience: str | None

    def verify(self, token: str) -> UserId:
        """Whom the token names. Raises BadToken, whatever `token` is."""
        if len(token) > MAX_TOKEN_BYTES:
            raise BadToken("larger than 8 KiB")
        try:
            claims = jwt.decode(
                token,
                self.keys.key_for(token),
                algorithms=list(self.keys.algorithms),
                issuer=self.issuer,
                audience=self.audience,
                options={
                    "require": ["sub", "exp", "iat"],
                    "verify_aud": self.audience is not None,
                    "verify_iss": self.issuer is not None,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as e:
            raise BadToken(repr(e)) from e
        subject = claims["sub"]
        if not isinstance(subject, str) or not USER_ID.fullmatch(subject):
            raise BadToken("sub is no user id")
        return UserId(subject)
