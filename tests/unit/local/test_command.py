"""`python -m local` says in one line what is in the way."""

from __future__ import annotations

import socket
import subprocess
import sys

from local.paths import ROOT
from local.processes import free_port


def test_a_port_in_use_is_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = subprocess.run(
            [sys.executable, "-m", "local", "up", "--web-port", str(port), "--port", str(free_port())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 2
    assert f"Port {port} is in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
