"""A recording, read as the protocol reads it: requests with their replies, pushes, and the entries that came by either.

What cannot be read so is noted as a violation of the kind `reply`. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from imclient.history.log import canonical
from imclient.history.recording import Closed, Holds, In, Opened, Out, Recording
from imclient.history.verdict import Findings, Kind

JsonObject: TypeAlias = Mapping[str, Any]

IDEMPOTENT: Final = frozenset({"send", "forward", "edit", "recall", "react", "pin"})
"""Operations of `message` whose replies say what was made, and say the same to every repeat of their `cmid`."""

_GATEWAY_FAILURE: Final = frozenset({"message", "connectionId", "requestId"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: `data`, or the `error` of one that is no success."""

    at: int
    data: JsonObject | None
    error: JsonObject | None


@dataclass(slots=True)
class Request:
    """A frame that a client sent, once or several times on one connection, and every reply to it."""

    user: str
    device: str
    connection: int
    id: str
    route: str
    op: str
    data: JsonObject
    sent_at: int
    """When it left first: nothing of what it asks for was done before."""
    sendings: int = 1
    answers: list[Answer] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As people are told of it."""
        return f"{self.user}/{self.device} {self.route}.{self.op} ({self.id} on connection {self.connection})"

    @property
    def makes_entry(self) -> bool:
        """Whether its success is an entry of a log."""
        return self.route == "message" and self.op in IDEMPOTENT

    @property
    def successes(self) -> Iterator[tuple[int, JsonObject]]:
        """When each success came, and its data."""
        return ((answer.at, answer.data) for answer in self.answers if answer.data is not None)


@dataclass(frozen=True, slots=True)
class Push:
    """Something that the server said unasked."""

    at: int
    connection: int
    name: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class Told:
    """An entry that came to a device. `asked_at` is None for a push, else when the request for it first left.

    `is_page`: it came in a reply to sync.entries; `ascending`: it was asked for upwards, so the reply is of the moment
    (a downward one may be older).
    """

    user: str
    device: str
    at: int
    asked_at: int | None
    is_page: bool
    ascending: bool
    conv: str
    wire: JsonObject

    @property
    def who(self) -> str:
        """As people are told of it."""
        return f"{self.user}/{self.device}"


@dataclass(slots=True)
class History:
    """What one device sent and heard."""

    recording: Recording
    requests: list[Request] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    holds: list[Holds] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    @property
    def user(self) -> str:
        """Whose device it is."""
        return self.recording.user


def history_of(recording: Recording, findings: Findings) -> History:
    """Read a recording; what is against the rules for frames is noted in `findings`."""
    history = History(recording)
    waiting: dict[tuple[int, str], Request] = {}
    unreadable: dict[int, int] = {}
    for event in recording.events:
        match event:
            case Out(at, connection, frame):
                _sent(history, waiting, unreadable, at, connection, frame)
            case In(at, connection, frame):
                _received(history, waiting, unreadable, findings, at, connection, frame)
            case Holds():
                history.holds.append(event)
            case Opened():
                findings.counts["connections"] += 1
            case Closed(_, _, kicked):
                findings.counts["kicked"] += kicked is not None
    for request in history.requests:
        _check_answers(request, findings)
    history.told.sort(key=lambda told: told.at)
    return history


def _sent(
    history: History,
    waiting: dict[tuple[int, str], Request],
    unreadable: dict[int, int],
    at: int,
    connection: int,
    frame: Any,
) -> None:
    match frame:
        case {"route": str(route), "op": str(op), "id": str(request_id), **rest}:
            data = rest.get("data")
            data = data if isinstance(data, dict) else {}
        case {"id": str(request_id)}:
            route, op, data = "", "", {}
        case _:
            unreadable[connection] = unreadable.get(connection, 0) + 1
            return
    known = waiting.get((connection, request_id))
    if known is not None and (known.route, known.op, known.data) == (route, op, data):
        known.sendings += 1
        return
    recording = history.recording
    request = Request(recording.user, recording.device, connection, request_id, route, op, data, at)
    waiting[connection, request_id] = request
    history.requests.append(request)


def _received(
    history: History,
    waiting: dict[tuple[int, str], Request],
    unreadable: dict[int, int],
    findings: Findings,
    at: int,
    connection: int,
    frame: Any,
) -> None:
    name = history.recording.name
    match frame:
        case {"push": str(push), "data": dict(data), **rest}:
            if "id" in rest:
                findings.note(Kind.REPLY, "", f"{name}: a push {push} with an id")
            history.pushes.append(Push(at, connection, push, data))
            if push == "entries":
                _take_pushed(history, findings, at, data)
        case {"id": None, "ok": False, "error": dict()} if unreadable.get(connection, 0):
            unreadable[connection] -= 1
            findings.counts["replies"] += 1
        case {"id": str(request_id), **rest} if (request := waiting.get((connection, request_id))) is not None:
            findings.counts["replies"] += 1
            match rest:
                case {"ok": True, "data": dict(data)}:
                    request.answers.append(Answer(at, data, None))
                    _take_fetched(history, request, at, data)
                case {"ok": False, "error": dict(error)} if "code" in error:
                    request.answers.append(Answer(at, None, error))
                    findings.counts["errors"] += 1
                case _:
                    findings.note(Kind.REPLY, "", f"{request.name}: neither data nor an error in {canonical(frame)}")
        case {"id": _}:
            findings.note(Kind.REPLY, "", f"{name}: a reply without a request: {canonical(frame)[:200]}")
        case dict() if frame.keys() <= _GATEWAY_FAILURE and "connectionId" in frame:
            findings.counts["gateway_failures"] += 1
        case _:
            findings.note(Kind.REPLY, "", f"{name}: neither a reply nor a push: {canonical(frame)[:200]}")


def _take_pushed(history: History, findings: Findings, at: int, data: JsonObject) -> None:
    recording = history.recording
    conv, wires = str(data.get("conv")), data.get("entries")
    wires = wires if isinstance(wires, list) else []
    seqs = [wire["seq"] for wire in wires if isinstance(wire, dict) and isinstance(wire.get("seq"), int)]
    if not wires or len(seqs) < len(wires):
        findings.note(Kind.CONTENT, conv, f"{recording.name}: a push of entries without entries, or without their seq")
        return
    if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        findings.note(Kind.ORDER, conv, f"{recording.name}: a push of {seqs}, which are not ascending and consecutive")
    findings.counts["pushes"] += 1
    for wire in wires:
        findings.counts["pushed"] += 1
        history.told.append(
            Told(recording.user, recording.device, at, None, is_page=False, ascending=False, conv=conv, wire=wire)
        )


def _take_fetched(history: History, request: Request, at: int, data: JsonObject) -> None:
    """The entries of a reply."""
    conv, wires = request.data.get("conv"), data.get("entries")
    if request.route != "sync" or request.op not in {"entries", "pins"} or not isinstance(wires, list):
        return
    is_page, ascending = request.op == "entries", "after" in request.data
    for wire in wires:
        if isinstance(wire, dict):
            told = Told(request.user, request.device, at, request.sent_at, is_page, ascending, str(conv), wire)
            history.told.append(told)


def _check_answers(request: Request, findings: Findings) -> None:
    findings.counts["requests"] += 1
    findings.counts["resent"] += request.sendings - 1
    findings.counts["repeated_replies"] += max(0, len(request.answers) - 1)
    if len(request.answers) > request.sendings:
        text = f"{request.name}: {len(request.answers)} replies to {request.sendings} frames"
        findings.note(Kind.REPLY, "", text)
    if request.makes_entry and request.data.get("cmid") is not None:
        said = {canonical({**data, "duplicate": None}) for _, data in request.successes}
        if len(said) > 1:
            findings.note(Kind.REPLY, "", f"{request.name}: replies that differ: {' and '.join(sorted(said))}")
