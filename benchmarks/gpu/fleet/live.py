"""The fleet of the benchmark of the scheduler: `whisper-fleet up` in a folder of its own, and ways to look at it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from redis import Redis

from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, SlotDecision

_REPOSITORY = Path(__file__).parents[3]
#: What the command line of a process holds, and what it is.
_KINDS = ((r"workers\.engine", "engine"), (r"workers\.feeder", "feeder"), (r"\bgpu\d+@", "node"),
          (r"\bintake@", "intake"), (r"\bscheduler@", "scheduler"))  # fmt: skip
_UP = "from whisper_fleet.cli.main import main; main()"


class NotInTime(Exception):
    """A condition that the benchmark waited for did not become true in time."""


def until(what: str, condition: Callable[[], object], seconds: float, pause: float = 0.2) -> float:
    """Wait for the condition and return the seconds it took; raises NotInTime after `seconds`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise NotInTime(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)
    return time.monotonic() - began


class LiveFleet:
    """A fleet that is up on this host; `stop` ends every process of it."""

    def __init__(self, folder: Path, model: Path, environment: Mapping[str, str], **settings: Any) -> None:
        own = {"var_dir": folder / "var", "model_dir": model.parent, "default_model": str(model), **settings}
        self._own = {f"WHISPER_FLEET_{name.upper()}": str(value) for name, value in own.items()}
        paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, **environment, **self._own, "PYTHONPATH": ":".join(paths)}
        self.logs = folder / "var" / "log"
        self.output = folder / "up.log"
        with self.output.open("w") as log:
            self._front = subprocess.Popen(
                [sys.executable, "-c", _UP, "up", "--model", str(model)],
                cwd=_REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        address = folder / "var" / "run" / "redis.url"
        try:
            until("the embedded Redis", lambda: self._is_written(address), 60)
            url = address.read_text()
            self.settings = Settings(redis_url=url, **own)
            self.redis: Redis = connect(url)
            self.app = Celery("benchmark", broker=url, backend=url, set_as_current=False)
            self.registry = GpuRegistry(self.redis)
            self.ledger = Ledger(self.redis, Settings(max_attempts=self.settings.max_attempts, job_retention=3600.0))
        except BaseException:
            self.stop()
            raise

    def _is_written(self, address: Path) -> bool:
        if self._front.poll() is not None:
            raise NotInTime(f"`whisper-fleet up` ended: {self.output.read_text()[-2000:]}")
        return address.exists() and bool(address.read_text())

    def await_ready(self, gpus: int, seconds: float) -> float:
        """Wait until this many GPUs take work, and return the seconds it took."""
        what = f"{gpus} GPU{'s' if gpus > 1 else ''} to be ready"
        return until(what, lambda: self._ready() >= gpus, seconds)

    def _ready(self) -> int:
        if self._front.poll() is not None:
            raise NotInTime(f"`whisper-fleet up` ended: {self.output.read_text()[-2000:]}")
        return sum(status.ready for status in self.gpus())

    def gpus(self) -> list[GpuStatus]:
        """Return the GPUs that are up, by id."""
        return self.registry.gpus(time.time(), self.settings.heartbeat_timeout)

    def gpu(self, index: int) -> GpuStatus | None:
        """Return this host's GPU of an index, if it is up."""
        return next((status for status in self.gpus() if status.index == index), None)

    def decision(self, index: int) -> SlotDecision | None:
        """Return the autoscaler's last decision on a GPU."""
        text = self.redis.get(keys.slot_decision(str(names.GpuName(self.settings.host, index))))
        return None if text is None else SlotDecision.from_json(bytes(text))  # type: ignore[arg-type]  # not async

    def node(self, index: int) -> psutil.Process | None:
        """Return the main process of a GPU's node, found by its Celery name."""
        name = str(names.GpuName(self.settings.host, index).node())
        ours = [one for one in psutil.process_iter() if name in _words(one) and "tied.py" not in str(_words(one))]
        return next((one for one in ours if _is_ours(one, self._own)), None)

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        """Return the processes of this fleet with their kinds."""
        for process in psutil.process_iter():
            if process.pid != os.getpid() and _is_ours(process, self._own):
                words = " ".join(_words(process))
                yield process, next((kind for sign, kind in _KINDS if re.search(sign, words)), "other")

    def mentions(self, pattern: str) -> int:
        """Return how many lines of the GPU nodes' logs match a pattern."""
        logs = [log.read_text(errors="replace") for log in self.logs.glob("gpu*.log*")]
        return sum(len(re.findall(pattern, log)) for log in logs)

    def log_ends(self, lines: int = 15) -> dict[str, list[str]]:
        """Return the last lines of every process's log."""
        return {log.name: log.read_text(errors="replace").splitlines()[-lines:] for log in self.logs.glob("*.log")}

    def stop(self) -> None:
        """Shut the fleet down, and kill any of its processes that remain."""
        if hasattr(self, "app"):
            self.app.close()
        self._front.terminate()
        try:
            self._front.wait(90)
        except subprocess.TimeoutExpired:
            self._front.kill()
            self._front.wait()
        for process in psutil.process_iter():
            if process.pid != os.getpid() and _is_ours(process, self._own):
                process.kill()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_ours(process: psutil.Process, own: Mapping[str, str]) -> bool:
    name = "WHISPER_FLEET_VAR_DIR"
    try:
        return process.environ().get(name) == own[name] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
