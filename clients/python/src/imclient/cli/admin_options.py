"""What the commands of `im admin` have in common: which stack they mean, and how dead letters are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click

from imclient.admin.dead_letters import DeadLetter, Unsettled
from imclient.admin.deployed import AwsRefusedError, Deployed, local_stack, stack_of_account
from imclient.admin.queues import Queues, queues_of_account, queues_of_local_stack
from imclient.admin.redrive import Outcome
from imclient.cli.options import EnvironmentProblem, stack_at, stack_file_option
from imclient.errors import StackError
from imclient.printable import printable
from imclient.stack import Stack

_OPTIONS = (
    click.option("--stack", "name", help="The CloudFormation stack, such as serverless-im."),
    click.option("--region", help="Its region; boto3's default without it."),
    click.option("--profile", help="The profile of the AWS configuration; boto3's default without it."),
    stack_file_option("--stack-file", help="Where the local stack is, for want of --stack."),
)


def which_stack(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which stack: name, region, profile, stack_file."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def queues_of(name: str | None, region: str | None, profile: str | None, stack_file: Path) -> Queues:
    """The queues of the stack that is meant, or the command ends with exit code 2."""
    with ends_without_a_stack():
        if name is not None:
            return queues_of_account(name, region=region, profile=profile)
        return queues_of_local_stack(_local(region, profile, stack_file))


def deployed(name: str | None, region: str | None, profile: str | None, stack_file: Path) -> Deployed:
    """The stack that is meant, or the command ends with exit code 2."""
    with ends_without_a_stack():
        if name is not None:
            return stack_of_account(name, region=region, profile=profile)
        return local_stack(_local(region, profile, stack_file))


def _local(region: str | None, profile: str | None, stack_file: Path) -> Stack:
    if region is not None or profile is not None:
        raise click.UsageError("--region and --profile go with --stack")
    stack = stack_at(stack_file)
    if not stack.endpoint:
        raise EnvironmentProblem(f"{stack_file} names no local stack; say which with --stack")
    return stack


@contextmanager
def ends_without_a_stack() -> Iterator[None]:
    """Ends the command with exit code 2 when the stack is not usable."""
    try:
        yield
    except StackError as error:
        raise EnvironmentProblem(str(error)) from error


@contextmanager
def ends_when_aws_refuses(outcome: Outcome, done: str) -> Iterator[None]:
    """Ends the command with exit code 2, and says how much is `done`."""
    try:
        yield
    except AwsRefusedError as error:
        raise EnvironmentProblem(f"stopped; {len(outcome.done)} {done} until then. {error}") from error


def age_s(letter: DeadLetter) -> int:
    """How long ago a dead letter was sent, in whole seconds."""
    return max(0, int(time.time() - letter.sent / 1000))


def described(letter: DeadLetter) -> str:
    """One line about a dead letter, without any text of a message."""
    content = letter.content
    if content is None:
        what = f"unreadable, from {letter.source or 'nobody knows where'}"
    elif isinstance(content, Unsettled):
        what = f"{printable(content.packet)} {content.source}"
    else:
        seqs = f"{content.first}" if content.first == content.last else f"{content.first}-{content.last}"
        what = f"{printable(content.conv)} {seqs} {content.source}"
    age = timedelta(seconds=age_s(letter))
    return f"{letter.id}  {what}  {age} ago, received {letter.received} times: {letter.reason}"


def left(outcome: Outcome) -> list[str]:
    """A line for each kind of dead letter that is left."""
    kinds = {
        "that cannot be read": len(outcome.unreadable),
        "not chosen": outcome.others,
        "came since": outcome.later,
        "not seen (about): somebody else held them, or they are behind ten of their group": outcome.unseen,
    }
    return [f"left: {count} {kind}" for kind, count in kinds.items() if count]
