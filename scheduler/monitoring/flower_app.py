"""The Celery app that Flower serves; its `/metrics` page also reports the fleet's metrics.

Start it with `celery -A whisper_fleet.scheduler.monitoring.flower_app flower`. Nothing else imports this module.
"""

from __future__ import annotations

from functools import lru_cache

from celery import Celery
from prometheus_client import REGISTRY, CollectorRegistry

from whisper_fleet.scheduler.app import app as fleet_app
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, SnapshotReader
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.display.json_log import log_to_stderr
from whisper_fleet.shared.process.reload import reloader
from whisper_fleet.shared.settings import load_settings


def make_flower_app(registry: CollectorRegistry = REGISTRY) -> Celery:
    """Return the fleet's Celery app, after adding the fleet's metrics to the registry that Flower serves."""
    registry.register(FleetMetrics(_read))
    # Flower consumes nothing but events and replies, of which some may be lost. So it uses kombu's own transport, whose
    # keys it does not share with the fleet: it needs no right to write the fleet's. Its Broker page knows no other.
    fleet_app.conf.broker_transport = None
    fleet_app.conf.broker_transport_options = {
        "unacked_key": "flower.unacked",
        "unacked_index_key": "flower.unacked_index",
        "unacked_mutex_key": "flower.unacked_mutex",
        "socket_keepalive": True,
    }
    return fleet_app


def _read() -> FleetSnapshot:
    return _reader().read()


@lru_cache(maxsize=1)
def _reader() -> SnapshotReader:
    """Return a reader that fails fast: Flower shows nothing at all while it waits for Redis."""
    settings = load_settings()
    return SnapshotReader(connect_fail_fast(settings.redis_url), settings)


app = make_flower_app()
reloader.start()
if load_settings().log_format == "json":
    log_to_stderr(load_settings(), load_settings().log_level, "")
