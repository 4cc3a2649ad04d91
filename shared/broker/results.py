"""Celery's store of results in Redis, which waits for a Redis that is unreachable or refuses.

Celery's own store retries lost connections alone, and logs every try. A result that Redis refuses would be gone, and
the client would wait for ever.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery.backends.redis import RedisBackend

from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.settings import load_settings

_Backend: Any = RedisBackend  # its stubs lack store_result
_RESULTS = Outage("results", logging.getLogger(__name__))


class ResultBackend(_Backend):  # type: ignore[misc]
    """The result backend of every node: `result_backend` in celeryconfig.py."""

    @property
    def expires(self) -> int:
        """The seconds for which a result is kept; a reload changes them."""
        return int(load_settings().job_retention)

    @expires.setter
    def expires(self, seconds: object) -> None:
        """Ignore what Celery read of its configuration when it made the backend."""

    def store_result(self, *args: Any, **kwargs: Any) -> Any:
        """Store a task's result, however long Redis is down."""
        return _RESULTS.retried(partial(super().store_result, *args, **kwargs))
