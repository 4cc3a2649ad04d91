"""Scheduler and intake as processes on a Redis of their own, without a GPU node: a test plays that itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.redis_server import RedisServer

#: Heartbeats never expire, so that a test may send a single one; the rest is only faster than by default.
_SETTINGS = {"heartbeat_timeout": 1e6, "dispatch_interval": 0.5, "recovery_interval": 1.0}


@contextmanager
def fleet_without_nodes(directory: Path) -> Iterator[FleetProcesses]:
    """A fleet whose segments are planned and handed out, and transcribed by nobody."""
    server = RedisServer(directory)
    try:
        server.start()
        with running_fleet(("beat", "scheduler", "intake"), server.url, directory, directory, **_SETTINGS) as running:
            yield running
    finally:
        server.kill()
