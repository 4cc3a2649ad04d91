"""Which GPU a segment gets: the least loaded one that has the memory for its model and that its job allows.

Pure. Load is taken slots over slots. Between equally loaded GPUs one that has the model loaded goes first.
Within a round a placement costs O(log GPUs): every distinct demand has a heap of the GPUs that can serve it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

from whisper_fleet.shared.errors import ModelDoesNotFit, RequestError, UnknownGpu
from whisper_fleet.shared.memory import Form, memory_of
from whisper_fleet.shared.models import canonical, resolve
from whisper_fleet.shared.settings import Precision
from whisper_fleet.shared.units import readable_bytes
from whisper_fleet.shared.wire import GpuStatus, Need


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A need with its memory worked out; segments with equal demands share one heap."""

    model: str  # a model's one name, or the path of a checkpoint
    precision: Precision
    on_gpu: Mapping[Form, int] = field(hash=False)  # bytes with one slot, by the form of cross-attention
    on_cpu: Mapping[Form, int] = field(hash=False)  # the same, always in float32
    gpu_ids: tuple[str, ...]

    def needed(self, gpu: GpuStatus) -> int:
        """Bytes with one slot, in the form that the GPU's engine tells; cached, which is more, if it does not."""
        if gpu.device == "cpu":
            return self.on_cpu[gpu.forms.get("float32", "cached")]
        return self.on_gpu[gpu.forms.get(self.precision, "cached")]

    def loaded_name(self, device: str) -> str:
        """As engines name a loaded model, `name/precision`."""
        return f"{self.model}/{'float32' if device == 'cpu' else self.precision}"


def demand_of(need: Need, model_dir: Path) -> Demand:
    """What a need comes to in bytes; UnknownModel or ModelUnavailable for a model that cannot be known."""
    dims = resolve(need.model_name, model_dir)

    def smallest(precision: Precision, device: str) -> dict[Form, int]:
        duration, rows = need.segment_duration, need.rows
        memory = partial(memory_of, dims, precision, device=device, segment_duration=duration, rows_per_slot=rows)
        return {form: memory(form=form).smallest for form in get_args(Form)}

    return Demand(
        model=canonical(need.model_name),
        precision=need.precision,
        on_gpu=smallest(need.precision, "cuda"),
        on_cpu=smallest("float32", "cpu"),
        gpu_ids=need.gpu_ids,
    )


class GpuLoad:
    """A GPU as placement sees it: its status, and beside it what moves as segments are placed.

    Light, because every look makes one for each GPU of the fleet.
    """

    __slots__ = ("engine_bytes", "free_bytes", "models", "status", "taken")

    def __init__(self, status: GpuStatus, taken: int) -> None:
        self.status = status
        self.taken = taken  # slots that run a segment or have one assigned, by the ledger
        self.free_bytes = status.free_bytes
        self.engine_bytes = status.engine_bytes
        self.models = status.models  # loaded, or about to be: name/precision

    @property
    def load(self) -> float:
        return self.taken / self.status.slots

    @property
    def free_slots(self) -> int:
        return max(0, self.status.slots - self.taken)


def gpu_load(status: GpuStatus, taken: int) -> GpuLoad | None:
    """A GPU of the registry with the ledger's count of taken slots; None while it can take nothing at all."""
    return GpuLoad(status, taken) if status.ready and status.slots >= 1 else None


@dataclass(frozen=True)
class Refusal:
    """Why a segment gets no GPU now; it goes on waiting."""

    reason: str


class Placement:
    """A round of placements on the GPUs that are up; what it places counts at once."""

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
        """There are GPUs, and all their slots are taken."""
        return bool(self._gpus) and not self.free_slots

    def place(self, demand: Demand, *, is_aged: bool = False) -> GpuStatus | Refusal:
        """The GPU that gets the next segment with this demand, or why none does.

        Under a backlog of other models no engine would ever be idle and give them up. So for an aged
        demand that is refused for memory one GPU takes nothing else in this round: it runs empty.
        """
        if not self._gpus:
            return Refusal("no GPU is up: start one, or wait until one is back")
        gpu = self._queue(demand).take() if self.free_slots else None
        if gpu is None:
            asked = (demand, is_aged)  # with nothing freed in a round, what was refused stays refused
            self._refused[asked] = self._refused.get(asked) or self._refuse(demand, is_aged)
            return self._refused[asked]
        if demand.loaded_name(gpu.status.device) not in gpu.models:
            self._load(demand, gpu)
        gpu.taken += 1
        self.free_slots -= 1
        return gpu.status

    def _load(self, demand: Demand, gpu: GpuLoad) -> None:
        """The engine will load the model: what comes after sees less memory, but needs no second copy."""
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
            return Refusal(f"no GPU that is up matches gpu_ids {list(demand.gpu_ids)}")
        if any(fits_now(demand, gpu, self._margin) for gpu in allowed):
            return Refusal("every slot is taken")
        if is_aged:
            self._reserve(demand, allowed)
        return Refusal(f"no GPU has memory left for {demand.model} in {demand.precision}")

    def _reserve(self, demand: Demand, allowed: Iterable[GpuLoad]) -> None:
        """Keep the least loaded GPU that would do once it is empty; emptying, it stays the least loaded."""
        able = [gpu for gpu in allowed if _fits(demand, gpu, self._margin, is_idle=True)]
        if not able:
            return
        gpu = min(able, key=lambda gpu: (gpu.status.id not in self._reserved, gpu.load, gpu.status.id))
        if gpu.status.id not in self._reserved:
            self._reserved.add(gpu.status.id)
            self.free_slots -= gpu.free_slots


class _LeastLoaded:
    """The GPUs that may serve one demand, least loaded first.

    Entries are not moved when another demand changes a GPU's load: each is compared with the present when it
    comes up. `_best` knows the one entry of a GPU that counts.
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
        """The least loaded GPU with a free slot and the memory, put back with the load it has after this."""
        while self._heap:
            gpu = self._valid_first()
            if gpu is None or gpu.load >= 1.0:
                return None
            if gpu.status.id not in self._reserved and fits_now(self._demand, gpu, self._margin):
                return gpu
            # Only the same model, loaded for another demand, makes it fit; `has_loaded` brings the GPU back.
            heapq.heappop(self._heap)
            del self._best[gpu.status.id]
        return None

    def has_loaded(self, gpu: GpuLoad) -> None:
        """The GPU has one more model loaded."""
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
    """Those on which the demand's job may run."""
    return [gpu for gpu in gpus if matches(demand.gpu_ids, gpu.status)] if demand.gpu_ids else gpus


def matches(gpu_ids: Sequence[str], gpu: GpuStatus) -> bool:
    """Whether a job with these gpu_ids may run there: a bare index on any host, host:index, or a UUID."""
    if not gpu_ids:
        return True
    names = (str(gpu.index), f"{gpu.host}:{gpu.index}", gpu.uuid, gpu.id)
    return any(gpu_id in names for gpu_id in gpu_ids)


def fits_now(demand: Demand, gpu: GpuLoad, margin: float) -> bool:
    """Whether the GPU has the model loaded, or the memory to load it; unknown memory fits."""
    is_loaded = demand.loaded_name(gpu.status.device) in gpu.models
    return is_loaded or _fits(demand, gpu, margin, is_idle=gpu.taken == 0)


def _fits(demand: Demand, gpu: GpuLoad, margin: float, *, is_idle: bool) -> bool:
    """Whether it can load the model; an idle engine gives up its others for it."""
    if gpu.free_bytes is None:
        return True
    available = gpu.free_bytes + (gpu.engine_bytes or 0 if is_idle else 0)
    return available * (1 - margin) >= demand.needed(gpu.status)


def why_unplaceable(demand: Demand, gpus: Sequence[GpuStatus], margin: float) -> RequestError | None:
    """Why none of the fleet's GPUs will ever take this demand; None when one may, or when there is no GPU."""
    if not gpus:
        return None
    allowed = [gpu for gpu in gpus if matches(demand.gpu_ids, gpu)]
    if not allowed:
        known = ", ".join(f"{gpu.host}:{gpu.index}" for gpu in gpus)
        return UnknownGpu(gpu_ids=list(demand.gpu_ids), known=known)
    if any(_fits_empty(demand, gpu, margin) for gpu in allowed):
        return None
    largest = max(allowed, key=lambda gpu: gpu.total_bytes or 0)
    return ModelDoesNotFit(
        model=demand.model,
        precision=demand.precision,
        needed=readable_bytes(demand.needed(largest)),
        largest=readable_bytes(int((largest.total_bytes or 0) * (1 - margin))),
        instead=_fitting_models(demand, largest, margin),
    )


def _fitting_models(demand: Demand, gpu: GpuStatus, margin: float) -> str:
    """The best models that would fit, for a message; or what to do where none does."""
    names = ("large-v3", "turbo", "medium", "small", "base", "tiny")
    needs = [Need(model_name=name, precision=demand.precision, segment_duration=0.0) for name in names]
    fitting = [need.model_name for need in needs if _fits_empty(demand_of(need, Path()), gpu, margin)]
    return " or ".join(fitting[:2]) or "a larger GPU"


def _fits_empty(demand: Demand, gpu: GpuStatus, margin: float) -> bool:
    return gpu.total_bytes is None or gpu.total_bytes * (1 - margin) >= demand.needed(gpu)
