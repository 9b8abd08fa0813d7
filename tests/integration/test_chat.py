"""People chat: from the frame to the other side's device."""

from __future__ import annotations

from tests.integration.house import House


def test_a_message_reaches_the_other_side_and_their_unread_count(house: House) -> None:
    alice, bob = house.connect("alice"), house.connect("bob")

    reply = alice.say("Hello, Bob.", "c1", to="bob")
    house.fan_out()

    assert reply == {"conv": "d:alice:bob", "seq": 1, "n": 1, "ts": reply["ts"], "duplicate": False}
    (entries,) = bob.got("entries")
    assert entries == {
        "conv": "d:alice:bob",
        "entries": [
            {
                "conv": "d:alice:bob",
                "seq": 1,
                "n": 1,
                "kind": "text",
                "from": "alice",
                "ts": reply["ts"],
                "cmid": "c1",
                "body": {"text": "Hello, Bob."},
            }
        ],
    }
    assert bob.ok("sync.unread") == {"total_unread": 1, "conversations": {"d:alice:bob": 1}}
    assert alice.ok("sync.unread") == {"total_unread": 0, "conversations": {}}
