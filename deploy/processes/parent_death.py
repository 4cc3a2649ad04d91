"""Run a command that gets a signal when the parent of this process dies: `python parent_death.py SIGNAL COMMAND...`.

So nothing outlives a supervisor that was killed. Only Linux can do this; elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask the kernel for the signal, then become the command."""
    name, *command = sys.argv[1:]
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.Signals[name])
        if os.getppid() != parent:  # it died before the signal was set up
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
