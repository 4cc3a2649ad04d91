"""The fleet's figures as Prometheus' metrics: what is unknown has no sample, never a zero. Pure but for the clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, GpuSnapshot

_log = logging.getLogger(__name__)

_PREFIX = "whisper_fleet"
_Sample = tuple[Sequence[str], float | None]


class FleetMetrics(Collector):
    """Reads the figures anew whenever somebody asks for metrics."""

    def __init__(self, read: Callable[[], FleetSnapshot]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that it can be registered where no Redis is up yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric, or only that Redis does not answer."""
        try:
            figures = self._read()
        except (RedisError, OSError) as error:
            _log.warning("no metrics: Redis does not answer: %s", error)
            yield _gauge("redis_up", "Whether the fleet's Redis answers.", [], [((), 0)])
            return
        yield _gauge("redis_up", "Whether the fleet's Redis answers.", [], [((), 1)])
        yield from _of_gpus(figures.gpus)
        yield from _of_work(figures)
        yield from _of_the_past(figures)


def _of_gpus(gpus: Sequence[GpuSnapshot]) -> Iterator[Metric]:
    def each(name: str, words: str, figure: Callable[[GpuSnapshot], float | None]) -> Metric:
        return _gauge(name, words, ["gpu"], [((gpu.status.id,), figure(gpu)) for gpu in gpus])

    yield each("gpu_up", "Whether the GPU's node sends heartbeats and its engine answers.", lambda gpu: gpu.is_up)
    yield each("slots", "Slots of the GPU's pool now.", lambda gpu: gpu.status.slots)
    yield each("slots_wanted", "Slots that memory, cores and settings allow.", lambda gpu: gpu.wanted)
    yield each("slots_taken", "Slots with a segment assigned or running, by the ledger.", lambda gpu: gpu.taken)
    yield each("slots_busy", "Slots that run a segment, by the GPU's node.", lambda gpu: gpu.status.busy)
    memory = [((gpu.status.id, kind), size) for gpu in gpus for kind, size in _memory(gpu).items()]
    yield _gauge("gpu_memory_bytes", "Memory of the GPU, or of the host for a CPU.", ["gpu", "kind"], memory)


def _memory(gpu: GpuSnapshot) -> dict[str, int | None]:
    total, free = gpu.status.total_bytes, gpu.status.free_bytes
    used = None if total is None or free is None else total - free
    return {"total": total, "free": free, "used": used, "engine": gpu.status.engine_bytes}


def _of_work(figures: FleetSnapshot) -> Iterator[Metric]:
    taken = sum(gpu.taken for gpu in figures.gpus)
    running = min(taken, sum(gpu.status.busy for gpu in figures.gpus if gpu.is_up))
    waiting = sum(segments for _, segments in figures.depth.values())
    states = {"waiting": waiting, "assigned": taken - running, "running": running}
    yield _gauge("segments", "Segments by state.", ["state"], [((name,), count) for name, count in states.items()])
    jobs = [((str(priority),), jobs) for priority, (jobs, _) in sorted(figures.depth.items())]
    yield _gauge("jobs_waiting", "Jobs with segments that wait for a GPU.", ["priority"], jobs)
    messages = [((queue,), count) for queue, count in figures.messages.items()]
    yield _gauge("messages", "Messages that wait for intake.", ["queue"], messages)


def _of_the_past(figures: FleetSnapshot) -> Iterator[Metric]:
    def counted(name: str, words: str, label: str = "gpu") -> Metric:
        found = {what.partition("/"): count for what, count in figures.counts.items()}
        samples = [((of,), count) for (what, _, of), count in found.items() if what == name]
        return _counter(name, words, [label], samples)

    yield counted("segments_done", "Segments transcribed.")
    yield counted("segments_failed", "Segments that failed for good, and their jobs with them.")
    yield counted("attempts_failed", "Attempts at segments that failed, the last ones included.")
    yield counted("audio_seconds", "Seconds of audio transcribed.")
    yield counted("jobs", "Jobs that ended.", "state")
    decisions = [(tuple(name.split("/", 3)), count) for name, count in figures.decisions.items()]
    labels = ["gpu", "action", "outcome", "reason"]
    yield _counter("slot_decisions", "Decisions of the autoscaler.", labels, decisions)


def _gauge(name: str, words: str, labels: Sequence[str], samples: Iterable[_Sample]) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)
    for values, figure in samples:
        if figure is not None:
            family.add_metric(values, figure)
    return family


def _counter(name: str, words: str, labels: Sequence[str], samples: Iterable[_Sample]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)
    for values, figure in samples:
        if figure is not None and len(values) == len(labels):  # else it was counted by another version
            family.add_metric(values, figure)
    return family
