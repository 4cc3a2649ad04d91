"""Celery's event loop with a Redis that may refuse: what the loop calls repeatedly must not end it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from whisper_fleet.shared.connect import Outage, is_outage

_UPKEEP = Outage("upkeep of the broker's connections", logging.getLogger(__name__))


class PatientLoop:
    """Celery's event loop, but what is called repeatedly may be refused by Redis: the log gets two lines of it."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_repeatedly(self, interval: float, function: Callable[[], object]) -> Any:
        """Call a function every `interval` seconds, also while Redis refuses what it asks for."""

        def call() -> None:
            try:
                with _UPKEEP.noted():
                    function()
            except ResponseError as error:
                if not is_outage(error):
                    raise

        return self._loop.call_repeatedly(interval, call)
