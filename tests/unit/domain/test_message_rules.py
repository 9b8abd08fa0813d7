"""Changes of messages: what is so already, who may make them, what they make of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im.domain.entries import CHANGES, COUNTABLE, GROUP_CHANGES, Entry, Forwarded
from im.domain.errors import BadRequest, Conflict, Expired, Forbidden, ImError, TooLarge
from im.domain.group import Role
from im.domain.ids import Cmid, ConvId, Seq, UserId
from im.domain.message_rules import (
    EDITABLE,
    MAX_EDITS,
    MAX_EMOJI,
    NAMED_REACTIONS,
    NOTHING,
    Edit,
    MessageChange,
    Pin,
    React,
    Recall,
    Target,
    as_sent,
    require_editable,
    require_message,
)
from im.domain.message_state import UNCHANGED, Edited, Reaction, Recalled, State

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
SENT: Final = 1_795_253_400_000
HOUR: Final = 3_600_000
WINDOW: Final = 2 * HOUR

MESSAGE: Final = Entry(
    conv=ConvId("g:a"),
    seq=Seq(7),
    n=5,
    epoch=Seq(2),
    kind="text",
    sender=ALICE,
    ts=SENT,
    body='{"text":"first"}',
    cmid=Cmid("c1"),
    mentions=("bob",),
    reply_to=Seq(3),
    large=Seq(2),
)


def target(state: State = UNCHANGED, role: Role | None = None, own: Mapping[str, Seq] | None = None) -> Target:
    """The message with this state, as somebody with this role finds it."""
    body = NOTHING if state.recalled is not None else MESSAGE.body
    return Target(replace(MESSAGE, state=state, body=body), role, own or {})


def edit(by: UserId = ALICE, text: str = "second") -> Edit:
    return Edit(by, f'{{"text":"{text}"}}', {"body": {"text": text}}, WINDOW)


def recall(by: UserId = ALICE) -> Recall:
    return Recall(by, WINDOW)


ON: Final = React(BOB, "👍", on=True)
OFF: Final = React(BOB, "👍", on=False)
PIN: Final = Pin(on=True)
UNPIN: Final = Pin(on=False)

RECALLED: Final = State(Seq(20), recalled=Recalled(Seq(20), BOB, SENT + 5))
LIKED: Final = State(Seq(12), reactions={"👍": Reaction(2, (BOB, CAROL))})
PINNED: Final = State(Seq(15), reactions=LIKED.reactions, pinned=Seq(14))
EDITED: Final = State(Seq(11), (Seq(9), Seq(11)), Edited(Seq(11), SENT + 9), '{"text":"zeroth"}')


# ---- what they say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (edit(), "edit", {"body": {"text": "second"}}),
        (recall(), "recall", {}),
        (ON, "reaction", {"emoji": "👍", "on": True}),
        (OFF, "reaction", {"emoji": "👍", "on": False}),
        (PIN, "pin", {"on": True}),
        (UNPIN, "pin", {"on": False}),
    ],
)
def test_each_change_is_an_entry_of_the_protocol(change: MessageChange, kind: str, says: dict[str, Any]) -> None:
    assert change.kind == kind
    assert kind in CHANGES
    assert change.says == says


# ---- what is so already ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "found", "made"),
    [
        (edit(text="first"), target(), 7),
        (edit(text="first"), target(EDITED), 11),
        (edit(text="first"), target(replace(EDITED, changed=Seq(30), pinned=Seq(30))), 11),
        (edit(), target(), None),
        (edit(), target(EDITED), None),
        (edit(BOB, "first"), target(), None),  # to be refused: it is not theirs
        (Edit(ALICE, NOTHING, {}, WINDOW), target(RECALLED), None),  # to be refused: there is nothing to edit
        (recall(), target(RECALLED), 20),
        (recall(CAROL), target(RECALLED), 20),
        (recall(), target(), None),
        (recall(), target(PINNED), None),
        (ON, target(LIKED, own={"👍": Seq(10)}), 10),
        (ON, target(LIKED, own={"🎉": Seq(10)}), None),
        (ON, target(LIKED), None),
        (ON, target(RECALLED, own={"👍": Seq(10)}), None),  # it is gone: what was beside it says nothing any more
        (OFF, target(), 7),
        (OFF, target(LIKED, own={"🎉": Seq(12)}), 12),
        (OFF, target(LIKED, own={"👍": Seq(10)}), None),
        (OFF, target(RECALLED), None),
        (PIN, target(PINNED), 14),
        (PIN, target(LIKED), None),
        (PIN, target(RECALLED), None),
        (UNPIN, target(), 7),
        (UNPIN, target(LIKED), 12),
        (UNPIN, target(PINNED), None),
        (UNPIN, target(RECALLED), None),
    ],
)
def test_what_is_so_already_names_the_change_that_made_it_so(
    change: MessageChange, found: Target, made: int | None
) -> None:
    assert change.made(found) == made


# ---- who may, and when -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [None, "member", "admin", "owner"])
def test_only_who_sent_a_message_may_edit_it(role: Role | None) -> None:
    edit(ALICE).check(target(role=role), SENT)
    with pytest.raises(Forbidden):
        edit(BOB).check(target(role=role), SENT)


@pytest.mark.parametrize(
    ("by", "role", "late", "refused"),
    [
        (ALICE, None, False, None),
        (ALICE, None, True, Expired),
        (BOB, None, False, Forbidden),
        (ALICE, "member", False, None),
        (ALICE, "member", True, Expired),
        (BOB, "member", False, Forbidden),
        (BOB, "member", True, Forbidden),
        (BOB, "admin", True, None),
        (BOB, "owner", True, None),
        (ALICE, "admin", True, None),
    ],
)
def test_who_may_recall(by: UserId, role: Role | None, late: bool, refused: type[ImError] | None) -> None:  # noqa: FBT001
    now = SENT + WINDOW + (1 if late else 0)
    if refused is None:
        recall(by).check(target(role=role), now)
        return
    with pytest.raises(refused):
        recall(by).check(target(role=role), now)


@pytest.mark.parametrize("change", [edit(), recall()])
def test_the_window_is_open_to_its_end(change: MessageChange) -> None:
    change.check(target(), SENT + WINDOW)
    with pytest.raises(Expired, match="7200 s"):
        change.check(target(), SENT + WINDOW + 1)


@pytest.mark.parametrize("change", [ON, OFF, PIN, UNPIN])
@pytest.mark.parametrize("state", [UNCHANGED, LIKED, PINNED, EDITED])
def test_reactions_and_pins_have_no_window(change: MessageChange, state: State) -> None:
    change.check(target(state), SENT + 1000 * WINDOW)


@pytest.mark.parametrize("change", [ON, OFF])
@pytest.mark.parametrize("role", [None, "member", "admin", "owner"])
def test_whoever_may_write_may_react(change: MessageChange, role: Role | None) -> None:
    change.check(target(role=role), SENT)


@pytest.mark.parametrize("change", [PIN, UNPIN])
@pytest.mark.parametrize(("role", "may"), [(None, True), ("member", False), ("admin", True), ("owner", True)])
def test_who_may_pin(change: MessageChange, role: Role | None, may: bool) -> None:  # noqa: FBT001
    if may:
        change.check(target(role=role), SENT)
        return
    with pytest.raises(Forbidden):
        change.check(target(role=role), SENT)


@pytest.mark.parametrize("change", [edit(), ON, OFF, PIN, UNPIN])
@pytest.mark.parametrize("role", [None, "owner"])
def test_what_is_recalled_does_not_change_any_more(change: MessageChange, role: Role | None) -> None:
    with pytest.raises(Conflict):
        change.check(target(RECALLED, role), SENT)


def test_who_may_not_edit_does_not_learn_whether_it_is_too_late() -> None:
    for state in (RECALLED, UNCHANGED):
        with pytest.raises(Forbidden):
            edit(BOB).check(target(state), SENT + WINDOW + 1)


def test_a_message_is_edited_20_times_at_most() -> None:
    message = MESSAGE
    for i in range(MAX_EDITS):
        change = edit(text=f"edit {i}")
        change.check(Target(message, None), SENT)
        message = change.applied(Target(message, None), Seq(10 + i), SENT + i)

    assert MAX_EDITS == 20
    assert message.state.edits == tuple(range(10, 30))
    with pytest.raises(TooLarge) as refused:
        edit().check(Target(message, None), SENT)
    assert (refused.value.size, refused.value.limit) == (21, 20)
    recall().check(Target(message, None), SENT)


def test_a_message_has_20_kinds_of_emoji_at_most() -> None:
    full = State(Seq(40), reactions={f"e{i}": Reaction(1, (CAROL,)) for i in range(MAX_EMOJI)})

    assert MAX_EMOJI == 20
    with pytest.raises(TooLarge) as refused:
        ON.check(target(full), SENT)
    assert (refused.value.size, refused.value.limit) == (21, 20)
    React(BOB, "e3", on=True).check(target(full), SENT)
    React(CAROL, "e3", on=False).check(target(full), SENT)
    ON.check(target(replace(full, reactions=dict(list(full.reactions.items())[1:]))), SENT)


# ---- what they make of it --------------------------------------------------------------------------------------------


def test_an_edit_keeps_the_first_body_and_the_places_of_all_edits() -> None:
    once = edit().applied(target(PINNED), Seq(21), SENT + 1)
    twice = edit(text="third").applied(Target(once, None), Seq(25), SENT + 2)

    first = '{"text":"first"}'
    assert once == replace(
        MESSAGE,
        body='{"text":"second"}',
        state=replace(PINNED, changed=Seq(21), edits=(Seq(21),), edited=Edited(Seq(21), SENT + 1), original=first),
    )
    assert twice == replace(
        MESSAGE,
        body='{"text":"third"}',
        state=replace(
            PINNED, changed=Seq(25), edits=(Seq(21), Seq(25)), edited=Edited(Seq(25), SENT + 2), original=first
        ),
    )


@pytest.mark.parametrize("state", [UNCHANGED, LIKED, PINNED, EDITED])
def test_a_recall_leaves_nothing_but_the_place(state: State) -> None:
    recalled = recall(BOB).applied(target(state, "admin"), Seq(50), SENT + 3)

    assert recalled == replace(
        MESSAGE, body=NOTHING, state=State(changed=Seq(50), recalled=Recalled(Seq(50), BOB, SENT + 3))
    )


def test_a_reaction_counts_one_more_and_one_less() -> None:
    dave = UserId("dave")
    more = React(dave, "👍", on=True).applied(target(PINNED), Seq(50), SENT)
    less = OFF.applied(Target(more, None), Seq(51), SENT)

    assert more.state == replace(PINNED, changed=Seq(50), reactions={"👍": Reaction(3, (BOB, CAROL, dave))})
    assert less.state == replace(PINNED, changed=Seq(51), reactions={"👍": Reaction(2, (CAROL, dave))})
    assert (more.body, less.body) == (MESSAGE.body, MESSAGE.body)


def test_the_last_one_takes_the_emoji_along() -> None:
    one = State(Seq(12), reactions={"🎉": Reaction(1, (CAROL,)), "👍": Reaction(1, (BOB,))})

    assert OFF.applied(target(one), Seq(13), SENT).state.reactions == {"🎉": Reaction(1, (CAROL,))}


def test_what_a_message_was_is_not_touched() -> None:
    """Two changes may be decided on the same state; one of them is then decided anew."""
    before = target(LIKED)
    for change in (edit(), recall(), React(ALICE, "👍", on=True), OFF, PIN, React(ALICE, "🎉", on=True)):
        change.applied(before, Seq(50), SENT)

    assert before == target(State(Seq(12), reactions={"👍": Reaction(2, (BOB, CAROL))}))


def test_16_reactions_are_named_and_a_place_that_is_free_again_is_for_the_next() -> None:
    message = MESSAGE
    for i in range(NAMED_REACTIONS + 3):
        message = React(UserId(f"u{i}"), f"e{i % 5}", on=True).applied(Target(message, None), Seq(20 + i), SENT)

    def named(of: Entry) -> dict[str, list[str]]:
        return {emoji: list(reaction.users) for emoji, reaction in of.state.reactions.items()}

    assert NAMED_REACTIONS == 16
    assert sum(reaction.total for reaction in message.state.reactions.values()) == 19
    assert named(message)["e0"] == ["u0", "u5", "u10", "u15"]
    assert named(message)["e1"] == ["u1", "u6", "u11"]

    unnamed_goes = React(UserId("u16"), "e1", on=False).applied(Target(message, None), Seq(50), SENT)
    assert named(unnamed_goes) == named(message)
    assert unnamed_goes.state.reactions["e1"].total == 3
    still_full = React(UserId("new"), "e9", on=True).applied(Target(unnamed_goes, None), Seq(51), SENT)
    assert still_full.state.reactions["e9"] == Reaction(1, ())
    named_goes = React(UserId("u1"), "e1", on=False).applied(Target(still_full, None), Seq(52), SENT)
    again = React(UserId("late"), "e9", on=True).applied(Target(named_goes, None), Seq(53), SENT)
    assert again.state.reactions["e9"] == Reaction(2, (UserId("late"),))
    assert named(again)["e1"] == ["u6", "u11"]


def test_the_last_reaction_may_be_one_without_a_name() -> None:
    state = State(Seq(30), reactions={"👍": Reaction(2, (CAROL,))})

    one_left = React(CAROL, "👍", on=False).applied(target(state), Seq(31), SENT)
    none_left = OFF.applied(Target(one_left, None), Seq(32), SENT)

    assert one_left.state.reactions == {"👍": Reaction(1, ())}
    assert none_left.state.reactions == {}


def test_somebody_s_own_reactions_each_name_the_change_that_says_so() -> None:
    own = {"🎉": Seq(10), "👍": Seq(12)}

    assert ON.reactions(target(LIKED, own={"🎉": Seq(10)}), Seq(50)) == {"🎉": 10, "👍": 50}
    assert OFF.reactions(target(LIKED, own=own), Seq(50)) == {"🎉": 10}
    assert OFF.reactions(target(LIKED, own={"👍": Seq(12)}), Seq(50)) == {}
    assert own == {"🎉": 10, "👍": 12}


def test_a_pin_names_the_change_that_pinned_it() -> None:
    pinned = PIN.applied(target(LIKED), Seq(50), SENT)
    not_any_more = UNPIN.applied(Target(pinned, None), Seq(51), SENT)

    assert pinned == replace(MESSAGE, state=replace(LIKED, changed=Seq(50), pinned=Seq(50)))
    assert not_any_more == replace(MESSAGE, state=replace(LIKED, changed=Seq(51)))


# ---- any changes in any order ----------------------------------------------------------------------------------------

USERS: Final = tuple(UserId(f"u{i}") for i in range(6))
EMOJI: Final = tuple(f"e{i}" for i in range(MAX_EMOJI + 2))


@dataclass
class Model:
    """The message by the words of the protocol: what everybody has said of it, in sets and lists."""

    bodies: list[str] = field(default_factory=lambda: [MESSAGE.body])
    edits: list[int] = field(default_factory=list)
    reacted: dict[str, set[UserId]] = field(default_factory=dict)
    named: list[tuple[str, UserId]] = field(default_factory=list)
    pinned: int = 0
    recalled: int = 0
    newest: int = 0

    def refuses(self, change: MessageChange, role: Role | None, *, late: bool) -> type[ImError] | None:
        """What must come of it, if it is not so already: the first of these that is true."""
        leads = role in {"admin", "owner"}
        in_time = isinstance(change, Edit) or (isinstance(change, Recall) and not leads)
        full = isinstance(change, React) and change.on and change.emoji not in self.reacted and len(self.reacted) == 20
        rules: list[tuple[bool, type[ImError]]] = [
            (isinstance(change, Pin) and role == "member", Forbidden),
            (isinstance(change, Edit) and change.by != MESSAGE.sender, Forbidden),
            (isinstance(change, Recall) and change.by != MESSAGE.sender and not leads, Forbidden),
            (bool(self.recalled), Conflict),
            (in_time and late, Expired),
            (isinstance(change, Edit) and len(self.edits) == 20, TooLarge),
            (full, TooLarge),
        ]
        return next((refusal for holds, refusal in rules if holds), None)

    def is_so(self, change: MessageChange) -> bool:
        """Whether it changes nothing."""
        match change:
            case Recall():
                return bool(self.recalled)
            case Edit(by=by, body=body):
                return not self.recalled and by == MESSAGE.sender and self.bodies[-1] == body
            case React(by=by, emoji=emoji, on=on):
                return not self.recalled and (by in self.reacted.get(emoji, set())) == on
            case Pin(on=on):
                return not self.recalled and bool(self.pinned) == on
        raise TypeError(change)

    def make(self, change: MessageChange, seq: int) -> None:
        """It is made."""
        self.newest = seq
        match change:
            case Edit(body=body):
                self.bodies.append(body)
                self.edits.append(seq)
            case Recall():
                self.recalled, self.pinned = seq, 0
                self.bodies, self.edits = [NOTHING], []
                self.reacted, self.named = {}, []
            case React(by=by, emoji=emoji, on=True):
                self.reacted.setdefault(emoji, set()).add(by)
                if len(self.named) < 16:
                    self.named.append((emoji, by))
            case React(by=by, emoji=emoji):
                self.reacted[emoji].remove(by)
                if not self.reacted[emoji]:
                    del self.reacted[emoji]
                self.named = [one for one in self.named if one != (emoji, by)]
            case Pin(on=on):
                self.pinned = seq if on else 0


anybody = st.sampled_from((ALICE, *USERS))
reacts = st.builds(React, anybody, st.sampled_from(EMOJI), st.booleans())
often = st.builds(React, anybody, st.sampled_from(EMOJI[:3]), st.booleans())
edits = st.builds(edit, st.sampled_from([ALICE, ALICE, ALICE, BOB]), st.sampled_from(["first", "second", "third"]))
pins = st.booleans().map(Pin)
recalls = st.builds(recall, st.sampled_from([ALICE, BOB]))
roles = st.sampled_from([None, None, "member", "admin", "owner"])
late = st.integers(0, 9).map(lambda n: n == 0)

whatever = st.lists(st.tuples(st.one_of(reacts, often, often, edits, edits, pins), roles, late), max_size=40)
the_end = st.lists(st.tuples(st.one_of(recalls, recalls, often, edits, pins), roles, late), max_size=6)


@given(st.integers(0, 25), whatever, the_end)
def test_in_any_order_a_message_is_what_all_have_made_of_it(
    crowd: int,
    before: list[tuple[MessageChange, Role | None, bool]],
    end: list[tuple[MessageChange, Role | None, bool]],
) -> None:
    """A crowd reacts, then whatever comes, then perhaps a recall. What is refused or changes nothing is no entry."""
    model, message = Model(), MESSAGE
    own: dict[UserId, dict[str, Seq]] = {}
    first = [(React(USERS[i % len(USERS)], EMOJI[i % 21], on=True), None, False) for i in range(crowd)]
    for i, (change, role, too_late) in enumerate([*first, *before, *end]):
        seq, now = Seq(10 + 2 * i), SENT + (WINDOW + 1 if too_late else i)
        theirs = own.setdefault(change.by, {}) if isinstance(change, React) else {}
        found = Target(message, role, theirs)

        made = change.made(found)
        assert (made is not None) == model.is_so(change)
        if made is not None:
            assert made == MESSAGE.seq or made <= message.state.changed
            continue
        refused = model.refuses(change, role, late=too_late)
        if refused is not None:
            with pytest.raises(refused):
                change.check(found, now)
            continue
        change.check(found, now)
        message = change.applied(found, seq, now)
        if isinstance(change, React):
            own[change.by] = change.reactions(found, seq)
        model.make(change, seq)

        state = message.state
        assert message.body == model.bodies[-1]
        assert as_sent(message).body == model.bodies[0]
        assert {e: reaction.total for e, reaction in state.reactions.items()} == {
            e: len(users) for e, users in model.reacted.items()
        }
        assert {(e, user) for e, reaction in state.reactions.items() for user in reaction.users} == set(model.named)
        assert len(model.named) == sum(len(reaction.users) for reaction in state.reactions.values()) <= 16
        assert state.edits == tuple(model.edits)
        assert (state.edited.seq if state.edited else 0) == (model.edits[-1] if model.edits else 0)
        assert (state.original is not None) == bool(model.edits)
        assert (state.recalled.seq if state.recalled else 0) == model.recalled
        assert state.pinned == model.pinned
        assert state.changed == model.newest
        if not model.recalled:
            for user, reactions in own.items():
                assert set(reactions) == {e for e, users in model.reacted.items() if user in users}
        assert replace(message, body=MESSAGE.body, state=UNCHANGED) == MESSAGE


# ---- as it was sent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [UNCHANGED, LIKED, PINNED])
def test_a_message_that_was_not_edited_was_sent_as_it_is(state: State) -> None:
    assert as_sent(replace(MESSAGE, state=state)) == MESSAGE


def test_an_edited_message_was_sent_with_its_first_body() -> None:
    assert as_sent(replace(MESSAGE, state=EDITED)) == replace(MESSAGE, body='{"text":"zeroth"}')


def test_what_was_sent_and_recalled_is_gone() -> None:
    recalled = replace(MESSAGE, body=NOTHING, state=RECALLED)

    assert as_sent(recalled) == recalled


# ---- which entries change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(COUNTABLE))
def test_all_messages_may_be_recalled_and_reacted_to_and_two_kinds_edited(kind: str) -> None:
    message = replace(MESSAGE, kind=kind)

    require_message(message)
    if kind in {"text", "custom"}:
        require_editable(message)
    else:
        with pytest.raises(BadRequest):
            require_editable(message)
    assert {"text", "custom"} == EDITABLE


@pytest.mark.parametrize("kind", sorted(EDITABLE))
def test_what_is_forwarded_says_what_somebody_else_said(kind: str) -> None:
    with pytest.raises(BadRequest, match="forwarded") as refused:
        require_editable(replace(MESSAGE, kind=kind, forwarded=Forwarded(CAROL, SENT)))

    assert refused.value.path == "data.seq"


@pytest.mark.parametrize("kind", sorted({*CHANGES, *GROUP_CHANGES, "void", "new"}))
def test_what_is_no_message_does_not_change(kind: str) -> None:
    with pytest.raises(BadRequest) as refused:
        require_message(replace(MESSAGE, kind=kind), "data.seqs")

    assert refused.value.path == "data.seqs"
