"""Where the queues of a stack are: its CloudFormation outputs say so. The only place that makes AWS clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from imclient.admin.dead_letters import Source
from imclient.errors import StackError
from imclient.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The longest call takes some 45 s: 3 attempts of 2 s to connect and 10 s to read, and waits between them.
_CONFIG: Final = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})

_OUTPUTS: Final = ("FanoutQueueUrl", "BroadcastQueueUrl", "FanoutDeadLetterQueueUrl")


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one stack, with a client for them."""

    client: SQSClient
    fanout: str
    broadcast: str
    dead: str

    def url(self, source: Source) -> str:
        """Where messages of `source` go back to."""
        return self.fanout if source == "fanout" else self.broadcast


def queues_of_account(name: str, *, region: str | None = None, profile: str | None = None) -> Queues:
    """The queues of the stack `name` in the account that the AWS configuration of the caller names. 1 request.

    Raises StackError: no credentials, no region, no such stack, or a stack without these queues.
    """
    try:
        session = boto3.Session(region_name=region, profile_name=profile)
        return _queues(session, name, {"config": _CONFIG})
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"cannot look up the stack {name}: {error}") from error


def queues_of_local_stack(stack: Stack) -> Queues:
    """The queues of the local stack, whatever AWS configuration the caller has. 1 request. Raises StackError."""
    configuration = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    session = boto3.Session(
        botocore_session=configuration,
        region_name=stack.region,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulated cloud's root user, known to everybody
    )
    try:
        return _queues(
            session, stack.name, {"config": _CONFIG.merge(Config(proxies={})), "endpoint_url": stack.endpoint}
        )
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"cannot look up the local stack at {stack.endpoint}: {error}") from error


def _queues(session: boto3.Session, name: str, options: Mapping[str, Any]) -> Queues:
    (described,) = session.client("cloudformation", **options).describe_stacks(StackName=name)["Stacks"]
    outputs = {output.get("OutputKey"): output.get("OutputValue") for output in described.get("Outputs", [])}
    fanout, broadcast, dead = (outputs.get(name) for name in _OUTPUTS)
    if not fanout or not broadcast or not dead:
        raise StackError(f"the stack {name} has no outputs {', '.join(_OUTPUTS)}: is it one of serverless-im?")
    return Queues(session.client("sqs", **options), fanout, broadcast, dead)
