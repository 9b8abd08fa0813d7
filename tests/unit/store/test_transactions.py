"""What DynamoDB says of a transaction or a batch that was not made whole, which moto never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from im.domain.entries import Entry
from im.domain.errors import TooManyGroups, Unavailable
from im.domain.group_rules import Change
from im.domain.ids import Seq, UserId
from im.store.batches import ATTEMPTS, query_all, read_all, snapshot, transact
from im.store.conversations import entry_item
from im.store.group_changes import GroupChangeStore, Lost
from im.store.group_rows import GroupRowStore
from tests.unit.heads import head_of

PASSING = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")


class Cancelled(ClientError):
    """TransactionCanceledException, as botocore makes it."""

    def __init__(self, *codes: str, item: dict[str, Any] | None = None) -> None:
        reasons: list[dict[str, Any]] = [{"Code": code} for code in codes]
        if item is not None:
            reasons[0]["Item"] = item
        response: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
        super().__init__(response, "Transact")


class Client:
    """Answers one call after the other; the last answer for good. An exception is raised."""

    exceptions = SimpleNamespace(TransactionCanceledException=Cancelled)

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.calls: list[dict[str, Any]] = []

    def _answer(self, **params: Any) -> Any:
        self.calls.append(params)
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    query = batch_get_item = transact_get_items = transact_write_items = _answer


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited."""
    seconds: list[float] = []
    monkeypatch.setattr("im.store.batches.time.sleep", seconds.append)
    return seconds


def key(name: str) -> dict[str, Any]:
    return {"pk": {"S": name}}


WRITES: list[dict[str, Any]] = [{"Put": {"TableName": "T", "Item": key(name)}} for name in "ab"]

ALL: dict[str, Callable[[Any], Any]] = {
    "snapshot": lambda client: snapshot(client, "T", [key("a"), key("b")]),
    "transact": lambda client: transact(client, WRITES),
}


# ---- transactions ----------------------------------------------------------------------------------------------------


def test_a_snapshot_has_an_item_or_none_for_each_key() -> None:
    client = Client({"Responses": [{}, {"Item": key("b")}]})

    assert snapshot(client, "T", [key("a"), key("b")]) == [None, key("b")]  # type: ignore[arg-type]
    assert client.calls[0]["TransactItems"] == [{"Get": {"TableName": "T", "Key": key(name)}} for name in "ab"]


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("what", ALL)
def test_what_another_transaction_is_in_the_way_of_is_made_again(what: str, code: str, waits: list[float]) -> None:
    client = Client(Cancelled("None", code), Cancelled(code, "None"), {"Responses": [{}, {}]})

    ALL[what](client)

    assert len(client.calls) == 3
    assert len(waits) == 2


@pytest.mark.parametrize("what", ALL)
def test_what_is_in_the_way_for_ever_is_unavailable(what: str) -> None:
    client = Client(Cancelled("TransactionConflict", "None"))

    with pytest.raises(Unavailable):
        ALL[what](client)

    assert len(client.calls) == ATTEMPTS


@pytest.mark.parametrize("what", ALL)
def test_any_other_reason_is_a_failure_at_once(what: str) -> None:
    client = Client(Cancelled("TransactionConflict", "ValidationError"))

    with pytest.raises(Cancelled):
        ALL[what](client)

    assert len(client.calls) == 1


def test_a_transaction_says_which_conditions_were_not_met() -> None:
    assert transact(Client(Cancelled("None", "ConditionalCheckFailed")), WRITES) == [False, True]  # type: ignore[arg-type]
    assert transact(Client({}), WRITES) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "codes", [("ConditionalCheckFailed", "TransactionConflict"), ("ThrottlingError", "ConditionalCheckFailed")]
)
def test_an_unmet_condition_beside_a_conflict_says_nothing_yet(codes: tuple[str, str]) -> None:
    """The other item is being written at this moment: what its condition comes to is not known."""
    client = Client(Cancelled(*codes), Cancelled("ConditionalCheckFailed", "ConditionalCheckFailed"))

    assert transact(client, WRITES) == [True, True]  # type: ignore[arg-type]
    assert len(client.calls) == 2


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_what_a_batch_leaves_unread_is_asked_for_again(waits: list[float]) -> None:
    left = {"T": {"Keys": [key("b")], "ConsistentRead": True}}
    client = Client(
        {"Responses": {"T": [key("a")]}, "UnprocessedKeys": left},
        {"Responses": {}, "UnprocessedKeys": left},
        {"Responses": {"T": [key("b")]}, "UnprocessedKeys": {}},
    )

    found = list(read_all(client, "T", [key("a"), key("b")], consistent=True))  # type: ignore[arg-type]

    assert found == [key("a"), key("b")]
    assert [call["RequestItems"] for call in client.calls[1:]] == [left, left]
    assert len(waits) == 2


def test_a_batch_that_is_never_read_is_unavailable() -> None:
    left = {"T": {"Keys": [key("a")]}}

    with pytest.raises(Unavailable):
        list(read_all(Client({"Responses": {}, "UnprocessedKeys": left}), "T", [key("a")]))  # type: ignore[arg-type]


def test_a_query_is_read_page_by_page_to_its_end() -> None:
    client = Client(
        {"Items": [key("a")], "LastEvaluatedKey": key("a")},
        {"Items": [], "LastEvaluatedKey": key("b")},
        {"Items": [key("c")]},
    )

    found = list(query_all(client, TableName="T", Limit=1))  # type: ignore[arg-type]

    assert found == [key("a"), key("c")], "a page may be empty and not the last: what a filter leaves out counts"
    usual = {"TableName": "T", "Limit": 1}
    assert client.calls == [usual, usual | {"ExclusiveStartKey": key("a")}, usual | {"ExclusiveStartKey": key("b")}]


# ---- changes to a group ----------------------------------------------------------------------------------------------

BOB = UserId("bob")
HEAD = head_of(owner=BOB, created_by=BOB)
FOUNDING = Change("members", {"added": [BOB], "removed": [], "by": BOB}, HEAD, joins=(BOB,))
ENTRY = Entry(HEAD.conv, Seq(1), 0, Seq(1), "members", BOB, 5, "{}")
OTHER = replace(ENTRY, sender=UserId("mallory"))


def commit(answer: Any) -> Lost | None:
    """A founding of one: its entry, head, member, row and count of groups, in this order."""
    client: Any = Client(answer)
    store = GroupChangeStore(client, "Conversation", GroupRowStore(client, "Inbox"))
    lost = store.commit(None, FOUNDING, ENTRY, max_groups=3)
    (call,) = client.calls
    assert [next(iter(write)) for write in call["TransactItems"]] == ["Put", "Put", "Put", "Update", "Update"]
    return lost


def test_a_change_that_is_made_is_not_lost() -> None:
    assert commit({}) is None


def test_a_change_whose_answer_was_lost_on_the_way_is_made() -> None:
    """botocore calls again, and finds the place taken: by this very entry."""
    taken = ("ConditionalCheckFailed", "ConditionalCheckFailed", "None", "None", "None")

    assert commit(Cancelled(*taken, item=entry_item(ENTRY))) is None


def test_a_change_whose_place_is_taken_says_by_what() -> None:
    taken = ("ConditionalCheckFailed", "None", "None", "None", "None")

    assert commit(Cancelled(*taken, item=entry_item(OTHER))) == Lost(OTHER)


def test_a_change_of_a_group_that_has_changed_is_lost() -> None:
    assert commit(Cancelled("None", "ConditionalCheckFailed", "None", "None", "None")) == Lost(None)


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("at", range(5))
def test_a_change_that_others_are_in_the_way_of_is_lost_and_may_be_tried_again(at: int, code: str) -> None:
    assert commit(Cancelled(*(code if i == at else "None" for i in range(5)))) == Lost(None)


def test_who_is_in_too_many_groups_is_named() -> None:
    with pytest.raises(TooManyGroups) as error:
        commit(Cancelled("None", "None", "None", "None", "ConditionalCheckFailed"))

    assert (error.value.user, error.value.limit) == ("bob", 3)


def test_a_group_that_has_changed_is_no_matter_of_too_many_groups() -> None:
    """It is decided on again first: perhaps they need not be added any more."""
    both = ("None", "ConditionalCheckFailed", "None", "None", "ConditionalCheckFailed")

    assert commit(Cancelled(*both)) == Lost(None)


def test_any_other_reason_of_a_change_that_was_not_made_is_a_failure() -> None:
    with pytest.raises(Cancelled):
        commit(Cancelled("ValidationError", "None", "None", "None", "None"))
