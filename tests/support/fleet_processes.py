"""A fleet of real processes that a test chooses one by one, against the test's own Redis."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from redis import Redis

from tests.support.process_tree import descendants
from tests.support.waiting import wait_until
from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings

HOST = "testhost"
ALL = ("beat", "scheduler", "intake", "gpu0")


class FleetProcesses:
    """The processes by name, their logs, and a client that has only Celery."""

    def __init__(self, redis_url: str, directory: Path, model_dir: Path, **settings: Any) -> None:
        self.directory = directory
        own = {
            "redis_url": redis_url,
            "host": HOST,
            "var_dir": directory / "var",
            "model_dir": model_dir,
            "device": "cpu",
            **settings,
        }
        self.settings = Settings(**own)
        self.environment = {
            **os.environ,
            **{f"WHISPER_FLEET_{name.upper()}": _in_environment(value) for name, value in own.items()},
        }
        self.redis = Redis.from_url(redis_url)
        self.app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = Ports(flower=self.settings.flower_port or 0, http=self.settings.http_port)
        self._programs = programs.by_name(self.settings, gpus=[0], cores=1, ports=ports)

    def start(self, *names: str) -> None:
        """Start these processes; returns when the GPU node, if it is among them, takes work."""
        for name in names:
            program = self._programs[name]
            with self.log(name).open("ab") as out:
                self.processes[name] = subprocess.Popen(
                    program.command,
                    env={**self.environment, **program.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
        if "gpu0" in names:
            wait_until(self.is_ready, timeout=180.0)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def is_ready(self) -> bool:
        assert self.processes["gpu0"].poll() is None, self.log("gpu0").read_text()
        timeout = self.settings.heartbeat_timeout
        return any(gpu.ready for gpu in GpuRegistry(self.redis).gpus(time.time(), timeout))

    def submit(self, **asked: Any) -> Any:
        """Send `transcribe` as any other service does, and return its AsyncResult.

        It is Any because celery-types declares neither REVOKED nor PROGRESS as a state.
        """
        asked = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
        return self.app.send_task(names.TRANSCRIBE, kwargs=asked, queue=names.TRANSCRIBE_QUEUE)

    def stop(self) -> None:
        """Shut everything down, and fail if a process remains."""
        running = [process for process in self.processes.values() if process.poll() is None]
        children = [child for process in running for child in descendants(process.pid)]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._forget_results()
        self.redis.close()
        _, alive = psutil.wait_procs(children, timeout=10)
        for child in alive:
            child.kill()
        assert not alive, f"left behind: {alive}"

    def _forget_results(self) -> None:
        stop_result_consumer(self.app)
        self.app.close()


def stop_result_consumer(app: Celery) -> None:
    """Close the subscription to results now: collecting a result later would use a Redis that is gone."""
    backend: Any = app.backend  # the stubs know no consumer
    backend.result_consumer.stop()
    backend.result_consumer._pubsub = None


def _in_environment(value: object) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)


@contextmanager
def running_fleet(
    names: Collection[str], redis_url: str, directory: Path, model_dir: Path, **settings: Any
) -> Iterator[FleetProcesses]:
    """Run these processes of a fleet while the context lasts."""
    running = FleetProcesses(redis_url, directory, model_dir, **settings)
    try:
        running.start(*names)
        yield running
    finally:
        running.stop()
