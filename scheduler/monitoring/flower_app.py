"""The Celery app that Flower serves; its `/metrics` page also reports the fleet's metrics.

Start it with `celery -A whisper_fleet.scheduler.monitoring.flower_app flower`. Nothing else imports this module.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from celery import Celery
from kombu import Connection
from prometheus_client import REGISTRY, CollectorRegistry

from whisper_fleet.scheduler.app import app as fleet_app
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, SnapshotReader
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.settings import load_settings


def make_flower_app(registry: CollectorRegistry = REGISTRY) -> Celery:
    """Return the fleet's Celery app, after adding the fleet's metrics to the registry that Flower serves."""
    registry.register(FleetMetrics(_read))
    # Flower's Broker page chooses how to read queues by the scheme of the connection, for which kombu gives the name of
    # the transport's class.
    Connection.resolve_aliases[fleet_app.conf.broker_transport] = urlsplit(load_settings().redis_url).scheme
    return fleet_app


def _read() -> FleetSnapshot:
    return _reader().read()


@lru_cache(maxsize=1)
def _reader() -> SnapshotReader:
    """Return a reader that fails fast: Flower shows nothing at all while it waits for Redis."""
    settings = load_settings()
    return SnapshotReader(connect_fail_fast(settings.redis_url), settings)


app = make_flower_app()
