"""The processes that run the functions: MiniStack's children. Who they are, and their end by SIGKILL."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.cloud import Cloud
from local.errors import LocalStackError
from local.processes import shown_processes

_WORKER = re.compile(r"(/\S*/ministack-lambda-(.+)-[a-z0-9_]{8})/_worker\.py$")
_ENDED = "Z"
GONE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that runs a function, and nothing else."""

    process_id: int
    function: str
    """Its name in the cloud."""
    directory: Path
    """What it runs from: 60 MB of its own."""


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of one stack."""

    names: Mapping[str, str]
    """Their names in the template, by those in the cloud."""
    access_keys: Mapping[str, str]
    """Their names in the template, by the keys that their calls are signed with."""


def functions_of(cloud: Cloud, stack: str) -> Functions:
    """The functions of a stack that is deployed."""
    pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    names = {
        resource["PhysicalResourceId"]: resource["LogicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }
    functions = cloud.client("lambda")
    settings = {name: functions.get_function_configuration(FunctionName=name) for name in names}
    keys = {_access_key(its["FunctionArn"], its["Role"]): names[name] for name, its in settings.items()}
    return Functions(names, keys)


def _access_key(function_arn: str, role_arn: str) -> str:
    """The key that MiniStack lets a function sign with (`execution_credentials` of its lambda_runtime.py)."""
    return f"ASIA{hashlib.sha256(f'{function_arn}:{role_arn}'.encode()).hexdigest()[:16].upper()}"


def workers_of(cloud_process: int) -> list[Worker]:
    """The children of a MiniStack that run functions, and none of its other children."""
    workers = []
    for line in shown_processes("pid=,ppid=,args="):
        process_id, parent, command = line.split(maxsplit=2)
        if int(parent) == cloud_process and (found := _WORKER.search(command)):
            workers.append(Worker(int(process_id), found[2], Path(found[1])))
    return workers


def kill(worker: Worker) -> None:
    """End a process as a crash does, and wait until it is gone: its connections are closed then.

    Its files go, too, some moments later: MiniStack would keep them until it ends itself. Raises LocalStackError when
    the process is still there after some seconds.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.process_id, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN_S
    while _is_alive(worker.process_id):
        if time.monotonic() > deadline:
            raise LocalStackError(f"Process {worker.process_id} of {worker.function} cannot be killed")
        time.sleep(0.005)
    threading.Thread(target=shutil.rmtree, args=(worker.directory,), kwargs={"ignore_errors": True}).start()


def _is_alive(process_id: int) -> bool:
    states = shown_processes("stat=", process_id)
    return bool(states) and not states[0].lstrip().startswith(_ENDED)
