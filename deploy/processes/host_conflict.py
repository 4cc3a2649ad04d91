"""No two machines of a fleet may have one name: they would read the same queues and take each other's segments."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from redis import Redis
from redis.exceptions import AuthenticationError

from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus

_LOOK_SECONDS = 0.2


def refuse_host_conflict(redis_url: str, settings: Settings) -> None:
    """SetupError where another machine of this one's name is up; to be called while no fleet is up here.

    A Redis that is away is waited for later, one that refuses us is not.
    """
    try:
        with connect_fail_fast(redis_url) as redis:
            alive = _who_beats(redis, settings)
    except AuthenticationError:
        raise
    except UNREACHABLE:
        return
    if alive is not None:
        fix = f"{alive} is up elsewhere: set WHISPER_FLEET_HOST to another name here or there"
        raise SetupError(what="a name of this machine's own", fix=fix)


def _who_beats(redis: Redis, settings: Settings) -> str | None:
    """A GPU of this name whose heartbeat moves: what is left of one that died here stands still, and soon is old."""
    fleet, seen = GpuRegistry(redis), dict[str, float]()
    deadline = time.monotonic() + settings.heartbeat_timeout  # where clocks differ nothing gets old in time
    while time.monotonic() < deadline:
        ours = [gpu for gpu in fleet.gpus(time.time(), settings.heartbeat_timeout) if gpu.host == settings.host]
        if (moved := who_moved(seen, ours)) is not None or not ours:
            return moved
        seen = {gpu.id: gpu.heartbeat for gpu in ours} | seen
        time.sleep(_LOOK_SECONDS)
    return None


def who_moved(seen: Mapping[str, float], gpus: Iterable[GpuStatus]) -> str | None:
    """A GPU that sent a heartbeat since it was seen."""
    return next((gpu.id for gpu in gpus if gpu.heartbeat > seen.get(gpu.id, gpu.heartbeat)), None)
