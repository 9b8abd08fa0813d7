"""Frames of every operation, good and bad.

A good frame is made from the form of the operation's data (its pydantic model) and names of the world on the stage; a
bad one is a good one that something was done to, or garbage. Operations and their forms are found in the routers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from tests.faults.fuzz_forms import Schema, values

Data = dict[str, Any]


@dataclass(frozen=True)
class Token:
    """JSON text that stands for itself."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """An object whose names may come twice."""

    pairs: tuple[tuple[str, Any], ...]


def rendered(value: Any, *, escapes: bool) -> str:
    """JSON text. Without `escapes`, characters stand for themselves, as far as UTF-8 has them."""
    if isinstance(value, Token):
        return value.text
    if isinstance(value, dict | Pairs):
        pairs = value.pairs if isinstance(value, Pairs) else value.items()
        inner = (f"{_text(name, escapes)}:{rendered(content, escapes=escapes)}" for name, content in pairs)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(rendered(content, escapes=escapes) for content in value) + "]"
    return _text(value, escapes) if isinstance(value, str) else json.dumps(value)


def _text(text: str, escapes: bool) -> str:  # noqa: FBT001 - see rendered
    return json.dumps(text, ensure_ascii=escapes or any("\ud800" <= c <= "\udfff" for c in text))


# ---- what is done to them --------------------------------------------------------------------------------------------


def _nested(depth: int, *, lists: bool) -> Token:
    return Token("[" * depth + "]" * depth if lists else '{"a":' * depth + "0" + "}" * depth)


NUMBERS: Final = (
    *(0, -1, 1, 0.5, 5.0, -0.0, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63), 10**38, 10**39),
    # Around what keys of entries have digits for.
    *(10**12 - 1, 10**12, 9_999_999_999_990, 9_999_999_999_991, 10**13),
)
TOKENS: Final = (
    *"1e999 -1e999 NaN Infinity -Infinity -0 1e0 1e-400 5.0 01 +1 .5 1. 0x10 1_000 undefined None 'x'".split(),  # noqa: SIM905
    *("", "1" + "0" * 400, "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000, "1e" + "9" * 5000),
    *("[" + "0," * n + "0]" for n in (1000, 10_000)),
)
TEXTS: Final = (
    *(
        "",
        " ",
        "0",
        "5",
        "true",
        "null",
        "\n",
        "a\n",
        "\x00",
        "\x00" * 64,
        "\x7f",
        "\uffff",
        "\ufffe",
        "\u2028",
        "\ufeff",
    ),
    *("\ud800", "a\udc00", "\ud83d", "\ude00\ud83d", "👍", "\xe9", "e\u0301", "\u202eabc", "٣", "🏳️‍🌈", "\U0010ffff"),
    *("x" * n for n in (48, 49, 64, 65, 100, 101, 128, 200, 201, 512, 513, 1000, 1001, 2048, 2049, 8192, 8193)),
    *("é" * n for n in (24, 25, 64, 65, 1001, 8192, 8193)),
    *("x" * 16384, "x" * 16385, "\x01" * 5000, '"' * 9000, "\\" * 9000, "x" * 32000, "x" * 140_000),
)
NO_NAMES: Final = (
    *"g: d: g : G:club g:club:x g:é g:none g:@all d:alice d:alice: d::bob d:bob:alice".split(),  # noqa: SIM905
    *"d:alice:alice d:alice:bob: d:alice:bob:carol d:carol:dave x:alice:bob".split(),  # noqa: SIM905
    *("#", "META", "@all", "alice#", "MSG#000000000001", "__class__"),
    *("g:club ", " g:club", "g:club\n", "g:a b", "d:alice:bob\x00", "g:" + "x" * 64, "g:" + "x" * 65, "'; DROP TABLE"),
    "d:" + "a" * 64 + ":" + "b" * 64,
)
LISTS: Final[tuple[Any, ...]] = (
    *([], [[]], {}, {"": ""}, [None], {"text": "x"}, ["alice", 5], [1, 1, 1], [f"u{i}" for i in range(201)]),
    *([item] * n for item in ("alice", {"conv": "g:club", "seq": 1}) for n in (1, 2, 50, 51, 101)),
    *(list(range(1, n + 1)) for n in (30, 31, 100, 101)),
)
NESTED: Final = (
    *(_nested(n, lists=lists) for n in (29, 30, 31, 32, 33, 500, 2000) for lists in (True, False)),
    _nested(60_000, lists=True),
)
ODD: Final[tuple[Any, ...]] = (
    *(None, True, False),
    *(*NUMBERS, *map(Token, TOKENS), *TEXTS, *NO_NAMES, *LISTS, *NESTED, "club", "alice"),
)

Step = tuple[str, int, Any]
STEPS: Final = ("replace", "replace", "replace", "remove", "repeat", "add", "rename", "wrap", "turn", "grow")
NAMES: Final = st.sampled_from(
    ["conv", "to", "seq", "user", "extra", "", "\x00", "__proto__", "Conv", "\ud800", "n" * 3000]
)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every container in a frame with each of its keys or places."""
    out: list[tuple[Any, Any]] = []
    inside: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(tree, dict):
        inside = iter(list(tree.items()))
    elif isinstance(tree, list):
        inside = iter(enumerate(tree))
    for key, value in inside:
        out.append((tree, key))
        out += places(value)
    return out


def changed(frame: Any, step: Step) -> Any:
    """A frame that something was done to in one place."""
    what, where, odd = step
    holder = {"frame": frame}
    all_of_them = places(holder)
    container, key = all_of_them[where % len(all_of_them)]
    match what:
        case "replace":
            container[key] = odd
        case "remove":
            del container[key]
        case "repeat":
            _repeat(container, key, odd)
        case "add" if isinstance(container[key], dict):
            container[key][odd if isinstance(odd, str) else "extra"] = odd
        case "rename" if isinstance(container, dict):
            container[odd if isinstance(odd, str) else f"{key}_"] = container.pop(key)
        case "wrap":
            container[key] = [container[key]] if where % 2 else {"x": container[key]}
        case "turn":
            container[key] = _turned(container[key])
        case "grow" if isinstance(container[key], str | list) and len(container[key]) < 100:
            container[key] = container[key] * (1 + where)
    return holder.get("frame", Token(""))


def _repeat(container: Any, key: Any, odd: Any) -> None:
    """A name comes twice in one object, with the same value or another."""
    value = container[key]
    if isinstance(value, dict) and value:
        name = next(iter(value))
        container[key] = Pairs((*value.items(), (name, odd if isinstance(odd, int) else value[name])))
    elif isinstance(value, list) and value:
        container[key] = [*value, value[0]]


def _turned(value: Any) -> Any:
    """The same in another type."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return float(value) if value % 2 and abs(value) < 2**60 else str(value)
    if isinstance(value, str):
        return list(value[:10]) if len(value) % 2 else {value[:10]: value[:10]}
    if isinstance(value, dict):
        return list(value.values())
    return dict.fromkeys(map(str, value[:10])) if isinstance(value, list) else value


INSERTED: Final = "\"\\{}[],:\x00\x1f/'é\n"

TEXT_STEPS: Final[Mapping[str, Callable[[str, int], str]]] = {
    "as it is": lambda text, _: text,
    "cut": lambda text, at: text[: at % (len(text) + 1)],
    "cut in front": lambda text, at: text[at % (len(text) + 1) :],
    "one character less": lambda text, at: text[: at % (len(text) + 1)] + text[at % (len(text) + 1) + 1 :],
    "one more": lambda text, at: text[:at] + INSERTED[at % len(INSERTED)] + text[at:],
    "twice": lambda text, _: text + text,
    "in a list": lambda text, _: f"[{text}]",
    "in a text": lambda text, _: json.dumps(text),
    "white space": lambda text, at: "\t\r\n"[at % 3] * (at % 99) + text + " \t\r\n",
    "a byte order mark": lambda text, _: "\ufeff" + text,
    "UTF-16": lambda text, _: text.encode("utf-16", "surrogatepass").decode("latin-1"),
    "Latin-1": lambda text, _: text.encode("utf-8", "surrogatepass").decode("latin-1"),
    "base 64": lambda text, _: base64.b64encode(text.encode("utf-8", "surrogatepass")).decode(),
    "upper case": lambda text, _: text.upper(),
    "single quotes": lambda text, _: text.replace('"', "'"),
    "a comma too many": lambda text, _: text.replace("}", ",}", 1),
    "a comment": lambda text, _: text.replace("{", "{/* x */", 1),
    "half a pair, unescaped": lambda text, at: text.replace("x", chr(0xD800 + at), 1),
}


@st.composite
def frames(draw: st.DrawFn, route: str, op: str, form: Schema | None) -> str:
    """Texts of frames of one operation, good ones and bad ones."""
    data = draw(values(form, form["$defs"])) if form is not None else {}
    frame: Any = {
        "route": route,
        "op": op,
        "id": draw(st.sampled_from(["r1", "x", "é" * 64, "\uffff", "\x00"])),
        "data": data,
    }
    frame = json.loads(json.dumps(frame))  # whatever is drawn twice is one object otherwise
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 1, 1, 2]))):
        what, where = draw(st.sampled_from(STEPS)), draw(st.integers(0, 60))
        odd = draw(NAMES) if what in {"add", "rename"} else draw(st.sampled_from(ODD))
        frame = changed(frame, (what, where, json_copy(odd)))
    text = rendered(frame, escapes=draw(st.booleans()))
    step = draw(st.sampled_from([*["as it is"] * 60, *TEXT_STEPS]))
    return TEXT_STEPS[step](text, draw(st.integers(0, 400)) if step != "as it is" else 0)


def json_copy(value: Any) -> Any:
    """Its own containers all through."""
    if isinstance(value, MutableMapping):
        return {name: json_copy(inner) for name, inner in value.items()}
    return [json_copy(inner) for inner in value] if isinstance(value, MutableSequence) else value


LEAVES: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(ODD)
)
ANY_JSON: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
).map(lambda value: rendered(value, escapes=True))
GARBAGE: Final = st.one_of(
    st.text(alphabet=st.characters(), max_size=200),
    st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")),
    st.text(alphabet='{}[]",:\\/ntu0123456789.eE+-falsxy \n', max_size=60),
    ANY_JSON,
)
"""What is no frame, or only by chance."""
