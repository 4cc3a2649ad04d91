"""Chooses the GPU for a segment: the least loaded one that its job allows and that has memory for its model. Pure.

Load is taken slots over slots. Among equally loaded GPUs, one that has loaded the model comes first.
A placement costs O(log GPUs): each distinct demand of a round has a heap of the GPUs that can serve it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from whisper_fleet.scheduler.dispatch.demand import Demand, fits_now, fits_when_idle, matches
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.shared.wire import GpuStatus


class RefusalKind(Enum):
    """Why a segment cannot be placed, for code; `Refusal.reason` is for people."""

    NO_GPU_UP = auto()
    NO_GPU_ALLOWED = auto()  # none that is up matches gpu_ids
    ALL_SLOTS_TAKEN = auto()  # the ordinary state of a busy fleet
    NO_MEMORY_LEFT = auto()
    MODEL_UNAVAILABLE = auto()  # its checkpoint cannot be read


@dataclass(frozen=True)
class Refusal:
    """A segment that gets no GPU in this round and keeps waiting."""

    kind: RefusalKind
    reason: str


class Placement:
    """One round of placements on the GPUs that are up; each placement counts towards the next."""

    def __init__(self, gpus: Iterable[GpuLoad], *, margin: float) -> None:
        self._gpus = list(gpus)
        self._margin = margin
        self._queues: dict[Demand, _LeastLoaded] = {}
        self._refused: dict[tuple[Demand, bool], Refusal] = {}
        self._reserved: set[str] = set()
        self._open = [gpu for gpu in self._gpus if gpu.taken < gpu.status.slots]
        self.free_slots = sum(gpu.free_slots for gpu in self._open)

    @property
    def is_full(self) -> bool:
        """Return whether there are GPUs and all their slots are taken."""
        return bool(self._gpus) and not self.free_slots

    def place(self, demand: Demand, *, is_aged: bool = False) -> GpuStatus | Refusal:
        """Take a slot for a segment with this demand and return its GPU, or return why there is none.

        While other models have a backlog, no engine becomes idle and unloads them. So an aged demand that is
        refused for lack of memory reserves one GPU: nothing else is placed on it in this round, and it drains.
        """
        if not self._gpus:
            return Refusal(RefusalKind.NO_GPU_UP, "no GPU is up: start one, or wait until one is back")
        gpu = self._queue(demand).take() if self.free_slots else None
        if gpu is None:
            key = (demand, is_aged)  # no slot is freed during a round, so a refusal holds until its end
            self._refused[key] = self._refused.get(key) or self._refuse(demand, is_aged)
            return self._refused[key]
        if demand.loaded_name(gpu.status.device) not in gpu.models:
            self._load(demand, gpu)
        gpu.taken += 1
        self.free_slots -= 1
        return gpu.status

    def _load(self, demand: Demand, gpu: GpuLoad) -> None:
        """Account for the model that the engine will load: later demands see less memory, but share this copy."""
        needed = demand.needed(gpu.status)
        if gpu.free_bytes is not None:
            if gpu.free_bytes * (1 - self._margin) < needed:
                gpu.free_bytes, gpu.engine_bytes, gpu.models = gpu.free_bytes + (gpu.engine_bytes or 0), 0, ()
            gpu.free_bytes -= needed
            gpu.engine_bytes = (gpu.engine_bytes or 0) + needed
        gpu.models = (*gpu.models, demand.loaded_name(gpu.status.device))
        for queue in self._queues.values():
            queue.has_loaded(gpu)

    def _queue(self, demand: Demand) -> _LeastLoaded:
        if demand not in self._queues:
            allowed = _allowed(demand, self._open)
            self._queues[demand] = _LeastLoaded(demand, allowed, self._margin, self._reserved)
        return self._queues[demand]

    def _refuse(self, demand: Demand, is_aged: bool) -> Refusal:
        allowed = _allowed(demand, self._gpus)
        if not allowed:
            reason = f"no GPU that is up matches gpu_ids {list(demand.gpu_ids)}"
            return Refusal(RefusalKind.NO_GPU_ALLOWED, reason)
        if any(fits_now(demand, gpu, self._margin) for gpu in allowed):
            return Refusal(RefusalKind.ALL_SLOTS_TAKEN, "every slot is taken")
        if is_aged:
            self._reserve(demand, allowed)
        reason = f"no GPU has memory left for {demand.model} in {demand.precision}"
        return Refusal(RefusalKind.NO_MEMORY_LEFT, reason)

    def _reserve(self, demand: Demand, allowed: Iterable[GpuLoad]) -> None:
        """Reserve the least loaded GPU that could serve the demand once drained.

        Draining only lowers its load, so later rounds choose the same GPU.
        """
        able = [gpu for gpu in allowed if fits_when_idle(demand, gpu, self._margin)]
        if not able:
            return
        gpu = min(able, key=lambda gpu: (gpu.status.id not in self._reserved, gpu.load, gpu.status.id))
        if gpu.status.id not in self._reserved:
            self._reserved.add(gpu.status.id)
            self.free_slots -= gpu.free_slots


class _LeastLoaded:
    """The GPUs that may serve one demand, least loaded first.

    When another demand changes a GPU's load, its entry stays where it is and is corrected when it reaches the top.
    `_best` holds the one valid entry per GPU.
    """

    def __init__(self, demand: Demand, gpus: Iterable[GpuLoad], margin: float, reserved: Collection[str]) -> None:
        self._demand = demand
        self._loaded_names = {device: demand.loaded_name(device) for device in ("cuda", "cpu")}
        self._reserved = reserved
        self._margin = margin
        self._members = {gpu.status.id: gpu for gpu in gpus}
        self._best = {gpu_id: self._key(gpu) for gpu_id, gpu in self._members.items()}
        self._heap = list(self._best.values())
        heapq.heapify(self._heap)

    def take(self) -> GpuLoad | None:
        """Return the least loaded GPU that has a free slot and the memory; its entry stays in the heap."""
        while self._heap:
            gpu = self._valid_first()
            if gpu is None or gpu.load >= 1.0:
                return None
            if gpu.status.id not in self._reserved and fits_now(self._demand, gpu, self._margin):
                return gpu
            # It fits again only if another demand loads the same model; then `has_loaded` adds it again.
            heapq.heappop(self._heap)
            del self._best[gpu.status.id]
        return None

    def has_loaded(self, gpu: GpuLoad) -> None:
        """Note that one more model is loaded on the GPU, which may move it forward."""
        gpu_id = gpu.status.id
        if gpu_id not in self._members:
            return
        key = self._key(gpu)
        if gpu_id not in self._best or key < self._best[gpu_id]:
            self._push(key)

    def _valid_first(self) -> GpuLoad | None:
        while self._heap:
            entry = self._heap[0]
            gpu = self._members[entry[2]]
            if self._best.get(entry[2]) != entry:
                heapq.heappop(self._heap)
            elif (key := self._key(gpu)) != entry:
                heapq.heappop(self._heap)
                self._push(key)
            else:
                return gpu
        return None

    def _push(self, key: tuple[float, bool, str]) -> None:
        self._best[key[2]] = key
        heapq.heappush(self._heap, key)

    def _key(self, gpu: GpuLoad) -> tuple[float, bool, str]:
        status = gpu.status
        return gpu.taken / status.slots, self._loaded_names[status.device] not in gpu.models, status.id


def _allowed(demand: Demand, gpus: list[GpuLoad]) -> list[GpuLoad]:
    """Return the GPUs on which the demand's job may run."""
    return [gpu for gpu in gpus if matches(demand.gpu_ids, gpu.status)] if demand.gpu_ids else gpus
