"""`python tied.py SIGNAL COMMAND...`: runs COMMAND, which gets SIGNAL when the parent of this process dies.

So nothing outlives a supervisor that was killed. Only Linux knows how; elsewhere COMMAND just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    name, *command = sys.argv[1:]
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.Signals[name])
        if os.getppid() != parent:  # it died before we could ask to be told
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
