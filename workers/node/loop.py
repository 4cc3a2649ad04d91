"""A thread that repeats a step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Loop:
    """Takes a step every `interval` seconds, and at once when it is woken, in a daemon thread of its own."""

    def __init__(self, name: str, step: Callable[[], None], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopped(self) -> bool:
        """No further step is wanted."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Take the first step soon."""
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now; from any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Take no further step; a step that is being taken ends by itself."""
        self._stopped.set()
        self._woken.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.clear()  # before the step: what happens during it is in the next one
            try:
                self._step()
            except Exception:
                _log.exception("%s goes on after an unexpected error", self._thread.name)
            self._woken.wait(self._interval)
