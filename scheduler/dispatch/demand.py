"""What a segment demands of a GPU, and whether a GPU can meet it: memory, the loaded model, and `gpu_ids`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.shared.errors import ModelDoesNotFit, ModelUnavailable, RequestError, UnknownGpu
from whisper_fleet.shared.memory import memory_of
from whisper_fleet.shared.models import BEST_FIRST, MODELS, Form, ModelDims, Precision, canonical
from whisper_fleet.shared.units import readable_bytes
from whisper_fleet.shared.wire import GpuStatus, Need

#: How many smaller models an error suggests.
_SUGGESTIONS = 2


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A need in bytes; segments with equal demands share one heap of GPUs."""

    model: str  # the canonical name of a model, or the path of a checkpoint
    precision: Precision
    on_gpu: Mapping[Form, int] = field(hash=False)  # bytes with one slot, by the form of cross-attention
    on_cpu: Mapping[Form, int] = field(hash=False)  # the same on a CPU, which always computes in float32
    gpu_ids: tuple[str, ...]

    def needed(self, gpu: GpuStatus) -> int:
        """Return the bytes needed for one slot on this GPU.

        The engine reports its form of cross-attention. If it has not, assume cached, which needs more.
        """
        if gpu.device == "cpu":
            return self.on_cpu[gpu.forms.get("float32", "cached")]
        return self.on_gpu[gpu.forms.get(self.precision, "cached")]

    def loaded_name(self, device: str) -> str:
        """Return the name under which an engine on `device` lists the model once it is loaded: `name/precision`."""
        return f"{self.model}/{'float32' if device == 'cpu' else self.precision}"


def known_dims(need: Need) -> ModelDims:
    """Return the dimensions of the model of a need, which intake entered; raises ModelUnavailable if it did not."""
    dims = MODELS.get(need.model_name) or need.dims
    if dims is None:
        reason = "its job was planned by a version that did not record the model's dimensions: submit the job again"
        raise ModelUnavailable(model=need.model_name, reason=reason)
    return dims


def demand_of(need: Need, dims: ModelDims | None = None) -> Demand:
    """Translate a need into bytes, for a model of these dimensions; None: those of the need, see `known_dims`."""
    dims = dims or known_dims(need)

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


def matches(gpu_ids: Sequence[str], gpu: GpuStatus) -> bool:
    """Return whether `gpu_ids` allow this GPU: an index means that index on any host; also host:index or a UUID."""
    if not gpu_ids:
        return True
    names = (str(gpu.index), gpu.selector, gpu.uuid, gpu.id)
    return any(gpu_id in names for gpu_id in gpu_ids)


def fits_now(demand: Demand, gpu: GpuLoad, margin: float) -> bool:
    """Return whether the GPU has loaded the model or has the memory to load it; unknown memory counts as enough."""
    if demand.loaded_name(gpu.status.device) in gpu.models:
        return True
    if gpu.taken == 0:
        return fits_when_idle(demand, gpu, margin)
    return gpu.free_bytes is None or _suffices(gpu.free_bytes, demand, gpu.status, margin)


def fits_when_idle(demand: Demand, gpu: GpuLoad, margin: float) -> bool:
    """Return whether the GPU could load the model while no slot is busy: an idle engine unloads its other models."""
    if gpu.free_bytes is None:
        return True
    return _suffices(gpu.free_bytes + (gpu.engine_bytes or 0), demand, gpu.status, margin)


def why_unplaceable(demand: Demand, gpus: Sequence[GpuStatus], margin: float) -> RequestError | None:
    """Return the error for a demand that none of these GPUs can ever meet.

    None if one of them may meet it, or if there is no GPU: a fleet without GPUs can still get some.
    """
    if not gpus:
        return None
    allowed = [gpu for gpu in gpus if matches(demand.gpu_ids, gpu)]
    if not allowed:
        known = ", ".join(gpu.selector for gpu in gpus)
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
    """Return what the error suggests: the best models that would fit this GPU, or a larger GPU."""
    needs = [Need(model_name=name, precision=demand.precision, segment_duration=0.0) for name in BEST_FIRST]
    fitting = [need.model_name for need in needs if _fits_empty(demand_of(need), gpu, margin)]
    return " or ".join(fitting[:_SUGGESTIONS]) or "a larger GPU"


def _fits_empty(demand: Demand, gpu: GpuStatus, margin: float) -> bool:
    return gpu.total_bytes is None or _suffices(gpu.total_bytes, demand, gpu, margin)


def _suffices(available_bytes: int, demand: Demand, gpu: GpuStatus, margin: float) -> bool:
    return available_bytes * (1 - margin) >= demand.needed(gpu)
