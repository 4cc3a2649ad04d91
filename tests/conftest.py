"""Fixtures for every tier: a Redis on a free port, the speech clips, models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
import redis as redis_py

from tests.support.random_model import save_random_model
from tests.support.redis_server import RedisServer
from whisper_fleet.shared.settings import load_settings

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")

SPEECH = Path(__file__).parents[1] / "whisper_fleet" / "samples"


def missing(what: str) -> NoReturn:
    """Skip a test that cannot run without something; in CI, fail it."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


@pytest.fixture(scope="session", autouse=True)
def own_state_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the fleets of tests apart from one that the developer runs."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


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
    return save_random_model(tmp_path_factory.mktemp("models") / "tiny-random.pt")


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The checkpoint of the real base model, from the model directory."""
    path = load_settings().models / "base.pt"
    if not path.exists():
        missing(f"the real base model at {path}")
    return path
