"""Fixtures that every tier uses: an own Redis on a free port, the speech clips, honest skips."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import redis as redis_py
import torch
from whisper.model import ModelDimensions, Whisper

from whisper_fleet.shared import binaries
from whisper_fleet.shared.settings import load_settings

SPEECH = Path(__file__).parents[1] / "whisper_fleet" / "samples"


def missing(what: str) -> NoReturn:
    """A test cannot run without it: that is a skip on a laptop, but a failure in CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis that a test may kill and start again: what it has answered to is in its append-only file.

    In production the file is flushed every second, and while one flush lasts nothing more is written.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [binaries.redis_server(), "--port", str(self.port), "--bind", "127.0.0.1"]
        options = ["--dir", self._directory, "--appendonly", "yes", "--appendfsync", "no", "--save", ""]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        _wait_for(self.url)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server that only this test uses."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of this test's Redis."""
    return redis_server.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_py.Redis]:
    """A client of this test's Redis."""
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def speech() -> dict[Path, str]:
    """The five real clips and their reference texts, in the order of the book."""
    lines = (SPEECH / "transcripts.tsv").read_text().splitlines()
    return {SPEECH / name: text for name, text in (line.split("\t") for line in lines)}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a very small multilingual Whisper with random weights, which talks nonsense."""
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 64, 1, 2, 51865, 448, 64, 1, 2))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    path = tmp_path_factory.mktemp("models") / "tiny-random.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The checkpoint of the real base model, from the model directory."""
    path = load_settings().models / "base.pt"
    if not path.exists():
        missing(f"the real base model at {path}")
    return path


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
