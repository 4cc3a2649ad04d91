"""One host of the fleet, started by `whisper-fleet up` as an operator starts it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import psutil

from tests.support.fleet_command import FleetCommand
from tests.support.process_tree import descendants, has_ended
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger.registry import GpuRegistry

#: The kinds of processes of a host: `front` is the command itself; the two last are children in Celery's pools.
Kind = Literal[
    "front", "supervisord", "beat", "scheduler", "intake", "gpu0", "engine", "feeder", "flower",
    "http", "scheduler child", "intake child",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


class Host:
    """A front, its supervisord, and their processes; a test may start it again."""

    def __init__(
        self, name: str, folder: Path, model: Path, variables: dict[str, str], prefix: tuple[str, ...]
    ) -> None:
        self.name, self.folder = name, folder
        self.gpu = f"{name}.0"
        self._model, self._prefix = model, prefix
        self._variables = {**variables, "WHISPER_FLEET_HOST": name}
        self._up: FleetCommand | None = None
        folder.mkdir()

    def start(self, **variables: str) -> None:
        """Start it, with more environment variables, and return at once."""
        command = ("up", "--model", str(self._model))
        variables = {**self._variables, **variables}
        self._up = FleetCommand(self.folder, self._model.parent, *command, prefix=self._prefix, **variables)

    def wait_ready(self, registry: GpuRegistry, timeout: float = 120.0) -> None:
        """Return when its GPU takes segments: by a new heartbeat, because that of a dead node stays."""
        last = {gpu.id: gpu.heartbeat for gpu in registry.all()}.get(self.gpu)

        def is_ready() -> bool:
            return any(gpu.id == self.gpu and gpu.ready and gpu.heartbeat != last for gpu in registry.all())

        wait_until(lambda: is_ready() or not self.is_up, timeout, interval=0.1)
        assert self.is_up, f"{self.name} ended: {self.up.output()}"

    @property
    def up(self) -> FleetCommand:
        assert self._up is not None, f"{self.name} was not started"
        return self._up

    @property
    def is_up(self) -> bool:
        """Whether the command runs."""
        return self._up is not None and self._up.front.poll() is None

    def log(self, program: str) -> Path:
        return self.folder / "var" / "log" / f"{program}.log"

    def find(self, kind: Kind) -> psutil.Process | None:
        """Return the process of a kind that runs now; None: it is not up."""
        if kind == "front":
            return psutil.Process(self.up.front.pid) if self.is_up else None
        program, _, is_child = kind.partition(" ")
        process = self.up.process(program)
        if process is None or not is_child:
            return process
        return next(iter(descendants(process.pid)), None)

    def process(self, kind: Kind) -> psutil.Process:
        """Wait for the process of a kind, because an earlier fault may have ended it a moment ago."""
        found: list[psutil.Process] = []

        def look() -> bool:
            process = self.find(kind)
            found[:] = [] if process is None else [process]
            return process is not None

        wait_until(look, 60, interval=0.1)
        return found[0]

    def tree(self) -> list[psutil.Process]:
        """Return every process of the host, with the command itself."""
        if not self.is_up:
            return self.up.processes()
        return [psutil.Process(self.up.front.pid), *self.up.processes()]

    def kill(self) -> None:
        """End everything at once by SIGKILL, as a power failure does."""
        while tree := [process for process in self.tree() if not has_ended(process)]:
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
        self.up.front.wait()

    @contextlib.contextmanager
    def frozen(self, kind: Kind) -> Iterator[None]:
        """Stop a process by SIGSTOP while the context lasts."""
        process = self.process(kind)
        process.suspend()
        try:
            yield
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):  # a node kills an engine that is frozen
                process.resume()

    def stop(self) -> None:
        """Shut down in order; what does not end is killed."""
        if self._up is not None:
            self._up.end()
            self.kill()

    def orphans(self) -> list[str]:
        """Return the processes that no longer descend from the command."""
        front = self.up.front.pid if self.is_up else None
        return [_described(process) for process in self.up.processes() if front not in _ancestors(process)]


def _ancestors(process: psutil.Process) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [parent.pid for parent in process.parents()]
    return []


def _described(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"process {process.pid}: {' '.join(process.cmdline())[-60:]}"
    return f"process {process.pid}"


def quiet_environment() -> dict[str, str]:
    """Return variables that keep a test fleet from the developer's own GPUs and cores."""
    return {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
