"""The checker of red packets' money finds what is wrong: right books are broken in every way that it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.e2e.books import Books, Line, Packet
from tests.e2e.claimers import AGAIN, CLAIMED, Answer, Answered, wrong_answers

PACKET = Packet(
    name="rp1",
    state="closed",
    sender="alice",
    total=100,
    count=3,
    claimers=("bob", "carol"),
    shares=(50, 30, 20),
    head={},
)

Lines = dict[str, dict[str, Line]]


def lines() -> Lines:
    """What must be there."""
    out: Lines = {}

    def move(amount: int, user: str, name: str) -> None:
        out.setdefault("packet:rp1", {})[name] = Line(-amount, user, 1)
        out.setdefault(f"user:{user}", {})[f"rp1#{name}"] = Line(amount, None, 1)

    for user in ("alice", "bob", "carol"):
        out[f"user:{user}"] = {"opening": Line(500, None, 0)}
        out[f"opening:{user}"] = {"opening": Line(-500, None, 0)}
    move(-100, "alice", "hold")
    move(50, "bob", "0")
    move(30, "carol", "1")
    move(20, "alice", "rest")
    return out


def books(of: Lines) -> Books:
    """Books whose balances are those of the lines."""
    return Books({account: sum(line.amount for line in its.values()) for account, its in of.items()}, of)


def test_nothing_is_wrong_with_right_books() -> None:
    assert list(PACKET.wrong) == []
    assert list(books(lines()).wrong) == []
    assert list(books(lines()).wrong_with(PACKET)) == []


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda of: of["packet:rp1"].pop("1"), "packet:rp1 1 is None"),
        (lambda of: of["packet:rp1"].pop("rest"), "packet:rp1 rest is None"),
        (lambda of: of["packet:rp1"].update({"2": Line(-20, "dave", 1)}), "packet:rp1 2 is ('dave', -20)"),
        (lambda of: of["packet:rp1"].update({"0": Line(-51, "bob", 1)}), "packet:rp1 0 is ('bob', -51)"),
        (lambda of: of["packet:rp1"].update({"0": Line(-50, "carol", 1)}), "packet:rp1 0 is ('carol', -50)"),
        (lambda of: of["user:bob"].pop("rp1#0"), "user:bob rp1#0 is None"),
        (lambda of: of["user:bob"].update({"rp1#0": Line(49, None, 1)}), "user:bob rp1#0 is Line(amount=49"),
    ],
)
def test_a_movement_that_is_missing_or_another_one_is_found(break_it: Callable[[Lines], object], found: str) -> None:
    of = lines()
    break_it(of)
    assert any(line.startswith(found) for line in books(of).wrong_with(PACKET))


def test_a_balance_that_its_lines_do_not_make_is_found() -> None:
    right = books(lines())
    assert list(replace(right, balances={**right.balances, "user:bob": 551}).wrong) == [
        "user:bob has 551, and its lines make 550",
        "all balances together are 1",
    ]


def test_an_account_below_nothing_is_found() -> None:
    of = lines()
    of["user:bob"]["x"], of["user:carol"]["x"] = Line(-1000, None, 2), Line(1000, None, 2)
    assert list(books(of).wrong) == ["user:bob has -450"]


@pytest.mark.parametrize(
    "packet",
    [
        replace(PACKET, total=101),
        replace(PACKET, shares=(50, 50)),
        replace(PACKET, shares=(50, 50, 0)),
        replace(PACKET, claimers=("bob", "bob")),
        replace(PACKET, claimers=("bob", "carol", "dave", "eve")),
    ],
)
def test_a_packet_that_does_not_add_up_is_found(packet: Packet) -> None:
    assert len(list(packet.wrong)) == 1


@pytest.mark.parametrize(
    ("user", "answer", "right"),
    [
        ("bob", Answer(CLAIMED, 50, 1), True),
        ("bob", Answer(AGAIN, 50, 2), True),
        ("bob", Answer(AGAIN, 50, 1), False),
        ("bob", Answer(CLAIMED, 51, 1), False),
        ("bob", Answer("sold_out", 0, 1), False),
        ("dave", Answer("sold_out", 0, 1), True),
        ("dave", Answer(CLAIMED, 20, 1), False),
        ("dave", Answer("expired", 0, 1), False),
    ],
)
def test_an_answer_that_the_packet_does_not_give_is_found(user: str, answer: Answer, *, right: bool) -> None:
    assert (list(wrong_answers(PACKET, [Answered(user, answer, 0.1)])) == []) is right
