"""Whether node, engine, NVML and registry mean the same GPU by the same number."""

from __future__ import annotations

from typing import Any

import psutil

from benchmarks.gpu.fleet.live import LiveFleet
from whisper_fleet.scheduler.capacity.devices import engine_bytes
from whisper_fleet.scheduler.capacity.nvml import GpuReading, read_gpus
from whisper_fleet.shared.wire import GpuStatus


def identities(fleet: LiveFleet) -> list[dict[str, Any]]:
    """Return one entry per GPU of the registry."""
    gpus = {gpu.index: gpu for gpu in read_gpus(visible=fleet.settings.cuda_visible_devices).gpus}
    return [_identity(status, gpus[status.index]) for status in fleet.gpus()]


def _identity(status: GpuStatus, gpu: GpuReading) -> dict[str, Any]:
    return {
        "id": status.id,
        "name": status.name,
        "device": status.device,
        "registry_uuid": status.uuid,
        "nvml_uuid": gpu.uuid,
        "same_uuid": status.uuid == gpu.uuid,
        "engine_pid": status.engine_pid,
        "nvml_processes": None if gpu.processes is None else [(one.pid, one.used_bytes) for one in gpu.processes],
        "nvml_of_engine": gpu.used_by(status.engine_pid),
        "engine_by_itself": status.engine_bytes,
        "believed": engine_bytes(gpu, status),
        "engine_environment": _cuda_environment(status.engine_pid),
    }


def _cuda_environment(pid: int | None) -> dict[str, str]:
    try:
        environment = psutil.Process(pid).environ()
    except psutil.Error:
        return {}
    return {name: value for name, value in environment.items() if name.startswith("CUDA_")}
