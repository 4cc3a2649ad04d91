"""The Redis of a scene, which faults kill, freeze, fill, restore and replace."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, cast

import psutil
import redis as redis_py
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.support.redis_server import free_port
from whisper_fleet.shared import binaries


class Store:
    """One redis-server with an append-only file, configured as docs/guide/operating.md recommends."""

    def __init__(self, folder: Path, address: str, port: int | None = None) -> None:
        self.folder, self.address, self.port = folder, address, port or free_port()
        self.url = f"redis://{address}:{self.port}/0"
        self._process: psutil.Popen | None = None

    def start(self, *options: str) -> None:
        """Start it and wait until it has read its data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        where = ["--bind", self.address, "--port", str(self.port), "--protected-mode", "no", "--dir", str(self.folder)]
        how = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--repl-diskless-sync-delay", "0"]
        command = [str(binaries.redis_server()), *where, *how, *options]
        with (self.folder.parent / "redis.log").open("ab") as log:
            self._process = psutil.Popen(command, stdout=log, stderr=log)
        self.wait()

    def wait(self, timeout: float = 60.0) -> None:
        """Return as soon as it answers and has loaded its data."""
        deadline = time.monotonic() + timeout
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis_py.RedisError:
                    assert time.monotonic() < deadline, f"Redis did not answer within {timeout} s"
                    time.sleep(0.05)

    def client(self) -> Redis:
        """Return a client that fails at once."""
        once = Retry(ConstantBackoff(0), 0)
        return Redis(host=self.address, port=self.port, retry=once, socket_timeout=5.0, decode_responses=True)

    def command(self, *words: object) -> Any:
        """Send a command and return the reply."""
        with self.client() as client:
            return cast("Any", client).execute_command(*words)

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return cast("psutil.Process", self._process)

    def kill(self) -> None:
        """End it by SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def save(self, folder: Path) -> None:
        """Copy everything that it holds now to `folder`, as a backup does."""
        self.command("BGREWRITEAOF")
        while "1" in (self.info("persistence", f"aof_rewrite_{state}") for state in ("in_progress", "scheduled")):
            time.sleep(0.05)
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def restore(self, folder: Path) -> None:
        """Put a backup in the place of the data; only while it is down."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(folder, self.folder, dirs_exist_ok=True)

    def info(self, section: str, name: str) -> str:
        """Return a value of a section of INFO, as a text."""
        with self.client() as client:
            return str(cast("dict[str, object]", client.info(section))[name])
