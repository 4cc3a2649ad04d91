"""The fleet as `GET /v1/fleet` shows it: hosts, their GPUs, and the backlog. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from pydantic import BaseModel

from whisper_fleet.http.jobs.estimates import Estimate
from whisper_fleet.shared.http.api_keys import Scope
from whisper_fleet.shared.wire import EngineRates, GpuStatus


class GpuView(BaseModel):
    """A GPU by its last heartbeat; sizes are bytes, None where they cannot be read."""

    id: str
    index: int
    name: str
    device: str  # "cuda" or "cpu"
    is_ready: bool  # it takes work
    slots: int
    slots_busy: int
    memory_total: int | None
    memory_free: int | None
    memory_engine: int | None
    models: list[str]  # loaded now, as "name/precision"
    speed: float | None  # seconds of audio per second that it has reached recently
    rates: EngineRates | None


class HostView(BaseModel):
    """A machine with GPUs that are up."""

    name: str
    gpus: list[GpuView]


class CallerView(BaseModel):
    """Who asks: what its API key allows."""

    tenant: str
    scopes: list[Scope]
    key: str | None  # the id of the API key; None: the fleet has no keys


class FleetView(BaseModel):
    """The fleet now."""

    object: Literal["fleet"] = "fleet"
    version: str
    hosts: list[HostView]
    gpus: int
    slots: int
    slots_busy: int
    backlog_seconds: float  # of audio that waits or runs
    speed: float | None  # seconds of audio per second, of all GPUs together
    wait_seconds: float | None  # until the backlog is done
    problem: str | None  # why no request is accepted, and what to do
    caller: CallerView


def fleet_view(
    *,
    version: str,
    gpus: Sequence[GpuStatus],
    speeds: Mapping[str, float],
    backlog: Estimate,
    problem: str | None,
    caller: CallerView,
) -> FleetView:
    """Return what the API shows of a fleet; hosts by name, GPUs by index."""
    ordered = sorted(gpus, key=lambda gpu: (gpu.host, gpu.index))
    return FleetView(
        version=version,
        hosts=[
            HostView(name=host, gpus=[_gpu_view(gpu, speeds.get(gpu.id)) for gpu in of_host])
            for host, of_host in groupby(ordered, key=lambda gpu: gpu.host)
        ],
        gpus=len(ordered),
        slots=sum(gpu.slots for gpu in ordered),
        slots_busy=sum(gpu.busy for gpu in ordered),
        backlog_seconds=backlog.backlog_seconds,
        speed=backlog.speed,
        wait_seconds=backlog.wait_seconds,
        problem=problem,
        caller=caller,
    )


def _gpu_view(gpu: GpuStatus, speed: float | None) -> GpuView:
    return GpuView(
        id=gpu.id,
        index=gpu.index,
        name=gpu.name,
        device=gpu.device,
        is_ready=gpu.ready,
        slots=gpu.slots,
        slots_busy=gpu.busy,
        memory_total=gpu.total_bytes,
        memory_free=gpu.free_bytes,
        memory_engine=gpu.engine_bytes,
        models=list(gpu.models),
        speed=None if speed is None else round(speed, 1),
        rates=gpu.rates,
    )
