"""Runs a command that must not outlive us: `python leash.py PARENT_PID COMMAND...`.

A supervisor that is killed outright cannot stop its engine any more, so the engine asks the
kernel for a SIGTERM at that moment, and then becomes the command. Linux only; elsewhere the
command just runs. Imports nothing but the standard library, to start at once.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Tie this process to its parent, then become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # It died before the kernel was asked.
            return
    os.execvp(command[0], command)  # noqa: S606  (no shell is what we want)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
