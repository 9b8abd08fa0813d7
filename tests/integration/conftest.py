"""A house for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.house import House, built_house
from tests.integration.hypothesis_profile import load

load()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The backend on moto, empty."""
    with built_house(monkeypatch) as built:
        yield built
