"""What a person is shown is the same in whatever order messages and changes came, and what the protocol says."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.core.outputs import Change
from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from imclient.store import MemoryStore
from imclient.timeline import Message, Reaction, message_of, timeline
from imclient.transcript import Transcript
from tests.faults.simulation import shown

CONV = ConvId("g:team")
NOTHING: dict[str, Any] = {}


def wire(seq: int, kind: str = "text", body: dict[str, Any] | None = None, by: str = "alice", **more: Any) -> Any:
    said = {"text": f"message {seq}"} if body is None else body
    return {"conv": CONV, "seq": seq, "n": seq, "kind": kind, "from": by, "ts": 1000 + seq, "body": said, **more}


def entry(seq: int, kind: str = "text", body: dict[str, Any] | None = None, by: str = "alice", **more: Any) -> Entry:
    return Entry.from_wire(wire(seq, kind, body, by, **more))


def change(seq: int, kind: str, target: int, by: str = "bob", **body: Any) -> Entry:
    return entry(seq, kind, {"target": target, **body}, by)


def only(*entries: Entry, **how: Any) -> Message:
    [message] = timeline(entries, **how)
    return message


def test_an_edit_puts_the_body() -> None:
    message = only(entry(1), change(2, "edit", 1, body={"text": "new"}))

    assert (message.text, message.edited_at, message.changed) == ("new", 1002, 2)


def test_an_edit_without_a_body_waits_for_the_recall() -> None:
    message = only(entry(1), change(2, "edit", 1))

    assert (message.text, message.edited_at, message.changed) == ("message 1", None, 2)


def test_a_recall_leaves_nothing_and_nothing_becomes_of_it_any_more() -> None:
    changes = [
        change(2, "edit", 1, body={"text": "new"}),
        change(3, "reaction", 1, emoji="👍", on=True),
        change(4, "pin", 1, on=True),
        change(5, "recall", 1, by="carol"),
        change(6, "edit", 1, body={"text": "newer"}),
        change(7, "reaction", 1, emoji="👍", on=True),
        change(8, "pin", 1, on=True),
    ]

    message = only(entry(1), *changes)

    assert (message.recalled_by, message.recalled_at, message.changed) == ("carol", 1005, 8)
    assert (message.body, message.edited_at, message.reactions, message.pinned) == ({}, None, {}, False)


def test_a_change_that_the_message_holds_already_does_nothing() -> None:
    now = entry(
        1, changed=3, body={"text": "newest"}, edited={"seq": 3, "ts": 1}, reactions={"👍": {"count": 1, "users": []}}
    )

    message = only(now, change(2, "edit", 1, body={"text": "new"}), change(3, "reaction", 1, emoji="👍", on=True))

    assert message == message_of(now)


def test_reactions_are_counted_and_the_first_sixteen_named() -> None:
    many = [change(2 + i, "reaction", 1, by=f"u{i:02}", emoji="👍🎉"[i % 2], on=True) for i in range(18)]

    message = only(entry(1), *many)

    assert {emoji: each.count for emoji, each in message.reactions.items()} == {"👍": 9, "🎉": 9}
    assert [len(each.users) for each in message.reactions.values()] == [8, 8]
    off = only(entry(1), *many, change(30, "reaction", 1, by="u00", emoji="👍", on=False))
    assert off.reactions["👍"] == Reaction(8, tuple(UserId(f"u{i:02}") for i in range(2, 16, 2)))
    named_again = only(
        entry(1),
        *many,
        change(30, "reaction", 1, by="u00", emoji="👍", on=False),
        change(31, "reaction", 1, by="u17", emoji="👍", on=True),
    )
    assert named_again.reactions["👍"].users[-1] == "u17"


def test_whose_reaction_is_named_already_is_counted_once() -> None:
    twice = [change(seq, "reaction", 1, by="bob", emoji="👍", on=True) for seq in (2, 3)]

    assert only(entry(1), *twice).reactions == {"👍": Reaction(1, ("bob",))}  # type: ignore[arg-type]


def test_a_count_never_goes_below_its_names_and_an_emoji_without_anybody_goes() -> None:
    now = entry(1, changed=1, reactions={"👍": {"count": 1, "users": ["bob"]}})

    stranger = only(now, change(2, "reaction", 1, by="carol", emoji="👍", on=False))
    bob = only(now, change(2, "reaction", 1, by="bob", emoji="👍", on=False))

    assert stranger.reactions == {"👍": Reaction(1, ("bob",))}  # type: ignore[arg-type]
    assert bob.reactions == {}


def test_any_name_is_an_emoji() -> None:
    message = only(entry(1), change(2, "reaction", 1, emoji="__proto__", on=True))

    assert message.reactions["__proto__"].count == 1


def test_a_pin_sets_and_drops() -> None:
    assert only(entry(1), change(2, "pin", 1, on=True)).pinned
    assert not only(entry(1), change(2, "pin", 1, on=True), change(3, "pin", 1, on=False)).pinned


def test_a_change_above_a_hole_waits() -> None:
    message = only(entry(1), change(4, "edit", 1, body={"text": "new"}), whole=2)

    assert (message.text, message.changed) == ("message 1", 0)
    assert only(entry(1), change(4, "edit", 1, body={"text": "new"}), whole=4).text == "new"


def test_what_is_deleted_is_neither_shown_nor_quoted() -> None:
    quote = {"seq": 1, "kind": "text", "from": "alice", "ts": 1, "preview": "message 1"}
    messages = timeline([entry(1), entry(2, reply_to=1, quote=quote), entry(3)], deleted=[[1, 1], [3, 5]])

    assert [(message.seq, message.quote) for message in messages] == [(2, None)]
    assert only(entry(2, reply_to=1, quote=quote), deleted=[[1, 1]]).quote is None


def test_of_two_versions_that_with_the_later_changes_counts() -> None:
    later = entry(1, body={"text": "newest"}, changed=9, edited={"seq": 9, "ts": 1})

    assert only(entry(1), later).text == only(later, entry(1)).text == "newest"


def test_a_void_is_not_shown_and_a_notice_cannot_be_changed() -> None:
    notice = entry(1, "members", {"added": ["bob"]})

    messages = timeline([notice, entry(2, "void", {}), change(3, "edit", 1, body={"text": "x"})])

    assert messages == [message_of(notice)]
    assert not messages[0].countable


QUOTE = {"seq": 1, "kind": "text", "from": "alice", "ts": 1, "preview": "as it was", "changed": 2}


def test_a_quote_is_of_the_message_as_it_is_now() -> None:
    edit = change(4, "edit", 1, body={"text": " brand\n new "})

    here = timeline([entry(1), entry(3, reply_to=1), edit])[1].quote
    elsewhere = only(entry(3, reply_to=1, quote=QUOTE), edit).quote
    before = only(entry(3, reply_to=1, quote=QUOTE), change(2, "edit", 1, body={"text": "old"})).quote
    recalled = only(
        entry(3, reply_to=1, quote=QUOTE), change(4, "recall", 1), change(5, "edit", 1, body={"text": "x"})
    ).quote

    shown_as = [(quote.preview, quote.recalled) for quote in (here, elsewhere, before, recalled) if quote is not None]
    assert shown_as == [("brand new", False), ("brand new", False), ("as it was", False), ("", True)]


@pytest.mark.parametrize(
    "odd",
    [
        {"reactions": []},
        {"reactions": {"👍": 3, "🎉": {"count": "2"}, "👀": {"count": 1, "users": [1, "bob"]}}},
        {"quote": 7, "reply_to": 1},
        {"recalled": "yes"},
        {"edited": True},
        {"forwarded": []},
        {"pinned": 1},
        {"changed": "9"},
    ],
)
def test_what_has_a_form_that_is_not_known_is_left_out(odd: dict[str, Any]) -> None:
    message = only(entry(2, **odd))

    assert message.text == "message 2"
    assert message.reactions in ({}, {"👀": Reaction(1, ("bob",))})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"target": "1"},
        {"target": True},
        {"target": 1},
        {"target": 1, "emoji": 5, "on": True},
        {"target": 1, "body": "x"},
        {"target": 99},
    ],
)
@pytest.mark.parametrize("kind", ["edit", "reaction", "pin", "recall"])
def test_a_change_of_a_form_that_is_not_known_breaks_nothing(kind: str, body: dict[str, Any]) -> None:
    message = only(entry(1), entry(2, kind, body))

    assert (message.seq, message.reactions) == (1, {})
    assert message.recalled or message.text == "message 1"


# ---- any order


@dataclass
class Server:
    """A conversation as the server has it: each message as it is now, by the words of the protocol."""

    random: Random
    log: list[Any] = field(default_factory=list)
    now: dict[int, Any] = field(default_factory=dict)
    past: dict[int, list[Any]] = field(default_factory=dict)
    on: set[tuple[int, str, str]] = field(default_factory=set)

    def step(self) -> None:
        seq, user = len(self.log) + 1, self.random.choice("abcdefghijklmnopqrstuvw")
        open_ones = [s for s, message in self.now.items() if "recalled" not in message]
        kind = self.random.choice(["text", "text", "edit", "recall", "pin", *["reaction"] * 6]) if open_ones else "text"
        if kind == "text":
            said = wire(seq, by=user)
            if open_ones and self.random.random() < 0.3:
                said["reply_to"] = self.random.choice(open_ones)
            self.log.append(said)
            self.now[seq], self.past[seq] = dict(said), [dict(said)]
            return
        target = self.random.choice(open_ones)
        message = self.now[target]
        body: dict[str, Any] = {"target": target}
        if kind == "edit":
            body["body"] = {"text": f"edit {seq}"}
            message |= {"body": body["body"], "edited": {"seq": seq, "ts": 1000 + seq}}
        elif kind == "recall":
            for gone in ("edited", "reactions", "pinned"):
                message.pop(gone, None)
            message |= {"body": {}, "recalled": {"by": user, "ts": 1000 + seq}}
        elif kind == "pin":
            body["on"] = not message.get("pinned")
            message.pop("pinned", None)
            message |= {"pinned": True} if body["on"] else {}
        else:
            emoji = self.random.choice("👍🎉👀")
            body |= {"emoji": emoji, "on": (target, emoji, user) not in self.on}
            reactions = {
                name: {**each, "users": list(each["users"])} for name, each in message.get("reactions", {}).items()
            }
            named = sum(len(each["users"]) for each in reactions.values())
            mine = reactions.setdefault(emoji, {"count": 0, "users": []})
            if body["on"]:
                self.on.add((target, emoji, user))
                mine["count"] += 1
                mine["users"] += [user] if named < 16 else []
            else:
                self.on.discard((target, emoji, user))
                mine["count"] -= 1
                mine["users"] = [name for name in mine["users"] if name != user]
            message["reactions"] = {name: each for name, each in reactions.items() if each["count"]}
        message["changed"] = seq
        self.past[target].append(dict(message))
        self.log.append(wire(seq, kind, body, user))

    def told(self, seq: int) -> Any:
        """An entry as some push or fetch gives it: as it was then."""
        return self.random.choice(self.past[seq]) if seq in self.past else self.log[seq - 1]


def played(seed: int) -> tuple[Server, list[Entry]]:
    random = Random(seed)
    server = Server(random)
    for _ in range(random.randint(1, 80)):
        server.step()
    came = [server.told(seq) for seq in range(1, len(server.log) + 1)]
    came += [server.told(random.randint(1, len(server.log))) for _ in range(random.randint(0, 20))]
    random.shuffle(came)
    return server, [Entry.from_wire(each) for each in came]


def without_quote(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in Message.__slots__ if name != "quote"}


@given(st.integers(0, 2**32))
def test_any_order_gives_what_the_server_has(seed: int) -> None:
    server, came = played(seed)

    messages = timeline(came)

    now = [message_of(Entry.from_wire(server.now[seq])) for seq in sorted(server.now)]
    assert [without_quote(message) for message in messages] == [without_quote(message) for message in now]
    for message in messages:
        if message.reply_to is not None:
            assert message.quote is not None
            answered = server.now[message.reply_to]
            assert message.quote.recalled == ("recalled" in answered)
            assert message.quote.preview == answered["body"].get("text", "")


@given(st.integers(0, 2**32))
def test_a_store_that_took_them_in_any_order_shows_the_same(seed: int) -> None:
    server, came = played(seed)
    store = MemoryStore()
    held: dict[int, int] = {}
    for each in came:
        if each.seq not in held or each.changed > held[each.seq]:  # as a transcript does
            held[each.seq] = each.changed
            store.apply([Change("entries", CONV, each.wire, each.seq)])

    kept = timeline(store.entries(CONV, limit=1000))

    now = [message_of(Entry.from_wire(server.now[seq])) for seq in sorted(server.now)]
    assert [without_quote(message) for message in kept] == [without_quote(message) for message in now]


@given(st.integers(0, 2**32))
def test_it_is_what_the_simulation_shows(seed: int) -> None:
    _, came = played(seed)
    transcript = Transcript(CONV)
    for each in came:
        transcript.insert(each, each.changed)

    told = {
        m.seq: (m.kind, m.sender, m.n, m.body, m.edited_at is not None, m.recalled_by,
                sorted((emoji, each.count) for emoji, each in m.reactions.items()))
        for m in timeline(transcript.entries())
    }  # fmt: skip

    assert told == shown(transcript)
