"""Ends a process that looks alive but no longer takes messages, so that its supervisor starts it again.

A node can hang in ways that no supervisor sees: after an unexpected error, Celery waits for its pool without a limit,
and a child of the pool may wait for a reader that no longer exists. The messages that such a process holds are returned
to their queues by the other consumers, see transport.py.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from typing import Any

import psutil
from celery import bootsteps

from whisper_fleet.shared.connect import check_writable, connect_fail_fast, is_outage

log = logging.getLogger(__name__)

#: Seconds without a sign of life, while Redis accepts writes, after which the process ends. Celery itself waits up to
#: 32 s between two tries to connect.
PATIENCE = 90.0
#: The exit status of a process that ended itself: EX_SOFTWARE of sysexits.h.
EXIT_STATUS = 70


class SignsOfLife:
    """When the consumer of this process was last seen to take messages; its event loop notes it."""

    def __init__(self) -> None:
        self.seen = time.monotonic()

    def note(self) -> None:
        """Note that the consumer is alive now."""
        self.seen = time.monotonic()


#: Of this process. Writer: FleetTransport, whenever the event loop has it keep its consumers alive.
signs = SignsOfLife()


class Watchdog(bootsteps.StartStopStep):
    """Looks for signs of life in a thread, from the start of the worker until its process ends."""

    patience = PATIENCE

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._redis_url = ""

    def start(self, parent: Any) -> None:
        """Begin to look."""
        self._redis_url = parent.app.conf.broker_url
        signs.note()
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """Give the worker as long again to stop. It is still watched: stopping is where it may hang."""
        signs.note()

    def _watch(self) -> None:
        interval = self.patience / 10
        while True:
            slept = time.monotonic()
            time.sleep(interval)
            if time.monotonic() - slept > 2 * interval:  # the whole process was suspended, so no sign could come
                signs.note()
            if time.monotonic() - signs.seen > self.patience and self._redis_accepts():
                self._end()

    def _redis_accepts(self) -> bool:
        """Return whether a consumer could work; if not, it gets as long again from now."""
        try:
            with connect_fail_fast(self._redis_url) as redis:
                check_writable(redis)
        except Exception as error:
            if not is_outage(error):
                raise
            signs.note()
            return False
        return True

    def _end(self) -> None:
        log.critical("this process took no messages for %.0f s and ends; where its threads are:", self.patience)
        faulthandler.dump_traceback(sys.__stderr__ or 2)  # sys.stderr is Celery's log, which is not a file
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(EXIT_STATUS)
