"""What a host can compute on: its GPUs, or `cpu:0` if it has none, each with its memory budget and its slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisper_fleet.scheduler.capacity.nvml import GpuReading, read_gpus
from whisper_fleet.scheduler.capacity.policies import SlotPolicy, policy_of
from whisper_fleet.scheduler.capacity.slots import Budget, SlotCount, combined
from whisper_fleet.shared.files.checkpoints import resolve
from whisper_fleet.shared.host import HostReading, read_host
from whisper_fleet.shared.memory import CUDA_CONTEXT_BYTES, ELEMENT_BYTES, ModelMemory, forms_of, memory_of
from whisper_fleet.shared.models import MODELS, Form, ModelDims, Precision
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of a host at one moment."""

    gpus: tuple[GpuReading, ...]  # for a host without GPUs: one with index 0 and UUID "cpu"
    device: str  # cuda or cpu, for all of them
    host: HostReading
    driver: str | None = None
    problem: str | None = None  # why there is no GPU; None if there is one


def read_devices(settings: Settings) -> Devices:
    """Read the GPUs of this host that the fleet may use; a host without any is `cpu:0`."""
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


def slots_of(
    gpu: GpuReading,
    devices: Devices,
    status: GpuStatus | None,
    settings: Settings,
    policy: SlotPolicy | None = None,
) -> SlotCount | None:
    """Return the slots that a device should have by `policy`, by default the one that the settings name.

    `status` is what its node reports, None if there is no node. Returns None if the slots cannot be counted;
    `problem_of` gives the reason.
    """
    if problem_of(gpu, devices, status) is not None:
        return None
    forms = _forms(gpu, status, settings)
    memory = combined(_memories(status, forms, devices.device, settings))
    return (policy or policy_of(settings)).count(budget_of(gpu, devices, status, memory), memory)


def problem_of(gpu: GpuReading, devices: Devices, status: GpuStatus | None) -> str | None:
    """Return why a device cannot be read or used, or None if it can.

    When NVML fails, a host with GPUs looks like one without. Its GPU nodes keep running and must not be sized as a CPU.
    """
    if gpu.problem is not None:
        return gpu.problem
    if status is not None and status.device != devices.device:
        return f"its node computes on {status.device}, but: {devices.problem or 'the driver shows a GPU'}"
    return None


def budget_of(gpu: GpuReading, devices: Devices, status: GpuStatus | None, memory: ModelMemory) -> Budget:
    """Return what a device may use; the GPUs of a host share its memory and its cores evenly."""
    sharing = len(devices.gpus)
    busy = status.busy if status else 0
    host_share = devices.host.free_bytes // sharing + busy * memory.host  # busy slots already hold theirs
    return Budget(
        device=devices.device,
        total_bytes=gpu.total_bytes,
        free_bytes=gpu.free_bytes,
        engine_bytes=engine_bytes(gpu, status) if status else None,
        host_free_bytes=None if devices.device == "cpu" else host_share,
        cores=max(1, devices.host.cores // sharing),
    )


def engine_bytes(gpu: GpuReading, status: GpuStatus) -> int | None:
    """Return the bytes that our engine holds on a GPU: as NVML reports them for its process, else as it reports itself.

    In a container NVML hides processes or numbers them differently, so that another tenant's process may have our
    engine's number. NVML is trusted if it reports the engine's figure plus what a CUDA context takes.
    """
    by_nvml, by_engine = gpu.used_by(status.engine_pid), status.engine_bytes
    if by_nvml is None or by_engine is None:
        return by_engine if by_nvml is None else by_nvml
    return by_nvml if by_engine <= by_nvml <= by_engine + 2 * CUDA_CONTEXT_BYTES else by_engine


def _forms(gpu: GpuReading, status: GpuStatus | None, settings: Settings) -> dict[Precision, Form]:
    """Return the form of cross-attention per precision: reported by the engine, else predicted from the GPU."""
    return forms_of(settings.cross_attention, gpu.capability) | (status.forms if status else {})


def _memories(
    status: GpuStatus | None, forms: Mapping[Precision, Form], device: str, settings: Settings
) -> list[ModelMemory]:
    """Return the memory of each loaded model (`name/precision`), or of the default model if there is none.

    The engine reports the dimensions of checkpoints that clients named: their files are not opened here.
    """
    reported = (status.dims if status else None) or {}
    memories = []
    for loaded in status.models if status else ():
        name, _, written = loaded.rpartition("/")
        precision = next((precision for precision in ELEMENT_BYTES if precision == written), None)
        dims = MODELS.get(name) or reported.get(name)
        if precision is not None and dims is not None:
            memories.append(_memory(dims, precision, forms, device, settings))
    if memories:
        return memories
    default = resolve(settings.default_model, settings.models, settings.model_roots)
    return [_memory(default, settings.default_precision, forms, device, settings)]


def _memory(
    dims: ModelDims, wanted: Precision, forms: Mapping[Precision, Form], device: str, settings: Settings
) -> ModelMemory:
    precision: Precision = "float32" if device == "cpu" else wanted
    duration, form = settings.segment_duration, forms[precision]
    return memory_of(dims, precision, device=device, segment_duration=duration, form=form)
