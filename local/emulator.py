"""Starts MiniStack. Run as a script by the Python of `.venv-cloud`, with one argument: the Python for the functions.

It ends when its standard input does: whoever started it is gone then, in whatever way, and MiniStack still stores its
state and leaves nothing running.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    # MiniStack runs the functions with its own interpreter, which has boto3 and much more installed: a library that is
    # missing in the layer would be found there, and its absence noticed on AWS only.
    sys.executable = sys.argv.pop()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("ministack", run_name="__main__", alter_sys=True)
