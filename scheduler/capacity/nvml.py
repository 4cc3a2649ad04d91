"""Reads the GPUs of this host through NVML: a broken GPU has a `problem`, and unknown values are None, never 0."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

_T = TypeVar("_T")

#: nvmlInit and nvmlShutdown count references per process; concurrent ticks must not shut each other down.
_nvml_in_use = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ProcessMemory:
    """The memory of a GPU that one process holds."""

    pid: int  # in NVML's PID namespace, which differs from a container's
    used_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """The state of one GPU at one moment."""

    index: int  # in NVML's order, by PCI bus
    uuid: str | None = None
    name: str | None = None
    capability: tuple[int, int] | None = None  # CUDA compute capability
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None  # by all processes
    processes: tuple[ProcessMemory, ...] | None = None  # None if hidden from us
    utilisation: float | None = None  # 0 to 1, over NVML's last sample period
    temperature: int | None = None  # degrees Celsius
    problem: str | None = None  # why the fleet cannot use it; None if it can

    def used_by(self, pid: int | None) -> int | None:
        """Return the bytes that a process holds; None if NVML does not report them."""
        for process in self.processes or ():
            if process.pid == pid:
                return process.used_bytes
        return None


@dataclass(frozen=True, kw_only=True)
class NvmlReading:
    """All GPUs of this host that the fleet may use."""

    gpus: tuple[GpuReading, ...] = ()
    driver: str | None = None
    problem: str | None = None  # why nothing could be read; None if NVML answered


def read_gpus(*, visible: str | None = None, exclude: Sequence[str] = ()) -> NvmlReading:
    """Read the GPUs that `visible` (CUDA_VISIBLE_DEVICES) shows and `exclude` (indices, UUIDs) does not remove."""
    try:
        with _nvml():
            gpus = [_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
            driver = _optional(pynvml.nvmlSystemGetDriverVersion)
    except pynvml.NVMLError as error:
        return NvmlReading(problem=_problem(error))
    shown = [gpu for gpu in _visible(gpus, visible) if not _is_named(gpu, exclude)]
    return NvmlReading(gpus=tuple(shown), driver=driver)


@contextmanager
def _nvml() -> Iterator[None]:
    """Initialise NVML for one reading, so that the next one notices a driver that was loaded, unloaded or replaced."""
    with _nvml_in_use:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            _optional(pynvml.nvmlShutdown)


def _read_gpu(index: int) -> GpuReading:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError as error:
        return GpuReading(index=index, problem=_problem(error))
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        return GpuReading(index=index, uuid=uuid, problem=_problem(error))
    utilisation = _optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return GpuReading(
        index=index,
        uuid=uuid,
        name=_optional(pynvml.nvmlDeviceGetName, handle),
        capability=_optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        used_bytes=int(memory.used),
        processes=_processes(handle),
        utilisation=None if utilisation is None else utilisation.gpu / 100,
        temperature=_optional(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        problem=_mig_problem(handle),
    )


def _processes(handle: Any) -> tuple[ProcessMemory, ...] | None:
    listed = _optional(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    if listed is None:
        return None
    return tuple(ProcessMemory(pid=entry.pid, used_bytes=entry.usedGpuMemory) for entry in listed)


def _mig_problem(handle: Any) -> str | None:
    mode = _optional(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] == pynvml.NVML_DEVICE_MIG_DISABLE:
        return None
    return "MIG is on, so the whole GPU cannot be used: switch it off with `nvidia-smi -mig 0`"


def _optional(read: Callable[..., _T], *args: Any) -> _T | None:
    """Return a value that not every GPU or driver provides or permits; None if it is refused."""
    try:
        return read(*args)
    except pynvml.NVMLError:
        return None


def _problem(error: pynvml.NVMLError) -> str:
    """Return what is wrong and how to fix it; NVML's message if no fix is known."""
    return _REMEDIES.get(error.value, f"NVML says: {error}")


_REMEDIES: dict[int, str] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver is installed (libnvidia-ml.so.1 is missing)",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: `modprobe nvidia`, or reboot",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated but not reloaded: reboot",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to read it: give this user access to /dev/nvidia*",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU has fallen off the bus: look for `Xid` in dmesg, then reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset: `nvidia-smi --gpu-reset`, or reboot",
}


def _visible(gpus: list[GpuReading], visible: str | None) -> list[GpuReading]:
    """Apply CUDA_VISIBLE_DEVICES as CUDA does: indices or prefixes of UUIDs, up to the first that matches no GPU."""
    if visible is None:
        return gpus
    shown: list[GpuReading] = []
    for entry in visible.split(","):
        gpu = next((gpu for gpu in gpus if _is_entry(gpu, entry.strip())), None)
        if gpu is None:
            break
        shown.append(gpu)
    return sorted(shown, key=lambda gpu: gpu.index)


def _is_entry(gpu: GpuReading, entry: str) -> bool:
    if entry.isdecimal():
        return gpu.index == int(entry)
    return entry.startswith("GPU-") and gpu.uuid is not None and gpu.uuid.startswith(entry)


def _is_named(gpu: GpuReading, names: Sequence[str]) -> bool:
    return str(gpu.index) in names or gpu.uuid in names
