"""Whoever breaks a guard is told so: each is broken once, and a part of the proof must notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.guards import GUARDS, Guard, Proofs, caught, quiet


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    with Proofs() as prepared:
        yield prepared


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_broken_guard_is_noticed(proofs: Proofs, guard: Guard) -> None:
    said = caught(guard, proofs)

    print(f"\n{guard.name}\n    {guard.proof}: {said}")
    assert said is not None, f"{guard.proof} does not notice"


def test_the_same_parts_of_the_proof_say_nothing_when_nothing_is_broken(proofs: Proofs) -> None:
    once = dict.fromkeys(str(guard.proof) for guard in GUARDS)
    by_name = {str(guard.proof): guard.proof for guard in GUARDS}

    said = {name: quiet(by_name[name], proofs, seeds=5) for name in once}

    assert {name: line for name, line in said.items() if line is not None} == {}
