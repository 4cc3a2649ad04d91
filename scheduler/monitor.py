"""The Celery app of Flower, whose `/metrics` tells the fleet's figures, too: `celery -A scheduler.monitor flower`."""

from __future__ import annotations

import time
from functools import lru_cache

from prometheus_client import REGISTRY
from redis import Redis

from scheduler.app import app
from scheduler.figures import FigureReader, Figures
from scheduler.metrics import FleetMetrics
from shared.settings import load_settings

__all__ = ["app"]


@lru_cache(maxsize=1)
def _reader() -> FigureReader:
    """Without patience: while it waits for Redis, Flower shows nothing at all."""
    settings = load_settings()
    return FigureReader(
        Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=5.0), settings
    )


def _read() -> Figures:
    return _reader().read(time.time())


REGISTRY.register(FleetMetrics(_read))
