"""Refuse a second machine with the same name: both would read the same queues and take each other's segments."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from redis.exceptions import AuthenticationError

from redis import Redis
from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus

_POLL_SECONDS = 0.2


def refuse_host_conflict(settings: Settings) -> None:
    """Raise SetupError if a machine with our name is up; call it while no fleet is up here.

    Connection errors are ignored, since the fleet retries later; authentication errors are raised now.
    """
    try:
        with connect_fail_fast(settings.redis_url) as redis:
            alive = _alive_under_our_name(redis, settings)
    except AuthenticationError:
        raise
    except UNREACHABLE:
        return
    if alive is not None:
        fix = f"{alive} is up elsewhere: set WHISPER_FLEET_HOST to another name here or there"
        raise SetupError(what="a name of this machine's own", fix=fix)


def _alive_under_our_name(redis: Redis, settings: Settings) -> str | None:
    """Return a GPU under our host name that still sends heartbeats; an entry left by a dead one does not change."""
    registry, seen = GpuRegistry(redis), dict[str, float]()
    deadline = time.monotonic() + settings.heartbeat_timeout  # with clocks that differ an entry may never expire
    while time.monotonic() < deadline:
        ours = [gpu for gpu in registry.gpus(registry.now(), settings.heartbeat_timeout) if gpu.host == settings.host]
        if (alive := gpu_with_newer_heartbeat(seen, ours)) is not None or not ours:
            return alive
        seen = {gpu.id: gpu.heartbeat for gpu in ours} | seen
        time.sleep(_POLL_SECONDS)
    return None


def gpu_with_newer_heartbeat(seen: Mapping[str, float], gpus: Iterable[GpuStatus]) -> str | None:
    """Return the id of a GPU that sent a heartbeat since it was first seen."""
    return next((gpu.id for gpu in gpus if gpu.heartbeat > seen.get(gpu.id, gpu.heartbeat)), None)
