"""A Celery consumer that waits for a Redis that refuses: Celery's own tries again at once, several times per second."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer

from whisper_fleet.shared.connect import Outage, pauses

_Consumer: Any = Consumer  # its stubs lack what a subclass overrides


class PatientConsumer(_Consumer):  # type: ignore[misc]
    """The consumer of every node: `worker_consumer` in celeryconfig.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._consuming = Outage("consuming", logging.getLogger(__name__))
        self._pauses = pauses(longest=10.0)
        super().__init__(*args, **kwargs)

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Pause before the next try to connect and to declare the queues."""
        self._consuming.failed(exc)
        until = time.monotonic() + next(self._pauses)
        while time.monotonic() < until:
            state.maybe_shutdown()
            time.sleep(0.1)

    def on_ready(self) -> None:
        """Note that messages are consumed."""
        self._consuming.ended()
        self._pauses = pauses(longest=10.0)
        super().on_ready()
