"""Verifies the tokens that connections open with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt

from im.aws.secrets import RotatingSecret
from im.domain.ids import USER_ID, UserId

MAX_TOKEN_BYTES: Final = 8 * 1024
MIN_SECRET_BYTES: Final = 32
"""RFC 7518, 3.2: a key for HS256 has at least as many bits as its hash."""


LEEWAY_S: Final = 30
"""How far the clock of whoever signs may be off."""


class KeysUnavailable(Exception):
    """The keys cannot be had, or are unfit: nothing is known of the token. Nobody can connect until it is mended."""


class BadToken(Exception):
    """The token is not to be trusted. The reason is for the log and never reaches the client."""


class Keys(Protocol):
    """Where the keys for a token come from, and which algorithms those keys are for."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The only algorithms that a token may name."""

    def keys_for(self, token: str) -> Iterable[Any]:
        """The keys, one of which must have signed `token`, the likeliest first.

        Raises jwt.PyJWTError when there can be none, and anything else when they cannot be had now.
        """


class SharedSecret:
    """HS256 with a secret that may be rotated: the current value and the one before it are good."""

    algorithms = ("HS256",)

    def __init__(self, secret: RotatingSecret) -> None:
        self._secret = secret

    def keys_for(self, token: str) -> Iterable[str]:  # noqa: ARG002 - the same keys for all tokens
        """Both values, and both again as they are now when neither of the remembered ones fits."""
        yield from map(_long_enough, self._secret.values())
        yield from map(_long_enough, self._secret.values_now())


class PublishedKeys:
    """RS256 or ES256 with the keys that a JWKS URL publishes; fetched at first use and kept for five minutes.

    A withdrawn key is refused after that time. (PyJWKClient's cache of single keys has no end, so it stays off.)
    """

    algorithms = ("RS256", "ES256")

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, lifespan=300, timeout=3)

    def keys_for(self, token: str) -> Iterable[Any]:
        """The published key that the token's `kid` names. The key knows its own algorithm."""
        try:
            yield self._client.get_signing_key_from_jwt(token)
        except jwt.PyJWKClientConnectionError as e:
            # No fault of the token: API Gateway answers 500, and the client comes again.
            raise KeysUnavailable(str(e)) from e


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Verifies signature and claims. The algorithm comes from the kind of key, never from the token alone."""

    keys: Keys
    issuer: str | None
    audience: str | None

    def verify(self, token: str) -> UserId:
        """Whom the token names. Raises BadToken, whatever `token` is; anything else is a failure of ours."""
        if len(token) > MAX_TOKEN_BYTES:
            raise BadToken("larger than 8 KiB")
        claims = self._claims(token)
        # PyJWT takes what int() takes, and `true`; RFC 7519 says that a NumericDate is a number.
        if any(type(claims[name]) not in {int, float} for name in ("exp", "iat", "nbf") if name in claims):
            raise BadToken("a time that is no number")
        subject = claims["sub"]
        if not isinstance(subject, str) or not USER_ID.fullmatch(subject):
            raise BadToken("sub is no user id")
        return UserId(subject)

    def _claims(self, token: str) -> Mapping[str, Any]:
        reason: Exception = jwt.InvalidKeyError("no key")
        try:
            for key in self.keys.keys_for(token):
                try:
                    return self._decode(token, key)
                except jwt.InvalidSignatureError as e:
                    reason = e
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as e:
            # Other errors than PyJWT's own may quote the token.
            raise BadToken(repr(e) if isinstance(e, jwt.PyJWTError) else type(e).__name__) from e
        raise BadToken(repr(reason)) from reason

    def _decode(self, token: str, key: Any) -> Mapping[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=list(self.keys.algorithms),
            issuer=self.issuer,
            audience=self.audience,
            leeway=LEEWAY_S,
            options={
                "require": ["sub", "exp", "iat"],
                "verify_aud": self.audience is not None,
                "verify_iss": self.issuer is not None,
            },
        )


def _long_enough(secret: str) -> str:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise KeysUnavailable(f"the token secret is shorter than {MIN_SECRET_BYTES} bytes")
    return secret
