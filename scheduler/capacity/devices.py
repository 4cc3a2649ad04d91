"""What this host can compute on: its GPUs, or `cpu:0` where there is none, each with its budget of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whisper_fleet.scheduler.capacity.nvml import GpuReading, read_gpus
from whisper_fleet.scheduler.capacity.slots import Budget, SlotCount, SlotLimits, combined, count_slots
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.host import HostReading, read_host
from whisper_fleet.shared.memory import CUDA_CONTEXT_BYTES, ELEMENT_BYTES, ModelMemory, forms_of, memory_of
from whisper_fleet.shared.models import Form, Precision, resolve
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus


@dataclass(frozen=True, kw_only=True)
class Devices:
    """A host's devices at one moment."""

    gpus: tuple[GpuReading, ...]  # with index 0 and UUID "cpu" for a host without GPUs
    device: str  # cuda or cpu, of all of them
    host: HostReading
    driver: str | None = None
    problem: str | None = None  # why there is no GPU; None: there is one


def read_devices(settings: Settings) -> Devices:
    """The GPUs that this host's share of the fleet runs on; a host without any is `cpu:0`."""
    host = read_host()
    if settings.device == "cpu":
        return Devices(gpus=(_cpu(host),), device="cpu", host=host, problem="the settings ask for the CPU")
    nvml = read_gpus(visible=settings.cuda_visible_devices, exclude=settings.exclude_gpus)
    if nvml.gpus:
        return Devices(gpus=nvml.gpus, device="cuda", host=host, driver=nvml.driver)
    problem = nvml.problem or "the driver shows no GPU, or the settings hide all"
    return Devices(gpus=(_cpu(host),), device="cpu", host=host, driver=nvml.driver, problem=problem)


def _cpu(host: HostReading) -> GpuReading:
    used = host.total_bytes - host.free_bytes
    return GpuReading(
        index=0,
        uuid="cpu",
        name=host.name,
        total_bytes=host.total_bytes,
        free_bytes=host.free_bytes,
        used_bytes=used,
    )


def slots_of(gpu: GpuReading, devices: Devices, status: GpuStatus | None, settings: Settings) -> SlotCount | None:
    """The slots that a device should have; None where `problem_of` says why it cannot be counted."""
    if problem_of(gpu, devices, status) is not None:
        return None
    forms = _forms(gpu, status, settings)
    memory = combined(_memories(status.models if status else (), forms, devices.device, settings))
    budget = budget_of(gpu, devices, status, memory)
    return count_slots(budget, memory, SlotLimits.of(settings))


def problem_of(gpu: GpuReading, devices: Devices, status: GpuStatus | None) -> str | None:
    """Why a device cannot be read or used; None: it can.

    Where NVML stops to answer, a host of GPUs looks like one without. Its GPU nodes run on, and are no CPU's.
    """
    if gpu.problem is not None:
        return gpu.problem
    if status is not None and status.device != devices.device:
        return f"its node computes on {status.device}, but: {devices.problem or 'the driver shows a GPU'}"
    return None


def budget_of(gpu: GpuReading, devices: Devices, status: GpuStatus | None, memory: ModelMemory) -> Budget:
    """What a device may use; its GPUs share a host's memory and cores evenly."""
    sharing = len(devices.gpus)
    engine = None
    busy = 0
    if status is not None:
        engine = engine_bytes(gpu, status)
        busy = status.busy
    host_share = devices.host.free_bytes // sharing + busy * memory.host
    return Budget(
        device=devices.device,
        total_bytes=gpu.total_bytes,
        free_bytes=gpu.free_bytes,
        engine_bytes=engine,
        host_free_bytes=None if devices.device == "cpu" else host_share,
        cores=max(1, devices.host.cores // sharing),
    )


def engine_bytes(gpu: GpuReading, status: GpuStatus) -> int | None:
    """What our engine holds of a GPU: NVML's account of its process, else the engine's own.

    In a container NVML hides processes, or numbers them otherwise, so that another tenant's may carry our
    engine's number. Its account is believed where it is the engine's own plus what a CUDA context takes.
    """
    by_nvml, own = gpu.used_by(status.engine_pid), status.engine_bytes
    if by_nvml is None or own is None:
        return own if by_nvml is None else by_nvml
    return by_nvml if own <= by_nvml <= own + 2 * CUDA_CONTEXT_BYTES else own


def _forms(gpu: GpuReading, status: GpuStatus | None, settings: Settings) -> dict[Precision, Form]:
    """Of cross-attention, as the engine says; where it has not, as its GPU would have it."""
    return forms_of(settings.cross_attention, gpu.capability) | (status.forms if status else {})


def _memories(
    loaded: Sequence[str], forms: Mapping[Precision, Form], device: str, settings: Settings
) -> list[ModelMemory]:
    """Of what the engine has loaded, as `name/precision`; of the default model while it has nothing."""
    found = [memory for name in loaded if (memory := _loaded_memory(name, forms, device, settings)) is not None]
    return found or [_memory(settings.default_model, settings.default_precision, forms, device, settings)]


def _loaded_memory(loaded: str, forms: Mapping[Precision, Form], device: str, settings: Settings) -> ModelMemory | None:
    name, _, precision = loaded.rpartition("/")
    known = next((known for known in ELEMENT_BYTES if known == precision), None)
    if known is None:
        return None
    try:
        return _memory(name, known, forms, device, settings)
    except FleetError:  # its checkpoint has gone since it was loaded
        return None


def _memory(
    model: str, asked: Precision, forms: Mapping[Precision, Form], device: str, settings: Settings
) -> ModelMemory:
    dims = resolve(model, settings.models)
    precision: Precision = "float32" if device == "cpu" else asked
    duration, form = settings.segment_duration, forms[precision]
    return memory_of(dims, precision, device=device, segment_duration=duration, form=form)
