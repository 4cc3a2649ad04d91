"""Demands and GPUs for tests of dispatch: GPUs of 24 GiB with 20 GiB free, and four slots each."""

from __future__ import annotations

from typing import Any

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.dispatch.demand import Demand, demand_of
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.shared.wire import GpuStatus, Need

GIB = 2**30
MARGIN = 0.2


def demand(model: str = "base", *gpu_ids: str, precision: Any = "float16", rows: int = 1) -> Demand:
    """Return the demand of a segment of 300 s."""
    need = Need(model_name=model, precision=precision, segment_duration=300, rows=rows, gpu_ids=gpu_ids)
    return demand_of(need)


def status(host: str = "a", index: int = 0, **changes: Any) -> GpuStatus:
    """Return a GPU as its node reports it."""
    memory = {"total_bytes": 24 * GIB, "free_bytes": 20 * GIB}
    return gpu_status(host, index, **(memory | changes))


def gpu(host: str = "a", index: int = 0, *, taken: int = 0, **changes: Any) -> GpuLoad:
    """Return a GPU with `taken` of its slots in use, as placement sees it."""
    return GpuLoad(status(host, index, **changes), taken)
