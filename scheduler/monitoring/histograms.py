"""How the ledger counts durations: histograms with a bucket per power of two of a millisecond, up to three days.

The scripts count (`observe` in lua/common.lua), and this module reads what they counted from `keys.COUNTS`, whose
fields are `histogram/<name>/<label>/<bucket>` and `histogram/<name>/<label>/sum`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

_BUCKETS = 29
#: The upper bound of each bucket in seconds; the last one holds everything above the one before.
BOUNDS = (*(0.001 * 2**number for number in range(_BUCKETS - 1)), float("inf"))


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """What was counted under one label."""

    cumulative: tuple[int, ...]  # durations of at most each of BOUNDS
    sum: float  # seconds


def histograms_of(name: str, counts: Mapping[str, float]) -> dict[str, Histogram]:
    """Return the histograms of a name by their label, from the counters of the ledger. Pure."""
    buckets: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * _BUCKETS)
    sums: dict[str, float] = {}
    prefix = f"histogram/{name}/"
    for field, value in counts.items():
        if not field.startswith(prefix):
            continue
        label, _, bucket = field.removeprefix(prefix).rpartition("/")
        if bucket == "sum":
            sums[label] = value
        else:
            buckets[label][int(bucket)] += value
    return {
        label: Histogram(cumulative=tuple(int(count) for count in accumulate(counted)), sum=sums.get(label, 0.0))
        for label, counted in sorted(buckets.items())
    }
