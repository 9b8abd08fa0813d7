"""Where the stack is: reads the file that the local start writes once everything is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imclient.errors import StackError

DEFAULT_PATH = Path(".local/stack.json")
PATH_VARIABLE = "IM_STACK"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What demo tokens are signed with. `issuer` and `audience` only where the stack checks them."""

    secret: str
    algorithm: str = "HS256"
    issuer: str | None = None
    audience: str | None = None

    def __repr__(self) -> str:
        """Without the secret, so that no traceback shows it."""
        return f"SigningKey(algorithm={self.algorithm!r})"


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack. `websocket` has no query yet; `web`, `http`, `endpoint` and `chaos` are empty where there is
    none. `chaos` is where the faults of a local stack that was started for it are controlled."""

    websocket: str
    signing: SigningKey
    name: str = ""
    region: str = ""
    web: str = ""
    http: str = ""
    endpoint: str = ""
    chaos: str = ""


def load_stack(path: Path) -> Stack:
    """Read the stack file. Raises StackError when there is none, or when it lacks what a client needs."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StackError(f"no stack found at {path}; start one with `make run`") from error
    except (OSError, ValueError) as error:
        raise StackError(f"cannot read the stack file {path}: {error}") from error
    match found:
        case {"websocket": str(websocket), "jwt": {"alg": "HS256", "secret": str(secret), **claims}, **rest} if (
            websocket and secret
        ):
            return Stack(
                websocket=websocket,
                signing=SigningKey(secret, issuer=_text_or_none(claims, "iss"), audience=_text_or_none(claims, "aud")),
                name=_text_or_none(rest, "stack") or "",
                region=_text_or_none(rest, "region") or "",
                web=_text_or_none(rest, "web") or "",
                http=_text_or_none(rest, "http") or "",
                endpoint=_text_or_none(rest, "endpoint") or "",
                chaos=_text_or_none(rest, "chaos") or "",
            )
        case _:
            raise StackError(
                f'{path} is no stack file: it needs "websocket" and "jwt" with "alg": "HS256" and "secret"'
            )


def _text_or_none(source: Mapping[Any, object], name: str) -> str | None:
    value = source.get(name)
    return value if isinstance(value, str) and value else None
