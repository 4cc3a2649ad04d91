"""The Celery app that Flower serves; its `/metrics` page also reports the fleet's metrics.

Start it with `celery -A whisper_fleet.scheduler.monitoring.flower_app flower`.
"""

from __future__ import annotations

import time
from functools import lru_cache

from prometheus_client import REGISTRY
from redis import Redis

from whisper_fleet.scheduler.app import app
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, SnapshotReader
from whisper_fleet.shared.settings import load_settings

__all__ = ["app"]


@lru_cache(maxsize=1)
def _reader() -> SnapshotReader:
    """Without patience: while it waits for Redis, Flower shows nothing at all."""
    settings = load_settings()
    return SnapshotReader(Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=5.0), settings)


def _read() -> FleetSnapshot:
    return _reader().read(time.time())


REGISTRY.register(FleetMetrics(_read))
