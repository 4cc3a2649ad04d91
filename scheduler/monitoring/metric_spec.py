"""The declaration of one metric, and its form for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from whisper_fleet.scheduler.monitoring.histograms import BOUNDS, histograms_of
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot

_PREFIX = "whisper_fleet"
#: The values of the labels, and the value of the sample; None if it is unknown.
Sample = tuple[Sequence[str], float | None]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """The declaration of one metric."""

    name: str  # without the fleet's prefix and without `_total`
    type: Literal["gauge", "counter", "histogram"] = "gauge"
    labels: tuple[str, ...] = ()
    unit: str = ""  # the last part of the name, as Prometheus wants it; empty for plain counts
    help: str
    samples: Callable[[FleetSnapshot], Iterable[Sample]] = lambda _: ()
    histogram: str = ""  # the ledger's name of it, for a histogram, which has one label

    @property
    def full_name(self) -> str:
        """Return the name under which Prometheus stores the samples."""
        return f"{_PREFIX}_{self.name}{'_total' if self.type == 'counter' else ''}"

    def empty_family(self) -> Metric:
        """Return the metric without samples."""
        return self.family(()) if self.type != "histogram" else self._histogram({})

    def family_of(self, snapshot: FleetSnapshot) -> Metric:
        """Return the metric with the samples of a snapshot."""
        return self.family(self.samples(snapshot)) if self.type != "histogram" else self._histogram(snapshot.counts)

    def family(self, samples: Iterable[Sample]) -> Metric:
        """Return a gauge or counter with these samples; those of unknown value are left out."""
        family_type = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        family = family_type(f"{_PREFIX}_{self.name}", self.help, labels=self.labels, unit=self.unit)
        for labels, value in samples:
            if value is not None:
                family.add_metric(labels, value)
        return family

    def _histogram(self, counts: Mapping[str, float]) -> Metric:
        family = HistogramMetricFamily(f"{_PREFIX}_{self.name}", self.help, labels=self.labels, unit=self.unit)
        for label, histogram in histograms_of(self.histogram, counts).items():
            bounds = ["+Inf" if bound == float("inf") else f"{bound:g}" for bound in BOUNDS]
            family.add_metric([label], list(zip(bounds, histogram.cumulative, strict=True)), histogram.sum)
        return family
