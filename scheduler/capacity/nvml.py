"""Reads the GPUs of this host through NVML: a sick GPU is a value with a reason, unknown is None, never 0."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

_T = TypeVar("_T")

#: nvmlInit and nvmlShutdown count references per process; two ticks at once must not shut each other down.
_nvml_in_use = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ProcessMemory:
    """What one process holds of a GPU's memory."""

    pid: int  # as NVML sees it: in a container another number than inside
    used_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment."""

    index: int  # NVML's, by PCI bus
    uuid: str | None = None
    name: str | None = None
    capability: tuple[int, int] | None = None  # CUDA compute capability
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None  # by everybody
    processes: tuple[ProcessMemory, ...] | None = None  # None: hidden from us
    utilisation: float | None = None  # 0 to 1, over NVML's last sample period
    temperature: int | None = None  # degrees Celsius
    problem: str | None = None  # why the fleet cannot use it; None: it can

    def used_by(self, pid: int | None) -> int | None:
        """Bytes that a process of ours holds, or None where NVML does not say."""
        for process in self.processes or ():
            if process.pid == pid:
                return process.used_bytes
        return None


@dataclass(frozen=True, kw_only=True)
class NvmlReading:
    """All GPUs of this host that the fleet may see."""

    gpus: tuple[GpuReading, ...] = ()
    driver: str | None = None
    problem: str | None = None  # why there is nothing to read; None: NVML answered


def read_gpus(*, visible: str | None = None, exclude: Sequence[str] = ()) -> NvmlReading:
    """The host's GPUs that `visible` (CUDA_VISIBLE_DEVICES) shows and `exclude` (indices, UUIDs) leaves."""
    try:
        with _nvml():
            gpus = [_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
            driver = _optional(pynvml.nvmlSystemGetDriverVersion)
    except pynvml.NVMLError as error:
        return NvmlReading(problem=_words(error))
    shown = [gpu for gpu in _visible(gpus, visible) if not _is_named(gpu, exclude)]
    return NvmlReading(gpus=tuple(shown), driver=driver)


@contextmanager
def _nvml() -> Iterator[None]:
    """NVML for one reading: a driver that comes, goes or is replaced is seen by the next."""
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
        return GpuReading(index=index, problem=_words(error))
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        return GpuReading(index=index, uuid=uuid, problem=_words(error))
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
    """A reading that not every GPU, driver or permission gives: None where it is refused."""
    try:
        return read(*args)
    except pynvml.NVMLError:
        return None


def _words(error: pynvml.NVMLError) -> str:
    """What is wrong and what to do; NVML's own words for what we know no remedy for."""
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
    """As CUDA reads CUDA_VISIBLE_DEVICES: indices or beginnings of UUIDs, up to the first that names none."""
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
