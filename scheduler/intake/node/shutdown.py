"""Lets an intake node shut down while Redis is unreachable: its tasks would wait for Redis, however long it is down."""

from __future__ import annotations

import logging
import threading
from typing import Any

import psutil

from whisper_fleet.scheduler.services import services
from whisper_fleet.shared.connect import check_writable, connect_fail_fast, is_outage

_log = logging.getLogger(__name__)


def on_shutting_down(**_: Any) -> None:
    """End the node's processes if Redis accepts no writes; their messages are delivered again, as after a crash."""
    # In a thread: a signal handler must not wait for an answer.
    threading.Thread(target=_end_waiting_processes, name="shutdown", daemon=True).start()


def _end_waiting_processes() -> None:
    try:
        with connect_fail_fast(services().settings.redis_url) as redis:
            check_writable(redis)
    except Exception as error:
        if not is_outage(error):
            raise
        _log.warning("intake stops without Redis: %s", error)
        for process in psutil.Process().children():
            process.terminate()
