"""Run a program that ends, with all that it has started, when the process that asked for it is gone, however that went.

``python leash.py FD PROGRAM ARGUMENTS...``: ``FD`` is the reading end of a pipe whose other end only the asking process holds.
This runs as a script in a session of its own, and needs nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

#: Exit status where the program cannot be started.
NOT_STARTED = 127


def main() -> int:
    """Run the program; returns its exit status, 128 + n where signal n ended it."""
    threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    try:
        code = subprocess.call(sys.argv[2:])
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return NOT_STARTED
    return code if code >= 0 else 128 - code


def _follow(pipe: int) -> None:
    """End the whole session once the pipe closes: nothing is ever written to it."""
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
