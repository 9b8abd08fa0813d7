"""What one device sent, received and showed: kept while it happens, written to a file, read again.

One JSON-lines file a device, `<user>.<device>.jsonl`. The first line says whose it is; every other one is an event with
`at`, in milliseconds on one clock for all devices. Inside one file the order of the lines is the order of the events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from imclient.errors import RecordingError

FORMAT = 1
TABLES_FILE = "tables.jsonl"

Range: TypeAlias = tuple[int, int]
"""First and last seq, both included."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection is open; each has its own number on its device."""

    at: int
    connection: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection is closed; `kicked` is the reason that the server gave, if it gave one."""

    at: int
    connection: int
    kicked: str | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """A frame left, or tried to. `frame` is its JSON; its text where it is none."""

    at: int
    connection: int
    frame: Any


@dataclass(frozen=True, slots=True)
class In:
    """A message came. `frame` is its JSON; its text where it is none."""

    at: int
    connection: int
    frame: Any


@dataclass(frozen=True, slots=True)
class Holds:
    """What the device shows of one conversation at rest.

    `shown` is how many entries it showed more than once. At or below `floor` it does not want to hold anything.
    """

    at: int
    conv: str
    seqs: tuple[Range, ...]
    shown: int = 0
    floor: int = 0


Event: TypeAlias = Opened | Closed | Out | In | Holds


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything of one device, in order."""

    user: str
    device: str
    platform: str
    events: tuple[Event, ...]

    @property
    def name(self) -> str:
        """As people are told of it."""
        return f"{self.user}/{self.device}"

    def lines(self) -> Iterator[str]:
        """The lines of its file."""
        yield _line({"recording": FORMAT, "user": self.user, "device": self.device, "platform": self.platform})
        yield from (_line(_wire(event)) for event in self.events)

    def write(self, folder: Path) -> Path:
        """Write its file into `folder`."""
        path = folder / file_name(self.user, self.device)
        path.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")
        return path


def file_name(user: str, device: str) -> str:
    """The name of a device's file. Ids hold nothing that a file name may not."""
    return f"{user}.{device}.jsonl"


@dataclass(slots=True)
class Recorder:
    """Records one device, over all its connections: each is given `connection()` as its listener.

    `clock` gives milliseconds, the same for all devices. With `sink`, an open text file, each line is written as it
    comes, so a process that dies leaves what it has seen; the events are kept in memory in any case.
    """

    user: str
    device: str
    platform: str
    clock: Callable[[], int]
    sink: TextIO | None = None
    _events: list[Event] = field(default_factory=list)
    _connections: int = 0

    def __post_init__(self) -> None:
        """Say whose it is."""
        if self.sink is not None:
            self.sink.writelines(f"{line}\n" for line in self.recording.lines())

    @property
    def recording(self) -> Recording:
        """Everything until now."""
        return Recording(self.user, self.device, self.platform, tuple(self._events))

    def connection(self) -> ConnectionRecorder:
        """The listener for the device's next connection."""
        return ConnectionRecorder(self)

    def holds(self, conv: str, seqs: Iterable[int], *, shown: int = 0, floor: int = 0) -> None:
        """Note what the device shows of a conversation at rest."""
        self.note(Holds(self.clock(), conv, ranges_of(seqs), shown, floor))

    def next_connection(self) -> int:
        """The number of a connection that is open now."""
        self._connections += 1
        return self._connections

    def note(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        if self.sink is not None:
            self.sink.write(f"{_line(_wire(event))}\n")


class ConnectionRecorder:
    """Records one connection: a FrameListener of imclient.socket."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._number = 0
        self._kicked: str | None = None

    def opened(self) -> None:
        """The connection is open, and gets its number."""
        self._number = self._recorder.next_connection()
        self._recorder.note(Opened(self._recorder.clock(), self._number))

    def sent(self, frame: str) -> None:
        """A frame is about to leave."""
        self._recorder.note(Out(self._recorder.clock(), self._number, _parsed(frame)))

    def received(self, message: str | bytes) -> None:
        """A message has come."""
        frame = _parsed(message)
        match frame:
            case {"push": "kicked", "data": dict(data)}:
                self._kicked = str(data.get("reason", "unknown"))
        self._recorder.note(In(self._recorder.clock(), self._number, frame))

    def closed(self) -> None:
        """The connection is closed."""
        self._recorder.note(Closed(self._recorder.clock(), self._number, self._kicked))


def ranges_of(seqs: Iterable[int]) -> tuple[Range, ...]:
    """The fewest ascending ranges that hold just `seqs`."""
    out: list[Range] = []
    for seq in sorted(set(seqs)):
        if out and seq == out[-1][1] + 1:
            out[-1] = (out[-1][0], seq)
        else:
            out.append((seq, seq))
    return tuple(out)


def read_recording(path: Path) -> Recording:
    """Read a device's file. Raises RecordingError naming the line that is none of the format."""
    lines = [(number, line) for number, line in enumerate(_text(path).split("\n"), start=1) if line]
    where = f"{path}:1"
    match _json(lines[0][1], where) if lines else None:
        case {"recording": 1, "user": str(user), "device": str(device), **rest}:
            events = tuple(_event(_json(line, f"{path}:{number}"), f"{path}:{number}") for number, line in lines[1:])
            return Recording(user, device, str(rest.get("platform", "other")), events)
        case _:
            raise RecordingError(f"{where}: no recording of format {FORMAT}")


def read_recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder, by user and device. Raises RecordingError, also when there is none."""
    paths = sorted(path for path in folder.glob("*.jsonl") if path.name != TABLES_FILE)
    if not paths:
        raise RecordingError(f"no recordings in {folder}")
    return [read_recording(path) for path in paths]


def read_tables(path: Path) -> dict[str, list[Mapping[str, Any]]]:
    """The items of a file of tables, as DynamoDB JSON, by table. Raises RecordingError."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        match _json(line, f"{path}:{number}") if line else None:
            case None:
                continue
            case {"table": str(table), "item": dict(item)}:
                tables.setdefault(table, []).append(item)
            case _:
                raise RecordingError(f"{path}:{number}: no item of a table")
    return tables


def write_tables(path: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write the items of some tables, as DynamoDB JSON, to one file."""
    with path.open("w", encoding="utf-8") as file:
        for table, items in tables.items():
            file.writelines(f"{_line({'table': table, 'item': dict(item)})}\n" for item in items)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read {path}: {error}") from error


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise RecordingError(f"{where}: not JSON: {error}") from error


# A lone surrogate, which no UTF-8 has, stays an escape.
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def _line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _parsed(message: str | bytes) -> Any:
    """A message as JSON; as text where it is none."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        return message if isinstance(message, str) else message.decode("utf-8", "replace")


def _wire(event: Event) -> dict[str, Any]:
    match event:
        case Opened(at, connection):
            return {"at": at, "event": "open", "connection": connection}
        case Closed(at, connection, kicked):
            why = {} if kicked is None else {"kicked": kicked}
            return {"at": at, "event": "closed", "connection": connection, **why}
        case Out(at, connection, frame):
            return {"at": at, "event": "out", "connection": connection, "frame": frame}
        case In(at, connection, frame):
            return {"at": at, "event": "in", "connection": connection, "frame": frame}
        case Holds(at, conv, seqs, shown, floor):
            below = {"floor": floor} if floor else {}
            held = [list(one) for one in seqs]
            return {"at": at, "event": "holds", "conv": conv, "seqs": held, "shown": shown, **below}


def _event(wire: Any, where: str) -> Event:
    match wire:
        case {"at": int(at), "event": "open", "connection": int(connection)}:
            return Opened(at, connection)
        case {"at": int(at), "event": "closed", "connection": int(connection), **rest}:
            kicked = rest.get("kicked")
            return Closed(at, connection, kicked if isinstance(kicked, str) else None)
        case {"at": int(at), "event": "out", "connection": int(connection), "frame": frame}:
            return Out(at, connection, frame)
        case {"at": int(at), "event": "in", "connection": int(connection), "frame": frame}:
            return In(at, connection, frame)
        case {"at": int(at), "event": "holds", "conv": str(conv), "seqs": list(seqs), "shown": int(shown), **rest}:
            floor = rest.get("floor")
            return Holds(
                at, conv, tuple(_range(one, where) for one in seqs), shown, floor if isinstance(floor, int) else 0
            )
        case _:
            raise RecordingError(f"{where}: no event of a recording")


def _range(wire: Any, where: str) -> Range:
    match wire:
        case [int(first), int(last)]:
            return first, last
        case _:
            raise RecordingError(f"{where}: no range of seqs")
