"""Puts together what a node reports to the registry, from what the engine and the pool report."""

from __future__ import annotations

from dataclasses import dataclass

from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.wire import DeviceFacts, EngineRates, GpuStatus, ProcessFacts
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.engine_command import Device
from whisper_fleet.workers.pool.slots import Slots


@dataclass(frozen=True, kw_only=True)
class NodeIdentity:
    """What a node is from its start to its end."""

    name: str  # Celery node name
    gpu: GpuName
    device: Device
    started: float  # Unix seconds


def gpu_status(node: NodeIdentity, stats: EngineStats, slots: Slots, now: float, *, ready: bool) -> GpuStatus:
    """Return the status of a node's GPU at `now`."""
    process = ProcessFacts(
        node=node.name,
        queue=node.gpu.queue,
        slots=slots.limit,
        busy=slots.busy,
        ready=ready,
        started=node.started,
        heartbeat=now,
    )
    return GpuStatus(**dict(device_facts(node.gpu, node.device, stats)), **dict(process))


def device_facts(gpu: GpuName, device: Device, stats: EngineStats) -> DeviceFacts:
    """Return what the engine reports of its GPU and of itself; on a CPU, memory is the host's."""
    total, free, held = stats.total_bytes, stats.free_bytes, sum(stats.memory_bytes.values())
    if device == "cpu":
        host = read_host()
        total, free = host.total_bytes, host.free_bytes
        # The cache is part of the engine's process. Counted twice, more slots would make more slots fit.
        held = stats.memory_bytes.get("process", 0)
    return DeviceFacts(
        id=str(gpu),
        host=gpu.host,
        index=gpu.index,
        uuid=stats.uuid or device,
        name=stats.name or device,
        device=device,
        total_bytes=total,
        free_bytes=free,
        engine_bytes=held,
        engine_pid=stats.pid,
        models=stats.models,
        dims={name: dims for name, dims in stats.dims.items() if name not in MODELS} or None,
        forms=stats.forms,
        rates=EngineRates(**stats.model_dump(include=set(EngineRates.model_fields))),
    )
