"""Part d of the benchmark of the scheduler: the throughput of the whole fleet on one GPU with a deep queue.

Parts a and b keep a few jobs going on, which end together and leave slots empty until intake has cut the next ones.
Here all jobs are sent at once, as somebody with an archive does, and the middle of the run is measured.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from benchmarks.gpu.fleet.live import LiveFleet, until
from benchmarks.gpu.fleet.load import Load
from benchmarks.gpu.fleet.neighbour import Bench, Check
from benchmarks.gpu.fleet.samples import Sample, Watch
from benchmarks.support.processes import processor_seconds

#: The middle of all segments: slots and model are there, and the last jobs are still far.
_FROM, _TO = 0.25, 0.75


@dataclass(frozen=True)
class _Mark:
    """The progress of a run at one moment."""

    at: float  # seconds since sampling began
    segments: int
    used: defaultdict[str, float]  # seconds of processor time, by kind of process


def deep_queue(bench: Bench, jobs: int) -> dict[str, Any]:
    """Run jobs at once; return busy rows, times realtime and cores in the middle of their segments."""
    load = bench.load()
    with Watch(bench.fleet, 0, load) as watch:
        load.add(jobs)
        segments, seconds = _cut(load, bench.plan.warm)
        begin = _mark(bench.fleet, watch, load, _FROM * jobs * segments)
        end = _mark(bench.fleet, watch, load, _TO * jobs * segments)
        load.end(bench.plan.drain * 4)
    outcome = load.outcome()
    middle = [sample for sample in watch.samples if begin.at <= sample.at <= end.at]
    check = Check(what="deep queue: done", wanted="all", seen=outcome.account, holds=outcome.is_whole)
    figures = _figures(begin, end, middle, seconds / segments)
    return {"checks": [asdict(check)], "outcome": asdict(outcome), "figures": figures, **watch.as_dict()}


def _cut(load: Load, patience: float) -> tuple[int, float]:
    """Return the number of segments of a job and its seconds; all jobs are of one file."""
    found: list[tuple[int, float]] = []

    def look() -> bool:
        found.extend((one.segments_total, one.duration) for one in load.known if one.segments_total and one.duration)
        return bool(found)

    until("a job to be cut", look, patience)
    return found[0]


def _mark(fleet: LiveFleet, watch: Watch, load: Load, segments: float) -> _Mark:
    """Return the moment at which at least this many segments are done; segments of one length end together."""
    until("segments", lambda: load.segments_done >= segments, 300)
    return _Mark(watch.now, load.segments_done, _used(fleet))


def _used(fleet: LiveFleet) -> defaultdict[str, float]:
    """Return the processor time of each kind of process."""
    used: defaultdict[str, float] = defaultdict(float)
    for process, kind in fleet.processes():
        try:
            used[kind] += processor_seconds(process)
        except psutil.Error:
            continue  # it has just ended
    return used


def _figures(begin: _Mark, end: _Mark, middle: list[Sample], segment_seconds: float) -> dict[str, Any]:
    lasted = end.at - begin.at
    seen = [sample for sample in middle if sample.rows is not None and sample.busy is not None]
    cores = {kind: round((used - begin.used[kind]) / lasted, 2) for kind, used in end.used.items()}
    return {
        "seconds": round(lasted, 1),
        "times_realtime": round((end.segments - begin.segments) * segment_seconds / lasted),
        "by_the_engine": round(statistics.fmean(sample.times_realtime or 0 for sample in seen)),
        "rows": round(statistics.fmean(sample.rows or 0 for sample in seen), 1),
        "busy": round(statistics.fmean(sample.busy or 0 for sample in seen), 1),
        "cores": dict(sorted(cores.items())),
    }
