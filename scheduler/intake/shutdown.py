"""An intake that is told to stop while Redis is away: what waits for it would wait for as long as it is away."""

from __future__ import annotations

import logging
import threading
from typing import Any

import psutil
from celery import signals

from whisper_fleet.scheduler.services import services
from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast

_log = logging.getLogger(__name__)


def watch() -> None:
    """Have the node end its processes then; what they had in hand comes again, as after every death."""
    signals.worker_shutting_down.connect(_stop, weak=False)


def _stop(**_: Any) -> None:
    # In a thread: a signal handler is not to wait for an answer.
    threading.Thread(target=_end_who_waits, name="stopping", daemon=True).start()


def _end_who_waits() -> None:
    try:
        with connect_fail_fast(services().settings.redis_url) as redis:
            redis.ping()
    except UNREACHABLE as error:
        _log.warning("intake stops without Redis: %s", error)
        for process in psutil.Process().children():
            process.terminate()
