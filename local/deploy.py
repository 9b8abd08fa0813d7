"""`sam deploy` to the emulated cloud, when there is something new to deploy."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from botocore.exceptions import ClientError

from local.build import build, built, digest_of_sources, sam, sam_environment
from local.chaos import Chaos
from local.cloud import REGION, ROOT_CREDENTIALS, Cloud
from local.errors import LocalStackError
from local.paths import ROOT, TEMPLATE
from local.processes import run_logged

STACK_NAME = "serverless-im"
STAGE = "v1"
TOKEN_LIFETIME_S = 24 * 3600
# Kept with the stack and not in a file of ours: it cannot say that something is deployed when MiniStack was killed and
# came back with an older state.
DIGEST_TAG = "deployed-from"

Tell = Callable[[str], None]
"""Told each step when it begins."""


PLAY_MONEY = "100000"
"""What everybody's wallet starts with here."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is deployed and answers."""

    cloud: Cloud
    name: str
    stage: str
    outputs: Mapping[str, str]
    """The template's outputs by name."""
    jwt_secret: str = field(repr=False)
    """Signs HS256 tokens that the stack accepts."""
    chaos: Chaos | None = field(default=None, repr=False)
    """What can be done to it, when it was started for that."""

    @property
    def websocket(self) -> str:
        """Where clients connect."""
        return self.http.replace("http://", "ws://", 1)

    @property
    def http(self) -> str:
        """Endpoint of the connection API of the stage."""
        return f"{self.cloud.endpoint}/_aws/execute-api/{self.outputs['ApiId']}/{self.stage}"

    def token(self, user: str, lifetime_s: int = TOKEN_LIFETIME_S) -> str:
        """A token that is valid from now on for so many seconds."""
        now = int(time.time())
        return jwt.encode({"sub": user, "iat": now, "exp": now + lifetime_s}, self.jwt_secret, algorithm="HS256")


def deploy(
    cloud: Cloud,
    *,
    name: str = STACK_NAME,
    template: Path = TEMPLATE,
    parameters: Mapping[str, str] | None = None,
    tell: Tell = lambda _: None,
) -> Stack:
    """Builds and deploys a template as the stack `name`, unless exactly that is deployed already.

    `parameters` are the template's, beside `Stage` and `LocalEndpoint`, which are set here. Raises LocalStackError with
    the end of the log when SAM fails.
    """
    own = {"Stage": STAGE, "LocalEndpoint": cloud.endpoint_of_functions}
    settings = {"NewWalletAmount": PLAY_MONEY, **(parameters or {}), **own}
    wanted = _digest(digest_of_sources(template), settings)
    state = _state_of(cloud, name)
    if state.usable and state.deployed_from == wanted:
        tell("Nothing to build or deploy: the stack is what the sources say")
        return _stack(cloud, name, state.outputs)
    if not state.usable and state.status is not None:
        raise LocalStackError(
            f"Stack {name} is {state.status}, from a deployment that was broken off: run `make reset`"
        )
    if built(template) is None:
        tell("Building the layer and the functions (sam build)")
    source = build(template)
    tell(f"Deploying stack {name} (sam deploy)")
    _sam_deploy(cloud, name, source.template, settings, _digest(source.digest, settings))
    cloud.state.deployed.touch()
    return _stack(cloud, name, _state_of(cloud, name).outputs)


@dataclass(frozen=True, slots=True)
class _StackState:
    status: str | None
    """CloudFormation's word; None: no such stack."""
    outputs: Mapping[str, str]
    deployed_from: str | None
    """Digest of what it was deployed from."""

    @property
    def usable(self) -> bool:
        return self.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}


def _state_of(cloud: Cloud, name: str) -> _StackState:
    try:
        (described,) = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "ValidationError":
            raise
        return _StackState(None, {}, None)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    return _StackState(described["StackStatus"], outputs, tags.get(DIGEST_TAG))


def _stack(cloud: Cloud, name: str, outputs: Mapping[str, str]) -> Stack:
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=outputs["JwtSecretArn"])["SecretString"]
    return Stack(cloud, name, STAGE, outputs, secret)


def _digest(sources: str, settings: Mapping[str, str]) -> str:
    return hashlib.sha256(f"{sources} {json.dumps(settings, sort_keys=True)}".encode()).hexdigest()


def _sam_deploy(cloud: Cloud, name: str, template: Path, settings: Mapping[str, str], digest: str) -> None:
    run_logged(
        [
            *sam("deploy", "--template-file", str(template), "--stack-name", name, "--region", REGION),
            *("--capabilities", "CAPABILITY_IAM", "--resolve-s3", "--no-confirm-changeset", "--no-progressbar"),
            *("--no-fail-on-empty-changeset", "--tags", f"{DIGEST_TAG}={digest}", "--parameter-overrides"),
            *(f"{parameter}={value}" for parameter, value in settings.items()),
        ],
        env=sam_environment() | ROOT_CREDENTIALS | {"AWS_ENDPOINT_URL": cloud.endpoint, "AWS_DEFAULT_REGION": REGION},
        cwd=ROOT,
        log=cloud.state.sam_log,
        what="sam deploy",
    )
