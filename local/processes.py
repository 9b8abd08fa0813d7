"""Child processes, each in a group of its own, and who holds a port."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.errors import LocalStackError

LOOPBACK = "127.0.0.1"


def run_logged(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, what: str) -> None:
    """Runs a command to its end, with its output in `log`; whatever stops the wait stops the command and its children.

    Raises LocalStackError with the last lines of the log when it fails, and when there is no such program.
    """
    require_program(command[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            if process.returncode is None:
                kill_group(process.pid)
                process.wait()
    if status != 0:
        raise LocalStackError(f"{what} failed (status {status}). The end of {log}:\n{tail(log)}")


def require_program(program: str) -> None:
    """Raises LocalStackError if a program, by its name or its path, cannot be run."""
    if shutil.which(program) is None:
        raise LocalStackError(f"{program} is missing; `make environments` makes what is in .venv and .venv-cloud")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log that have something on them."""
    if not log.is_file():
        return ""
    filled = [line.rstrip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in filled[-lines:])


def kill_group(process_id: int) -> None:
    """Kills the group that a child of ours leads. No error if nobody is left in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, signal.SIGKILL)


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def shown_processes(columns: str, process_id: int | None = None) -> list[str]:
    """A line of `ps` for each process of this machine, or for one if it is there."""
    which = ["-A"] if process_id is None else ["-p", str(process_id)]
    shown = subprocess.run(["ps", *which, "-ww", "-o", columns], capture_output=True, text=True, check=False)
    return [line for line in shown.stdout.splitlines() if line.strip()]


def free_port() -> int:
    """A loopback port that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free_port(port: int, setting: str) -> None:
    """Raises LocalStackError, naming who holds the port, if it cannot be listened on.

    `setting` is the variable of `make run` that chooses another one.
    """
    if port_is_free(port):
        return
    holder = port_holder(port)
    if holder is None:
        who = "another process"
    else:
        who = f"process {holder} ({_command_of(holder)}); stop it with `kill {holder}`"
    raise LocalStackError(f"Port {port} is in use by {who}, or choose another port: make run {setting}={port + 1}")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as probe:
        # As the servers do: connections of a former one that linger in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as refused:
            if refused.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def port_holder(port: int) -> int | None:
    """Process id of who listens on a TCP port; None when that cannot be found out (a process of another user)."""
    inodes = _listening_sockets(port)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in inodes:
                return int(descriptor.parts[2])
    if (lsof := shutil.which("lsof")) is not None:
        found = subprocess.run(
            [lsof, "-nP", "-t", f"-iTCP:{port}", "-sTCP:LISTEN"], capture_output=True, text=True, check=False
        ).stdout.split()
        if found:
            return int(found[0])
    return None


def _listening_sockets(port: int) -> frozenset[str]:
    """Sockets that listen on a port, in the words in which Linux names a process's descriptors of them."""
    listening = "0A"
    names = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == listening and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    names.add(f"socket:[{fields[9]}]")
    return frozenset(names)


def _command_of(process_id: int) -> str:
    return "".join(shown_processes("args=", process_id)).strip()[:60] or "unknown"
