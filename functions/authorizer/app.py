"""Decides whether a connection may open, and names who it is: the identity that all its later frames carry."""

from __future__ import annotations

from typing import Any

from im.aws.tokens import BadToken
from im.domain.errors import BadRequest
from im.domain.ids import device_id
from im.domain.signin import PLATFORMS
from im.runtime import wiring
from im.runtime.logs import log
from im.runtime.router import Context, Event
from im.runtime.settings import Settings

verifier = wiring.token_verifier(Settings())


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Allow or deny. A denial is a 403 without a reason; the reason is in the log. (No token: API Gateway says 401.)"""
    query = event.get("queryStringParameters") or {}
    try:
        user = verifier.verify(query.get("token") or "")
        device = device_id(query.get("device") or "")
        platform = query.get("platform") or "other"
        if platform not in PLATFORMS:
            raise BadRequest("platform", "unknown")
        if query.get("v", "1") != "1":
            raise BadRequest("v", "unknown protocol version")
    except (BadToken, BadRequest) as e:
        log.info("refused", reason=str(e), lambda_request_id=context.aws_request_id)
        return _answer("Deny", event["methodArn"], "nobody", {})
    log.info("allowed", user=user, device=device, platform=platform, lambda_request_id=context.aws_request_id)
    return _answer("Allow", event["methodArn"], user, {"user": user, "device": device, "platform": platform})


def _answer(effect: str, arn: str, principal: str, identity: dict[str, str]) -> dict[str, Any]:
    return {
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": arn}],
        },
        "context": identity,
    }
