"""The emulated cloud: one MiniStack process, on loopback, with IAM enforced and its state on disk."""

import contextlib
import fcntl
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from local.errors import LocalStackError
from local.paths import CLOUD_TOOLS, FUNCTION_PYTHON, ROOT, StateDirectory
from local.processes import (
    LOOPBACK,
    is_running,
    kill_group,
    port_is_free,
    require_free_port,
    require_program,
    shown_processes,
    tail,
)

REGION = "us-east-1"
# With AUTH on, MiniStack takes this pair for the account's root user, and every other key for what it was issued as. A
# secret pair would protect nothing: whatever the pair is, `test` and any twelve digits are root's keys too, and no
# signature of root's is checked. The guard in emulator.py keeps web pages out; nothing keeps out other users of this
# machine.
ROOT_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

START_TIMEOUT_S = 60.0
# Writing the state takes about 2 s.
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Cloud:
    """A MiniStack that runs."""

    port: int
    state: StateDirectory
    process: "subprocess.Popen[bytes]"
    proxy: str | None = None
    """The endpoint that the functions call in place of `endpoint`, when there is one."""

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def endpoint_of_functions(self) -> str:
        return self.proxy or self.endpoint

    def client(self, service: str) -> Any:
        """A boto3 client of the root user, whatever AWS profile and environment the caller has."""
        session = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        return boto3.Session(botocore_session=session).client(  # type: ignore[call-overload]  # service is no literal
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=ROOT_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ROOT_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}, max_pool_connections=64),
        )

    def require_running(self) -> None:
        """Raises LocalStackError with the end of its log if it has ended by itself."""
        status = self.process.poll()
        if status is not None:
            log = self.state.cloud_log
            raise LocalStackError(f"MiniStack has ended (status {status}). The end of {log}:\n{tail(log)}")


def caller_environment() -> dict[str, str]:
    """The caller's environment without any AWS account, without what an outer `make` passes on, and with no proxy for
    addresses of this machine.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SAM_", "MAKE")) and name != "MFLAGS"
    }
    direct = ",".join(filter(None, [kept.get("no_proxy") or kept.get("NO_PROXY"), LOOPBACK, "localhost"]))
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


@contextlib.contextmanager
def running_cloud(port: int, state: StateDirectory, *, proxy: str | None = None) -> Iterator[Cloud]:
    """MiniStack on a loopback port while the context lasts; its state is loaded from `state` and stored there.

    With `proxy`, an endpoint, the functions call that one and not MiniStack itself.

    Raises LocalStackError if the port is taken or it does not start.
    """
    require_program(str(CLOUD_TOOLS / "ministack"))
    state.path.mkdir(parents=True, exist_ok=True)
    _await_previous(state)
    require_free_port(port, "PORT")
    _discard(state.temporary)
    if not state.deployed.is_file():
        # A first deployment that was broken off: the stack could be neither used nor deployed again.
        forget(state)
    state.temporary.mkdir()
    _make_function_python()
    cloud = Cloud(port, state, _start(port, state, proxy), proxy)
    try:
        state.process_id.write_text(str(cloud.process.pid))
        _await_ready(cloud)
        _require_guard(cloud)
        yield cloud
    finally:
        _stop(cloud)
        state.process_id.unlink(missing_ok=True)
        _discard(state.temporary)


def forget(state: StateDirectory) -> None:
    """Deletes all that a cloud has stored. Raises LocalStackError while one runs on it."""
    if (running := _running_on(state)) is not None:
        raise LocalStackError(f"The local stack is running (process {running}); stop it first")
    for directory in (state.services, state.objects, state.temporary):
        _discard(directory)
    state.deployed.unlink(missing_ok=True)
    state.stack_file.unlink(missing_ok=True)


def _discard(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _running_on(state: StateDirectory) -> int | None:
    """Process id of a MiniStack on this state. A file left by one that was killed names nobody, or a stranger."""
    if not state.process_id.is_file():
        return None
    process_id = int(state.process_id.read_text())
    if not is_running(process_id):
        return None
    return process_id if any(str(_EMULATOR) in line for line in shown_processes("args=", process_id)) else None


def _await_previous(state: StateDirectory) -> None:
    """Lets a MiniStack end whose starter was killed: it ends by itself then, and stores its state."""
    deadline = time.monotonic() + 5
    while (process_id := _running_on(state)) is not None:
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The local stack runs already: MiniStack is process {process_id}. "
                f"Use that one, or stop it with `kill {process_id}`"
            )
        time.sleep(0.1)


_EMULATOR = ROOT / "local/emulator.py"


def _start(port: int, state: StateDirectory, proxy: str | None) -> "subprocess.Popen[bytes]":
    with state.cloud_log.open("wb") as log:
        return subprocess.Popen(
            [
                str(CLOUD_TOOLS / "python"),
                "-P",
                str(_EMULATOR),
                str(FUNCTION_PYTHON / "bin/python3"),
            ],
            env=_server_environment(port, state, proxy),
            cwd=state.path,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _server_environment(port: int, state: StateDirectory, proxy: str | None) -> Mapping[str, str]:
    """Settings of MiniStack. The functions inherit them, so there is nothing of the caller's environment in it."""
    return {
        "PATH": f"{FUNCTION_PYTHON / 'bin'}:/usr/bin:/bin",
        "HOME": str(state.path),
        "TMPDIR": str(state.temporary),
        "BIND_HOST": LOOPBACK,
        "MINISTACK_HOST": LOOPBACK,
        "MINISTACK_REGION": REGION,
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        **ROOT_CREDENTIALS,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state.services),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state.objects),
        # Listeners of services that nothing here uses, and a Docker daemon that it must not look for.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": "unix:///nonexistent",
        # Of the services that the stack uses, only the functions look at this.
        **({"AWS_ENDPOINT_URL": proxy} if proxy else {}),
    }


def _make_function_python() -> None:
    """A Python without a single library, for the functions: what they import, they must bring."""
    stamp = FUNCTION_PYTHON / "made-from"
    made_from = f"{sys.base_prefix} {sys.version}"
    FUNCTION_PYTHON.parent.mkdir(parents=True, exist_ok=True)
    # Two stacks may start at once.
    with FUNCTION_PYTHON.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == made_from:
            return
        _discard(FUNCTION_PYTHON)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(FUNCTION_PYTHON)], check=True)
        stamp.write_text(made_from)


def _await_ready(cloud: Cloud) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(cloud.port):
        cloud.require_running()
        if time.monotonic() > deadline:
            log = cloud.state.cloud_log
            raise LocalStackError(f"MiniStack does not answer. The end of {log}:\n{tail(log)}")
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        return _status(port, {}) == http.HTTPStatus.OK
    except OSError:
        return False


def _require_guard(cloud: Cloud) -> None:
    """emulator.py puts its guard where MiniStack looks for its app; another version may look elsewhere."""
    if _status(cloud.port, {"Origin": "https://page.example"}) != http.HTTPStatus.FORBIDDEN:
        raise LocalStackError("MiniStack answers web pages: local/emulator.py does not fit its version")


def _status(port: int, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/_ministack/ready", headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def _stop(cloud: Cloud) -> None:
    """Lets it store its state and end; ends the functions' processes, which are in its group, in any case."""
    process = cloud.process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    kill_group(process.pid)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    deadline = time.monotonic() + 5
    while not port_is_free(cloud.port) and time.monotonic() < deadline:
        time.sleep(0.05)
