"""`python -m local up` runs the local stack until it is interrupted; `python -m local reset` forgets its data.

Exit status 0 after SIGINT or SIGTERM, 2 with the reason on stderr when something is in the way.
"""

import argparse
import signal
import sys
import time
from types import FrameType

from local.cloud import forget
from local.demo import USERS, prepare_demo
from local.errors import LocalStackError
from local.paths import ROOT, SHARED, StateDirectory
from local.processes import require_free_port
from local.stack import running_stack
from local.stack_file import write_stack_file
from local.web import serving_web

STARTED = time.monotonic()
MAX_PORT = 65535


def main() -> int:
    options = _options()
    state = StateDirectory(SHARED)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)
    try:
        if options.command == "reset":
            forget(state)
            tell("The local stack has forgotten everything")
        else:
            _up(state, options.port, options.web_port, options.chaos_port)
    except LocalStackError as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        tell("Stopped; `make run` continues with the same data")
    return 0


def tell(step: str) -> None:
    """One line, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {step}", flush=True)


def _up(state: StateDirectory, port: int, web_port: int, chaos_port: int | None) -> None:
    require_free_port(web_port, "WEB_PORT")
    if chaos_port is not None:
        require_free_port(chaos_port, "CHAOS_PORT")
    tell(f"Starting the emulated cloud (MiniStack) on port {port}")
    chaos = chaos_port is not None
    with running_stack(port=port, state_dir=state.path, chaos=chaos, chaos_port=chaos_port, tell=tell) as stack:
        tell(f"Preparing the demo: {', '.join(USERS)}, and a group of them")
        prepare_demo(stack)
        with serving_web(web_port, stack) as web:
            write_stack_file(state.stack_file, stack, web)
            try:
                tell("Ready")
                print(
                    f"\n    Chat page    {web}\n"
                    f"    Terminal     .venv/bin/im chat --as alice\n"
                    f"    For clients  {state.stack_file.relative_to(ROOT)}\n"
                    f"    Log          {state.cloud_log.relative_to(ROOT)}",
                    *([f"\n    Chaos        {stack.chaos.url}"] if stack.chaos is not None else []),
                    "\n\nCtrl-C stops it and keeps the data; `make reset` forgets it.",
                    sep="",
                    flush=True,
                )
                while True:
                    time.sleep(0.5)
                    stack.cloud.require_running()
            finally:
                state.stack_file.unlink(missing_ok=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ends the wait, once: a second Ctrl-C must not break off the storing of the state."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    print(flush=True)
    tell("Stopping")
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the local stack")
    up.add_argument("--port", type=_port, default=4566, help="of the emulated cloud")
    up.add_argument("--web-port", type=_port, default=8080, help="of the chat page")
    up.add_argument("--chaos-port", type=_port, help="of a faulty proxy between the functions and the cloud")
    commands.add_parser("reset", help="forget what it has stored")
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
