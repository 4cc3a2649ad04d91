"""The fleet's metrics for Prometheus: one table declares each metric with the function that reads its samples.

What is unknown has no sample, never a zero. To add a metric, add an entry to the table; if no snapshot has its value
yet, add its source to snapshot.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from whisper_fleet.scheduler.monitoring.metric_spec import MetricSpec as MetricSpec
from whisper_fleet.scheduler.monitoring.metric_spec import Sample
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, GpuSnapshot
from whisper_fleet.shared.wire import EngineRates

_log = logging.getLogger(__name__)


def declared_metrics() -> tuple[MetricSpec, ...]:
    """Return every metric of the fleet, in the order of the page; the reference is generated from this."""
    return (_REDIS_UP, *_METRICS)


class FleetMetrics(Collector):
    """Reads a snapshot of the fleet each time that metrics are requested."""

    def __init__(self, read: Callable[[], FleetSnapshot]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Yield every metric without samples, so that registering does not need Redis."""
        return (spec.family() for spec in declared_metrics())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, or only `redis_up` if Redis cannot be read."""
        try:
            snapshot = self._read()
        except (RedisError, OSError) as error:
            _log.warning("no metrics: cannot read Redis: %s", error)
            yield _REDIS_UP.family([((), 0)])
            return
        for spec in declared_metrics():
            yield spec.family(spec.samples(snapshot))


def _per_gpu(value: Callable[[GpuSnapshot], float | None]) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of one sample per GPU."""
    return lambda snapshot: [((gpu.status.id,), value(gpu)) for gpu in snapshot.gpus]


def _per_engine(value: Callable[[EngineRates], float]) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of one sample per engine; the last rates of a GPU that is down are no longer true."""

    def of(gpu: GpuSnapshot) -> float | None:
        return value(gpu.status.rates) if gpu.is_up and gpu.status.rates else None

    return _per_gpu(of)


def _counted(count: str) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of the ledger's counts of this name, see `keys.COUNTS`."""

    def samples(snapshot: FleetSnapshot) -> Iterable[Sample]:
        split = ((field.partition("/"), value) for field, value in snapshot.counts.items())
        return [((label,), value) for (name, _, label), value in split if name == count]

    return samples


def _memory(snapshot: FleetSnapshot) -> Iterator[Sample]:
    for gpu in snapshot.gpus:
        total, free = gpu.status.total_bytes, gpu.status.free_bytes
        used = None if total is None or free is None else total - free
        kinds = {"total": total, "free": free, "used": used, "engine": gpu.status.engine_bytes}
        yield from (((gpu.status.id, kind), size) for kind, size in kinds.items())


def _engine_time(snapshot: FleetSnapshot) -> Iterator[Sample]:
    for gpu in snapshot.gpus:
        if (rates := gpu.status.rates) is None or not gpu.is_up:
            continue
        yield (gpu.status.id, "encode"), rates.share_encode
        yield (gpu.status.id, "prefill"), rates.share_prefill
        yield (gpu.status.id, "decode"), rates.share_decode
        yield (gpu.status.id, "idle"), rates.share_idle


def _segments(snapshot: FleetSnapshot) -> Iterable[Sample]:
    taken = sum(gpu.taken for gpu in snapshot.gpus)
    running = min(taken, sum(gpu.status.busy for gpu in snapshot.gpus if gpu.is_up))
    waiting = sum(segments for _, segments in snapshot.depth.values())
    return [(("waiting",), waiting), (("assigned",), taken - running), (("running",), running)]


_REDIS_UP: Final = MetricSpec(
    name="redis_up",
    help="Whether the fleet's Redis answers: 1 or 0.",
    samples=lambda _: [((), 1)],
)

_METRICS: Final = (
    # --- per GPU ---
    MetricSpec(
        name="gpu_up",
        labels=("gpu",),
        help="Whether the GPU's node sends heartbeats and its engine answers: 1 or 0.",
        samples=_per_gpu(lambda gpu: gpu.is_up),
    ),
    MetricSpec(
        name="slots",
        labels=("gpu",),
        help="Slots of the GPU's pool now.",
        samples=_per_gpu(lambda gpu: gpu.status.slots),
    ),
    MetricSpec(
        name="slots_wanted",
        labels=("gpu",),
        help="Slots that memory, cores and settings allow.",
        samples=_per_gpu(lambda gpu: gpu.wanted),
    ),
    MetricSpec(
        name="slots_taken",
        labels=("gpu",),
        help="Slots with a segment assigned or running, as counted by the ledger.",
        samples=_per_gpu(lambda gpu: gpu.taken),
    ),
    MetricSpec(
        name="slots_busy",
        labels=("gpu",),
        help="Slots that run a segment, as counted by the GPU's node.",
        samples=_per_gpu(lambda gpu: gpu.status.busy),
    ),
    MetricSpec(
        name="gpu_memory_bytes",
        labels=("gpu", "kind"),
        unit="bytes",
        help="Memory of the GPU, or of the host for a CPU; kind is total, free, used or engine.",
        samples=_memory,
    ),
    # --- per engine: averages over its last ten seconds ---
    MetricSpec(
        name="engine_windows_per_second",
        labels=("gpu",),
        unit="per_second",
        help="Windows of 30 s of audio that the engine decodes per second.",
        samples=_per_engine(lambda rates: rates.windows_per_s),
    ),
    MetricSpec(
        name="engine_realtime_ratio",
        labels=("gpu",),
        unit="ratio",
        help="Seconds of audio that the engine transcribes per second.",
        samples=_per_engine(lambda rates: rates.times_realtime),
    ),
    MetricSpec(
        name="engine_tokens_per_second",
        labels=("gpu",),
        unit="per_second",
        help="Tokens that the engine produces per second.",
        samples=_per_engine(lambda rates: rates.tokens_per_s),
    ),
    MetricSpec(
        name="engine_time_ratio",
        labels=("gpu", "phase"),
        unit="ratio",
        help="Share of the engine's time, 0 to 1; phase is encode, prefill, decode or idle.",
        samples=_engine_time,
    ),
    MetricSpec(
        name="engine_rows_live",
        labels=("gpu",),
        help="Rows of the engine's batch in use now.",
        samples=_per_engine(lambda rates: rates.rows_live),
    ),
    MetricSpec(
        name="engine_requests_waiting",
        labels=("gpu",),
        help="Requests that wait for a row of the engine's batch now.",
        samples=_per_engine(lambda rates: rates.rows_waiting),
    ),
    # --- work ---
    MetricSpec(
        name="segments",
        labels=("state",),
        help="Segments by state: waiting, assigned or running.",
        samples=_segments,
    ),
    MetricSpec(
        name="jobs_waiting",
        labels=("priority",),
        help="Jobs with segments that wait for a GPU.",
        samples=lambda snapshot: [((str(priority),), jobs) for priority, (jobs, _) in sorted(snapshot.depth.items())],
    ),
    MetricSpec(
        name="messages",
        labels=("queue",),
        help="Messages that wait for intake.",
        samples=lambda snapshot: [((queue,), count) for queue, count in snapshot.messages.items()],
    ),
    MetricSpec(
        name="webhooks_pending",
        labels=("state",),
        help="Webhooks that are not delivered; state is waiting or undeliverable.",
        samples=lambda snapshot: [((state,), count) for state, count in snapshot.webhooks.items()],
    ),
    # --- totals since the fleet's Redis was set up ---
    MetricSpec(
        name="segments_done",
        type="counter",
        labels=("gpu",),
        help="Segments transcribed.",
        samples=_counted("segments_done"),
    ),
    MetricSpec(
        name="segments_failed",
        type="counter",
        labels=("gpu",),
        help="Segments that failed for good, and their jobs with them.",
        samples=_counted("segments_failed"),
    ),
    MetricSpec(
        name="attempts_failed",
        type="counter",
        labels=("gpu",),
        help="Attempts at segments that failed, the last ones included.",
        samples=_counted("attempts_failed"),
    ),
    MetricSpec(
        name="audio_seconds",
        type="counter",
        labels=("gpu",),
        unit="seconds",
        help="Seconds of audio transcribed.",
        samples=_counted("audio_seconds"),
    ),
    MetricSpec(
        name="jobs",
        type="counter",
        labels=("state",),
        help="Jobs that ended; state is done, failed or cancelled.",
        samples=_counted("jobs"),
    ),
    MetricSpec(
        name="webhook_attempts",
        type="counter",
        labels=("outcome",),
        help="Calls of webhooks; outcome is delivered, later (it is tried again) or undeliverable.",
        samples=_counted("webhooks"),
    ),
    MetricSpec(
        name="key_requests",
        type="counter",
        labels=("key",),
        help="HTTP requests with an API key, by the key's id; none: without one.",
        samples=lambda snapshot: [((usage.key,), usage.requests) for usage in snapshot.usage],
    ),
    MetricSpec(
        name="key_audio_seconds",
        type="counter",
        labels=("key",),
        unit="seconds",
        help="Seconds of audio of the jobs of an API key that are done.",
        samples=lambda snapshot: [((usage.key,), usage.audio_seconds) for usage in snapshot.usage],
    ),
    MetricSpec(
        name="slot_decisions",
        type="counter",
        labels=("gpu", "action", "outcome", "reason"),
        help="Decisions of the autoscaler: what it decided, how that ended, and why.",
        samples=lambda snapshot: snapshot.decisions.items(),
    ),
)
