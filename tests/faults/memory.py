"""What an instance of a function remembers from one event to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

Data = dict[str, Any]


def memory_of(app: ModuleType) -> list[str]:
    """Of every object of ours that can change, reached from the module of a function: what it holds, as text."""
    if "_keepers" not in app.__dict__:
        app.__dict__["_keepers"] = list(_keepers(app))
    return [_text(keeper) for keeper in app.__dict__["_keepers"]]


def _keepers(app: ModuleType) -> Iterator[Any]:
    """Whatever is no frozen value: found by walking through everything that a handler can get at."""
    todo: list[Any] = [value for name, value in vars(app).items() if not name.startswith("__")]
    seen: set[int] = set()
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            todo += thing.values()
        elif isinstance(thing, list | tuple | set | frozenset):
            todo += thing
        elif isinstance(thing, partial):
            todo += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, MethodType):
            todo.append(thing.__self__)
        elif isinstance(thing, FunctionType):
            if thing.__module__.startswith("im."):
                todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        elif type(thing).__module__.startswith("im."):
            held = list(_held(thing).values())
            if is_dataclass(thing) and thing.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                todo += held
            else:
                yield thing
                todo += [value for value in held if not isinstance(value, dict | list | set)]


def _held(thing: Any) -> Data:
    slots = [name for base in type(thing).__mro__ for name in getattr(base, "__slots__", ())]
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | getattr(thing, "__dict__", {})


def _text(thing: Any) -> str:
    """Without what stands for the world outside: clients, locks, stores."""
    return repr({name: value for name, value in _held(thing).items() if " at 0x" not in repr(value)})
