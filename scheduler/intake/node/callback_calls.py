"""Calls the callback URLs of jobs that ended, in threads of an intake node beside its tasks.

Intake's own processes only note what is due: a service that answers slowly holds up other callbacks, and no job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import cast

from redis.exceptions import RedisError

from whisper_fleet.scheduler.intake.callbacks import call_back
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

_log = logging.getLogger(__name__)

_THREADS = 4
_IDLE_SECONDS = 1.0  # between two looks while nothing is due
_RETRY_SECONDS = 5.0  # after an error of Redis


class CallbackCalls:
    """Threads that call what is due, each job once: a service that misses it can still ask for the result."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        for number in range(_THREADS):
            threading.Thread(target=self._run, name=f"callbacks-{number}", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end after the calls that they make now; the others stay due."""
        self._stopped.set()

    def call_next(self) -> bool:
        """Call the URL of the job that has been due longest; return False if none is due."""
        fleet = self._services()
        due = cast("list[bytes]", fleet.redis.zrange(keys.CALLBACKS, 0, _THREADS - 1))
        for job in map(text, due):
            if fleet.redis.zrem(keys.CALLBACKS, job):  # else another thread or node was faster
                _call(fleet, job)
                return True
        return bool(due)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self.call_next():
                    continue
                pause = _IDLE_SECONDS
            except (*UNREACHABLE, RedisError):  # whoever else needs Redis logs it
                pause = _RETRY_SECONDS
            except Exception:
                _log.exception("a callback failed in an unforeseen way")
                pause = _RETRY_SECONDS
            self._stopped.wait(pause)


def _call(fleet: Services, job: str) -> None:
    try:
        record = fleet.ledger.job(job)
    except JobNotFound:  # forgotten meanwhile
        return
    if record.request.callback_url:
        call_back(record.request.callback_url, job, record.state, fleet.settings)
