"""Named NVML scenarios for the real pynvml: from a library built here, or from functions in its place."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

GIB = 2**30
SOURCE = Path(__file__).with_suffix(".c")


@dataclass(kw_only=True)
class Gpu:
    """One GPU of a scenario; the errors are NVML's numbers, 0 for none."""

    uuid: str
    name: str = "NVIDIA-H200"
    total: int = 24 * GIB
    free: int = 23 * GIB
    utilisation: int = 12  # per cent
    temperature: int = 41
    mig: int = 0
    capability: tuple[int, int] = (9, 0)
    processes: tuple[tuple[int, int], ...] = ()  # pid, bytes
    lost: int = 0
    memory_error: int = 0
    optional_error: int = 0
    processes_error: int = 0


@dataclass(kw_only=True)
class Scenario:
    """What NVML finds on a host."""

    gpus: tuple[Gpu, ...] = ()
    init_error: int = 0

    def lines(self) -> str:
        """Return the scenario in the form that nvml_stub.c reads."""
        lines = [f"init {self.init_error}"]
        for gpu in self.gpus:
            errors = f"{gpu.lost} {gpu.memory_error} {gpu.optional_error} {gpu.processes_error}"
            memory = f"{gpu.total} {gpu.free} {gpu.total - gpu.free}"
            state = f"{gpu.utilisation} {gpu.temperature} {gpu.mig} {gpu.capability[0]} {gpu.capability[1]}"
            lines.append(f"gpu {errors} {gpu.uuid} {gpu.name} {memory} {state}")
            lines += [f"process {pid} {used}" for pid, used in gpu.processes]
        return "\n".join(lines) + "\n"


def build(directory: Path) -> Path | None:
    """Build libnvidia-ml.so.1 in `directory`; return None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = directory / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, SOURCE], check=True)
    return library


def write_scenario(scenario: Scenario, directory: Path) -> None:
    """Write the scenario that a built library reports from its next nvmlInit on."""
    path = directory / "scenario"
    path.write_text(scenario.lines())
    os.environ["NVML_STUB"] = str(path)


class _Function:
    """Callable like a ctypes function, which also lets its restype be set."""

    def __init__(self, body: Callable[..., int | bytes]) -> None:
        self._body = body
        self.restype: Any = None

    def __call__(self, *args: Any) -> int | bytes:
        return self._body(*args)


class ReplacedLibrary:
    """Stands in for the loaded library where none can be built: the same scenario, in Python."""

    def __init__(self) -> None:
        self.scenario = Scenario()
        for name in dir(type(self)):
            if name.startswith("_nvml"):
                setattr(self, name[1:], _Function(getattr(self, name)))

    def _gpu(self, handle: Any) -> Gpu:
        number = ctypes.cast(handle, ctypes.c_void_p).value
        assert number is not None
        return self.scenario.gpus[number - 1]

    def _nvmlInitWithFlags(self, _: object) -> int:
        return self.scenario.init_error

    def _nvmlShutdown(self) -> int:
        return 0

    def _nvmlErrorString(self, error: int) -> bytes:
        return f"stub error {error}".encode()

    def _nvmlSystemGetDriverVersion(self, buffer: Any, _: object) -> int:
        buffer.value = b"580.65.06"
        return 0

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.scenario.gpus)
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        address = ctypes.cast(ctypes.c_void_p(index.value + 1), type(handle._obj))
        ctypes.pointer(handle._obj)[0] = address
        lost: int = self.scenario.gpus[index.value].lost
        return lost

    def _nvmlDeviceGetUUID(self, handle: Any, buffer: Any, _: object) -> int:
        buffer.value = self._gpu(handle).uuid.encode()
        return 0

    def _nvmlDeviceGetName(self, handle: Any, buffer: Any, _: object) -> int:
        buffer.value = self._gpu(handle).name.encode()
        return self._gpu(handle).optional_error

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        gpu = self._gpu(handle)
        memory._obj.total, memory._obj.free, memory._obj.used = gpu.total, gpu.free, gpu.total - gpu.free
        return gpu.memory_error

    def _nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        rates._obj.gpu = self._gpu(handle).utilisation
        return self._gpu(handle).optional_error

    def _nvmlDeviceGetTemperature(self, handle: Any, _: object, degrees: Any) -> int:
        degrees._obj.value = self._gpu(handle).temperature
        return self._gpu(handle).optional_error

    def _nvmlDeviceGetMigMode(self, handle: Any, current: Any, _: object) -> int:
        current._obj.value = self._gpu(handle).mig
        return self._gpu(handle).optional_error

    def _nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = self._gpu(handle).capability
        return self._gpu(handle).optional_error

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, processes: Any) -> int:
        gpu = self._gpu(handle)
        room, count._obj.value = count._obj.value, len(gpu.processes)
        if gpu.processes_error:
            return gpu.processes_error
        if room < len(gpu.processes):
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        for entry, (pid, used) in zip(processes or (), gpu.processes, strict=False):
            entry.pid, entry.usedGpuMemory = pid, used
        return 0
