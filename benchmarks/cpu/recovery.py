"""How long segments wait for another GPU after a death: `python -m benchmarks.cpu.recovery [ROUNDS]`.

Two hosts of one machine, `left` and `right`, each with beat, scheduler and a node on the processor, transcribe an hour
of noise with a very small model of random weights. In each round, something on the left dies or freezes, and the time
is taken until every segment that ran there runs again, with a new attempt. `engine` may run again on its own host.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from redis import Redis
from whisper.model import ModelDimensions, Whisper

from tests.support.fleet_processes import FleetProcesses
from tests.support.process_tree import descendants
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry

_HOST = ("beat", "scheduler", "gpu0")
_SECONDS = 3600


def main(rounds: int = 5) -> None:
    """Print the seconds of every round, and the 95th percentile, for each kind of death."""
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            _measure(server.url, Path(folder), rounds)
        finally:
            server.kill()


def _measure(url: str, folder: Path, rounds: int) -> None:
    model = _model(folder)
    left, right = (_host(url, folder, name) for name in ("left", "right"))
    try:
        left.start(*_HOST, "intake")
        right.start(*_HOST, "intake")
        for name, die in _DEATHS.items():
            times = [_round(left, model, die) for _ in range(rounds)]
            p95 = quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
            print(f"{name:15} p95 {p95:5.1f} s   {' '.join(f'{seconds:.1f}' for seconds in times)}", flush=True)
    finally:
        left.stop()
        right.stop()


def _round(left: FleetProcesses, model: Path, die: Callable[[FleetProcesses], None]) -> float:
    noise = _noise(left.directory.parent)
    wait_until(lambda: _has_room(left.redis), 120)
    request = {"file_path": noise, "model_name": model, "segment_duration": _SECONDS, "temperature": 0.0}
    jobs = [left.submit(**request) for _ in range(2)]
    wait_until(lambda: _running_on_left(left.redis, jobs), 120)
    lost = _running_on_left(left.redis, jobs)
    began = time.monotonic()
    die(left)
    wait_until(lambda: _run_again(left.redis, lost), 240, interval=0.05)
    seconds = time.monotonic() - began
    for job in jobs:
        job.revoke(terminate=True)
    wait_until(lambda: all(job.state == "REVOKED" for job in jobs), 60)
    _restart(left)
    return seconds


def _has_room(redis: Redis) -> bool:
    """Return whether both hosts are up, each with room for what runs on the other."""
    gpus = GpuRegistry(redis).gpus(time.time(), 10.0)
    return len([gpu for gpu in gpus if gpu.ready and gpu.slots >= 2]) == 2


def _running_on_left(redis: Redis, jobs: list[Any]) -> dict[str, str]:
    """Return job -> token of the attempts that run on the left."""
    segments = {job.id: _record(redis, job.id) for job in jobs}
    return {job: str(found["token"]) for job, found in segments.items() if _runs(found) and found["gpu"] == "left.0"}


def _run_again(redis: Redis, lost: dict[str, str]) -> bool:
    segments = {job: _record(redis, job) for job in lost}
    return all(_runs(found) and found["token"] != lost[job] for job, found in segments.items())


def _record(redis: Redis, job: str) -> dict[str, object]:
    stored: Any = redis.hget(keys.segments(job), "0")
    return dict(json.loads(stored)) if stored else {}


def _runs(record: dict[str, object]) -> bool:
    return record.get("state") == "running"


def _engine(host: FleetProcesses) -> psutil.Process:
    children = [psutil.Process(child.pid) for child in descendants(host.processes["gpu0"].pid)]
    return next(child for child in children if "whisper_fleet.workers.engine" in child.cmdline())


def _kill(host: FleetProcesses, *names: str) -> None:
    for name in names:
        host.processes[name].kill()


def _kill_host(host: FleetProcesses) -> None:
    for process in [child for name in host.processes for child in descendants(host.processes[name].pid)]:
        with suppress(psutil.NoSuchProcess):  # it ended with its parent
            process.kill()
    _kill(host, *host.processes)


_DEATHS: dict[str, Callable[[FleetProcesses], None]] = {
    "node": lambda host: _kill(host, "gpu0"),
    "engine": lambda host: _engine(host).kill(),
    "frozen engine": lambda host: _engine(host).suspend(),
    "frozen node": lambda host: host.processes["gpu0"].send_signal(signal.SIGSTOP),
    "host": _kill_host,
}


def _restart(host: FleetProcesses) -> None:
    host.processes["gpu0"].send_signal(signal.SIGCONT)
    for process in host.processes.values():
        if process.poll() is None and process is not host.processes["gpu0"]:
            continue
        for child in descendants(process.pid):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()
    host.start(*(name for name, process in host.processes.items() if process.poll() is not None))


def _host(url: str, folder: Path, name: str) -> FleetProcesses:
    directory = folder / name
    directory.mkdir()
    return FleetProcesses(url, directory, folder, host=name, default_precision="float32")


def _model(folder: Path) -> Path:
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 64, 1, 2, 51865, 448, 64, 1, 2))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    path = folder / "tiny-random.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


def _noise(folder: Path) -> Path:
    path = folder / "noise.wav"
    if not path.exists():
        samples = np.random.default_rng(0).integers(-3000, 3000, 16000 * _SECONDS, dtype=np.int16)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", "NONE"))
            file.writeframes(samples.tobytes())
    return path


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    main(*map(int, sys.argv[1:]))
