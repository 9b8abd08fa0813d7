"""How a guard of the product is taken away, for a proof to notice: a clause of a condition holds always, or a function
does something else. `Broken` counts how often that made a difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

Break = Callable[["Broken"], None]


@dataclass
class Broken:
    """A guard that is taken away; `times` counts how often it was missed."""

    patch: pytest.MonkeyPatch
    times: int = 0


def condition(store: type[Any], method: str, clause: str, where: Callable[[Any], bool] = lambda _: True) -> Break:
    """A clause of the conditions that a method writes with holds always: of those writes that are meant."""

    def breaks(broken: Broken) -> None:
        guarded = getattr(store, method)

        def unguarded(self: Any, *args: Any, **named: Any) -> Any:
            client = _Unconditional(self.client, clause, where, broken)
            return guarded(replace(self, client=client), *args, **named)

        broken.patch.setattr(store, method, unguarded)

    return breaks


class _Unconditional:
    """A client of DynamoDB that writes though a clause of its condition does not hold."""

    def __init__(self, client: Any, clause: str, where: Callable[[Any], bool], broken: Broken) -> None:
        self._client: Any = client
        self._clause, self._where, self._broken = clause, where, broken
        self.exceptions = client.exceptions

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            params = copy.deepcopy(params)
            writes = [write for part in params.get("TransactItems", []) for write in part.values()]
            for write in [params, *writes]:
                found = write.get("ConditionExpression", "")
                if self._clause in found and self._where(write):
                    self._broken.times += 1
                    always = f"({self._clause} OR attribute_exists(pk) OR attribute_not_exists(pk))"
                    write["ConditionExpression"] = found.replace(self._clause, always)
            return getattr(self._client, operation)(**params)

        return call


def does(owner: Any, name: str, instead: Callable[..., Any]) -> Break:
    """A function does something else, which is told what it did."""

    def breaks(broken: Broken) -> None:
        original = getattr(owner, name)

        def other(*args: Any, **named: Any) -> Any:
            broken.times += 1
            return instead(original, *args, **named)

        broken.patch.setattr(owner, name, other)

    return breaks


def nothing(_original: Any, *_: Any, **__: Any) -> None:
    """Does nothing."""


def all_of(*breaks: Break) -> Break:
    """Several guards at once: of what has two, each alone is enough."""

    def every(broken: Broken) -> None:
        for each in breaks:
            each(broken)

    return every
