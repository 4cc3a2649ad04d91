"""A Celery worker with the fleet's pool and nothing to run, for tests that resize it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from whisper_fleet.shared import names

HOST = "testhost"
NODE = str(names.GpuName(HOST, 0).node())


class IdleNode:
    """The Celery worker of one GPU node in its own process."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._environment = {
            **os.environ,
            "WHISPER_FLEET_REDIS_URL": redis_url,
            "WHISPER_FLEET_HOST": HOST,
            "CELERY_CUSTOM_WORKER_POOL": "whisper_fleet.workers.pool.celery_pool:SlotPool",
        }
        self._log = (directory / "node.log").open("wb")
        self.start()

    def start(self) -> None:
        celery = [sys.executable, "-m", "celery", "-A", "tests.support.idle_app"]
        command = [*celery, "worker", "-P", "custom", "-c", "1"]
        options = ["-n", NODE, "-Q", names.GpuName(HOST, 0).queue, "--without-mingle"]
        self._process = subprocess.Popen([*command, *options], env=self._environment, stderr=self._log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()
