"""`im admin audit` finds whatever is wrong with the money, says what is late, and takes no movement for a loss."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from imclient.admin import ledger_audit
from imclient.admin.deployed import AwsRefusedError, Deployed
from imclient.admin.ledger_audit import LOOKS, SAME, WAIT_S, Audit, Report
from imclient.cli import admin_audit, main
from tests.integration.tables import TransactionCancelled
from tests.unit.client.ledger_world import (
    DAY_MS,
    LATE_MS,
    PACKETS,
    WALLETS,
    Change,
    Item,
    Ledger,
    honest_ledger,
)


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return honest_ledger()


# ---- ways to spoil a table -------------------------------------------------------------------------------------------


def gone(table: str, pk: str, sk: str) -> Change:
    return Change(table, pk, sk, lambda _: None)


def more(table: str, pk: str, sk: str, name: str, by: int = 1) -> Change:
    """A number of an item is another one."""

    def to(item: Item | None) -> Item:
        assert item is not None
        return item | {name: {"N": str(int(item[name]["N"]) + by)}}

    return Change(table, pk, sk, to)


def put(table: str, pk: str, sk: str, **values: Any) -> Change:
    """Some attributes are others, or an item is new."""
    return Change(table, pk, sk, lambda item: (item or {}) | {name: typed(value) for name, value in values.items()})


def without(table: str, pk: str, sk: str, *names: str) -> Change:
    def to(item: Item | None) -> Item:
        return {name: value for name, value in (item or {}).items() if name not in names}

    return Change(table, pk, sk, to)


def typed(value: Any) -> Item:
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, list):
        return {"L": [typed(one) for one in value]}
    return {"S": value}


def of(ledger: Ledger, name: str) -> str:
    return f"packet:{ledger.packets[name]}"


def own(ledger: Ledger, user: str, name: str, movement: str) -> tuple[str, str, str]:
    """Where a user's line of a movement stands."""
    end = f"#{ledger.packets[name]}#{movement}"
    (found,) = [key for key in ledger.all(WALLETS) if key[0] == f"user:{user}" and key[1].endswith(end)]
    return (WALLETS, *found)


def pays_more(ledger: Ledger, name: str, share: int, user: str, by: int) -> list[Change]:
    """A payment of another amount, right in itself: nothing but the packet's own word is against it."""
    return [
        more(WALLETS, of(ledger, name), f"P#{share}", "amount", -by),
        more(WALLETS, of(ledger, name), "BALANCE", "balance", -by),
        more(*own(ledger, user, name, str(share)), "amount", by),
        more(WALLETS, f"user:{user}", "BALANCE", "balance", by),
    ]


def posts(ledger: Ledger, name: str, movement: str, user: str, amount: int, kind: str) -> list[Change]:
    """One more movement, right in itself: less than 0 from the user to the packet."""
    ts = ledger.now
    packet = ledger.packets[name]
    line = {"amount": amount, "kind": kind, "ts": ts, "packet": packet}
    return [
        put(WALLETS, of(ledger, name), f"P#{movement}", amount=-amount, kind=kind, ts=ts, user=user),
        more(WALLETS, of(ledger, name), "BALANCE", "balance", -amount),
        put(WALLETS, f"user:{user}", f"L#{ts:013d}#{packet}#{movement}", **line),
        more(WALLETS, f"user:{user}", "BALANCE", "balance", amount),
    ]


def undone(ledger: Ledger, name: str, movement: str) -> list[Change]:
    """A movement that was never made."""
    leg = ledger.item(WALLETS, of(ledger, name), f"P#{movement}")
    assert leg is not None
    user, amount = leg["user"]["S"], int(leg["amount"]["N"])
    return [
        gone(WALLETS, of(ledger, name), f"P#{movement}"),
        more(WALLETS, of(ledger, name), "BALANCE", "balance", -amount),
        gone(*own(ledger, user, name, movement)),
        more(WALLETS, f"user:{user}", "BALANCE", "balance", amount),
    ]


def given_up(ledger: Ledger, name: str) -> list[Change]:
    """A packet's money was never taken, and will not be."""
    void = Change(WALLETS, of(ledger, name), "P#hold", lambda _: {"void": {"BOOL": True}, "ts": {"N": "1"}})
    return [*undone(ledger, name, "hold")[1:], void]


def claims(ledger: Ledger, name: str, *users: str) -> Change:
    """A packet was claimed by others."""
    return put(PACKETS, ledger.packets[name], "META", claimers=list(users), times=[0] * len(users))


def meta(ledger: Ledger, name: str, **values: Any) -> Change:
    return put(PACKETS, ledger.packets[name], "META", **values)


def shares(ledger: Ledger, name: str) -> list[int]:
    item = ledger.item(PACKETS, ledger.packets[name], "SHARES")
    assert item is not None
    return [int(share["N"]) for share in item["shares"]["L"]]


def shares_are(ledger: Ledger, name: str, change: Callable[[list[int]], list[int]]) -> Change:
    return put(PACKETS, ledger.packets[name], "SHARES", shares=change(shares(ledger, name)))


SPOILED: dict[str, tuple[set[str], Callable[[Ledger], list[Change]]]] = {
    "a wallet says one more": ({"balance"}, lambda _: [more(WALLETS, "user:bob", "BALANCE", "balance")]),
    "a packet says one less": (
        {"balance", "escrow"},
        lambda w: [more(WALLETS, of(w, "open"), "BALANCE", "balance", -1)],
    ),
    "more was given to a new wallet": (
        {"balance"},
        lambda _: [more(WALLETS, "opening:bob", "BALANCE", "balance")],
    ),
    "a wallet has no balance": ({"balance"}, lambda _: [gone(WALLETS, "user:bob", "BALANCE")]),
    "a wallet comes from nowhere": ({"balance"}, lambda _: [put(WALLETS, "user:eve", "BALANCE", balance=5)]),
    "an opening comes from nowhere": (
        {"posting"},
        lambda _: [
            put(WALLETS, "user:eve", "BALANCE", balance=5),
            put(WALLETS, "user:eve", "L#1763717400000#opening", amount=5, kind="opening", ts=1763717400000),
        ],
    ),
    "a user's line is lost": ({"balance", "posting"}, lambda w: [gone(*own(w, "bob", "finished", "0"))]),
    "a packet's line is lost": (
        {"balance", "posting", "escrow"},
        lambda w: [gone(WALLETS, of(w, "finished"), "P#0")],
    ),
    "a user's line says more": (
        {"balance", "posting"},
        lambda w: [more(*own(w, "bob", "finished", "0"), "amount")],
    ),
    "a packet's line says more": (
        {"balance", "posting", "payment"},
        lambda w: [more(WALLETS, of(w, "finished"), "P#0", "amount")],
    ),
    "a line names another kind": ({"posting"}, lambda w: [put(*own(w, "bob", "finished", "0"), kind="refund")]),
    "a line names another user": (
        {"posting", "payment"},
        lambda w: [put(WALLETS, of(w, "finished"), "P#0", user="carol")],
    ),
    "a wallet is below 0": (
        {"overdrawn"},
        lambda w: [
            more(WALLETS, "user:bob", "BALANCE", "balance", -150_000),
            more(WALLETS, "user:bob", opening_line(w, "bob"), "amount", -150_000),
            more(WALLETS, "opening:bob", "BALANCE", "balance", 150_000),
            more(WALLETS, "opening:bob", "P#opening", "amount", 150_000),
        ],
    ),
    "one more was paid than the share": ({"payment"}, lambda w: pays_more(w, "open", 0, "bob", 1)),
    "one share was paid to somebody else": (
        {"payment"},
        lambda w: [*undone(w, "open", "0"), *posts(w, "open", "0", "dave", shares(w, "open")[0], "received")],
    ),
    "a share was paid twice": ({"payment"}, lambda w: posts(w, "open", "2", "bob", shares(w, "open")[0], "received")),
    "a share was paid under another name": (
        {"payment"},
        lambda w: [*undone(w, "open", "0"), *posts(w, "open", "00", "bob", shares(w, "open")[0], "received")],
    ),
    "a share that nobody has was paid": ({"payment"}, lambda w: posts(w, "open", "7", "dave", 10, "received")),
    "the rest was given back before the end": (
        {"refund"},
        lambda w: posts(w, "open", "rest", "alice", sum(shares(w, "open")[2:]), "refund"),
    ),
    "the rest was given back twice": ({"payment"}, lambda w: posts(w, "open", "rest2", "alice", 1, "refund")),
    "the rest went to somebody else": (
        {"refund"},
        lambda w: [*undone(w, "rest", "rest"), *posts(w, "rest", "rest", "bob", 600, "refund")],
    ),
    "a rest was given back where there was none": (
        {"refund", "overdrawn"},
        lambda w: posts(w, "finished", "rest", "alice", 1, "refund"),
    ),
    "less was given back": (
        {"refund"},
        lambda w: [
            more(WALLETS, of(w, "rest"), "P#rest", "amount", 1),
            more(WALLETS, of(w, "rest"), "BALANCE", "balance", 1),
            more(*own(w, "alice", "rest", "rest"), "amount", -1),
            more(WALLETS, "user:alice", "BALANCE", "balance", -1),
        ],
    ),
    "nobody has paid for an open packet": ({"hold"}, lambda w: undone(w, "fresh", "hold")),
    "less was taken than the packet has": (
        {"hold"},
        lambda w: [
            more(WALLETS, of(w, "fresh"), "P#hold", "amount", -1),
            more(WALLETS, of(w, "fresh"), "BALANCE", "balance", -1),
            more(*own(w, "bob", "fresh", "hold"), "amount", 1),
            more(WALLETS, "user:bob", "BALANCE", "balance", 1),
        ],
    ),
    "somebody else has paid for a packet": (
        {"hold"},
        lambda w: [*undone(w, "fresh", "hold"), *posts(w, "fresh", "hold", "alice", -66, "sent")],
    ),
    "the money of an open packet was given up": ({"hold"}, lambda w: given_up(w, "fresh")),
    "the money of a new packet was given up": ({"hold"}, lambda w: given_up(w, "new")),
    "a packet is gone": ({"unknown"}, lambda w: [gone(PACKETS, w.packets["finished"], "META")]),
    "a packet is gone with its shares": (
        {"unknown"},
        lambda w: [gone(PACKETS, w.packets["given up"], "META"), gone(PACKETS, w.packets["given up"], "SHARES")],
    ),
    "the shares are gone": ({"shares"}, lambda w: [gone(PACKETS, w.packets["open"], "SHARES")]),
    "one share is more": (
        {"shares"},
        lambda w: [shares_are(w, "open", lambda s: [s[0] + 1, *s[1:]])],
    ),
    "shares have changed places": ({"payment"}, lambda w: [shares_are(w, "open", lambda s: [s[1], s[0], *s[2:]])]),
    "a share is missing": ({"shares"}, lambda w: [shares_are(w, "open", lambda s: [s[0] + s[1], *s[2:]])]),
    "a share is nothing": ({"shares"}, lambda w: [shares_are(w, "open", lambda s: [*s[:3], 0, s[3] + s[4]])]),
    "equal shares differ": ({"shares"}, lambda w: [shares_are(w, "rest", lambda s: [s[0] - 1, s[1] + 1, s[2]])]),
    "the total is more": ({"shares"}, lambda w: [meta(w, "open", total=1001)]),
    "the sender is another": ({"hold"}, lambda w: [meta(w, "open", sender="bob")]),
    "claims have changed places": ({"payment"}, lambda w: [claims(w, "open", "carol", "bob")]),
    "a claim is lost": ({"payment"}, lambda w: [claims(w, "open", "bob")]),
    "there are more claims than shares": ({"state"}, lambda w: [claims(w, "sold out", "alice", "dave", "bob")]),
    "one user has claimed twice": ({"state"}, lambda w: [claims(w, "open", "bob", "bob")]),
    "a claim has no time": ({"state"}, lambda w: [meta(w, "open", times=[0])]),
    "a claim came after the end": ({"state"}, lambda w: [meta(w, "open", times=[0, DAY_MS])]),
    "somebody else has claimed": ({"state"}, lambda w: [claims(w, "fresh", "dave")]),
    "a direct packet has two shares": ({"state", "shares"}, lambda w: [meta(w, "fresh", count=2)]),
    "a direct packet is for nobody": ({"state"}, lambda w: [without(PACKETS, w.packets["fresh"], "META", "to")]),
    "a packet is for its sender": ({"state"}, lambda w: [meta(w, "fresh", to="bob")]),
    "a lucky packet is for one": ({"state"}, lambda w: [meta(w, "sold out", to="alice")]),
    "a kind that there is not": ({"state", "shares"}, lambda w: [meta(w, "open", kind="random")]),
    "a state that there is not": ({"state"}, lambda w: [meta(w, "open", state="lost")]),
    "new, and published": ({"state"}, lambda w: [meta(w, "fresh", state="new")]),
    "open, and without a message": ({"state"}, lambda w: [without(PACKETS, w.packets["open"], "META", "seq")]),
    "open, and never due": ({"state"}, lambda w: [without(PACKETS, w.packets["open"], "META", "due")]),
    "open, and due at another time": ({"state"}, lambda w: [more(PACKETS, w.packets["open"], "META", "due")]),
    "closed too early": (
        {"state"},
        lambda w: [
            meta(w, "sold out", state="closed", ended=w.now),
            without(PACKETS, w.packets["sold out"], "META", "due"),
        ],
    ),
    "closed, and never ended": ({"state"}, lambda w: [without(PACKETS, w.packets["rest"], "META", "ended")]),
    "cancelled, and still due": ({"state"}, lambda w: [meta(w, "released", due=1)]),
    "created in the future": ({"state"}, lambda w: [meta(w, "open", created=w.now + DAY_MS)]),
    "an account that there is not": ({"unreadable"}, lambda _: [put(WALLETS, "bank:x", "BALANCE", balance=0)]),
    "a line that there is not": ({"unreadable"}, lambda _: [put(WALLETS, "user:bob", "X#1", amount=0, ts=1)]),
    "a balance in words": ({"unreadable"}, lambda _: [put(WALLETS, "user:bob", "BALANCE", balance="much")]),
    "a balance of half a cent": (
        {"unreadable"},
        lambda _: [Change(WALLETS, "user:bob", "BALANCE", lambda _: {"balance": {"N": "0.5"}})],
    ),
    "a balance beyond all money": (
        {"unreadable"},
        lambda _: [put(WALLETS, "user:bob", "BALANCE", balance=10**30)],
    ),
    "a line of another time than its key": (
        {"unreadable"},
        lambda w: [more(*own(w, "bob", "open", "0"), "ts")],
    ),
    "claims in words": ({"unreadable"}, lambda w: [meta(w, "open", claimers="bob, carol")]),
}


def opening_line(ledger: Ledger, user: str) -> str:
    (found,) = [sk for pk, sk in ledger.all(WALLETS) if pk == f"user:{user}" and sk.endswith("#opening")]
    return found


# ---- nothing is wrong ------------------------------------------------------------------------------------------------


def test_right_tables_pass_and_are_counted(ledger: Ledger) -> None:
    report = ledger.audit()

    assert report.passed, report
    figures = report.figures
    assert figures.packets == {"cancelled": 2, "closed": 4, "new": 1, "open": 4}
    assert (figures.users, figures.packet_accounts, figures.postings) == (4, 10, 26)
    assert figures.opening == -400_000
    assert figures.in_packets == sum(shares(ledger, "open")[2:]) + 66 + 1000 + 1000
    assert figures.sum == figures.in_wallets + figures.in_packets + figures.opening == 0
    assert (report.settled, report.younger, report.elsewhere) == (0, 0, 0)


def test_an_audit_writes_nothing(ledger: Ledger) -> None:
    before = ledger.all(WALLETS), ledger.all(PACKETS)

    ledger.audit()

    assert (ledger.all(WALLETS), ledger.all(PACKETS)) == before


# ---- something is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_is_found_and_named(ledger: Ledger, what: str) -> None:
    kinds, spoil = SPOILED[what]

    with ledger.spoiled(*spoil(ledger)):
        report = ledger.audit()

    assert {finding.kind for finding in report.findings} == kinds
    assert not report.undecided
    assert ledger.audit().passed, "the tables are right again"


FREE = {"seq", "opened", "created", "ended", "due_shard"}
"""Numbers that say nothing about money: another one may be right, too."""


def test_no_number_can_change_unseen(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_audit, "SAME", 1)
    unseen = []
    for table in (WALLETS, PACKETS):
        for (pk, sk), item in ledger.all(table).items():
            if sk.startswith(("SENT#", "GOT#")):
                continue
            for name in [name for name, value in item.items() if "N" in value and name not in FREE]:
                with ledger.spoiled(more(table, pk, sk, name)):
                    if ledger.audit().passed and not (name == "ts" and "void" in item):
                        unseen.append((pk, sk, name))

    ended = {(ledger.packets[name], "META", "expires") for name in ("finished", "rest", "nobody", "direct")}
    assert set(unseen) - ended == {(ledger.packets["new"], "META", "due")}


def test_no_item_can_vanish_unseen(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_audit, "SAME", 1)
    unseen = []
    for table in (WALLETS, PACKETS):
        for pk, sk in ledger.all(table):
            if sk.startswith(("SENT#", "GOT#")):
                continue
            with ledger.spoiled(gone(table, pk, sk)):
                # That a packet is paid or released late shows only when it is.
                if ledger.audit(late_ms=0).passed:
                    unseen.append((pk, sk))

    assert unseen == []


# ---- late ------------------------------------------------------------------------------------------------------------


def after(ledger: Ledger, ms: int, **more: Any) -> Report:
    """What an auditor says when time has passed and nobody has done anything."""
    return ledger.audit(clock=lambda: ledger.now + ms, **more)


def names(ledger: Ledger, report: Report) -> list[tuple[str, str]]:
    called = {packet: name for name, packet in ledger.packets.items()}
    return sorted((late.kind, called[late.packet]) for late in report.late)


def test_a_claim_that_is_not_paid_is_late_after_a_while_and_no_finding(ledger: Ledger) -> None:
    report = after(ledger, LATE_MS + 1)

    assert report.findings == []
    assert not report.passed
    (late,) = report.late
    assert (late.kind, late.packet, late.since) == ("unsettled", ledger.packets["unpaid"], ledger.now)
    assert late.problem == f"1 claims of {shares(ledger, 'unpaid')[0]} together are not paid"
    assert after(ledger, LATE_MS).passed


def test_a_packet_that_nobody_has_ended_is_late(ledger: Ledger) -> None:
    assert ("not ended", "new") in names(ledger, after(ledger, LATE_MS + 5 * 60_000 + 1))
    assert ("not ended", "new") not in names(ledger, after(ledger, LATE_MS + 5 * 60_000))

    unended = [name for kind, name in names(ledger, after(ledger, DAY_MS + LATE_MS + 1)) if kind == "not ended"]
    assert unended == ["fresh", "new", "open", "sold out", "unpaid"]


NOT_GIVEN_BACK: dict[str, Callable[[Ledger], list[Change]]] = {
    "rest": lambda w: undone(w, "rest", "rest"),
    "nobody": lambda w: undone(w, "nobody", "rest"),
    "released": lambda w: undone(w, "released", "rest"),
    "given up": lambda w: [gone(WALLETS, of(w, "given up"), "P#hold")],
}


@pytest.mark.parametrize("name", NOT_GIVEN_BACK)
def test_what_was_not_given_back_is_late(ledger: Ledger, name: str) -> None:
    with ledger.spoiled(*NOT_GIVEN_BACK[name](ledger)):
        report = after(ledger, LATE_MS)

    assert report.findings == []
    assert names(ledger, report) == [("unsettled", name)]
    assert report.late[0].since == ledger.now - 60_000


def test_one_packet_may_be_late_twice(ledger: Ledger) -> None:
    with ledger.spoiled(*undone(ledger, "rest", "0"), *undone(ledger, "rest", "rest")):
        report = ledger.audit(late_ms=0)

    assert [late.problem for late in report.late if late.packet == ledger.packets["rest"]] == [
        "1 claims of 300 together are not paid",
        "600 is not given back",
    ]
    assert report.late == sorted(report.late, key=lambda late: late.since)


# ---- sure, or under way ----------------------------------------------------------------------------------------------


class Waiting:
    """Time between two looks, in which something may happen."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self.waits: list[float] = []
        self._happens = list(happens)

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self._happens:
            self._happens.pop(0)()


def nothing() -> None:
    """Nothing happens."""


def test_a_finding_has_been_the_same_three_times(ledger: Ledger) -> None:
    waiting = Waiting()

    with ledger.spoiled(more(WALLETS, "user:bob", "BALANCE", "balance")):
        report = ledger.audit(pause=waiting)

    assert [finding.subject for finding in report.findings] == ["user:bob"]
    assert (waiting.waits, SAME) == ([WAIT_S, WAIT_S], 3)


@pytest.mark.parametrize("looks", range(1, SAME))
def test_what_is_right_a_little_later_was_under_way(ledger: Ledger, looks: int) -> None:
    before = ledger.item(WALLETS, "user:bob", "BALANCE")
    wrong = more(WALLETS, "user:bob", "BALANCE", "balance")
    waiting = Waiting(*[nothing] * (looks - 1), lambda: ledger.store(wrong, before))

    with ledger.spoiled(wrong):
        report = ledger.audit(pause=waiting)

    assert report.passed
    assert report.settled == 1


def test_what_is_another_thing_with_every_look_is_undecided(ledger: Ledger) -> None:
    wrong = more(WALLETS, "user:bob", "BALANCE", "balance")

    def again() -> None:
        ledger.store(wrong, wrong.to(ledger.item(WALLETS, "user:bob", "BALANCE")))

    with ledger.spoiled(wrong):
        report = ledger.audit(pause=Waiting(*[again] * LOOKS))

    assert (report.findings, report.undecided) == ([], ["account user:bob"])
    assert not report.passed


def test_what_is_late_and_goes_on_slowly_is_not_undecided(ledger: Ledger) -> None:
    times = iter(range(LOOKS))

    def another_time() -> None:
        claim = meta(ledger, "unpaid", times=[next(times)])
        ledger.store(claim, claim.to(ledger.item(PACKETS, claim.pk, claim.sk)))

    with ledger.spoiled(meta(ledger, "unpaid")):
        report = after(ledger, LATE_MS + 1000, pause=Waiting(*[another_time] * LOOKS))

    assert (report.findings, report.undecided) == ([], [])
    assert names(ledger, report) == [("unsettled", "unpaid")]


def test_what_moves_between_two_readings_is_undecided(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = itertools.cycle((7, 9))
    real = ledger.client.query

    def moving(**request: Any) -> Any:
        items = real(**request)["Items"]
        return {"Items": [i | {"balance": {"N": str(next(amounts))}} if "balance" in i else i for i in items]}

    with ledger.spoiled(more(WALLETS, "user:bob", "BALANCE", "balance")):
        monkeypatch.setattr(ledger.client, "query", moving)
        report = ledger.audit()

    assert (report.findings, report.undecided) == ([], ["account user:bob"])


def cancelled(*codes: str) -> Exception:
    reasons = [{"Code": code} for code in codes]
    response: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    return TransactionCancelled(response, "TransactGetItems")


def test_a_posting_that_is_being_written_is_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([cancelled("TransactionConflict", "None")] * 2)
    real = ledger.client.transact_get_items

    def busy(**request: Any) -> Any:
        if (refusal := next(answers, None)) is not None:
            raise refusal
        return real(**request)

    with ledger.spoiled(*undone(ledger, "open", "0")[:1]):
        monkeypatch.setattr(ledger.client, "transact_get_items", busy)
        report = ledger.audit()

    assert "posting" in {finding.kind for finding in report.findings}
    assert report.undecided == []


def test_a_posting_that_is_written_all_the_time_is_undecided(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(**_: Any) -> Any:
        raise cancelled("TransactionConflict", "None")

    with ledger.spoiled(put(*own(ledger, "bob", "finished", "0"), kind="refund")):
        monkeypatch.setattr(ledger.client, "transact_get_items", busy)
        report = ledger.audit()

    assert report.findings == []
    assert [one.partition(" ")[0] for one in report.undecided] == ["posting"]


def test_what_is_too_much_to_look_at_is_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_audit, "MAX_DOUBTS", 1)

    with ledger.spoiled(*(more(WALLETS, f"user:{user}", "BALANCE", "balance") for user in ("alice", "bob", "carol"))):
        report = ledger.audit()

    assert (len(report.findings), report.unlooked, report.passed) == (1, 2, False)


@pytest.mark.parametrize("refused", ["scan", "query", "get_item", "transact_get_items"])
def test_when_aws_refuses_nothing_is_said(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not for you"}}, refused)

    with ledger.spoiled(*undone(ledger, "open", "0")[:1]):
        monkeypatch.setattr(ledger.client, refused, refuse)
        with pytest.raises(AwsRefusedError, match="AccessDenied"):
            ledger.audit()


# ---- an external payment system --------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(ledger: Ledger) -> Iterator[Ledger]:
    """The wallets are somebody else's."""
    with ledger.spoiled(*(gone(WALLETS, *key) for key in ledger.all(WALLETS))):
        yield ledger


def test_without_wallets_packets_alone_are_looked_at(elsewhere: Ledger) -> None:
    report = elsewhere.audit(gateway=True)

    assert report.passed
    assert (report.figures.users, report.figures.postings, report.elsewhere) == (0, 0, 11)
    assert not elsewhere.audit().passed, "a stack with wallets has lost them"


def test_packets_are_looked_at_whoever_has_the_money(elsewhere: Ledger) -> None:
    with elsewhere.spoiled(shares_are(elsewhere, "open", lambda s: [s[0] + 1, *s[1:]])):
        assert [finding.kind for finding in elsewhere.audit(gateway=True).findings] == ["shares"]
    assert ("not ended", "open") in names(elsewhere, after(elsewhere, DAY_MS + LATE_MS + 1, gateway=True))


def test_what_the_own_wallet_still_has_is_looked_at(ledger: Ledger) -> None:
    """A stack that was given a payment system later."""
    with ledger.spoiled(*pays_more(ledger, "open", 0, "bob", 1)):
        assert [finding.kind for finding in ledger.audit(gateway=True).findings] == ["payment"]
    assert ledger.audit(gateway=True).elsewhere == 0


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The stack that the command finds; its parameters."""
    parameters: dict[str, str] = {}
    outputs = {"WalletTableName": WALLETS, "RedPacketTableName": PACKETS}
    session: Any = SimpleNamespace(client=lambda _service, **_options: ledger.client)
    found = Deployed("im", outputs, parameters, _session=session, _options={})
    monkeypatch.setattr(admin_audit, "deployed", lambda *_: found)
    monkeypatch.setattr(
        admin_audit, "Audit", partial(Audit, clock=lambda: ledger.now + 1000, pause=lambda _seconds: None)
    )
    return parameters


def im_audit(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["admin", "audit", *arguments])


@pytest.mark.usefixtures("stack")
def test_what_is_said_when_all_is_right() -> None:
    ended = im_audit()

    assert ended.exit_code == 0, ended.output
    lines = ended.output.splitlines()
    assert lines[0] == "wallets               4"
    assert "packets               11  (2 cancelled, 4 closed, 1 new, 4 open)" in lines
    assert "sum of all balances   0" in lines
    assert [line for line in lines if line.startswith("OK  ")] == [f"OK  {one}" for one in admin_audit.PROVEN]
    assert "NOT PROVEN" not in ended.output


@pytest.mark.usefixtures("stack")
def test_what_is_said_when_something_is_wrong(ledger: Ledger) -> None:
    says = int((ledger.item(WALLETS, "user:bob", "BALANCE") or {})["balance"]["N"])
    lines_of_bob = sum(pk == "user:bob" and sk != "BALANCE" for pk, sk in ledger.all(WALLETS))
    with ledger.spoiled(more(WALLETS, "user:bob", "BALANCE", "balance")):
        shown, data = im_audit(), im_audit("--json")

    assert (shown.exit_code, data.exit_code) == (1, 1)
    lines = shown.output.splitlines()
    assert f"wrong: balance: user:bob says {says + 1}; its {lines_of_bob} lines come to {says}" in lines
    assert "sum of all balances   1" in lines
    assert lines[-1] == "FAILED  1 findings (balance)"
    assert "OK" not in shown.output
    told = json.loads(data.stdout)
    assert (told["passed"], told["proven"]) == (False, [])
    (finding,) = told["findings"]
    assert (finding["kind"], finding["subject"]) == ("balance", "user:bob")


@pytest.mark.usefixtures("stack")
def test_what_is_said_when_something_is_late(ledger: Ledger) -> None:
    with ledger.spoiled(*undone(ledger, "rest", "rest")):
        ended = im_audit("--late-after", "0")

    assert ended.exit_code == 1
    late = [line for line in ended.output.splitlines() if line.startswith("late: ")]
    assert late[0] == f"late: unsettled since 2025-11-22 09:30:00: {ledger.packets['rest']} 600 is not given back"
    assert ended.output.splitlines()[-1].startswith("LATE  2 packets; ")


@pytest.mark.usefixtures("stack")
def test_a_program_is_told_everything(ledger: Ledger) -> None:
    told = json.loads(im_audit("--json").stdout)

    assert told["passed"]
    assert told["proven"] == list(admin_audit.PROVEN)
    assert told["figures"]["packets"] == {"cancelled": 2, "closed": 4, "new": 1, "open": 4}
    assert told["figures"]["sum"] == 0
    assert told["figures"]["in_packets"] == ledger.audit().figures.in_packets
    assert (told["findings"], told["late"], told["undecided"], told["unlooked"]) == ([], [], [], 0)


def test_with_an_external_payment_system_it_is_said_what_is_not_proven(
    elsewhere: Ledger, stack: dict[str, str]
) -> None:
    stack["PaymentGatewayUrl"] = "https://pay.example.com"

    shown, told = im_audit(), json.loads(im_audit("--json").stdout)

    assert (shown.exit_code, shown.output.splitlines()[-2:]) == (
        0,
        [f"OK  {admin_audit.PROVEN_ELSEWHERE}", f"NOT PROVEN  {admin_audit.NOT_PROVEN}"],
    )
    assert told["proven"] == [admin_audit.PROVEN_ELSEWHERE]
    assert told["not_proven"] == [admin_audit.NOT_PROVEN]
    assert told["elsewhere"] == 11


@pytest.mark.usefixtures("stack")
def test_many_findings_are_cut_short_and_quote_nothing_that_a_terminal_acts_on(ledger: Ledger) -> None:
    strangers = [put(WALLETS, f"user:eve\x1b[2J{i:02d}", "BALANCE", balance=i + 1) for i in range(25)]

    with ledger.spoiled(*strangers):
        shown, told = im_audit(), json.loads(im_audit("--json").stdout)

    assert "\x1b" not in shown.output
    assert r"user:eve\x1b[2J00 says 1; its 0 lines come to 0" in shown.output
    assert "… and 5 more" in shown.output.splitlines()
    assert len(told["findings"]) == 25


@pytest.mark.usefixtures("stack")
def test_the_command_ends_with_2_when_aws_refuses(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not for you"}}, "Scan")

    monkeypatch.setattr(ledger.client, "scan", refuse)

    ended = im_audit()

    assert ended.exit_code == 2
    assert "nothing is proven" in ended.output
    assert "AccessDenied" in ended.output


def test_the_command_ends_with_2_on_a_stack_without_red_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = SimpleNamespace(client=lambda *_, **__: None)
    old = Deployed("im", {"InboxTableName": "x"}, {}, _session=session, _options={})
    monkeypatch.setattr(admin_audit, "deployed", lambda *_: old)

    ended = im_audit()

    assert ended.exit_code == 2
    assert "WalletTableName" in ended.output
