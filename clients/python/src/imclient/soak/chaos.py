"""Orders faults from the control service of a local stack that was started for them (`make run CHAOS=1`)."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass
from typing import Any

from imclient.errors import SoakError

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ChaosControl:
    """The control service at `url`, on loopback. Every call blocks; each raises SoakError when it does not answer."""

    url: str

    def start(self, *, seed: int, faults_per_minute: int, kills_per_minute: int) -> None:
        """Let faults begin: so many failing calls and ended processes a minute."""
        rates = {"faults_per_minute": faults_per_minute, "kills_per_minute": kills_per_minute}
        self._ask("POST", "/start", {"seed": seed, **rates})

    def stop(self) -> None:
        """No more faults from now on."""
        self._ask("POST", "/stop", {})

    def injected(self, since: int = 0) -> Counter[str]:
        """How many faults of each kind there were since a time, in milliseconds since the epoch."""
        log = self._ask("GET", "/log")
        return Counter(str(fault.get("kind")) for fault in log if fault.get("at", 0) >= since)

    def _ask(self, method: str, path: str, data: object | None = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked by whoever reads the stack file
            f"{self.url}{path}", data=body, method=method, headers={"Content-Type": "application/json"}
        )
        # A proxy meant for the internet cannot reach this machine's own stack.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                text = answer.read()
            return json.loads(text or b"{}")
        except (OSError, ValueError) as error:
            raise SoakError(f"the chaos service at {self.url} does not answer: {error}") from error


def control_of(url: str) -> ChaosControl:
    """The control service that the stack file names. Raises SoakError, saying how to start one, when it names none."""
    if not url.startswith("http://"):
        raise SoakError("this stack has no faults to order; start one that has: make run CHAOS=1")
    return ChaosControl(url)
