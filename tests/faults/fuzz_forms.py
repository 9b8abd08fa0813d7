"""The operations as they are served, what form their data has, and good data of that form.

Nothing is listed here: operations are found in the routers, forms in the pydantic models, so what is new is found too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from hypothesis import strategies as st

from im.aws import clients
from im.runtime import packet_wiring, wiring
from im.runtime.router import Operation, Router
from im.runtime.settings import Settings
from im.wire import requests
from tests.faults.fuzz_stage import CONVERSATIONS, MINUTE, PACKETS, USERS
from tests.integration.house import START

Schema = Mapping[str, Any]


class _Anything(Settings):
    """Settings that have everything."""

    def text(self, name: str) -> str:
        return name if not name[-1].isdigit() else "1"

    def number(self, name: str) -> int:
        return len(name)


def routers() -> dict[str, Router]:
    """All routers that the modules of runtime/ make, by route. They reach nothing, so nothing can be asked of them."""
    made: dict[str, Router] = {}
    with pytest.MonkeyPatch.context() as patch:
        for client in ("dynamodb", "sqs", "secrets"):
            patch.setattr(clients, client, lambda: None)
        patch.setattr(clients, "connections", lambda _: None)
        for name, make in (vars(wiring) | vars(packet_wiring)).items():
            if name.endswith("_router"):
                (wanted,) = inspect.signature(make).parameters.values()
                router = make(_Anything({}) if wanted.annotation == "Settings" else None)
                made[router.route] = router
    return made


def form_of(operation: Operation) -> Schema | None:
    """The form of an operation's data, as JSON Schema; None when it takes no data."""
    used: Any = operation
    named = [getattr(requests, name, None) for name in used.__code__.co_names]
    for model in [inspect.getclosurevars(used).nonlocals.get("model"), *named]:
        if isinstance(model, type) and issubclass(model, requests.Data) and model is not requests.Data:
            return {"$defs": {}} | model.model_json_schema()
    return None


# ---- what has a form -------------------------------------------------------------------------------------------------


def conforms(form: Schema, value: Any, defs: Schema) -> bool:
    """Whether `value` has the form: the same types exactly, 5.0 and true are no integers."""
    if "$ref" in form:
        return conforms(_named(form, defs), value, defs)
    if "anyOf" in form:
        return any(conforms(one, value, defs) for one in form["anyOf"])
    if choices := _choices(form):
        return isinstance(value, str) and value in choices
    return "type" not in form or CONFORMS[form["type"]](form, value, defs)


def _named(form: Schema, defs: Schema) -> Schema:
    found: Schema = defs[form["$ref"].rsplit("/", 1)[1]]
    return found


def _choices(form: Schema) -> list[Any]:
    return list(form.get("enum", [form["const"]] if "const" in form else []))


def _is_object(form: Schema, value: Any, defs: Schema) -> bool:
    known = form.get("properties", {})
    return (
        isinstance(value, dict)
        and all(name in value for name in form.get("required", []))
        and all(conforms(known[name], inner, defs) for name, inner in value.items() if name in known)
    )


def _is_array(form: Schema, value: Any, defs: Schema) -> bool:
    return (
        isinstance(value, list)
        and form.get("minItems", 0) <= len(value) <= form.get("maxItems", len(value))
        and all(conforms(form["items"], inner, defs) for inner in value)
    )


def _is_string(form: Schema, value: Any, _: Schema) -> bool:
    pattern = form.get("pattern", "(?s).*").removeprefix("^").removesuffix(r"\z")
    return (
        isinstance(value, str)
        and form.get("minLength", 0) <= len(value) <= form.get("maxLength", len(value))
        and re.fullmatch(pattern, value) is not None
    )


def _is_integer(form: Schema, value: Any, _: Schema) -> bool:
    return type(value) is int and form["minimum"] <= value <= form["maximum"]


CONFORMS: Final[Mapping[str, Callable[[Schema, Any, Schema], bool]]] = {
    "object": _is_object,
    "array": _is_array,
    "string": _is_string,
    "integer": _is_integer,
    "boolean": lambda _, value, __: isinstance(value, bool),
    "null": lambda _, value, __: value is None,
}

# ---- good data -------------------------------------------------------------------------------------------------------

TEXTS: Final = st.sampled_from(
    ["x", "", "To be, or not to be", "é👍", "\x00", "\uffff\ufffe", "a\u2028b", "x" * 900]
) | st.text(max_size=30)
SEQS: Final = st.integers(1, 13)
BODIES: Final = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["x", "y" * 64])},
        optional={
            "payload": st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=5,
            )
        },
    ),
)
KNOWN: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "conv": st.sampled_from(["g:club", "g:club", *CONVERSATIONS[:2], *CONVERSATIONS]),
    "source": st.sampled_from([*CONVERSATIONS[:2], *CONVERSATIONS]),
    "to": st.sampled_from(USERS),
    "user": st.sampled_from(["bob", "dave", *USERS]),
    "users": st.lists(st.sampled_from([*USERS, "frank"]), min_size=1, max_size=5),
    "members": st.lists(st.sampled_from([*USERS, "frank"]), max_size=5),
    "seq": SEQS,
    "up_to": SEQS,
    "after": st.integers(0, 13),
    "before": SEQS,
    "reply_to": SEQS,
    "seqs": st.lists(SEQS, min_size=1, max_size=2),
    "cmid": st.sampled_from(["new", "a0", "é" * 64, "\x00", "#"]),
    "gid": st.sampled_from(["new", "club", "open"]),
    "body": BODIES,
    "mentions": st.lists(st.sampled_from([*USERS, "nobody"]), max_size=3) | st.sampled_from([[], ["@all"]]),
    "until": st.sampled_from([0, START, START + 5 * MINUTE, 2**53 - 1]),
    "emoji": st.sampled_from(["👍", "🎉", "x"]),
    "packet": st.sampled_from([*PACKETS.values(), "rp" + "a" * 26]),
    "total": st.sampled_from([1, 2, 6, 6, 600, 600, 2_000_000, 2_000_001]) | st.integers(1, 1000),
    "count": st.sampled_from([1, 1, 2, 3, 500, 501]),
}
"""What is worth saying in fields of these names; in others, whatever has their form."""


def values(form: Schema, defs: Schema) -> st.SearchStrategy[Any]:
    """Values of a form."""
    if "$ref" in form:
        return values(_named(form, defs), defs)
    if "anyOf" in form:
        return st.one_of([values(one, defs) for one in form["anyOf"]])
    if choices := _choices(form):
        return st.sampled_from(choices)
    return VALUES[form["type"]](form, defs) if "type" in form else st.none()


def _objects(form: Schema, defs: Schema) -> st.SearchStrategy[Any]:
    if "properties" not in form:
        return st.dictionaries(st.text(max_size=5), TEXTS | st.integers(), max_size=3)
    own = {name: values(inner, defs) for name, inner in form["properties"].items() if name not in KNOWN}
    fields = own | {name: strategy for name, strategy in KNOWN.items() if name in form["properties"]}
    needed = {name: fields.pop(name) for name in form.get("required", [])}
    return st.fixed_dictionaries(needed, optional=fields).map(_agreeing)


EXCLUSIVE: Final = (("conv", "to"), ("seqs", "up_to"), ("after", "before"))


def _agreeing(data: dict[str, Any]) -> dict[str, Any]:
    """Without the second one of two fields that exclude each other; of the kind that its body is of."""
    if "total" in data:
        return _packet(data)
    for first, second in EXCLUSIVE:
        if first in data:
            data.pop(second, None)
    if "kind" in data and "body" in data:
        data["kind"] = "text" if "text" in data["body"] else "custom"
    return data


def _packet(data: dict[str, Any]) -> dict[str, Any]:
    """A red packet, mostly of figures that fit each other and its conversation."""
    if data["total"] < 3:
        return data
    if data["conv"].startswith("d:"):
        data["kind"] = "direct"
        data.pop("to", None)
    if data["kind"] == "direct":
        data.pop("count", None)
    else:
        data.pop("to", None)
        data["count"] = min(data.get("count", 2), 3)
        data["total"] *= data["count"]
    return data


def _strings(form: Schema, _: Schema) -> st.SearchStrategy[Any]:
    if "[0-9]" in form.get("pattern", "").partition("A-Z")[0]:
        return st.integers(0, 9999).map(str)
    if "pattern" in form:
        return st.sampled_from(USERS)
    least, most = form.get("minLength", 0), form.get("maxLength", 1000)
    return TEXTS.map(lambda text: (text or "x" * least)[:most])


def _integers(form: Schema, _: Schema) -> st.SearchStrategy[Any]:
    low, high = form["minimum"], form["maximum"]
    return st.sampled_from([low, min(low + 10, high), high]) | st.integers(low, min(high, low + 100))


VALUES: Final[Mapping[str, Callable[[Schema, Schema], st.SearchStrategy[Any]]]] = {
    "object": _objects,
    "array": lambda form, defs: st.lists(
        values(form["items"], defs), min_size=form.get("minItems", 0), max_size=min(form.get("maxItems", 5), 5)
    ),
    "string": _strings,
    "integer": _integers,
    "boolean": lambda _, __: st.booleans(),
    "null": lambda _, __: st.none(),
}
