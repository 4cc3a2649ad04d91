"""The processes that a benchmark needs: a Redis of its own and Celery nodes, ended with the context."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from whisper_fleet.deploy.processes.state_dir import free_port
from whisper_fleet.shared import binaries, names
from whisper_fleet.shared.connect import connect

#: The host's name in the fleet of a benchmark.
HOST = "bench"


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Start a Redis with an append-only file, as in production, and yield its URL."""
    port = free_port(16399)
    command = [str(binaries.redis_server()), "--port", str(port), "--dir", str(directory), "--appendonly", "yes"]
    with subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL) as server:
        try:
            url = f"redis://127.0.0.1:{port}/0"
            connect(url).ping()
            yield url
        finally:
            server.kill()


@contextmanager
def nodes(url: str, workers: Sequence[Sequence[str]], directory: Path, **settings: object) -> Iterator[None]:
    """Run Celery workers with these arguments; a worker with a custom pool gets SlotPool."""
    environment = {
        **os.environ,
        "CELERY_CUSTOM_WORKER_POOL": "whisper_fleet.workers.pool.celery_pool:SlotPool",
        **_variables({"redis_url": url, "host": HOST, **settings}),
    }
    with (directory / "nodes.log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", *worker, "-l", "WARNING"],
                env=environment,
                stdout=log,
                stderr=log,
            )
            for worker in workers
        ]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def node_and_scheduler(app: str, slots: int, *, schedulers: int = 2) -> list[list[str]]:
    """Return the arguments of a GPU node with this many slots, and of a scheduler with this many processes."""
    gpu = names.GpuName(HOST, 0).queue
    node = ["-A", app, "worker", "-P", "custom", "-n", str(names.GpuName(HOST, 0).node()), "-c", str(slots)]
    scheduler = ["-A", "whisper_fleet.scheduler.app", "worker", "-c", str(schedulers), "-n", names.scheduler_node(HOST)]
    return [[*node, "-Q", gpu], [*scheduler, "-Q", names.SCHEDULER_QUEUE, "-I", "whisper_fleet.scheduler.tasks"]]


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has used, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"WHISPER_FLEET_{name.upper()}": str(value) for name, value in settings.items()}
