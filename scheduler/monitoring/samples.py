"""Where the samples of metrics come from: each function reads some of a snapshot, or returns one that does. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from whisper_fleet.scheduler.monitoring.metric_spec import Sample
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, GpuSnapshot
from whisper_fleet.shared.wire import EngineRates


def per_gpu(value: Callable[[GpuSnapshot], float | None]) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of one sample per GPU."""
    return lambda snapshot: [((gpu.status.id,), value(gpu)) for gpu in snapshot.gpus]


def per_engine(value: Callable[[EngineRates], float]) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of one sample per engine; the last rates of a GPU that is down are no longer true."""

    def of(gpu: GpuSnapshot) -> float | None:
        return value(gpu.status.rates) if gpu.is_up and gpu.status.rates else None

    return per_gpu(of)


def counted(count: str, labels: Iterable[str]) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of the ledger's counts of this name, see `keys.COUNTS`, which are 0 before the first event."""
    return lambda snapshot: _counts(snapshot, count, labels)


def counted_per_gpu(count: str) -> Callable[[FleetSnapshot], Iterable[Sample]]:
    """Return a source of the ledger's counts of this name for each GPU."""
    return lambda snapshot: _counts(snapshot, count, [gpu.status.id for gpu in snapshot.gpus])


def _counts(snapshot: FleetSnapshot, count: str, labels: Iterable[str]) -> Iterable[Sample]:
    """Return a sample for each label, and for those that were counted though they are not listed any more.

    A counter that appears with its first event hides that event from `increase()`.
    """
    split = ((field.partition("/"), value) for field, value in snapshot.counts.items())
    counted = {label: value for (name, _, label), value in split if name == count}
    return [((label,), value) for label, value in (dict.fromkeys(labels, 0.0) | counted).items()]


def memory(snapshot: FleetSnapshot) -> Iterator[Sample]:
    for gpu in snapshot.gpus:
        total, free = gpu.status.total_bytes, gpu.status.free_bytes
        used = None if total is None or free is None else total - free
        kinds = {"total": total, "free": free, "used": used, "engine": gpu.status.engine_bytes}
        yield from (((gpu.status.id, kind), size) for kind, size in kinds.items())


def engine_time(snapshot: FleetSnapshot) -> Iterator[Sample]:
    for gpu in snapshot.gpus:
        if (rates := gpu.status.rates) is None or not gpu.is_up:
            continue
        yield (gpu.status.id, "encode"), rates.share_encode
        yield (gpu.status.id, "prefill"), rates.share_prefill
        yield (gpu.status.id, "decode"), rates.share_decode
        yield (gpu.status.id, "idle"), rates.share_idle


def segments(snapshot: FleetSnapshot) -> Iterable[Sample]:
    taken = sum(gpu.taken for gpu in snapshot.gpus)
    running = min(taken, sum(gpu.status.busy for gpu in snapshot.gpus if gpu.is_up))
    waiting = sum(segments for _, segments in snapshot.depth.values())
    return [(("waiting",), waiting), (("assigned",), taken - running), (("running",), running)]


def gpu_seconds(snapshot: FleetSnapshot) -> float | None:
    """Return the time that one average GPU needs for the backlog; None while no speed is known and something waits."""
    if snapshot.backlog == 0:
        return 0.0
    speeds = [speed for speed in snapshot.speeds.values() if speed > 0]
    return snapshot.backlog * len(speeds) / sum(speeds) if speeds else None
