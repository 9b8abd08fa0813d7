"""Tokens: which open a connection, and as whom."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from im.aws.secrets import LIFE_MS, PATIENCE_MS, RotatingSecret
from im.aws.tokens import (
    LEEWAY_S,
    MAX_TOKEN_BYTES,
    BadToken,
    KeysUnavailable,
    PublishedKeys,
    SharedSecret,
    TokenVerifier,
)

SECRET = "a shared secret of more than 32 bytes"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
MISSING = object()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

SECOND = "another secret of more than 32 bytes"


class Stored:
    """Secrets Manager with one secret."""

    class exceptions:  # noqa: N801 - as botocore's clients have it
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.looks = 0

    def get_secret_value(self, *, SecretId: str, VersionStage: str = "AWSCURRENT") -> dict[str, str]:  # noqa: N803
        assert SecretId
        self.looks += VersionStage == "AWSCURRENT"
        at = {"AWSCURRENT": 0, "AWSPREVIOUS": 1}[VersionStage]
        if at >= len(self.versions):
            raise self.exceptions.ResourceNotFoundException
        return {"SecretString": self.versions[at]}


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def verifier_of(
    stored: Stored, clock: Clock | None = None, issuer: str | None = None, audience: str | None = None
) -> TokenVerifier:
    return TokenVerifier(SharedSecret(RotatingSecret(cast("Any", stored), "jwt", clock or Clock())), issuer, audience)


by_secret = verifier_of(Stored(SECRET))


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; MISSING leaves one out."""
    now = int(time.time())
    all_of_them = {"sub": "alice", "iat": now - 60, "exp": now + 3600} | changes
    return {name: value for name, value in all_of_them.items() if value is not MISSING}


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(payload: object, header: object = None, secret: str = SECRET, digest: Any = hashlib.sha256) -> str:
    """An HS256 token made by hand: says what no library would."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    text = f"{part(head)}.{part(payload)}"
    mac = hmac.new(secret.encode(), text.encode(), digest).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def refused(verifier: TokenVerifier, token: str) -> BadToken:
    with pytest.raises(BadToken) as info:
        verifier.verify(token)
    return info.value


# ---- a shared secret -------------------------------------------------------------------------------------------------


def test_a_good_token_names_its_user() -> None:
    assert by_secret.verify(jwt.encode(claims(), SECRET, "HS256")) == "alice"
    assert by_secret.verify(signed(claims(sub="x" * 64, name="Alice", admin=True))) == "x" * 64


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "no exp": {"exp": MISSING},
    "no iat": {"iat": MISSING},
    "no sub": {"sub": MISSING},
    "exp is null": {"exp": None},
    "iat is null": {"iat": None},
    "sub is null": {"sub": None},
    "expired long ago": {"exp": 1},
    "expired a minute ago": {"exp": int(time.time()) - 60},
    "exp is a word": {"exp": "tomorrow"},
    "exp is a list": {"exp": [2**40]},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "issued in the future": {"iat": int(time.time()) + 3600},
    "iat is a word": {"iat": "yesterday"},
    "sub is empty": {"sub": ""},
    "sub is a number": {"sub": 5},
    "sub is a list": {"sub": ["alice"]},
    "sub with a colon": {"sub": "a:b"},
    "sub with a line break": {"sub": "alice\n"},
    "sub is not ASCII": {"sub": "é"},
    "sub is too long": {"sub": "x" * 65},
    "sub is everybody": {"sub": "@all"},
}


@pytest.mark.parametrize("changes", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS.keys())
def test_a_token_with_wrong_claims_is_refused(changes: dict[str, Any]) -> None:
    refused(by_secret, signed(claims(**changes)))


def test_numbers_that_are_none_are_refused() -> None:
    for number in ("1e999", "NaN", "Infinity", "9" * 5000):
        payload = json.dumps(claims(exp=12345)).replace("12345", number)
        refused(by_secret, signed(payload))


MALFORMED = {
    "alg none": f"{part({'alg': 'none'})}.{part(claims())}.",
    "alg None": f"{part({'alg': 'None'})}.{part(claims())}.",
    "alg none with a signature": signed(claims(), {"alg": "none"}),
    "HS384": signed(claims(), {"alg": "HS384"}, digest=hashlib.sha384),
    "hs256": signed(claims(), {"alg": "hs256"}),
    "RS256 signed with the secret": signed(claims(), {"alg": "RS256"}),
    "alg is a list": signed(claims(), {"alg": ["HS256"]}),
    "alg is null": signed(claims(), {"alg": None}),
    "no alg": signed(claims(), {}),
    "header is a list": signed(claims(), []),
    "header is no JSON": signed(claims(), "no JSON"),
    "unknown critical extension": signed(claims(), {"alg": "HS256", "crit": ["x"], "x": 1}),
    "claims are a list": signed([claims()]),
    "claims are no JSON": signed("no JSON"),
    "another secret": signed(claims(), secret="another secret of more than 32 bytes.."),
    "HS512": signed(claims(), {"alg": "HS512"}, digest=hashlib.sha512),
    "RS256": jwt.encode(claims(), RSA, "RS256"),
    "signature cut": signed(claims())[:-2],
    "signature longer": signed(claims()) + "AAAA",
    "no signature": signed(claims()).rsplit(".", 1)[0],
    "empty signature": signed(claims()).rsplit(".", 1)[0] + ".",
    "four parts": signed(claims()) + ".x",
    "nothing": "",
    "one dot": ".",
    "two dots": "..",
    "one letter": "x",
    "a zero byte": "\0",
    "not ASCII": "é.é.é",
    "half a surrogate pair": "\ud800.a.b",
    "with its scheme": "Bearer " + signed(claims()),
    "brackets": "[" * 8000,
    "deep header": part("[" * 4000) + ".a.b",
    "deep object": part('{"a":' * 1000) + "." + part("{}") + ".x",
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_token_of_the_wrong_form_is_refused(token: str) -> None:
    refused(by_secret, token)


@given(st.text(max_size=200) | st.lists(st.text("abcXYZ019-_=", max_size=40), min_size=3, max_size=3).map(".".join))
def test_no_text_gets_through_and_none_breaks_the_verifier(token: str) -> None:
    refused(by_secret, token)


@given(st.integers(0, 400), st.sampled_from(LETTERS))
def test_a_changed_letter_anywhere_is_noticed(place: int, letter: str) -> None:
    token = signed(claims(iat=1, exp=2**40))
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]

    try:
        user = by_secret.verify(changed)
    except BadToken:
        return
    # base64 has letters whose last bits mean nothing: the token is then the same.
    assert user == "alice"
    assert changed == token or place == len(token) - 1


def test_a_token_may_have_8_kib_and_not_a_letter_more() -> None:
    short = len(signed(claims(iat=1, exp=2**40, fill="")))
    fill = "x" * ((MAX_TOKEN_BYTES - short) * 3 // 4)
    fits = signed(claims(iat=1, exp=2**40, fill=fill))

    assert MAX_TOKEN_BYTES - 4 < len(fits) <= MAX_TOKEN_BYTES
    assert by_secret.verify(fits) == "alice"
    refused(by_secret, signed(claims(iat=1, exp=2**40, fill=fill + "xxxx")))


@pytest.mark.parametrize("secret", ["", "x", "x" * 31])
def test_a_secret_too_short_verifies_nothing_and_is_no_fault_of_the_token(secret: str) -> None:
    with pytest.raises(KeysUnavailable):
        verifier_of(Stored(secret)).verify(signed(claims(), secret=secret))


def test_a_rotation_refuses_nobody() -> None:
    stored, clock = Stored(SECRET), Clock()
    verifier = verifier_of(stored, clock)
    old, new = signed(claims()), signed(claims(), secret=SECOND)
    assert verifier.verify(old) == "alice"

    stored.versions.insert(0, SECOND)
    clock.now += PATIENCE_MS
    assert verifier.verify(old) == "alice"
    assert verifier.verify(new) == "alice"
    assert verifier.verify(old) == "alice"

    stored.versions.insert(0, "a third secret of more than 32 bytes")
    clock.now += LIFE_MS + 1
    assert verifier.verify(new) == "alice"
    refused(verifier, old)


def test_forged_tokens_do_not_buy_a_look_each() -> None:
    stored, clock = Stored(SECRET), Clock()
    verifier = verifier_of(stored, clock)

    for _ in range(100):
        clock.now += PATIENCE_MS // 50
        refused(verifier, signed(claims(), secret=SECOND))

    assert stored.looks <= 3


def test_an_expired_token_of_the_secret_before_is_expired() -> None:
    assert "ExpiredSignature" in str(refused(verifier_of(Stored(SECOND, SECRET)), signed(claims(exp=1))))


@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
def test_a_clock_that_is_off_a_little_refuses_nobody(claim: str) -> None:
    """The times lie well inside and outside of the leeway, so that a slow test is no other one."""
    now = int(time.time())
    sign = -1 if claim == "exp" else 1

    assert by_secret.verify(signed(claims(**{claim: now + sign * LEEWAY_S // 2}))) == "alice"
    refused(by_secret, signed(claims(**{claim: now + sign * LEEWAY_S * 4})))


@pytest.mark.parametrize(
    ("issuer", "audience", "changes", "good"),
    [
        (None, None, {}, True),
        (None, None, {"iss": "anyone", "aud": "anything"}, True),
        ("us", None, {"iss": "us"}, True),
        ("us", None, {"iss": "them"}, False),
        ("us", None, {}, False),
        ("us", None, {"iss": ["us"]}, False),
        (None, "chat", {"aud": "chat"}, True),
        (None, "chat", {"aud": ["shop", "chat"]}, True),
        (None, "chat", {"aud": "shop"}, False),
        (None, "chat", {"aud": "chatter"}, False),
        (None, "chat", {"aud": []}, False),
        (None, "chat", {}, False),
        ("us", "chat", {"iss": "us", "aud": "chat"}, True),
        ("us", "chat", {"iss": "us", "aud": "shop"}, False),
    ],
)
def test_issuer_and_audience_are_checked_when_they_are_set(
    issuer: str | None, audience: str | None, changes: dict[str, Any], *, good: bool
) -> None:
    verifier = verifier_of(Stored(SECRET), issuer=issuer, audience=audience)

    if good:
        assert verifier.verify(signed(claims(**changes))) == "alice"
    else:
        refused(verifier, signed(claims(**changes)))


# ---- published keys --------------------------------------------------------------------------------------------------


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    algorithm: Any = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    out = dict(json.loads(algorithm.to_jwk(key.public_key())))
    return out | ({"kid": kid} if kid is not None else {}) | more


class Publisher:
    """A JWKS address on this machine."""

    def __init__(self) -> None:
        self.body = b""
        self.asked = 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                self.send_response(200 if publisher.body else 500)
                self.end_headers()
                self.wfile.write(publisher.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    def verifier(self) -> TokenVerifier:
        return TokenVerifier(PublishedKeys(self.url), issuer=None, audience=None)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    out = Publisher()
    out.publish(jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(OTHER_RSA, "for-encryption", use="enc"))
    yield out
    out.server.shutdown()
    out.server.server_close()
    out.thread.join()


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec")])
def test_a_token_signed_with_a_published_key_is_good(publisher: Publisher, key: Any, algorithm: str, kid: str) -> None:
    token = jwt.encode(claims(), key, algorithm, {"kid": kid})

    assert publisher.verifier().verify(token) == "alice"


def test_the_keys_are_fetched_once_for_many_tokens(publisher: Publisher) -> None:
    verifier = publisher.verifier()

    for _ in range(5):
        verifier.verify(jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"}))

    assert publisher.asked == 1


def test_tokens_with_unknown_keys_do_not_make_us_ask_again_and_again(publisher: Publisher) -> None:
    verifier = publisher.verifier()

    for i in range(20):
        refused(verifier, jwt.encode(claims(), RSA, "RS256", {"kid": f"unknown-{i}"}))

    assert publisher.asked <= 2


NOT_PUBLISHED = {
    "unknown kid": jwt.encode(claims(), RSA, "RS256", {"kid": "unknown"}),
    "no kid": jwt.encode(claims(), RSA, "RS256"),
    "another key under its kid": jwt.encode(claims(), OTHER_RSA, "RS256", {"kid": "rsa"}),
    "a key for encryption": jwt.encode(claims(), OTHER_RSA, "RS256", {"kid": "for-encryption"}),
    "RS512": jwt.encode(claims(), RSA, "RS512", {"kid": "rsa"}),
    "PS256": jwt.encode(claims(), RSA, "PS256", {"kid": "rsa"}),
    "RS256 by the kid of the EC key": jwt.encode(claims(), RSA, "RS256", {"kid": "ec"}),
    "ES256 by the kid of the RSA key": jwt.encode(claims(), EC, "ES256", {"kid": "rsa"}),
    "ES384": jwt.encode(claims(), EC_384, "ES384", {"kid": "ec"}),
    "HS256": jwt.encode(claims(), SECRET, "HS256", {"kid": "rsa"}),
    "alg none": f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(claims())}.",
    "kid is a list": signed(claims(), {"alg": "RS256", "kid": ["rsa"]}),
    "expired": jwt.encode(claims(exp=1), RSA, "RS256", {"kid": "rsa"}),
    "without exp": jwt.encode(claims(exp=MISSING), RSA, "RS256", {"kid": "rsa"}),
    "not yet valid": jwt.encode(claims(nbf=2**40), EC, "ES256", {"kid": "ec"}),
    "garbage": "garbage",
}


@pytest.mark.parametrize("token", NOT_PUBLISHED.values(), ids=NOT_PUBLISHED.keys())
def test_a_token_that_no_published_key_signed_is_refused(publisher: Publisher, token: str) -> None:
    refused(publisher.verifier(), token)


@pytest.mark.parametrize(
    "form", [(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.DER, PublicFormat.PKCS1)]
)
def test_a_public_key_is_no_shared_secret(publisher: Publisher, form: tuple[Encoding, PublicFormat]) -> None:
    public = RSA.public_key().public_bytes(*form).decode("latin-1")

    refused(publisher.verifier(), signed(claims(), {"alg": "HS256", "kid": "rsa"}, secret=public))


def test_a_key_published_for_another_algorithm_verifies_nothing(publisher: Publisher) -> None:
    publisher.publish(jwk(RSA, "rsa", alg="RS512"), {"kty": "oct", "kid": "oct", "k": part(SECRET)})

    refused(publisher.verifier(), jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"}))
    refused(publisher.verifier(), jwt.encode(claims(), SECRET, "HS256", {"kid": "oct"}))


def test_an_address_without_a_server_is_no_fault_of_the_token(publisher: Publisher) -> None:
    publisher.server.shutdown()
    publisher.server.server_close()

    with pytest.raises(KeysUnavailable):
        publisher.verifier().verify(jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"}))


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"keys":[]}', b'{"keys":5}', b"<html>", b"\xff"])
def test_a_broken_list_of_keys_lets_nobody_in(publisher: Publisher, body: bytes) -> None:
    publisher.body = body

    with pytest.raises((BadToken, KeysUnavailable)):
        publisher.verifier().verify(jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"}))


def test_keys_that_cannot_be_had_are_no_fault_of_the_token(publisher: Publisher) -> None:
    """API Gateway then answers 500 and not 403: clients come again."""
    publisher.body = b""
    verifier = publisher.verifier()
    token = jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"})

    with pytest.raises(KeysUnavailable):
        verifier.verify(token)
    publisher.publish(jwk(RSA, "rsa"))
    assert verifier.verify(token) == "alice"


def test_a_key_that_is_withdrawn_is_forgotten_after_five_minutes(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = publisher.verifier()
    token = jwt.encode(claims(), RSA, "RS256", {"kid": "rsa"})
    assert verifier.verify(token) == "alice"

    publisher.publish(jwk(EC, "ec"))
    assert verifier.verify(token) == "alice"
    later = time.monotonic() + 301
    monkeypatch.setattr(time, "monotonic", lambda: later)

    refused(verifier, token)
