"""The only place that reads the environment. A missing or wrong variable stops the cold start and is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, cast, get_args

from im.domain.signin import Policy


class BadSetting(Exception):
    """An environment variable is missing or wrong: a mistake in the template, not of any client."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"environment variable {name} {problem}")
        self.name = name


class Settings:
    """What the template tells a function. Each function reads what it needs, and its template has no more."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ: Final = os.environ if environ is None else environ

    def text(self, name: str) -> str:
        """A variable that must be there."""
        value = self._environ.get(name, "")
        if not value:
            raise BadSetting(name, "is not set")
        return value

    def optional(self, name: str) -> str | None:
        """A variable that may be missing or empty."""
        return self._environ.get(name) or None

    def number(self, name: str) -> int:
        """A variable that must be a whole number."""
        text = self.text(name)
        try:
            return int(text)
        except ValueError as e:
            raise BadSetting(name, f"is no whole number: {text!r}") from e

    def policy(self) -> Policy:
        """The sign-in policy."""
        text = self.text("SIGN_IN_POLICY")
        if text not in get_args(Policy):
            raise BadSetting("SIGN_IN_POLICY", f"is none of {', '.join(get_args(Policy))}: {text!r}")
        return cast("Policy", text)
