"""A deployed stack: what CloudFormation says of it, and clients for it. The only place that makes AWS clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from imclient.errors import ImClientError, StackError
from imclient.stack import Stack

# The longest call takes some 45 s: 3 attempts of 2 s to connect and 10 s to read, and waits between them.
_CONFIG: Final = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})


class AwsRefusedError(ImClientError):
    """AWS did not do what was asked of it, or could not be reached. The message says what."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One stack, its outputs and parameters by name."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    _session: boto3.Session = field(repr=False)
    _options: Mapping[str, Any] = field(repr=False)

    def output(self, name: str) -> str:
        """One output. Raises StackError where there is none."""
        if not (value := self.outputs.get(name)):
            raise StackError(f"the stack {self.name} has no output {name}: is it one of this version of serverless-im?")
        return value

    def client(self, service: Any) -> Any:
        """A client of an AWS service, for this stack's account or emulated cloud."""
        return self._session.client(service, **self._options)


def stack_of_account(name: str, *, region: str | None = None, profile: str | None = None) -> Deployed:
    """The stack `name` in the account that the AWS configuration of the caller names. 1 request.

    Raises StackError: no credentials, no region, no such stack.
    """
    try:
        return _described(boto3.Session(region_name=region, profile_name=profile), name, {"config": _CONFIG})
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"cannot look up the stack {name}: {error}") from error


def local_stack(stack: Stack) -> Deployed:
    """The local stack, whatever AWS configuration the caller has. 1 request. Raises StackError."""
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
    options = {"config": _CONFIG.merge(Config(proxies={})), "endpoint_url": stack.endpoint}
    try:
        return _described(session, stack.name, options)
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"cannot look up the local stack at {stack.endpoint}: {error}") from error


def _described(session: boto3.Session, name: str, options: Mapping[str, Any]) -> Deployed:
    client: Any = session.client("cloudformation", **options)
    (described,) = client.describe_stacks(StackName=name)["Stacks"]
    return Deployed(
        name=name,
        outputs={output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])},
        parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in described.get("Parameters", [])},
        _session=session,
        _options=options,
    )
