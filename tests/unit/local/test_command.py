"""`python -m local` says in one line what is in the way."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from local.paths import ROOT
from local.processes import free_port


@pytest.mark.parametrize(("option", "variable"), [("--web-port", "WEB_PORT"), ("--chaos-port", "CHAOS_PORT")])
def test_a_port_in_use_is_one_line_and_status_2(option: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        options = {"--web-port": free_port(), "--port": free_port()} | {option: port}
        done = subprocess.run(
            [sys.executable, "-m", "local", "up", *(str(part) for pair in options.items() for part in pair)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 2
    assert f"Port {port} is in use" in done.stderr
    assert f"make run {variable}=" in done.stderr
    assert len(done.stderr.splitlines()) == 1
