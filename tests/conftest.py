"""Fixtures that every tier uses: an own Redis on a free port, the speech clips, honest skips."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from shared import binaries

SPEECH = Path(__file__).parent / "data" / "speech"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server that only this test uses, with an append-only file as in production."""
    port = free_port()
    directory = tmp_path / "redis"
    directory.mkdir()
    command = [binaries.redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
    server = subprocess.Popen([*command, "--appendonly", "yes", "--save", ""], stdout=subprocess.DEVNULL)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        _wait_for(url)
        yield url
    finally:
        server.kill()
        server.wait()


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
