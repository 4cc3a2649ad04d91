"""Decides from samples whether something grows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.soak.samples import Sample

#: What is judged, with its unit in a plot and the divisor to it.
MEASURES = {"memory": ("GiB", 2**30), "descriptors": ("", 1), "sockets": ("", 1), "keys": ("", 1)}
#: The first part of a run, in which pools fill and jobs pile up to what the retention allows.
_WARM_UP = 0.25
#: Growth between the halves of the rest that counts as flat: processes restart all the time, so sums are noisy.
_FLAT = 0.10


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How the sum of one measure over the whole fleet changed."""

    measure: str
    before: float  # median of the first half after the warm-up
    after: float  # median of the second half

    @property
    def growth(self) -> float:
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def is_flat(self) -> bool:
        return self.growth <= _FLAT


def series(samples: Sequence[Sample], measure: str, host: str | None = None) -> list[tuple[float, float]]:
    """Return (minute, sum) of a measure over one host, or over everything."""
    sums: dict[float, float] = defaultdict(float)
    for sample in samples:
        if host is None or sample.host == host:
            sums[sample.minute] += getattr(sample, measure) / MEASURES[measure][1]
    return sorted(sums.items())


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Return the trend of each measure."""
    return [_trend(measure, series(samples, measure)) for measure in MEASURES]


def _trend(measure: str, points: Sequence[tuple[float, float]]) -> Trend:
    settled = [value for _, value in points[int(len(points) * _WARM_UP) :] if value]
    middle = len(settled) // 2
    return Trend(measure=measure, before=median(settled[:middle] or [0]), after=median(settled[middle:] or [0]))
