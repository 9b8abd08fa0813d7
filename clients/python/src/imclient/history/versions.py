"""What each version of each message says, according to everybody who was told. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imclient.history.log import Log, canonical, preview
from imclient.history.verdict import Findings, Kind


def stored_bodies(log: Log) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """What messages say according to the store: message, version, body. Of a recalled one nothing is known."""
    for entry in log.ordered:
        if entry.countable and not log.recall_of(entry.seq):
            state = log.state_at(entry.seq, log.newest_change(entry.seq))
            if entry.original is not None:
                yield entry.seq, 0, entry.original
            if state is not None and state.version is not None:
                yield entry.seq, state.version, entry.body
        elif entry.kind == "edit" and not log.recall_of(entry.target):
            body = entry.body.get("body")
            if isinstance(body, dict):
                yield entry.target, entry.seq, body


class Versions:
    """A message has one body as it was sent (version 0), and one for each edit: whoever is told of it is told that."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._bodies: dict[tuple[str, int, int], tuple[str, str, Mapping[str, Any]]] = {}
        self._glimpses: list[tuple[str, int, int, str, str, str]] = []

    def note(self, conv: str, seq: int, version: int, body: Mapping[str, Any], who: str) -> None:
        """Somebody says, or was told, what a version of a message says."""
        text = canonical(body)
        known = self._bodies.setdefault((conv, seq, version), (text, who, body))
        if known[0] != text:
            which = f"as edited by {version}" if version else "as sent"
            what = f"message {seq} {which} is {known[0][:200]} for {known[1]}, and {text[:200]} for {who}"
            self._findings.note(Kind.CONTENT, conv, what)

    def glimpse(self, conv: str, seq: int, version: int, kind: str, shown: str, who: str) -> None:
        """Somebody was told the start of what a version of a message says."""
        self._glimpses.append((conv, seq, version, kind, shown, who))

    def check_glimpses(self) -> None:
        """Compare the starts, once everything was noted. What nobody was told in full cannot be compared."""
        for conv, seq, version, kind, shown, who in self._glimpses:
            known = self._bodies.get((conv, seq, version))
            if known is not None and preview(kind, known[2]) != shown:
                text = f"{who}: the preview of message {seq} is {shown!r}, for a body {known[0][:200]}"
                self._findings.note(Kind.CONTENT, conv, text)
