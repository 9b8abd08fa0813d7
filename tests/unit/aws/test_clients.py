"""How clients behave where AWS is stricter than the emulators."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from im.aws import clients

CONFLICT = {"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": "ongoing"}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a client has waited between its tries."""
    seconds: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", seconds.append)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return seconds


def table_that_answers(*answers: dict[str, Any]) -> tuple[Any, list[object]]:
    """A client whose calls get these answers one after the other, the last one for good; and its calls."""
    client: Any = clients.dynamodb()
    calls: list[object] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        calls.append(request)
        body = answers[min(len(calls), len(answers)) - 1]
        response: Any = AWSResponse(request.url, 400 if "__type" in body else 200, {}, None)  # type: ignore[arg-type]
        response._content = json.dumps(body).encode()
        return response  # type: ignore[no-any-return]

    client.meta.events.register_first("before-send.dynamodb", answer)
    return client, calls


def put(client: Any) -> None:
    client.put_item(TableName="T", Item={"pk": {"S": "x"}})


def test_a_write_that_meets_a_transaction_is_made_again(waits: list[float]) -> None:
    client, calls = table_that_answers(CONFLICT, CONFLICT, {})

    put(client)

    assert len(calls) == 3
    assert len(waits) == 2
    assert all(0 < seconds < 0.1 for seconds in waits)


def test_a_write_that_meets_transactions_for_ever_fails(waits: list[float]) -> None:
    client, calls = table_that_answers(CONFLICT)

    with pytest.raises(ClientError, match="TransactionConflictException"):
        put(client)

    assert len(calls) == clients.CONFLICT_ATTEMPTS + 1
    assert sum(waits) < 2


def test_any_other_refusal_is_final(waits: list[float]) -> None:
    client, calls = table_that_answers({"__type": "x#ConditionalCheckFailedException", "message": "no"})

    with pytest.raises(ClientError, match="ConditionalCheckFailedException"):
        put(client)

    assert (len(calls), waits) == (1, [])
