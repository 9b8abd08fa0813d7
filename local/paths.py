"""Where things are: the checkout's own directories, and the directory of one running stack."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
WEB = ROOT / "clients/web"
CLOUD_TOOLS = ROOT / ".venv-cloud/bin"

# Made once for a checkout and shared by every stack on it; each can be deleted at any time.
SHARED = ROOT / ".local"
FUNCTION_PYTHON = SHARED / "python"
DEPENDENCIES = SHARED / "dependencies"
BUILDS = SHARED / "build"
REPORTS = SHARED / "reports"


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Everything that one emulated cloud keeps, so that two of them never meet."""

    path: Path

    @property
    def services(self) -> Path:
        """What the emulated services have stored: tables, queues, functions, the stack."""
        return self.path / "state"

    @property
    def objects(self) -> Path:
        """S3 objects: what `sam deploy` has uploaded."""
        return self.path / "s3"

    @property
    def temporary(self) -> Path:
        """Unpacked functions. Empty between two runs."""
        return self.path / "tmp"

    @property
    def deployed(self) -> Path:
        """There once a first deployment has finished; before that, whatever else is here is worth nothing."""
        return self.path / "deployed"

    @property
    def cloud_log(self) -> Path:
        return self.path / "ministack.log"

    @property
    def sam_log(self) -> Path:
        return self.path / "sam.log"

    @property
    def process_id(self) -> Path:
        """Process id of the MiniStack that uses this directory, while one does."""
        return self.path / "ministack.pid"

    @property
    def stack_file(self) -> Path:
        return self.path / "stack.json"
