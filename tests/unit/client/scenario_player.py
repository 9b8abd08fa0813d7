"""Plays one scenario of clients/scenarios.json against the Python machine, and says where the two differ.

The format is told in the file itself, under "about". A client in another language needs a player like this one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imclient.core.machine import Kept, Machine
from imclient.core.outputs import (
    Answer,
    Arrived,
    Change,
    DeletedChanged,
    Dial,
    Hangup,
    OutgoingChanged,
    Output,
    Pushed,
    RowChanged,
    Save,
    Settled,
    StateChanged,
    Transmit,
)
from imclient.core.settings import Settings
from imclient.errors import (
    ConnectionLostError,
    FrameTooLargeError,
    ImClientError,
    NoReplyError,
    ReplyError,
    UpgradeRefusedError,
)
from imclient.ids import ConvId, UserId

SCENARIOS = Path(__file__).parents[3] / "clients" / "scenarios.json"
MOST_WAKES = 10_000
"""Between two steps. A machine that wants to be woken more often is in a loop."""


class DifferenceError(AssertionError):
    """The machine does not do what the scenario says. The message shows both, a line for each output."""


def load() -> list[dict[str, Any]]:
    """All scenarios of the table."""
    return list(json.loads(SCENARIOS.read_text("utf-8"))["scenarios"])


def play(scenario: dict[str, Any]) -> None:
    """Play one. Raises DifferenceError at the first step that differs."""
    player = Player(scenario)
    for number, step in enumerate(scenario["steps"]):
        at, done = step["at"], step["do"]
        where = f"{scenario['name']}, step {number} (at {at}: {json.dumps(done, ensure_ascii=False)[:200]})"
        _compare(where, expanded(step["out"]), player.step(step))
        for name, table in step.get("kept", {}).items():
            if player.tables[name] != expanded(table):
                raise DifferenceError(f"{where}: kept in {name}\n" + _lines(expanded(table), player.tables[name]))


class Player:
    """A machine, the tables that it keeps, and the time."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        settings = {"stores": True, **scenario.get("settings", {})}
        self.tables: dict[str, dict[str, Any]] = {
            name: {} for name in ("meta", "rows", "logs", "reads", "deleted", "outbox", "entries")
        }
        self._user, self._settings = UserId(scenario["user"]), Settings(**settings)
        self._share = scenario["draw"]
        self._out: list[list[Any]] = []
        self.machine = self._made(None)

    def step(self, step: dict[str, Any]) -> list[list[Any]]:
        """All that comes out since the step before."""
        at, done = step["at"], expanded(step["do"])
        if done == ["sleep"]:
            self.machine.wake(at)
            self._take(at)
            return self._told()
        wakes = 0
        while (due := self.machine.next_wake) is not None and due <= at:
            wakes += 1
            if wakes > MOST_WAKES:
                raise DifferenceError(f"wants to be woken again and again at {due}")
            self.machine.wake(due)
            self._take(due)
        self._do(done, at)
        self._take(at)
        return self._told()

    def kept(self) -> Kept:
        """What a new machine is given."""
        above = {
            name: sorted(seq for seq in map(int, self.tables["entries"].get(name, ())) if seq > log["watermark"])
            for name, log in self.tables["logs"].items()
        }
        tables = self.tables
        inbox = tables["meta"].get("inbox", {}).get("value")
        outbox = tuple(tables["outbox"].values())
        return Kept(inbox, tables["rows"], tables["logs"], above, tables["reads"], tables["deleted"], outbox)

    def _made(self, kept: Kept | None) -> Machine:
        return Machine(self._user, self._settings, lambda below: int(below * self._share), kept)

    def _told(self) -> list[list[Any]]:
        out, self._out = self._out, []
        return out

    def _take(self, at: int) -> None:
        for output in self.machine.outputs():
            if isinstance(output, Save):
                for change in output.changes:
                    self._keep(change)
            else:
                line = _line(output)
                self._out += [[at, *line]] if line else []

    def _keep(self, change: Change) -> None:
        # As on a disk: what is changed later is not changed here.
        value = json.loads(json.dumps(change.value))
        table = self.tables[change.table]
        if change.table == "entries" and change.seq is not None:
            table.setdefault(change.key, {})[str(change.seq)] = value
        elif value is None:
            table.pop(change.key, None)
        else:
            table[change.key] = value

    def _do(self, done: list[Any], at: int) -> None:  # noqa: C901, PLR0912 - one line for each thing that can be done
        machine = self.machine
        match done:
            case ["wait"]:
                pass
            case ["start"]:
                machine.start(at)
            case ["stop"]:
                machine.stop(at)
            case ["leave"]:
                machine.leave(at)
            case ["opened", link]:
                machine.opened(link, at)
            case ["failed", link, status]:
                machine.failed(link, status, at)
            case ["closed", link, code]:
                machine.closed(link, code, at)
            case ["frame", link, frame]:
                machine.received(link, json.dumps(frame, ensure_ascii=False), at)
            case ["text", link, text]:
                machine.received(link, text, at)
            case ["network", online]:
                machine.network(at, online=online)
            case ["resumed"]:
                machine.resumed(at)
            case ["call", route, op, data]:
                machine.call(route, op, data, at)
            case ["send", item]:
                machine.send(item, at)
            case ["change", conv, op, data, cmid]:
                machine.change(ConvId(conv), op, data, cmid, at)
            case ["retry", cmid]:
                machine.retry(cmid, at)
            case ["discard", cmid]:
                machine.discard(cmid)
            case ["read", conv, seq]:
                machine.read(ConvId(conv), seq, at)
            case ["older", conv, limit]:
                machine.older(ConvId(conv), limit, at)
            case ["expect", conv, seq]:
                machine.expect(ConvId(conv), seq, at)
            case ["refresh"]:
                machine.refresh(at)
            case ["restart"]:
                self.machine = self._made(self.kept())
                self.machine.start(at)
            case _:
                raise ValueError(f"nobody knows how to do {done}")


def expanded(value: Any) -> Any:
    """A part of a scenario as it is meant: `{"$text": ["€", 3, "x", 1]}` stands for the text `€€€x`."""
    match value:
        case {"$text": [*parts]}:
            return "".join(text * times for text, times in zip(parts[::2], parts[1::2], strict=True))
        case dict():
            return {name: expanded(inner) for name, inner in value.items()}
        case list():
            return [expanded(inner) for inner in value]
        case _:
            return value


def code_of(error: ImClientError) -> str:
    """An error in a word."""
    match error:
        case ReplyError():
            return error.code
        case NoReplyError():
            return "no_reply"
        case FrameTooLargeError():
            return "too_large"
        case UpgradeRefusedError():
            return "refused"
        case ConnectionLostError():
            return "stopped" if error.kicked is None else "kicked"
        case _:
            return type(error).__name__


def _line(output: Output) -> list[Any]:  # noqa: PLR0911 - one line for each output
    match output:
        case Dial(link, fresh):
            return ["dial", link, "fresh"] if fresh else ["dial", link]
        case Transmit(link, frame):
            return ["send", link, json.loads(frame)]
        case Hangup(link):
            return ["hangup", link]
        case Answer(number, data, error):
            return ["answer", number, data, None] if error is None else ["answer", number, None, code_of(error)]
        case StateChanged(state, why):
            return ["state", str(state), why] if why else ["state", str(state)]
        case Arrived(entry, source, new):
            return ["entry", entry.conv, entry.seq, str(source), new]
        case Settled(conv, restarted):
            return ["settled", conv] if restarted is None else ["settled", conv, restarted]
        case RowChanged(row):
            return ["row", row]
        case DeletedChanged(conv):
            return ["deleted", conv]
        case OutgoingChanged(item):
            return ["outgoing", item["cmid"], item["state"], *_outcome(item)]
        case Pushed(name, data):
            return ["push", name, data]
        case _:
            return []  # Noted: for a person


def _outcome(item: dict[str, Any]) -> list[dict[str, Any]]:
    match item["state"]:
        case "sent":
            return [{"seq": item["seq"]}]
        case "failed":
            return [{name: item[name] for name in ("code", "retry_after_ms") if name in item}]
        case _:
            return []


def _compare(where: str, wanted: list[Any], got: list[Any]) -> None:
    # As JSON, so that true is not 1.
    if [_text(line) for line in wanted] != [_text(line) for line in got]:
        raise DifferenceError(f"{where}\n{_lines(wanted, got)}")


def _lines(wanted: Any, got: Any) -> str:
    def lines(value: Any) -> list[str]:
        return [_text(line) for line in value] if isinstance(value, list) else [_text(value)]

    expected, came = lines(wanted), lines(got)
    same = [a == b for a, b in zip(expected, came, strict=False)]
    first = same.index(False) if False in same else len(same)
    told = [f"    {line}" for line in expected[:first]]
    told += [f"  - {line}" for line in expected[first:]] + [f"  + {line}" for line in came[first:]]
    return "\n".join(["(- expected, + came)", *told])


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 1_000 else f"{text[:400]} … {len(text)} characters … {text[-400:]} #{hash(text)}"
