"""What must be true of each account and of each red packet, from the tables alone. Pure: no I/O, no clock.

That the money of the whole system is conserved follows from what is asked of its parts: when each balance is the sum of
its account's lines, and each line has its other half, equal and opposite, all balances together are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from imclient.admin.ledger_items import HOLD, REST, STATES, Account, Head, Leg, account_kind

FindingKind = Literal[
    "balance", "overdrawn", "posting", "state", "shares", "hold", "payment", "refund", "escrow", "unknown", "unreadable"
]
LateKind = Literal["unsettled", "not ended"]

_KINDS: Final = ("lucky", "equal", "direct")
SKEW_MS: Final = 5 * 60_000
"""Clocks differ, though not by that much."""


class Finding(NamedTuple):
    """Something that must not be, whatever moves meanwhile."""

    kind: FindingKind
    subject: str
    """The account, line or packet."""
    problem: str


class Late(NamedTuple):
    """Something that is right, and should have gone on long ago."""

    kind: LateKind
    packet: str
    since: int
    """Milliseconds since the epoch."""
    problem: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a packet."""

    findings: tuple[Finding, ...] = ()
    late: tuple[Late, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.findings or self.late)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an auditor goes by."""

    now: int
    """Milliseconds since the epoch."""
    late_ms: int
    """What has waited longer is late."""
    elsewhere: bool = False
    """Whether an external payment system may keep the money of packets that have no account here."""


def judge_balance(account: str, balance: int | None, total: int, lines: int) -> list[Finding]:
    """An account's balance, beside what its `lines` lines come to."""
    if balance is None:
        return [Finding("balance", account, f"has no balance; its lines come to {total}")] if lines else []
    findings = []
    if balance != total:
        findings.append(Finding("balance", account, f"says {balance}; its {lines} lines come to {total}"))
    if balance < 0 and account_kind(account) != "opening":
        findings.append(Finding("overdrawn", account, f"says {balance}"))
    return findings


def judge_posting(leg: Leg, other: Leg | None) -> list[Finding]:
    """A line, beside what stands where its other half must stand."""
    subject = f"{leg.key.account} {leg.key.name}"
    if other is None:
        return [Finding("posting", subject, f"moves {leg.amount}, and {leg.other.account} has no such line")]
    if other.other != leg.key or (other.kind, other.ts) != (leg.kind, leg.ts):
        return [Finding("posting", subject, f"is not what {other.key.account} {other.key.name} says of it")]
    if other.amount != -leg.amount:
        return [Finding("posting", subject, f"moves {leg.amount}, its other half {other.amount}")]
    return []


def judge_packet(head: Head, shares: tuple[int, ...] | None, account: Account | None, terms: Terms) -> Judgement:
    """A packet, its shares, and the account that holds its money; None when there is none."""
    findings = [*_terms(head), *_state(head), *_claims(head), *_shares(head, shares)]
    if head.created > terms.now + SKEW_MS:
        findings.append(Finding("state", head.packet, "was created in the future, by the clock of this machine"))
    late = [*_not_ended(head, terms)]
    # What shares and claims say must be right before money is compared with it.
    if not findings and shares is not None and not (terms.elsewhere and account is None):
        money = _Money(head, shares, account or Account(f"packet:{head.packet}"))
        findings += money.findings()
        if not findings:
            late += money.unsettled(terms)
    return Judgement(tuple(findings), tuple(late))


# ---- the packet itself -----------------------------------------------------------------------------------------------


def _terms(head: Head) -> Iterator[Finding]:
    wrong = None
    if head.kind not in _KINDS or head.state not in STATES:
        wrong = f"is {head.kind} and {head.state}"
    elif head.count < 1 or head.total < head.count:
        wrong = f"has {head.total} in {head.count} shares"
    elif (head.kind == "direct") != (head.to is not None) or (head.kind == "direct" and head.count != 1):
        wrong = f"is {head.kind}, for {head.to or 'everybody'}, of {head.count} shares"
    elif head.to == head.sender:
        wrong = "is for its sender"
    if wrong is not None:
        yield Finding("state", head.packet, wrong)


def _state(head: Head) -> Iterator[Finding]:
    published = (head.seq, head.opened, head.expires)
    wrong = None
    if head.state in {"new", "cancelled"} and (head.claimers or published != (None, None, None)):
        wrong = f"is {head.state}, and has a message or claims"
    elif head.state in {"open", "closed"} and (None in published or not head.seq):
        wrong = f"is {head.state}, and has no message"
    elif (head.state in {"new", "open"}) != (head.due is not None):
        wrong = f"is {head.state}, and {'is never due' if head.due is None else 'still due'}"
    elif head.state == "open" and head.due != head.expires:
        wrong = "is due at another time than it expires"
    elif (head.state in {"closed", "cancelled"}) != (head.ended is not None):
        wrong = f"is {head.state}, and {'never ended' if head.ended is None else 'has ended'}"
    elif head.state == "closed" and (head.ended or 0) < (head.expires or 0):
        wrong = "was closed before its time was over"
    if wrong is not None:
        yield Finding("state", head.packet, wrong)


def _claims(head: Head) -> Iterator[Finding]:
    life = (head.expires or 0) - (head.opened or 0)
    wrong = None
    if len(head.claimers) > head.count:
        wrong = f"has {len(head.claimers)} claims and {head.count} shares"
    elif len(set(head.claimers)) < len(head.claimers):
        wrong = "was claimed twice by one user"
    elif len(head.times) != len(head.claimers):
        wrong = f"has {len(head.claimers)} claims at {len(head.times)} times"
    elif head.to is not None and not set(head.claimers) <= {head.to}:
        wrong = f"is for {head.to}, and was claimed by {head.claimers[0]}"
    elif any(time >= life for time in head.times):
        wrong = "was claimed when its time was over"
    if wrong is not None:
        yield Finding("state", head.packet, wrong)


def _shares(head: Head, shares: tuple[int, ...] | None) -> Iterator[Finding]:
    wrong = None
    if shares is None:
        wrong = "has no shares"
    elif len(shares) != head.count:
        wrong = f"has {len(shares)} shares and says {head.count}"
    elif min(shares, default=0) < 1:
        wrong = f"has a share of {min(shares, default=0)}"
    elif sum(shares) != head.total:
        wrong = f"has shares of {sum(shares)} together and says {head.total}"
    elif head.kind != "lucky" and len(set(shares)) != 1:
        wrong = f"is {head.kind}, and its shares differ"
    if wrong is not None:
        yield Finding("shares", head.packet, wrong)


def _not_ended(head: Head, terms: Terms) -> Iterator[Late]:
    if head.due is not None and head.due + terms.late_ms < terms.now:
        yield Late("not ended", head.packet, head.due, f"is still {head.state}")


# ---- its money -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Money:
    """A packet whose terms, state and shares are right, and its account."""

    head: Head
    shares: tuple[int, ...]
    account: Account

    @property
    def moves(self) -> dict[str, Leg]:
        """By what the packet calls them."""
        return {leg.movement: leg for leg in self.account.legs.values()}

    @property
    def rest(self) -> int:
        """What goes back to the sender once it has ended."""
        return self.head.total if self.head.state == "cancelled" else sum(self.shares[len(self.head.claimers) :])

    @property
    def unpaid(self) -> list[int]:
        """The shares that were claimed and not paid."""
        return [i for i in range(len(self.head.claimers)) if str(i) not in self.moves]

    def findings(self) -> list[Finding]:
        """What is there and must not be, or is not there and must. What has not moved yet is no finding."""
        wrong = [*self._held(), *self._movements()]
        return wrong or [*self._escrow()]

    def unsettled(self, terms: Terms) -> Iterator[Late]:
        """What should have moved."""
        head = self.head
        latest = terms.now - terms.late_ms
        claimed = [(head.opened or 0) + head.times[i] for i in self.unpaid]
        if claimed and min(claimed) < latest:
            amount = sum(self.shares[i] for i in self.unpaid)
            yield Late(
                "unsettled", head.packet, min(claimed), f"{len(claimed)} claims of {amount} together are not paid"
            )
        if head.ended is None or head.ended >= latest:
            return
        if self._owes_rest():
            yield Late("unsettled", head.packet, head.ended, f"{self.rest} is not given back")
        elif head.state == "cancelled" and not self.account.void and HOLD not in self.moves:
            yield Late("unsettled", head.packet, head.ended, "is not released: its money could still be taken")

    def _owes_rest(self) -> bool:
        ended = self.head.state in {"closed", "cancelled"}
        return ended and self.rest > 0 and HOLD in self.moves and REST not in self.moves

    def _held(self) -> Iterator[Finding]:
        head, hold = self.head, self.moves.get(HOLD)
        if self.account.void and (head.state != "cancelled" or self.moves):
            yield Finding("hold", head.packet, f"is {head.state}, and its money was given up")
        elif hold is None:
            if head.state in {"open", "closed"}:
                yield Finding("hold", head.packet, f"is {head.state}, and nobody has paid for it")
        elif (hold.user, hold.amount, hold.kind) != (head.sender, head.total, "sent"):
            yield Finding("hold", head.packet, f"is {head.total} of {head.sender}'s, and holds {_said(hold)}")

    def _movements(self) -> Iterator[Finding]:
        head = self.head
        for name, leg in self.moves.items():
            if name == HOLD:
                continue
            if name == REST:
                if head.state not in {"closed", "cancelled"} or not self.rest:
                    yield Finding("refund", head.packet, f"is {head.state}, and has given back {_said(leg)}")
                elif (leg.user, leg.amount, leg.kind) != (head.sender, -self.rest, "refund"):
                    yield Finding(
                        "refund", head.packet, f"owes {self.rest} to {head.sender}, and has given back {_said(leg)}"
                    )
                continue
            share = int(name) if name.isascii() and name.isdecimal() and str(int(name)) == name else None
            if share is None or share >= len(head.claimers):
                yield Finding("payment", head.packet, f"has paid {_said(leg)} as {name}, which nobody has claimed")
            elif (leg.user, leg.amount, leg.kind) != (head.claimers[share], -self.shares[share], "received"):
                owed = f"{self.shares[share]} to {head.claimers[share]}"
                yield Finding("payment", head.packet, f"owes {owed} for share {share}, and has paid {_said(leg)}")

    def _escrow(self) -> Iterator[Finding]:
        """An open packet holds what is unclaimed or not paid yet, an ended one what has not moved yet."""
        owed = sum(self.shares[i] for i in self.unpaid)
        if HOLD in self.moves and (self.head.state in {"new", "open"} or self._owes_rest()):
            owed += self.rest
        holds = self.account.balance or 0
        if holds != owed:
            yield Finding("escrow", self.head.packet, f"holds {holds} where {owed} is unclaimed or not paid yet")


def _said(leg: Leg) -> str:
    return f"{abs(leg.amount)} of {leg.user}'s" if leg.amount > 0 else f"{-leg.amount} to {leg.user}"
