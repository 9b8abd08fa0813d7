"""From an API Gateway event to a flow, and back to a frame. Every frame gets exactly one reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from im.domain.conversation import MAX_CONV_LENGTH
from im.domain.errors import ImError, Unauthorized, UnknownRoute
from im.domain.ids import ConnectionId, DeviceId, UserId
from im.flows.ports import Caller
from im.runtime.logs import log
from im.wire import requests
from im.wire.error_table import CODES
from im.wire.frames import BadFrame, Request, decode, encode_internal, encode_refusal, encode_reply

Event = Mapping[str, Any]
Response = dict[str, Any]


class Context(Protocol):
    """The part of Lambda's context that we use."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may go on."""


Operation = Callable[[Caller, Request], Mapping[str, Any] | None]
"""Answers one request with the data of its reply; None when it has sent the reply itself."""

REPLIED: Final = None

D = TypeVar("D", bound=requests.Data)


def operation(model: type[D], flow: Callable[[Caller, D], Mapping[str, Any]]) -> Operation:
    """An operation whose data has the form of `model`."""
    return lambda caller, request: flow(caller, requests.parse(model, request.data))


@dataclass(frozen=True, slots=True)
class Router:
    """Answers the frames of one route."""

    route: str
    operations: Mapping[str, Operation]

    def answer(self, event: Event, context: Context) -> Response:
        """The reply to one frame. Never raises: a failure of ours is logged and answered with `internal`."""
        started = time.perf_counter()
        request_id: str | None = None
        line: dict[str, Any] = {"route": self.route, "op": None, "code": "ok", **_origin_of(event)}
        try:
            request = decode(event.get("body") or "")
            request_id, line["op"] = request.id, request.op
            caller = caller_of(event)
            line["user"] = caller.user
            line |= _place(request.data)
            operation = self.operations.get(request.op) if request.route == self.route else None
            if operation is None:
                line["op"] = None
                raise UnknownRoute(request.route[:64], request.op[:64])
            data = operation(caller, request)
            reply = "" if data is REPLIED else encode_reply(request_id, data)
            line |= _place(data or {})
        except BadFrame as e:
            line["code"] = CODES[type(e.reason)][0]
            reply = encode_refusal(e.request_id, e.reason)
        except ImError as e:
            line["code"] = CODES[type(e)][0]
            reply = encode_refusal(request_id, e)
        except Exception:  # noqa: BLE001 - the last line of defence: a client must get its reply
            line["code"] = "internal"
            log.exception("internal error", lambda_request_id=context.aws_request_id, **line)
            reply = encode_internal(request_id, context.aws_request_id)
        line["ms"] = round((time.perf_counter() - started) * 1000, 1)
        log.info("frame", lambda_request_id=context.aws_request_id, **line)
        return {"statusCode": 200, "body": reply}


def _origin_of(event: Event) -> dict[str, Any]:
    """What finds a frame in the logs: the ids that a client may quote from API Gateway's own error frames."""
    context = event.get("requestContext") or {}
    return {"connection": context.get("connectionId"), "gateway_request_id": context.get("requestId")}


def _place(data: Mapping[str, Any]) -> dict[str, Any]:
    """Where in which log something is, as far as `data` says so. Never what was said."""
    out: dict[str, Any] = {}
    if isinstance(conv := data.get("conv"), str):
        out["conv"] = conv[:MAX_CONV_LENGTH]
    if isinstance(seq := data.get("seq"), int):
        out["seq"] = seq
    return out


def caller_of(event: Event) -> Caller:
    """The verified identity that API Gateway carries with the connection. Raises Unauthorized without one."""
    context = event.get("requestContext") or {}
    identity = context.get("authorizer") or {}
    try:
        return Caller(
            user=UserId(identity["user"]),
            device=DeviceId(identity["device"]),
            platform=identity["platform"],
            connection=ConnectionId(context["connectionId"]),
        )
    except KeyError as e:
        raise Unauthorized from e
