"""One real fleet with real Whisper base for all end-to-end tests: starting it takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.support.fleet import ALL, RunningFleet, fleet_of
from tests.support.whole_fleet import WholeFleet, wait_for


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


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[WholeFleet]:
    """A fleet as `whisper-fleet up` keeps it, for all tests."""
    fleet = WholeFleet(tmp_path_factory.mktemp("up"), base_model.parent, "up")
    try:
        wait_for(lambda: "Ctrl-C" in fleet.told() or fleet.front.poll() is not None, 180)
        assert fleet.front.poll() is None, fleet.told()
        yield fleet
    finally:
        fleet.end()
