"""The fleet's metrics for Prometheus, read from Redis each time that they are requested; declared.py has the table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from whisper_fleet.scheduler.monitoring.declared import METRICS, REDIS_UP
from whisper_fleet.scheduler.monitoring.metric_spec import MetricSpec
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot

_log = logging.getLogger(__name__)


def declared_metrics() -> tuple[MetricSpec, ...]:
    """Return every metric of the fleet, in the order of the page; the reference is generated from this."""
    return (REDIS_UP, *METRICS)


class FleetMetrics(Collector):
    """Reads a snapshot of the fleet each time that metrics are requested."""

    def __init__(self, read: Callable[[], FleetSnapshot]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Yield every metric without samples, so that registering does not need Redis."""
        return (spec.empty_family() for spec in declared_metrics())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, or only `redis_up` if Redis cannot be read."""
        try:
            snapshot = self._read()
        except (RedisError, OSError) as error:
            _log.warning("no metrics: cannot read Redis: %s", error)
            yield REDIS_UP.family([((), 0)])
            return
        for spec in declared_metrics():
            yield spec.family_of(snapshot)
