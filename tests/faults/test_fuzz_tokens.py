"""Whatever token, device or platform a connection is opened with: in come those who hold exactly right ones.

What is right is decided here apart from the library that the authorizer uses. A refusal says nothing, nothing fails,
and no log holds a token or the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final
from unittest import mock

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from im.runtime import logs
from tests.faults.figures import take_down
from tests.faults.fuzz_frames import ODD, rendered
from tests.integration.house import House, built_house, sample
from tests.integration.hypothesis_profile import examples

Data = dict[str, Any]

SECRET: Final = "s" * 64
"""As the house has it."""
NOW: Final = int(time.time())
PLATFORMS: Final = ("web", "ios", "android", "desktop", "other")
TEXT_LIMIT: Final = 8 * 1024


def segment(raw: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encoded(value: Any) -> str:
    """A header or claims as a part of a token."""
    return segment(rendered(value, escapes=True).encode())


RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
STRANGER: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RS256: Final = RSAAlgorithm(RSAAlgorithm.SHA256)
ES256: Final = ECAlgorithm(ECAlgorithm.SHA256)
PUBLIC_PEM: Final = (
    RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


def published() -> Data:
    """The keys at the JWKS URL."""
    keys = [
        json.loads(RSAAlgorithm.to_jwk(RSA.public_key())) | {"kid": "rsa", "alg": "RS256", "use": "sig"},
        json.loads(ECAlgorithm.to_jwk(EC.public_key())) | {"kid": "ec", "alg": "ES256", "use": "sig"},
    ]
    return {"keys": keys}


# ---- tokens ----------------------------------------------------------------------------------------------------------

Sign = Callable[[bytes], bytes]


def by_secret(secret: str, digest: Any = hashlib.sha256) -> Sign:
    """HMAC."""
    return lambda text: hmac.new(secret.encode(), text, digest).digest()


SIGNATURES: Final[Mapping[str, Sign]] = {
    "the secret": by_secret(SECRET),
    "half of the secret": by_secret(SECRET[:32]),
    "another secret": by_secret("t" * 64),
    "no secret": by_secret(""),
    "the public key": by_secret(PUBLIC_PEM),
    "another digest": by_secret(SECRET, hashlib.sha512),
    "the RSA key": lambda text: jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text, RSA),
    "another RSA key": lambda text: jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        text, STRANGER
    ),
    "the EC key": lambda text: jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(text, EC),
    "none": lambda _: b"",
    "garbage": lambda _: b"\x00" * 32,
}
GOOD_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
HEADERS: Final = st.one_of(
    st.just(GOOD_HEADER),
    st.fixed_dictionaries(
        {"alg": st.sampled_from(["HS256", "none", "None", "HS512", "RS256", "ES256", "hs256", "", None, 5, []])},
        optional={
            "typ": st.sampled_from(["JWT", "jwt", "", None, 5, []]),
            "kid": st.sampled_from(["rsa", "ec", "other", "", "../../dev/null", None, 5, ["rsa"], {"rsa": 1}]),
            "crit": st.sampled_from([["exp"], [], "exp", None, ["b64"]]),
            "b64": st.booleans(),
            "jwk": st.just({"kty": "oct", "k": segment(b"t" * 64)}),
            "jku": st.just("https://example.com/keys"),
            "zip": st.just("DEF"),
        },
    ),
    st.sampled_from(ODD[:120]),
)
TIMES: Final = st.one_of(
    st.sampled_from([NOW + 3600, NOW - 3600, 0, -1, 2**40, 2**53, 2**63, 10**30, NOW + 3600.5, True]),
    st.sampled_from([str(NOW - 3600), str(NOW + 3600), "0x10", "", "1e9", "tomorrow", "٣", f" {NOW + 3600} "]),
    st.sampled_from(ODD[:80]),
)
SUBJECTS: Final = st.one_of(
    st.sampled_from(["alice", "x" * 64, "A_b-9", "x" * 65, "", "a b", "a:b", "a#b", "@all", "alice\n", "é", "a.b"]),
    st.sampled_from(ODD[:120]),
    st.text(max_size=10),
)
GOOD_CLAIMS: Final = {"sub": "alice", "iat": NOW - 60, "exp": NOW + 3600}
CLAIMS: Final = st.one_of(
    st.sampled_from(sorted(GOOD_CLAIMS)).map(lambda left_out: {k: v for k, v in GOOD_CLAIMS.items() if k != left_out}),
    st.fixed_dictionaries(
        {},
        optional={
            "sub": SUBJECTS,
            "iat": st.just(NOW - 60) | TIMES,
            "exp": st.just(NOW + 3600) | TIMES,
            "nbf": TIMES,
            "aud": st.sampled_from(["im", ["im"], 5, None, []]),
            "iss": st.sampled_from(["us", 5, None]),
            "jti": st.sampled_from(["1", 5, None]),
            "name": st.text(max_size=5),
        },
    ),
    st.builds(
        lambda change: GOOD_CLAIMS | change, st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf"]), TIMES)
    ),
    SUBJECTS.map(lambda sub: GOOD_CLAIMS | {"sub": sub}),
    st.sampled_from(ODD[:150]),
)
EDITS: Final[Mapping[str, Callable[[str, int], str]]] = {
    "cut": lambda token, at: token[: at % (len(token) + 1)],
    "one character less": lambda token, at: token[: at % len(token)] + token[at % len(token) + 1 :],
    "one other": lambda token, at: token[:at] + "Aé=.\x00 /+"[at % 8] + token[at + 1 :],
    "padded": lambda token, at: token + "=" * (at % 5),
    "another segment": lambda token, _: token + ".x",
    "no signature": lambda token, _: token.rsplit(".", 1)[0] + ".",
    "two segments": lambda token, _: token.rsplit(".", 1)[0],
    "white space": lambda token, at: " \n"[at % 2] + token + " \n",
    "a scheme": lambda token, _: "Bearer " + token,
    #    "half a pair": lambda token, at: token + chr(0xD800 + at),
    "large": lambda token, at: token + "A" * (6000 + at * 10),
    "in capitals": lambda token, _: token.upper(),
    "five segments": lambda token, _: f"{token}.{token}",
}


WAYS: Final = (
    ("the secret", GOOD_HEADER),
    ("the secret", GOOD_HEADER),
    ("the RSA key", {"alg": "RS256", "kid": "rsa"}),
    ("the EC key", {"alg": "ES256", "kid": "ec"}),
)
"""What goes together."""


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Tokens, right ones and wrong ones: at most one part of a right one is another, now and then all are."""
    sign, header = draw(st.sampled_from(WAYS))
    claims: Any = GOOD_CLAIMS
    wrong = draw(st.sampled_from(["nothing", "nothing", "header", "claims", "claims", "claims", "signature", "all"]))
    if wrong in {"header", "all"}:
        header = draw(HEADERS)
    if wrong in {"claims", "all"}:
        claims = draw(CLAIMS)
    if wrong in {"signature", "all"}:
        sign = draw(st.sampled_from(sorted(SIGNATURES)))
    return signed(encoded(header), encoded(claims), sign)


@cache
def signed(header: str, claims: str, sign: str) -> str:
    """A token. One and the same is signed once: ECDSA signs otherwise each time."""
    text = f"{header}.{claims}"
    return f"{text}.{segment(SIGNATURES[sign](text.encode()))}"


@st.composite
def edited(draw: st.DrawFn) -> str:
    """Tokens that something was done to."""
    return EDITS[draw(st.sampled_from(sorted(EDITS)))](draw(tokens()), draw(st.integers(0, 600)))


DEVICES: Final = ("phone-1", "d", "x" * 64)
NO_DEVICES: Final = ("", None, "x" * 65, "a b", "é", "a\n", "#")
NO_PLATFORMS: Final = ("Web", "toaster", "web\n", " web", "x" * 9000)
NO_TOKENS: Final = ("", None, "TOKEN", "..", "a.b.c", "x" * 9000)
QUERIES: Final = st.fixed_dictionaries(
    {
        "token": tokens() | tokens() | edited() | st.sampled_from(NO_TOKENS),
        "device": st.sampled_from([*DEVICES * 10, *NO_DEVICES]),
        "platform": st.sampled_from([*PLATFORMS * 5, "", None, *NO_PLATFORMS]),
        "v": st.sampled_from([*["1", None] * 10, "2", "", "01", " 1", "1.0"]),
    }
)


WEB: Final = {"device": "d", "platform": "web", "v": None}
RIGHT: Final = signed(encoded(GOOD_HEADER), encoded(GOOD_CLAIMS), "the secret")
CONFUSED: Final = signed(encoded({"alg": "HS256", "kid": "rsa"}), encoded(GOOD_CLAIMS), "the public key")
"""Signed with what everybody has."""
SOON: Final = signed(encoded(GOOD_HEADER), encoded(GOOD_CLAIMS | {"exp": str(NOW + 3600)}), "the secret")
"""Its end is a text."""


# ---- what is right ---------------------------------------------------------------------------------------------------


def subject(token: Any, *, published_keys: bool) -> str | None:
    """Whom a token names, if it is right: RFC 7515 and docs/protocol.md by hand."""
    parts = token.split(".") if isinstance(token, str) and len(token) <= TEXT_LIMIT else []
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_-]*={0,4}", part, re.ASCII) for part in parts):
        return None
    try:
        header, claims = (json.loads(unsegment(part)) for part in parts[:2])
        signature = unsegment(parts[2])
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header:
        return None
    text = f"{parts[0]}.{parts[1]}".encode()
    signed = signed_by_key(header, text, signature) if published_keys else signed_by_secret(header, text, signature)
    return str(claims["sub"]) if signed and right(claims) else None


def unsegment(part: str) -> bytes:
    """What a part of a token holds."""
    bare = part.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def usual(token: str) -> bool:
    """Whether nobody could mind a right token: it has no padding, which RFC 7515 has not, and no unknown header."""
    header = json.loads(unsegment(token.split(".", 1)[0]))
    return "=" not in token and set(header) <= {"alg", "typ", "kid"} and isinstance(header.get("kid", ""), str)


def signed_by_secret(header: Data, text: bytes, signature: bytes) -> bool:
    """Whether it is signed with the shared secret."""
    return header.get("alg") == "HS256" and hmac.compare_digest(signature, by_secret(SECRET)(text))


def signed_by_key(header: Data, text: bytes, signature: bytes) -> bool:
    """Whether it is signed with the key that it names, in that key's way."""
    match header.get("alg"), header.get("kid"):
        case "RS256", "rsa":
            return RS256.verify(text, RSA.public_key(), signature)
        case "ES256", "ec":
            return ES256.verify(text, EC.public_key(), signature)
    return False


def right(claims: Data) -> bool:
    """Whether the claims name a user, now."""
    sub, exp, iat, nbf = (claims.get(name) for name in ("sub", "exp", "iat", "nbf"))
    return (
        isinstance(sub, str)
        and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sub, re.ASCII) is not None
        and is_time(exp)
        and is_time(iat)
        and ("nbf" not in claims or is_time(nbf))
        and exp > NOW - 30
        and iat <= NOW + 30
        and (nbf or 0) <= NOW + 30
    )


def is_time(value: Any) -> bool:
    """RFC 7519: a NumericDate is a number."""
    return type(value) in {int, float} and value == value and abs(value) != float("inf")  # noqa: PLR0124


# ---- the authorizer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["a shared secret", "published keys"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    """The authorizer with either kind of keys."""
    jwks = {"JWKS_URL": "https://example.com/jwks"} if request.param == "published keys" else {}
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.object(jwt.PyJWKClient, "fetch_data", return_value=published()),
        built_house(patch, **jwks) as built,
    ):
        yield built


def test_only_exactly_right_tokens_open_connections_and_nothing_fails(
    house: House,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published_keys = "published keys" in request.node.name
    log = io.StringIO()
    monkeypatch.setattr(logs.log.registered_handler, "stream", log)
    answers: Counter[str] = Counter()

    @given(QUERIES)
    @example(WEB | {"token": RIGHT + "\ud800"})
    @example(WEB | {"token": SOON})
    @example(WEB | {"token": CONFUSED})
    @settings(max_examples=examples(800))
    def play(query: Data) -> None:
        log.seek(0)
        log.truncate()
        event = sample("authorizer")
        event["queryStringParameters"] = {name: value for name, value in query.items() if value is not None} or None
        event["multiValueQueryStringParameters"] = {"token": ["another", query["token"]]}

        answer = house.call("authorizer", event)

        note(log.getvalue()[:1000])
        (statement,) = answer["policyDocument"]["Statement"]
        user, platform = subject(query["token"], published_keys=published_keys), query.get("platform") or "other"
        device = query.get("device") or ""
        fits = (
            re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", device, re.ASCII) is not None
            and platform in PLATFORMS
            and query.get("v") in {None, "1"}
        )
        allowed = statement["Effect"] == "Allow"
        assert statement["Resource"] == event["methodArn"]
        assert not allowed or (user is not None and fits)
        assert allowed or user is None or not fits or not usual(query["token"])
        assert answer["principalId"] == (user if allowed else "nobody")
        assert answer["context"] == ({"user": user, "device": device, "platform": platform} if allowed else {})
        check_log(log.getvalue(), query["token"] or "")
        answers[statement["Effect"]] += 1

    play()
    take_down(request.node.name, "tokens", answers)
    assert answers["Allow"] > 10
    assert answers["Deny"] > 100


def check_log(logged: str, token: str) -> None:
    """One line, no failure, nothing that lets anybody in."""
    (line,) = logged.splitlines()
    assert json.loads(line)["level"] == "INFO"
    assert SECRET not in logged
    for part in token.split("."):
        assert len(part) < 20 or part not in logged


def test_a_right_token_is_right_here_too() -> None:
    token = jwt.encode(GOOD_CLAIMS, SECRET, "HS256")

    assert subject(token, published_keys=False) == "alice"
    assert subject(f"{token}.{token}", published_keys=False) is None
    assert subject(jwt.encode(GOOD_CLAIMS, RSA, "RS256", {"kid": "rsa"}), published_keys=True) == "alice"
    assert subject(jwt.encode(GOOD_CLAIMS, EC, "ES256", {"kid": "ec"}), published_keys=True) == "alice"
    assert subject(token, published_keys=True) is None
