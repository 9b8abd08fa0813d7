"""The limits in the forms of requests: each field holds as much as its form says, and not one more.

Forms and limits are found in the routers' operations: a new field is tried without a word here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.fuzz_forms import form_of, routers
from tests.faults.fuzz_frames import NUMBERS
from tests.faults.fuzz_stage import PACKETS, Stage, built_stage, dumped

Place = tuple[str, ...]
OWL = "🦉"
"""Four bytes, one character."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The world that every request meets."""
    with built_stage() as built:
        yield built


def limits_in(form: Any, defs: Any, path: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Every limit of a form: where it is, a value at it, one beyond it."""
    if "$ref" in form:
        yield from limits_in(defs[form["$ref"].rsplit("/", 1)[1]], defs, path)
    for one in form.get("anyOf", []):
        yield from limits_in(one, defs, path)
    for name, inner in form.get("properties", {}).items():
        yield from limits_in(inner, defs, (*path, name))
    if "maxLength" in form:
        letter = OWL if form["maxLength"] <= 2048 else "x"
        yield path, letter * form["maxLength"], letter * (form["maxLength"] + 1)
    if "minLength" in form:
        yield path, "x" * form["minLength"], "x" * (form["minLength"] - 1)
    if "maximum" in form:
        yield path, form["maximum"], form["maximum"] + 1
        yield path, form["minimum"], form["minimum"] - 1
    if "{1,64}" in form.get("pattern", ""):
        yield path, "x" * 64, "x" * 65
        yield path, "x", ""
    if "maxItems" in form:
        yield (
            path,
            [example(form["items"], defs)] * form["maxItems"],
            [example(form["items"], defs)] * (form["maxItems"] + 1),
        )
    if form.get("minItems"):
        yield path, [example(form["items"], defs)], []


def example(form: Any, defs: Any) -> Any:
    """Some value of a form."""
    if "$ref" in form:
        return example(defs[form["$ref"].rsplit("/", 1)[1]], defs)
    if "anyOf" in form:
        return example(form["anyOf"][0], defs)
    if "enum" in form:
        return form["enum"][0]
    if "properties" in form:
        return {name: example(form["properties"][name], defs) for name in form.get("required", [])}
    if "items" in form:
        return [example(form["items"], defs)]
    text = PACKETS["lucky"] if form.get("pattern", "").startswith("^rp") else "x"
    return {"string": text, "integer": 1, "boolean": True, "object": {}}[form["type"]]


FIELDS = {
    f"{route}.{op} {'.'.join(path)} {i}": (f"{route}.{op}", form, path, at, over)
    for route, router in routers().items()
    for op, operation in router.operations.items()
    if (form := form_of(operation)) is not None
    for i, (path, at, over) in enumerate(limits_in(form, form["$defs"]))
}
ALONE = {"to": "conv", "up_to": "seqs", "before": "after", "conv": "to", "seqs": "up_to", "after": "before"}
"""Fields that exclude each other."""


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_holds_as_much_as_its_form_says(stage: Stage, name: str) -> None:
    op, form, path, at, over = FIELDS[name]
    data = example(form, form["$defs"])
    if ALONE.get(path[0]) not in form.get("required", []):
        data.pop(ALONE.get(path[0], ""), None)

    accepted, refused = (reply_to(stage, op, data | {path[0]: value}) for value in (at, over))

    assert refused["error"]["code"] == "bad_request"
    assert refused["error"]["message"].startswith(f"data.{'.'.join(path)}: ")
    assert accepted["ok"] or accepted["error"]["message"] != refused["error"]["message"]


NUMBER_FIELDS = sorted({(op, path) for op, _, path, at, _ in FIELDS.values() if isinstance(at, int)})


@pytest.mark.parametrize(("op", "path"), NUMBER_FIELDS, ids=[f"{op}-{path[-1]}" for op, path in NUMBER_FIELDS])
def test_no_number_is_too_much_for_a_key(stage: Stage, op: str, path: Place) -> None:
    """Numbers become parts of keys: what is out of the order of their digits, DynamoDB would not take."""
    form = next(form for name, form, *_ in FIELDS.values() if name == op)
    data = example(form, form["$defs"]) | ({"conv": "d:alice:bob"} if "conv" in form["properties"] else {})
    data.pop(ALONE.get(path[0], "") if path[0] != "conv" else "", None)

    codes = {reply_to(stage, op, data | {path[0]: number}).get("error", {}).get("code") for number in NUMBERS}

    assert codes <= {None, "bad_request", "not_found", "not_member", "forbidden"}
    assert "bad_request" in codes


def reply_to(stage: Stage, op: str, data: dict[str, Any]) -> dict[str, Any]:
    """Alice asks; nothing may fail."""
    stage.begin()
    route, _, name = op.partition(".")
    asked = {"route": route, "op": name, "id": "r", "data": data}
    reply = json.loads(stage.send(stage.devices["alice"], dumped(asked)))
    assert stage.errors.error is None, stage.errors.error
    return dict(reply)
