"""`sam build` for this machine, once for each content of the sources."""

import contextlib
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local.cloud import caller_environment
from local.paths import BUILDS, CLOUD_TOOLS, DEPENDENCIES, ROOT, SHARED, TEMPLATE
from local.processes import run_logged

LAYER = ROOT / "layers/common"
FUNCTIONS = ROOT / "functions"
KEPT = 4
"""Builds, and installed sets of libraries, that stay for the next time (60 MB each)."""

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = f"python{PYTHON_VERSION}-{platform.system()}-{platform.machine()}"


@dataclass(frozen=True, slots=True)
class Build:
    """A built template, and the digest of everything that it was built from."""

    template: Path
    digest: str


def digest_of_sources(template: Path = TEMPLATE) -> str:
    """Changes with any content that a deployment of this template would carry."""
    return _digest(MACHINE, [template, *_files(LAYER), *_files(FUNCTIONS)])


def built(template: Path = TEMPLATE) -> Build | None:
    """The build of what the sources are now, if there is one."""
    digest = digest_of_sources(template)
    finished = BUILDS / digest / "output/template.yaml"
    return Build(finished, digest) if finished.is_file() else None


def build(template: Path = TEMPLATE) -> Build:
    """Builds the layer with wheels for this machine, and the template that points to it and to the functions.

    Another template than the repository's own may lie anywhere: its paths are read as if it lay in the repository.
    Raises LocalStackError with the end of the log when pip or SAM fail.
    """
    digest = digest_of_sources(template)
    if (existing := built(template)) is not None:
        os.utime(BUILDS / digest)
        return existing
    libraries = _installed_libraries()
    with _made_at_once(BUILDS / digest) as directory:
        # SAM reads paths relative to the template, so the template comes to where those paths lead to the repository.
        source = directory / "source"
        source.mkdir()
        shutil.copyfile(template, source / "template.yaml")
        for tree in (FUNCTIONS, LAYER.parent):
            (source / tree.name).symlink_to(tree)
        run_logged(
            [
                *sam("build", "--template-file", str(source / "template.yaml")),
                *("--build-dir", str(directory / "output")),
            ],
            env=_build_environment() | {"DEPENDENCIES": str(libraries)},
            cwd=ROOT,
            log=SHARED / "build.log",
            what="sam build",
        )
    return Build(BUILDS / digest / "output/template.yaml", digest)


def sam(*arguments: str) -> list[str]:
    """A SAM command line. Its configuration environment does not exist, so samconfig.toml (for AWS) is not read."""
    return [str(CLOUD_TOOLS / "sam"), *arguments, "--config-env", "local-stack"]


def sam_environment() -> dict[str, str]:
    """For every SAM command: no telemetry, no files in the home directory, and no AWS account but what is added."""
    return caller_environment() | {"SAM_CLI_TELEMETRY": "0", "__SAM_CLI_APP_DIR": str(SHARED / "sam")}


def _build_environment() -> dict[str, str]:
    """Settings of layers/common/Makefile for wheels that run on this machine."""
    return sam_environment() | {
        "PYTHON_VERSION": PYTHON_VERSION,
        "PLATFORMS": "",
        "PIP": f"{CLOUD_TOOLS / 'python'} -m pip",
    }


def _installed_libraries() -> Path:
    """The layer's libraries, installed once for each pinned list: a change of our own code installs nothing."""
    libraries = DEPENDENCIES / _digest(MACHINE, [LAYER / "requirements.txt", LAYER / "Makefile"])
    if not libraries.is_dir():
        with _made_at_once(libraries) as directory:
            run_logged(
                ["make", "dependencies"],
                env=_build_environment() | {"DEPENDENCIES": str(directory)},
                cwd=LAYER,
                log=SHARED / "dependencies.log",
                what="Installing the layer's libraries",
            )
    os.utime(libraries)
    return libraries


@contextlib.contextmanager
def _made_at_once(directory: Path) -> Iterator[Path]:
    """A directory to fill, which takes its name when it is complete. Deletes the oldest ones beside it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=directory.parent))
    try:
        yield unfinished
        # Another process may have made the same one meanwhile.
        with contextlib.suppress(OSError):
            unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    finished = [other for other in directory.parent.iterdir() if not other.name.startswith("unfinished-")]
    for old in sorted(finished, key=lambda other: other.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _files(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest(text: str, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(text.encode())
    for path in files:
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
        digest.update(f"\0{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]
