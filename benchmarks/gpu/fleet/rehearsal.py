"""The benchmark of the scheduler without a GPU: NVML is a stub, engines run on the CPU, tenants are numbers in a file.

It shows that the benchmark works and what the scheduler decides, not how a GPU behaves. Needs a C compiler.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.support.nvml_stub import Gpu, Scenario, build
from whisper_fleet.shared.ledger.registry import GpuRegistry

_LOOK_SECONDS = 0.2
#: Python runs it as it starts: an engine that is asked to compute on a GPU computes on the CPU. Its node, and so the
#: scheduler, goes on to speak of a GPU.
_SITE = """import sys
if "whisper_fleet.workers.engine" in sys.orig_argv and "cuda" in sys.argv:
    sys.argv[sys.argv.index("cuda")] = "cpu"
"""


class StubHost:
    """GPUs whose NVML memory is what their engines report plus what their tenants hold."""

    def __init__(self, folder: Path, *, gpus: int, total: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if build(folder) is None:
            raise SystemExit("a rehearsal needs a C compiler for the stub of NVML")
        self.total = total
        self.tenants = [0] * gpus
        self.engines = [0] * gpus
        self._scenario = folder / "scenario"
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        (folder / "sitecustomize.py").write_text(_SITE)
        #: What the fleet's processes, and this one before it loads NVML, need in their environment.
        self.environment = {
            "NVML_STUB": str(self._scenario),
            "LD_LIBRARY_PATH": _before("LD_LIBRARY_PATH", folder),
            "PYTHONPATH": _before("PYTHONPATH", folder),
            "WHISPER_FLEET_DEVICE": "cuda",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        self.publish()

    def publish(self) -> None:
        """Write the current memory to where the next process that initialises NVML reads it."""
        gpus = [
            Gpu(uuid=f"GPU-stub-{index}", name="NVIDIA-stub", total=self.total, free=self.free(index))
            for index in range(len(self.tenants))
        ]
        fresh = self._scenario.with_suffix(".new")
        fresh.write_text(Scenario(gpus=tuple(gpus)).lines())
        fresh.replace(self._scenario)

    def free(self, index: int) -> int:
        return max(0, self.total - self.tenants[index] - self.engines[index])

    def watch(self, redis: Redis) -> None:
        """Count the memory that engines report as taken from now on."""
        self._watcher = threading.Thread(target=self._follow, args=(redis,), daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Return whether all engines have ended."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self.engines = [0] * len(self.engines)
        self.publish()

    def _follow(self, redis: Redis) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                statuses = GpuRegistry(redis).all()
            except RedisError:
                continue
            for status in statuses:
                self.engines[status.index] = status.engine_bytes or 0
            self.publish()


def _before(name: str, folder: Path) -> str:
    """Return an environment variable that lists folders, with this folder first."""
    return ":".join([str(folder), *filter(None, [os.environ.get(name)])])


class StubTenant:
    """Holds a number of bytes without allocating them."""

    def __init__(self, host: StubHost, index: int) -> None:
        self._host, self._index = host, index
        self.held, self.free = 0, host.free(index)

    def take(self, size: int) -> None:
        """Hold this many more bytes; nothing if the stub has no room."""
        if size <= self._host.free(self._index):
            self._hold(self.held + size)
        self.free = self._host.free(self._index)

    def release(self) -> None:
        self._hold(0)

    def close(self) -> None:
        self._hold(0)

    def _hold(self, size: int) -> None:
        self._host.tenants[self._index] += size - self.held
        self.held = size
        self._host.publish()
        self.free = self._host.free(self._index)
