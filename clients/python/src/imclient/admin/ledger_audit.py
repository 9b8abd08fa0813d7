"""Is all the money there? Asked of the tables alone.

1. Both tables are scanned, the wallets first: what a packet has paid was claimed before, so the claims are seen.
2. What does not fit is in doubt: an account, a posting, a packet. While money moves, much of it is only under way.
3. Whatever is in doubt is looked up again, as it was at one moment (ledger_tables.py), until it fits, or until it has
   been wrong in the very same way three times in a row, two seconds apart. Then it is a finding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from imclient.admin.deployed import AwsRefusedError
from imclient.admin.ledger_items import Item, LegKey, UnreadableError
from imclient.admin.ledger_picture import Figures, Picture
from imclient.admin.ledger_rules import (
    SKEW_MS,
    Finding,
    Judgement,
    Late,
    Terms,
    judge_balance,
    judge_packet,
    judge_posting,
)
from imclient.admin.ledger_tables import InMotionError, LedgerTables

SAME: Final = 3
"""So often in a row something is wrong in the same way, until it is a finding."""

LOOKS: Final = 8
"""So often it is looked at, at most."""

WAIT_S: Final = 2.0
"""Between two looks. DynamoDB applies a transaction within milliseconds."""

MAX_DOUBTS: Final = 50_000
"""So much is looked up again; of more it is said that nobody knows."""

Progress = Callable[[str, int], None]
"""Told what is being done, and how many items of it are."""


class Doubt(NamedTuple):
    """Something that did not fit."""

    what: Literal["account", "posting", "packet"]
    subject: str
    leg: LegKey | None = None
    other: LegKey | None = None


@dataclass(slots=True)
class Report:
    """What an audit has found."""

    figures: Figures
    findings: list[Finding] = field(default_factory=list)
    """What must not be. Ordered."""
    late: list[Late] = field(default_factory=list)
    """What has not gone on, the oldest first."""
    undecided: list[str] = field(default_factory=list)
    """What was another thing with every look."""
    unlooked: int = 0
    """How much else did not fit, and was too much to look at."""
    settled: int = 0
    """What did not fit in the Scan, and did when it was looked up again: it was under way."""
    younger: int = 0
    """Packets that were made since the audit began: they are the next one's."""
    elsewhere: int = 0
    """Packets whose money an external payment system keeps: nothing can be said of it here."""

    @property
    def passed(self) -> bool:
        """Whether nobody has to do anything."""
        return not (self.findings or self.late or self.undecided or self.unlooked)


@dataclass(frozen=True, slots=True)
class Audit:
    """Reads, and writes nothing. Whatever else happens to the tables meanwhile is no finding."""

    tables: LedgerTables
    gateway: bool
    """Whether the stack has an external payment system."""
    late_ms: int
    """What has waited longer is late."""
    tell: Progress = lambda _what, _items: None
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    pause: Callable[[float], None] = time.sleep

    def run(self) -> Report:
        """The whole audit. 1 R for every 4 KiB of both tables, and a few for all that moves meanwhile.

        Raises AwsRefusedError.
        """
        with _refusals(), closing(Picture()) as picture:
            began = self.clock()
            self._scan("wallets", self.tables.scan_wallets(), picture.add_wallet)
            self._scan("packets", self.tables.scan_packets(), picture.add_packets)
            report = Report(picture.figures(), findings=list(picture.unreadable))
            doubts = self._doubts(picture, began, report)
            self._decide(doubts, report)
        report.findings = sorted(set(report.findings))
        report.late.sort(key=lambda late: late.since)
        return report

    def _scan(self, what: str, pages: Iterator[list[Item]], add: Callable[[list[Item]], None]) -> None:
        items = 0
        for page in pages:
            add(page)
            items += len(page)
            self.tell(what, items)

    # ---- what does not fit -------------------------------------------------------------------------------------------

    def _doubts(self, picture: Picture, began: int, report: Report) -> list[Doubt]:
        doubts: list[Doubt] = []
        for doubt in self._misfits(picture, began, report):
            if len(doubts) < MAX_DOUBTS:
                doubts.append(doubt)
            else:
                report.unlooked += 1
        return doubts

    def _misfits(self, picture: Picture, began: int, report: Report) -> Iterator[Doubt]:
        for account in picture.unbalanced():
            yield Doubt("account", account)
        for leg in picture.unpaired():
            yield Doubt("posting", " ".join(leg.key), leg.key, leg.other)
        terms = Terms(self.clock(), self.late_ms, self.gateway)
        for packet, whole in picture.packets():
            head = whole.head
            if head is not None and began <= head.created <= began + SKEW_MS:
                report.younger += 1
                continue
            report.elsewhere += self.gateway and whole.account is None
            if head is None or judge_packet(head, whole.shares, whole.account, terms):
                yield Doubt("packet", packet)

    # ---- what does not fit again -------------------------------------------------------------------------------------

    def _decide(self, doubts: list[Doubt], report: Report) -> None:
        seen: dict[Doubt, _Seen] = {doubt: _Seen() for doubt in doubts}
        for look in range(LOOKS):
            if not seen:
                return
            if look:
                self.pause(WAIT_S)
            for i, doubt in enumerate(list(seen)):
                self.tell("looked up again", i + 1)
                judgement = self._look(doubt)
                if judgement is not None and not judgement:
                    report.settled += 1
                    del seen[doubt]
                elif seen[doubt].again(judgement):
                    _note(seen.pop(doubt).judgement, report)
        for doubt, last in seen.items():
            if last.judgement is not None and not last.judgement.findings:
                # What is late goes on, slowly.
                _note(last.judgement, report)
            else:
                report.undecided.append(f"{doubt.what} {doubt.subject}")

    def _look(self, doubt: Doubt) -> Judgement | None:
        """What is to be said of it now; None when it moves."""
        try:
            return self._judged(doubt)
        except InMotionError:
            return None
        except UnreadableError as error:
            return Judgement((Finding("unreadable", doubt.subject, str(error)),))

    def _judged(self, doubt: Doubt) -> Judgement:
        if doubt.what == "account":
            held = self.tables.balance(doubt.subject)
            return Judgement(tuple(judge_balance(doubt.subject, held.balance, held.total, held.lines)))
        if doubt.leg is not None and doubt.other is not None:
            one, other = self.tables.posting(doubt.leg, doubt.other)
            if one is None:
                return Judgement((Finding("posting", doubt.subject, "was there, and is not any more"),))
            return Judgement(tuple(judge_posting(one, other)))
        whole = self.tables.packet(doubt.subject)
        if whole.head is None:
            return Judgement((Finding("unknown", doubt.subject, "has shares or money, and is no packet"),))
        return judge_packet(whole.head, whole.shares, whole.account, Terms(self.clock(), self.late_ms, self.gateway))


@dataclass(slots=True)
class _Seen:
    """What was said of a doubt at the last look, and how often in a row."""

    judgement: Judgement | None = None
    times: int = 0

    def again(self, judgement: Judgement | None) -> bool:
        """Note a look. Whether it was the same often enough."""
        self.times = self.times + 1 if judgement == self.judgement else 1
        self.judgement = judgement
        return judgement is not None and self.times >= SAME


def _note(judgement: Judgement | None, report: Report) -> None:
    if judgement is not None:
        report.findings += judgement.findings
        report.late += judgement.late


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise AwsRefusedError(str(error)) from error
