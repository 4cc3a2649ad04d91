"""The declaration of a metric, and its form for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot

_PREFIX = "whisper_fleet"
#: The values of the labels, and the value of the sample; None if it is unknown.
Sample = tuple[Sequence[str], float | None]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """The declaration of one metric."""

    name: str  # without the fleet's prefix and without `_total`
    type: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = ()
    unit: str = ""  # the last part of the name, as Prometheus wants it; empty for plain counts
    help: str
    samples: Callable[[FleetSnapshot], Iterable[Sample]]

    @property
    def full_name(self) -> str:
        """Return the name under which Prometheus stores the samples."""
        return f"{_PREFIX}_{self.name}{'_total' if self.type == 'counter' else ''}"

    def family(self, samples: Iterable[Sample] = ()) -> Metric:
        """Return the metric in prometheus_client's form, with these samples; those of unknown value are left out."""
        family_type = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        family = family_type(f"{_PREFIX}_{self.name}", self.help, labels=self.labels, unit=self.unit)
        for labels, value in samples:
            if value is not None:
                family.add_metric(labels, value)
        return family
