"""Frames: any text in, a request or a refusal out; replies and pushes as the protocol has them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from im.domain import errors
from im.wire.error_table import CODES, describe
from im.wire.frames import (
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    BadFrame,
    Request,
    decode,
    dumps,
    encode_internal,
    encode_push,
    encode_refusal,
    encode_reply,
)

PROTOCOL_CODES = {
    *("bad_request", "unknown_route", "unauthorized", "forbidden", "not_found", "not_member", "blocked", "muted"),
    *("too_large", "rate_limited", "conflict", "expired", "sold_out", "already_claimed", "insufficient_funds"),
    *("unavailable", "internal"),
}
"""The error codes of the protocol, version 1."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
almost_requests = st.fixed_dictionaries(
    {},
    optional={
        "route": st.just("sync") | json_values,
        "op": st.just("inbox") | json_values,
        "id": st.just("r1") | st.text(max_size=70) | json_values,
        "data": st.just({}) | json_values,
        "more": json_values,
    },
)


def request(**changes: Any) -> str:
    return json.dumps({"route": "sync", "op": "inbox", "id": "r1", "data": {}} | changes)


def refused(raw: str) -> BadFrame:
    with pytest.raises(BadFrame) as info:
        decode(raw)
    return info.value


def survives(raw: str) -> None:
    """decode keeps its promise for `raw`: BadFrame with what can be answered, or a request that can be stored."""
    try:
        got = decode(raw)
    except BadFrame as e:
        reply = json.loads(encode_refusal(e.request_id, e.reason).encode())
        assert reply["ok"] is False
        assert reply["error"]["code"] in {"bad_request", "too_large"}
        assert reply["id"] is None or 1 <= len(reply["id"]) <= 64
        return
    dumps([got.route, got.op, got.id, got.data]).encode()
    assert 1 <= len(got.id) <= 64
    assert len(raw.encode()) <= MAX_FRAME_BYTES


@given(st.text())
@example("")
@example("\ufeff{}")
@example('"\ud800"')
def test_any_text_is_a_request_or_a_bad_frame(raw: str) -> None:
    survives(raw)


@given(st.binary(max_size=200))
def test_any_bytes_read_as_text_are_a_request_or_a_bad_frame(raw: bytes) -> None:
    survives(raw.decode("utf-8", "surrogateescape"))
    survives(raw.decode("latin-1"))


@given(json_values | almost_requests, st.booleans())
def test_any_json_is_a_request_or_a_bad_frame(value: object, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    survives(json.dumps(value, ensure_ascii=ascii_only))


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("place", ["data", "more"])
@pytest.mark.parametrize("escape", ["", r',"y":"\u0041"'])
def test_no_depth_of_nesting_breaks_the_decoder(open_: str, close: str, place: str, escape: str) -> None:
    depths = [*range(1, 64), *range(64, 900, 20), *range(900, 1100), 5000]

    for depth in depths:
        nested = open_ * depth + "1" + close * depth
        survives(f'{{"route":"sync","op":"inbox","id":"r1","{place}":{nested}{escape}}}')
        survives(f'{{"route":"sync","op":"inbox","id":"r1","data":{{"x":{nested}{escape}}}}}')
        survives(nested)
        survives(open_ * depth)


def test_data_may_be_nested_to_the_limit_and_no_deeper() -> None:
    def nested(depth: int) -> Any:
        return {} if depth == 0 else {"a": nested(depth - 1)}

    assert decode(request(data=nested(MAX_DEPTH - 2)))
    assert isinstance(refused(request(data=nested(MAX_DEPTH + 1))).reason, errors.BadRequest)


def test_a_request_comes_out_as_it_went_in() -> None:
    raw = '{"route":"message","op":"send","id":"r17","data":{"a":[1,"é",null]},"later":true}'

    assert decode(raw) == Request("message", "send", "r17", {"a": [1, "é", None]})


def test_data_may_be_left_out() -> None:
    assert decode('{"route":"connect","op":"ping","id":"r1"}').data == {}


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "{",
        "nonsense",
        '{"route":"sync","op":"inbox","id":"r1"',
        '{"route":"sync","op":"inbox","id":"r1",}',
        "{'route':'sync','op':'inbox','id':'r1'}",
        "[]",
        "null",
        "true",
        "5",
        '"text"',
        '[{"route":"sync","op":"inbox","id":"r1"}]',
        '{"route":"sync","op":"inbox","id":"r1"}{}',
        "\ufeff" + request(),
    ],
)
def test_what_is_no_object_is_a_bad_request_without_an_id(raw: str) -> None:
    bad = refused(raw)

    assert bad.request_id is None
    assert isinstance(bad.reason, errors.BadRequest)


@pytest.mark.parametrize("bad_id", [None, 5, 1.5, True, "", "x" * 65, [], {}, ["r1"]])
def test_an_id_that_is_none_is_answered_without_one(bad_id: object) -> None:
    bad = refused(request(id=bad_id))

    assert bad.request_id is None
    assert isinstance(bad.reason, errors.BadRequest)
    assert bad.reason.path == "id"


@pytest.mark.parametrize("good_id", ["x", "x" * 64, "é" * 64, "👩‍👧", " ", "\0", '"\\', "\u2028"])
def test_an_id_is_any_1_to_64_characters(good_id: str) -> None:
    assert decode(request(id=good_id)).id == good_id
    assert refused(request(id=good_id, op=5)).request_id == good_id


@pytest.mark.parametrize("name", ["route", "op"])
@pytest.mark.parametrize("value", [None, 5, True, [], {}, ["message"]])
def test_route_and_op_are_strings(name: str, value: object) -> None:
    bad = refused(request(**{name: value}))

    assert bad.request_id == "r1"
    assert isinstance(bad.reason, errors.BadRequest)
    assert bad.reason.path == name


@pytest.mark.parametrize("value", [None, 5, True, [], "text", [{}]])
def test_data_is_an_object(value: object) -> None:
    bad = refused(request(data=value))

    assert bad.request_id == "r1"
    assert isinstance(bad.reason, errors.BadRequest)
    assert bad.reason.path == "data"


@pytest.mark.parametrize(
    "raw",
    [
        '{"route":"sync","route":"group","op":"inbox","id":"r1"}',
        '{"route":"sync","op":"inbox","id":"r1","id":"r2"}',
        '{"route":"sync","op":"inbox","id":"r1","data":{"a":1,"a":1}}',
        '{"route":"sync","op":"inbox","id":"r1","data":{"a":[{"b":1,"\\u0062":2}]}}',
    ],
)
def test_a_name_twice_in_one_object_is_refused(raw: str) -> None:
    assert isinstance(refused(raw).reason, errors.BadRequest)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "1e", "0x1", "01", "+1"]
)
@pytest.mark.parametrize("escape", ["", r',"y":"\u0041"'])
def test_what_json_has_no_number_for_is_refused(number: str, escape: str) -> None:
    raw = f'{{"route":"sync","op":"inbox","id":"r1","data":{{"x":{number}{escape}}}}}'

    assert isinstance(refused(raw).reason, errors.BadRequest)


@pytest.mark.parametrize("number", ["1e308", "-0", "0.1", "9007199254740993", "1E-400", "9" * 400])
def test_large_and_small_numbers_are_numbers(number: str) -> None:
    assert decode(f'{{"route":"sync","op":"inbox","id":"r1","data":{{"x":{number}}}}}')


@pytest.mark.parametrize("text", [r"\ud800", r"\udfff", r"\udc00\ud800", r"a\ud83d"])
@pytest.mark.parametrize(
    "frame",
    [
        '{"route":"sync","op":"inbox","id":"r1","data":{"x":"TEXT"}}',
        '{"route":"sync","op":"inbox","id":"r1","data":{"TEXT":1}}',
        '{"route":"sync","op":"TEXT","id":"r1"}',
        '{"route":"sync","op":"inbox","id":"r1","TEXT":1}',
    ],
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(frame: str, text: str) -> None:
    assert isinstance(refused(frame.replace("TEXT", text)).reason, errors.BadRequest)
    assert isinstance(refused(frame.replace("TEXT", json.loads(f'"{text}"'))).reason, errors.BadRequest)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert decode(r'{"route":"sync","op":"inbox","id":"r1","data":{"x":"\ud83d\ude00"}}').data == {"x": "😀"}


@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
def test_a_frame_may_have_32_KiB_and_not_a_byte_more(letter: str) -> None:  # noqa: N802 - the unit
    room = MAX_FRAME_BYTES - len(json.dumps({"route": "s", "op": "o", "id": "r1", "data": {"x": ""}}).encode())
    fill = letter * (room // len(letter.encode()))
    fill += "." * (room - len(fill.encode()))

    def frame(text: str) -> str:
        return json.dumps({"route": "s", "op": "o", "id": "r1", "data": {"x": text}}, ensure_ascii=False)

    assert len(frame(fill).encode()) == MAX_FRAME_BYTES
    assert decode(frame(fill)).data["x"] == fill
    bad = refused(frame(fill + "."))
    assert isinstance(bad.reason, errors.TooLarge)
    assert bad.request_id == "r1"


def test_a_huge_frame_is_refused_unread() -> None:
    assert isinstance(refused("[" * 5_000_000).reason, errors.TooLarge)


# ---- replies and pushes ----------------------------------------------------------------------------------------------


def test_replies_have_the_form_of_the_protocol() -> None:
    assert json.loads(encode_reply("r1", {"seq": 1})) == {"id": "r1", "ok": True, "data": {"seq": 1}}
    assert json.loads(encode_refusal("r1", errors.NotMember("g:a"))) == {
        "id": "r1",
        "ok": False,
        "error": {"code": "not_member", "message": "not a member of g:a", "retryable": False},
    }
    assert json.loads(encode_refusal(None, errors.Unavailable("busy", 900))) == {
        "id": None,
        "ok": False,
        "error": {"code": "unavailable", "message": "busy", "retryable": True, "retry_after_ms": 900},
    }
    assert json.loads(encode_internal("r1", "req-7")) == {
        "id": "r1",
        "ok": False,
        "error": {"code": "internal", "message": "internal error, request req-7", "retryable": True},
    }
    assert json.loads(encode_push("kicked", {"reason": "replaced"})) == {
        "push": "kicked",
        "data": {"reason": "replaced"},
    }


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_nothing_that_is_not_json_goes_out(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_reply("r1", {"x": number})


def test_every_refusal_has_one_of_the_protocol_s_codes() -> None:
    refusals = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.ImError) and cls is not errors.ImError
    }

    assert set(CODES) == refusals
    assert {code for code, _ in CODES.values()} <= PROTOCOL_CODES
    bases = [cls for cls in CODES if cls.__base__ is errors.ImError]
    assert len({CODES[cls] for cls in bases}) == len(bases), "two refusals share a code"
    for cls in CODES.keys() - bases:
        assert CODES[cls] == CODES[cls.__base__], "a kind of refusal has another code"  # type: ignore[index]
    assert {code for code, retryable in CODES.values() if retryable} == {"unavailable"}


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("data.conv", "what it must be"),
        errors.UnknownRoute("a", "b"),
        errors.Unauthorized(),
        errors.Forbidden("why"),
        errors.NotFound("what"),
        errors.NotMember("g:a"),
        errors.Muted("you", 1000),
        errors.RateLimited(1000),
        errors.TooLarge("frame bytes", 2, 1),
        errors.TooManyGroups("bob", 500, 500),
        errors.Conflict("why"),
        errors.Unavailable("why", 1000),
    ],
)
def test_every_refusal_describes_itself(error: errors.ImError) -> None:
    told = describe(error)

    assert told["code"] == CODES[type(error)][0]
    assert told["message"] == str(error) != ""
    assert told["retryable"] == CODES[type(error)][1]
    assert ("retry_after_ms" in told) == isinstance(error, errors.Unavailable | errors.Muted | errors.RateLimited)


def test_who_is_muted_hears_for_how_long() -> None:
    """The same message may be sent then; but it is no failure, so nobody should try it again by themselves."""
    assert describe(errors.Muted("you", 90_000)) == {
        "code": "muted",
        "message": "you may not send now",
        "retryable": False,
        "retry_after_ms": 90_000,
    }


def test_a_bad_request_names_the_field() -> None:
    assert describe(errors.BadRequest("data.acks.3.seq", "must be positive"))["message"].startswith("data.acks.3.seq: ")
