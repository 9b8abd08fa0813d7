"""What can go wrong with one AWS call, and how it is made to.

A fault stands for all attempts of a call: botocore makes a call that fails up to three times (aws/clients.py), and only
then does the function hear of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.faults import shortcut
from tests.integration.house import FUNCTIONS, Call, Crash, House, _put_items

FAULTS: Final = {
    "error": "AWS answers 500; no effect",
    "throttled": "AWS refuses the call; no effect",
    "timeout": "the effect happens, no answer comes",
    "repeated": "the effect happens, the answer is lost, and botocore makes the call again",
    "death before": "the process ends before the call",
    "death after": "the process ends when the effect has happened",
}
DEATHS: Final = ("death before", "death after")

ERRORS: Final = {
    "dynamodb": "InternalServerError",
    "sqs": "ServiceUnavailable",
    "execute-api": "InternalServerErrorException",
    "secretsmanager": "InternalServiceError",
}
READ_BY_THE_HOUSE: Final = frozenset({"GetItem", "Query"})

THROTTLES: Final = {"execute-api": ("LimitExceededException", 429)}


@dataclass
class Injector:
    """Lets one call of a house go wrong."""

    house: House
    monkeypatch: pytest.MonkeyPatch
    _whole: bool = False
    _whole_next: Callable[[], bool] = lambda: False
    _repeat: bool = False
    """Whether the call that is being made is to be repeated."""
    _had_effect: bool = False
    """Whether its first try has had its effect."""
    _answer: AWSResponse | None = None
    """What the first try of a transaction was answered, for the second."""
    _token: str = ""
    _heard: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        house, made = self.house, self.house.client

        def client(service: str) -> Any:
            out = made(service)
            if id(out) not in self._heard:
                self._heard.add(id(out))
                name = out.meta.service_model.service_id.hyphenize()
                out.meta.events.register_first(f"needs-retry.{name}", self._again)
                out.meta.events.register_first(f"before-send.{name}", self._from_memory)
                if service in shortcut.SERVICES:
                    self._shorten(out, house._loading, service)
            return out

        house.client = client  # type: ignore[method-assign]
        self._shorten_taking()
        for function in FUNCTIONS:
            house.load(function)

    def _shorten(self, client: Any, function: str, service: str) -> None:
        whole_way = client._make_api_call

        def make_api_call(operation: str, params: dict[str, Any]) -> Any:
            if self._whole or self._whole_next() or not shortcut.is_short(service, operation, params):
                return whole_way(operation, params)
            return shortcut.make_call(client, function, service, operation, params)

        self.monkeypatch.setattr(client, "_make_api_call", make_api_call)

    def _shorten_taking(self) -> None:
        """SQS is asked for messages when there are some; packets are read for their stream the short way."""
        house, take, dead = self.house, self.house.take, self.house.dead
        whole_way, take_packet = house.sqs._make_api_call, house.packets.take

        def take_some(batch: int = 10, *, parts: bool = False, express: bool = False) -> list[dict[str, Any]]:
            url = house._fed_from(parts=parts, express=express)
            return take(batch, parts=parts, express=express) if shortcut.has_messages(url) else []

        def make_api_call(operation: str, params: dict[str, Any]) -> Any:
            if operation == "DeleteMessage":
                return shortcut.call_queues(operation, params)[1]
            return whole_way(operation, params)

        def read(operation: str, params: dict[str, Any]) -> Any:
            assert operation in READ_BY_THE_HOUSE
            return shortcut.call_tables(operation, params)[1]

        house.take = take_some  # type: ignore[method-assign]
        house.packets.take = lambda: take_packet() if shortcut.has_messages(house.packets.queue_url) else None  # type: ignore[method-assign]
        self.monkeypatch.setattr(house.sqs, "_make_api_call", make_api_call)
        self.monkeypatch.setattr(house.dynamodb, "_make_api_call", read)
        house.dead = lambda: dead() if shortcut.has_messages(house.dead_url) else []  # type: ignore[method-assign]

    @contextmanager
    def fault(self, kind: str, at: int) -> Iterator[list[Call]]:
        """The AWS call number `at`, from 0, of whatever runs inside goes wrong; yields the list of all of them."""
        count = -1

        def before(call: Call) -> None:
            nonlocal count
            count += 1
            if count != at:
                return
            if kind == "death before":
                raise Crash
            if kind in {"error", "throttled"}:
                raise _failure(call, throttled=kind == "throttled")
            self._repeat = kind == "repeated"

        def after(call: Call, answer: dict[str, Any]) -> None:
            if count == at and kind == "repeated":
                self._tell_of_the_first(call, answer)
            if count == at and kind == "timeout":
                raise ReadTimeoutError(endpoint_url=call.service)
            if count == at and kind == "death after":
                raise Crash

        self._whole_next = lambda: kind == "repeated" and count + 1 == at
        try:
            with self.house.watched(before=before, after=after) as calls:
                yield calls
        finally:
            self._whole_next = lambda: False
        assert count >= at, f"only {count + 1} calls were made"
        assert not self._repeat, "the call was not repeated"
        assert self._answer is None

    @contextmanager
    def all_the_way(self) -> Iterator[None]:
        """Every call goes through all of botocore and moto."""
        self._whole = True
        try:
            yield
        finally:
            self._whole = False

    def _again(self, response: Any, operation: Any, request_dict: Any, **_: Any) -> float | None:
        """Whether botocore shall make the call again: 0 s later."""
        if not self._repeat:
            return None
        self._repeat = False
        self._had_effect = response[0].status_code == 200
        if operation.name == "TransactWriteItems" and response[0].status_code == 200:
            self._answer, self._token = response[0], _token_of(request_dict["body"])
        return 0.0

    def _tell_of_the_first(self, call: Call, answer: dict[str, Any]) -> None:
        """The house hears of the second try alone. What the first has written is in the streams all the same, and a
        check is in its queue twice."""
        if self._had_effect and "Error" in answer:
            self.house.packets.note(call)
            self.house.stream += [item for item in _put_items(call) if item["sk"]["S"].startswith("MSG#")]
        if self._had_effect and call.params.get("QueueUrl") == self.house.checks_url:
            self.house.checks.append(self.house.checks[-1])
        self._had_effect = False

    def _from_memory(self, request: Any, **_: Any) -> AWSResponse | None:
        """AWS knows a transaction by its token for ten minutes, and does it once; moto knows none."""
        if self._answer is None:
            return None
        answer, self._answer = self._answer, None
        assert _token_of(request.body) == self._token
        return answer


def _token_of(body: bytes | str) -> str:
    return str(json.loads(body)["ClientRequestToken"])


def _failure(call: Call, *, throttled: bool) -> ClientError:
    code, status = ERRORS[call.service], 500
    if throttled:
        code, status = THROTTLES.get(call.service, ("ThrottlingException", 400))
    answer: Any = {"Error": {"Code": code, "Message": "made by a test"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, call.operation)
