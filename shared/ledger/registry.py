"""The registry of GPUs: every node writes its GPU's status with each heartbeat, and every process may read it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import cast

from pydantic import ValidationError
from redis import Redis

from whisper_fleet.shared.broker.fleet_clock import FleetClock
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.wire import GpuStatus

_log = logging.getLogger(__name__)

#: Seconds within which a GPU that left is expected back, because its machine is being upgraded or restarted.
_BACK = 3600


class GpuRegistry:
    """The GPUs of the fleet; thread-safe. Errors of Redis pass through.

    It caches what it read, so that a process that reads often reads only the GPUs whose heartbeat is new.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, GpuStatus | None] = {}  # by id, in order; None: it cannot be read
        self._version = 0  # of the registry, as it was read last
        self._lock = threading.Lock()
        self._clock = FleetClock(redis)

    def now(self) -> float:
        """Return the time of the fleet, by which the age of a heartbeat is measured."""
        return self._clock.now()

    def beat(self, status: GpuStatus) -> None:
        """Write a GPU's status, and join the registry if it is new."""
        run(self._redis, "beat", status.id, status.to_json())

    def gpus(self, now: float, timeout: float) -> list[GpuStatus]:
        """Return the GPUs whose last heartbeat is at most `timeout` seconds old, sorted by id."""
        oldest = now - timeout
        return [gpu for gpu in self.all() if gpu.heartbeat >= oldest]

    def all(self) -> list[GpuStatus]:
        """Return every GPU that joined and did not leave, alive or not, sorted by id."""
        with self._lock:
            if not self._catch_up():
                self._known, self._version = {}, 0
                self._catch_up()
            return [status for status in self._known.values() if status is not None]

    def some(self, gpus: Sequence[str]) -> list[GpuStatus]:
        """Return those of these GPUs that joined and did not leave, alive or not."""
        values = cast("list[bytes | None]", self._redis.mget([keys.gpu(gpu) for gpu in gpus]))
        return [status for value in values if (status := _read(value)) is not None]

    def leave(self, gpu_id: str) -> None:
        """Take a GPU out of the registry."""
        run(self._redis, "leave", gpu_id, _BACK)

    def lately(self, now: float) -> list[GpuStatus]:
        """Return all GPUs, and those that left within the last hour, sorted by id.

        A job that only a GPU of these can serve waits for it, instead of being refused.
        """
        values = cast("list[bytes]", self._redis.zrange(keys.GPUS_LEFT, now - _BACK, "+inf", byscore=True))
        left = [status for value in values if (status := _read(value)) is not None]
        known = {gpu.id: gpu for gpu in [*left, *self.all()]}
        return [known[gpu] for gpu in sorted(known)]

    def _catch_up(self) -> bool:
        """Read the heartbeats since the last call; return False if a GPU left or Redis was emptied: then read all."""
        version, count, beats = run(self._redis, "registry", self._version)
        if version < self._version:
            return False
        fresh = {text(gpu): _read(status) for gpu, status in beats}
        known = self._known | fresh
        self._known = known if len(known) == len(self._known) else dict(sorted(known.items()))
        self._version = version
        return len(known) == int(count)


def _read(status: bytes | None) -> GpuStatus | None:
    """Return None for a status of an unreadable version: one such node must not hide the others."""
    if status is None:
        return None
    try:
        return GpuStatus.from_json(status)
    except ValidationError as error:
        _log.warning("ignoring a GPU status that cannot be read: %s", error)
        return None
