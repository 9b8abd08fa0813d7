"""Whoever breaks a guard of the money is told so: each is broken once, and a race or some histories must notice."""

from __future__ import annotations

import pytest

from tests.integration.packet_guards import GUARDS, Guard, caught


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_broken_guard_is_noticed(guard: Guard) -> None:
    found = caught(guard, guard.race)

    print(f"\n{guard.name}\n    {found.by}: {found.said}")
    assert found.said
    assert found.missed
