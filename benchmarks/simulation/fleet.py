"""The fleet and the work of the simulation: GPUs of mixed sizes, and jobs of mixed lengths."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from whisper_fleet.scheduler.capacity.devices import Devices, budget_of
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.scheduler.capacity.policies.memory import MemoryPolicy
from whisper_fleet.scheduler.capacity.slots import SlotCount, SlotLimits, combined
from whisper_fleet.scheduler.dispatch.demand import Demand, demand_of
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.shared import models
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.memory import ModelMemory, memory_of
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, Need

GIB: Final = 2**30
SEGMENT_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU model; `speed` is times realtime for large-v3 with all slots busy."""

    name: str
    total_gib: float
    speed: float


#: The H200 was measured; the others are scaled from it by memory bandwidth.
CARDS: Final = (
    Card(name="T4", total_gib=15, speed=95),
    Card(name="L4", total_gib=22.5, speed=90),
    Card(name="A10", total_gib=22.5, speed=180),
    Card(name="RTX 4090", total_gib=24, speed=300),
    Card(name="A100 40", total_gib=40, speed=460),
    Card(name="A100 80", total_gib=80, speed=600),
    Card(name="H100", total_gib=80, speed=1000),
    Card(name="H200", total_gib=141, speed=1432),
)

#: Per model: its speed relative to large-v3 on the same card, and its share of the jobs.
MODELS: Final = {
    "large-v3": (1.0, 0.35),
    "large-v3-turbo": (2.34, 0.40),
    "medium": (1.8, 0.15),
    "base": (10.0, 0.10),
}

CLIP_TENANT: Final = "clips"
_TURBO: Final = "large-v3-turbo"
_POLICY: Final = MemoryPolicy(SlotLimits.of(Settings(min_concurrent_tasks=1)))
#: Each GPU's share of its host.
_HOST: Final = HostReading(total_bytes=64 * GIB, free_bytes=64 * GIB, cores=16)


@dataclass(kw_only=True, eq=False)
class Gpu:
    """A simulated GPU; `models` and `taken` stand for what the engine and the ledger report."""

    id: str
    host: str
    index: int
    card: Card
    slots: int = 1
    wanted_before: int | None = None
    taken: int = 0
    models: set[str] = field(default_factory=set)
    co_tenant_bytes: int = 0
    is_up: bool = True  # it works
    is_seen: bool = True  # its heartbeat is not older than the timeout
    generation: int = 0  # how often it failed: what it ran before is lost
    _reported: tuple[tuple[int, int, frozenset[str]], GpuStatus] | None = None

    @property
    def total_bytes(self) -> int:
        return int(self.card.total_gib * GIB)

    def engine_bytes(self, memories: dict[str, ModelMemory]) -> int:
        """Return the bytes that its engine holds: the loaded models with the current slots."""
        if not self.models:
            return 0
        held = combined([memories[name] for name in self.models]).total(self.slots)
        return min(held, self.total_bytes - self.co_tenant_bytes)

    def load(self, memories: dict[str, ModelMemory]) -> GpuLoad:
        """Return the GPU as placement sees it."""
        reported = (self.slots, self.co_tenant_bytes, frozenset(self.models))
        if self._reported is None or self._reported[0] != reported:  # building it takes most of the time
            self._reported = reported, self._status(memories)
        return GpuLoad(self._reported[1], self.taken)

    def _status(self, memories: dict[str, ModelMemory]) -> GpuStatus:
        held = self.engine_bytes(memories)
        return GpuStatus.model_construct(
            id=self.id,
            host=self.host,
            index=self.index,
            uuid=self.id,
            device="cuda",
            slots=self.slots,
            busy=0,
            total_bytes=self.total_bytes,
            free_bytes=self.total_bytes - self.co_tenant_bytes - held,
            engine_bytes=held,
            models=tuple(self.models),
        )

    def count(self, memories: dict[str, ModelMemory]) -> SlotCount:
        """Return the slots that the autoscaler would count."""
        status = self._status(memories)
        reading = GpuReading(index=self.index, total_bytes=status.total_bytes, free_bytes=status.free_bytes)
        devices = Devices(gpus=(reading,), device="cuda", host=_HOST)
        loaded = [memories[name] for name in self.models] or [memories["large-v3/float16"]]
        memory = combined(loaded)
        return _POLICY.count(budget_of(reading, devices, status, memory), memory)

    def seconds_for(self, audio_seconds: float, model: str, noise: float) -> float:
        """Return the seconds that one slot takes for this audio when all slots are busy."""
        speed = self.card.speed * MODELS[model][0] / self.slots
        return audio_seconds / speed * noise


@dataclass(frozen=True, kw_only=True)
class SimulatedJob:
    """A submitted file."""

    id: str
    tenant: str
    priority: int
    need: Need
    model: str  # as MODELS names it
    seconds: float
    accepted: float

    def segments(self) -> int:
        return max(1, -(-int(self.seconds) // int(SEGMENT_SECONDS)))

    def segment_seconds(self) -> float:
        return self.seconds / self.segments()


def make_fleet(gpus: int, rng: random.Random) -> list[Gpu]:
    """Return the GPUs of hosts with eight cards of one kind each."""
    fleet = []
    for number in range(gpus):
        if number % 8 == 0:
            card = rng.choice(CARDS)
        host = f"host{number // 8:03}"
        fleet.append(Gpu(id=f"{host}.{number % 8}", host=host, index=number % 8, card=card))
    return fleet


def make_jobs(segments: int, rng: random.Random, priority: int | None = None) -> Iterator[SimulatedJob]:
    """Yield files with this total of segments: mostly clips, with much of the audio in a few long recordings.

    All have `priority` if it is given, else one of three.
    """
    made = number = 0
    while made < segments:
        job = _job(f"job{number:07}", _seconds(rng), 0.0, rng)
        job = job if priority is None else replace(job, priority=priority)
        made += job.segments()
        number += 1
        yield job


def make_backlog(hours: int) -> Iterator[SimulatedJob]:
    """Yield ten-hour recordings for turbo, all from the tenant that submits the clips."""
    need = Need(model_name=_TURBO, precision="float16", segment_duration=SEGMENT_SECONDS)
    for number in range(max(1, hours // 10)):
        yield SimulatedJob(
            id=f"job{number:07}",
            tenant=CLIP_TENANT,
            priority=5,
            need=need,
            model=_TURBO,
            seconds=36000.0,
            accepted=0.0,
        )


def make_clip(number: int, now: float) -> SimulatedJob:
    """Return a ten-second clip for turbo at the default priority."""
    need = Need(model_name=_TURBO, precision="float16", segment_duration=SEGMENT_SECONDS)
    name = f"clip{number:06}"
    return SimulatedJob(id=name, tenant=CLIP_TENANT, priority=5, need=need, model=_TURBO, seconds=10.0, accepted=now)


def demands() -> dict[Need, Demand]:
    """Return the demand of every need that jobs of the simulation have."""
    demands = {}
    for model in MODELS:
        for gpu_ids in ((), ("3",)):
            need = Need(model_name=model, precision="float16", segment_duration=SEGMENT_SECONDS, gpu_ids=gpu_ids)
            demands[need] = demand_of(need)
    return demands


def model_memories() -> dict[str, ModelMemory]:
    """Return the memory of each model by its loaded name; every card uses the cached form of cross-attention."""
    return {
        f"{name}/float16": memory_of(models.MODELS[name], "float16", device="cuda", segment_duration=SEGMENT_SECONDS)
        for name in MODELS
    }


def _job(name: str, seconds: float, now: float, rng: random.Random) -> SimulatedJob:
    model = rng.choices(list(MODELS), [share for _, share in MODELS.values()])[0]
    gpu_ids = ("3",) if rng.random() < 0.01 else ()
    return SimulatedJob(
        id=name,
        tenant=f"t{min(int(rng.expovariate(0.7)), 7)}",
        priority=rng.choices((2, 5, 8), (0.1, 0.8, 0.1))[0],
        need=Need(model_name=model, precision="float16", segment_duration=SEGMENT_SECONDS, gpu_ids=gpu_ids),
        model=model,
        seconds=seconds,
        accepted=now,
    )


def _seconds(rng: random.Random) -> float:
    kind = rng.random()
    if kind < 0.6:
        return rng.uniform(5, 120)
    if kind < 0.9:
        return min(3600.0, rng.lognormvariate(6.9, 0.6))
    return rng.uniform(3600, 36000)
