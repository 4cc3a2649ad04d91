"""One real fleet with real Whisper base for all end-to-end tests: starting it takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.fleet import ALL, RunningFleet, fleet_of


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[RunningFleet]:
    directory = tmp_path_factory.mktemp("fleet")
    server = RedisServer(directory)
    try:
        server.start()
        with fleet_of(ALL, server.url, directory, base_model.parent) as running:
            yield running
    finally:
        server.kill()
