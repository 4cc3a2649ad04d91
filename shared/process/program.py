"""The name of this process among those of its machine, as `whisper-fleet serve` and the log files call it. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

_CELERY = "celery"
_COMMANDS = ("worker", "beat", "flower")


def program_name(command: Sequence[str] | None = None) -> str:
    """Return the program that a command line runs, such as intake, gpu0 or beat; by default that of this process.

    A Celery worker is named by its node, `intake@host`. Anything else has the name of its module or script.
    """
    _, *arguments = sys.orig_argv if command is None else command
    modules = [value for option, value in pairwise(arguments) if option == "-m"]
    name = modules[0].rpartition(".")[2] if modules else PurePath(arguments[0] if arguments else "python").name
    if name != _CELERY:
        return name
    nodes = [value for option, value in pairwise(arguments) if option in ("-n", "--hostname")]
    if nodes:
        return nodes[0].partition("@")[0]
    return next((argument for argument in arguments if argument in _COMMANDS), _CELERY)


def split_index(name: str) -> tuple[str, int]:
    """Return the program and the GPU's index in a name such as gpu3."""
    match = re.fullmatch(r"gpu(\d+)", name)
    return ("gpu", int(match[1])) if match else (name, 0)
