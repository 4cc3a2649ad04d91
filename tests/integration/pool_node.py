"""A Celery worker with the fleet's pool and nothing to run, for those who resize it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shared import queues

HOST = "testhost"
NODE = queues.gpu_node(HOST, 0)


class Node:
    """One GPU node's Celery worker in a process of its own."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._environment = {
            **os.environ,
            "WHISPER_FLEET_REDIS_URL": redis_url,
            "WHISPER_FLEET_HOST": HOST,
            "CELERY_CUSTOM_WORKER_POOL": "workers.pool:SlotPool",
        }
        self._log = (directory / "node.log").open("wb")
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "scheduler.app", "worker", "-P", "custom", "-c", "1"]
        options = ["-n", NODE, "-Q", queues.gpu_queue(queues.gpu_id(HOST, 0)), "--without-mingle"]
        self._process = subprocess.Popen([*command, *options], env=self._environment, stderr=self._log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()
