"""One fleet with a tiny model and an HTTP server in front of it, for all tests of the HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.fleet_processes import ALL, FleetProcesses, running_fleet
from tests.support.http_server import running_server
from tests.support.redis_server import RedisServer


@dataclass(frozen=True)
class ServedFleet:
    """A fleet, and the address of its HTTP server."""

    fleet: FleetProcesses
    url: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[ServedFleet]:
    directory = tmp_path_factory.mktemp("served")
    server = RedisServer(directory)
    try:
        server.start()
        options = {"default_model": str(tiny_model), "default_precision": "float32", "http_max_upload_bytes": 10**8}
        with (
            running_fleet(ALL, server.url, directory, tiny_model.parent, **options) as fleet,
            running_server(fleet.settings) as url,
        ):
            yield ServedFleet(fleet, url)
    finally:
        server.kill()


@pytest.fixture
def client(served: ServedFleet) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0, timeout=100) as client:
        yield client


@pytest.fixture
def web(served: ServedFleet) -> Iterator[httpx.Client]:
    """A client of any language, without knowledge of the API."""
    with httpx.Client(base_url=served.url, timeout=100) as client:
        yield client
