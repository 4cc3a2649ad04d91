"""A real Redis on a free port that a test may kill and start again."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import redis as redis_py

from whisper_fleet.shared import binaries


def free_port() -> int:
    """Return a free TCP port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis that a test may kill and start again; every acknowledged write is in its append-only file.

    It never calls fsync, which in production can stall writes for the duration of a flush.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(binaries.redis_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        options = ["--dir", str(self._directory), "--appendonly", "yes", "--appendfsync", "no", "--save", ""]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        _wait_for(self.url)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _wait_for(url: str, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    with redis_py.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis_py.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
