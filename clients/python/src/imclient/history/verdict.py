"""What the checker says: which promises were broken, and what it has looked at. Pure: no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Which promise is broken."""

    LOSS = "loss"
    """Acknowledged and not stored; stored, visible to a user and not on their device at rest; told and not stored."""
    DUPLICATION = "duplication"
    """One message stored twice, one change made twice, one entry shown twice."""
    ORDER = "order"
    """A seq that means different entries to different people, that contradicts time, or an `n` that does not count."""
    HOLE = "hole"
    """A seq that no entry of the log has."""
    UNREAD = "unread"
    """An inbox row that disagrees with the log, a total that is not the sum of its parts."""
    MARK = "mark"
    """A mark that went back, or that says more than its user has read or received."""
    VISIBILITY = "visibility"
    """Something shown to, or said by, somebody who may not see it, or say it."""
    CONTENT = "content"
    """A message that says one thing to one and another thing to another."""
    REPLY = "reply"
    """Replies without request, too many of them, or two of them that contradict each other."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: `conv` where, empty when it is no matter of one conversation; `text` for a person."""

    kind: Kind
    conv: str
    text: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.kind}: {self.conv}: {self.text}" if self.conv else f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was looked at.

    - `sent`: messages (message.send, message.forward) that clients tried to send, repeats of a `cmid` apart; `acked` of
      them were acknowledged, `stored` of them are in a log.
    - `entries`: all entries of the logs, changes and notices included.
    - `delivered`: entries that devices hold at rest, summed over devices; `devices` is how many told what they hold.
    - `pushes`: frames of entries; `pushed`: entries in them; `fetched`: entries in replies.
    - `duplicates_dropped`: entries that came by push to a device that had them; `shown_twice`: that it showed again.
    - `resent`: frames sent once more on one connection; `repeated_replies`: second replies to such frames.
    - `gateway_failures`: what API Gateway itself answered in place of a function.
    """

    recordings: int = 0
    devices: int = 0
    connections: int = 0
    kicked: int = 0
    conversations: int = 0
    sent: int = 0
    acked: int = 0
    stored: int = 0
    entries: int = 0
    delivered: int = 0
    pushes: int = 0
    pushed: int = 0
    fetched: int = 0
    duplicates_dropped: int = 0
    shown_twice: int = 0
    requests: int = 0
    resent: int = 0
    replies: int = 0
    repeated_replies: int = 0
    errors: int = 0
    gateway_failures: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every broken promise that was found, and what was looked at."""

    violations: tuple[Violation, ...]
    counts: Counts

    @property
    def passed(self) -> bool:
        """Whether no promise was broken."""
        return not self.violations

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of promises that were broken."""
        return frozenset(violation.kind for violation in self.violations)

    def to_json(self, *, violations: int = 100) -> dict[str, Any]:
        """As one JSON object, with the first `violations` of them and how many there are of each kind."""
        by_kind = Counter(str(violation.kind) for violation in self.violations)
        return {
            "passed": self.passed,
            "counts": asdict(self.counts),
            "violations_by_kind": dict(sorted(by_kind.items())),
            "violations": [asdict(violation) for violation in self.violations[:violations]],
        }


@dataclass(slots=True)
class Findings:
    """Collects violations; the same one is noted once."""

    found: dict[Violation, None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, kind: Kind, conv: str, text: str) -> None:
        """Note a violation."""
        self.found.setdefault(Violation(kind, conv, text))

    def verdict(self) -> Verdict:
        """All of them, by kind, each kind in the order in which it was found."""
        place = {kind: number for number, kind in enumerate(Kind)}
        ordered = sorted(self.found, key=lambda violation: place[violation.kind])
        return Verdict(tuple(ordered), Counts(**self.counts))
