"""Makes the two virtual environments of a checkout. Run as a script by the machine's own Python: standard library only.

`.venv` holds the product's libraries, the checks and the `im` command; `.venv-cloud` holds the SAM CLI, cfn-lint and
the emulated cloud. Each is made anew when its pinned list, the Python or the place of the checkout changes, and left
alone otherwise. Exit status 2, with one line on stderr, when that fails.
"""

import contextlib
import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {".venv": ROOT / "requirements/dev.txt", ".venv-cloud": ROOT / "requirements/cloud.txt"}
CLIENT = ROOT / "clients/python"


def main() -> int:
    try:
        with _alone():
            outdated = [name for name in ENVIRONMENTS if not _is_current(name)]
            if outdated:
                print(f"Making {' and '.join(outdated)} (about a minute, once)", flush=True)
                started = time.monotonic()
                with ThreadPoolExecutor() as pool:
                    list(pool.map(_make, outdated))
                print(f"Made {' and '.join(outdated)} in {time.monotonic() - started:.0f} s", flush=True)
            _install_client()
    except _FailedError as failure:
        print(failure, file=sys.stderr)
        return 2
    return 0


class _FailedError(Exception):
    pass


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two commands started at once in one checkout do not make the environments both."""
    (ROOT / ".local").mkdir(exist_ok=True)
    with (ROOT / ".local/environments.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(name: str) -> tuple[Path, str]:
    """The file that says what an environment was made from, and what it must say to be current."""
    # Scripts in an environment name their interpreter by its path: a checkout that was moved needs new ones.
    made_from = f"{ROOT}\n{sys.base_prefix}\n{platform.python_version()}\n".encode() + ENVIRONMENTS[name].read_bytes()
    return ROOT / name / "made-from.sha256", hashlib.sha256(made_from).hexdigest()


def _is_current(name: str) -> bool:
    stamp, expected = _stamp(name)
    return stamp.is_file() and stamp.read_text() == expected


def _make(name: str) -> None:
    stamp, expected = _stamp(name)
    environment = ROOT / name
    shutil.rmtree(environment, ignore_errors=True)
    _run(
        [sys.executable, "-m", "venv", str(environment)],
        "python3 -m venv does not work; on Debian and Ubuntu install the package python3-venv",
    )
    # The lists are complete: --no-deps keeps pip from asking for hashes of a package's extras once more.
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    _run(
        [*pip, "install", "--no-deps", "--require-hashes", "--requirement", str(ENVIRONMENTS[name])],
        f"{ENVIRONMENTS[name].relative_to(ROOT)} could not be installed into {name}",
    )
    stamp.write_text(expected)


def _run(command: list[str], or_else: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise _FailedError("\n".join([*done.stdout.splitlines()[-15:], or_else]))


def _install_client() -> None:
    """Puts the Python client and its commands into `.venv`, as an editable installation would.

    A path file and the scripts are all that such an installation is; it needs no build backend and no network.
    """
    environment = ROOT / ".venv"
    packages = environment / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    _write(packages / "serverless-im-client.pth", f"{CLIENT / 'src'}\n")
    for command, target in tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["scripts"].items():
        module, function = target.split(":")
        script = environment / "bin" / command
        python = environment / "bin/python"
        _write(script, f"#!{python}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n")
        script.chmod(0o755)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
