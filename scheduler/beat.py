"""The scheduler of beat: it sends the ticks, and skips those that Redis does not accept."""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import PersistentScheduler, SchedulingError
from kombu.exceptions import OperationalError

from whisper_fleet.shared.connect import Outage

_Scheduler: Any = PersistentScheduler  # its stubs lack apply_entry
_SENDING = Outage("sending ticks", logging.getLogger(__name__))


class TickScheduler(_Scheduler):  # type: ignore[misc]
    """Celery's scheduler, but with two log lines per outage of Redis: Celery logs two tracebacks per tick."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick. One that Redis does not accept is not sent later: the next one does its work."""
        with _SENDING.ignored():
            try:
                self.apply_async(entry, producer=producer, advance=False)
            except SchedulingError as error:  # Celery's wrapper of whatever went wrong
                raise OperationalError(str(error)) from error
