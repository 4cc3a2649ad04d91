"""Notes what threads import: Python loads this module at its start where the folder is on its path.

Every line of the file that THREAD_IMPORTS names has the number of a process, a thread and a module.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

_FILE = os.environ.get("THREAD_IMPORTS")


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and _FILE and threading.current_thread() is not threading.main_thread():
        with Path(_FILE).open("a") as file:
            file.write(f"{os.getpid()} {threading.current_thread().name} {arguments[0]}\n")


sys.addaudithook(_note)
