"""The auditor of the histories is told lies, and says so: books that it finds right are right."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.packet_books import NEW_LIFE_MS, broken, read, wrong
from tests.integration.packet_stage import LIFE_MS, OPENING, stage, to_hold, to_publish

GROUP = "g:team"


class Told:
    """The items of both tables, after a little story."""

    def __init__(self, packets: list[Any], wallets: list[Any]) -> None:
        self.packets, self.wallets = packets, wallets

    def packet(self, cmid: str) -> Any:
        """What is stored of a packet."""
        return next(item for item in self.packets if item.get("cmid") == {"S": cmid})

    def shares(self, cmid: str) -> list[Any]:
        pk = self.packet(cmid)["pk"]
        items = next(item for item in self.packets if item["pk"] == pk and item["sk"] == {"S": "SHARES"})
        return items["shares"]["L"]  # type: ignore[no-any-return]

    def line(self, cmid: str, name: str) -> Any:
        """A movement of a packet's money."""
        pk = {"S": f"packet:{self.packet(cmid)['pk']['S']}"}
        return next(item for item in self.wallets if item["pk"] == pk and item["sk"] == {"S": f"P#{name}"})

    def own_line(self, user: str, what: str) -> Any:
        """A movement of a user's money: the first of a kind."""
        pk = {"S": f"user:{user}"}
        return next(item for item in self.wallets if item["pk"] == pk and item.get("kind") == {"S": what})

    def balance(self, account: str) -> Any:
        return next(item for item in self.wallets if item["pk"] == {"S": account} and item["sk"] == {"S": "BALANCE"})

    def move(self, account: str, amount: int) -> None:
        """Change a balance."""
        item = self.balance(account)
        item["balance"] = {"N": str(int(item["balance"]["N"]) + amount)}

    def account(self, cmid: str) -> str:
        return f"packet:{self.packet(cmid)['pk']['S']}"

    def note(self, user: str, start: str) -> Any:
        return next(item for item in self.packets if item["pk"] == {"S": user} and item["sk"]["S"].startswith(start))

    def wrong(self) -> list[str]:
        return wrong(read(self.packets, self.wallets), opening=OPENING, settled=True)


@pytest.fixture(scope="module")
def story() -> Iterator[Told]:
    """Packets that were closed with a rest, sold out, given up with their money and without, and one that is open."""
    with pytest.MonkeyPatch.context() as patch, stage(patch) as here:
        here.begin((0, 0))
        here.device("alice").ok("group.create", {"gid": "team", "name": "Team", "members": ["bob", "carol"]})

        def request(user: str, cmid: str) -> Callable[[], Any]:
            data = {"conv": GROUP, "cmid": cmid, "kind": "equal", "total": 60, "count": 2}
            return lambda: here.device(user).ok("redpacket.create", data)

        def claim(user: str, cmid: str) -> None:
            (name,) = (packet.id for packet in here.books().packets.values() if packet.name[2] == cmid)
            here.device(user).ok("redpacket.claim", {"packet": name})

        request("alice", "rest")()
        request("alice", "sold out")()
        here.dies(request("bob", "given up"), to_publish)
        here.dies(request("carol", "never paid"), to_hold)
        for user, cmid in (("bob", "rest"), ("bob", "sold out"), ("carol", "sold out")):
            here.house.now += 1000
            claim(user, cmid)
        here.house.now += LIFE_MS + NEW_LIFE_MS
        here.sweep()
        here.settle(list(here.house.packets.records))
        request("bob", "open")()
        claim("alice", "open")
        here.settle(list(here.house.packets.records))
        yield Told(here.items("RedPacketTable"), here.items("WalletTable"))


@pytest.fixture
def told(story: Told) -> Told:
    return copy.deepcopy(story)


def test_right_books_are_right(told: Told) -> None:
    states = {packet.text("cmid"): packet.state for packet in read(told.packets, told.wallets).packets.values()}

    assert states == {
        "rest": "closed",
        "sold out": "closed",
        "given up": "cancelled",
        "never paid": "cancelled",
        "open": "open",
    }
    assert told.wrong() == []


def pays_twice(told: Told) -> None:
    """All four items of a payment that nobody has claimed."""
    line, own = copy.deepcopy(told.line("sold out", "1")), copy.deepcopy(told.own_line("carol", "received"))
    line["sk"] = {"S": "P#2"}
    own["sk"] = {"S": own["sk"]["S"][:-1] + "2"}
    told.wallets += [line, own]
    told.move(told.account("sold out"), -30)
    told.move("user:carol", 30)


def was_not_paid(told: Told) -> None:
    """All four items of a payment are missing."""
    told.wallets.remove(told.line("sold out", "1"))
    told.wallets.remove(told.own_line("carol", "received"))
    told.move(told.account("sold out"), 30)
    told.move("user:carol", -30)


def was_not_refunded(told: Told) -> None:
    told.wallets.remove(told.line("rest", "rest"))
    told.wallets.remove(told.own_line("alice", "refund"))
    told.move(told.account("rest"), 30)
    told.move("user:alice", -30)


def has_claimed_twice(told: Told) -> None:
    packet = told.packet("rest")
    packet["claimers"]["L"].append({"S": "bob"})
    packet["times"]["L"].append({"N": "1001"})


def one_too_many(told: Told) -> None:
    packet = told.packet("sold out")
    packet["claimers"]["L"].append({"S": "dave"})
    packet["times"]["L"].append({"N": "1002"})


def other_shares(told: Told) -> None:
    told.shares("rest")[:] = [{"N": "29"}, {"N": "31"}]


LIES: dict[str, tuple[Callable[[Told], Any], str]] = {
    "a balance": (lambda told: told.move("user:bob", 1), "user:bob has .*, its lines say"),
    "a line": (lambda told: told.own_line("bob", "received").update(amount={"N": "31"}), "on one side"),
    "a line that is gone": (lambda told: told.wallets.remove(told.own_line("alice", "refund")), "on one side"),
    "the other side is gone": (lambda told: told.wallets.remove(told.line("rest", "0")), "on one side"),
    "money made of nothing": (lambda told: told.move("opening:bob", 5), "opening:bob has"),
    "an account without a packet": (lambda told: told.packets.remove(told.packet("rest")), "is nowhere"),
    "a payment that nobody claimed": (pays_twice, "2 is .*should be None"),
    "no payment": (was_not_paid, "not made: .*1"),
    "no refund": (was_not_refunded, "not made: .*rest"),
    "shares of another sum": (lambda told: told.shares("rest").append({"N": "1"}), "are not 2 shares of 60"),
    "an empty share": (lambda told: told.shares("rest").__setitem__(0, {"N": "0"}), "are not 2 shares"),
    "other shares": (other_shares, "0 is .*should be"),
    "two claims of one": (has_claimed_twice, "claimed twice"),
    "too many claims": (one_too_many, "3 claims of 2"),
    "a claim after the end": (
        lambda told: told.packet("rest")["times"]["L"].__setitem__(0, {"N": str(LIFE_MS)}),
        "claimed after its end",
    ),
    "a claim of what was given up": (
        lambda told: told.packet("given up").update(claimers={"L": [{"S": "bob"}]}, times={"L": [{"N": "1"}]}),
        "claims: ",
    ),
    "closed too early": (
        lambda told: told.packet("rest").update(ended={"N": "1"}),
        "was closed at 1",
    ),
    "still in the index": (
        lambda told: told.packet("rest").update(due={"N": "1"}, due_shard={"N": "1"}),
        "is in the index",
    ),
    "not in the index": (lambda told: told.packet("open").pop("due_shard"), "is not in the index"),
    "due at another time": (lambda told: told.packet("open").update(due={"N": "1"}), "is due at 1"),
    "open without a message": (lambda told: told.packet("open").pop("seq"), "seq is None"),
    "open, and its money can not be taken": (
        lambda told: told.line("open", "hold").update(void={"BOOL": True}),
        "its money can not be taken",
    ),
    "its money could still be taken": (
        lambda told: told.wallets.remove(told.line("never paid", "hold")),
        "its money could still be taken",
    ),
    "a note of another amount": (lambda told: told.note("bob", "GOT#").update(amount={"N": "1"}), "noted as 1"),
    "no note": (lambda told: told.packets.remove(told.note("alice", "SENT#")), "not noted"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(told: Told, lie: str) -> None:
    damage, said = LIES[lie]
    damage(told)

    found = told.wrong()
    assert any(re.search(said, line) for line in found), found


CHANGES: dict[str, tuple[Callable[[Told], Any], str]] = {
    "other shares": (other_shares, "the shares were"),
    "a packet is gone": (lambda told: told.packets.remove(told.packet("rest")), "is gone"),
    "a line is gone": (lambda told: told.wallets.remove(told.line("rest", "rest")), "a line has changed"),
    "a line has changed": (lambda told: told.line("rest", "rest").update(ts={"N": "1"}), "a line has changed"),
    "closed, and open again": (lambda told: told.packet("rest").update(state={"S": "open"}), "was closed, and is open"),
    "closed once more": (lambda told: told.packet("rest").update(ended={"N": "9" * 13}), "and has changed"),
    "other claims": (lambda told: told.packet("open")["claimers"].update(L=[{"S": "bob"}]), "the claims were"),
    "another total": (lambda told: told.packet("open").update(total={"N": "61"}), "total was"),
    "another end": (lambda told: told.packet("open").update(expires={"N": "9" * 13}), "expires was"),
    "a note has changed": (lambda told: told.note("bob", "GOT#").update(amount={"N": "1"}), "a note has changed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_must_never_change_is_found_when_it_has(story: Told, told: Told, change: str) -> None:
    damage, said = CHANGES[change]
    damage(told)

    found = list(broken(read(story.packets, story.wallets), read(told.packets, told.wallets)))
    assert any(re.search(said, line) for line in found), found
