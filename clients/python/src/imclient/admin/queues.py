"""Where the queues of a stack are: its CloudFormation outputs say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imclient.admin.dead_letters import DeadLetter, Source
from imclient.admin.deployed import Deployed, local_stack, stack_of_account
from imclient.errors import StackError
from imclient.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_DEAD: Final = "FanoutDeadLetterQueueUrl"
_OUTPUTS: Final[Mapping[Source, str]] = {
    "fanout": "FanoutQueueUrl",
    "broadcast": "BroadcastQueueUrl",
    "express": "ExpressQueueUrl",
    "express_parts": "ExpressPartsQueueUrl",
    "settlement": "SettlementQueueUrl",
}
_ALWAYS: Final = ("FanoutQueueUrl", "BroadcastQueueUrl", _DEAD)
"""What a stack of an earlier version has, too."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one stack, with a client for them."""

    client: SQSClient
    dead: str
    sources: Mapping[Source, str]

    def home(self, letter: DeadLetter) -> str | None:
        """Where a letter goes back to. None: it cannot be read, or the stack has no such queue."""
        return self.sources.get(letter.content.source) if letter.content is not None else None


def queues_of_account(name: str, *, region: str | None = None, profile: str | None = None) -> Queues:
    """The queues of the stack `name` in the account that the AWS configuration of the caller names. 1 request.

    Raises StackError: no credentials, no region, no such stack, or a stack without these queues.
    """
    return _queues(stack_of_account(name, region=region, profile=profile))


def queues_of_local_stack(stack: Stack) -> Queues:
    """The queues of the local stack, whatever AWS configuration the caller has. 1 request. Raises StackError."""
    return _queues(local_stack(stack))


def _queues(deployed: Deployed) -> Queues:
    outputs = deployed.outputs
    if not all(outputs.get(name) for name in _ALWAYS):
        raise StackError(f"the stack {deployed.name} has no outputs {', '.join(_ALWAYS)}: is it one of serverless-im?")
    sources = {source: url for source, output in _OUTPUTS.items() if (url := outputs.get(output))}
    return Queues(deployed.client("sqs"), outputs[_DEAD], sources)
