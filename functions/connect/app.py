"""Connections open and close; ping and logout; frames that name no route get their reply here."""

from __future__ import annotations

from im.runtime import wiring
from im.runtime.logs import log
from im.runtime.router import Context, Event, Response, caller_of
from im.runtime.settings import Settings

connections = wiring.connections(Settings())
router = wiring.connect_router(connections)


def handler(event: Event, context: Context) -> Response:
    """Serve $connect, $disconnect, `connect` and $default.

    What an event is, its type says and not its route: a frame may call itself {"route": "$connect"}.
    """
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            caller = caller_of(event)
            connections.open(caller)
            log.info("connected", user=caller.user, device=caller.device, lambda_request_id=context.aws_request_id)
        case "DISCONNECT":
            caller = caller_of(event)
            connections.close(caller)
            log.info("disconnected", user=caller.user, device=caller.device, lambda_request_id=context.aws_request_id)
        case _:
            return router.answer(event, context)
    return {"statusCode": 200}
