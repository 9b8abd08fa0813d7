"""A function dies while a message changes, and nobody sends the frame again; or what it was about changes meanwhile.

That every frame which died anywhere is completed by its repeat: tests/faults/test_every_call.py.
"""

from __future__ import annotations

from itertools import product

from tests.integration.group_state import log_of, undone
from tests.integration.house import House
from tests.integration.message_state import chat, entries_of, pushed, said_by
from tests.integration.test_crashes import MOMENTS, calls_of, dies


def test_a_change_that_nobody_repeats_is_found_with_the_next_entry(house: House) -> None:
    """Before the auditor finds it."""
    alice, bob = chat(house, "first", "second")
    phone = house.connect("alice", "phone", "ios")
    data = {"conv": "d:alice:bob", "seq": 2, "body": {"text": "other"}}
    with undone(house):
        last = calls_of(house, alice.ok, "message.edit", data) - 1
    assert dies(house, last, "before", alice.ok, "message.edit", data)
    seen = entries_of(bob)

    bob.say("next", "b1", to="alice")
    house.fan_out()

    assert seen[3]["kind"] == "edit", "its seq is a hole to whoever gets the next entry"
    assert [entry["seq"] for entry in pushed(phone)][-1] == 4
    assert said_by(bob, 2) == ["second", "other"]


def test_a_forward_whose_source_is_recalled_before_its_repeat_stands(house: House) -> None:
    """Whatever it had come to: stored, it is found; not stored, it is refused."""
    alice, bob = chat(house, "first")
    data = {"to": "carol", "source": "d:alice:bob", "seqs": [1], "cmid": "f1"}
    with undone(house):
        steps = calls_of(house, bob.ok, "message.forward", data)

    stored = 0
    for at, moment in product(range(steps), MOMENTS):
        with undone(house):
            assert dies(house, at, moment, bob.ok, "message.forward", data)
            copies = len(log_of("d:bob:carol"))
            stored += copies
            alice.ok("message.recall", {"conv": "d:alice:bob", "seq": 1})

            again = bob.ask("message.forward", data)

            assert again["ok"] == bool(copies)
            assert len(log_of("d:bob:carol")) == copies
            if not copies:
                assert again["error"]["code"] == "conflict"
    assert 0 < stored < 2 * steps
