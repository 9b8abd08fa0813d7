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
            came = connections.open(caller, event["requestContext"]["connectedAt"])
            what = "connected" if came else "connected too late"
            log.info(what, user=caller.user, device=caller.device, lambda_request_id=context.aws_request_id)
            if not came:
                # Its client has given it up, or tries again.
                return {"statusCode": 409}
        case "DISCONNECT":
            caller = caller_of(event)
            connections.close(caller)
            log.info("disconnected", user=caller.user, device=caller.device, lambda_request_id=context.aws_request_id)
        case _:
            return router.answer(event, context)
    return {"statusCode": 200}
