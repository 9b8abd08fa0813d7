"""Whatever a client sends: one reply of the protocol's form, no failure of ours, and a refusal leaves no trace.

For every operation that any router serves: good frames and bad ones made of them (fuzz_frames.py), each in the same
world (fuzz_stage.py). What must be refused says fuzz_reading.py, and the form of the operation's data.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import currently_in_test_context, example, given, note, settings
from hypothesis import strategies as st

from im.wire.error_table import CODES
from tests.faults.figures import take_down
from tests.faults.fuzz_forms import Schema, conforms, form_of, routers
from tests.faults.fuzz_frames import GARBAGE, ODD, frames, json_copy, rendered
from tests.faults.fuzz_reading import Reading, read
from tests.faults.fuzz_stage import OPENING, PACKET_TABLE, ROUTES, Stage, built_stage, dumped, filled
from tests.integration import packet_books
from tests.integration.house import Device
from tests.integration.hypothesis_profile import examples

Data = dict[str, Any]

OPERATIONS: dict[tuple[str, str], Schema | None] = {
    (route, op): form_of(operation)
    for route, router in routers().items()
    for op, operation in router.operations.items()
}
REFUSALS = {code for code, retryable in CODES.values() if not retryable}
NOT_READ = {"bad_request", "unknown_route", "too_large"}
"""What a frame may be refused with before anybody asks what is stored."""
MAX_FRAME = 32 * 1024
PATH = re.compile(r"(frame|id|route|op|data(\.[A-Za-z0-9_-]+)*): .", re.DOTALL)
ECHOED = (
    *("name", "notice", "avatar", "custom", "join_mode", "history", "who_invites", "who_mentions_all"),
    *("draft", "muted", "pinned", "hidden", "receipts", "presence"),
)
"""Fields of requests that a reply that has them too has with the same value."""


SAID_AT_LAST = {("sync", "ack"): {"not_member", "not_found"}}
"""Where one bad part of a request stops none of the others, and the reply then speaks of the bad one."""

MONEY_FIRST = {"insufficient_funds", "conflict"}
"""What a red packet may be refused with once it is stored: it is given up then."""

MORE = {"muted": {"retry_after_ms"}, "rate_limited": {"retry_after_ms"}, "already_claimed": {"amount"}}
"""What some errors have besides."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The world that every frame meets."""
    with built_stage() as built:
        yield built


Played = Callable[[Counter[str]], None]


@pytest.fixture
def played(request: pytest.FixtureRequest) -> Played:
    """Takes down how many frames were played, by the codes of their replies."""
    return lambda codes: take_down(request.node.name, "frames", codes)


# ---- what holds for every frame --------------------------------------------------------------------------------------


def check(stage: Stage, name: str, text: str, function: str | None = None) -> str:
    """Play a frame from the device `name`, with all that is promised of it; the code of the reply."""
    stage.begin()
    device, asked = stage.devices[name], read(text)
    answer = stage.send(device, text, function)
    if currently_in_test_context():
        note(f"{name}: {text[:500]} -> {answer[:500]}")
    assert stage.errors.error is None, stage.errors.error
    reply = json.loads(answer, parse_constant=no_constant)
    assert len(answer.encode()) <= MAX_FRAME
    assert set(reply) == {"id", "ok", "data" if reply["ok"] else "error"}
    assert reply["id"] == asked.id
    if not reply["ok"]:
        check_refusal(stage, reply["error"], asked)
        return str(reply["error"]["code"])
    assert asked.flaw is None
    assert (asked.route, asked.op) in OPERATIONS
    assert function in {None, asked.route}
    form = OPERATIONS[asked.route, asked.op]
    assert form is None or conforms(form, asked.data, form["$defs"])
    check_success(stage, device, asked, reply["data"])
    return "ok"


def check_refusal(stage: Stage, error: Data, asked: Reading) -> None:
    """A code and a text, and nothing has happened."""
    code = error["code"]
    assert set(error) == {"code", "message", "retryable"} | MORE.get(code, set())
    assert code in REFUSALS
    assert error["retryable"] is False
    assert len(error["message"]) < 1000
    if code == "bad_request":
        assert PATH.match(error["message"]), error["message"]
    if asked.flaw is not None:
        assert code in {"bad_request", "too_large"}
    elif (asked.route, asked.op) not in OPERATIONS:
        assert code == "unknown_route"
    elif code != "unknown_route":
        form = OPERATIONS[asked.route, asked.op]
        assert form is None or conforms(form, asked.data, form["$defs"]) or code == "bad_request"
    if asked.flaw is None and code in SAID_AT_LAST.get((asked.route, asked.op), ()):
        stage.settle()  # what the others of its parts have done is done
        return
    if asked.flaw is None and (asked.route, asked.op) == ("redpacket", "create") and code in MONEY_FIRST:
        check_given_up(stage)
        return
    assert not stage.changed()
    assert not stage.queues.sent
    assert not stage.told()
    assert not any(device.closed for device in stage.devices.values())


def check_given_up(stage: Stage) -> None:
    """A packet that was refused is over some minutes later, and nothing else has happened."""
    stage.give_up()
    before, after = stage.world, filled(stage.tables.tables)
    assert {table for table, rows in after.items() if rows and rows != before.get(table)} <= MONEY
    new = after[PACKET_TABLE].keys() - before[PACKET_TABLE].keys()
    assert {after[PACKET_TABLE][packet]["META"]["state"]["S"] for packet in new} <= {"cancelled"}
    assert not stage.told()
    check_books(stage)


MONEY = {PACKET_TABLE, "WalletTable"}


def check_books(stage: Stage) -> None:
    """All money is where the packets say."""
    assert not packet_books.wrong(stage.books(), opening=OPENING, settled=True)


def check_success(stage: Stage, device: Device, asked: Reading, data: Data) -> None:
    """What was asked for is there, as it was said, and whoever may read it can."""
    for name in ECHOED:
        if stage.changed() and name in data and asked.data.get(name) is not None:
            assert dumped(data[name]) == dumped(asked.data[name]), name
    if asked.route == "message" and "body" in asked.data and not data["duplicate"]:
        check_said(stage, device, asked.data["body"], data)
    if stage.queues.sent or stage.changed():
        stage.settle()
        if asked.route == "redpacket":
            check_books(stage)
        for name in ("alice", "bob", "carol"):
            check_readable(stage, stage.devices[name], data.get("conv"))


def check_said(stage: Stage, device: Device, body: Data, data: Data) -> None:
    """The entry says exactly what the frame said, of what the server knows."""
    page = ask(stage, device, "entries", {"conv": data["conv"], "after": data["seq"] - 1})
    said = page["entries"][0]["body"]
    said = said.get("body", said)  # that of a change
    known = {name: body.get(name) for name in ("type", "payload")} if "type" in said else {"text": body["text"]}
    assert dumped({name: said[name] for name in known}) == dumped(known)


def check_readable(stage: Stage, device: Device, conv: str | None) -> None:
    """The inbox, and the end of a conversation, are frames."""
    if device.closed:
        return
    ask(stage, device, "inbox", {})
    if conv is not None:
        ask(stage, device, "entries", {"conv": conv, "before": 2**53 - 1}, closed="not_member")


def ask(stage: Stage, device: Device, op: str, data: Data, closed: str = "") -> Data:
    """The data of a reply that must be a success, or refuse with the code `closed`."""
    answer = stage.send(device, dumped({"route": "sync", "op": op, "id": "r", "data": data}))
    assert len(answer.encode()) <= MAX_FRAME
    reply = json.loads(answer, parse_constant=no_constant)
    assert reply["ok"] or reply["error"]["code"] == closed, reply
    return dict(reply["data"]) if reply["ok"] else {}


def no_constant(name: str) -> None:
    """JSON has no NaN."""
    raise AssertionError(name)


# ---- what is played --------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SAID = st.fixed_dictionaries({"text": ANY_TEXT}) | st.fixed_dictionaries(
    {
        "type": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
        "payload": st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
        ),
    }
)
"""Bodies that nothing is wrong with."""
CALLERS = st.sampled_from(["alice", "alice", "alice", "bob", "bob's other", "carol", "dave"])


@pytest.mark.parametrize(("route", "op"), OPERATIONS, ids=map(".".join, OPERATIONS))
def test_every_frame_of_an_operation_has_one_reply_and_a_refused_one_leaves_no_trace(
    stage: Stage, played: Played, route: str, op: str
) -> None:
    codes: Counter[str] = Counter()

    @given(CALLERS, frames(route, op, OPERATIONS[route, op]))
    @settings(max_examples=examples(140))
    def play(name: str, text: str) -> None:
        codes[check(stage, name, text)] += 1

    play()
    played(codes)
    assert set(codes) - NOT_READ, "no frame came as far as the operation"
    assert codes["bad_request"], "no bad frame was played"


MESSAGE: Data = {
    "route": "message",
    "op": "send",
    "id": "r",
    "data": {"conv": "d:alice:bob", "cmid": "new", "kind": "text", "body": {"text": "x"}},
}
FIELDS = (
    *(("id",), ("route",), ("op",), ("data",), ("extra",)),
    *(("data", name) for name in ("conv", "to", "cmid", "kind", "body", "mentions", "reply_to", "extra")),
    *(("data", "body", name) for name in ("text", "extra")),
)


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_every_odd_value_in_every_field_of_a_message(stage: Stage, played: Played, path: tuple[str, ...]) -> None:
    codes: Counter[str] = Counter()
    *way, field = path
    for odd in ODD:
        frame = json_copy(MESSAGE)
        holder = frame
        for name in way:
            holder = holder[name]
        holder[field] = odd
        codes[check(stage, "alice", rendered(frame, escapes=True))] += 1

    played(codes)
    assert codes["bad_request"]
    assert codes["ok"] or field not in {"id", "cmid", "text", "extra"}


@given(body=SAID, escapes=st.booleans(), conv=st.sampled_from(["d:alice:bob", "g:club"]))
@example(body={"text": "\uffff\ufffe\x00\x1f\x7f\u2028 \U0010ffff"}, escapes=False, conv="g:club")
@settings(max_examples=examples(100))
def test_whatever_is_said_comes_out_as_it_went_in(stage: Stage, body: Data, escapes: bool, conv: str) -> None:  # noqa: FBT001
    kind = "text" if "text" in body else "custom"
    known = {name: body[name] for name in ("text", "type", "payload") if name in body}
    data = {"conv": conv, "cmid": "new", "kind": kind, "body": body}

    code = check(stage, "alice", rendered({"route": "message", "op": "send", "id": "r", "data": data}, escapes=escapes))

    assert code == "ok"
    for name in ("bob", "bob's other"):
        pushed = [entry for push in stage.devices[name].got("entries") for entry in push["entries"]]
        assert {dumped(entry["body"]) for entry in pushed} == {dumped(known)}


def test_a_function_refuses_the_frames_of_all_others(stage: Stage, played: Played) -> None:
    codes: Counter[str] = Counter()

    @given(CALLERS, st.sampled_from(ROUTES), st.sampled_from(sorted(OPERATIONS)), st.data())
    @settings(max_examples=examples(140))
    def play(name: str, function: str, operation: tuple[str, str], data: st.DataObject) -> None:
        text = data.draw(frames(*operation, OPERATIONS[operation]))
        codes[check(stage, name, text, function)] += 1

    play()
    played(codes)
    assert codes["unknown_route"]


def test_garbage_has_one_reply_and_leaves_no_trace(stage: Stage, played: Played) -> None:
    codes: Counter[str] = Counter()

    @given(CALLERS, GARBAGE)
    @example("alice", "[" * 100_000)
    @example("alice", '{"a":' * 100_000)
    @example("alice", "x" * 200_000)
    @settings(max_examples=examples(500))
    def play(name: str, text: str) -> None:
        codes[check(stage, name, text)] += 1

    play()
    played(codes)
    assert set(codes) <= {"bad_request", "too_large", "unknown_route"}


@pytest.mark.parametrize("body", [None, "", 0, False, [], {}], ids=repr)
def test_an_event_without_a_text_has_its_reply(stage: Stage, body: Any) -> None:
    stage.begin()

    reply = json.loads(stage.send(stage.devices["alice"], body))

    assert (reply["id"], reply["error"]["code"]) == (None, "bad_request")
