"""One real fleet with real Whisper base for all end-to-end tests: starting it takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet_command import FleetCommand
from tests.support.fleet_processes import ALL, FleetProcesses, running_fleet
from tests.support.guarded_redis import GuardedRedis, guarded_redis
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.deploy.redis.users import FLEET


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    """A Redis with TLS, and users that have the rights of `whisper-fleet redis-acl` and no others."""
    directory = tmp_path_factory.mktemp("redis")
    server = RedisServer(directory)
    try:
        server.start()
        with guarded_redis(server, directory) as redis:
            yield redis
            assert redis.denials() == []
    finally:
        server.kill()


@pytest.fixture(scope="session")
def fleet(
    guarded: GuardedRedis, tmp_path_factory: pytest.TempPathFactory, base_model: Path
) -> Iterator[FleetProcesses]:
    """A fleet as the user that has the fleet's rights and no others."""
    directory = tmp_path_factory.mktemp("fleet")
    with running_fleet(ALL, guarded.urls[FLEET.name], directory, base_model.parent) as running:
        yield running


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[FleetCommand]:
    """A fleet as `whisper-fleet up` keeps it, for all tests."""
    fleet = FleetCommand(tmp_path_factory.mktemp("up"), base_model.parent, "up")
    try:
        wait_until(lambda: "Ctrl-C" in fleet.output() or fleet.front.poll() is not None, 180, interval=0.2)
        assert fleet.front.poll() is None, fleet.output()
        yield fleet
    finally:
        fleet.end()
