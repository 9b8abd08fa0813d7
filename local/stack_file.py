"""`stack.json`: tells clients on this machine where the local stack is, and how to sign tokens for it."""

import json
import os
from pathlib import Path

from local.cloud import REGION
from local.deploy import Stack


def write_stack_file(path: Path, stack: Stack, web: str) -> None:
    """Writes the file at once and for its owner alone: it holds the secret that signs tokens."""
    content = {
        "websocket": stack.websocket,
        "http": stack.http,
        "web": web,
        "endpoint": stack.cloud.endpoint,
        "region": REGION,
        "stack": stack.name,
        "jwt": {"alg": "HS256", "secret": stack.jwt_secret},
    }
    if stack.chaos is not None:
        content["chaos"] = stack.chaos.url
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    unfinished.replace(path)
